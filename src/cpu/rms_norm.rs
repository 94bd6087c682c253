//! RMSNorm: `x * rstd`, `rstd = 1 / sqrt(mean(x^2) + eps)`.

use super::pipeline::{Function, Pointwise};
use super::row_sum::{Summand, row_sum};
use super::simd::{Simd, element::Storage};

#[derive(Clone, Copy)]
pub(crate) struct RmsNorm {
    pub(crate) eps: f32,
}

/// `C` and `C * eps`: `rstd` is taken as `sqrt(C / (sum + C eps))`, one division instead of two.
#[derive(Clone, Copy)]
pub(crate) struct Prepared {
    channels: f32,
    channels_eps: f32,
}

impl Function for RmsNorm {
    const READS_ROW: bool = true;
    type Prepared<S: Simd> = Prepared;
    type Row<S: Simd> = Scale<S>;

    #[inline(always)]
    fn prepare<S: Simd>(self, _: S, channels: usize) -> Prepared {
        let channels = channels as f32;
        Prepared { channels, channels_eps: channels * self.eps }
    }

    #[inline(always)]
    unsafe fn row<S: Simd, X: Storage>(
        prepared: Prepared,
        s: S,
        x: *const X,
        channels: usize,
    ) -> Scale<S> {
        // SAFETY: the same contract.
        let squares = unsafe {
            // Widening takes as long as adding up in four chains.
            match size_of::<X>() {
                2 => row_sum::<S, X, _, 4>(s, Squares, x, channels),
                _ => row_sum::<S, X, _, 8>(s, Squares, x, channels),
            }
        };
        let sum = s.reduce_add(squares);
        Scale { rstd: s.splat((prepared.channels / (sum + prepared.channels_eps)).sqrt()) }
    }
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
    fn apply<const U: usize, Y: Storage>(&self, s: S, x: [S::F; U]) -> [S::F; U] {
        let mut y = x;
        for j in 0..U {
            y[j] = s.mul(x[j], self.rstd);
        }
        y
    }
}
