//! DyT: `tanh(alpha x)`.

use super::function::{Begun, Function, Pointwise};
use super::math::Tanh;
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
    type Prepared<S: Simd> = Tanh<S>;
    type Row<S: Simd> = Tanh<S>;
    type Found = ();
    type Reading<S: Simd> = ();

    #[inline(always)]
    fn prepare<S: Simd>(self, s: S, _: usize) -> Tanh<S> {
        Tanh::new(s, self.alpha)
    }

    #[inline(always)]
    fn begin<S: Simd>(_: S) {}

    #[inline(always)]
    unsafe fn find<S: Simd, X: Storage>(_: Tanh<S>, _: S, (): (), _: Begun<X>) {}

    #[inline(always)]
    fn row<S: Simd>(prepared: Tanh<S>, _: S, (): ()) -> Tanh<S> {
        prepared
    }
}

impl<S: Simd> Pointwise<S> for Tanh<S> {
    #[inline(always)]
    fn apply<const U: usize, Y: Output>(&self, s: S, x: [S::F; U]) -> [S::F; U] {
        Tanh::apply(self, s, x)
    }
}
