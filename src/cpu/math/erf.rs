//! `erf(alpha * x + shift)`.

use super::{
    polynomial, rounder,
    short::Short,
    tables::{ERF, ERF_EXPONENT, EXPM1, SHORT_ERF},
};
use crate::cpu::simd::Simd;
use core::f32::consts::{LN_2, LOG2_E};

/// erf on `[0, limit]` in 16 pieces about the multiples of a step.
#[repr(C, align(64))]
pub(super) struct Pieces {
    /// The coefficients of each piece in `unit` times the distance from its middle, constant first.
    pub(super) columns: [[f32; 16]; 6],
    /// Such that the slope at 0 is nearly exact.
    pub(super) unit: f32,
    /// A power of two.
    pub(super) step: f32,
    /// The end of the last piece, where that rounds to 1, as erf does from a little farther on.
    pub(super) limit: f32,
}

/// `erf(alpha * x + shift)` for one `alpha` and `shift`.
///
/// Largest error over every f32 `x` for `alpha` 1 and `shift` 0, in ulp: AVX-512 1.99, AVX2 1.67,
/// without a fused operation 1.94. Those are the errors of `erf(z)`; `z = alpha * x + shift` is
/// rounded once, which can add up to half an ulp, or one where `z` is just above a power of two.
#[derive(Clone, Copy)]
pub(crate) struct Erf<S: Simd> {
    alpha: S::F,
    shift: S::F,
    /// The same for [`in_f64`].
    wide: (f64, f64),
    /// Whether `alpha * x + shift` is best computed by [`in_f64`]: where there is no fused
    /// operation, the product's rounding would show when the sum nearly cancels.
    by_f64: bool,
}

impl<S: Simd> Erf<S> {
    /// Prepares for a finite `alpha` and `shift`.
    #[inline(always)]
    pub(crate) fn new(s: S, alpha: f32, shift: f32) -> Self {
        // Without a shift the function is odd: a product of -0 must stay that, and adding -0.0 is
        // what changes nothing.
        let shift = if shift == 0.0 { -0.0 } else { shift };
        Self {
            alpha: s.splat(alpha),
            shift: s.splat(shift),
            wide: (f64::from(alpha), f64::from(shift)),
            by_f64: !S::FMA && shift != 0.0,
        }
    }

    /// `erf(alpha * x + shift)`.
    #[inline(always)]
    pub(crate) fn apply<const U: usize>(&self, s: S, x: [S::F; U]) -> [S::F; U] {
        let limit = s.splat(if S::FAST_LOOKUP { ERF.limit } else { EXP_LIMIT });
        let z = self.argument(s, x);
        let mut magnitude = x;
        for j in 0..U {
            magnitude[j] = s.min(limit, s.abs(z[j]));
        }
        let mut y = if S::FAST_LOOKUP { by_pieces(s, magnitude) } else { by_exp(s, magnitude) };
        for j in 0..U {
            y[j] = s.with_sign(y[j], z[j]);
        }
        y
    }

    /// `alpha * x + shift`.
    #[inline(always)]
    pub(crate) fn argument<const U: usize>(&self, s: S, x: [S::F; U]) -> [S::F; U] {
        let mut z = x;
        if self.by_f64 {
            for j in 0..U {
                z[j] = in_f64(s, x[j], self.wide);
            }
        } else {
            for j in 0..U {
                z[j] = s.mul_add(x[j], self.alpha, self.shift);
            }
        }
        z
    }
}

/// `erf(z)`: within 0.0065 ulp for results in f16, and 0.019 in bfloat16.
#[inline(always)]
pub(crate) fn short_erf<S: Simd>(s: S) -> Short<S, 3, 3> {
    Short::new(s, &SHORT_ERF, 1.0)
}

/// `erf(z)` for `0 <= z <= ERF.limit`, by polynomials of degree 5.
#[inline(always)]
fn by_pieces<S: Simd, const U: usize>(s: S, z: [S::F; U]) -> [S::F; U] {
    let (rounder, unit) = (s.splat(rounder(ERF.step)), s.splat(ERF.unit));
    let mut piece = z;
    for j in 0..U {
        piece[j] = s.add(z[j], rounder);
    }
    let mut t = z;
    for j in 0..U {
        // Both differences are exact.
        t[j] = s.mul(s.sub(z[j], s.sub(piece[j], rounder)), unit);
    }
    let [lower @ .., highest] = &ERF.columns;
    let mut p = t;
    for j in 0..U {
        p[j] = s.lookup(highest, piece[j]);
    }
    for column in lower.iter().rev() {
        for j in 0..U {
            p[j] = s.mul_add(p[j], t[j], s.lookup(column, piece[j]));
        }
    }
    p
}

/// From here on erf rounds to 1, and so does [`by_exp`].
const EXP_LIMIT: f32 = 4.0;

/// `erf(z)` for `0 <= z <= EXP_LIMIT` as `1 - exp(-m)`, `m = z + z R(z)`.
///
/// One formula for all `z`: `m` is accurate relative to itself, and what is subtracted from 1
/// is `1 - exp(-m)` again near 0.
#[inline(always)]
fn by_exp<S: Simd, const U: usize>(s: S, z: [S::F; U]) -> [S::F; U] {
    let (one, ln2, minus_log2_e) = (s.splat(1.0), s.splat(LN_2), s.splat(-LOG2_E));
    let mut m = polynomial(s, &ERF_EXPONENT, z);
    for j in 0..U {
        m[j] = s.mul_add(z[j], m[j], z[j]);
    }
    let mut n = m;
    for j in 0..U {
        n[j] = s.round(s.mul(m[j], minus_log2_e));
    }
    let mut r = m;
    for j in 0..U {
        // One constant is enough for ln 2: its error is multiplied by the power of two below.
        r[j] = s.mul_add(n[j], ln2, m[j]);
    }
    let p = polynomial(s, &EXPM1, r);
    let mut y = z;
    for j in 0..U {
        let shrunk = s.neg_mul_add(s.mul(r[j], r[j]), p[j], r[j]);
        let power = s.exp2(n[j]);
        y[j] = s.mul_add(power, shrunk, s.sub(one, power));
    }
    y
}

/// `alpha * x + shift` with one rounding, but for f64's.
#[inline(always)]
fn in_f64<S: Simd>(s: S, x: S::F, (alpha, shift): (f64, f64)) -> S::F {
    const ROOM: usize = 16;
    const { assert!(S::LANES <= ROOM) };
    let mut lanes = [0.0_f32; ROOM];
    // SAFETY: there is room for `LANES` elements.
    unsafe { s.store_f32_part(lanes.as_mut_ptr(), x, S::LANES) };
    for lane in &mut lanes[..S::LANES] {
        *lane = (f64::from(*lane) * alpha + shift) as f32;
    }
    // SAFETY: as above.
    unsafe { s.load_f32_part(lanes.as_ptr(), S::LANES) }
}
