//! Elements of 16 bits.
//!
//! # Safety of the intrinsics in this file
//! As in the module above: its type is the proof that the processor has them, and nothing else calls these functions.

use core::arch::x86_64::*;

/// Stores two vectors of 16-bit elements side by side.
///
/// # Safety
/// `p` must be valid for writes of 64 bytes, and 64-byte aligned where `STREAM`.
#[inline(always)]
pub(super) unsafe fn store_u16_x2<const STREAM: bool>(p: *mut u16, a: __m256i, b: __m256i) {
    // SAFETY: see above for the memory and the module's head for the features.
    unsafe {
        if STREAM {
            _mm512_stream_si512(p.cast(), _mm512_inserti64x4::<1>(_mm512_castsi256_si512(a), b));
        } else {
            _mm256_storeu_si256(p.cast(), a);
            _mm256_storeu_si256(p.add(16).cast(), b);
        }
    }
}

#[inline(always)]
pub(super) unsafe fn to_f16(v: __m512) -> __m256i {
    // SAFETY: see the module's head.
    unsafe { _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v) }
}

/// Permutations of 16-bit elements that bring the first sixteen, and the last, to odd places.
pub(super) static SPREAD: [[i16; 32]; 2] = [spread(0), spread(16)];

const fn spread(first: i16) -> [i16; 32] {
    let mut order = [0; 32];
    let mut lane = 0;
    while lane < 16 {
        order[2 * lane + 1] = first + lane as i16;
        lane += 1;
    }
    order
}

#[inline(always)]
pub(super) unsafe fn from_bf16(v: __m256i) -> __m512 {
    // SAFETY: see the module's head.
    unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(v))) }
}

/// Rounds to bfloat16 with integer arithmetic: nearest even, subnormals kept, NaN quiet.
#[inline(always)]
pub(super) unsafe fn to_bf16(v: __m512) -> __m256i {
    // SAFETY: see the module's head.
    unsafe {
        let bits = _mm512_castps_si512(v);
        let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        let bias = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
        let rounded = _mm512_add_epi32(bits, bias);
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
        let kept = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x0040_0000));
        _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(kept))
    }
}

/// Rounds two vectors to bfloat16 with the processor's conversion, which takes subnormal numbers
/// for 0.
#[inline(always)]
pub(super) unsafe fn both_to_bf16(first: __m512, last: __m512) -> __m512i {
    // SAFETY: see the module's head.
    unsafe { core::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(last, first)) }
}

/// 1 as a bfloat16.
pub(super) const ONE: i16 = 0x3f80;

/// The same bits, as pairs of bfloat16 numbers.
#[inline(always)]
pub(super) unsafe fn bf16_pairs(v: __m512i) -> __m512bh {
    // SAFETY: as many bits, any of which are numbers.
    unsafe { core::mem::transmute::<__m512i, __m512bh>(v) }
}

/// Whether some bfloat16 of the two vectors is 0, infinite or NaN.
#[inline(always)]
pub(super) unsafe fn any_zero_or_not_finite(a: __m512i, b: __m512i) -> bool {
    // SAFETY: see the module's head.
    unsafe {
        // The exponent, and one more: of all ones that makes 0, of 0 it makes 1. Then its upper seven
        // bits are 0, and those of no other.
        let next = |v| _mm512_add_epi16(v, _mm512_set1_epi16(0x80));
        let found = |v| _mm512_testn_epi16_mask(next(v), _mm512_set1_epi16(0x7f00));
        found(a) | found(b) != 0
    }
}

/// Whether some lane is subnormal.
#[inline(always)]
pub(super) unsafe fn any_subnormal(v: [__m512; 4]) -> bool {
    /// The class of subnormal numbers for VFPCLASSPS.
    const SUBNORMAL: i32 = 0x20;
    // SAFETY: see the module's head.
    unsafe {
        let of = |v| _mm512_fpclass_ps_mask::<SUBNORMAL>(v);
        of(v[0]) | of(v[1]) | of(v[2]) | of(v[3]) != 0
    }
}
