// What is fused around a function, for the kernels in fused_rows.cuh and fused_elements.cuh: rows
// that are heads of tokens, a residual that is added before it, a gate and an output of 8 bits
// after it.
//
// All of it is looked at while running, as the types of weight and bias are: the branches are the
// same for all threads. The kernels without any of it do not carry them.
#pragma once

#include "dynorm/functions.cuh"
#include "pipeline.cuh"
#include "quantize.cuh"

// What of it a kernel for usual types has; the others have all of it.
constexpr u32 WITH_HEADS = 1, WITH_RESIDUAL = 2, WITH_GATE = 4, WITH_COMPUTED_SCALE = 8;

// As `usual`, with an output of type Y and a residual and gate of the type of x, and with no more of
// what may be fused than WITH says.
template <class X, class Y, u32 WITH> DEVICE Args usual_fused(const Args& args) {
    Args known = usual<X>(args);
    known.y_type = Y::type;
    known.addend.type = known.sum.type = WITH & WITH_RESIDUAL ? X::type : ABSENT;
    known.gate.type = WITH & WITH_GATE ? X::type : ABSENT;
    if (!(WITH & WITH_HEADS)) known.heads = 1;
    if (WITH & WITH_COMPUTED_SCALE) known.scale = SCALE_COMPUTED;
    else if (Y::size > 1) known.scale = SCALE_NUMBER;
    else if (args.scale != SCALE_READ && args.scale != SCALE_READ_PER_ROW) known.scale = SCALE_NUMBER;
    known.statistics = STATISTICS_NONE;
    known.precision = Y::size <= 2 ? PRECISION_SHORT : PRECISION_FULL;
    return known;
}

// A row, by token and head.
struct RowIndex {
    u64 token;
    u32 head;

    MEMBER u64 row(const Args& args) const { return token * args.heads + head; }
};

DEVICE RowIndex index_of(const Args& args, u64 row) {
    if (args.heads == 1) return {row, 0};
    const u64 token = row * args.head_magic >> args.head_shift;
    return {token, u32(row - token * args.heads)};
}

// Elements from a tensor's first to the row's first.
DEVICE u64 row_start(u64 stride, u64 token_stride, const RowIndex& at) {
    return at.token * token_stride + at.head * stride;
}
DEVICE u64 address_in(const Tensor& tensor, const RowIndex& at, u64 channel) {
    const u64 element = row_start(tensor.stride, tensor.token_stride, at) + channel;
    return tensor.address + element * size_of(tensor.type);
}

// N neighbouring elements: WHOLE, all at one access; else one by one, and only the first `count` are
// there. As they were loaded until `widen`, packed where WHOLE and else a word each; then floats.
template <bool WHOLE, u32 N> struct Some {
    u32 word[N];

    MEMBER void load(u64 address, u32 type, u32 count) {
        if constexpr (WHOLE) {
            if (type == F32) load_bytes_if<4 * N>(count > 0, word, address);
            else if (type != ABSENT) load_bytes_if<2 * N>(count > 0, word, address);
        } else {
            if (type == F32) load_each<4>(address, count);
            else if (type != ABSENT) load_each<2>(address, count);
        }
    }
    MEMBER void widen(u32 type, float absent) {
        if constexpr (WHOLE) {
            widen_operand(word, type, absent);
        } else {
            if (type == BF16) widen_each<Element<BF16>>();
            else if (type == F16) widen_each<Element<F16>>();
            else if (type == ABSENT) fill(absent);
        }
    }
    template <u32 SIZE> MEMBER void load_each(u64 address, u32 count) {
#pragma unroll
        for (u32 i = 0; i < N; ++i) load_bytes_if<SIZE>(i < count, word + i, address + i * SIZE);
    }
    template <class T> MEMBER void widen_each() {
#pragma unroll
        for (u32 i = 0; i < N; ++i) word[i] = as_bits(::widen<T>(word + i, 0));
    }
    MEMBER void fill(float value) {
#pragma unroll
        for (u32 i = 0; i < N; ++i) word[i] = as_bits(value);
    }
    MEMBER float operator[](u32 i) const { return as_float(word[i]); }
};

// The same of x, whose type is known: packed for as long as it is kept.
template <class X, bool WHOLE, u32 N> struct SomeOfX {
    static constexpr u32 WORDS = WHOLE ? (N * X::size + 3) / 4 : N;
    u32 word[WORDS];

    MEMBER void load(u64 address, u32 count) {
        if constexpr (WHOLE) {
            load_bytes_if<N * X::size>(count > 0, word, address);
        } else {
#pragma unroll
            for (u32 i = 0; i < N; ++i) {
                load_bytes_if<X::size>(i < count, word + i, address + i * X::size);
            }
        }
    }
    MEMBER float operator[](u32 i) const {
        return WHOLE ? widen<X>(word, i) : widen<X>(word + i, 0);
    }
    // Adds, rounds, and keeps and stores the sum.
    template <class More> MEMBER void add(const More& addend, u64 sum, u32 count) {
        float value[N];
#pragma unroll
        for (u32 i = 0; i < N; ++i) value[i] = (*this)[i] + addend[i];
        if constexpr (WHOLE) {
            round_to<X>(word, value);
            if (count > 0) store_bytes<N * X::size>(sum, word);
        } else {
#pragma unroll
            for (u32 i = 0; i < N; ++i) {
                const float one[1] = {value[i]};
                round_to<X>(word + i, one);
                if (i < count) store_bytes<X::size>(sum + i * X::size, word + i);
            }
        }
    }
    MEMBER void forget_all() {
        for (u32& bits : word) forget(bits);
    }
};

// What is added to elements of x, and the way of the sum to memory.
template <bool WHOLE, u32 N> struct Addend {
    Some<WHOLE, N> addend;

    MEMBER void load(const Args& args, const RowIndex& at, u64 channel, u32 count) {
        addend.load(address_in(args.addend, at, channel), args.addend.type, count);
    }
    template <class X>
    MEMBER void add_to(SomeOfX<X, WHOLE, N>& x, const Args& args, const RowIndex& at, u64 channel,
                       u32 count) {
        addend.widen(args.addend.type, 0.0f);
        x.add(addend, address_in(args.sum, at, channel), count);
    }
};

// Of the gate's elements that are used next, if they were loaded before, and then of 16 bits.
struct LoadedGate {
    bool is = false;
    Raw<4> raw;
};

// The gate, N elements from `channel` on, a few at a time to need fewer registers.
template <bool WHOLE, u32 N>
DEVICE void apply_gate(float (&value)[N], const Args& args, const RowIndex& at, u64 channel,
                       u32 count, const LoadedGate& loaded) {
    if (args.gate.type == ABSENT) return;
    constexpr u32 CHUNK = N < 4 ? N : 4;
    static_assert(WHOLE || N == CHUNK, "the count is that of one chunk");
    const u64 address = address_in(args.gate, at, channel);
#pragma unroll
    for (u32 first = 0; first < N; first += CHUNK) {
        Some<WHOLE, CHUNK> z;
        if (!loaded.is) {
            z.load(address + first * size_of(args.gate.type), args.gate.type, count);
        } else {
#pragma unroll
            for (u32 i = 0; i < CHUNK; i += 2) z.word[i / 2] = loaded.raw.word[(first + i) / 2];
        }
        z.widen(args.gate.type, 0.0f);
#pragma unroll
        for (u32 i = 0; i < CHUNK; ++i) {
            value[first + i] *= args.y_type != F32 ? dynorm::silu_short(z[i]) : dynorm::silu(z[i]);
        }
    }
}

// What a row's results are multiplied with before they are rounded to 8 bits, if it does not have to
// be computed from them.
DEVICE float known_factor(const Args& args, const RowIndex& at) {
    if (args.scale != SCALE_READ && args.scale != SCALE_READ_PER_ROW) return args.factor;
    u32 scale[1];
    load_4(scale, args.scales + (args.scale == SCALE_READ ? 0 : 4 * at.row(args)));
    return reciprocal_exact(as_float(scale[0]));
}

template <class Y, bool WHOLE, u32 N>
DEVICE void store_some(u64 address, const float (&value)[N], u32 count) {
    if constexpr (WHOLE) {
        RawOf<Y, N> raw;
        if constexpr (Y::size == 1) quantize<Y>(raw.word, value);
        else round_to<Y>(raw.word, value);
        store_bytes<N * Y::size>(address, raw.word);
    } else {
#pragma unroll
        for (u32 i = 0; i < N; ++i) {
            const float one[1] = {value[i]};
            if (i < count) store_some<Y, true>(address + i * Y::size, one, 1);
        }
    }
}

// Where results go: through the gate to the output; or only to the largest of their magnitudes, of
// which NaN is none.
struct Output {
    const Args& args;
    const RowIndex& at;
    float factor;
    bool measures;
    float largest = 0.0f;
    LoadedGate gate{};

    template <bool WHOLE, u32 N> MEMBER void put(float (&value)[N], u64 channel, u32 count) {
        apply_gate<WHOLE>(value, args, at, channel, count, gate);
        if (measures) {
#pragma unroll
            for (u32 i = 0; i < N; ++i) {
                if (WHOLE || i < count) largest = max_number(largest, absolute(value[i]));
            }
            return;
        }
        const u32 type = args.y_type;
        const u64 element = row_start(args.y_stride, args.y_token_stride, at) + channel;
        if (type >= I8) {
#pragma unroll
            for (u32 i = 0; i < N; ++i) value[i] *= factor;
            if (type == I8) store_some<Element<I8>, WHOLE>(args.y + element, value, count);
            else store_some<Element<E4M3>, WHOLE>(args.y + element, value, count);
        } else if (type == F32) {
            store_some<Element<F32>, WHOLE>(args.y + 4 * element, value, count);
        } else if (type == BF16) {
            store_some<Element<BF16>, WHOLE>(args.y + 2 * element, value, count);
        } else {
            store_some<Element<F16>, WHOLE>(args.y + 2 * element, value, count);
        }
    }
};
