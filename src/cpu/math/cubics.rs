//! Odd functions in 32 pieces, for results that will be rounded to few digits.

use super::rounder;
use crate::cpu::simd::Simd;

/// `f(z)` for `0 <= z <= limit`, by polynomials of degree 3 about the multiples of a step.
#[repr(C, align(64))]
pub(super) struct Cubics {
    /// The coefficients of each piece in `z` itself, constant first: few digits bear what cancels.
    pub(super) columns: [[f32; 32]; 4],
    /// Pieces in a unit.
    pub(super) density: f32,
    /// The end of the last piece; beyond it `f` is what it is there.
    pub(super) limit: f32,
}

/// [`Cubics`] of `slope * x`, for one slope. Only where [`Simd::FAST_LOOKUP`].
#[derive(Clone, Copy)]
pub(super) struct ScaledCubics<S: Simd> {
    columns: [[S::F; 2]; 4],
    density: S::F,
    limit: S::F,
}

impl<S: Simd> ScaledCubics<S> {
    /// Prepares for a `slope` of which no power leaves the range of f32.
    #[inline(always)]
    pub(super) fn new(s: S, cubics: &Cubics, slope: f32) -> Self {
        let magnitude = slope.abs();
        let mut columns = [[s.splat(0.0); 2]; 4];
        if S::FAST_LOOKUP {
            const { assert!(!S::FAST_LOOKUP || S::LANES == 16) };
            let mut factor = 1.0_f32.copysign(slope);
            for k in 0..4 {
                // SAFETY: a column is two vectors.
                let [low, high] = unsafe { s.load_f32_x2(cubics.columns[k].as_ptr()) };
                let power = s.splat(factor);
                columns[k] = [s.mul(low, power), s.mul(high, power)];
                factor *= magnitude;
            }
        }
        Self {
            columns,
            density: s.splat(cubics.density * magnitude),
            limit: s.splat(cubics.limit / magnitude),
        }
    }

    /// The function of `slope * x`.
    #[inline(always)]
    pub(super) fn apply<const U: usize>(&self, s: S, x: [S::F; U]) -> [S::F; U] {
        let rounder = s.splat(rounder(1.0));
        let mut magnitude = x;
        let mut piece = x;
        for j in 0..U {
            magnitude[j] = s.min(self.limit, s.abs(x[j]));
            piece[j] = s.mul_add(magnitude[j], self.density, rounder);
        }
        let [lower @ .., highest] = self.columns;
        let mut y = x;
        for j in 0..U {
            y[j] = s.lookup_x2(highest, piece[j]);
        }
        for column in lower.into_iter().rev() {
            for j in 0..U {
                y[j] = s.mul_add(y[j], magnitude[j], s.lookup_x2(column, piece[j]));
            }
        }
        for j in 0..U {
            y[j] = s.with_sign(y[j], x[j]);
        }
        y
    }
}
