// The sentence that every kernel is: load → (row statistic) → function → affine → store. The
// first two are done by rows.cuh and elements.cuh; from the function on it is `finish`.
//
// The types of y, weight and bias are looked at while running: the branch is the same for all
// threads and costs a few instructions per 16 bytes, where templates would be 48 times the kernels.
#pragma once

#include "vector.cuh"

// Weights and biases are worked on so many channels at a time: more would not fit in registers
// beside a row that is kept there.
template <u32 N> constexpr u32 CHUNK = N < 4 ? N : 4;

// Channels of a weight or bias as they lie in memory: a word each, or half a word of f16 and bf16.
template <u32 N> using Operand = Raw<N>;
template <u32 N> using Chunk = Operand<CHUNK<N>>;

// Nothing is loaded, and the words are left alone, for an operand that is ABSENT.
template <u32 N> DEVICE void load_operand(u32* word, u64 address, u32 type, u64 channel) {
    if (type == F32) load_bytes<4 * N>(word, address + 4 * channel);
    else if (type != ABSENT) load_bytes<2 * N>(word, address + 2 * channel);
}

// Asks for the channel's cache line, well before it is loaded.
DEVICE void prefetch_operand(u64 address, u32 type, u64 channel) {
    if (type != ABSENT) prefetch(address + size_of(type) * channel);
}

// Where `finish` gets its operands from: memory, …
template <u32 N> struct FromMemory {
    u64 address, channel;
    u32 type;

    MEMBER Chunk<N> chunk(u32 i) const {
        Chunk<N> part;
        load_operand<CHUNK<N>>(part.word, address, type, channel + i * CHUNK<N>);
        return part;
    }
};

// … the first 16 bytes that were loaded early and, of f32 beside 16-bit x, memory, …
template <u32 N> struct FromHead {
    const u32* head;
    FromMemory<N> memory;

    MEMBER Chunk<N> chunk(u32 i) const {
        if (i > 0 && memory.type == F32) return memory.chunk(i);
        Chunk<N> part;
#pragma unroll
        for (u32 j = 0; j < CHUNK<N>; ++j) {
            const u32 from = i * CHUNK<N> / 2 + j;
            part.word[j] = from < CHUNK<N> ? head[from] : 0;
        }
        return part;
    }
};

// … or registers.
template <u32 N> struct FromRegisters {
    const Operand<N>& all;
    u32 type;

    MEMBER Chunk<N> chunk(u32 i) const {
        Chunk<N> part;
#pragma unroll
        for (u32 j = 0; j < CHUNK<N>; ++j) {
            const u32 wide = i * CHUNK<N> + j, narrow = i * CHUNK<N> / 2 + j;
            const u32 f32 = all.word[wide], half = all.word[narrow < N ? narrow : 0];
            part.word[j] = type == F32 ? f32 : half;
        }
        return part;
    }
};

template <class W, u32 N> DEVICE void widen_all(float (&to)[N], const Raw<N>& from) {
#pragma unroll
    for (u32 i = 0; i < N; ++i) to[i] = widen<W>(from.word, i);
}

template <u32 N> DEVICE void widen_operand(float (&to)[N], const Raw<N>& from, u32 type) {
    if (type == F32) widen_all<Element<F32>>(to, from);
    else if (type == BF16) widen_all<Element<BF16>>(to, from);
    else widen_all<Element<F16>>(to, from);
}

// (weight + offset) * value + bias, of what there is. Multiplying by 1 and adding -0 changes
// nothing, so what is missing needs no form of its own.
template <u32 N>
DEVICE void affine(float* value, const Args& args, const Raw<N>& weight, const Raw<N>& bias) {
    float w[N], b[N];
#pragma unroll
    for (u32 i = 0; i < N; ++i) {
        w[i] = 1.0f;
        b[i] = -0.0f;
    }
    if (args.weight_type != ABSENT) {
        widen_operand(w, weight, args.weight_type);
#pragma unroll
        for (u32 i = 0; i < N; ++i) w[i] += args.weight_offset;
    }
    if (args.bias_type != ABSENT) widen_operand(b, bias, args.bias_type);
#pragma unroll
    for (u32 i = 0; i < N; ++i) value[i] = multiply_add(value[i], w[i], b[i]);
}

// Function, affine and store of N elements of x.
template <class X, u32 N, class Function, class Weight, class Bias>
DEVICE void finish(const Function& function, const u32* x, const Weight& weight, const Bias& bias,
                   const Args& args, u64 y) {
    float value[N];
#pragma unroll
    for (u32 i = 0; i < N; ++i) value[i] = function(widen<X>(x, i));
    if (args.weight_type != ABSENT || args.bias_type != ABSENT) {
#pragma unroll
        for (u32 i = 0; i < N / CHUNK<N>; ++i) {
            affine(value + i * CHUNK<N>, args, weight.chunk(i), bias.chunk(i));
        }
    }
    if (args.y_type == F32) store<Element<F32>, N>(y, value);
    else if (args.y_type == BF16) store<Element<BF16>, N>(y, value);
    else store<Element<F16>, N>(y, value);
}
