//! `z * sigmoid(z) = z / (1 + exp(-z))`.

use super::{
    polynomial,
    tables::{EXP2, EXP2_ABOVE, EXPM1},
};
use crate::cpu::simd::Simd;
use core::f32::consts::LOG2_E;

/// `ln 2` in two: multiples of the first by integers below 2^9 are exact.
pub(super) const LN2_HIGH: f32 = f32::from_bits(0x3f31_7200);
pub(super) const LN2_LOW: f32 = (core::f64::consts::LN_2 - LN2_HIGH as f64) as f32;
/// From here on `1 + exp(-z)` is 1.
const LARGE: f32 = 30.0;
/// Up to here the result is 0.
const SMALL: f32 = -130.0;
/// Down to here `exp(-z)` is at most 2^126, so that its reciprocal is a normal number.
const NORMAL: f32 = -87.3;
/// By which power of two numerator and denominator of the sigmoid are scaled, so that `exp` does not overflow.
const SHIFT: f32 = -64.0;

/// `z * sigmoid(z)`: over every f32 from -87 on within 2.87 ulp, below that within 1e-43; at
/// -infinity it has its limit -0.
#[inline(always)]
pub(crate) fn silu<S: Simd, const U: usize>(s: S, mut z: [S::F; U]) -> [S::F; U] {
    let mut n = z;
    let mut r = z;
    for j in 0..U {
        z[j] = s.max(s.splat(SMALL), z[j]);
        let clamped = s.min(s.splat(LARGE), z[j]);
        n[j] = s.round(s.mul(clamped, s.splat(-LOG2_E)));
        let high = s.mul_add(n[j], s.splat(LN2_HIGH), clamped);
        r[j] = s.mul_add(n[j], s.splat(LN2_LOW), high);
    }
    let p = polynomial(s, &EXPM1, r);
    for j in 0..U {
        // exp(-r), between 0.7 and 1.42.
        let fraction = s.sub(s.splat(1.0), s.neg_mul_add(s.mul(r[j], r[j]), p[j], r[j]));
        z[j] = s.mul(z[j], sigmoid(s, fraction, n[j]));
    }
    z
}

/// `z * sigmoid(z)` for results that will be rounded to `DIGITS` digits, at most 11: from -87 on within 0.01 ulp of
/// those in f16 and 0.017 in bfloat16, below that within 1e-36.
#[inline(always)]
pub(crate) fn short_silu<S: Simd, const DIGITS: u32, const U: usize>(
    s: S,
    z: [S::F; U],
) -> [S::F; U] {
    if S::FAST_EXP2 { fast_silu::<S, DIGITS, U>(s, z) } else { slow_silu(s, z) }
}

/// [`short_silu`] where that is so few instructions: without a division, and without a look at what is too large.
#[inline(always)]
fn fast_silu<S: Simd, const DIGITS: u32, const U: usize>(s: S, mut z: [S::F; U]) -> [S::F; U] {
    let one = s.splat(1.0);
    let mut power = z;
    let mut f = z;
    for j in 0..U {
        z[j] = s.max(s.splat(if DIGITS <= 8 { SMALL } else { NORMAL }), z[j]);
        power[j] = s.mul(z[j], s.splat(-LOG2_E));
        f[j] = s.fraction(power[j]);
    }
    let p = polynomial(s, &EXP2_ABOVE, f);
    for j in 0..U {
        let sum = s.add(s.times_exp2(p[j], power[j]), one);
        let mut sigmoid = s.reciprocal_estimate(sum);
        if DIGITS > 8 {
            let error = s.neg_mul_add(sum, sigmoid, one);
            sigmoid = s.mul_add(sigmoid, error, sigmoid);
        }
        z[j] = s.mul(z[j], sigmoid);
    }
    z
}

/// [`short_silu`] elsewhere.
#[inline(always)]
fn slow_silu<S: Simd, const U: usize>(s: S, mut z: [S::F; U]) -> [S::F; U] {
    let mut n = z;
    let mut f = z;
    for j in 0..U {
        z[j] = s.max(s.splat(SMALL), z[j]);
        // The rounding of this product is the larger part of the error.
        f[j] = s.mul(s.min(s.splat(LARGE), z[j]), s.splat(-LOG2_E));
        n[j] = s.round(f[j]);
        f[j] = s.sub(f[j], n[j]);
    }
    let p = polynomial(s, &EXP2, f);
    for j in 0..U {
        z[j] = s.mul(z[j], sigmoid(s, p[j], n[j]));
    }
    z
}

/// `1 / (1 + fraction 2^n)` for an integral `n` from -44 to 188.
#[inline(always)]
fn sigmoid<S: Simd>(s: S, fraction: S::F, n: S::F) -> S::F {
    let one = s.splat(ONE);
    // exact
    let exp = s.times_exp2(fraction, s.add(n, s.splat(SHIFT)));
    s.div(one, s.add(exp, one))
}

/// `2^SHIFT`.
const ONE: f32 = 1.0 / (1u128 << 64) as f32;
