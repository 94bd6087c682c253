//! Piecewise polynomials: 32 pieces, their coefficients looked up lane by lane.

use crate::cpu::simd::Simd;

/// A function on `[0, limit]` in 32 pieces of degree 4.
///
/// The piece of `z` is counted by the bits of `offset + scale * z` from bit `SHIFT` on. So the
/// pieces are equally long where the sum stays in one octave and twice as long in the next:
/// short near 0, where the error must be small relative to `z`, and long where the function is
/// flat. Without the offset half of the pieces would lie below what a polynomial about 0 does
/// as well, and the degree would have to be 5.
///
/// The columns are rotated so that those bits modulo 32 are the index.
#[repr(C, align(64))]
pub(super) struct Pieces<const SHIFT: u32> {
    /// The negated centre of each piece, then its coefficients in `unit * z - centre`, constant
    /// first. The centres are such that the constant is nearly exact; it is 0 in the first piece.
    pub(super) columns: [[f32; 32]; 6],
    /// Near 1, and such that the first piece's slope is nearly exact too.
    pub(super) unit: f32,
    pub(super) offset: f32,
    pub(super) scale: f32,
    /// From here on the function rounds to 1, and so does the last piece.
    pub(super) limit: f32,
}

impl<const SHIFT: u32> Pieces<SHIFT> {
    /// The function at `z = slope * x` for `0 <= z <= limit`, and NaN for NaN; from the products
    /// of the slope with `unit` and with `scale`.
    ///
    /// `z` is never rounded by itself: what a polynomial is given is the distance from its
    /// centre, rounded once.
    #[inline(always)]
    pub(super) fn apply<S: Simd, const U: usize>(
        &self,
        s: S,
        x: [S::F; U],
        slope_unit: S::F,
        slope_scale: S::F,
    ) -> [S::F; U] {
        let offset = s.splat(self.offset);
        let [minus_center, coefficients @ ..] = &self.columns;
        let mut index = [s.table_index::<SHIFT>(offset); U];
        for j in 0..U {
            index[j] = s.table_index::<SHIFT>(s.mul_add(x[j], slope_scale, offset));
        }
        let mut t = x;
        for j in 0..U {
            t[j] = s.mul_add(x[j], slope_unit, s.lookup(minus_center, index[j]));
        }
        let mut p = t;
        for j in 0..U {
            p[j] = s.lookup(&coefficients[4], index[j]);
        }
        for k in 1..5 {
            for j in 0..U {
                p[j] = s.mul_add(p[j], t[j], s.lookup(&coefficients[4 - k], index[j]));
            }
        }
        p
    }
}
