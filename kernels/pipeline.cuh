// The sentence that every kernel is: load → (row statistic) → function → affine → store. The
// first two are done by rows.cuh and elements.cuh; from the function on it is `finish`.
//
// The types of y, weight and bias are looked at while running: the branch is the same for all
// threads, where templates would be 48 times the kernels. In 16 bits arithmetic, not memory, is what
// takes the time then; so the calls that are most of all have kernels of their own: see `usual`.
#pragma once

#include "vector.cuh"

// The arguments of a call whose operands and output have the type of x: the types as constants, so
// that the compiler leaves out what looks at them.
template <class X> DEVICE Args usual(const Args& args) {
    Args known = args;
    known.y_type = X::type;
    known.weight_type = args.weight_type == ABSENT ? ABSENT : X::type;
    known.bias_type = args.bias_type == ABSENT ? ABSENT : X::type;
    return known;
}

// Nothing is loaded, and the words are left alone, for an operand that is ABSENT.
template <u32 N> DEVICE void load_operand(u32* word, u64 address, u32 type, u64 channel) {
    if (type == F32) load_bytes<4 * N>(word, address + 4 * channel);
    else if (type != ABSENT) load_bytes<2 * N>(word, address + 2 * channel);
}

// Asks for the channel's cache line, well before it is loaded.
DEVICE void prefetch_operand(u64 address, u32 type, u64 channel) {
    if (type != ABSENT) prefetch(address + size_of(type) * channel);
}

// The N elements of an operand as they were loaded to as many floats, in their place: from the last
// one on, so that none is overwritten before it is read. `absent` where there is no operand.
template <u32 N> DEVICE void widen_operand(u32 (&word)[N], u32 type, float absent) {
    if (type == F32) return;
#pragma unroll
    for (u32 i = N; i-- > 0;) {
        if (type == BF16) word[i] = as_bits(widen<Element<BF16>>(word, i));
        else if (type == F16) word[i] = as_bits(widen<Element<F16>>(word, i));
        else word[i] = as_bits(absent);
    }
}

// Weight and bias of N channels: (weight + offset) * value + bias. Multiplying by 1 and adding -0
// changes nothing, so what is missing needs no form of its own.
template <u32 N> struct Operands {
    u32 weight[N], bias[N]; // as they were loaded, then floats

    MEMBER void load(const Args& args, u64 channel) {
        load_operand<N>(weight, args.weight, args.weight_type, channel);
        load_operand<N>(bias, args.bias, args.bias_type, channel);
    }
    MEMBER void widen(const Args& args) {
        widen_operand(weight, args.weight_type, 1.0f);
        widen_operand(bias, args.bias_type, -0.0f);
        if (args.weight_type == ABSENT) return;
#pragma unroll
        for (u32 i = 0; i < N; ++i) weight[i] = as_bits(as_float(weight[i]) + args.weight_offset);
    }
    MEMBER void apply(float* value, const Args&) const {
#pragma unroll
        for (u32 i = 0; i < N; ++i) {
            value[i] = multiply_add(value[i], as_float(weight[i]), as_float(bias[i]));
        }
    }
};

// The same, loaded when it is applied, a few channels at a time: more would not fit in registers
// beside a row that is kept there.
template <u32 N> struct OperandsInMemory {
    static constexpr u32 CHUNK = N < 4 ? N : 4;
    u64 channel;

    MEMBER void apply(float* value, const Args& args) const {
        if (args.weight_type == ABSENT && args.bias_type == ABSENT) return;
#pragma unroll
        for (u32 i = 0; i < N; i += CHUNK) {
            Operands<CHUNK> part;
            part.load(args, channel + i);
            part.widen(args);
            part.apply(value + i, args);
        }
    }
};

// Function, affine and store of N elements of x.
template <class X, u32 N, class Function, class Affine>
DEVICE void finish(const Function& function, const u32* x, const Affine& affine, const Args& args,
                   u64 y) {
    float value[N];
#pragma unroll
    for (u32 i = 0; i < N; ++i) value[i] = function(widen<X>(x, i));
    affine.apply(value, args);
    if (args.y_type == F32) store<Element<F32>, N>(y, value);
    else if (args.y_type == BF16) store<Element<BF16>, N>(y, value);
    else store<Element<F16>, N>(y, value);
}
