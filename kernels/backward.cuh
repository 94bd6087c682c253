// What the kernels of gradients share: what they are given, places, weights, and sums over rows.
//
// Rows are dealt out to groups, as many at a time as a block works on side by side, round and round, so that blocks
// that run side by side work side by side in memory. A block sums up the gradients by weight and bias of its group in registers, and writes them
// once; `add_up` then adds up all groups. How many there are follows from shape and type alone, and so do the bits.
#pragma once

#include "pipeline.cuh"

// `BackwardArgs` in src/cuda/backward/args.rs is the same struct; a test compares its size with the one that the compiled
// kernels declare.
struct BackwardArgs {
    Tensor x, dy, dx;                   // of one type, which the kernel's name says
    u64 weight;                         // device address
    u64 d_weight, d_bias, d_parameters; // addresses of f32; 0 if it is not wanted
    u64 sums;                           // of all groups, f32: of weights, then of biases, those that are wanted
    u64 columns;                        // of these for a group: the channels, once or twice
    u64 parameter_sums;                 // of all blocks: of two parameters what f32 holds, then what that leaves
    u64 statistics;                     // what is known of rows, as many f32 as the function says
    double factor[2];                   // what sums of gradients by parameters are multiplied with
    float parameter[4];                 // the function's own, see each function
    u32 rows, channels;                 // below 2^31
    float weight_offset;                // -0 for none
    u32 weight_type;
    u32 heads;                          // rows of a token; 0: rows are one stride apart
    u32 head_magic, head_shift;         // n / heads is n * head_magic >> head_shift
    u32 groups;
    u32 slots;                          // rows of a group that a block works on side by side
    u32 slot_shift;                     // of a thread's index, to the slot's
    u32 threads;                        // of a slot
    u32 column_blocks;                  // blocks side by side over a row
    u32 column_magic, column_shift;     // to divide by column_blocks, as above
    u32 parameter_blocks;               // blocks with sums of parameters
    u32 reserved;                       // to a multiple of 8 bytes
};

constexpr u32 MOST_PARAMETERS = 2;
// Threads of a block that works on several rows side by side, and the most of a block that has columns.
constexpr u32 COLUMN_THREADS = 128;
// Threads of a block that adds up what others have.
constexpr u32 SUM_THREADS = 512;

// A function's value, and for a gradient of it those by x and, up to a factor, by its parameters.
struct Slope {
    float value, by_x, by[MOST_PARAMETERS];
};

// The largest number for infinity: what is multiplied with 0 there is to become 0.
DEVICE float finite(float x) { return max_nan(min_nan(x, 0x1.fffffep127f), -0x1.fffffep127f); }

DEVICE float load_float(u64 address) {
    u32 word;
    load_4(&word, address);
    return as_float(word);
}
DEVICE void store_float(u64 address, float value) {
    const u32 word = as_bits(value);
    store_4(address, &word);
}

// Elements from a tensor's first to those of a row.
DEVICE u64 row_offset(const BackwardArgs& args, u32 row, u64 stride, u64 token_stride) {
    if (args.heads == 0) return row * stride;
    const u32 token = u32(u64(row) * args.head_magic >> args.head_shift);
    return token * token_stride + (row - token * args.heads) * stride;
}
template <class X>
DEVICE u64 address_in(const BackwardArgs& args, const Tensor& tensor, u32 row, u32 channel) {
    const u64 first = row_offset(args, row, tensor.stride, tensor.token_stride);
    return tensor.address + (first + channel) * X::size;
}

// The calling thread's place among those that share a row.
struct Seat {
    u32 slot, lane;
    MEMBER explicit Seat(const BackwardArgs& args)
        : slot(thread_index() >> args.slot_shift), lane(thread_index() - slot * args.threads) {}
};

// N neighbouring elements of x and dy, as they lie in memory; zeros unless `when`.
template <class X, u32 N> struct Both {
    RawOf<X, N> x, dy;

    MEMBER void load(const BackwardArgs& args, u32 row, u32 channel, bool when) {
        load_bytes_if<N * X::size>(when, x.word, address_in<X>(args, args.x, row, channel));
        load_bytes_if<N * X::size>(when, dy.word, address_in<X>(args, args.dy, row, channel));
    }
};

// The weights of N channels, with their offset; 1 where there are none.
template <u32 N> struct Weights {
    u32 word[N] = {};

    MEMBER Weights() {}
    MEMBER Weights(const BackwardArgs& args, u32 channel, bool when) {
        if (when) load_operand<N>(word, args.weight, args.weight_type, channel);
        widen_operand(word, args.weight_type, 1.0f);
        if (args.weight_type == ABSENT) return;
#pragma unroll
        for (u32 i = 0; i < N; ++i) word[i] = as_bits(as_float(word[i]) + args.weight_offset);
    }
    MEMBER float operator[](u32 i) const { return as_float(word[i]); }
};

// What is done with N elements of x and dy: writes their dx, and adds the gradients by weight, bias and parameters to sums.
template <class F, class X, u32 N>
DEVICE void differentiate(const F& function, const Both<X, N>& at, const Weights<N>& weight,
                          float* weight_sums, float* bias_sums, float (&by)[MOST_PARAMETERS], u64 dx) {
    float by_x[N];
#pragma unroll
    for (u32 i = 0; i < N; ++i) {
        const float dy = widen<X>(at.dy.word, i);
        const Slope slope = function.at(widen<X>(at.x.word, i), dy * weight[i]);
        by_x[i] = slope.by_x;
        weight_sums[i] = multiply_add(dy, slope.value, weight_sums[i]);
        bias_sums[i] += dy;
#pragma unroll
        for (u32 p = 0; p < MOST_PARAMETERS; ++p) by[p] += slope.by[p];
    }
    store<X, N>(dx, by_x);
}

// Adds up what the slots of a block have of N columns each, in their order, for the first slot.
template <u32 N> DEVICE void add_slots(const BackwardArgs& args, const Seat& seat, float* sums) {
    if (args.slots == 1) return;
    SHARED(float, all, COLUMN_THREADS * N);
    block_barrier();
#pragma unroll
    for (u32 i = 0; i < N; ++i) all[i * COLUMN_THREADS + thread_index()] = sums[i];
    block_barrier();
    if (seat.slot > 0) return;
    for (u32 slot = 1; slot < args.slots; ++slot) {
#pragma unroll
        for (u32 i = 0; i < N; ++i) {
            sums[i] += all[i * COLUMN_THREADS + slot * args.threads + seat.lane];
        }
    }
}

// Writes the sums of N columns of a group, those that are wanted.
template <u32 N>
DEVICE void write_sums(const BackwardArgs& args, u32 group, u32 column, const float* weight,
                       const float* bias) {
    u64 to = args.sums + 4 * (group * args.columns + column);
    if (args.d_weight != 0) {
        for (u32 i = 0; i < N; ++i) store_float(to + 4 * i, weight[i]);
        to += 4 * u64(args.channels);
    }
    if (args.d_bias != 0) {
        for (u32 i = 0; i < N; ++i) store_float(to + 4 * i, bias[i]);
    }
}

// The sum over all threads of a block, for each.
DEVICE double sum_of_block(double value) {
    SHARED(double, sums, SUM_THREADS);
    const u32 thread = thread_index(), threads = block_threads();
    block_barrier();
    sums[thread] = value;
    block_barrier();
    for (u32 n = SUM_THREADS / 2; n > 0; n /= 2) {
        if (n >= threads) continue;
        if (thread < n && thread + n < threads) sums[thread] += sums[thread + n];
        block_barrier();
    }
    return sums[0];
}

#define BACKWARD_KERNEL(name, max_threads, min_blocks)                                             \
    KERNEL_WITH(BackwardArgs, name, max_threads, min_blocks)
