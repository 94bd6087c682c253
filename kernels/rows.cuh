// Functions that need a statistic of the whole row: RMSNorm and LayerNorm.
//
// A row is cut into segments, a segment into vectors of 16 bytes. Thread t of T holds the
// vectors t, t + T, t + 2T, … of a segment. Each segment is measured by itself and the measures
// are merged in order. That is all that decides the order of additions, and the launch planner
// takes it from the number of channels and the type of x alone: the bits of a row are the same in
// any batch, at any alignment, whichever of these kernels it goes through:
//
// keep    the only segment of the row, or with a cluster each block's own, stays in registers
// reread  all segments one after the other by the same threads, read once more for the output;
//         for rows that no cluster can hold, and (`reread_any`) for those without 16-byte access
#pragma once

#include "row_access.cuh"

// Four sums side by side, so that an addition need not wait for the one before.
struct Chains {
    float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    MEMBER void add(u32 i, float x) { sum[i % 4] += x; }
    MEMBER void add_square(u32 i, float x) { add_product(i, x, x); }
    MEMBER void add_product(u32 i, float x, float y) { sum[i % 4] = multiply_add(x, y, sum[i % 4]); }
    MEMBER float total() const { return (sum[0] + sum[1]) + (sum[2] + sum[3]); }
};

// The channels of segment `s`; 0 for segments past the end of the row.
DEVICE u32 segment_channels(const Args& args, u32 segment, u32 s) {
    const u32 first = s * segment, channels = u32(args.channels);
    const u32 left = channels > first ? channels - first : 0;
    return left < segment ? left : segment;
}

// Where channel `first` of the row goes.
DEVICE u64 output_address(const Args& args, const Place& place, u32 first) {
    return args.y + (place.row * args.y_stride + first) * size_of(args.y_type);
}

// A function F has
//   Measure            what is known of a segment, made of floats
//   measure(row, group, channels), merge(into, channels there, more, its channels)
//   F(measure of the row, 1 / channels, args), operator()(x)
template <class F, class X, u32 V, bool USUAL, Early EARLY = Early::NOTHING>
DEVICE void keep(const Args& args) {
    // Rows that need so many vectors have a block of their own.
    const Place place = V > 4 ? Place{block_index(), thread_index(), true} : place_in_rows(args);
    const u32 channels = u32(args.channels);
    KeptRow<X, V, USUAL, EARLY> row(args, place, 0, channels);
    Group group(args.threads);
    const typename F::Measure measure = F::measure(row, group, channels);
    allow_next_grid();
    row.write(F(measure, args.parameter[1], args), args, 0, output_address(args, place, 0));
}

template <class F, class Row> DEVICE void reread(const Args& args) {
    const Place place = place_in_rows(args);
    wait_for_previous_grid();
    Group group(args.threads);
    const u32 segment = args.threads * args.vectors * Row::N;
    typename F::Measure total{};
    for (u32 s = 0; s < args.segments; ++s) {
        const u32 channels = segment_channels(args, segment, s);
        if (channels == 0) break;
        Row row(args, place, s * segment, channels);
        const typename F::Measure measure = F::measure(row, group, channels);
        if (s == 0) total = measure;
        else F::merge(total, float(s * segment), measure, float(channels));
    }
    allow_next_grid();
    const F function(total, args.parameter[1], args);
    for (u32 s = 0; s < args.segments; ++s) {
        const u32 first = s * segment, channels = segment_channels(args, segment, s);
        if (channels == 0) break;
        Row(args, place, first, channels)
            .write(function, args, first, output_address(args, place, first));
    }
}

#ifdef DYNORM_CLUSTERS
constexpr u32 MAX_CLUSTER = 16;
DEVICE Place place_in_cluster() { return {cluster_index(), thread_index(), true}; }

// One cluster a row, one block a segment.
template <class F, class X, u32 V, bool USUAL> DEVICE void keep_in_cluster(const Args& args) {
    const u32 segment = args.threads * V * X::in_16_bytes;
    const u32 own = segment_channels(args, segment, cluster_rank());
    KeptRow<X, V, USUAL, Early::NOTHING> row(args, place_in_cluster(), cluster_rank() * segment, own);
    Group group(args.threads);

    constexpr u32 words = sizeof(typename F::Measure) / sizeof(float);
    union Shared {
        typename F::Measure measure;
        float word[words];
    };
    Shared mine{F::measure(row, group, own)};
    SHARED(float, given, words);
    SHARED(float, gathered, MAX_CLUSTER * words);
    const u32 thread = thread_index();
    if (thread == 0) {
        for (u32 i = 0; i < words; ++i) given[i] = mine.word[i];
    }
    cluster_arrive();
    cluster_wait();
    allow_next_grid();

    // One after the other they would be waited for one by one.
    if (thread < args.segments) {
        for (u32 i = 0; i < words; ++i) gathered[thread * words + i] = read_shared_of(given + i, thread);
    }
    block_barrier();
    // Nobody may leave while its memory is read.
    cluster_arrive();
    typename F::Measure total{};
#pragma unroll 1
    for (u32 s = 0; s < args.segments; ++s) {
        const u32 channels = segment_channels(args, segment, s);
        if (channels == 0) break;
        for (u32 i = 0; i < words; ++i) mine.word[i] = gathered[s * words + i];
        if (s == 0) total = mine.measure;
        else F::merge(total, float(s * segment), mine.measure, float(channels));
    }
    const u32 first = cluster_rank() * segment;
    const F function(total, args.parameter[1], args);
    row.write(function, args, first, output_address(args, place_in_cluster(), first));
    cluster_wait();
}
#define CLUSTER_KERNELS(function, F, x, X)                                                         \
    KERNEL(function##_##x##_cluster, 512, 2) { keep_in_cluster<F, X, 8, false>(args); }            \
    KERNEL(function##_##x##_usual_cluster, 512, 2) {                                               \
        keep_in_cluster<F, X, 8, true>(usual<X>(args));                                            \
    }
#else
#define CLUSTER_KERNELS(function, F, x, X)
#endif

// The names that src/cuda/kernel.rs looks up; those with `usual` are for calls whose operands and
// output have the type of x.
#define KEEP_KERNEL(function, F, x, X, V)                                                          \
    KERNEL(function##_##x##_keep##V, 512, 2) { keep<F, X, V, false>(args); }
#define USUAL_KEEP_KERNEL(function, F, x, X, name, threads, V, early)                              \
    KERNEL(function##_##x##_usual_##name, threads, 2) {                                            \
        keep<F, X, V, true, Early::early>(usual<X>(args));                                         \
    }
// `keep4_few` for few blocks of so few threads that there are registers for both operands. A row has
// the same bits.
constexpr u32 FEW_THREADS = 384;
#define ROW_KERNELS_OF(function, F, x, X)                                                          \
    KEEP_KERNEL(function, F, x, X, 2)                                                              \
    KEEP_KERNEL(function, F, x, X, 4)                                                              \
    KEEP_KERNEL(function, F, x, X, 8)                                                              \
    USUAL_KEEP_KERNEL(function, F, x, X, keep2, 512, 2, BOTH)                                      \
    USUAL_KEEP_KERNEL(function, F, x, X, keep4_few, FEW_THREADS, 4, BOTH)                          \
    USUAL_KEEP_KERNEL(function, F, x, X, keep4, 512, 4, WEIGHT)                                    \
    USUAL_KEEP_KERNEL(function, F, x, X, keep8, 512, 8, NOTHING)                                   \
    KERNEL(function##_##x##_reread, 512, 2) { reread<F, ReadRow<X>>(args); }                        \
    KERNEL(function##_##x##_reread_any, 512, 2) { reread<F, ReadElements<X>>(args); }                \
    CLUSTER_KERNELS(function, F, x, X)
#define ROW_KERNELS(function, F)                                                                   \
    ROW_KERNELS_OF(function, F, f32, Element<F32>)                                                 \
    ROW_KERNELS_OF(function, F, f16, Element<F16>)                                                 \
    ROW_KERNELS_OF(function, F, bf16, Element<BF16>)
