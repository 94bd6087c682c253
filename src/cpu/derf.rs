//! Derf: `erf(alpha x + shift)`.

use super::function::{Begun, Function, Pointwise};
use super::math::Erf;
use super::simd::{
    Simd,
    element::{Output, Storage},
};

#[derive(Clone, Copy)]
pub(crate) struct Derf {
    pub(crate) alpha: f32,
    pub(crate) shift: f32,
}

impl Function for Derf {
    const READS_ROW: bool = false;
    const BY_ROW: bool = false;
    type Prepared<S: Simd> = Erf<S>;
    type Row<S: Simd> = Erf<S>;
    type Found = ();
    type Reading<S: Simd> = ();

    #[inline(always)]
    fn prepare<S: Simd>(self, s: S, _: usize) -> Erf<S> {
        Erf::new(s, self.alpha, self.shift)
    }

    #[inline(always)]
    fn begin<S: Simd>(_: S) {}

    #[inline(always)]
    unsafe fn find<S: Simd, X: Storage>(_: Erf<S>, _: S, (): (), _: Begun<X>) {}

    #[inline(always)]
    fn row<S: Simd>(prepared: Erf<S>, _: S, (): ()) -> Erf<S> {
        prepared
    }
}

impl<S: Simd> Pointwise<S> for Erf<S> {
    #[inline(always)]
    fn apply<const U: usize, Y: Output>(&self, s: S, x: [S::F; U]) -> [S::F; U] {
        Erf::apply(self, s, x)
    }
}
