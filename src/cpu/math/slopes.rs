//! The element-wise functions with their derivatives.
//!
//! The derivatives are made of what is small where they are small, so that they keep their digits where the function is
//! near its limits: `1 - tanh^2` would have none left from where tanh rounds to 1.
//!
//! Factors of the gradients by parameters that all elements share are left to whoever adds these up.

use super::isru::{GROW, LARGE, LIMIT, SHRINK, SMALL};
use super::{Erf, polynomial, tables::EXP2M1};
use crate::cpu::simd::Simd;
use core::f32::consts::{FRAC_2_SQRT_PI, LOG2_E};

/// Parameters that a function has at most.
pub(crate) const MOST_PARAMETERS: usize = 2;

/// A function and its gradients, at `U` vectors.
pub(crate) struct Slopes<S: Simd, const U: usize> {
    pub(crate) value: [S::F; U],
    pub(crate) by_x: [S::F; U],
    /// By the parameters that it has, up to factors that all elements share.
    pub(crate) parameters: [[S::F; U]; MOST_PARAMETERS],
}

/// Up to here `2^u` rounds to 0.
const LEAST_EXPONENT: f32 = -188.0;
/// By which power of two it is scaled, so that it is a normal number.
const SCALE: f32 = (1u128 << 64) as f32;
const UNSCALE: f32 = 1.0 / SCALE;
const SCALE_EXPONENT: f32 = 64.0;

/// `2^u` for `u <= 0`, within an ulp, and the parts of `1 - 2^u` if that is wanted.
#[inline(always)]
fn exp2<S: Simd, const U: usize>(s: S, mut u: [S::F; U]) -> Exp2<S, U> {
    let one = s.splat(1.0);
    let mut n = u;
    for j in 0..U {
        u[j] = s.max(s.splat(LEAST_EXPONENT), u[j]);
        n[j] = s.round(u[j]);
        u[j] = s.sub(u[j], n[j]);
    }
    let mut less_one = polynomial(s, &EXP2M1, u);
    let (mut whole, mut power) = (u, n);
    for j in 0..U {
        less_one[j] = s.mul(less_one[j], u[j]);
        let fraction = s.add(one, less_one[j]);
        if S::FAST_EXP2 {
            whole[j] = s.times_exp2(fraction, n[j]);
            power[j] = s.times_exp2(one, n[j]);
        } else {
            let scaled = s.exp2(s.add(n[j], s.splat(SCALE_EXPONENT)));
            whole[j] = s.mul(s.mul(scaled, fraction), s.splat(UNSCALE));
            power[j] = s.mul(scaled, s.splat(UNSCALE));
        }
    }
    Exp2 { whole, power, less_one }
}

/// `2^u = power (1 + less_one)`.
struct Exp2<S: Simd, const U: usize> {
    whole: [S::F; U],
    power: [S::F; U],
    less_one: [S::F; U],
}

/// The largest number for infinity: what is multiplied with 0 there is to become 0.
#[inline(always)]
fn finite<S: Simd>(s: S, x: S::F) -> S::F {
    s.min(s.splat(f32::MAX), s.max(s.splat(f32::MIN), x))
}

/// `1 / a` for normal `a`, within an ulp or so.
#[inline(always)]
fn reciprocal<S: Simd>(s: S, a: S::F) -> S::F {
    let one = s.splat(1.0);
    if S::FAST_EXP2 {
        let estimate = s.reciprocal_estimate(a);
        s.mul_add(estimate, s.neg_mul_add(a, estimate, one), estimate)
    } else {
        s.div(one, a)
    }
}

/// `tanh(alpha * x)` with its derivatives.
#[derive(Clone, Copy)]
pub(crate) struct TanhSlope<S: Simd> {
    alpha: S::F,
    /// `-2 log2(e) |alpha|`.
    exponent: S::F,
    /// `4 alpha`.
    by_x: S::F,
    /// What sums of the gradients by parameters lack.
    pub(crate) factors: [f64; MOST_PARAMETERS],
}

impl<S: Simd> TanhSlope<S> {
    /// Prepares for a finite `alpha`; one above 8e37 is taken for that.
    #[inline(always)]
    pub(crate) fn new(s: S, alpha: f32) -> Self {
        const LARGEST: f32 = f32::MAX / 4.0;
        let alpha = alpha.clamp(-LARGEST, LARGEST);
        Self {
            alpha: s.splat(alpha),
            exponent: s.splat(-2.0 * LOG2_E * alpha.abs()),
            by_x: s.splat(4.0 * alpha),
            factors: [4.0, 0.0],
        }
    }

    /// The function, and for gradients `df` of it those by `x` and alpha. With `e = exp(-2 |alpha x|)`
    ///
    /// ```text
    /// tanh(|alpha x|) = (1 - e) / (1 + e),  1 - tanh(alpha x)^2 = 4 e / (1 + e)^2.
    /// ```
    #[inline(always)]
    pub(crate) fn apply<const U: usize>(&self, s: S, x: [S::F; U], df: [S::F; U]) -> Slopes<S, U> {
        let one = s.splat(1.0);
        let mut u = x;
        for j in 0..U {
            u[j] = s.mul(s.abs(x[j]), self.exponent);
        }
        let Exp2 { whole: e, power, less_one } = exp2(s, u);
        let (mut value, mut by_x, mut by_alpha) = (x, x, x);
        for j in 0..U {
            let root = reciprocal(s, s.add(one, e[j]));
            // 1 - e, by itself where it is small.
            let rest = s.neg_mul_add(power[j], less_one[j], s.sub(one, power[j]));
            value[j] = s.with_sign(s.mul(rest, root), s.with_sign(self.alpha, x[j]));
            let by_z = s.mul(df[j], s.mul(s.mul(e[j], root), root));
            by_x[j] = s.mul(by_z, self.by_x);
            by_alpha[j] = s.mul(by_z, finite(s, x[j]));
        }
        Slopes { value, by_x, parameters: [by_alpha, by_alpha] }
    }
}

/// `erf(alpha * x + shift)` with its derivatives.
#[derive(Clone, Copy)]
pub(crate) struct ErfSlope<S: Simd> {
    erf: Erf<S>,
    /// `2 / sqrt(pi) alpha`.
    by_x: S::F,
    /// What sums of the gradients by parameters lack.
    pub(crate) factors: [f64; MOST_PARAMETERS],
}

impl<S: Simd> ErfSlope<S> {
    /// Prepares for a finite `alpha` and `shift`.
    #[inline(always)]
    pub(crate) fn new(s: S, alpha: f32, shift: f32) -> Self {
        let by_x = (FRAC_2_SQRT_PI * alpha).clamp(f32::MIN, f32::MAX);
        let factors = [core::f64::consts::FRAC_2_SQRT_PI; MOST_PARAMETERS];
        Self { erf: Erf::new(s, alpha, shift), by_x: s.splat(by_x), factors }
    }

    /// The function, and for gradients `df` of it those by `x`, `alpha` and `shift`, with `z = alpha x + shift`: its
    /// derivative by that is `2 / sqrt(pi) exp(-z^2)`.
    #[inline(always)]
    pub(crate) fn apply<const U: usize>(&self, s: S, x: [S::F; U], df: [S::F; U]) -> Slopes<S, U> {
        let value = self.erf.apply(s, x);
        let mut u = self.erf.argument(s, x);
        for j in 0..U {
            u[j] = s.mul(s.mul(u[j], s.splat(-LOG2_E)), u[j]);
        }
        let Exp2 { whole, .. } = exp2(s, u);
        let (mut by_x, mut by_alpha, mut by_shift) = (x, x, x);
        for j in 0..U {
            by_shift[j] = s.mul(df[j], whole[j]);
            by_x[j] = s.mul(by_shift[j], self.by_x);
            by_alpha[j] = s.mul(by_shift[j], finite(s, x[j]));
        }
        Slopes { value, by_x, parameters: [by_alpha, by_shift] }
    }
}

/// `scale x / sqrt(beta + x^2)` with its derivatives.
#[derive(Clone, Copy)]
pub(crate) struct IsruSlope<S: Simd> {
    /// The parameter times the square of `prescale`.
    beta: S::F,
    /// What `x` is multiplied with first, so that `beta` is far from the ends of what f32 holds.
    prescale: S::F,
    scale: S::F,
    /// `scale` times `beta` times the cube of `prescale`.
    by_x: S::F,
    /// What sums of the gradients by parameters lack.
    pub(crate) factors: [f64; MOST_PARAMETERS],
}

impl<S: Simd> IsruSlope<S> {
    /// Prepares for a finite `beta > 0` and `scale`.
    #[inline(always)]
    pub(crate) fn new(s: S, beta: f32, scale: f32) -> Self {
        let wide = |v: f32| f64::from(v);
        let prescale = match beta {
            _ if beta < SMALL => GROW,
            _ if beta >= LARGE => SHRINK,
            _ => 1.0,
        };
        Self {
            beta: s.splat(beta * prescale * prescale),
            prescale: s.splat(prescale),
            scale: s.splat(scale),
            by_x: s.splat((wide(scale) * wide(beta) * wide(prescale).powi(3)) as f32),
            factors: [-0.5 * wide(scale) * wide(prescale).powi(2), 1.0],
        }
    }

    /// The function, and for gradients `df` of it those by `x`, `beta` and `scale`. With `r = 1 / sqrt(beta + x^2)` its
    /// derivatives are
    ///
    /// ```text
    /// scale beta r^3,  -scale x r^3 / 2,  and by scale what is multiplied with it.
    /// ```
    #[inline(always)]
    pub(crate) fn apply<const U: usize>(
        &self,
        s: S,
        mut x: [S::F; U],
        df: [S::F; U],
    ) -> Slopes<S, U> {
        let mut a = x;
        for j in 0..U {
            let scaled = s.mul(x[j], self.prescale);
            x[j] = s.min(s.splat(LIMIT), s.max(s.splat(-LIMIT), scaled));
            a[j] = s.mul_add(x[j], x[j], self.beta);
        }
        let r = reciprocal_root(s, a);
        let (mut value, mut by_x, mut by_beta) = (x, x, x);
        for j in 0..U {
            x[j] = s.mul(x[j], r[j]);
            value[j] = s.mul(x[j], self.scale);
            // In this order nothing is subnormal before its time.
            let slope = s.mul(s.mul(s.mul(self.by_x, r[j]), r[j]), r[j]);
            by_x[j] = s.mul(df[j], slope);
            x[j] = s.mul(df[j], x[j]);
            by_beta[j] = s.mul(s.mul(x[j], r[j]), r[j]);
        }
        Slopes { value, by_x, parameters: [by_beta, x] }
    }
}

/// `1 / sqrt(a)` for normal `a`, within 2 ulp.
#[inline(always)]
fn reciprocal_root<S: Simd, const U: usize>(s: S, a: [S::F; U]) -> [S::F; U] {
    let one = s.splat(1.0);
    let mut r = a;
    for j in 0..U {
        if S::FMA && S::RSQRT_BITS < 23 {
            let y = s.rsqrt_estimate(a[j]);
            let e = s.neg_mul_add(s.mul(a[j], y), y, one);
            // The root is y (1 - e)^(-1/2); of 14 bits the square of e is below a tenth of an ulp.
            let half = s.splat(0.5);
            let series =
                if S::RSQRT_BITS >= 14 { half } else { s.mul_add(e, s.splat(0.375), half) };
            r[j] = s.mul_add(s.mul(y, e), series, y);
        } else {
            r[j] = s.div(one, s.sqrt(a[j]));
        }
    }
    r
}
