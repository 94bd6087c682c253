// Functions that need a statistic of the whole row: RMSNorm and LayerNorm.
//
// A row is cut into segments, a segment into vectors of 16 bytes. Thread t of T holds the
// vectors t, t + T, t + 2T, … of a segment. Each segment is measured by itself and the measures
// are merged in order. That is all that decides the order of additions, and the launch planner
// takes it from the number of channels and the type of x alone: the bits of a row are the same in
// any batch, at any alignment, on every device, whichever of these kernels it goes through:
//
// keep    the only segment of the row, or with a cluster each block's own, stays in registers
// reread  all segments one after the other by the same threads, read once more for the output;
//         for rows that no cluster can hold, and (`reread_any`) for those without 16-byte access
#pragma once

#include "group.cuh"
#include "pipeline.cuh"

// Where the calling thread works.
struct Place {
    u64 row;
    u32 lane;  // among the threads of the row or segment
    bool live; // false in threads for rows past the last one, which only help with the sums
};

DEVICE Place place_in_rows(const Args& args) {
    const u64 block = block_index();
    if (args.threads > LANES) return {block, thread_index(), true};
    // A power of two: several rows a block, each within a warp.
    const u32 shift = 31 - leading_zeros(args.threads);
    const u64 row = block * (block_threads() >> shift) + (thread_index() >> shift);
    return {row, thread_index() & (args.threads - 1), row < args.rows};
}

// The thread's channels of a segment.
template <class X> struct Part {
    static constexpr u32 N = X::in_16_bytes;
    u64 x;       // address of the segment
    u32 channel; // of the thread's first vector, from there
    u32 step;    // from one of its vectors to the next
    u32 end;     // channels of the segment; 0 where there is no row

    MEMBER Part(const Args& args, const Place& place, u32 first, u32 channels)
        : x(args.x + (place.row * args.x_stride + first) * X::size), channel(place.lane * N),
          step(args.threads * N), end(place.live ? channels : 0) {}
};

// Vectors of one thread in registers.
template <class X, u32 V> struct KeptRow : Part<X> {
    using Part<X>::N, Part<X>::channel, Part<X>::step, Part<X>::end;
    // With more, weights do not fit beside the row.
    static constexpr bool EARLY_WEIGHT = V <= 4;
    RawOf<X, N> raw[V];
    Raw<4> weight[EARLY_WEIGHT ? V : 1]; // the first 16 bytes a vector

    MEMBER KeptRow(const Args& args, const Place& place, u32 first, u32 channels)
        : Part<X>(args, place, first, channels) {
        // Nothing that a previous kernel wrote but x: weights need not wait for it.
#pragma unroll
        for (u32 k = 0; k < V; ++k) {
            const u32 c = channel + k * step;
            if (c >= end) break;
            prefetch_operand(args.bias, args.bias_type, first + c);
            if (EARLY_WEIGHT) load_head(weight[k].word, args, first + c);
            else prefetch_operand(args.weight, args.weight_type, first + c);
        }
        wait_for_previous_grid();
#pragma unroll
        for (u32 k = 0; k < V; ++k) {
            const u32 c = channel + k * step;
            load_bytes_if<16>(c < end, raw[k].word, this->x + u64(c) * X::size);
        }
    }

    // Calls `visit(i, x)` for the thread's elements in order, i being the number in the vector.
    template <class Visit> MEMBER void each(const Visit& visit) {
#pragma unroll
        for (u32 k = 0; k < V; ++k) {
            if (channel + k * step >= end) break;
#pragma unroll
            for (u32 i = 0; i < N; ++i) visit(i, widen<X>(raw[k].word, i));
            for (u32& word : raw[k].word) forget(word);
        }
    }

    MEMBER static void load_head(u32* word, const Args& args, u64 channel) {
        if (args.weight_type == F32) load_bytes<16>(word, args.weight + 4 * channel);
        else if (args.weight_type != ABSENT) load_bytes<2 * N>(word, args.weight + 2 * channel);
    }

    // Uses the row up. Registers have no index, so a loop over them must move them: two vectors a
    // turn. Unrolled, it would be several times the code and not fit in registers.
    template <class Function>
    MEMBER void write(const Function& function, const Args& args, u32 first, u64 y) {
        constexpr u32 turn = 2;
#pragma unroll 1
        for (u32 c = channel; c < end; c += turn * step) {
#pragma unroll
            for (u32 k = 0; k < turn; ++k) {
                const u32 at = c + k * step;
                if (at >= end) break;
                const FromMemory<N> memory{args.weight, first + at, args.weight_type};
                const FromMemory<N> bias{args.bias, first + at, args.bias_type};
                const u64 to = y + u64(at) * size_of(args.y_type);
                if (EARLY_WEIGHT) {
                    const FromHead<N> early{weight[k].word, memory};
                    finish<X, N>(function, raw[k].word, early, bias, args, to);
                } else {
                    finish<X, N>(function, raw[k].word, memory, bias, args, to);
                }
            }
#pragma unroll
            for (u32 k = turn; k < V; ++k) {
                raw[k - turn] = raw[k];
                if (EARLY_WEIGHT) weight[k - turn] = weight[k];
            }
        }
    }
};

// Vectors of one thread in memory, loaded each time they are needed, AT_ONCE at a time.
template <class X> struct ReadRow : Part<X> {
    using Part<X>::N, Part<X>::channel, Part<X>::step, Part<X>::end;
    static constexpr u32 AT_ONCE = 4;
    u32 vectors;

    MEMBER ReadRow(const Args& args, const Place& place, u32 first, u32 channels)
        : Part<X>(args, place, first, channels), vectors(args.vectors) {}

    // Calls `visit(channel, words)` for each vector.
    template <class Visit> MEMBER void each_vector(const Visit& visit) const {
#pragma unroll 1
        for (u32 k = 0; k < vectors; k += AT_ONCE) {
            const u32 c = channel + k * step;
            RawOf<X, N> raw[AT_ONCE];
#pragma unroll
            for (u32 j = 0; j < AT_ONCE; ++j) {
                const u32 at = c + j * step;
                load_bytes_if<16>(at < end, raw[j].word, this->x + u64(at) * X::size);
            }
#pragma unroll
            for (u32 j = 0; j < AT_ONCE; ++j) {
                if (c + j * step >= end) break;
                visit(c + j * step, raw[j].word);
            }
        }
    }

    template <class Visit> MEMBER void each(const Visit& visit) const {
        each_vector([&](u32, const u32* word) {
#pragma unroll
            for (u32 i = 0; i < N; ++i) visit(i, widen<X>(word, i));
        });
    }

    template <class Function>
    MEMBER void write(const Function& function, const Args& args, u32 first, u64 y) const {
        each_vector([&](u32 c, const u32* word) {
            const FromMemory<N> weight{args.weight, first + c, args.weight_type};
            const FromMemory<N> bias{args.bias, first + c, args.bias_type};
            finish<X, N>(function, word, weight, bias, args, y + u64(c) * size_of(args.y_type));
        });
    }
};

// The same at any alignment: measured in the same vectors, element by element; written one element
// a thread, side by side.
template <class X> struct ReadElements : Part<X> {
    using Part<X>::N, Part<X>::channel, Part<X>::step, Part<X>::end;
    u32 vectors;

    MEMBER ReadElements(const Args& args, const Place& place, u32 first, u32 channels)
        : Part<X>(args, place, first, channels), vectors(args.vectors) {}

    template <class Visit> MEMBER void each(const Visit& visit) const {
#pragma unroll 1
        for (u32 k = 0; k < vectors; ++k) {
            const u32 c = channel + k * step;
            Raw<1> raw[N];
#pragma unroll
            for (u32 i = 0; i < N; ++i) {
                load_bytes_if<X::size>(c + i < end, raw[i].word, this->x + u64(c + i) * X::size);
            }
#pragma unroll
            for (u32 i = 0; i < N; ++i) {
                if (c + i < end) visit(i, widen<X>(raw[i].word, 0));
            }
        }
    }

    template <class Function>
    MEMBER void write(const Function& function, const Args& args, u32 first, u64 y) const {
#pragma unroll 4
        for (u32 c = channel / N; c < end; c += step / N) {
            Raw<1> raw;
            load_bytes<X::size>(raw.word, this->x + u64(c) * X::size);
            const FromMemory<1> weight{args.weight, first + c, args.weight_type};
            const FromMemory<1> bias{args.bias, first + c, args.bias_type};
            finish<X, 1>(function, raw.word, weight, bias, args, y + u64(c) * size_of(args.y_type));
        }
    }
};

// Four sums side by side, so that an addition need not wait for the one before.
struct Chains {
    float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    MEMBER void add(u32 i, float x) { sum[i % 4] += x; }
    MEMBER void add_square(u32 i, float x) { sum[i % 4] = multiply_add(x, x, sum[i % 4]); }
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
//   F(measure of the row, args), operator()(x)
template <class F, class X, u32 V> DEVICE void keep(const Args& args) {
    // Rows that need so many vectors have a block of their own.
    const Place place = V > 4 ? Place{block_index(), thread_index(), true} : place_in_rows(args);
    const u32 channels = u32(args.channels);
    KeptRow<X, V> row(args, place, 0, channels);
    Group group(args.threads);
    const typename F::Measure measure = F::measure(row, group, channels);
    allow_next_grid();
    row.write(F(measure, args), args, 0, output_address(args, place, 0));
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
    const F function(total, args);
    for (u32 s = 0; s < args.segments; ++s) {
        const u32 first = s * segment, channels = segment_channels(args, segment, s);
        if (channels == 0) break;
        Row(args, place, first, channels)
            .write(function, args, first, output_address(args, place, first));
    }
}

#ifdef DYNORM_CLUSTERS
DEVICE Place place_in_cluster() { return {cluster_index(), thread_index(), true}; }

// One cluster a row, one block a segment.
template <class F, class X, u32 V> DEVICE void keep_in_cluster(const Args& args) {
    const u32 segment = args.threads * V * X::in_16_bytes;
    const u32 own = segment_channels(args, segment, cluster_rank());
    KeptRow<X, V> row(args, place_in_cluster(), cluster_rank() * segment, own);
    Group group(args.threads);

    constexpr u32 words = sizeof(typename F::Measure) / sizeof(float);
    union Shared {
        typename F::Measure measure;
        float word[words];
    };
    Shared mine{F::measure(row, group, own)};
    SHARED(float, given, words);
    if (thread_index() == 0) {
        for (u32 i = 0; i < words; ++i) given[i] = mine.word[i];
    }
    cluster_arrive();
    cluster_wait();
    allow_next_grid();

    typename F::Measure total{};
    for (u32 s = 0; s < args.segments; ++s) {
        const u32 channels = segment_channels(args, segment, s);
        if (channels == 0) break;
        for (u32 i = 0; i < words; ++i) mine.word[i] = read_shared_of(given + i, s);
        if (s == 0) total = mine.measure;
        else F::merge(total, float(s * segment), mine.measure, float(channels));
    }
    // Nobody may leave while its memory is read.
    cluster_arrive();
    const u32 first = cluster_rank() * segment;
    row.write(F(total, args), args, first, output_address(args, place_in_cluster(), first));
    cluster_wait();
}
#define CLUSTER_KERNEL(function, F, x, X)                                                          \
    KERNEL(function##_##x##_cluster, 512, 2) { keep_in_cluster<F, X, 8>(args); }
#else
#define CLUSTER_KERNEL(function, F, x, X)
#endif

// The names that src/cuda/kernel.rs looks up.
#define ROW_KERNELS_OF(function, F, x, X)                                                          \
    KERNEL(function##_##x##_keep4, 512, 2) { keep<F, X, 4>(args); }                                \
    KERNEL(function##_##x##_keep8, 512, 2) { keep<F, X, 8>(args); }                                \
    KERNEL(function##_##x##_reread, 512, 2) { reread<F, ReadRow<X>>(args); }                        \
    KERNEL(function##_##x##_reread_any, 512, 2) { reread<F, ReadElements<X>>(args); }                \
    CLUSTER_KERNEL(function, F, x, X)
#define ROW_KERNELS(function, F)                                                                   \
    ROW_KERNELS_OF(function, F, f32, Element<F32>)                                                 \
    ROW_KERNELS_OF(function, F, f16, Element<F16>)                                                 \
    ROW_KERNELS_OF(function, F, bf16, Element<BF16>)
