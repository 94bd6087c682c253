//! The baseline of every target, on the crate `wide`: 8 lanes.
//!
//! `wide` chooses its instructions when it is compiled: SSE2 in an ordinary x86-64 build,
//! NEON on aarch64, for which `neon.rs` has more, and what the target offers elsewhere. Nothing here is `unsafe` but the
//! access to memory.

#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
use super::neon as special;
use super::{ShortKernel, Simd};
use crate::Isa;
use crate::cpu::short::ShortRows;
use crate::quantized::e4m3;
use bytemuck::cast;
use wide::{f32x8, i32x8, u32x8};

/// The token of the baseline; every processor that runs the program has it.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

/// Runs `kernel` with the instructions that the whole program was compiled for.
// Not as part of what chooses among the instruction sets, which all calls pass through.
#[inline(never)]
pub(crate) fn enter<K: super::Kernel>(kernel: K) -> K::Output {
    kernel.run(Portable)
}

/// As [`enter`], for a short call.
///
/// # Safety
/// As that and [`ShortKernel::run`].
pub(crate) unsafe fn enter_short<K: ShortKernel>(rows: &ShortRows) {
    // SAFETY: the same contract.
    unsafe { K::run(Portable, rows) }
}

/// 1.5 * 2^23: adding it leaves no bits for a fraction, so the sum is rounded to an integer.
const ROUNDER: f32 = 12_582_912.0;

// SAFETY: no instruction beyond those of the compilation target is used.
unsafe impl Simd for Portable {
    type F = f32x8;
    const LANES: usize = 8;
    const FOR_MEMORY: bool = false;
    const LEAN: bool = Isa::Portable.is_lean();
    const FMA: bool = cfg!(any(
        all(target_feature = "avx", target_feature = "fma"),
        all(target_arch = "aarch64", target_feature = "neon"),
    ));
    const FAST_LOOKUP: bool = false;
    const RSQRT_BITS: u32 = special::RSQRT_BITS;

    #[inline(never)]
    fn apart<K: super::Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    #[inline(always)]
    fn splat(self, v: f32) -> f32x8 {
        f32x8::splat(v)
    }
    #[inline(always)]
    fn add(self, a: f32x8, b: f32x8) -> f32x8 {
        a + b
    }
    #[inline(always)]
    fn sub(self, a: f32x8, b: f32x8) -> f32x8 {
        a - b
    }
    #[inline(always)]
    fn mul(self, a: f32x8, b: f32x8) -> f32x8 {
        a * b
    }
    #[inline(always)]
    fn div(self, a: f32x8, b: f32x8) -> f32x8 {
        a / b
    }
    #[inline(always)]
    fn mul_add(self, a: f32x8, b: f32x8, c: f32x8) -> f32x8 {
        a.mul_add(b, c)
    }
    #[inline(always)]
    fn neg_mul_add(self, a: f32x8, b: f32x8, c: f32x8) -> f32x8 {
        a.mul_neg_add(b, c)
    }
    #[inline(always)]
    fn sqrt(self, a: f32x8) -> f32x8 {
        a.sqrt()
    }
    #[inline(always)]
    fn rsqrt_estimate(self, a: f32x8) -> f32x8 {
        special::rsqrt_estimate(a)
    }
    #[inline(always)]
    fn min(self, limit: f32x8, x: f32x8) -> f32x8 {
        limit.simd_lt(x).bitselect(limit, x)
    }
    #[inline(always)]
    fn max(self, limit: f32x8, x: f32x8) -> f32x8 {
        x.simd_lt(limit).bitselect(limit, x)
    }
    #[inline(always)]
    fn abs(self, a: f32x8) -> f32x8 {
        a.abs()
    }
    #[inline(always)]
    fn with_sign(self, a: f32x8, sign: f32x8) -> f32x8 {
        a ^ (sign & f32x8::splat(-0.0))
    }
    #[inline(always)]
    fn round(self, a: f32x8) -> f32x8 {
        (a + f32x8::splat(ROUNDER)) - f32x8::splat(ROUNDER)
    }
    #[inline(always)]
    fn exp2(self, n: f32x8) -> f32x8 {
        // The integer stands in the low bits of `n + ROUNDER`; the rest is shifted out.
        let biased: i32x8 = cast(n + f32x8::splat(ROUNDER + 127.0));
        let power: f32x8 = cast(biased << 23);
        // `n * 0` carries a NaN over and adds nothing otherwise.
        (f32x8::ONE + n * f32x8::ZERO) * power
    }
    #[inline(always)]
    fn lookup(self, table: &[f32; 16], index: f32x8) -> f32x8 {
        f32x8::new(index.to_array().map(|i| table[i.to_bits() as usize % 16]))
    }
    #[inline(always)]
    fn reduce_add(self, a: f32x8) -> f32 {
        let v = a.to_array();
        ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]))
    }
    #[inline(always)]
    fn reduce_max(self, a: f32x8) -> f32 {
        a.to_array().into_iter().fold(0.0, f32::max)
    }
    #[inline(always)]
    fn first_n(self, a: f32x8, n: usize, rest: f32x8) -> f32x8 {
        let (a, mut v) = (a.to_array(), rest.to_array());
        for (i, lane) in v.iter_mut().enumerate() {
            *lane = if i < n { a[i] } else { *lane };
        }
        f32x8::new(v)
    }
    #[inline(always)]
    fn prefetch(self, _: *const u8, _: bool) {}
    #[inline(always)]
    fn prefetch_write(self, _: *const u8) {}
    #[inline(always)]
    fn fence_streams(self) {}

    #[inline(always)]
    unsafe fn load_f32_x2(self, p: *const f32) -> [f32x8; 2] {
        // SAFETY: the caller vouches for 16 elements at `p`.
        let [a, b] = unsafe { p.cast::<[[f32; 8]; 2]>().read_unaligned() };
        [f32x8::new(a), f32x8::new(b)]
    }
    #[inline(always)]
    unsafe fn load_f32_part(self, p: *const f32, n: usize) -> f32x8 {
        // SAFETY: the caller vouches for `n` elements at `p`.
        f32x8::new(unsafe { read_part(p, n) })
    }
    #[inline(always)]
    unsafe fn store_f32_x4<const STREAM: bool>(self, p: *mut f32, v: [f32x8; 4]) {
        // SAFETY: the caller vouches for 32 elements at `p`.
        unsafe { p.cast::<[[f32; 8]; 4]>().write_unaligned(v.map(|v| v.to_array())) }
    }
    #[inline(always)]
    unsafe fn store_f32_part(self, p: *mut f32, v: f32x8, n: usize) {
        // SAFETY: the caller vouches for `n` elements at `p`.
        unsafe { write_part(p, v.to_array(), n) }
    }

    #[inline(always)]
    unsafe fn load_f16_x2(self, p: *const u16) -> [f32x8; 2] {
        // SAFETY: the caller vouches for 16 elements at `p`.
        let [a, b] = unsafe { p.cast::<[[u16; 8]; 2]>().read_unaligned() };
        [special::from_f16(a), special::from_f16(b)]
    }
    #[inline(always)]
    unsafe fn load_f16_part(self, p: *const u16, n: usize) -> f32x8 {
        // SAFETY: the caller vouches for `n` elements at `p`.
        special::from_f16(unsafe { read_part(p, n) })
    }
    #[inline(always)]
    unsafe fn store_f16_x4<const STREAM: bool>(self, p: *mut u16, [a, b, c, d]: [f32x8; 4]) {
        let all = [special::to_f16(a), special::to_f16(b), special::to_f16(c), special::to_f16(d)];
        // SAFETY: the caller vouches for 32 elements at `p`.
        unsafe { p.cast::<[[u16; 8]; 4]>().write_unaligned(all) }
    }
    #[inline(always)]
    unsafe fn store_f16_part(self, p: *mut u16, v: f32x8, n: usize) {
        // SAFETY: the caller vouches for `n` elements at `p`.
        unsafe { write_part(p, special::to_f16(v), n) }
    }

    #[inline(always)]
    unsafe fn load_bf16_x2(self, p: *const u16) -> [f32x8; 2] {
        // SAFETY: the caller vouches for 16 elements at `p`.
        let [a, b] = unsafe { p.cast::<[[u16; 8]; 2]>().read_unaligned() };
        [from_bf16(a), from_bf16(b)]
    }
    #[inline(always)]
    unsafe fn load_bf16_x2_unordered(self, p: *const u16) -> [f32x8; 2] {
        // SAFETY: the caller vouches for 16 elements at `p`.
        let both: u32x8 = cast(unsafe { p.cast::<[u16; 16]>().read_unaligned() });
        // Halves of 32 bits; which of them is the first in memory does not matter here.
        [cast(both << 16), cast(both & u32x8::splat(0xffff_0000))]
    }
    #[inline(always)]
    unsafe fn load_bf16_part(self, p: *const u16, n: usize) -> f32x8 {
        // SAFETY: the caller vouches for `n` elements at `p`.
        from_bf16(unsafe { read_part(p, n) })
    }
    #[inline(always)]
    unsafe fn store_bf16_x4<const STREAM: bool>(self, p: *mut u16, [a, b, c, d]: [f32x8; 4]) {
        let all = [to_bf16(a), to_bf16(b), to_bf16(c), to_bf16(d)];
        // SAFETY: the caller vouches for 32 elements at `p`.
        unsafe { p.cast::<[[u16; 8]; 4]>().write_unaligned(all) }
    }
    #[inline(always)]
    unsafe fn store_bf16_part(self, p: *mut u16, v: f32x8, n: usize) {
        // SAFETY: the caller vouches for `n` elements at `p`.
        unsafe { write_part(p, to_bf16(v), n) }
    }

    #[inline(always)]
    unsafe fn store_i8_x4<const STREAM: bool>(self, p: *mut u8, v: [f32x8; 4]) {
        // SAFETY: the caller vouches for 32 bytes at `p`.
        unsafe { p.cast::<[i8; 32]>().write_unaligned(special::to_i8(v)) }
    }
    #[inline(always)]
    unsafe fn store_e4m3_x4<const STREAM: bool>(self, p: *mut u8, v: [f32x8; 4]) {
        let bytes = v.map(|v| v.to_array().map(|lane| e4m3(lane.to_bits()) as u8));
        // SAFETY: the caller vouches for 32 bytes at `p`.
        unsafe { p.cast::<[[u8; 8]; 4]>().write_unaligned(bytes) }
    }
}

/// # Safety
/// `p` must be valid for reads of `n <= 8` elements.
#[inline(always)]
unsafe fn read_part<T: Copy + Default>(p: *const T, n: usize) -> [T; 8] {
    debug_assert!(n <= 8);
    let mut v = [T::default(); 8];
    // SAFETY: `v` holds 8 elements and the caller vouches for `n` at `p`.
    unsafe { p.copy_to_nonoverlapping(v.as_mut_ptr(), n) };
    v
}

/// # Safety
/// `p` must be valid for writes of `n <= 8` elements.
#[inline(always)]
unsafe fn write_part<T: Copy>(p: *mut T, v: [T; 8], n: usize) {
    debug_assert!(n <= 8);
    // SAFETY: `v` holds 8 elements and the caller vouches for `n` at `p`.
    unsafe { p.copy_from_nonoverlapping(v.as_ptr(), n) }
}

#[inline(always)]
fn widen(v: [u16; 8]) -> u32x8 {
    u32x8::new(v.map(u32::from))
}

#[inline(always)]
fn narrow(v: u32x8) -> [u16; 8] {
    v.to_array().map(|lane| lane as u16)
}

#[inline(always)]
fn from_bf16(v: [u16; 8]) -> f32x8 {
    cast(widen(v) << 16)
}

/// Rounds to bfloat16: nearest even, subnormals kept, NaN quiet.
#[inline(always)]
fn to_bf16(v: f32x8) -> [u16; 8] {
    let bits: u32x8 = cast(v);
    let rounded = bits + u32x8::splat(0x7fff) + ((bits >> 16) & u32x8::splat(1));
    let quiet = bits | u32x8::splat(0x0040_0000);
    let nan: u32x8 = cast(v.is_nan());
    narrow(nan.bitselect(quiet, rounded) >> 16)
}

/// What some processors have instructions for.
#[cfg(not(all(target_arch = "aarch64", target_endian = "little")))]
mod special {
    use super::{Portable, Simd, narrow, widen};
    use bytemuck::cast;
    use wide::{f32x8, u32x8};

    pub(super) const RSQRT_BITS: u32 = 23;

    #[inline(always)]
    pub(super) fn rsqrt_estimate(a: f32x8) -> f32x8 {
        f32x8::ONE / a.sqrt()
    }

    #[inline(always)]
    pub(super) fn from_f16(v: [u16; 8]) -> f32x8 {
        let half = widen(v);
        let sign = (half & u32x8::splat(0x8000)) << 16;
        let shifted = (half & u32x8::splat(0x7fff)) << 13;
        // The exponent's bias differs by 112; a multiplication corrects subnormals as well.
        let scaled: u32x8 =
            cast(cast::<_, f32x8>(shifted) * f32x8::splat(f32::from_bits((127 + 112) << 23)));
        // Infinity and NaN have the largest exponent in either format.
        let special: u32x8 = cast(f32x8::splat(65504.0).simd_lt(cast::<_, f32x8>(scaled)));
        cast(scaled | (special & u32x8::splat(0x7f80_0000)) | sign)
    }

    /// Rounds to binary16: nearest even, subnormals kept, overflow to infinity, NaN quiet.
    #[inline(always)]
    pub(super) fn to_f16(v: f32x8) -> [u16; 8] {
        let bits: u32x8 = cast(v);
        let sign = (bits >> 16) & u32x8::splat(0x8000);
        let magnitude = bits & u32x8::splat(0x7fff_ffff);
        let value: f32x8 = cast(magnitude);
        let odd = (magnitude >> 13) & u32x8::splat(1);
        let normal = (magnitude + odd + u32x8::splat(0xfff) - u32x8::splat(112 << 23)) >> 13;
        // One half has the spacing of binary16's subnormals, so adding it rounds to them.
        let subnormal = cast::<_, u32x8>(value + f32x8::HALF) - cast::<_, u32x8>(f32x8::HALF);
        let overflow = u32x8::splat(0x7c00);
        let nan = u32x8::splat(0x7e00) | ((magnitude >> 13) & u32x8::splat(0x3ff));

        let tiny: u32x8 = cast(value.simd_lt(f32x8::splat(6.103_515_6e-5)));
        let finite: u32x8 = cast(value.simd_lt(f32x8::splat(65536.0)));
        let is_nan: u32x8 = cast(value.is_nan());
        let rounded = finite.bitselect(tiny.bitselect(subnormal, normal), overflow);
        narrow(is_nan.bitselect(nan, rounded) | sign)
    }

    /// Rounds to the nearest even integer of at most 127 in magnitude; NaN to 0.
    #[inline(always)]
    pub(super) fn to_i8(v: [f32x8; 4]) -> [i8; 32] {
        let limit = f32x8::splat(127.0);
        let bytes = v.map(|v| {
            let rounded = Portable.round(Portable.min(limit, Portable.max(-limit, v)));
            // The conversion makes 0 of NaN.
            rounded.to_array().map(|lane| lane as i8)
        });
        cast(bytes)
    }
}
