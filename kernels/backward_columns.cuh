// Gradients column by column: a thread stays with its N channels, reads x and dy of the rows of its group, and keeps the sums
// over them. All of DyT, DyISRU and Derf; and of RMSNorm and LayerNorm what is left once rows have been read for
// what is to be known of them, where backward_rows.cuh cannot keep them.
#pragma once

#include "backward.cuh"

// Writes the sums of the gradients by parameters of all threads of the block.
template <u32 PARAMETERS>
DEVICE void write_parameter_sums(const BackwardArgs& args, const double (&by)[MOST_PARAMETERS]) {
    for (u32 p = 0; p < PARAMETERS; ++p) {
        const double sum = sum_of_block(by[p]);
        if (thread_index() > 0) continue;
        const u64 to = args.parameter_sums + 4 * (u64(block_index()) * 2 * MOST_PARAMETERS + 2 * p);
        const float high = float(sum);
        store_float(to, high);
        // Infinity less itself would be none.
        store_float(to + 4, finite(high) == high ? float(sum - high) : 0.0f);
    }
}

// F has F(args, row), at(x, df) and PARAMETERS.
template <class F, class X, u32 N> DEVICE void columns(const BackwardArgs& args) {
    const u32 block = block_index();
    const u32 group = u32(u64(block) * args.column_magic >> args.column_shift);
    const u32 column_block = block - group * args.column_blocks;
    const Seat seat(args);
    const u32 column = (column_block * args.threads + seat.lane) * N;
    const u32 end = column < args.channels ? args.rows : 0;
    const u32 step = args.groups * args.slots;
    wait_for_previous_grid();
    const Weights<N> weight(args, column, end > 0);
    float weight_sums[N] = {}, bias_sums[N] = {};
    double by[MOST_PARAMETERS] = {};
    u32 row = group * args.slots + seat.slot;
    Both<X, N> now, next;
    now.load(args, row, column, row < end);
    F function(args, row < end ? row : 0);
#pragma unroll 1
    for (; row < end; row += step) {
        // In flight while this one is worked on.
        const u32 after = row + step;
        next.load(args, after, column, after < end);
        const F next_function(args, after < end ? after : row);
        float by_row[MOST_PARAMETERS] = {};
        differentiate(function, now, weight, weight_sums, bias_sums, by_row,
                      address_in<X>(args, args.dx, row, column));
#pragma unroll
        for (u32 p = 0; p < MOST_PARAMETERS; ++p) by[p] += by_row[p];
        now = next;
        function = next_function;
    }
    add_slots<N>(args, seat, weight_sums);
    add_slots<N>(args, seat, bias_sums);
    if (seat.slot == 0 && column < args.channels) {
        write_sums<N>(args, group, column, weight_sums, bias_sums);
    }
    if constexpr (F::PARAMETERS > 0) {
        if (args.d_parameters != 0) write_parameter_sums<F::PARAMETERS>(args, by);
    }
}

// Adds up the sums of all groups: 32 columns a block, as many slices of the groups as it has warps.
DEVICE void add_up_columns(const BackwardArgs& args) {
    constexpr u32 WIDTH = 32, SLICES = SUM_THREADS / WIDTH;
    SHARED(double, sums, SUM_THREADS);
    const u32 lane = thread_index() % WIDTH, slice = thread_index() / WIDTH;
    const u64 column = u64(block_index()) * WIDTH + lane;
    double sum = 0.0;
    if (column < args.columns) {
#pragma unroll 4
        for (u32 group = slice; group < args.groups; group += SLICES) {
            sum += load_float(args.sums + 4 * (group * args.columns + column));
        }
    }
    sums[thread_index()] = sum;
    block_barrier();
    if (slice > 0 || column >= args.columns) return;
    for (u32 i = 1; i < SLICES; ++i) sum += sums[i * WIDTH + lane];
    const bool is_weight = args.d_weight != 0 && column < args.channels;
    const u64 channel = is_weight || args.d_weight == 0 ? column : column - args.channels;
    store_float((is_weight ? args.d_weight : args.d_bias) + 4 * channel, float(sum));
}

// Adds up the sums of all blocks, of the gradients by parameters.
template <u32 PARAMETERS> DEVICE void add_up_parameters(const BackwardArgs& args) {
    for (u32 p = 0; p < PARAMETERS; ++p) {
        double sum = 0.0;
        for (u32 block = thread_index(); block < args.parameter_blocks; block += SUM_THREADS) {
            const u64 from = args.parameter_sums + 4 * (u64(block) * 2 * MOST_PARAMETERS + 2 * p);
            sum += double(load_float(from)) + double(load_float(from + 4));
        }
        const double total = sum_of_block(sum);
        if (thread_index() == 0) store_float(args.d_parameters + 4 * p, float(total * args.factor[p]));
    }
}

// A block more than there are for columns is for the parameters.
template <u32 PARAMETERS> DEVICE void add_up(const BackwardArgs& args) {
    wait_for_previous_grid();
    if constexpr (PARAMETERS > 0) {
        if (block_index() >= args.column_blocks) return add_up_parameters<PARAMETERS>(args);
    }
    add_up_columns(args);
}

// The names that src/cuda/backward/kernel.rs looks up: accesses of 16 bytes, and of one element.
#define COLUMN_KERNELS_OF(function, F, x, X)                                                       \
    BACKWARD_KERNEL(function##_backward_##x##_columns, COLUMN_THREADS, 6) {                        \
        columns<F, X, X::in_16_bytes>(args);                                                       \
    }                                                                                              \
    BACKWARD_KERNEL(function##_backward_##x##_columns_any, COLUMN_THREADS, 6) {                    \
        columns<F, X, 1>(args);                                                                    \
    }                                                                                              \
    BACKWARD_KERNEL(function##_backward_##x##_add_up, SUM_THREADS, 1) { add_up<F::PARAMETERS>(args); }
// FULL for f32, SHORT, which may know the value as exactly as results of 16 bits need it, for the others.
#define COLUMN_KERNELS(function, FULL, SHORT)                                                      \
    COLUMN_KERNELS_OF(function, FULL, f32, Element<F32>)                                           \
    COLUMN_KERNELS_OF(function, SHORT, f16, Element<F16>)                                          \
    COLUMN_KERNELS_OF(function, SHORT, bf16, Element<BF16>)
