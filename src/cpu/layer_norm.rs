//! LayerNorm: `(x - mean) * rstd`, `rstd = 1 / sqrt(var + eps)`, population variance.
//!
//! Mean and variance are taken in one pass over the row, from the sums of `x - shift` and of its
//! square, first with a shift of 0. That loses at most one bit of the variance unless the mean is
//! more than one deviation away from the shift. Then the pass is repeated about a shift near the
//! mean that it found; and once more if the deviation is so much smaller than the mean that even
//! the mean was not found well enough.
//!
//! The shift has few digits: it is the multiple next to the mean of a power of two near the
//! deviation. Activations often have few digits too, having been f16 or bf16 before; then so have
//! the differences, and adding them up is exact. With a shift of 24 digits every difference would
//! end in the same digits, every addition would round them off in the same direction, and the
//! errors would add up instead of cancelling.

use super::function::{Begun, Beside, Function, Pointwise};
use super::row_sum::{RowSum, Summand, TINY, TinySums, tiny_sums};
use super::simd::{
    Kernel, Simd,
    element::{Output, Storage},
    seldom,
};
use crate::RowStatistics;

#[derive(Clone, Copy)]
pub(crate) struct LayerNorm {
    pub(crate) eps: f32,
}

#[derive(Clone, Copy)]
pub(crate) struct Prepared {
    eps: f32,
    channels: f32,
    /// `1 / C`.
    per_channel: f32,
}

impl Function for LayerNorm {
    const READS_ROW: bool = true;
    const BY_ROW: bool = true;
    type Prepared<S: Simd> = Prepared;
    type Row<S: Simd> = Standardise;
    type Found = RowStatistics;
    type Reading<S: Simd> = RowSum<S, Plain>;

    #[inline(always)]
    fn prepare<S: Simd>(self, _: S, channels: usize) -> Prepared {
        // Of a signed number it is one instruction.
        let channels = channels.cast_signed() as f32;
        Prepared { eps: self.eps, channels, per_channel: 1.0 / channels }
    }

    #[inline(always)]
    fn begin<S: Simd>(s: S) -> RowSum<S, Plain> {
        RowSum::new(s, Plain)
    }

    /// The mean, `shift + rest`, is never formed, so that none of its digits is lost.
    #[inline(always)]
    unsafe fn find<S: Simd, X: Storage>(
        prepared: Prepared,
        s: S,
        sums: RowSum<S, Plain>,
        begun: Begun<X>,
        beside: &mut impl Beside<S>,
    ) -> RowStatistics {
        // SAFETY: the same contract.
        let sums = unsafe { sums.finish(s, begun, beside) };
        let (mut sum, mut squares) = (s.reduce_add(sums.sum), s.reduce_add(sums.squares));
        if X::sums_pairs::<S>() && squares < TINY {
            // SAFETY: the same contract; what is summed so is bfloat16.
            TinySums { sum, squares } = unsafe { tiny_sums(begun.x.cast(), begun.channels) };
        }
        let mut shift = 0.0;
        let mut passes = 1;
        loop {
            let rest = sum * prepared.per_channel;
            let excess = sum * rest;
            let deviation = squares - excess;
            if excess <= deviation || passes == PASSES {
                let m2 = if deviation < 0.0 { 0.0 } else { deviation };
                return RowStatistics { count: prepared.channels, mean: shift, mean_low: rest, m2 };
            }
            let variance = deviation.max(squares * SQUARES_ERROR) * prepared.per_channel;
            shift = near_mean(shift + rest, variance);
            // SAFETY: the same contract.
            let again = unsafe { Again::new(begun, shift) };
            (sum, squares) = s.apart(again);
            passes += 1;
        }
    }

    #[inline(always)]
    fn row<S: Simd>(prepared: Prepared, _: S, statistics: RowStatistics) -> Standardise {
        let RowStatistics { count, mean: shift, mean_low: rest, m2: deviation } = statistics;
        let rstd = (count / (deviation + count * prepared.eps)).sqrt();
        Standardise {
            near: shift * shift * count <= 0.25 * deviation,
            rstd,
            whole: -(shift + rest) * rstd,
            shift,
            rest: -rest * rstd,
        }
    }
}

/// The sums about a shift of a row that is read again for them. Every kernel of LayerNorm would be half as large again
/// with this in it.
struct Again<X> {
    begun: Begun<X>,
    shift: f32,
}

impl<X> Again<X> {
    /// # Safety
    /// The row must be valid for reads.
    #[inline(always)]
    unsafe fn new(begun: Begun<X>, shift: f32) -> Self {
        Self { begun: Begun { read: 0, ..begun }, shift }
    }
}

impl<X: Storage> Kernel for Again<X> {
    /// Of the differences, and of their squares.
    type Output = (f32, f32);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (f32, f32) {
        let about = RowSum::new(s, About { shift: s.splat(self.shift) });
        // SAFETY: `new`'s caller vouches for the row, of which nothing has been read.
        let sums = unsafe { about.finish(s, self.begun, &mut ()) }.rounded(s);
        (s.reduce_add(sums.sum), s.reduce_add(sums.squares))
    }
}

/// Passes over a row, at most: the second finds the mean to 20 digits below the mean itself, the
/// third to as many below the deviation.
const PASSES: u32 = 3;
/// What the sum of squares may be off by, of itself.
const SQUARES_ERROR: f32 = 1.0 / (1 << 20) as f32;

/// The shift for a row of this mean and variance: the multiple of a power of two, half to one
/// deviation, that is nearest to the mean.
#[cold]
fn near_mean(mean: f32, variance: f32) -> f32 {
    let deviation = variance.sqrt();
    let unit = f32::from_bits(deviation.to_bits() & 0x7f80_0000) * 0.5;
    let multiples = mean / unit;
    // Above that every f32 is an integer; infinity and NaN are left to the arithmetic.
    if multiples.abs() < (1 << 23) as f32 { multiples.round_ties_even() * unit } else { mean }
}

/// The elements, and their squares.
#[derive(Clone, Copy)]
pub(crate) struct Plain;

#[derive(Clone, Copy)]
pub(crate) struct Moments<S: Simd> {
    sum: S::F,
    squares: S::F,
}

impl<S: Simd> Summand<S> for Plain {
    type Sums = Moments<S>;

    #[inline(always)]
    fn at_once<X: Storage>() -> bool {
        X::sums_pairs::<S>()
    }

    #[inline(always)]
    fn zero(&self, s: S) -> Moments<S> {
        Moments { sum: s.splat(0.0), squares: s.splat(0.0) }
    }
    #[inline(always)]
    fn add(&self, s: S, sums: Moments<S>, x: S::F) -> Moments<S> {
        Moments { sum: s.add(sums.sum, x), squares: s.mul_add(x, x, sums.squares) }
    }
    #[inline(always)]
    unsafe fn add_both<X: Storage>(&self, s: S, sums: Moments<S>, x: *const X) -> Moments<S> {
        // SAFETY: the same contract; what is summed so is bfloat16.
        unsafe {
            Moments {
                sum: s.add_bf16_x2(sums.sum, x.cast()),
                squares: s.add_squares_bf16_x2(sums.squares, x.cast()),
            }
        }
    }
    #[inline(always)]
    fn add_first(&self, s: S, sums: Moments<S>, x: S::F, _: usize) -> Moments<S> {
        self.add(s, sums, x)
    }
    #[inline(always)]
    fn merge(&self, s: S, a: Moments<S>, b: Moments<S>) -> Moments<S> {
        Moments { sum: s.add(a.sum, b.sum), squares: s.add(a.squares, b.squares) }
    }
}

/// The elements less the shift, their squares, and what rounding took from the squares' sums: next
/// to an outlier all other squares would be rounded in the same direction.
#[derive(Clone, Copy)]
struct About<S: Simd> {
    shift: S::F,
}

#[derive(Clone, Copy)]
struct CompensatedMoments<S: Simd> {
    moments: Moments<S>,
    lost: S::F,
}

impl<S: Simd> CompensatedMoments<S> {
    #[inline(always)]
    fn rounded(self, s: S) -> Moments<S> {
        Moments { sum: self.moments.sum, squares: s.add(self.moments.squares, self.lost) }
    }

    /// Adds differences from the shift.
    #[inline(always)]
    fn plus(self, s: S, d: S::F) -> Self {
        let moments = Plain.add(s, self.moments, d);
        // Exact where the sum was larger than the square that was added to it. The few times that
        // it was not, the error is as for one addition.
        let before_less_after = s.sub(self.moments.squares, moments.squares);
        Self { moments, lost: s.add(self.lost, s.mul_add(d, d, before_less_after)) }
    }
}

impl<S: Simd> Summand<S> for About<S> {
    type Sums = CompensatedMoments<S>;

    #[inline(always)]
    fn zero(&self, s: S) -> CompensatedMoments<S> {
        CompensatedMoments { moments: Plain.zero(s), lost: s.splat(0.0) }
    }
    #[inline(always)]
    fn add(&self, s: S, sums: CompensatedMoments<S>, x: S::F) -> CompensatedMoments<S> {
        sums.plus(s, s.sub(x, self.shift))
    }
    #[inline(always)]
    fn add_first(
        &self,
        s: S,
        sums: CompensatedMoments<S>,
        x: S::F,
        n: usize,
    ) -> CompensatedMoments<S> {
        sums.plus(s, s.first_n(s.sub(x, self.shift), n, s.splat(0.0)))
    }
    #[inline(always)]
    fn merge(
        &self,
        s: S,
        a: CompensatedMoments<S>,
        b: CompensatedMoments<S>,
    ) -> CompensatedMoments<S> {
        let moments = Plain.merge(s, a.moments, b.moments);
        let lost = sum_error(s, a.moments.squares, b.moments.squares, moments.squares);
        CompensatedMoments { moments, lost: s.add(s.add(a.lost, b.lost), lost) }
    }
}

/// The error of `sum`, which is `a + b` rounded (Knuth).
#[inline(always)]
fn sum_error<S: Simd>(s: S, a: S::F, b: S::F, sum: S::F) -> S::F {
    let b_part = s.sub(sum, a);
    let a_part = s.sub(sum, b_part);
    s.add(s.sub(a, a_part), s.sub(b, b_part))
}

/// What is left to do once the row is known: `x * rstd + whole` where the shift is near 0, so
/// that the error of `whole` does not show, else `(x - shift) * rstd + rest`.
#[derive(Clone, Copy)]
pub(crate) struct Standardise {
    /// Whether the shift is within half a standard deviation of 0.
    near: bool,
    pub(super) rstd: f32,
    whole: f32,
    shift: f32,
    rest: f32,
}

impl<S: Simd> Pointwise<S> for Standardise {
    const OF_ROW: bool = true;

    #[inline(always)]
    fn apply<const U: usize, Y: Output>(&self, s: S, x: [S::F; U]) -> [S::F; U] {
        let rstd = s.splat(self.rstd);
        let mut y = x;
        if self.near {
            let whole = s.splat(self.whole);
            for j in 0..U {
                y[j] = s.mul_add(x[j], rstd, whole);
            }
        } else {
            let (shift, rest) = (s.splat(seldom(&self.shift)), s.splat(seldom(&self.rest)));
            for j in 0..U {
                y[j] = s.mul_add(s.sub(x[j], shift), rstd, rest);
            }
        }
        y
    }
}
