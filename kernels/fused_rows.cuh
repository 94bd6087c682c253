// Functions over rows with more fused around them: RMSNorm and LayerNorm; and the others where a
// scale has to be computed from each row's results.
//
// Rows are shared among threads as in rows.cuh and measured in the same order: the statistics have
// the same bits as without anything fused, and so has the result over a residual the bits of that
// over its sum. Rows that do not fit into four vectors a thread, rows without 16-byte access and, but in the
// most usual cases, those of element-wise functions are read again for each pass, from the sum where there is
// one: a thread comes back to the elements that it wrote itself.
#pragma once

#include "fused_row_access.cuh"
#include "rows.cuh"
#include "statistics.cuh"

// The only segment of a row, in registers.
template <class X, u32 V, bool USUAL = false> struct KeptSegments {
    using Row = FusedKeptRow<X, V, USUAL>;
    Row row;

    MEMBER KeptSegments(const Args& args, const Place& place, const RowIndex& at)
        : row(args, place, at, u32(args.channels)) {}

    // Calls `use(segment, its first channel, its channels)`.
    template <class Use> MEMBER void each(const Use& use) { use(row, 0, row.end); }

    MEMBER static void prefetch(const Args& args, const Place& place) {
        // Of LayerNorm of four vectors and any types it takes more registers than there are.
        constexpr bool FITS = USUAL || V < 4;
        if constexpr (FITS) prefetch_operands(args, Part<X>(args, place, 0, u32(args.channels)), 0, true, true);
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

// The number of the row, made anew: to keep it from where it was first needed there are no registers.
DEVICE u64 row_now(const Args& args, RowIndex at) {
    forget(at.token);
    return at.row(args);
}

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
        // A copy: nothing comes after it that would have to know what it leaves behind.
        const float most = min_nan(Group(group).largest(output.largest), 0x1.fffffep127f);
        const float scale = scale_for(args.y_type, most);
        const u32 word[1] = {as_bits(scale)};
        const u64 row = row_now(args, at);
        if (place.live && place.lane == 0) store_4(args.scales + 4 * row, word);
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
    if (args.statistics == STATISTICS_GIVEN) {
        const Statistics known = Statistics::load(args.statistics_address + 16 * at.row(args));
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
        const u64 address = args.statistics_address + 16 * row_now(args, at);
        if (place.live && place.lane == 0) F::statistics(total, float(args.channels)).store(address);
        return;
    }
    finish_row(F(total, per_channel, args), segments, group, args, place, at);
}

// The same for a function of each element by itself.
template <class F, class Segments> DEVICE void fused_row_of_elements(const Args& args) {
    const Place place = place_in_rows(args);
    const RowIndex at = index_of(args, place.live ? place.row : 0);
    Segments::prefetch(args, place);
    wait_for_previous_grid();
    Segments segments(args, place, at);
    Group group(args.threads);
    finish_row(F(args), segments, group, args, place, at);
}

// The names that src/cuda/kernel.rs looks up. Those with `usual` are for operands, residual and gate
// of the type of x.
#define USUAL_FUSED_KERNEL(function, F, x, X, V, name, Y, WITH)                                    \
    KERNEL(function##_##x##_usual##V##_##name, FEW_THREADS, 2) {                           \
        fused_row<F, KeptSegments<X, V, true>>(usual_fused<X, Y, WITH>(args));                     \
    }
#define USUAL_FUSED_ROW_KERNELS_OF(function, F, x, X, V)                                           \
    USUAL_FUSED_KERNEL(function, F, x, X, V, heads, X, WITH_HEADS)                                 \
    USUAL_FUSED_KERNEL(function, F, x, X, V, residual, X, WITH_RESIDUAL)                           \
    USUAL_FUSED_KERNEL(function, F, x, X, V, gate, X, WITH_GATE)                                   \
    USUAL_FUSED_KERNEL(function, F, x, X, V, i8, Element<I8>, 0)                                   \
    USUAL_FUSED_KERNEL(function, F, x, X, V, e4m3, Element<E4M3>, 0)                               \
    USUAL_FUSED_KERNEL(function, F, x, X, V, residual_i8, Element<I8>, WITH_RESIDUAL)              \
    USUAL_FUSED_KERNEL(function, F, x, X, V, residual_e4m3, Element<E4M3>, WITH_RESIDUAL)          \
    USUAL_FUSED_KERNEL(function, F, x, X, V, scaled_i8, Element<I8>, WITH_COMPUTED_SCALE)          \
    USUAL_FUSED_KERNEL(function, F, x, X, V, scaled_e4m3, Element<E4M3>, WITH_COMPUTED_SCALE)      \
    USUAL_FUSED_KERNEL(function, F, x, X, V, residual_scaled_i8, Element<I8>,                      \
                       WITH_RESIDUAL | WITH_COMPUTED_SCALE)                                        \
    USUAL_FUSED_KERNEL(function, F, x, X, V, residual_scaled_e4m3, Element<E4M3>,                  \
                       WITH_RESIDUAL | WITH_COMPUTED_SCALE)
#define FUSED_ROW_KERNELS_OF(function, F, x, X)                                                    \
    KERNEL(function##_##x##_fused_keep2, 512, 2) { fused_row<F, KeptSegments<X, 2>>(args); }       \
    KERNEL(function##_##x##_fused_keep4, 512, 2) { fused_row<F, KeptSegments<X, 4>>(args); }       \
    KERNEL(function##_##x##_fused_reread, 512, 2) { fused_row<F, ReadSegments<X, true>>(args); }   \
    KERNEL(function##_##x##_fused_reread_any, 512, 2) { fused_row<F, ReadSegments<X, false>>(args); }
#define FUSED_ROW_KERNELS(function, F)                                                             \
    FUSED_ROW_KERNELS_OF(function, F, f32, Element<F32>)                                           \
    FUSED_ROW_KERNELS_OF(function, F, f16, Element<F16>)                                           \
    FUSED_ROW_KERNELS_OF(function, F, bf16, Element<BF16>)                                         \
    USUAL_FUSED_ROW_KERNELS_OF(function, F, bf16, Element<BF16>, 2)                                \
    USUAL_FUSED_ROW_KERNELS_OF(function, F, bf16, Element<BF16>, 4)                                \
    USUAL_FUSED_ROW_KERNELS_OF(function, F, f16, Element<F16>, 2)                                  \
    USUAL_FUSED_ROW_KERNELS_OF(function, F, f16, Element<F16>, 4)
