//! AVX2 with FMA and F16C (x86-64-v3): 8 lanes.
//!
//! # Safety of the intrinsics in this file
//! They need the features named in [`enter`]. A value of [`Avx2`] is the proof: it is made
//! only there and in [`enter_short`], and their contract is that the processor has them.

use super::{ShortKernel, Simd, align_stack};
use crate::cpu::short::ShortRows;
use crate::quantized::{E4M3_NORMAL, E4M3_ROUNDER};
use core::arch::x86_64::*;

/// Proof of AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

/// Runs `kernel` compiled for AVX2, FMA and F16C.
///
/// # Safety
/// The processor must have every feature named in the attribute.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline(never)]
pub(crate) unsafe fn enter<K: super::Kernel>(kernel: K) -> K::Output {
    align_stack();
    kernel.run(Avx2(()))
}

/// As [`enter`], for a short call.
///
/// # Safety
/// As that and [`ShortKernel::run`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn enter_short<K: ShortKernel>(rows: &ShortRows) {
    align_stack();
    // SAFETY: the same contract.
    unsafe { K::run(Avx2(()), rows) }
}

// SAFETY: `Avx2` is only made where the features are, see the module's head.
unsafe impl Simd for Avx2 {
    type F = __m256;
    const LANES: usize = 8;
    const FMA: bool = true;
    const FOR_MEMORY: bool = true;
    const FAST_LOOKUP: bool = false;
    const RSQRT_BITS: u32 = 11;

    #[inline(always)]
    fn apart<K: super::Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: `self` proves the features.
        unsafe { enter(kernel) }
    }

    safe_intrinsics! {
        fn splat(v: f32) -> __m256 = _mm256_set1_ps(v);
        fn add(a: __m256, b: __m256) -> __m256 = _mm256_add_ps(a, b);
        fn sub(a: __m256, b: __m256) -> __m256 = _mm256_sub_ps(a, b);
        fn mul(a: __m256, b: __m256) -> __m256 = _mm256_mul_ps(a, b);
        fn div(a: __m256, b: __m256) -> __m256 = _mm256_div_ps(a, b);
        fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fmadd_ps(a, b, c);
        fn neg_mul_add(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fnmadd_ps(a, b, c);
        fn sqrt(a: __m256) -> __m256 = _mm256_sqrt_ps(a);
        fn rsqrt_estimate(a: __m256) -> __m256 = _mm256_rsqrt_ps(a);
        // VMINPS and VMAXPS return their second operand where one is NaN.
        fn min(limit: __m256, x: __m256) -> __m256 = _mm256_min_ps(limit, x);
        fn max(limit: __m256, x: __m256) -> __m256 = _mm256_max_ps(limit, x);
        fn abs(a: __m256) -> __m256 = _mm256_andnot_ps(_mm256_set1_ps(-0.0), a);
        fn with_sign(a: __m256, sign: __m256) -> __m256 =
            _mm256_xor_ps(a, _mm256_and_ps(sign, _mm256_set1_ps(-0.0)));
        fn round(a: __m256) -> __m256 =
            _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
        fn fence_streams() -> () = _mm_sfence();
        fn prefetch(p: *const u8, first_level: bool) -> () = match first_level {
            true => _mm_prefetch::<_MM_HINT_T0>(p.cast()),
            false => _mm_prefetch::<_MM_HINT_T1>(p.cast()),
        };
        fn prefetch_write(p: *const u8) -> () = _mm_prefetch::<_MM_HINT_ET0>(p.cast());
        fn first_n(a: __m256, n: usize, rest: __m256) -> __m256 =
            _mm256_blendv_ps(rest, a, _mm256_castsi256_ps(mask(n)));
        fn reduce_add(a: __m256) -> f32 = {
            let four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        };
        fn reduce_max(a: __m256) -> f32 = {
            let four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        };
        fn exp2(n: __m256) -> __m256 = {
            // 2^n by writing n + 127 into the exponent; a NaN in `n` comes back in `1 + n * 0`.
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            let power = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent));
            _mm256_mul_ps(_mm256_fmadd_ps(n, _mm256_setzero_ps(), _mm256_set1_ps(1.0)), power)
        };
        fn lookup(table: &[f32; 16], index: __m256) -> __m256 = {
            let number = _mm256_and_si256(_mm256_castps_si256(index), _mm256_set1_epi32(15));
            _mm256_i32gather_ps::<4>(table.as_ptr(), number)
        };
    }

    #[inline(always)]
    unsafe fn load_f32_x2(self, p: *const f32) -> [__m256; 2] {
        // SAFETY: the caller vouches for 16 elements at `p`.
        unsafe { [_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))] }
    }
    #[inline(always)]
    unsafe fn load_f32_part(self, p: *const f32, n: usize) -> __m256 {
        // SAFETY: lanes beyond `n` are masked off and not accessed.
        unsafe { _mm256_maskload_ps(p, mask(n)) }
    }
    #[inline(always)]
    unsafe fn store_f32_x4<const STREAM: bool>(self, p: *mut f32, v: [__m256; 4]) {
        for j in 0..4 {
            // SAFETY: the caller vouches for 32 elements at `p`, aligned where `STREAM`.
            unsafe {
                if STREAM {
                    _mm256_stream_ps(p.add(8 * j), v[j]);
                } else {
                    _mm256_storeu_ps(p.add(8 * j), v[j]);
                }
            }
        }
    }
    #[inline(always)]
    unsafe fn store_f32_part(self, p: *mut f32, v: __m256, n: usize) {
        // SAFETY: lanes beyond `n` are masked off and not accessed.
        unsafe { _mm256_maskstore_ps(p, mask(n), v) }
    }

    #[inline(always)]
    unsafe fn load_f16_x2(self, p: *const u16) -> [__m256; 2] {
        // SAFETY: the caller vouches for 16 elements at `p`.
        unsafe {
            let (a, b) = (_mm_loadu_si128(p.cast()), _mm_loadu_si128(p.add(8).cast()));
            [_mm256_cvtph_ps(a), _mm256_cvtph_ps(b)]
        }
    }
    #[inline(always)]
    unsafe fn load_f16_part(self, p: *const u16, n: usize) -> __m256 {
        // SAFETY: the caller vouches for `n` elements at `p`.
        unsafe { _mm256_cvtph_ps(load_u16_part(p, n)) }
    }
    #[inline(always)]
    unsafe fn store_f16_x4<const STREAM: bool>(self, p: *mut u16, v: [__m256; 4]) {
        // SAFETY: the caller vouches for 32 elements at `p`, aligned where `STREAM`.
        unsafe {
            store_u16_x2::<STREAM>(p, _mm256_set_m128i(to_f16(v[1]), to_f16(v[0])));
            store_u16_x2::<STREAM>(p.add(16), _mm256_set_m128i(to_f16(v[3]), to_f16(v[2])));
        }
    }
    #[inline(always)]
    unsafe fn store_f16_part(self, p: *mut u16, v: __m256, n: usize) {
        // SAFETY: the caller vouches for `n` elements at `p`.
        unsafe { store_u16_part(p, to_f16(v), n) }
    }

    #[inline(always)]
    unsafe fn load_bf16_x2(self, p: *const u16) -> [__m256; 2] {
        // SAFETY: the caller vouches for 16 elements at `p`.
        unsafe {
            [from_bf16(_mm_loadu_si128(p.cast())), from_bf16(_mm_loadu_si128(p.add(8).cast()))]
        }
    }
    #[inline(always)]
    unsafe fn load_bf16_x2_unordered(self, p: *const u16) -> [__m256; 2] {
        // SAFETY: the caller vouches for 16 elements at `p`.
        unsafe {
            // Those at even places by a shift, those at odd places as they stand.
            let both = _mm256_loadu_si256(p.cast());
            let odd = _mm256_and_si256(both, _mm256_set1_epi32(0xffff_0000_u32 as i32));
            [_mm256_castsi256_ps(_mm256_slli_epi32::<16>(both)), _mm256_castsi256_ps(odd)]
        }
    }
    #[inline(always)]
    unsafe fn load_bf16_part(self, p: *const u16, n: usize) -> __m256 {
        // SAFETY: the caller vouches for `n` elements at `p`.
        unsafe { from_bf16(load_u16_part(p, n)) }
    }
    #[inline(always)]
    unsafe fn store_bf16_x4<const STREAM: bool>(self, p: *mut u16, v: [__m256; 4]) {
        // SAFETY: the caller vouches for 32 elements at `p`, aligned where `STREAM`.
        unsafe {
            store_u16_x2::<STREAM>(p, to_bf16_x2(v[0], v[1]));
            store_u16_x2::<STREAM>(p.add(16), to_bf16_x2(v[2], v[3]));
        }
    }
    #[inline(always)]
    unsafe fn store_bf16_part(self, p: *mut u16, v: __m256, n: usize) {
        // SAFETY: the caller vouches for `n` elements at `p`.
        unsafe { store_u16_part(p, _mm256_castsi256_si128(to_bf16_x2(v, v)), n) }
    }

    #[inline(always)]
    unsafe fn store_i8_x4<const STREAM: bool>(self, p: *mut u8, v: [__m256; 4]) {
        // SAFETY: the caller vouches for 32 bytes at `p`, aligned where `STREAM`.
        unsafe { store_bytes::<STREAM>(p, [to_i8(v[0]), to_i8(v[1]), to_i8(v[2]), to_i8(v[3])]) }
    }
    #[inline(always)]
    unsafe fn store_e4m3_x4<const STREAM: bool>(self, p: *mut u8, v: [__m256; 4]) {
        // SAFETY: the caller vouches for 32 bytes at `p`, aligned where `STREAM`.
        unsafe {
            store_bytes::<STREAM>(p, [to_e4m3(v[0]), to_e4m3(v[1]), to_e4m3(v[2]), to_e4m3(v[3])])
        }
    }
}

/// The integer nearest to each lane, at most 127 in magnitude, 0 for NaN; its low byte.
#[inline(always)]
unsafe fn to_i8(v: __m256) -> __m256i {
    // SAFETY: see the module's head.
    unsafe {
        let limit = _mm256_set1_ps(127.0);
        let number = _mm256_and_ps(v, _mm256_cmp_ps::<_CMP_ORD_Q>(v, v));
        let clamped = _mm256_min_ps(_mm256_max_ps(number, _mm256_set1_ps(-127.0)), limit);
        _mm256_and_si256(_mm256_cvtps_epi32(clamped), _mm256_set1_epi32(0xff))
    }
}

/// [`e4m3`](crate::quantized::e4m3) of each lane.
#[inline(always)]
unsafe fn to_e4m3(v: __m256) -> __m256i {
    // SAFETY: see the module's head.
    unsafe {
        let all = |v: u32| _mm256_set1_epi32(v as i32);
        let bits = _mm256_castps_si256(v);
        let sign = _mm256_and_si256(_mm256_srli_epi32::<24>(bits), all(0x80));
        let magnitude = _mm256_and_si256(bits, all(0x7fff_ffff));
        let odd = _mm256_and_si256(_mm256_srli_epi32::<20>(magnitude), all(1));
        let bias = _mm256_sub_epi32(all(0x7_ffff), all(120 << 23));
        let rounded = _mm256_add_epi32(_mm256_add_epi32(magnitude, bias), odd);
        // Below 0 only where the subnormal one is taken.
        let normal = _mm256_min_epu32(_mm256_srli_epi32::<20>(rounded), all(0x7e));
        let rounder = _mm256_set1_ps(E4M3_ROUNDER);
        let sum = _mm256_add_ps(_mm256_castsi256_ps(magnitude), rounder);
        let subnormal = _mm256_sub_epi32(_mm256_castps_si256(sum), _mm256_castps_si256(rounder));
        let tiny = _mm256_cmpgt_epi32(all(E4M3_NORMAL), magnitude);
        let finite = _mm256_blendv_epi8(normal, subnormal, tiny);
        let nan = _mm256_cmpgt_epi32(magnitude, all(0x7f80_0000));
        let value = _mm256_blendv_epi8(finite, all(0x7f), nan);
        _mm256_or_si256(value, sign)
    }
}

/// Stores the low bytes of 32 lanes, which are all that is set.
///
/// # Safety
/// `p` must be valid for writes of 32 bytes, and 32-byte aligned where `STREAM`.
#[inline(always)]
unsafe fn store_bytes<const STREAM: bool>(p: *mut u8, v: [__m256i; 4]) {
    // SAFETY: see above for the memory and the module's head for the features.
    unsafe {
        let first = _mm256_packus_epi32(v[0], v[1]);
        let last = _mm256_packus_epi32(v[2], v[3]);
        // Packing works on halves: fours of the four vectors come to lie side by side.
        let packed = _mm256_packus_epi16(first, last);
        let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        store_u16_x2::<STREAM>(p.cast(), _mm256_permutevar8x32_epi32(packed, order));
    }
}

/// All bits set in the first `n <= 8` lanes of 32 bits.
#[inline(always)]
fn mask(n: usize) -> __m256i {
    debug_assert!(n <= 8);
    // No static: other crates, whose kernels this is inlined into, would not see its values, and
    // could not leave out the mask of a whole vector.
    const WINDOW: &[i32; 16] = &[-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: `8 - n` is at most 8, so that 8 values follow it. Features: the module's head.
    unsafe { _mm256_loadu_si256(WINDOW.as_ptr().add(8 - n).cast()) }
}

/// Loads `n <= 8` elements of 16 bits; the rest become 0. AVX2 has no masked load for them:
/// two overlapping loads of half the size cover any `n` without touching a byte beyond.
///
/// # Safety
/// `p` must be valid for reads of `n` elements.
#[inline(always)]
unsafe fn load_u16_part(p: *const u16, n: usize) -> __m128i {
    debug_assert!(n <= 8);
    // SAFETY: every access below lies in `p..p + n`; features: the module's head.
    unsafe {
        let (low, high) = if n >= 4 {
            let low = p.cast::<u64>().read_unaligned();
            let last = p.add(n - 4).cast::<u64>().read_unaligned();
            // The last four, moved to their place behind the first four. At n = 4 none is left.
            (low, if n == 4 { 0 } else { last >> (16 * (8 - n)) })
        } else if n >= 2 {
            let low = u64::from(p.cast::<u32>().read_unaligned());
            let last = u64::from(p.add(n - 1).read());
            (low | (last << (16 * (n - 1))), 0)
        } else if n == 1 {
            (u64::from(p.read()), 0)
        } else {
            (0, 0)
        };
        _mm_set_epi64x(high as i64, low as i64)
    }
}

/// Stores the first `n <= 8` elements of 16 bits, in the manner of [`load_u16_part`].
///
/// # Safety
/// `p` must be valid for writes of `n` elements.
#[inline(always)]
unsafe fn store_u16_part(p: *mut u16, v: __m128i, n: usize) {
    debug_assert!(n <= 8);
    // SAFETY: every access below lies in `p..p + n`; features: the module's head.
    unsafe {
        let low = _mm_cvtsi128_si64(v) as u64;
        if n == 8 {
            _mm_storeu_si128(p.cast(), v);
        } else if n >= 4 {
            p.cast::<u64>().write_unaligned(low);
            let high = _mm_extract_epi64::<1>(v) as u64;
            let mut rest = high;
            for i in 4..n {
                p.add(i).write(rest as u16);
                rest >>= 16;
            }
        } else {
            let mut rest = low;
            for i in 0..n {
                p.add(i).write(rest as u16);
                rest >>= 16;
            }
        }
    }
}

/// Stores 16 elements of 16 bits.
///
/// # Safety
/// `p` must be valid for writes of 32 bytes, and 32-byte aligned where `STREAM`.
#[inline(always)]
unsafe fn store_u16_x2<const STREAM: bool>(p: *mut u16, v: __m256i) {
    // SAFETY: see above for the memory and the module's head for the features.
    unsafe {
        if STREAM {
            _mm256_stream_si256(p.cast(), v);
        } else {
            _mm256_storeu_si256(p.cast(), v);
        }
    }
}

#[inline(always)]
unsafe fn to_f16(v: __m256) -> __m128i {
    // SAFETY: see the module's head.
    unsafe { _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v) }
}

#[inline(always)]
unsafe fn from_bf16(v: __m128i) -> __m256 {
    // SAFETY: see the module's head.
    unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(v))) }
}

/// Rounds to bfloat16: nearest even, subnormals kept, NaN quiet. The result is in the upper
/// half of each lane of 32 bits.
#[inline(always)]
unsafe fn round_bf16(v: __m256) -> __m256i {
    // SAFETY: see the module's head.
    unsafe {
        let bits = _mm256_castps_si256(v);
        let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
        let bias = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
        let rounded = _mm256_add_epi32(bits, bias);
        let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000));
        let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(v, v));
        _mm256_blendv_epi8(rounded, quiet, nan)
    }
}

/// Two vectors rounded to bfloat16, side by side.
#[inline(always)]
unsafe fn to_bf16_x2(a: __m256, b: __m256) -> __m256i {
    // SAFETY: see the module's head.
    unsafe {
        let (a, b) =
            (_mm256_srli_epi32::<16>(round_bf16(a)), _mm256_srli_epi32::<16>(round_bf16(b)));
        // PACKUSDW works within 128-bit halves; the permutation puts them in order.
        _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(a, b))
    }
}
