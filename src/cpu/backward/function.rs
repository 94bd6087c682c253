//! What a function is to its gradients.

use super::job::Weight;
use crate::cpu::math::{MOST_PARAMETERS, Slopes};
use crate::cpu::simd::{Simd, element::Storage};

/// A function of which there are gradients: RMSNorm and LayerNorm in `rows`, the others in `elementwise`.
pub(super) trait Differentiable: Copy {
    /// Whether rows are read for it before anything is written.
    const READS_ROW: bool;
    /// What every row of a call shares.
    type Prepared<S: Simd>: Copy;
    /// What is applied to the elements of one row.
    type Row<S: Simd>: Gradient<S>;

    /// Prepares for rows of `channels` channels.
    fn prepare<S: Simd>(self, s: S, channels: usize) -> Self::Prepared<S>;

    /// Reads a row as far as its gradients need to know all of it.
    ///
    /// # Safety
    /// The row must be valid for reads, and `weight` for its channels.
    unsafe fn row<S: Simd, E: Storage>(
        prepared: Self::Prepared<S>,
        s: S,
        row: Row<E>,
        weight: Weight,
    ) -> Self::Row<S>;

    /// What sums of the gradients by parameters lack.
    fn factors<S: Simd>(prepared: Self::Prepared<S>) -> [f64; MOST_PARAMETERS];
}

/// A row of the input and of the gradient of the output.
#[derive(Clone, Copy)]
pub(super) struct Row<E> {
    pub(super) x: *const E,
    pub(super) dy: *const E,
    pub(super) channels: usize,
}

/// The gradients of the elements of a row.
pub(super) trait Gradient<S: Simd>: Copy {
    /// Parameters that have a gradient: the first fields of [`Norm`](crate::Norm)'s, in their order.
    const PARAMETERS: usize;
    /// Those at `x`, where the gradient of the function itself, before the weight, is `df`.
    fn at<const U: usize>(&self, s: S, x: [S::F; U], df: [S::F; U]) -> Slopes<S, U>;
}
