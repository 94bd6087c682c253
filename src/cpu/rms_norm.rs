//! RMSNorm: `x * rstd`, `rstd = 1 / sqrt(mean(x^2) + eps)`.

use super::function::{Begun, Beside, Function, Pointwise};
use super::row_sum::{RowSum, Summand, TINY, tiny_sums};
use super::simd::{
    Simd,
    element::{Output, Storage},
};
use crate::RowStatistics;

#[derive(Clone, Copy)]
pub(crate) struct RmsNorm {
    pub(crate) eps: f32,
}

#[derive(Clone, Copy)]
pub(crate) struct Prepared {
    eps: f32,
    channels: f32,
}

impl Function for RmsNorm {
    const READS_ROW: bool = true;
    const BY_ROW: bool = true;
    type Prepared<S: Simd> = Prepared;
    type Row<S: Simd> = Scale;
    type Found = RowStatistics;
    type Reading<S: Simd> = RowSum<S, Squares>;

    #[inline(always)]
    fn prepare<S: Simd>(self, _: S, channels: usize) -> Prepared {
        // Of a signed number it is one instruction.
        Prepared { eps: self.eps, channels: channels.cast_signed() as f32 }
    }

    #[inline(always)]
    fn begin<S: Simd>(s: S) -> RowSum<S, Squares> {
        RowSum::new(s, Squares)
    }

    #[inline(always)]
    unsafe fn find<S: Simd, X: Storage>(
        prepared: Prepared,
        s: S,
        squares: RowSum<S, Squares>,
        begun: Begun<X>,
        beside: &mut impl Beside<S>,
    ) -> RowStatistics {
        // SAFETY: the same contract.
        let mut m2 = s.reduce_add(unsafe { squares.finish(s, begun, beside) });
        if X::sums_pairs::<S>() && m2 < TINY {
            // SAFETY: the same contract; what is summed so is bfloat16.
            m2 = unsafe { tiny_sums(begun.x.cast(), begun.channels) }.squares;
        }
        RowStatistics { count: prepared.channels, m2, ..RowStatistics::EMPTY }
    }

    /// `1 / sqrt(m2 / count + eps)`, with one division instead of two.
    #[inline(always)]
    fn row<S: Simd>(prepared: Prepared, _: S, statistics: RowStatistics) -> Scale {
        let RowStatistics { count, m2, .. } = statistics;
        Scale { rstd: (count / (m2 + count * prepared.eps)).sqrt() }
    }
}

/// The squares of the elements.
#[derive(Clone, Copy)]
pub(crate) struct Squares;

impl<S: Simd> Summand<S> for Squares {
    type Sums = S::F;

    #[inline(always)]
    fn chains<X: Storage>() -> usize {
        // Widening takes as long as adding up in four chains.
        if size_of::<X>() == 2 { 4 } else { 8 }
    }

    #[inline(always)]
    fn zero(&self, s: S) -> S::F {
        s.splat(0.0)
    }
    #[inline(always)]
    fn add(&self, s: S, sum: S::F, x: S::F) -> S::F {
        s.mul_add(x, x, sum)
    }
    #[inline(always)]
    fn at_once<X: Storage>() -> bool {
        X::sums_pairs::<S>()
    }
    #[inline(always)]
    unsafe fn add_both<X: Storage>(&self, s: S, sum: S::F, x: *const X) -> S::F {
        // SAFETY: the same contract; what is summed so is bfloat16.
        unsafe { s.add_squares_bf16_x2(sum, x.cast()) }
    }
    #[inline(always)]
    fn add_first(&self, s: S, sum: S::F, x: S::F, _: usize) -> S::F {
        s.mul_add(x, x, sum)
    }
    #[inline(always)]
    fn merge(&self, s: S, a: S::F, b: S::F) -> S::F {
        s.add(a, b)
    }
}

/// What is left to do once the row is known.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    pub(super) rstd: f32,
}

impl<S: Simd> Pointwise<S> for Scale {
    const OF_ROW: bool = true;
    const IS_FACTOR: bool = true;
    const KEEPS_ZERO: bool = true;

    #[inline(always)]
    fn factor(&self) -> f32 {
        self.rstd
    }

    #[inline(always)]
    fn apply<const U: usize, Y: Output>(&self, s: S, x: [S::F; U]) -> [S::F; U] {
        let rstd = s.splat(self.rstd);
        let mut y = x;
        for j in 0..U {
            y[j] = s.mul(x[j], rstd);
        }
        y
    }
}
