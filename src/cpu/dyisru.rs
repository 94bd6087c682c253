//! DyISRU: `x / sqrt(beta + x^2)`; its scale goes with the weight.

use super::function::{Begun, Beside, Function, Pointwise};
use super::math::{Isru, SHORT_DIGITS};
use super::simd::{
    Simd,
    element::{Output, Storage},
};

#[derive(Clone, Copy)]
pub(crate) struct DyIsru {
    pub(crate) beta: f32,
    /// Forward it is the job's, with the weight.
    pub(crate) scale: f32,
}

impl Function for DyIsru {
    const READS_ROW: bool = false;
    const BY_ROW: bool = false;
    type Prepared<S: Simd> = Isru<S>;
    type Row<S: Simd> = Isru<S>;
    type Found = ();
    type Reading<S: Simd> = ();

    #[inline(always)]
    fn prepare<S: Simd>(self, s: S, _: usize) -> Isru<S> {
        Isru::new(s, self.beta)
    }

    #[inline(always)]
    fn begin<S: Simd>(_: S) {}

    #[inline(always)]
    unsafe fn find<S: Simd, X: Storage>(
        _: Isru<S>,
        _: S,
        (): (),
        _: Begun<X>,
        _: &mut impl Beside<S>,
    ) {
    }

    #[inline(always)]
    fn row<S: Simd>(prepared: Isru<S>, _: S, (): ()) -> Isru<S> {
        prepared
    }
}

impl<S: Simd> Pointwise<S> for Isru<S> {
    const KEEPS_ZERO: bool = true;
    const ORDINARY: bool = true;

    #[inline(always)]
    fn begins_ordinary(&self) -> bool {
        self.is_plain()
    }

    #[inline(always)]
    fn apply<const U: usize, Y: Output>(&self, s: S, x: [S::F; U]) -> [S::F; U] {
        if Y::DIGITS <= SHORT_DIGITS {
            self.apply_coarse(s, x, Y::DIGITS)
        } else {
            Isru::apply(self, s, x)
        }
    }

    #[inline(always)]
    fn apply_ordinary<const U: usize, Y: Output>(&self, s: S, x: [S::F; U]) -> [S::F; U] {
        if Y::DIGITS <= SHORT_DIGITS {
            self.apply_coarse_ordinary(s, x, Y::DIGITS)
        } else {
            Isru::apply(self, s, x)
        }
    }
}
