// N neighbouring elements: loaded as they are, widened to f32, rounded once, stored. All accesses
// here are whole: N elements, at a multiple of their size or of 16 bytes.
#pragma once

#include "args.cuh"

template <u32 TYPE> struct Element {
    static constexpr u32 type = TYPE;
    static constexpr u32 size = TYPE == F32 ? 4 : TYPE >= I8 ? 1 : 2;
    static constexpr u32 in_16_bytes = 16 / size;
};

// Of types with more than 8 bits.
DEVICE u32 size_of(u32 type) { return type == F32 ? 4 : 2; }

// Elements as they lie in memory. f32 takes a word each, f16 and bf16 half a word.
template <u32 WORDS> struct Raw {
    u32 word[WORDS];
};
template <class X, u32 N> using RawOf = Raw<(N * X::size + 3) / 4>;

// Element i of those in `word`.
template <class X> DEVICE float widen(const u32* word, u32 i) {
    if (X::type == F32) return as_float(word[i]);
    const u32 pair = word[i / 2];
    if (X::type == BF16) return as_float(i % 2 ? pair & 0xffff0000u : pair << 16);
    return f16_to_float(i % 2 ? pair >> 16 : pair & 0xffffu);
}

template <u32 BYTES> DEVICE void load_bytes(u32* word, u64 address) {
    if (BYTES == 2) word[0] = load_2(address);
    if (BYTES == 4) load_4(word, address);
    if (BYTES == 8) load_8(word, address);
#pragma unroll
    for (u32 i = 0; i + 16 <= BYTES; i += 16) load_16(word + i / 4, address + i);
}

// Zeros unless `when`.
template <u32 BYTES> DEVICE void load_bytes_if(bool when, u32* word, u64 address) {
    static_assert(BYTES <= 8 || BYTES % 16 == 0, "whole accesses");
#pragma unroll
    for (u32 i = 0; i < (BYTES + 3) / 4; ++i) word[i] = 0;
    if (BYTES == 2) load_2_if(when, word[0], address);
    if (BYTES == 4) load_4_if(when, word, address);
    if (BYTES == 8) load_8_if(when, word, address);
#pragma unroll
    for (u32 i = 0; i + 16 <= BYTES; i += 16) load_16_if(when, word + i / 4, address + i);
}

// Of two vectors side by side the 16 bytes from element `skew` on, to the first four words.
template <class X> DEVICE void pick(u32* word, u32 skew) {
    const u32 bytes = skew * X::size;
#pragma unroll
    for (u32 i = 0; i < 6; ++i) word[i] = bytes & 8 ? word[i + 2] : word[i];
#pragma unroll
    for (u32 i = 0; i < 5; ++i) word[i] = bytes & 4 ? word[i + 1] : word[i];
#pragma unroll
    for (u32 i = 0; i < 4; ++i) {
        if (X::size == 2) word[i] = shift_right(word[i], word[i + 1], 8 * (bytes & 2));
    }
}

// N values rounded to elements as they lie in memory.
template <class Y, u32 N> DEVICE void round_to(u32* word, const float (&value)[N]) {
#pragma unroll
    for (u32 i = 0; i < (N * Y::size + 3) / 4; ++i) {
        const float high = 2 * i + 1 < N ? value[2 * i + 1] : 0.0f;
        if (Y::type == F32) word[i] = as_bits(value[i]);
        if (Y::type == F16) word[i] = pack_f16(value[2 * i], high);
        if (Y::type == BF16) word[i] = pack_bf16(value[2 * i], high);
    }
}

template <u32 BYTES> DEVICE void store_bytes(u64 address, const u32* word) {
    if (BYTES == 1) store_1(address, word[0]);
    if (BYTES == 2) store_2(address, word[0]);
    if (BYTES == 4) store_4(address, word);
    if (BYTES == 8) store_8(address, word);
#pragma unroll
    for (u32 i = 0; i + 16 <= BYTES; i += 16) store_16(address + i, word + i / 4);
}

template <class Y, u32 N> DEVICE void store(u64 address, const float (&value)[N]) {
    RawOf<Y, N> raw;
    round_to<Y>(raw.word, value);
    store_bytes<N * Y::size>(address, raw.word);
}
