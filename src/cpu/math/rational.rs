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

/// A [`Rational`] of `slope * x`, for one slope.
#[derive(Clone, Copy)]
pub(super) struct ScaledRational<S: Simd, const P: usize, const Q: usize> {
    numerator: [S::F; P],
    denominator: [S::F; Q],
    limits: [S::F; 2],
}

impl<S: Simd, const P: usize, const Q: usize> ScaledRational<S, P, Q> {
    /// Prepares for a `slope` of which no power leaves the range of f32.
    #[inline(always)]
    pub(super) fn new(s: S, rational: &Rational<P, Q>, slope: f32) -> Self {
        let factor = f64::from(slope);
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
        Self { numerator, denominator, limits: [s.splat(-limit), s.splat(limit)] }
    }

    /// The function of `slope * x`.
    #[inline(always)]
    pub(super) fn apply<const U: usize>(&self, s: S, mut x: [S::F; U]) -> [S::F; U] {
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
