//! What makes the results of a row.

use super::access::{Access, First, Whole};
use super::affine::Affine;
use super::finish::largest_lane;
use super::function::Pointwise;
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
    /// Those of row `index` of the job, which is at `x`.
    ///
    /// # Safety
    /// The job must keep [`Job`](super::job::Job)'s promises, for elements of type `X` and `Y`.
    #[inline(always)]
    pub(super) unsafe fn of<X: Storage, Y: Output, const MEMORY: bool>(
        s: S,
        work: &Work<impl Affine, MEMORY>,
        meanwhile: &mut impl Meanwhile,
        row: R,
        index: usize,
        x: *const X,
    ) -> Self {
        let scale = match work.job.stored {
            // Not by a closure: those are not always inlined, and instructions become calls then.
            // SAFETY: the same contract.
            Stored::Quantized(element, scale) if Y::QUANTIZED => unsafe {
                // See `stores_at_once`: element-wise functions have no scale of their own making here.
                let largest = if const { R::OF_ROW } && scale.is_computed() {
                    largest::<S, X, Y>(s, &row, work.affine, meanwhile, x, work.job.channels)
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
