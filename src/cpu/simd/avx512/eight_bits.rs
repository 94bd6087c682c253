//! Results of 8 bits.
//!
//! # Safety of the intrinsics in this file
//! As in the module above: its type is the proof that the processor has them, and nothing else calls these functions.

use crate::quantized::E4M3_NORMAL;
use core::arch::x86_64::*;

/// 64 lanes as `i8`, at most 127 in magnitude, 0 for NaN.
#[inline(always)]
pub(super) unsafe fn to_i8(v: [__m512; 4]) -> __m512i {
    // SAFETY: see the module's head.
    unsafe {
        let bytes = pack([
            _mm512_cvtps_epi32(v[0]),
            _mm512_cvtps_epi32(v[1]),
            _mm512_cvtps_epi32(v[2]),
            _mm512_cvtps_epi32(v[3]),
        ]);
        // -128 are results below -127, and NaN and what is beyond 2^31, which are -2^31 as integers.
        if _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(-128)) == 0 {
            bytes
        } else {
            saturated_i8(v)
        }
    }
}

/// 64 lanes as E4M3, as [`e4m3`](crate::quantized::e4m3) rounds.
#[inline(always)]
pub(super) unsafe fn to_e4m3(v: [__m512; 4]) -> __m512i {
    // SAFETY: see the module's head.
    unsafe {
        let bytes =
            pack([lane_to_e4m3(v[0]), lane_to_e4m3(v[1]), lane_to_e4m3(v[2]), lane_to_e4m3(v[3])]);
        // Unordered is a pair of which one is NaN.
        if unordered(v[0], v[1]) | unordered(v[2], v[3]) == 0 {
            return bytes;
        }
        let mut nan = 0;
        for j in 0..4 {
            nan |= u64::from(unordered(v[j], v[j])) << (16 * j);
        }
        // From the largest to what comes after it.
        _mm512_mask_add_epi8(bytes, nan, bytes, _mm512_set1_epi8(1))
    }
}

/// The integers nearest to 64 lanes, at most 127 in magnitude, 0 for NaN.
#[inline(always)]
unsafe fn saturated_i8(v: [__m512; 4]) -> __m512i {
    // SAFETY: see the module's head.
    unsafe {
        let bytes = pack([to_i32(v[0]), to_i32(v[1]), to_i32(v[2]), to_i32(v[3])]);
        // NaN has become -128.
        let number = _mm512_cmpneq_epi8_mask(bytes, _mm512_set1_epi8(-128));
        _mm512_maskz_mov_epi8(number, bytes)
    }
}

/// The integer nearest to each lane, at most 127 in magnitude; -2^31 for NaN.
#[inline(always)]
unsafe fn to_i32(v: __m512) -> __m512i {
    // SAFETY: see the module's head.
    unsafe {
        // NaN comes through, see `min` and `max`.
        let above = _mm512_max_ps(_mm512_set1_ps(-127.0), v);
        _mm512_cvtps_epi32(_mm512_min_ps(_mm512_set1_ps(127.0), above))
    }
}

/// The low bytes of 64 lanes, with signed saturation.
#[inline(always)]
unsafe fn pack(v: [__m512i; 4]) -> __m512i {
    // SAFETY: see the module's head.
    unsafe {
        let first = _mm512_packs_epi32(v[0], v[1]);
        let packed = _mm512_packs_epi16(first, _mm512_packs_epi32(v[2], v[3]));
        // Packing works on quarters: fours of the four vectors come to lie side by side.
        let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        _mm512_permutexvar_epi32(order, packed)
    }
}

/// The lanes of which one of the two is NaN.
#[inline(always)]
unsafe fn unordered(a: __m512, b: __m512) -> __mmask16 {
    // SAFETY: see the module's head.
    unsafe { _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, b) }
}

/// [`e4m3`](crate::quantized::e4m3) of each lane, as a signed byte; the largest of its sign for NaN.
#[inline(always)]
unsafe fn lane_to_e4m3(v: __m512) -> __m512i {
    // SAFETY: see the module's head.
    unsafe {
        let all = |v: u32| _mm512_set1_epi32(v as i32);
        /// For VRANGEPS: the smaller magnitude, without a sign.
        const LEAST_MAGNITUDE: i32 = 0b1010;
        let magnitude = _mm512_range_ps::<LEAST_MAGNITUDE>(v, _mm512_set1_ps(448.0));
        let normal = _mm512_max_ps(magnitude, _mm512_castsi512_ps(all(E4M3_NORMAL)));
        let power = _mm512_srli_epi32::<23>(_mm512_castps_si512(normal));
        let rounders = _mm512_loadu_si512(E4M3_ROUNDERS.as_ptr().cast());
        let rounder = _mm512_permutexvar_epi32(power, rounders);
        // Only the last seven bits count.
        let sum = _mm512_add_ps(magnitude, _mm512_castsi512_ps(rounder));
        let value = _mm512_castps_si512(sum);
        // The sign, and all bits above it, so that packing takes it for a signed byte: 0xca is the truth table
        // of `if a { b } else { c }`.
        let sign = _mm512_srai_epi32::<24>(_mm512_castps_si512(v));
        _mm512_ternarylogic_epi32::<0xca>(all(0x7f), value, sign)
    }
}

/// What rounds to a number of E4M3 when it is added, by the last four bits of the exponent, which is that of the smallest
/// normal number or more. Numbers around 2^20 times a power of two are as far apart as those of four digits are from
/// there on. And the last bits of the sum are the pattern: eight to a power of two, which are even units, so that
/// halves still go to even.
const E4M3_ROUNDERS: [u32; 16] = {
    let first = E4M3_NORMAL >> 23;
    let mut rounders = [0; 16];
    let mut power = first;
    while power < first + 15 {
        rounders[power as usize % 16] = ((power + 20) << 23) + 8 * (power - first);
        power += 1;
    }
    rounders
};

/// Stores 64 bytes.
///
/// # Safety
/// `p` must be valid for writes of 64 bytes, and 64-byte aligned where `STREAM`.
#[inline(always)]
pub(super) unsafe fn store_bytes<const STREAM: bool>(p: *mut u8, v: __m512i) {
    // SAFETY: see above for the memory and the module's head for the features.
    unsafe {
        if STREAM {
            _mm512_stream_si512(p.cast(), v);
        } else {
            _mm512_storeu_si512(p.cast(), v);
        }
    }
}
