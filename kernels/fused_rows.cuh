// Functions over rows with more fused around them: RMSNorm and LayerNorm; and the others where a
// scale has to be computed from each row's results.
//
// Rows are shared among threads as in rows.cuh and measured in the same order: the statistics have
// the same bits as without anything fused, and so has the result over a residual the bits of that
// over its sum. Rows that do not fit into four vectors a thread, rows without 16-byte access and those
// of element-wise functions are read again for each pass, from the sum where there is one: a thread
// comes back to the elements that it wrote itself.
#pragma once

#include "fused.cuh"
#include "rows.cuh"

// What the walks over a row share: pieces of PIECE elements, of which the thread's vectors are made.
template <class X, bool WHOLE> struct FusedPart : Part<X> {
    static constexpr u32 PIECE = WHOLE ? X::in_16_bytes : 4;
    const Args& args;
    const RowIndex& at;
    u32 first; // channel that the segment begins with

    MEMBER FusedPart(const Args& args, const Place& place, const RowIndex& at, u32 first,
                     u32 channels)
        : Part<X>(args, place, first, channels), args(args), at(at), first(first) {
        this->x = args.x + (row_start(args.x_stride, args.x_token_stride, at) + first) * X::size;
    }

    // How many of the piece at channel c of the segment are there.
    MEMBER u32 count(u32 c) const { return c < this->end ? min_of(this->end - c, PIECE) : 0; }
    MEMBER static u32 min_of(u32 a, u32 b) { return a < b ? a : b; }

    // Function, affine and what follows, of the piece at channel c of the segment.
    template <class Function>
    MEMBER void finish(const Function& function, const SomeOfX<X, WHOLE, PIECE>& x, u32 c,
                       Output& output) const {
        const u64 channel = first + c;
        float value[PIECE];
#pragma unroll
        for (u32 i = 0; i < PIECE; ++i) value[i] = function(x[i]);
        affine(value, channel, count(c));
        output.put<WHOLE>(value, channel, count(c));
    }

    MEMBER void affine(float (&value)[PIECE], u64 channel, u32 count) const {
        if constexpr (WHOLE) {
            OperandsInMemory<PIECE>{channel, nullptr}.apply(value, args);
        } else {
            Some<false, PIECE> weight, bias;
            const u32 w = args.weight_type, b = args.bias_type;
            weight.load(args.weight + channel * size_of(w), w, count);
            bias.load(args.bias + channel * size_of(b), b, count);
            weight.widen(w, 1.0f);
            bias.widen(b, -0.0f);
            const float offset = w == ABSENT ? -0.0f : args.weight_offset;
#pragma unroll
            for (u32 i = 0; i < PIECE; ++i) {
                value[i] = multiply_add(value[i], weight[i] + offset, bias[i]);
            }
        }
    }
};

// A row of one segment, in registers.
template <class X> struct FusedKeptRow : FusedPart<X, true> {
    using FusedPart<X, true>::PIECE, FusedPart<X, true>::args, FusedPart<X, true>::at;
    static constexpr u32 V = 4;    // vectors
    SomeOfX<X, true, PIECE> row[V];

    MEMBER FusedKeptRow(const Args& args, const Place& place, const RowIndex& at, u32 channels)
        : FusedPart<X, true>(args, place, at, 0, channels) {
        // The gate comes into play once the row is measured.
        if (args.gate.type != ABSENT) {
#pragma unroll 1
            for (u32 c = this->channel; c < this->end; c += this->step) {
                prefetch(address_in(args.gate, at, c));
            }
        }
        // Beside rows of 16 bits there is no room for four vectors of f32.
        constexpr u32 OF_F32 = X::size == 4 ? V : V / 2;
        const u32 type = args.addend.type;
        if (type == ABSENT) load_row(0, V);
        else if (type == F32) load_and_add<Element<F32>, OF_F32>();
        else if (type == BF16) load_and_add<Element<BF16>, V>();
        else load_and_add<Element<F16>, V>();
    }

    MEMBER void load_row(u32 from, u32 count) {
#pragma unroll
        for (u32 k = 0; k < V; ++k) {
            const u32 c = channel_of(k);
            if (k < from || k >= from + count) continue;
            row[k].load(this->x + u64(c) * X::size, this->count(c));
        }
    }

    // AT_ONCE vectors and their addends of type A are in flight together.
    template <class A, u32 AT_ONCE> MEMBER void load_and_add() {
        const u64 addend = address_in(args.addend, at, 0), sum = address_in(args.sum, at, 0);
#pragma unroll
        for (u32 k = 0; k < V; k += AT_ONCE) {
            SomeOfX<A, true, PIECE> more[AT_ONCE];
            load_row(k, AT_ONCE);
#pragma unroll
            for (u32 j = 0; j < AT_ONCE; ++j) {
                const u32 c = channel_of(k + j);
                more[j].load(addend + u64(c) * A::size, this->count(c));
            }
#pragma unroll
            for (u32 j = 0; j < AT_ONCE; ++j) {
                const u32 c = channel_of(k + j);
                row[k + j].add(more[j], sum + u64(c) * X::size, this->count(c));
            }
        }
    }

    MEMBER u32 channel_of(u32 k) const { return this->channel + k * this->step; }

    template <class Visit> MEMBER void each(const Visit& visit) {
#pragma unroll
        for (u32 k = 0; k < V; ++k) {
            if (channel_of(k) >= this->end) break;
#pragma unroll
            for (u32 i = 0; i < PIECE; ++i) visit(i, row[k][i]);
            row[k].forget_all();
        }
    }

    // Registers have no index, so a loop over them must move them; after all turns they are back
    // where they were.
    template <class Function> MEMBER void write(const Function& function, Output& output) {
#pragma unroll 1
        for (u32 k = 0; k < V; ++k) {
            const u32 c = channel_of(k);
            const SomeOfX<X, true, PIECE> first = row[0];
            if (c < this->end) this->finish(function, first, c, output);
#pragma unroll
            for (u32 to = 0; to + 1 < V; ++to) row[to] = row[to + 1];
            row[V - 1] = first;
        }
    }
};

// A segment of a row, read for each pass; the residual is added in the first.
template <class X, bool WHOLE> struct FusedReadRow : FusedPart<X, WHOLE> {
    using FusedPart<X, WHOLE>::PIECE, FusedPart<X, WHOLE>::args, FusedPart<X, WHOLE>::at;
    static constexpr u32 PIECES = X::in_16_bytes / PIECE; // of a vector
    bool adds;

    MEMBER FusedReadRow(const Args& args, const Place& place, const RowIndex& at, u32 first,
                        u32 channels, bool first_pass)
        : FusedPart<X, WHOLE>(args, place, at, first, channels),
          adds(first_pass && args.addend.type != ABSENT) {
        if (!adds) read_sum();
    }

    MEMBER void read_sum() {
        if (args.addend.type != ABSENT) this->x = address_in(args.sum, at, this->first);
    }

    // Calls `use(piece, channel in the segment)` for the pieces in order.
    template <class Use> MEMBER void walk(const Use& use) {
#pragma unroll 1
        for (u32 k = 0; k < args.vectors * PIECES; ++k) {
            const u32 c = this->channel + k / PIECES * this->step + k % PIECES * PIECE;
            const u32 count = this->count(c);
            if (count == 0) continue;
            SomeOfX<X, WHOLE, PIECE> some;
            some.load(this->x + u64(c) * X::size, count);
            if (adds) {
                Addend<WHOLE, PIECE> addend;
                addend.load(args, at, this->first + c, count);
                addend.add_to(some, args, at, this->first + c, count);
            }
            use(some, c);
        }
        adds = false;
        read_sum();
    }

    template <class Visit> MEMBER void each(const Visit& visit) {
        walk([&](const SomeOfX<X, WHOLE, PIECE>& some, u32 c) {
#pragma unroll
            for (u32 i = 0; i < PIECE; ++i) {
                if (WHOLE || i < this->count(c)) visit(i, some[i]);
            }
        });
    }

    template <class Function> MEMBER void write(const Function& function, Output& output) {
        walk([&](const SomeOfX<X, WHOLE, PIECE>& some, u32 c) {
            this->finish(function, some, c, output);
        });
    }
};

// The only segment of a row, in registers.
template <class X> struct KeptSegments {
    using Row = FusedKeptRow<X>;
    Row row;

    MEMBER KeptSegments(const Args& args, const Place& place, const RowIndex& at)
        : row(args, place, at, u32(args.channels)) {}

    // Calls `use(segment, its first channel, its channels)`.
    template <class Use> MEMBER void each(const Use& use) { use(row, 0, row.end); }

    // Asks for weight and bias, which no kernel that may still run writes, as callers promise.
    MEMBER static void prefetch(const Args& args, const Place& place) {
        constexpr u32 N = X::in_16_bytes;
#pragma unroll 1
        for (u64 c = u64(place.lane) * N; place.live && c < args.channels; c += args.threads * N) {
            prefetch_operand(args.weight, args.weight_type, c);
            prefetch_operand(args.bias, args.bias_type, c);
        }
    }
};

// All segments of a row, one after the other.
template <class X, bool WHOLE> struct ReadSegments {
    using Row = FusedReadRow<X, WHOLE>;
    const Args& args;
    const Place& place;
    const RowIndex& at;
    bool first_pass = true;

    MEMBER ReadSegments(const Args& args, const Place& place, const RowIndex& at)
        : args(args), place(place), at(at) {}

    template <class Use> MEMBER void each(const Use& use) {
        const u32 segment = args.threads * args.vectors * X::in_16_bytes;
#pragma unroll 1
        for (u32 s = 0; s < args.segments; ++s) {
            const u32 first = s * segment, channels = segment_channels(args, segment, s);
            if (channels == 0) break;
            Row row(args, place, at, first, channels, first_pass);
            use(row, first, channels);
        }
        first_pass = false;
    }

    // In rows so long the first few loads of them do not count.
    MEMBER static void prefetch(const Args&, const Place&) {}
};

// Statistics as `RowStatistics` in src/statistics.rs has them: count, mean in two parts, m2.
struct Statistics {
    float count, mean, mean_low, m2;

    MEMBER static Statistics load(u64 address) {
        u32 word[4];
#pragma unroll
        for (u32 i = 0; i < 4; ++i) load_4(word + i, address + 4 * i);
        return {as_float(word[0]), as_float(word[1]), as_float(word[2]), as_float(word[3])};
    }
    MEMBER void store(u64 address) const {
        const u32 word[4] = {as_bits(count), as_bits(mean), as_bits(mean_low), as_bits(m2)};
#pragma unroll
        for (u32 i = 0; i < 4; ++i) store_4(address + 4 * i, word + i);
    }
};

// The way from the function to the output.
template <class Function, class Segments>
DEVICE void finish_row(const Function& function, Segments& segments, Group& group, const Args& args,
                       const Place& place, const RowIndex& at) {
    using Row = typename Segments::Row;
    Output output{args, at, place.live ? known_factor(args, at) : 1.0f, args.scale == SCALE_COMPUTED};
    allow_next_grid();
    // Twice if the scale is to be computed: the first time for the largest result alone.
#pragma unroll 1
    for (;;) {
        segments.each([&](Row& row, u32, u32) { row.write(function, output); });
        if (!output.measures) break;
        output.measures = false;
        const float most = min_nan(group.largest(output.largest), 0x1.fffffep127f);
        const float scale = scale_for(args.y_type, most);
        const u32 word[1] = {as_bits(scale)};
        if (place.live && place.lane == 0) store_4(args.scales + 4 * at.row(args), word);
        output.factor = reciprocal_exact(scale);
    }
}

// F is a function as in rows.cuh; it has besides
//   known(statistics), statistics(measure, channels)
template <class F, class Segments> DEVICE void fused_row(const Args& args) {
    const Place place = place_in_rows(args);
    const RowIndex at = index_of(args, place.live ? place.row : 0);
    Segments::prefetch(args, place);
    wait_for_previous_grid();
    Segments segments(args, place, at);
    Group group(args.threads);
    typename F::Measure total{};
    float per_channel = args.parameter[1];
    const u64 statistics = args.statistics_address + 16 * at.row(args);
    if (args.statistics == STATISTICS_GIVEN) {
        const Statistics known = Statistics::load(statistics);
        total = F::known(known);
        per_channel = reciprocal_exact(known.count);
    } else {
        segments.each([&](typename Segments::Row& row, u32 first, u32 channels) {
            // Threads without a row have no channels; the row's number keeps what they find finite.
            const u32 all = first == 0 && args.segments == 1 ? u32(args.channels) : channels;
            const typename F::Measure measure = F::measure(row, group, all);
            if (first == 0) total = measure;
            else F::merge(total, float(first), measure, float(all));
        });
    }
    if (args.statistics == STATISTICS_WANTED) {
        allow_next_grid();
        if (place.live && place.lane == 0) F::statistics(total, float(args.channels)).store(statistics);
        return;
    }
    finish_row(F(total, per_channel, args), segments, group, args, place, at);
}

// The same for a function of each element by itself.
template <class F, class Segments> DEVICE void fused_row_of_elements(const Args& args) {
    const Place place = place_in_rows(args);
    const RowIndex at = index_of(args, place.live ? place.row : 0);
    wait_for_previous_grid();
    Segments segments(args, place, at);
    Group group(args.threads);
    finish_row(F(args), segments, group, args, place, at);
}

// The names that src/cuda/kernel.rs looks up.
#define FUSED_ROW_KERNELS_OF(function, F, x, X)                                                    \
    KERNEL(function##_##x##_fused_keep4, 512, 2) { fused_row<F, KeptSegments<X>>(args); }          \
    KERNEL(function##_##x##_fused_reread, 512, 2) { fused_row<F, ReadSegments<X, true>>(args); }   \
    KERNEL(function##_##x##_fused_reread_any, 512, 2) { fused_row<F, ReadSegments<X, false>>(args); }
#define FUSED_ROW_KERNELS(function, F)                                                             \
    FUSED_ROW_KERNELS_OF(function, F, f32, Element<F32>)                                           \
    FUSED_ROW_KERNELS_OF(function, F, f16, Element<F16>)                                           \
    FUSED_ROW_KERNELS_OF(function, F, bf16, Element<BF16>)
