// Functions of each element by itself: DyT, DyISRU, Derf.
//
// Without weight and bias, and with rows that follow one another without gaps, there are no rows:
// all elements are one long vector. Otherwise a thread stays in its column, so that weight and
// bias are read and widened once for UNROLL rows.
//
// A thread's accesses are 2^spread blocks' width apart: memory is faster where they are 16 KiB from
// one another than where a block's are side by side.
#pragma once

#include "pipeline.cuh"

// Accesses of a thread, all in flight at once, and those that are then worked on at once.
template <u32 N> constexpr u32 UNROLL = N == 1 ? 16 : 4;
template <u32 N> constexpr u32 TURN = N == 1 ? 4 : 2;
constexpr u32 ELEMENT_THREADS = 128;

// Where a thread's accesses are: one every x_step and y_step elements. Number i is for the thread
// if i * step < left.
struct Items {
    u64 x, y, x_step, y_step, row, column;
    u32 step, left;
};

// What is left from `first` to `end`, where no more than `most` matters.
DEVICE u32 left_of(u64 first, u64 end, u32 most) {
    if (first >= end) return 0;
    return end - first < most ? u32(end - first) : most;
}

// The first of the UNROLL places of block `block`, 2^spread apart, that no block before it has.
template <u32 N> DEVICE u64 first_of(const Args& args, u32 block) {
    const u32 apart = 1u << args.spread;
    return u64(block >> args.spread) * (UNROLL<N> * apart) + (block & (apart - 1));
}

template <u32 N> DEVICE Items without_rows(const Args& args) {
    const u32 threads = block_threads(), step = threads << args.spread;
    const u64 first = first_of<N>(args, block_index()) * threads + thread_index();
    return {first * N, first * N, u64(step) * N, u64(step) * N, 0, 0,
            step,      left_of(first, args.channels / N, step * UNROLL<N>)};
}

template <u32 N> DEVICE Items in_rows(const Args& args) {
    const u32 block = block_index(), step = args.rows_a_block << args.spread;
    const u32 row_block = u32(u64(block) * args.column_magic >> args.column_shift);
    const u32 column_block = block - row_block * args.column_blocks;
    const u32 y = thread_index() >> args.row_shift;
    const u32 x = thread_index() - y * args.threads;
    const u64 column = (u64(column_block) * args.threads + x) * N;
    const u64 row = first_of<N>(args, row_block) * args.rows_a_block + y;
    const u64 rows_end = column < args.channels ? args.rows : 0;
    return {row * args.x_stride + column, row * args.y_stride + column, step * args.x_stride,
            step * args.y_stride, row, column, step, left_of(row, rows_end, step * UNROLL<N>)};
}

// F has F(args) and operator()(x). N elements are one access. Unrolled as a whole only where types
// are constants: else it would be too much code.
template <class F, class X, u32 N, bool USUAL = false> DEVICE void map(const Args& args) {
    const Items at = args.column_blocks == 0 ? without_rows<N>(args) : in_rows<N>(args);
    const F function(args);
    const u32 y_size = size_of(args.y_type);
    // Nothing that a previous kernel wrote but x: operands need not wait for it.
    Operands<N> operands;
    if (at.left > 0) operands.load(args, at.column);
    wait_for_previous_grid();
    RawOf<X, N> raw[UNROLL<N>];
#pragma unroll
    for (u32 i = 0; i < UNROLL<N>; ++i) {
        const u64 x = args.x + (at.x + i * at.x_step) * X::size;
        load_bytes_if<N * X::size>(i * at.step < at.left, raw[i].word, x);
    }
    allow_next_grid();
    operands.widen(args);
    u64 y = args.y + at.y * y_size;
    const u64 y_step = at.y_step * y_size;
    if constexpr (USUAL) {
#pragma unroll
        for (u32 i = 0; i < UNROLL<N>; ++i) {
            if (i * at.step >= at.left) break;
            finish<X, N>(function, raw[i].word, operands, args, y + i * y_step);
        }
    } else {
        // Registers have no index, so what a turn has not used moves up.
#pragma unroll 1
        for (u32 first = 0; first < at.left; first += TURN<N> * at.step) {
#pragma unroll
            for (u32 i = 0; i < TURN<N>; ++i) {
                if (first + i * at.step >= at.left) break;
                finish<X, N>(function, raw[i].word, operands, args, y + i * y_step);
            }
            y += TURN<N> * y_step;
#pragma unroll
            for (u32 i = TURN<N>; i < UNROLL<N>; ++i) raw[i - TURN<N>] = raw[i];
        }
    }
    // What does not fill an access, where there are no rows and so no operands.
    if (N > 1 && args.column_blocks == 0) {
        const u64 last = args.channels / N * N + thread_index();
        if (block_index() == 0 && last < args.channels) {
            load_bytes<X::size>(raw[0].word, args.x + last * X::size);
            const OperandsInMemory<1> none{0};
            finish<X, 1>(function, raw[0].word, none, args, args.y + last * y_size);
        }
    }
}

// The names that src/cuda/kernel.rs looks up: accesses of 16 bytes of x, of one element, and again
// of 16 bytes where all types are that of x.
#define ELEMENT_KERNELS_OF(function, F, x, X)                                                      \
    KERNEL(function##_##x##_wide, ELEMENT_THREADS, 8) { map<F, X, X::in_16_bytes>(args); }         \
    KERNEL(function##_##x##_narrow, ELEMENT_THREADS, 8) { map<F, X, 1>(args); }
#define USUAL_ELEMENT_KERNEL(function, F, x, X)                                                    \
    KERNEL(function##_##x##_usual, ELEMENT_THREADS, 8) {                                           \
        map<F, X, X::in_16_bytes, true>(usual<X>(args));                                           \
    }
#define ELEMENT_KERNELS(function, F)                                                               \
    ELEMENT_KERNELS_OF(function, F, f32, Element<F32>)                                             \
    ELEMENT_KERNELS_OF(function, F, f16, Element<F16>)                                             \
    ELEMENT_KERNELS_OF(function, F, bf16, Element<BF16>)
// FULL for results in f32, SHORT for those of 16 bits.
#define USUAL_ELEMENT_KERNELS(function, FULL, SHORT)                                               \
    USUAL_ELEMENT_KERNEL(function, FULL, f32, Element<F32>)                                        \
    USUAL_ELEMENT_KERNEL(function, SHORT, f16, Element<F16>)                                       \
    USUAL_ELEMENT_KERNEL(function, SHORT, bf16, Element<BF16>)
