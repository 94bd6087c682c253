//! `tanh(alpha * x)`.

use super::{
    polynomial, rounder,
    short::Short,
    tables::{SHORT_TANH, SMALL_TANH, TANH},
};
use crate::cpu::simd::Simd;
use core::f32::consts::{LN_2, LOG2_E};

/// Slopes outside `SMALL..LARGE` are brought inside by a power of two that `x` is multiplied
/// with: below, infinity could not be told from the largest finite `x` by a finite limit; above,
/// multiples of the slope would overflow.
const SMALL: f32 = 1.0 / (1u128 << 120) as f32;
const LARGE: f32 = (1u128 << 120) as f32;
/// That power of two. No digit of `x` that matters is lost.
const SHRINK: f32 = 1.0 / (1u64 << 32) as f32;
const GROW: f32 = (1u64 << 32) as f32;

/// From here on tanh rounds to 1, and so does what is made of the last centre.
const LIMIT: f32 = 9.02;

/// tanh at 16 centres, the multiples of a step, and what leads from there to what is between them.
#[repr(C, align(64))]
pub(super) struct Centres {
    pub(super) tanh: [f32; 16],
    /// `1 - tanh^2`.
    pub(super) slope: [f32; 16],
    /// The coefficients of `G` in `r coth(r) = 1 + r^2 G(r^2)`, constant first.
    pub(super) coth: [f32; 2],
    /// A power of two.
    pub(super) step: f32,
    /// What arguments are multiplied with to find their centre. With 1 the second would have those whose
    /// tanh is just below 1/4, where half of an ulp of the centre's is one of the result's.
    pub(super) nearness: f32,
}

/// `tanh(alpha * x)` for one `alpha`.
///
/// Largest error over every f32 `x`, in ulp:
///
/// | | AVX-512 | AVX2 | no fused operation |
/// |---|---|---|---|
/// | `alpha` 1, or another power of two | 1.92 | 1.43 | 1.25 |
/// | others (tried: 0.2, 0.731) | 1.84 | 1.54 | 1.99 |
///
/// Where `alpha * x` is rounded, or its distance from a centre, the rest is done more carefully.
#[derive(Clone, Copy)]
pub(crate) struct Tanh<S: Simd> {
    /// `|alpha| / |prescale|`.
    slope: S::F,
    /// The magnitude of `x` from which the result is 1.
    limit: S::F,
    /// The slope for what is rounded to the centre, or to the power of two, that an argument is near.
    position: S::F,
    /// What `x` is multiplied with first, unless `plain`: the sign of `alpha`, and a power of
    /// two if `alpha` is extreme.
    prescale: S::F,
    /// Whether `prescale` is 1.
    plain: bool,
    /// Whether `slope * x` is rounded: not where the slope is a power of two.
    rounds: bool,
}

impl<S: Simd> Tanh<S> {
    /// Prepares for a finite `alpha`.
    #[inline(always)]
    pub(crate) fn new(s: S, alpha: f32) -> Self {
        let magnitude = alpha.abs();
        let factor = if magnitude < SMALL {
            SHRINK
        } else if magnitude >= LARGE {
            GROW
        } else {
            1.0
        };
        let slope = magnitude / factor;
        let scale = if S::FAST_LOOKUP { TANH.nearness } else { -2.0 * LOG2_E };
        let prescale = factor.copysign(alpha);
        Self {
            slope: s.splat(slope),
            limit: s.splat(LIMIT / slope),
            position: s.splat(slope * scale),
            prescale: s.splat(prescale),
            plain: prescale == 1.0,
            rounds: slope.to_bits() << 9 != 0,
        }
    }

    /// `tanh(alpha * x)`.
    #[inline(always)]
    pub(crate) fn apply<const U: usize>(&self, s: S, mut x: [S::F; U]) -> [S::F; U] {
        if !self.plain {
            for j in 0..U {
                x[j] = s.mul(x[j], self.prescale);
            }
        }
        let mut magnitude = x;
        for j in 0..U {
            magnitude[j] = s.abs(x[j]);
        }
        let mut y = if !S::FAST_LOOKUP {
            for j in 0..U {
                magnitude[j] = s.min(self.limit, magnitude[j]);
            }
            self.by_exp(s, magnitude)
        } else if self.rounds {
            self.by_centres::<true, U>(s, magnitude)
        } else {
            self.by_centres::<false, U>(s, magnitude)
        };
        for j in 0..U {
            y[j] = s.with_sign(y[j], x[j]);
        }
        y
    }

    /// `tanh(slope * x)` for `0 <= x` by the addition theorem, from the centre `c` that `slope * x` is near.
    ///
    /// `slope * x` is `c + r`, with one rounding, and with `t = tanh(c)`
    ///
    /// ```text
    ///                             r
    /// tanh(c + r) = t + (1 - t^2) ----------------- .
    ///                             r coth(r) + t r
    /// ```
    ///
    /// Only about the first centre, 0, do the roundings of denominator and quotient show; about the others the
    /// quotient is a small part of the result. `ROUNDS`: so that they do not add up with that of `slope * x`,
    /// the quotient `q` comes in by what the denominator `1 + e` takes from `r`, which is little: it is `r - e q`.
    #[inline(always)]
    fn by_centres<const ROUNDS: bool, const U: usize>(&self, s: S, mut x: [S::F; U]) -> [S::F; U] {
        let one = s.splat(1.0);
        let rounder_alone = rounder(TANH.step);
        let (rounder, last) = (s.splat(rounder_alone), s.splat(rounder_alone + 15.0 * TANH.step));
        let (first, second) = (s.splat(TANH.coth[0]), s.splat(TANH.coth[1]));
        let mut center = x;
        for j in 0..U {
            // Of any `x`, so that neither limit waits for the other.
            center[j] = s.min(last, s.mul_add(x[j], self.position, rounder));
            x[j] = s.min(self.limit, x[j]);
        }
        let mut r = x;
        for j in 0..U {
            r[j] = s.mul_add(x[j], self.slope, s.sub(rounder, center[j]));
        }
        let mut y = x;
        for j in 0..U {
            let (t, slope) = (s.lookup(&TANH.tanh, center[j]), s.lookup(&TANH.slope, center[j]));
            let square = s.mul(r[j], r[j]);
            let g = s.mul_add(square, second, first);
            let quotient = if ROUNDS {
                let e = s.mul_add(square, g, s.mul(t, r[j]));
                s.neg_mul_add(e, s.div(r[j], s.add(e, one)), r[j])
            } else {
                // In this order neither term waits for the other.
                s.div(r[j], s.mul_add(square, g, s.mul_add(t, r[j], one)))
            };
            y[j] = s.mul_add(slope, quotient, t);
        }
        y
    }

    /// `tanh(slope * x)` for `0 <= x <= limit` by the addition theorem, from a power of two.
    ///
    /// `slope * x` is `r - n ln 2 / 2` with an integer `n <= 0` and an `r` between `-1/8` and `3/8`
    /// of `ln 2`. For such an `r`, `t = tanh(r)` is a short polynomial, and the other part's tanh
    /// is `(1 - 2^n) / (1 + 2^n)`, so that the sum's is
    ///
    /// ```text
    ///     (1 - 2^n) + t (1 + 2^n)
    /// q = ----------------------- ,  which is t itself, exactly, where n = 0.
    ///     (1 + 2^n) + t (1 - 2^n)
    /// ```
    ///
    /// Elsewhere the roundings of numerator, denominator and quotient would add up to 2.5 ulp.
    /// Most of that is taken back: the remainder of the division is computed with the unrounded
    /// parts of both, and `1 - 2^n` is near enough to the reciprocal of the denominator.
    #[inline(always)]
    fn by_exp<const U: usize>(&self, s: S, x: [S::F; U]) -> [S::F; U] {
        let one = s.splat(1.0);
        // One constant is enough for ln 2 / 2: the larger n, the flatter tanh.
        let half_ln2 = s.splat(LN_2 / 2.0);
        let mut n = x;
        for j in 0..U {
            // The quarter makes more of the small arguments, where an ulp is small, those of n = 0.
            n[j] = s.round(s.mul_add(x[j], self.position, s.splat(0.25)));
        }
        let mut r = x;
        for j in 0..U {
            r[j] = s.mul_add(x[j], self.slope, s.mul(n[j], half_ln2));
        }
        let mut square = r;
        for j in 0..U {
            square[j] = s.mul(r[j], r[j]);
        }
        let p = polynomial(s, &SMALL_TANH, square);
        let mut y = x;
        for j in 0..U {
            let t = s.mul_add(s.mul(r[j], square[j]), p[j], r[j]);
            let power = s.exp2(n[j]);
            let (minus, plus) = (s.sub(one, power), s.add(one, power));
            let q = s.div(s.mul_add(t, plus, minus), s.mul_add(t, minus, plus));
            // minus - q plus, where large terms cancel: exactly but for one small rounding, with
            // a fused operation or because a power of two is multiplied with.
            let remainder = if S::FMA {
                s.neg_mul_add(q, plus, minus)
            } else {
                s.neg_mul_add(q, power, s.sub(minus, q))
            };
            let remainder = s.mul_add(t, s.neg_mul_add(q, minus, plus), remainder);
            y[j] = s.mul_add(remainder, minus, q);
        }
        y
    }
}

/// `tanh(alpha * x)` for a finite `alpha`: within 0.016 ulp of results in f16, and of bfloat16.
#[inline(always)]
pub(crate) fn short_tanh<S: Simd>(s: S, alpha: f32) -> Short<S, 3, 2> {
    Short::new(s, &SHORT_TANH, alpha)
}
