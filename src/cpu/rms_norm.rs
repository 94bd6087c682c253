//! RMSNorm: `x * rstd`, `rstd = 1 / sqrt(mean(x^2) + eps)`.

use super::pipeline::{Function, Pointwise, RowFunction};
use super::row_sum::{Summand, row_sum};
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

impl Prepared {
    /// `1 / sqrt(sum / count + eps)`, with one division instead of two.
    #[inline(always)]
    fn scale<S: Simd>(self, s: S, sum: f32, count: f32) -> Scale<S> {
        Scale { rstd: s.splat((count / (sum + count * self.eps)).sqrt()) }
    }
}

impl Function for RmsNorm {
    const READS_ROW: bool = true;
    type Prepared<S: Simd> = Prepared;
    type Row<S: Simd> = Scale<S>;

    #[inline(always)]
    fn prepare<S: Simd>(self, _: S, channels: usize) -> Prepared {
        Prepared { eps: self.eps, channels: channels as f32 }
    }

    #[inline(always)]
    unsafe fn row<S: Simd, X: Storage>(
        prepared: Prepared,
        s: S,
        x: *const X,
        channels: usize,
        _: usize,
    ) -> Scale<S> {
        // SAFETY: the same contract.
        let sum = unsafe { sum_of_squares(s, x, channels) };
        prepared.scale(s, sum, prepared.channels)
    }
}

impl RowFunction for RmsNorm {
    #[inline(always)]
    unsafe fn statistics<S: Simd, X: Storage>(
        prepared: Prepared,
        s: S,
        x: *const X,
        channels: usize,
    ) -> RowStatistics {
        // SAFETY: the same contract.
        let m2 = unsafe { sum_of_squares(s, x, channels) };
        RowStatistics { count: prepared.channels, m2, ..RowStatistics::EMPTY }
    }

    #[inline(always)]
    fn known<S: Simd>(prepared: Prepared, s: S, statistics: RowStatistics) -> Scale<S> {
        prepared.scale(s, statistics.m2, statistics.count)
    }
}

/// # Safety
/// `x` must be valid for reads of `channels` elements.
#[inline(always)]
unsafe fn sum_of_squares<S: Simd, X: Storage>(s: S, x: *const X, channels: usize) -> f32 {
    // SAFETY: the same contract.
    let squares = unsafe {
        // Widening takes as long as adding up in four chains.
        match size_of::<X>() {
            2 => row_sum::<S, X, _, 4>(s, Squares, x, channels),
            _ => row_sum::<S, X, _, 8>(s, Squares, x, channels),
        }
    };
    s.reduce_add(squares)
}

/// The squares of the elements.
#[derive(Clone, Copy)]
struct Squares;

impl<S: Simd> Summand<S> for Squares {
    type Sums = S::F;

    #[inline(always)]
    fn zero(&self, s: S) -> S::F {
        s.splat(0.0)
    }
    #[inline(always)]
    fn add(&self, s: S, sum: S::F, x: S::F) -> S::F {
        s.mul_add(x, x, sum)
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
pub(crate) struct Scale<S: Simd> {
    rstd: S::F,
}

impl<S: Simd> Pointwise<S> for Scale<S> {
    #[inline(always)]
    fn apply<const U: usize, Y: Output>(&self, s: S, x: [S::F; U]) -> [S::F; U] {
        let mut y = x;
        for j in 0..U {
            y[j] = s.mul(x[j], self.rstd);
        }
        y
    }
}
