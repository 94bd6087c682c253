//! RMSNorm and LayerNorm of rows of which the statistics are known: element-wise functions then,
//! with other parameters for each row.

use super::function::{Begun, Beside, Function};
use super::simd::{Simd, element::Storage};
use crate::RowStatistics;
use core::ptr::NonNull;

#[derive(Clone, Copy)]
pub(crate) struct Known<F> {
    function: F,
    /// One for each row.
    statistics: NonNull<RowStatistics>,
}

impl<F: Function<Found = RowStatistics>> Known<F> {
    /// # Safety
    /// Wherever the function is used there must be `statistics` of every row.
    pub(crate) unsafe fn new(function: F, statistics: NonNull<RowStatistics>) -> Self {
        Self { function, statistics }
    }
}

impl<F: Function<Found = RowStatistics>> Function for Known<F> {
    const READS_ROW: bool = false;
    const BY_ROW: bool = true;
    type Prepared<S: Simd> = (F::Prepared<S>, NonNull<RowStatistics>);
    type Row<S: Simd> = F::Row<S>;
    type Found = RowStatistics;
    type Reading<S: Simd> = ();

    #[inline(always)]
    fn prepare<S: Simd>(self, s: S, channels: usize) -> Self::Prepared<S> {
        (self.function.prepare(s, channels), self.statistics)
    }

    #[inline(always)]
    fn begin<S: Simd>(_: S) {}

    #[inline(always)]
    unsafe fn find<S: Simd, X: Storage>(
        (_, statistics): Self::Prepared<S>,
        _: S,
        (): (),
        begun: Begun<X>,
        _: &mut impl Beside<S>,
    ) -> RowStatistics {
        // SAFETY: `new`'s caller vouches for one for each row.
        unsafe { statistics.add(begun.index).read() }
    }

    #[inline(always)]
    fn row<S: Simd>((prepared, _): Self::Prepared<S>, s: S, found: RowStatistics) -> F::Row<S> {
        F::row(prepared, s, found)
    }
}
