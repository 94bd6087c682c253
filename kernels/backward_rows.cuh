// Gradients of RMSNorm and LayerNorm, for which a row has to be known as a whole:
//
// keep      rows of x and dy in registers, read once; a thread has the same channels of every row of its group, and so
//           the sums over rows in registers, too
// measure   finds what is to be known of rows and writes it, for `columns` to read: rows that are too long to be kept, and those
//           without 16-byte access. It adds up in the same order. RMSNorm's are read twice in all; of LayerNorm's x three
//           times, and once more where its mean is far from 0.
#pragma once

#include "backward_columns.cuh"
#include "rows.cuh"

// What is known of a row, in memory.
template <u32 COUNT> struct Words {
    float word[COUNT];
};
template <u32 COUNT> DEVICE u64 row_statistics(const BackwardArgs& args, u32 row) {
    return args.statistics + 4 * COUNT * u64(row);
}
template <u32 COUNT> DEVICE Words<COUNT> read_statistics(const BackwardArgs& args, u32 row) {
    Words<COUNT> words;
#pragma unroll
    for (u32 i = 0; i < COUNT; ++i) words.word[i] = load_float(row_statistics<COUNT>(args, row) + 4 * i);
    return words;
}

// The calling thread's V vectors of a row.
template <class X, u32 V> struct KeptPair {
    static constexpr u32 N = X::in_16_bytes;
    static constexpr bool KEPT = true;
    // More weights would not fit in registers beside the row and the sums, nor would the next row.
    static constexpr bool HAS_ROOM = V <= 2;

    const BackwardArgs& args;
    u32 lane, end = 0;
    Both<X, N> at[V];
    Weights<N> kept[HAS_ROOM ? V : 1];

    MEMBER KeptPair(const BackwardArgs& args, u32 lane) : args(args), lane(lane) {
        if constexpr (HAS_ROOM) {
#pragma unroll
            for (u32 k = 0; k < V; ++k) kept[k] = Weights<N>(args, channel(k), channel(k) < args.channels);
        }
    }
    MEMBER u32 channel(u32 k) const { return (lane + k * args.threads) * N; }
    MEMBER Weights<N> weight(u32 k) const {
        if constexpr (HAS_ROOM) return kept[k];
        else return Weights<N>(args, channel(k), true);
    }

    // Reads a row to `to`; zeros behind its end and where there is none.
    MEMBER void load(Both<X, N> (&to)[V], u32 row) const {
        const u32 channels = row < args.rows ? args.channels : 0;
#pragma unroll
        for (u32 k = 0; k < V; ++k) to[k].load(args, row, channel(k), channel(k) < channels);
    }
    // Asks for a row: one thread for each cache line.
    MEMBER void fetch(u32 row) const {
        constexpr u32 IN_A_LINE = 8;
        if (row >= args.rows || lane % IN_A_LINE != 0) return;
#pragma unroll
        for (u32 k = 0; k < V; ++k) {
            if (channel(k) >= args.channels) break;
            prefetch(address_in<X>(args, args.x, row, channel(k)));
            prefetch(address_in<X>(args, args.dy, row, channel(k)));
        }
    }

    // Calls `visit(i, x)`, or `visit(i, x, weight * dy)`, for the elements in order, i being the number in the vector.
    template <class Visit> MEMBER void each(const Visit& visit) {
#pragma unroll
        for (u32 k = 0; k < V; ++k) {
            if (channel(k) >= end) break;
#pragma unroll
            for (u32 i = 0; i < N; ++i) visit(i, widen<X>(at[k].x.word, i));
            for (u32& word : at[k].x.word) forget(word);
        }
    }
    template <class Visit> MEMBER void each_pair(const Visit& visit) {
#pragma unroll
        for (u32 k = 0; k < V; ++k) {
            if (channel(k) >= end) break;
            const Weights<N> weights = weight(k);
#pragma unroll
            for (u32 i = 0; i < N; ++i) {
                visit(i, widen<X>(at[k].x.word, i), widen<X>(at[k].dy.word, i) * weights[i]);
            }
            for (u32& word : at[k].x.word) forget(word);
            for (u32& word : at[k].dy.word) forget(word);
        }
    }
};

// The same, read whenever it is gone through; WHOLE by 16 bytes, else element by element.
template <class X, bool WHOLE> struct ReadPair {
    static constexpr u32 N = X::in_16_bytes;
    static constexpr bool KEPT = false;

    const BackwardArgs& args;
    u32 row, lane, end; // channels; 0 where there is no row

    template <class Visit> MEMBER void each(const Visit& visit) {
        go_through([&](u32 c, u32 first) {
            RawOf<X, PART> x;
            load_bytes<PART * X::size>(x.word, address_in<X>(args, args.x, row, c));
#pragma unroll
            for (u32 i = 0; i < PART; ++i) visit(first + i, widen<X>(x.word, i));
        });
    }
    template <class Visit> MEMBER void each_pair(const Visit& visit) {
        go_through([&](u32 c, u32 first) {
            Both<X, PART> at;
            at.load(args, row, c, true);
            const Weights<PART> weight(args, c, true);
#pragma unroll
            for (u32 i = 0; i < PART; ++i) {
                visit(first + i, widen<X>(at.x.word, i), widen<X>(at.dy.word, i) * weight[i]);
            }
        });
    }

  private:
    static constexpr u32 PART = WHOLE ? N : 1;

    // Calls `part` for every channel that PART elements are read from, and its number in the vector.
    template <class Part> MEMBER void go_through(const Part& part) const {
#pragma unroll 1
        for (u32 first = lane * N; first < end; first += args.threads * N) {
#pragma unroll
            for (u32 done = 0; done < N; done += PART) {
                if (first + done >= end) break;
                part(first + done, done);
            }
        }
    }
};

// F has of(row, group, args), which all threads of the row are given alike, besides what `columns` asks for; and F(words),
// words(), of which it is made again, are WORDS f32.
template <class F, class X, u32 V> DEVICE void keep_pairs(const BackwardArgs& args) {
    constexpr u32 N = X::in_16_bytes;
    const Seat seat(args);
    const u32 step = args.groups * args.slots;
    wait_for_previous_grid();
    KeptPair<X, V> row(args, seat.lane);
    Group group(args.threads);
    float weight_sums[V * N] = {}, bias_sums[V * N] = {}, none[MOST_PARAMETERS] = {};
    // All threads go round as often, also those that have no row the last time: they help with sums.
    u32 first = block_index() * args.slots;
    row.load(row.at, first + seat.slot);
#pragma unroll 1
    for (; first < args.rows; first += step) {
        const u32 index = first + seat.slot;
        Both<X, N> next[V];
        if constexpr (row.HAS_ROOM) row.load(next, index + step);
        else row.fetch(index + step);
        row.end = index < args.rows ? args.channels : 0;
        const F function = F::of(row, group, args);
#pragma unroll
        for (u32 k = 0; k < V; ++k) {
            const u32 c = row.channel(k);
            if (c >= row.end) break;
            differentiate(function, row.at[k], row.weight(k), weight_sums + k * N, bias_sums + k * N, none,
                          address_in<X>(args, args.dx, index, c));
        }
        if constexpr (row.HAS_ROOM) {
#pragma unroll
            for (u32 k = 0; k < V; ++k) row.at[k] = next[k];
        } else {
            row.load(row.at, index + step);
        }
    }
    // Several rows side by side have a vector a thread.
    if constexpr (V == 1) {
        add_slots<N>(args, seat, weight_sums);
        add_slots<N>(args, seat, bias_sums);
    }
    if (seat.slot > 0) return;
#pragma unroll
    for (u32 k = 0; k < V; ++k) {
        const u32 c = row.channel(k);
        if (c >= args.channels) break;
        write_sums<N>(args, block_index(), c, weight_sums + k * N, bias_sums + k * N);
    }
}

template <class F, class X, bool WHOLE> DEVICE void measure_pairs(const BackwardArgs& args) {
    const Seat seat(args);
    const u32 index = block_index() * args.slots + seat.slot;
    wait_for_previous_grid();
    ReadPair<X, WHOLE> row{args, index, seat.lane, index < args.rows ? args.channels : 0};
    Group group(args.threads);
    const F function = F::of(row, group, args);
    if (seat.lane > 0 || index >= args.rows) return;
    const Words<F::WORDS> words = function.words();
#pragma unroll
    for (u32 i = 0; i < F::WORDS; ++i) store_float(row_statistics<F::WORDS>(args, index) + 4 * i, words.word[i]);
}

// The names that src/cuda/backward/kernel.rs looks up.
#define PAIR_KERNELS_OF(function, F, x, X)                                                         \
    BACKWARD_KERNEL(function##_backward_##x##_keep1, 384, 2) { keep_pairs<F, X, 1>(args); }        \
    BACKWARD_KERNEL(function##_backward_##x##_keep2, 512, 1) { keep_pairs<F, X, 2>(args); }        \
    BACKWARD_KERNEL(function##_backward_##x##_keep4, 384, 1) { keep_pairs<F, X, 4>(args); }        \
    BACKWARD_KERNEL(function##_backward_##x##_measure, 512, 2) { measure_pairs<F, X, true>(args); } \
    BACKWARD_KERNEL(function##_backward_##x##_measure_any, 512, 2) { measure_pairs<F, X, false>(args); }
#define PAIR_KERNELS(function, F)                                                                  \
    PAIR_KERNELS_OF(function, F, f32, Element<F32>)                                                \
    PAIR_KERNELS_OF(function, F, f16, Element<F16>)                                                \
    PAIR_KERNELS_OF(function, F, bf16, Element<BF16>)                                              \
    COLUMN_KERNELS(function, F, F)
