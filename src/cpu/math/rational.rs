//! Odd functions as quotients of polynomials, for results that will be rounded to few digits.

use crate::cpu::simd::Simd;

/// `z P(z^2) / Q(z^2)` for `|z| <= limit`, and from there on what it is there.
#[derive(Clone, Copy)]
pub(super) struct Rational<const P: usize, const Q: usize> {
    /// The coefficients of P, constant first.
    pub(super) numerator: [f32; P],
    /// Those of Q but the last, which is 1.
    pub(super) denominator: [f32; Q],
    pub(super) limit: f32,
}

/// Slopes within which the powers of the slope in the coefficients are far from what f32 holds, and
/// numerators are large enough not to lose digits of the smallest results.
const SMALL: f32 = 1.0 / (1 << 16) as f32;
const LARGE: f32 = 4.0;

/// A [`Rational`] of `slope * x`, for one slope.
#[derive(Clone, Copy)]
struct Scaled<S: Simd, const P: usize, const Q: usize> {
    numerator: [S::F; P],
    denominator: [S::F; Q],
    limits: [S::F; 2],
    /// The slope, where it is not in the coefficients.
    slope: S::F,
    /// Whether it is.
    folded: bool,
}

impl<S: Simd, const P: usize, const Q: usize> Scaled<S, P, Q> {
    /// Prepares for a finite `slope`.
    #[inline(always)]
    fn new(s: S, rational: &Rational<P, Q>, slope: f32) -> Self {
        let folded = (SMALL..=LARGE).contains(&slope.abs());
        let factor = if folded { f64::from(slope) } else { 1.0 };
        // Both polynomials are divided by the factor of Q's last coefficient.
        let (square, last) = (factor * factor, (factor * factor).powi(Q as i32));
        let mut power = 1.0 / last;
        let mut denominator = [s.splat(1.0); Q];
        let mut numerator = [s.splat(1.0); P];
        for k in 0..P.max(Q) {
            if k < P {
                numerator[k] = s.splat((f64::from(rational.numerator[k]) * factor * power) as f32);
            }
            if k < Q {
                denominator[k] = s.splat((f64::from(rational.denominator[k]) * power) as f32);
            }
            power *= square;
        }
        let limit = (f64::from(rational.limit) / factor.abs()) as f32;
        Self {
            numerator,
            denominator,
            limits: [s.splat(-limit), s.splat(limit)],
            slope: s.splat(slope),
            folded,
        }
    }

    /// The function of `slope * x`.
    #[inline(always)]
    fn apply<const U: usize>(&self, s: S, mut x: [S::F; U]) -> [S::F; U] {
        if !self.folded {
            for j in 0..U {
                x[j] = s.mul(x[j], self.slope);
            }
        }
        let [least, most] = self.limits;
        let mut square = x;
        for j in 0..U {
            x[j] = s.min(most, s.max(least, x[j]));
            square[j] = s.mul(x[j], x[j]);
        }
        let mut above = [self.numerator[P - 1]; U];
        for k in 1..P {
            for j in 0..U {
                above[j] = s.mul_add(above[j], square[j], self.numerator[P - 1 - k]);
            }
        }
        let mut below = square;
        for j in 0..U {
            below[j] = s.add(square[j], self.denominator[Q - 1]);
        }
        for k in 1..Q {
            for j in 0..U {
                below[j] = s.mul_add(below[j], square[j], self.denominator[Q - 1 - k]);
            }
        }
        for j in 0..U {
            above[j] = s.div(s.mul(above[j], x[j]), below[j]);
        }
        above
    }
}

/// The most digits of results that [`Short`] is for: those of f16.
pub(crate) const SHORT_DIGITS: u32 = 11;

/// A function of `slope * x`, for one slope and results that will be rounded to few digits.
#[derive(Clone, Copy)]
pub(crate) struct Short<S: Simd, const P: usize, const Q: usize> {
    f16: Scaled<S, 4, 3>,
    bf16: Scaled<S, P, Q>,
}

impl<S: Simd, const P: usize, const Q: usize> Short<S, P, Q> {
    /// Prepares for a finite `slope`.
    #[inline(always)]
    pub(super) fn new(s: S, f16: &Rational<4, 3>, bf16: &Rational<P, Q>, slope: f32) -> Self {
        Self { f16: Scaled::new(s, f16, slope), bf16: Scaled::new(s, bf16, slope) }
    }

    /// The function of `slope * x` for results of `digits` digits, at most [`SHORT_DIGITS`].
    #[inline(always)]
    pub(crate) fn apply<const U: usize>(&self, s: S, x: [S::F; U], digits: u32) -> [S::F; U] {
        if digits <= 8 { self.bf16.apply(s, x) } else { self.f16.apply(s, x) }
    }
}
