// Results rounded to 8 bits: int8, and E4M3 as the OCP has it.
#pragma once

#include "vector.cuh"

// -127 to 127; NaN becomes 0.
DEVICE u32 to_i8(float value) {
    return round_to_integer(max_nan(min_nan(value, 127.0f), -127.0f));
}

#ifndef DYNORM_E4M3
// One value to the lower byte, without a branch; NaN stays one.
DEVICE u32 to_e4m3(float value) {
    const u32 bits = as_bits(value), magnitude = bits & 0x7fffffffu;
    // Exponents are 120 apart; 20 digits are rounded off.
    const u32 odd = magnitude >> 20 & 1;
    const u32 normal = (magnitude - (120u << 23) + 0x7ffffu + odd) >> 20;
    // Numbers around 2^14 are as far apart as subnormal ones, so adding it rounds to them.
    const u32 subnormal = as_bits(as_float(magnitude) + 0x1p14f) - as_bits(0x1p14f);
    const u32 finite = magnitude < as_bits(0x1p-6f) ? subnormal : normal < 0x7e ? normal : 0x7e;
    return (bits >> 24 & 0x80u) | (magnitude > 0x7f800000u ? 0x7fu : finite);
}
DEVICE u32 pack_e4m3(float low, float high) { return to_e4m3(low) | to_e4m3(high) << 8; }
#endif

template <class Y> DEVICE u32 pack_bytes(float low, float high) {
    return Y::type == I8 ? pack_low_bytes(to_i8(low), to_i8(high)) : pack_e4m3(low, high);
}

// N values, 4 to a word.
template <class Y, u32 N> DEVICE void quantize(u32* word, const float (&value)[N]) {
#pragma unroll
    for (u32 i = 0; i < N; i += 4) {
        word[i / 4] = pack_bytes<Y>(value[i], i + 1 < N ? value[i + 1] : 0.0f);
        if (i + 2 < N) {
            word[i / 4] = pack_low_halves(word[i / 4], pack_bytes<Y>(value[i + 2], value[i + 3]));
        }
    }
}

// The scale by which the largest of a row's results becomes the largest of the type, as
// `QuantizedType::scale_for` has it.
DEVICE float scale_for(u32 type, float largest) {
    const float scale = divide_exact(largest, type == I8 ? 127.0f : 448.0f);
    return scale < 0x1p-126f ? 0x1p-126f : scale;
}
