//! What NEON has instructions for and the crate `wide` no name: on aarch64 the baseline takes it from here. (Its
//! intrinsics for binary16 came later than the oldest compiler that is supported.)

use core::arch::aarch64::{
    float32x4_t, int8x8_t, int8x16_t, uint16x8_t, vcombine_s8, vcombine_s16, vcvtnq_s32_f32,
    vdupq_n_s8, vmaxq_s8, vmulq_f32, vqmovn_s16, vqmovn_s32, vrsqrteq_f32, vrsqrtsq_f32,
};
use core::arch::asm;
use core::mem::transmute;
use wide::f32x8;

/// Correct bits of [`rsqrt_estimate`].
pub(super) const RSQRT_BITS: u32 = 14;

/// Eight bits by an instruction, and a step of Newton's.
#[inline(always)]
pub(super) fn rsqrt_estimate(a: f32x8) -> f32x8 {
    // SAFETY: instructions of every processor of this architecture; the types are of one size.
    unsafe {
        let [low, high]: [float32x4_t; 2] = transmute(a);
        transmute([rsqrt_of_four(low), rsqrt_of_four(high)])
    }
}

#[inline(always)]
fn rsqrt_of_four(a: float32x4_t) -> float32x4_t {
    // SAFETY: as above.
    unsafe {
        let y = vrsqrteq_f32(a);
        vmulq_f32(y, vrsqrtsq_f32(vmulq_f32(a, y), y))
    }
}

#[inline(always)]
pub(super) fn from_f16(v: [u16; 8]) -> f32x8 {
    let (low, high): (float32x4_t, float32x4_t);
    // SAFETY: as above.
    unsafe {
        let v: uint16x8_t = transmute(v);
        asm!("fcvtl {0:v}.4s, {1:v}.4h", lateout(vreg) low, in(vreg) v,
            options(pure, nomem, nostack));
        asm!("fcvtl2 {0:v}.4s, {1:v}.8h", lateout(vreg) high, in(vreg) v,
            options(pure, nomem, nostack));
        transmute([low, high])
    }
}

/// Rounds to binary16: nearest even, subnormals kept, overflow to infinity, NaN quiet.
#[inline(always)]
pub(super) fn to_f16(v: f32x8) -> [u16; 8] {
    let both: uint16x8_t;
    // SAFETY: as above.
    unsafe {
        let [low, high]: [float32x4_t; 2] = transmute(v);
        asm!("fcvtn {0:v}.4h, {1:v}.4s", "fcvtn2 {0:v}.8h, {2:v}.4s", out(vreg) both,
            in(vreg) low, in(vreg) high, options(pure, nomem, nostack));
        transmute(both)
    }
}

/// Rounds to the nearest even integer of at most 127 in magnitude; NaN to 0.
#[inline(always)]
pub(super) fn to_i8([a, b, c, d]: [f32x8; 4]) -> [i8; 32] {
    // SAFETY: as above.
    unsafe { transmute([sixteen_to_i8(a, b), sixteen_to_i8(c, d)]) }
}

#[inline(always)]
fn sixteen_to_i8(a: f32x8, b: f32x8) -> int8x16_t {
    // SAFETY: as above.
    unsafe { vmaxq_s8(vcombine_s8(eight_to_i8(a), eight_to_i8(b)), vdupq_n_s8(-127)) }
}

/// Conversions saturate, here at -128, and make 0 of NaN.
#[inline(always)]
fn eight_to_i8(v: f32x8) -> int8x8_t {
    // SAFETY: as above.
    unsafe {
        let [low, high]: [float32x4_t; 2] = transmute(v);
        let (low, high) = (vqmovn_s32(vcvtnq_s32_f32(low)), vqmovn_s32(vcvtnq_s32_f32(high)));
        vqmovn_s16(vcombine_s16(low, high))
    }
}
