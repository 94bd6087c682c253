// Functions of each element by itself: DyT, DyISRU, Derf.
//
// Without weight and bias, and with rows that follow one another without gaps, there are no rows:
// all elements are one long vector. Otherwise a thread stays in its column, so that weight and
// bias are read once for UNROLL rows.
#pragma once

#include "pipeline.cuh"

constexpr u32 UNROLL = 4; // vectors of a thread, all in flight at once
constexpr u32 ELEMENT_THREADS = 128;

// Where a thread's vectors are: one every x_step and y_step elements.
struct Items {
    u64 x, y, x_step, y_step, column;
    u32 count;
};

// `left` items, one every `step` from `first` on: how many are mine.
DEVICE u32 items_left(u64 first, u64 step, u64 end) {
    if (first >= end) return 0;
    const u64 more = end - 1 - first;
    return more >= (UNROLL - 1) * step ? UNROLL : u32(more) / u32(step) + 1;
}

template <u32 N> DEVICE Items without_rows(const Args& args) {
    const u64 threads = block_threads();
    const u64 vector = block_index() * threads * UNROLL + thread_index();
    return {vector * N, vector * N, threads * N, threads * N, 0,
            items_left(vector, threads, args.channels / N)};
}

template <u32 N> DEVICE Items in_rows(const Args& args) {
    const u32 row_block = block_index() / args.column_blocks;
    const u32 column_block = block_index() - row_block * args.column_blocks;
    const u32 rows = block_threads() / args.threads; // that a block works on side by side
    const u32 y = thread_index() / args.threads;
    const u32 x = thread_index() - y * args.threads;
    const u64 column = (u64(column_block) * args.threads + x) * N;
    const u64 row = u64(row_block) * (rows * UNROLL) + y;
    return {row * args.x_stride + column, row * args.y_stride + column, rows * args.x_stride,
            rows * args.y_stride, column,
            column < args.channels ? items_left(row, rows, args.rows) : 0};
}

// F has F(args) and operator()(x). N elements are one access.
template <class F, class X, u32 N> DEVICE void map(const Args& args) {
    const Items at = args.column_blocks == 0 ? without_rows<N>(args) : in_rows<N>(args);
    const F function(args);
    const u32 y_size = size_of(args.y_type);
    Operand<N> weight, bias;
    if (at.count > 0) {
        load_operand<N>(weight.word, args.weight, args.weight_type, at.column);
        load_operand<N>(bias.word, args.bias, args.bias_type, at.column);
    }
    wait_for_previous_grid();
    RawOf<X, N> raw[UNROLL];
#pragma unroll
    for (u32 i = 0; i < UNROLL; ++i) {
        load_bytes_if<N * X::size>(i < at.count, raw[i].word, args.x + (at.x + i * at.x_step) * X::size);
    }
    allow_next_grid();
#pragma unroll
    for (u32 i = 0; i < UNROLL; ++i) {
        if (i < at.count) {
            finish<X, N>(function, raw[i].word, FromRegisters<N>{weight, args.weight_type},
                         FromRegisters<N>{bias, args.bias_type}, args,
                         args.y + (at.y + i * at.y_step) * y_size);
        }
    }
    // What does not fill a vector, where there are no rows.
    if (N > 1 && args.column_blocks == 0) {
        const u64 last = args.channels / N * N + thread_index();
        if (block_index() == 0 && last < args.channels) {
            const FromMemory<1> none{}; // not asked: there are no operands
            load_bytes<X::size>(raw[0].word, args.x + last * X::size);
            finish<X, 1>(function, raw[0].word, none, none, args, args.y + last * y_size);
        }
    }
}

// The names that src/cuda/kernel.rs looks up: accesses of 16 bytes of x, or of one element.
#define ELEMENT_KERNELS_OF(function, F, x, X)                                                      \
    KERNEL(function##_##x##_wide, ELEMENT_THREADS, 8) { map<F, X, X::in_16_bytes>(args); }         \
    KERNEL(function##_##x##_narrow, ELEMENT_THREADS, 8) { map<F, X, 1>(args); }
#define ELEMENT_KERNELS(function, F)                                                               \
    ELEMENT_KERNELS_OF(function, F, f32, Element<F32>)                                             \
    ELEMENT_KERNELS_OF(function, F, f16, Element<F16>)                                             \
    ELEMENT_KERNELS_OF(function, F, bf16, Element<BF16>)
