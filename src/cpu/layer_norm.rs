//! LayerNorm: `(x - mean) * rstd`, `rstd = 1 / sqrt(var + eps)`, population variance.
//!
//! Mean and variance are taken in one pass over the row, from the sums of `x - shift` and of
//! its square. That loses digits where the shift is many deviations from the mean, so the
//! shift is about the mean of the row's first channels, and if it was a poor one (an outlier
//! stood there) the pass is repeated about the mean that it found. A shift within one deviation
//! of the mean costs at most one bit of the variance.
//!
//! The shift has few digits. Activations often do, having been f16 or bf16 before; then so have
//! the differences, and adding them up is exact. With a shift of 24 digits every difference would
//! end in the same digits, every addition would round them off in the same direction, and the
//! errors would add up instead of cancelling.

use super::pipeline::{Function, Pointwise};
use super::row_sum::{Summand, row_sum};
use super::simd::{Simd, element::Storage};

#[derive(Clone, Copy)]
pub(crate) struct LayerNorm {
    pub(crate) eps: f32,
}

#[derive(Clone, Copy)]
pub(crate) struct Prepared {
    /// `C` and `C * eps`, as for RMSNorm.
    channels: f32,
    channels_eps: f32,
    /// `1 / C`.
    per_channel: f32,
    /// The first channels, whose mean is the first shift: how many, and one over that.
    head: usize,
    per_head: f32,
}

/// Vectors of the row whose mean is the first shift.
const HEAD_VECTORS: usize = 2;

impl Function for LayerNorm {
    const READS_ROW: bool = true;
    type Prepared<S: Simd> = Prepared;
    type Row<S: Simd> = Standardise<S>;

    #[inline(always)]
    fn prepare<S: Simd>(self, _: S, channels: usize) -> Prepared {
        let head = channels.min(HEAD_VECTORS * S::LANES);
        let channels = channels as f32;
        Prepared {
            channels,
            channels_eps: channels * self.eps,
            per_channel: 1.0 / channels,
            head,
            per_head: 1.0 / head as f32,
        }
    }

    #[inline(always)]
    unsafe fn row<S: Simd, X: Storage>(
        prepared: Prepared,
        s: S,
        x: *const X,
        channels: usize,
    ) -> Standardise<S> {
        // SAFETY: the same contract; the head is within the row.
        let head = unsafe { row_sum::<S, X, _, HEAD_VECTORS>(s, Values, x, prepared.head) };
        let mut shift = rounded(s.reduce_add(head) * prepared.per_head);
        let mut repeated = false;
        loop {
            let about = About { shift: s.splat(shift) };
            // SAFETY: the same contract.
            let sums = unsafe {
                if repeated {
                    row_sum::<S, X, _, 2>(s, Compensated(about), x, channels).rounded(s)
                } else {
                    row_sum::<S, X, _, 4>(s, about, x, channels)
                }
            };
            let (sum, squares) = (s.reduce_add(sums.sum), s.reduce_add(sums.squares));
            // The mean is `shift + rest`; it is never formed, so that none of its digits is lost.
            let rest = sum * prepared.per_channel;
            let excess = sum * rest;
            let deviation = squares - excess;
            if excess <= deviation || repeated {
                let deviation = if deviation < 0.0 { 0.0 } else { deviation };
                let rstd = (prepared.channels / (deviation + prepared.channels_eps)).sqrt();
                return Standardise {
                    near: shift * shift * prepared.channels <= 0.25 * deviation,
                    rstd: s.splat(rstd),
                    whole: s.splat(-(shift + rest) * rstd),
                    shift: about.shift,
                    rest: s.splat(-rest * rstd),
                };
            }
            shift = refined(shift + rest, deviation * prepared.per_channel);
            repeated = true;
        }
    }
}

/// `v` with the digits of a bfloat16.
#[inline(always)]
fn rounded(v: f32) -> f32 {
    f32::from_bits(v.to_bits() & 0xffff_0000)
}

/// A shift for a row of this mean and variance: with few digits if one is near, else (the mean
/// is hundreds of deviations away from 0) the mean, whose last digits are the elements' last.
#[cold]
fn refined(mean: f32, variance: f32) -> f32 {
    let near = rounded(mean);
    let distance = mean - near;
    if distance * distance < 0.25 * variance { near } else { mean }
}

/// The elements themselves.
#[derive(Clone, Copy)]
struct Values;

impl<S: Simd> Summand<S> for Values {
    type Sums = S::F;

    #[inline(always)]
    fn zero(&self, s: S) -> S::F {
        s.splat(0.0)
    }
    #[inline(always)]
    fn add(&self, s: S, sum: S::F, x: S::F) -> S::F {
        s.add(sum, x)
    }
    #[inline(always)]
    fn add_first(&self, s: S, sum: S::F, x: S::F, _: usize) -> S::F {
        s.add(sum, x)
    }
    #[inline(always)]
    fn merge(&self, s: S, a: S::F, b: S::F) -> S::F {
        s.add(a, b)
    }
}

/// The elements less the shift, and their squares.
#[derive(Clone, Copy)]
struct About<S: Simd> {
    shift: S::F,
}

#[derive(Clone, Copy)]
struct Moments<S: Simd> {
    sum: S::F,
    squares: S::F,
}

impl<S: Simd> Summand<S> for About<S> {
    type Sums = Moments<S>;

    #[inline(always)]
    fn zero(&self, s: S) -> Moments<S> {
        Moments { sum: s.splat(0.0), squares: s.splat(0.0) }
    }
    #[inline(always)]
    fn add(&self, s: S, sums: Moments<S>, x: S::F) -> Moments<S> {
        let d = s.sub(x, self.shift);
        Moments { sum: s.add(sums.sum, d), squares: s.mul_add(d, d, sums.squares) }
    }
    #[inline(always)]
    fn add_first(&self, s: S, sums: Moments<S>, x: S::F, n: usize) -> Moments<S> {
        let d = s.first_n(s.sub(x, self.shift), n);
        Moments { sum: s.add(sums.sum, d), squares: s.mul_add(d, d, sums.squares) }
    }
    #[inline(always)]
    fn merge(&self, s: S, a: Moments<S>, b: Moments<S>) -> Moments<S> {
        Moments { sum: s.add(a.sum, b.sum), squares: s.add(a.squares, b.squares) }
    }
}

/// As [`About`], with the rounding errors of the additions. A row that is summed twice has
/// outliers, next to which the errors of the other elements' sum could show.
#[derive(Clone, Copy)]
struct Compensated<S: Simd>(About<S>);

/// Sums and what rounding took from them.
#[derive(Clone, Copy)]
struct CompensatedMoments<S: Simd> {
    sums: Moments<S>,
    errors: Moments<S>,
}

impl<S: Simd> CompensatedMoments<S> {
    #[inline(always)]
    fn rounded(self, s: S) -> Moments<S> {
        Moments {
            sum: s.add(self.sums.sum, self.errors.sum),
            squares: s.add(self.sums.squares, self.errors.squares),
        }
    }

    #[inline(always)]
    fn plus(self, s: S, sum: S::F, squares: S::F) -> Self {
        let (new_sum, sum_error) = two_sum(s, self.sums.sum, sum);
        let (new_squares, squares_error) = two_sum(s, self.sums.squares, squares);
        Self {
            sums: Moments { sum: new_sum, squares: new_squares },
            errors: Moments {
                sum: s.add(self.errors.sum, sum_error),
                squares: s.add(self.errors.squares, squares_error),
            },
        }
    }
}

/// `a + b` rounded, and the error of that (Knuth).
#[inline(always)]
fn two_sum<S: Simd>(s: S, a: S::F, b: S::F) -> (S::F, S::F) {
    let sum = s.add(a, b);
    let b_part = s.sub(sum, a);
    let a_part = s.sub(sum, b_part);
    (sum, s.add(s.sub(a, a_part), s.sub(b, b_part)))
}

impl<S: Simd> Summand<S> for Compensated<S> {
    type Sums = CompensatedMoments<S>;

    #[inline(always)]
    fn zero(&self, s: S) -> CompensatedMoments<S> {
        CompensatedMoments { sums: self.0.zero(s), errors: self.0.zero(s) }
    }
    #[inline(always)]
    fn add(&self, s: S, sums: CompensatedMoments<S>, x: S::F) -> CompensatedMoments<S> {
        let d = s.sub(x, self.0.shift);
        sums.plus(s, d, s.mul(d, d))
    }
    #[inline(always)]
    fn add_first(
        &self,
        s: S,
        sums: CompensatedMoments<S>,
        x: S::F,
        n: usize,
    ) -> CompensatedMoments<S> {
        let d = s.first_n(s.sub(x, self.0.shift), n);
        sums.plus(s, d, s.mul(d, d))
    }
    #[inline(always)]
    fn merge(
        &self,
        s: S,
        a: CompensatedMoments<S>,
        b: CompensatedMoments<S>,
    ) -> CompensatedMoments<S> {
        let merged = a.plus(s, b.sums.sum, b.sums.squares);
        CompensatedMoments { errors: self.0.merge(s, merged.errors, b.errors), ..merged }
    }
}

/// What is left to do once the row is known: `x * rstd + whole` where the shift is near 0, so
/// that the error of `whole` does not show, else `(x - shift) * rstd + rest`.
#[derive(Clone, Copy)]
pub(crate) struct Standardise<S: Simd> {
    /// Whether the shift is within half a standard deviation of 0.
    near: bool,
    rstd: S::F,
    whole: S::F,
    shift: S::F,
    rest: S::F,
}

impl<S: Simd> Pointwise<S> for Standardise<S> {
    #[inline(always)]
    fn apply<const U: usize, Y: Storage>(&self, s: S, x: [S::F; U]) -> [S::F; U] {
        let mut y = x;
        if self.near {
            for j in 0..U {
                y[j] = s.mul_add(x[j], self.rstd, self.whole);
            }
        } else {
            for j in 0..U {
                y[j] = s.mul_add(s.sub(x[j], self.shift), self.rstd, self.rest);
            }
        }
        y
    }
}
