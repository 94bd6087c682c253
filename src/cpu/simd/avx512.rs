//! AVX-512: 16 lanes, with the extensions that Skylake-SP and every later core have
//! (F, BW, DQ, VL), and with the bfloat16 conversion of AVX512-BF16 where `BF16`.
//!
//! # Safety of the intrinsics in this file
//! They need the features named in [`enter`] (and `avx512bf16` where `BF16`). A value of
//! [`Avx512`] is the proof: it is made only in `enter`, `enter_bf16`, `enter_short` and
//! `enter_short_bf16`, whose contract is that the processor has them.

use super::{Doubt, ShortKernel, Simd, add_squares, add_values, align_stack};
use crate::cpu::short::ShortRows;
use core::arch::x86_64::*;
use eight_bits::{store_bytes, to_e4m3, to_i8};
use sixteen_bits::{
    ONE, SPREAD, any_subnormal, any_zero_or_not_finite, bf16_pairs, both_to_bf16, from_bf16,
    store_u16_x2, to_bf16, to_f16,
};

mod eight_bits;
mod sixteen_bits;

/// Proof of AVX-512 F, BW, DQ and VL (which imply FMA and F16C in practice, both asked for
/// here too), and of AVX512-BF16 where `BF16`.
#[derive(Clone, Copy)]
pub(crate) struct Avx512<const BF16: bool> {
    /// [`SPREAD`] and the places that it fills, the upper half of every lane; used where `BF16`.
    spread: [__m512i; 2],
    upper: __mmask32,
    /// All bits of a bfloat16 but the sign; used where `BF16`.
    magnitude: __m512i,
}

impl<const BF16: bool> Avx512<BF16> {
    /// Whether some bfloat16 of the two vectors is 0.
    #[inline(always)]
    fn any_zero(self, a: __m512i, b: __m512i) -> bool {
        // SAFETY: see the module's head.
        unsafe {
            let zero = |v| _mm512_testn_epi16_mask(v, self.magnitude);
            zero(a) | zero(b) != 0
        }
    }

    /// Whether some bfloat16 of the two vectors is 0 where the one of 64 at `x` is not.
    ///
    /// # Safety
    /// `x` must be valid for reads of 64 elements.
    #[inline(always)]
    unsafe fn any_zero_of_other(self, a: __m512i, b: __m512i, x: *const u16) -> bool {
        // SAFETY: the caller vouches for `x`; see the module's head.
        unsafe {
            let of_other = |v, x: *const u16| {
                let zero = _mm512_testn_epi16_mask(v, self.magnitude);
                _mm512_mask_test_epi16_mask(zero, _mm512_loadu_si512(x.cast()), self.magnitude)
            };
            of_other(a, x) | of_other(b, x.add(32)) != 0
        }
    }

    /// # Safety
    /// The processor must have the features that the type stands for.
    #[inline(always)]
    unsafe fn new() -> Self {
        // Hidden from the compiler. It would take a permutation that it knows apart into a widening and a
        // shift, twice the instructions; and a test of bits that it knows for one of bfloat16 numbers, which
        // it would widen.
        let ([first, last], upper, magnitude) =
            core::hint::black_box((&SPREAD, 0xaaaa_aaaa, 0x7fff));
        // SAFETY: the arrays are 64 bytes long.
        let spread = unsafe {
            [_mm512_loadu_si512(first.as_ptr().cast()), _mm512_loadu_si512(last.as_ptr().cast())]
        };
        // SAFETY: the caller vouches for the features.
        let magnitude = unsafe { _mm512_set1_epi16(magnitude) };
        Self { spread, upper, magnitude }
    }
}

/// Runs `kernel` compiled for AVX-512.
///
/// # Safety
/// The processor must have every feature named in the attribute.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
#[inline(never)]
pub(crate) unsafe fn enter<K: super::Kernel>(kernel: K) -> K::Output {
    align_stack();
    // SAFETY: the same contract.
    kernel.run(unsafe { Avx512::<false>::new() })
}

/// As [`enter`], for a short call.
///
/// # Safety
/// As that and [`ShortKernel::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
pub(crate) unsafe fn enter_short<K: ShortKernel>(rows: &ShortRows) {
    align_stack();
    // SAFETY: the same contract.
    unsafe { K::run(Avx512::<false>::new(), rows) }
}

/// Runs `kernel` compiled for AVX-512 with AVX512-BF16.
///
/// # Safety
/// The processor must have every feature named in the attribute.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
#[inline(never)]
pub(crate) unsafe fn enter_bf16<K: super::Kernel>(kernel: K) -> K::Output {
    align_stack();
    // SAFETY: the same contract.
    kernel.run(unsafe { Avx512::<true>::new() })
}

/// As [`enter_bf16`], for a short call.
///
/// # Safety
/// As that and [`ShortKernel::run`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")]
pub(crate) unsafe fn enter_short_bf16<K: ShortKernel>(rows: &ShortRows) {
    align_stack();
    // SAFETY: the same contract.
    unsafe { K::run(Avx512::<true>::new(), rows) }
}

/// The mask of the first `n` lanes, `n <= 16`.
#[inline(always)]
fn mask(n: usize) -> __mmask16 {
    debug_assert!(n <= 16);
    ((1u32 << n) - 1) as __mmask16
}

// SAFETY: `Avx512` is only made where the features are, see the module's head.
unsafe impl<const BF16: bool> Simd for Avx512<BF16> {
    type F = __m512;
    const LANES: usize = 16;
    const FMA: bool = true;
    const FOR_MEMORY: bool = true;
    const FAST_LOOKUP: bool = true;
    const FAST_EXP2: bool = true;
    const RSQRT_BITS: u32 = 14;
    const BF16_CONVERSION: bool = BF16;
    const BF16_SUMS: bool = true;
    const MANY_REGISTERS: bool = true;

    #[inline(always)]
    fn apart<K: super::Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: `self` proves the features.
        unsafe { if BF16 { enter_bf16(kernel) } else { enter(kernel) } }
    }

    safe_intrinsics! {
        fn splat(v: f32) -> __m512 = _mm512_set1_ps(v);
        fn add(a: __m512, b: __m512) -> __m512 = _mm512_add_ps(a, b);
        fn sub(a: __m512, b: __m512) -> __m512 = _mm512_sub_ps(a, b);
        fn mul(a: __m512, b: __m512) -> __m512 = _mm512_mul_ps(a, b);
        fn div(a: __m512, b: __m512) -> __m512 = _mm512_div_ps(a, b);
        fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fmadd_ps(a, b, c);
        fn neg_mul_add(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fnmadd_ps(a, b, c);
        fn sqrt(a: __m512) -> __m512 = _mm512_sqrt_ps(a);
        fn rsqrt_estimate(a: __m512) -> __m512 = _mm512_rsqrt14_ps(a);
        // MINPS and MAXPS return their second operand where one is NaN.
        fn min(limit: __m512, x: __m512) -> __m512 = _mm512_min_ps(limit, x);
        fn max(limit: __m512, x: __m512) -> __m512 = _mm512_max_ps(limit, x);
        fn abs(a: __m512) -> __m512 = _mm512_abs_ps(a);
        fn round(a: __m512) -> __m512 = _mm512_roundscale_ps::<8>(a);
        fn times_exp2(a: __m512, n: __m512) -> __m512 = _mm512_scalef_ps(a, n);
        // Rounded down, to no binary digit behind the point, without a word of it being inexact.
        fn fraction(a: __m512) -> __m512 = _mm512_reduce_ps::<0b1001>(a);
        fn reciprocal_estimate(a: __m512) -> __m512 = _mm512_rcp14_ps(a);
        fn exp2(n: __m512) -> __m512 = _mm512_scalef_ps(_mm512_set1_ps(1.0), n);
        fn reduce_add(a: __m512) -> f32 = _mm512_reduce_add_ps(a);
        fn reduce_max(a: __m512) -> f32 = _mm512_reduce_max_ps(a);
        fn first_n(a: __m512, n: usize, rest: __m512) -> __m512 =
            _mm512_mask_mov_ps(rest, mask(n), a);
        fn fence_streams() -> () = _mm_sfence();
        fn prefetch(p: *const u8, first_level: bool) -> () = match first_level {
            true => _mm_prefetch::<_MM_HINT_T0>(p.cast()),
            false => _mm_prefetch::<_MM_HINT_T1>(p.cast()),
        };
        fn prefetch_write(p: *const u8) -> () = _mm_prefetch::<_MM_HINT_ET0>(p.cast());
        fn with_sign(a: __m512, sign: __m512) -> __m512 = {
            // 0x78 is the truth table of `a ^ (b & c)`.
            _mm512_castsi512_ps(_mm512_ternarylogic_epi32::<0x78>(
                _mm512_castps_si512(a),
                _mm512_castps_si512(sign),
                _mm512_set1_epi32(i32::MIN),
            ))
        };
        fn lookup(table: &[f32; 16], index: __m512) -> __m512 =
            _mm512_permutexvar_ps(_mm512_castps_si512(index), _mm512_loadu_ps(table.as_ptr()));
        fn lookup_x2(table: [__m512; 2], index: __m512) -> __m512 =
            _mm512_permutex2var_ps(table[0], _mm512_castps_si512(index), table[1]);
    }

    #[inline(always)]
    unsafe fn load_f32_x2(self, p: *const f32) -> [__m512; 2] {
        // SAFETY: the caller vouches for 32 elements at `p`.
        unsafe { [_mm512_loadu_ps(p), _mm512_loadu_ps(p.add(16))] }
    }
    #[inline(always)]
    unsafe fn load_f32_part(self, p: *const f32, n: usize) -> __m512 {
        // SAFETY: lanes beyond `n` are masked off and not accessed.
        unsafe { _mm512_maskz_loadu_ps(mask(n), p) }
    }
    #[inline(always)]
    unsafe fn store_f32_x4<const STREAM: bool>(self, p: *mut f32, v: [__m512; 4]) {
        for j in 0..4 {
            // SAFETY: the caller vouches for 64 elements at `p`, aligned where `STREAM`.
            unsafe {
                if STREAM {
                    _mm512_stream_ps(p.add(16 * j), v[j]);
                } else {
                    _mm512_storeu_ps(p.add(16 * j), v[j]);
                }
            }
        }
    }
    #[inline(always)]
    unsafe fn store_f32_part(self, p: *mut f32, v: __m512, n: usize) {
        // SAFETY: lanes beyond `n` are masked off and not accessed.
        unsafe { _mm512_mask_storeu_ps(p, mask(n), v) }
    }

    #[inline(always)]
    unsafe fn load_f16_x2(self, p: *const u16) -> [__m512; 2] {
        // SAFETY: the caller vouches for 32 elements at `p`.
        unsafe {
            let (a, b) = (_mm256_loadu_si256(p.cast()), _mm256_loadu_si256(p.add(16).cast()));
            [_mm512_cvtph_ps(a), _mm512_cvtph_ps(b)]
        }
    }
    #[inline(always)]
    unsafe fn load_f16_part(self, p: *const u16, n: usize) -> __m512 {
        // SAFETY: lanes beyond `n` are masked off and not accessed.
        unsafe { _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask(n), p.cast())) }
    }
    #[inline(always)]
    unsafe fn store_f16_x4<const STREAM: bool>(self, p: *mut u16, v: [__m512; 4]) {
        // SAFETY: the caller vouches for 64 elements at `p`, aligned where `STREAM`.
        unsafe {
            store_u16_x2::<STREAM>(p, to_f16(v[0]), to_f16(v[1]));
            store_u16_x2::<STREAM>(p.add(32), to_f16(v[2]), to_f16(v[3]));
        }
    }
    #[inline(always)]
    unsafe fn store_f16_part(self, p: *mut u16, v: __m512, n: usize) {
        // SAFETY: lanes beyond `n` are masked off and not accessed.
        unsafe { _mm256_mask_storeu_epi16(p.cast(), mask(n), to_f16(v)) }
    }

    #[inline(always)]
    unsafe fn load_bf16_x2(self, p: *const u16) -> [__m512; 2] {
        // SAFETY: the caller vouches for 32 elements at `p`.
        unsafe {
            if BF16 {
                // One permutation brings each element to the upper half of its lane: on the
                // processors with this extension it costs no more than the widening alone.
                let both = _mm512_loadu_si512(p.cast());
                [
                    _mm512_castsi512_ps(_mm512_maskz_permutexvar_epi16(
                        self.upper,
                        self.spread[0],
                        both,
                    )),
                    _mm512_castsi512_ps(_mm512_maskz_permutexvar_epi16(
                        self.upper,
                        self.spread[1],
                        both,
                    )),
                ]
            } else {
                [
                    from_bf16(_mm256_loadu_si256(p.cast())),
                    from_bf16(_mm256_loadu_si256(p.add(16).cast())),
                ]
            }
        }
    }
    #[inline(always)]
    unsafe fn load_bf16_x2_unordered(self, p: *const u16) -> [__m512; 2] {
        // SAFETY: the caller vouches for 32 elements at `p`.
        unsafe {
            // Those at even places by a shift, those at odd places as they stand.
            let both = _mm512_loadu_si512(p.cast());
            let odd = _mm512_and_si512(both, _mm512_set1_epi32(0xffff_0000_u32 as i32));
            [_mm512_castsi512_ps(_mm512_slli_epi32::<16>(both)), _mm512_castsi512_ps(odd)]
        }
    }
    #[inline(always)]
    unsafe fn load_bf16_part(self, p: *const u16, n: usize) -> __m512 {
        // SAFETY: lanes beyond `n` are masked off and not accessed.
        unsafe { from_bf16(_mm256_maskz_loadu_epi16(mask(n), p.cast())) }
    }
    #[inline(always)]
    unsafe fn store_bf16_x4<const STREAM: bool>(self, p: *mut u16, v: [__m512; 4]) {
        // SAFETY: the caller vouches for 64 elements at `p`, aligned where `STREAM`.
        unsafe {
            store_u16_x2::<STREAM>(p, to_bf16(v[0]), to_bf16(v[1]));
            store_u16_x2::<STREAM>(p.add(32), to_bf16(v[2]), to_bf16(v[3]));
        }
    }
    #[inline(always)]
    unsafe fn try_store_bf16_x4<const STREAM: bool>(
        self,
        p: *mut u16,
        v: [__m512; 4],
        doubt: Doubt,
    ) -> bool {
        if !BF16 {
            return false;
        }
        // SAFETY: the caller vouches for 64 elements at `p`, aligned where `STREAM`, and at what is in doubt.
        unsafe {
            // The conversion makes 0 of subnormal numbers: a result of 0 may be one of those. NaN it
            // keeps as `to_bf16` does.
            let first = both_to_bf16(v[0], v[1]);
            let last = both_to_bf16(v[2], v[3]);
            let ordinary = match doubt {
                Doubt::Subnormal => !self.any_zero(first, last) || !any_subnormal(v),
                Doubt::SubnormalOfOther(x) => {
                    !self.any_zero_of_other(first, last, x) || !any_subnormal(v)
                }
                Doubt::ZeroOrNotFinite => !any_zero_or_not_finite(first, last),
            };
            if !ordinary {
                return false;
            }
            if STREAM {
                _mm512_stream_si512(p.cast(), first);
                _mm512_stream_si512(p.add(32).cast(), last);
            } else {
                _mm512_storeu_si512(p.cast(), first);
                _mm512_storeu_si512(p.add(32).cast(), last);
            }
        }
        true
    }
    #[inline(always)]
    unsafe fn add_squares_bf16_x2(self, sum: __m512, p: *const u16) -> __m512 {
        // SAFETY: the caller vouches for 32 elements at `p`.
        unsafe {
            if BF16 {
                // Of each pair the second, at an odd place, comes first, as without the instruction.
                let both = bf16_pairs(_mm512_loadu_si512(p.cast()));
                return _mm512_dpbf16_ps(sum, both, both);
            }
            add_squares(self, sum, self.load_bf16_x2_unordered(p))
        }
    }
    #[inline(always)]
    unsafe fn add_bf16_x2(self, sum: __m512, p: *const u16) -> __m512 {
        // SAFETY: the caller vouches for 32 elements at `p`.
        unsafe {
            if BF16 {
                let (both, one) = (_mm512_loadu_si512(p.cast()), _mm512_set1_epi16(ONE));
                return _mm512_dpbf16_ps(sum, bf16_pairs(both), bf16_pairs(one));
            }
            add_values(self, sum, self.load_bf16_x2_unordered(p))
        }
    }
    #[inline(always)]
    unsafe fn store_bf16_part(self, p: *mut u16, v: __m512, n: usize) {
        // SAFETY: lanes beyond `n` are masked off and not accessed.
        unsafe { _mm256_mask_storeu_epi16(p.cast(), mask(n), to_bf16(v)) }
    }

    #[inline(always)]
    unsafe fn store_i8_x4<const STREAM: bool>(self, p: *mut u8, v: [__m512; 4]) {
        // SAFETY: the caller vouches for 64 bytes at `p`, aligned where `STREAM`.
        unsafe { store_bytes::<STREAM>(p, to_i8(v)) }
    }
    #[inline(always)]
    unsafe fn store_e4m3_x4<const STREAM: bool>(self, p: *mut u8, v: [__m512; 4]) {
        // SAFETY: the caller vouches for 64 bytes at `p`, aligned where `STREAM`.
        unsafe { store_bytes::<STREAM>(p, to_e4m3(v)) }
    }
    #[inline(always)]
    unsafe fn store_bytes_part(self, p: *mut u8, bytes: &[u8; 64], n: usize) {
        // Not by a call of memcpy, around which every vector register would be saved.
        // SAFETY: there are 64 bytes to read; lanes beyond `n` are masked off and not written.
        unsafe {
            let first = _mm_loadu_si128(bytes.as_ptr().cast());
            _mm_mask_storeu_epi8(p.cast(), mask(n), first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::isa::Isa;
    use crate::cpu::simd::Kernel;

    /// Sums of pairs of bfloat16 numbers, and of their squares, as bits.
    struct Sums<'a>(&'a [[u16; 32]]);

    impl Kernel for Sums<'_> {
        type Output = Vec<u32>;

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Vec<u32> {
            let mut sums = [s.splat(0.0); 2];
            let mut lanes = [0.0; 2 * 16];
            let mut bits = Vec::new();
            for pairs in self.0 {
                // SAFETY: there are 32 elements, and room for two vectors of 16.
                unsafe {
                    sums[0] = s.add_bf16_x2(sums[0], pairs.as_ptr());
                    sums[1] = s.add_squares_bf16_x2(sums[1], pairs.as_ptr());
                    s.store_f32_part(lanes.as_mut_ptr(), sums[0], 16);
                    s.store_f32_part(lanes[16..].as_mut_ptr(), sums[1], 16);
                }
                bits.extend(lanes.map(f32::to_bits));
            }
            bits
        }
    }

    /// With the instruction as without it: which of two elements is added first shows in the last bit.
    #[test]
    fn sums_of_pairs_have_the_bits_of_two_additions() {
        if !Isa::Avx512Bf16.is_available() {
            return;
        }
        let mut state = 1_u64;
        let mut element = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Of either sign, and 2^-16 to 2^16 in magnitude.
            let bits = (state >> 32) as u16;
            (bits & 0x807f) | ((111 + (bits >> 7) % 33) << 7)
        };
        let pairs: Vec<[u16; 32]> =
            (0..1000).map(|_| core::array::from_fn(|_| element())).collect();
        // SAFETY: the processor has what both need.
        let (with, without) = unsafe { (enter_bf16(Sums(&pairs)), enter(Sums(&pairs))) };
        assert_eq!(with, without);
    }
}
