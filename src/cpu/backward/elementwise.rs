//! The gradients of DyT, DyISRU and Derf.

use super::function::{Differentiable, Gradient, Row};
use super::job::Weight;
use crate::cpu::math::{ErfSlope, IsruSlope, MOST_PARAMETERS, Slopes, TanhSlope};
use crate::cpu::simd::{Simd, element::Storage};
use crate::cpu::{derf::Derf, dyisru::DyIsru, dyt::DyT};

macro_rules! elementwise {
    ($function:ty, $slope:ident, $count:literal, |$s:ident, $f:ident| $prepared:expr) => {
        impl Differentiable for $function {
            const READS_ROW: bool = false;
            type Prepared<S: Simd> = $slope<S>;
            type Row<S: Simd> = $slope<S>;

            #[inline(always)]
            fn prepare<S: Simd>(self, $s: S, _: usize) -> $slope<S> {
                let $f = self;
                $prepared
            }

            #[inline(always)]
            unsafe fn row<S: Simd, E: Storage>(
                prepared: $slope<S>,
                _: S,
                _: Row<E>,
                _: Weight,
            ) -> $slope<S> {
                prepared
            }

            fn factors<S: Simd>(prepared: $slope<S>) -> [f64; MOST_PARAMETERS] {
                prepared.factors
            }
        }

        impl<S: Simd> Gradient<S> for $slope<S> {
            const PARAMETERS: usize = $count;

            #[inline(always)]
            fn at<const U: usize>(&self, s: S, x: [S::F; U], df: [S::F; U]) -> Slopes<S, U> {
                self.apply(s, x, df)
            }
        }
    };
}

elementwise!(DyT, TanhSlope, 1, |s, f| TanhSlope::new(s, f.alpha));
elementwise!(DyIsru, IsruSlope, 2, |s, f| IsruSlope::new(s, f.beta, f.scale));
elementwise!(Derf, ErfSlope, 2, |s, f| ErfSlope::new(s, f.alpha, f.shift));
