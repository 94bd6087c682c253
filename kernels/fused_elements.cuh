// Functions of each element by itself with more fused around them: DyT, DyISRU, Derf. As in
// elements.cuh a thread stays in its column; a scale that has to be computed from a whole row takes
// the kernels of fused_rows.cuh.
#pragma once

#include "elements.cuh"
#include "fused_rows.cuh"

// Either of two forms of a function, as the call asks.
template <class Full, class Short> struct FullOrShort {
    Full full;
    Short brief;
    bool is_short;

    MEMBER explicit FullOrShort(const Args& args)
        : full(args), brief(args), is_short(args.precision == PRECISION_SHORT) {}
    MEMBER float operator()(float x) const { return is_short ? brief(x) : full(x); }
};

// N elements are one access, of which AT_ONCE of a thread are in flight at once.
template <class F, class X, u32 N, u32 AT_ONCE = 2> DEVICE void map_fused(const Args& args) {
    const Items items = in_rows<N>(args);
    const F function(args);
    Operands<N> operands;
    if (items.left > 0) operands.load(args, items.column);
    wait_for_previous_grid();
    allow_next_grid();
    operands.widen(args);
    const bool adds = args.addend.type != ABSENT;
    const bool per_row = args.scale == SCALE_READ_PER_ROW;
    const float factor = per_row ? 1.0f : known_factor(args, RowIndex{0, 0});
#pragma unroll 1
    for (u32 first = 0; first < items.left; first += AT_ONCE * items.step) {
        SomeOfX<X, true, N> some[AT_ONCE];
        Addend<true, N> addend[AT_ONCE];
#pragma unroll
        for (u32 i = 0; i < AT_ONCE; ++i) {
            const u32 row = first + i * items.step;
            const RowIndex at = index_of(args, items.row + row);
            const u64 start = row_start(args.x_stride, args.x_token_stride, at);
            some[i].load(args.x + (start + items.column) * X::size, row < items.left);
            if (adds) addend[i].load(args, at, items.column, row < items.left);
        }
#pragma unroll
        for (u32 i = 0; i < AT_ONCE; ++i) {
            const u32 row = first + i * items.step;
            if (row >= items.left) break;
            const RowIndex at = index_of(args, items.row + row);
            if (adds) addend[i].add_to(some[i], args, at, items.column, N);
            float value[N];
#pragma unroll
            for (u32 j = 0; j < N; ++j) value[j] = function(some[i][j]);
            operands.apply(value, args);
            Output output{args, at, per_row ? known_factor(args, at) : factor, false};
            output.put<true>(value, items.column, N);
        }
    }
}

#define USUAL_FUSED_ELEMENT_KERNEL(function, F, x, X, name, Y, WITH, AT_ONCE)                      \
    KERNEL(function##_##x##_usual_##name, ELEMENT_THREADS, 6) {                                    \
        map_fused<F, X, X::in_16_bytes, AT_ONCE>(usual_fused<X, Y, WITH>(args));                   \
    }
#define USUAL_FUSED_ELEMENT_KERNELS_OF(function, F, x, X)                                          \
    USUAL_FUSED_ELEMENT_KERNEL(function, F, x, X, heads, X, WITH_HEADS, 4)                          \
    USUAL_FUSED_ELEMENT_KERNEL(function, F, x, X, residual, X, WITH_RESIDUAL, 2)                    \
    USUAL_FUSED_ELEMENT_KERNEL(function, F, x, X, gate, X, WITH_GATE, 2)                            \
    USUAL_FUSED_ELEMENT_KERNEL(function, F, x, X, i8, Element<I8>, 0, 4)                            \
    USUAL_FUSED_ELEMENT_KERNEL(function, F, x, X, e4m3, Element<E4M3>, 0, 4)                        \
    USUAL_FUSED_ELEMENT_KERNEL(function, F, x, X, residual_i8, Element<I8>, WITH_RESIDUAL, 2)       \
    USUAL_FUSED_ELEMENT_KERNEL(function, F, x, X, residual_e4m3, Element<E4M3>, WITH_RESIDUAL, 2)

// Rows in registers, four vectors a thread, whose results are computed for the scale, and again.
#define USUAL_SCALED_ROW_KERNEL(function, F, x, X, name, Y, WITH)                                  \
    KERNEL(function##_##x##_usual4_##name, FEW_THREADS, 2) {                                       \
        fused_row_of_elements<F, KeptSegments<X, 4, true>>(                                        \
            usual_fused<X, Y, WITH | WITH_COMPUTED_SCALE>(args));                                  \
    }
#define USUAL_SCALED_ROW_KERNELS_OF(function, F, x, X)                                             \
    USUAL_SCALED_ROW_KERNEL(function, F, x, X, scaled_i8, Element<I8>, 0)                          \
    USUAL_SCALED_ROW_KERNEL(function, F, x, X, scaled_e4m3, Element<E4M3>, 0)                      \
    USUAL_SCALED_ROW_KERNEL(function, F, x, X, residual_scaled_i8, Element<I8>, WITH_RESIDUAL)     \
    USUAL_SCALED_ROW_KERNEL(function, F, x, X, residual_scaled_e4m3, Element<E4M3>, WITH_RESIDUAL)

// The names that src/cuda/kernel.rs looks up.
#define FUSED_ELEMENT_KERNELS_OF(function, F, x, X)                                                \
    KERNEL(function##_##x##_fused_wide, ELEMENT_THREADS, 6) { map_fused<F, X, X::in_16_bytes>(args); } \
    KERNEL(function##_##x##_fused_narrow, ELEMENT_THREADS, 8) { map_fused<F, X, 1>(args); }        \
    KERNEL(function##_##x##_fused_reread, 512, 2) {                                                \
        fused_row_of_elements<F, ReadSegments<X, true>>(args);                                     \
    }                                                                                              \
    KERNEL(function##_##x##_fused_reread_any, 512, 2) {                                            \
        fused_row_of_elements<F, ReadSegments<X, false>>(args);                                    \
    }
#define FUSED_ELEMENT_KERNELS(function, F)                                                         \
    FUSED_ELEMENT_KERNELS_OF(function, F, f32, Element<F32>)                                       \
    FUSED_ELEMENT_KERNELS_OF(function, F, f16, Element<F16>)                                       \
    FUSED_ELEMENT_KERNELS_OF(function, F, bf16, Element<BF16>)                                     \
    USUAL_FUSED_ELEMENT_KERNELS_OF(function, F, bf16, Element<BF16>)                               \
    USUAL_FUSED_ELEMENT_KERNELS_OF(function, F, f16, Element<F16>)                                 \
    USUAL_SCALED_ROW_KERNELS_OF(function, F, bf16, Element<BF16>)                                  \
    USUAL_SCALED_ROW_KERNELS_OF(function, F, f16, Element<F16>)

// All kernels of a function: FULL for results in f32, SHORT for those of fewer bits; AS_ASKED is either.
#define KERNELS_OF_ELEMENTS(function, FULL, SHORT, AS_ASKED)                                       \
    ELEMENT_KERNELS(function, FULL)                                                                \
    ELEMENT_KERNELS(function##_short, SHORT)                                                       \
    USUAL_ELEMENT_KERNELS(function, FULL, SHORT)                                                   \
    FUSED_ELEMENT_KERNELS(function, AS_ASKED)
