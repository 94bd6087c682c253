//! DyT: `tanh(alpha x)`.

use super::function::{Begun, Beside, Function, Pointwise};
use super::math::{SHORT_DIGITS, Short, Tanh, short_tanh};
use super::simd::{
    Simd,
    element::{Output, Storage},
};

#[derive(Clone, Copy)]
pub(crate) struct DyT {
    pub(crate) alpha: f32,
}

impl Function for DyT {
    const READS_ROW: bool = false;
    const BY_ROW: bool = false;
    type Prepared<S: Simd> = Prepared<S>;
    type Row<S: Simd> = Prepared<S>;
    type Found = ();
    type Reading<S: Simd> = ();

    #[inline(always)]
    fn prepare<S: Simd>(self, s: S, _: usize) -> Prepared<S> {
        Prepared { exact: Tanh::new(s, self.alpha), short: short_tanh(s, self.alpha) }
    }

    #[inline(always)]
    fn begin<S: Simd>(_: S) {}

    #[inline(always)]
    unsafe fn find<S: Simd, X: Storage>(
        _: Prepared<S>,
        _: S,
        (): (),
        _: Begun<X>,
        _: &mut impl Beside<S>,
    ) {
    }

    #[inline(always)]
    fn row<S: Simd>(prepared: Prepared<S>, _: S, (): ()) -> Prepared<S> {
        prepared
    }
}

/// What a type of results does not need is never computed, but for the form of [`Short`] that is not taken.
#[derive(Clone, Copy)]
pub(crate) struct Prepared<S: Simd> {
    exact: Tanh<S>,
    short: Short<S, 3, 2>,
}

impl<S: Simd> Pointwise<S> for Prepared<S> {
    const KEEPS_ZERO: bool = true;

    #[inline(always)]
    fn apply<const U: usize, Y: Output>(&self, s: S, x: [S::F; U]) -> [S::F; U] {
        if const { Y::DIGITS <= SHORT_DIGITS } {
            self.short.apply(s, x, Y::DIGITS)
        } else {
            self.exact.apply(s, x)
        }
    }
}
