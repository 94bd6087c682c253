//! The gradients of RMSNorm and LayerNorm. With `n` the normalised row and `df = weight * dy`,
//!
//! ```text
//! dx = rstd (df - mean(df) - n mean(df n)),  of RMSNorm without the first mean.
//! ```

use super::function::{Differentiable, Gradient, Row};
use super::job::Weight;
use crate::RowStatistics;
use crate::cpu::access::{Access, First, Whole};
use crate::cpu::function::{Begun, Function, Pointwise};
use crate::cpu::layer_norm::{LayerNorm, Standardise};
use crate::cpu::math::{MOST_PARAMETERS, Slopes};
use crate::cpu::pipeline::UNROLL;
use crate::cpu::rms_norm::{RmsNorm, Scale};
use crate::cpu::simd::{
    Simd,
    element::{Output, Storage},
};

/// A function that standardises rows.
trait RowFunction: Function<Found = RowStatistics> {
    /// Whether the mean is taken away. Then the row is read for it before anything else, since sums of products with what
    /// is far from 0 would lose their digits.
    const CENTRES: bool;
    /// What elements are multiplied with.
    fn rstd<S: Simd>(row: &Self::Row<S>) -> f32;
}

impl RowFunction for RmsNorm {
    const CENTRES: bool = false;
    #[inline(always)]
    fn rstd<S: Simd>(row: &Scale) -> f32 {
        row.rstd
    }
}

impl RowFunction for LayerNorm {
    const CENTRES: bool = true;
    #[inline(always)]
    fn rstd<S: Simd>(row: &Standardise) -> f32 {
        row.rstd
    }
}

#[derive(Clone, Copy)]
pub(super) struct Prepared<P> {
    function: P,
    /// `1 / C`.
    per_channel: f32,
}

macro_rules! row_function {
    ($function:ty, $row:ty) => {
        impl Differentiable for $function {
            const READS_ROW: bool = true;
            type Prepared<S: Simd> = Prepared<<$function as Function>::Prepared<S>>;
            type Row<S: Simd> = Standardised<$row>;

            #[inline(always)]
            fn prepare<S: Simd>(self, s: S, channels: usize) -> Self::Prepared<S> {
                let per_channel = 1.0 / channels as f32;
                Prepared { function: Function::prepare(self, s, channels), per_channel }
            }

            #[inline(always)]
            unsafe fn row<S: Simd, E: Storage>(
                prepared: Self::Prepared<S>,
                s: S,
                row: Row<E>,
                weight: Weight,
            ) -> Standardised<$row> {
                // SAFETY: the same contract.
                unsafe { read::<S, $function, E>(prepared, s, row, weight) }
            }

            fn factors<S: Simd>(_: Self::Prepared<S>) -> [f64; MOST_PARAMETERS] {
                [0.0; MOST_PARAMETERS]
            }
        }
    };
}

row_function!(RmsNorm, Scale);
row_function!(LayerNorm, Standardise);

/// Blocks that are added up before their sums are set aside: the error of a sum grows with its length.
const CHAIN: usize = 32;

/// Reads a row for the means of `df` and of its product with the normalised row.
///
/// # Safety
/// As [`Differentiable::row`].
#[inline(always)]
unsafe fn read<S: Simd, F: RowFunction, E: Storage>(
    prepared: Prepared<F::Prepared<S>>,
    s: S,
    row: Row<E>,
    weight: Weight,
) -> Standardised<F::Row<S>> {
    let Prepared { function, per_channel } = prepared;
    if F::CENTRES {
        let begun = Begun::new(0, row.x, row.channels);
        // SAFETY: the caller vouches for the row.
        let found = unsafe { F::find(function, s, F::begin(s), begun, &mut ()) };
        let normalise = F::row(function, s, found);
        // SAFETY: as above.
        let RowSums { other, product } = unsafe { add_up::<S, F, E, _>(s, row, weight, normalise) };
        return Standardised {
            normalise,
            rstd: F::rstd::<S>(&normalise),
            df: s.reduce_add(other) * per_channel,
            product: s.reduce_add(product) * per_channel,
        };
    }
    // SAFETY: as above.
    let RowSums { other, product } = unsafe { add_up::<S, F, E, _>(s, row, weight, AsItIs) };
    let (count, m2) = (row.channels as f32, s.reduce_add(other));
    let normalise = F::row(function, s, RowStatistics { count, m2, ..RowStatistics::EMPTY });
    let rstd = F::rstd::<S>(&normalise);
    // Where the squares overflow the function is 0, and so are all of its products.
    let product = if rstd == 0.0 { 0.0 } else { s.reduce_add(product) * (rstd * per_channel) };
    Standardised { normalise, rstd, df: 0.0, product }
}

/// The row itself.
#[derive(Clone, Copy)]
struct AsItIs;

impl<S: Simd> Pointwise<S> for AsItIs {
    #[inline(always)]
    fn apply<const U: usize, Y: Output>(&self, _: S, x: [S::F; U]) -> [S::F; U] {
        x
    }
}

/// RowSums over a row, a lane each.
#[derive(Clone, Copy)]
struct RowSums<S: Simd> {
    /// Of `df` where the mean is taken away, else of the squares.
    other: S::F,
    /// Of `df` times what `of` makes of the row.
    product: S::F,
}

/// # Safety
/// As [`Differentiable::row`].
#[inline(always)]
unsafe fn add_up<S: Simd, F: RowFunction, E: Storage, P: Pointwise<S>>(
    s: S,
    row: Row<E>,
    weight: Weight,
    of: P,
) -> RowSums<S> {
    let block = UNROLL * S::LANES;
    let zero = RowSums { other: s.splat(0.0), product: s.splat(0.0) };
    let mut total = zero;
    let mut i = 0;
    while i < row.channels {
        let until = row.channels.min(i + CHAIN * block);
        let mut sums = [zero; UNROLL];
        while until - i >= block {
            // SAFETY: a block follows `i`.
            unsafe {
                let x: [S::F; UNROLL] = Whole.load(s, row.x.add(i));
                let df = df::<S, E, _, UNROLL>(s, Whole, row, weight, i);
                let n = of.apply::<UNROLL, f32>(s, x);
                for j in 0..UNROLL {
                    sums[j].other = add_other::<S, F>(s, sums[j].other, x[j], df[j]);
                    sums[j].product = s.mul_add(df[j], n[j], sums[j].product);
                }
            }
            i += block;
        }
        while i < until {
            let part = First((until - i).min(S::LANES));
            // SAFETY: so many follow.
            unsafe {
                let [x] = part.load(s, row.x.add(i));
                let [df] = df::<S, E, _, 1>(s, part, row, weight, i);
                let [n] = of.apply::<1, f32>(s, [x]);
                sums[0].other = add_other::<S, F>(s, sums[0].other, x, df);
                // Beyond the row `df` is 0, and `n` a number wherever it is one in the row.
                sums[0].product = s.mul_add(df, n, sums[0].product);
            }
            i += part.0;
        }
        let [a, b, c, d] = sums;
        let other = s.add(s.add(a.other, b.other), s.add(c.other, d.other));
        let product = s.add(s.add(a.product, b.product), s.add(c.product, d.product));
        total =
            RowSums { other: s.add(total.other, other), product: s.add(total.product, product) };
    }
    total
}

/// Adds what belongs to [`RowSums::other`].
#[inline(always)]
fn add_other<S: Simd, F: RowFunction>(s: S, sum: S::F, x: S::F, df: S::F) -> S::F {
    if F::CENTRES { s.add(sum, df) } else { s.mul_add(x, x, sum) }
}

/// `weight * dy` of the channels from `i` on.
///
/// # Safety
/// They must be of the row.
#[inline(always)]
unsafe fn df<S: Simd, E: Storage, A: Access, const U: usize>(
    s: S,
    access: A,
    row: Row<E>,
    weight: Weight,
    i: usize,
) -> [S::F; U] {
    // SAFETY: the caller vouches for these channels.
    let (mut df, weight) =
        unsafe { (access.load::<S, E, U>(s, row.dy.add(i)), weight.load::<S, A, U>(s, access, i)) };
    if let Some(w) = weight {
        for j in 0..U {
            df[j] = s.mul(df[j], w[j]);
        }
    }
    df
}

/// What is applied to a row that has been read.
#[derive(Clone, Copy)]
pub(super) struct Standardised<P> {
    normalise: P,
    rstd: f32,
    /// The mean of `df`, if the row is centred, else 0.
    df: f32,
    /// The mean of its product with the normalised row.
    product: f32,
}

impl<S: Simd, P: Pointwise<S>> Gradient<S> for Standardised<P> {
    const PARAMETERS: usize = 0;

    #[inline(always)]
    fn at<const U: usize>(&self, s: S, x: [S::F; U], df: [S::F; U]) -> Slopes<S, U> {
        let value = self.normalise.apply::<U, f32>(s, x);
        let (mean, product) = (s.splat(self.df), s.splat(self.product));
        let rstd = s.splat(self.rstd);
        let mut dx = df;
        for j in 0..U {
            dx[j] = s.mul(rstd, s.neg_mul_add(value[j], product, s.sub(df[j], mean)));
        }
        Slopes { value, by_x: dx, parameters: [dx, dx] }
    }
}
