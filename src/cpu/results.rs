//! What makes the results of a row.

use super::access::{Access, First, Whole};
use super::affine::Affine;
use super::finish::largest_lane;
use super::function::{Beside, Pointwise};
use super::job::Stored;
use super::pipeline::{Meanwhile, UNROLL, Work};
use super::simd::{
    Simd,
    element::{Output, Storage},
};

/// What they are made with.
#[derive(Clone, Copy)]
pub(super) struct Results<S: Simd, R> {
    pub(super) row: R,
    /// What they are multiplied with before they are stored, if they are quantised.
    pub(super) factor: S::F,
}

impl<S: Simd, R: Pointwise<S>> Results<S, R> {
    /// Those of row `index` of the job, which is at `x`. `product` is the largest of its [`Products`], if it is known.
    ///
    /// # Safety
    /// The job must keep [`Job`](super::job::Job)'s promises, for elements of type `X` and `Y`.
    #[inline(always)]
    pub(super) unsafe fn of<X: Storage, Y: Output, const MEMORY: bool>(
        s: S,
        work: &Work<impl Affine, MEMORY>,
        meanwhile: &mut impl Meanwhile,
        row: R,
        product: Option<f32>,
        index: usize,
        x: *const X,
    ) -> Self {
        let scale = match work.job.stored {
            // Not by a closure: those are not always inlined, and instructions become calls then.
            // SAFETY: the same contract.
            Stored::Quantized(element, scale) if Y::QUANTIZED => unsafe {
                // See `stores_at_once`: element-wise functions have no scale of their own making here.
                let largest = if const { R::OF_ROW } && scale.is_computed() {
                    largest_result::<S, R, X, Y, MEMORY>(s, work, meanwhile, &row, product, x)
                } else {
                    0.0
                };
                scale.of_row(element, index, largest)
            },
            _ => 1.0,
        };
        Self { row, factor: s.splat(1.0 / scale) }
    }
}

/// The largest magnitude of the results of the row at `x`. Where results are a row's factor times a product
/// with the weight, it is that times the largest `product`, which may be found before the factor is.
///
/// # Safety
/// As [`Results::of`].
#[inline(always)]
unsafe fn largest_result<S, R, X, Y, const MEMORY: bool>(
    s: S,
    work: &Work<impl Affine, MEMORY>,
    meanwhile: &mut impl Meanwhile,
    row: &R,
    product: Option<f32>,
    x: *const X,
) -> f32
where
    S: Simd,
    R: Pointwise<S>,
    X: Storage,
    Y: Output,
{
    let (affine, n) = (work.affine, work.job.channels);
    // SAFETY: the same contract.
    unsafe {
        if const { R::IS_FACTOR } && !affine.has_bias() {
            let product = match product {
                Some(product) => product,
                None => largest::<S, X, Y>(s, &Itself, affine, meanwhile, x, n),
            };
            let found = product * row.factor();
            // Neither has lost digits, and there is no NaN or infinity to be treated as in each result.
            if product.is_normal() && found.is_normal() {
                return found;
            }
        }
        largest::<S, X, Y>(s, row, affine, meanwhile, x, n)
    }
}

/// The elements of a row as they are.
#[derive(Clone, Copy)]
struct Itself;

impl<S: Simd> Pointwise<S> for Itself {
    #[inline(always)]
    fn apply<const U: usize, Y: Output>(&self, _: S, x: [S::F; U]) -> [S::F; U] {
        x
    }
}

/// The largest magnitude of a row's products with the weight, found while the row is read; NaN does not count.
/// The affine has no bias.
pub(super) struct Products<S: Simd, A> {
    affine: A,
    largest: [S::F; UNROLL],
}

impl<S: Simd, A: Affine> Products<S, A> {
    /// Those of rows of `work`, if scales are computed from them and there is nothing else to be done while a row
    /// is read.
    #[inline(always)]
    pub(super) fn of<const MEMORY: bool>(s: S, work: &Work<A, MEMORY>) -> Option<Self> {
        let Stored::Quantized(_, scale) = work.job.stored else { return None };
        let wanted = scale.is_computed() && !work.affine.has_bias() && !work.job.makes_sums;
        wanted.then_some(Self { affine: work.affine, largest: [s.splat(0.0); UNROLL] })
    }

    #[inline(always)]
    pub(super) fn largest(self, s: S) -> f32 {
        largest_lane(s, self.largest)
    }

    #[inline(always)]
    fn see(&mut self, s: S, product: S::F, j: usize) {
        // The second operand where the first is NaN.
        self.largest[j] = s.max(s.abs(product), self.largest[j]);
    }
}

impl<S: Simd, A: Affine> Beside<S> for Products<S, A> {
    #[inline(always)]
    unsafe fn pair<X: Storage>(&mut self, s: S, x: *const X, i: usize, pair: usize) {
        // SAFETY: the caller vouches for the elements and for the weight's.
        let products = unsafe { self.affine.apply(s, Whole, i, X::load_x2(s, x)) };
        self.see(s, products[0], 2 * pair);
        self.see(s, products[1], 2 * pair + 1);
    }

    #[inline(always)]
    unsafe fn part(&mut self, s: S, x: S::F, i: usize, n: usize) {
        // SAFETY: as above; what lies behind the row is 0, and so is its product with 0.
        let [product] = unsafe { self.affine.apply(s, First(n), i, [x]) };
        self.see(s, product, 0);
    }
}

/// The largest magnitude of the results of a row of `n` channels at `x`, before they are multiplied with a factor;
/// NaN does not count.
///
/// # Safety
/// It must be a row of the job, and the affine the job's.
#[inline(always)]
unsafe fn largest<S: Simd, X: Storage, Y: Output>(
    s: S,
    row: &impl Pointwise<S>,
    affine: impl Affine,
    meanwhile: &mut impl Meanwhile,
    x: *const X,
    n: usize,
) -> f32 {
    let zero = s.splat(0.0);
    let mut largest = [zero; UNROLL];
    let mut i = 0;
    // SAFETY: the caller vouches for the row, of which `part` or a block are left at `i`.
    unsafe {
        while n - i >= UNROLL * S::LANES {
            // Half of what there is to do: the rest is done when the row is written.
            if (i / (UNROLL * S::LANES)).is_multiple_of(2) {
                meanwhile.with_block(s);
            }
            let x = Whole.load::<S, X, UNROLL>(s, x.add(i));
            let v = affine.apply(s, Whole, i, row.apply::<UNROLL, Y>(s, x));
            for j in 0..UNROLL {
                // The second operand where the first is NaN.
                largest[j] = s.max(s.abs(v[j]), largest[j]);
            }
            i += UNROLL * S::LANES;
        }
        while i < n {
            let part = First((n - i).min(S::LANES));
            let x = part.load::<S, X, 1>(s, x.add(i));
            let [v] = affine.apply(s, part, i, row.apply::<1, Y>(s, x));
            largest[0] = s.max(s.first_n(s.abs(v), part.0, zero), largest[0]);
            i += part.0;
        }
    }
    largest_lane(s, largest)
}
