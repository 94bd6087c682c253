//! `sum = x + residual`, in f32 and rounded once.

use super::simd::{Kernel, Simd, element::Storage};

/// Adds `channels` elements. `sum` may be `x` or `residual`.
pub(crate) struct Add<X, R> {
    pub(crate) x: *const X,
    pub(crate) residual: *const R,
    pub(crate) sum: *mut R,
    pub(crate) channels: usize,
    /// Elements from what is added to what is fetched, or 0.
    pub(crate) ahead: usize,
}

/// Bytes of a cache line.
const LINE: usize = 64;

impl<X: Storage, R: Storage> Kernel for Add<X, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, residual, sum, channels, ahead } = self;
        let fetch_residual = !core::ptr::eq(residual, sum);
        let block = 4 * S::LANES;
        let mut i = 0;
        while channels - i >= block {
            if ahead > 0 {
                let line = |p: *const u8, i: usize| s.prefetch(p.wrapping_add(i * LINE), false);
                for j in 0..(block * size_of::<X>()).div_ceil(LINE) {
                    line(x.wrapping_add(i + ahead).cast(), j);
                }
                if fetch_residual {
                    for j in 0..(block * size_of::<R>()).div_ceil(LINE) {
                        line(residual.wrapping_add(i + ahead).cast(), j);
                    }
                }
            }
            // SAFETY: whoever makes an `Add` vouches for `channels` elements; a block follows `i`.
            unsafe {
                let (x, r) = (x.add(i), residual.add(i));
                let [a, b] = X::load_x2(s, x);
                let [c, d] = X::load_x2(s, x.add(2 * S::LANES));
                let [e, f] = R::load_x2(s, r);
                let [g, h] = R::load_x2(s, r.add(2 * S::LANES));
                let v = [s.add(a, e), s.add(b, f), s.add(c, g), s.add(d, h)];
                if !R::try_store_x4::<S, false>(s, sum.add(i), v, true) {
                    R::store_x4::<S, false>(s, sum.add(i), v);
                }
            }
            i += block;
        }
        while i < channels {
            let part = (channels - i).min(S::LANES);
            // SAFETY: as above, of `part` elements.
            unsafe {
                let v =
                    s.add(X::load_part(s, x.add(i), part), R::load_part(s, residual.add(i), part));
                R::store_part(s, sum.add(i), v, part);
            }
            i += part;
        }
    }
}
