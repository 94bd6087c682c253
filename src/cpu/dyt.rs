//! DyT: `tanh(alpha x)`.

use super::math::Tanh;
use super::pipeline::{Function, Pointwise};
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
    type Prepared<S: Simd> = Tanh<S>;
    type Row<S: Simd> = Tanh<S>;

    #[inline(always)]
    fn prepare<S: Simd>(self, s: S, _: usize) -> Tanh<S> {
        Tanh::new(s, self.alpha)
    }

    #[inline(always)]
    unsafe fn row<S: Simd, X: Storage>(
        prepared: Tanh<S>,
        _: S,
        _: *const X,
        _: usize,
        _: usize,
    ) -> Tanh<S> {
        prepared
    }
}

impl<S: Simd> Pointwise<S> for Tanh<S> {
    #[inline(always)]
    fn apply<const U: usize, Y: Output>(&self, s: S, x: [S::F; U]) -> [S::F; U] {
        Tanh::apply(self, s, x)
    }
}
