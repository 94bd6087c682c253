//! Odd functions for results that will be rounded to few digits.

use super::cubics::{Cubics, ScaledCubics};
use super::rational::{Rational, ScaledRational};
use crate::cpu::processor::is_intel;
use crate::cpu::simd::Simd;

/// The most digits of results that [`Short`] is for: those of f16.
pub(crate) const SHORT_DIGITS: u32 = 11;

/// Slopes within which the powers of the slope in the coefficients are far from what f32 holds, and
/// numerators are large enough not to lose digits of the smallest results.
const SMALL: f32 = 1.0 / (1 << 16) as f32;
const LARGE: f32 = 4.0;

/// What an odd function is made of.
pub(super) struct Forms<const P: usize, const Q: usize> {
    pub(super) f16: Rational<4, 3>,
    pub(super) bf16: Rational<P, Q>,
    /// For both.
    pub(super) cubics: Cubics,
}

/// A function of `slope * x`, for one slope and results that will be rounded to few digits.
#[derive(Clone, Copy)]
pub(crate) struct Short<S: Simd, const P: usize, const Q: usize> {
    /// The slope, where it is not in the coefficients.
    slope: S::F,
    /// Whether it is.
    folded: bool,
    f16: ScaledRational<S, 4, 3>,
    bf16: ScaledRational<S, P, Q>,
    cubics: ScaledCubics<S>,
    /// Whether lookups take less time than a division. On Intel's processors they do; on Zen 4 a lookup keeps the unit of
    /// products busy, and a division does not.
    by_pieces: bool,
}

impl<S: Simd, const P: usize, const Q: usize> Short<S, P, Q> {
    /// Prepares for a finite `slope`, in the form that is best on this processor.
    #[inline(always)]
    pub(super) fn new(s: S, forms: &Forms<P, Q>, slope: f32) -> Self {
        Self::of_form(s, forms, slope, S::FAST_LOOKUP && is_intel())
    }

    /// The same, by pieces or not; they are only where [`Simd::FAST_LOOKUP`].
    #[inline(always)]
    pub(super) fn of_form(s: S, forms: &Forms<P, Q>, slope: f32, by_pieces: bool) -> Self {
        let folded = (SMALL..=LARGE).contains(&slope.abs());
        let factor = if folded { slope } else { 1.0 };
        Self {
            slope: s.splat(slope),
            folded,
            f16: ScaledRational::new(s, &forms.f16, factor),
            bf16: ScaledRational::new(s, &forms.bf16, factor),
            cubics: ScaledCubics::new(s, &forms.cubics, factor),
            by_pieces,
        }
    }

    /// The function of `slope * x` for results of `digits` digits, at most [`SHORT_DIGITS`].
    #[inline(always)]
    pub(crate) fn apply<const U: usize>(&self, s: S, mut x: [S::F; U], digits: u32) -> [S::F; U] {
        if !self.folded {
            for j in 0..U {
                x[j] = s.mul(x[j], self.slope);
            }
        }
        if S::FAST_LOOKUP && self.by_pieces {
            self.cubics.apply(s, x)
        } else if digits <= 8 {
            self.bf16.apply(s, x)
        } else {
            self.f16.apply(s, x)
        }
    }
}
