//! DyISRU: `scale x / sqrt(beta + x^2)`.

use super::math::Isru;
use super::pipeline::{Function, Pointwise};
use super::simd::{Simd, element::Storage};

#[derive(Clone, Copy)]
pub(crate) struct DyIsru {
    pub(crate) beta: f32,
    pub(crate) scale: f32,
}

/// The function with its constants. A scale of 1, which trained models have, is not multiplied.
#[derive(Clone, Copy)]
pub(crate) struct Prepared<S: Simd> {
    isru: Isru<S>,
    scale: Option<S::F>,
}

impl Function for DyIsru {
    const READS_ROW: bool = false;
    type Prepared<S: Simd> = Prepared<S>;
    type Row<S: Simd> = Prepared<S>;

    #[inline(always)]
    fn prepare<S: Simd>(self, s: S, _: usize) -> Prepared<S> {
        Prepared {
            isru: Isru::new(s, self.beta),
            scale: (self.scale != 1.0).then(|| s.splat(self.scale)),
        }
    }

    #[inline(always)]
    unsafe fn row<S: Simd, X: Storage>(
        prepared: Prepared<S>,
        _: S,
        _: *const X,
        _: usize,
    ) -> Prepared<S> {
        prepared
    }
}

impl<S: Simd> Prepared<S> {
    #[inline(always)]
    fn scaled<const U: usize>(&self, s: S, mut y: [S::F; U]) -> [S::F; U] {
        if let Some(scale) = self.scale {
            for j in 0..U {
                y[j] = s.mul(y[j], scale);
            }
        }
        y
    }
}

impl<S: Simd> Pointwise<S> for Prepared<S> {
    #[inline(always)]
    fn apply<const U: usize, Y: Storage>(&self, s: S, x: [S::F; U]) -> [S::F; U] {
        let y = if Y::DIGITS <= 8 { self.isru.apply_coarse(s, x) } else { self.isru.apply(s, x) };
        self.scaled(s, y)
    }

    const ORDINARY: bool = true;

    #[inline(always)]
    fn apply_ordinary<const U: usize, Y: Storage>(&self, s: S, x: [S::F; U]) -> [S::F; U] {
        if Y::DIGITS > 8 {
            return self.apply::<U, Y>(s, x);
        }
        self.scaled(s, self.isru.apply_coarse_ordinary(s, x))
    }
}
