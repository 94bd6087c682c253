//! `x / sqrt(beta + x^2)`.

use crate::cpu::simd::Simd;

/// Where `x` is clamped: `x^2` does not overflow, and the result is exactly 1 from here on.
pub(super) const LIMIT: f32 = (1u64 << 63) as f32;
/// Where [`Isru::apply_coarse`] clamps it: the square of what is larger overflows, which
/// [`Isru::apply_coarse_ordinary`] shows, so that both are the same up to here.
const COARSE_LIMIT: f32 = f32::from_bits(0x5f7f_ffff);
/// A beta outside `SMALL..LARGE` is brought inside by a power of four, and `x` is multiplied by
/// its root: below, the estimate of the root would meet subnormals; above, `LIMIT` would be too
/// low. No digit of `x` that matters is lost.
pub(super) const SMALL: f32 = 1.0 / (1u128 << 120) as f32;
pub(super) const LARGE: f32 = (1u128 << 100) as f32;
pub(super) const GROW: f32 = (1u64 << 32) as f32;
pub(super) const SHRINK: f32 = 1.0 / (1u64 << 32) as f32;

/// `x / sqrt(beta + x^2)` for one `beta`.
///
/// Largest error over every f32 `x`, for any of 1, 2, 1e-6 and 295.76 as `beta`, in ulp: AVX-512
/// 1.54, AVX2 1.49, without a fused operation 1.99. The estimate of the root that the first two,
/// and NEON, start from differs between makers of processors, and so may the last bit of the result.
#[derive(Clone, Copy)]
pub(crate) struct Isru<S: Simd> {
    /// The parameter times the square of `prescale`.
    beta: S::F,
    /// What `x` is multiplied with first, unless `plain`.
    prescale: S::F,
    /// Whether `prescale` is 1.
    plain: bool,
}

impl<S: Simd> Isru<S> {
    /// Prepares for a finite `beta > 0`.
    #[inline(always)]
    pub(crate) fn new(s: S, beta: f32) -> Self {
        let prescale = if beta < SMALL {
            GROW
        } else if beta >= LARGE {
            SHRINK
        } else {
            1.0
        };
        Self {
            beta: s.splat(beta * prescale * prescale),
            prescale: s.splat(prescale),
            plain: prescale == 1.0,
        }
    }

    /// `x / sqrt(beta + x^2)` for a result that will be rounded to `digits` digits, at most 11: where the
    /// processor estimates roots, for bfloat16 with a relative error of at most 2^-14, a sixty-fourth of an
    /// ulp of that, and for f16 of 2^-20, two thousandths.
    #[inline(always)]
    pub(crate) fn apply_coarse<const U: usize>(
        &self,
        s: S,
        mut x: [S::F; U],
        digits: u32,
    ) -> [S::F; U] {
        if S::RSQRT_BITS >= 23 {
            return self.apply(s, x);
        }
        self.rescale(s, &mut x);
        let (limit, least) = (s.splat(COARSE_LIMIT), s.splat(-COARSE_LIMIT));
        for j in 0..U {
            x[j] = s.min(limit, s.max(least, x[j]));
        }
        self.coarse(s, x, digits)
    }

    /// As [`apply_coarse`](Isru::apply_coarse), if [plain](Isru::is_plain), but 0 or NaN from where `x^2`
    /// overflows on.
    #[inline(always)]
    pub(crate) fn apply_coarse_ordinary<const U: usize>(
        &self,
        s: S,
        x: [S::F; U],
        digits: u32,
    ) -> [S::F; U] {
        if S::RSQRT_BITS >= 23 {
            return self.apply(s, x);
        }
        self.coarse(s, x, digits)
    }

    /// Whether beta is so far from the ends of what f32 holds that arguments need no scaling.
    #[inline(always)]
    pub(crate) fn is_plain(&self) -> bool {
        self.plain
    }

    #[inline(always)]
    fn coarse<const U: usize>(&self, s: S, mut x: [S::F; U], digits: u32) -> [S::F; U] {
        let mut a = x;
        for j in 0..U {
            a[j] = s.mul_add(x[j], x[j], self.beta);
        }
        for j in 0..U {
            let mut y = s.rsqrt_estimate(a[j]);
            if S::RSQRT_BITS < 14 || digits > 8 {
                let e = s.neg_mul_add(s.mul(a[j], y), y, s.splat(1.0));
                y = s.mul_add(s.mul(y, s.splat(0.5)), e, y);
            }
            x[j] = s.mul(x[j], y);
        }
        x
    }

    /// `x / sqrt(beta + x^2)`.
    #[inline(always)]
    pub(crate) fn apply<const U: usize>(&self, s: S, mut x: [S::F; U]) -> [S::F; U] {
        self.rescale(s, &mut x);
        let limit = s.splat(LIMIT);
        let mut magnitude = x;
        for j in 0..U {
            magnitude[j] = s.min(limit, s.abs(x[j]));
        }
        let mut y = if S::FMA && S::RSQRT_BITS < 23 {
            self.by_estimate(s, magnitude)
        } else {
            self.by_division(s, magnitude)
        };
        for j in 0..U {
            y[j] = s.with_sign(y[j], x[j]);
        }
        y
    }

    /// Multiplies `x` with `prescale`.
    #[inline(always)]
    fn rescale<const U: usize>(&self, s: S, x: &mut [S::F; U]) {
        if !self.plain {
            for j in 0..U {
                x[j] = s.mul(x[j], self.prescale);
            }
        }
    }

    /// Corrects the estimate `y` of `1 / sqrt(a)`: with `e = 1 - a y^2`, the root is
    /// `y (1 - e)^(-1/2)`, here its series up to `e` or `e^2`.
    ///
    /// The correction is added to the exact product `x y` in the last, fused step, so that
    /// neither the corrected root nor `x y` is rounded by itself.
    #[inline(always)]
    fn by_estimate<const U: usize>(&self, s: S, x: [S::F; U]) -> [S::F; U] {
        let (one, half) = (s.splat(1.0), s.splat(0.5));
        let mut a = x;
        for j in 0..U {
            a[j] = s.mul_add(x[j], x[j], self.beta);
        }
        let mut y = a;
        for j in 0..U {
            y[j] = s.rsqrt_estimate(a[j]);
        }
        let mut e = a;
        for j in 0..U {
            e[j] = s.neg_mul_add(s.mul(a[j], y[j]), y[j], one);
        }
        let mut r = x;
        for j in 0..U {
            let correction = if S::RSQRT_BITS >= 14 {
                // The next term, 3/8 e^2, is below a tenth of the half ulp of rounding.
                s.mul(s.mul(s.mul(y[j], half), e[j]), x[j])
            } else {
                let series = s.mul_add(e[j], s.splat(0.375), half);
                s.mul(s.mul(s.mul(x[j], y[j]), e[j]), series)
            };
            r[j] = s.mul_add(x[j], y[j], correction);
        }
        r
    }

    /// Root and division, each rounded: what is left of the 2 ulp suffices for one rounding of
    /// `beta + x^2`, so without a fused operation that sum is made in two parts.
    #[inline(always)]
    fn by_division<const U: usize>(&self, s: S, x: [S::F; U]) -> [S::F; U] {
        let mut y = x;
        for j in 0..U {
            let a = if S::FMA {
                s.mul_add(x[j], x[j], self.beta)
            } else {
                square_plus(s, x[j], self.beta)
            };
            y[j] = s.div(x[j], s.sqrt(a));
        }
        y
    }
}

/// `x^2 + beta`, almost as if rounded once, without a fused operation.
///
/// `x` is split into its upper 12 bits, whose square is exact, and the rest (Veltkamp, Dekker);
/// the error of the large sum is recovered and added to the small terms.
#[inline(always)]
fn square_plus<S: Simd>(s: S, x: S::F, beta: S::F) -> S::F {
    let scaled = s.mul(x, s.splat(4097.0));
    let upper = s.sub(scaled, s.sub(scaled, x));
    let lower = s.sub(x, upper);
    let square = s.mul(upper, upper);
    let (large, small) = (s.max(beta, square), s.min(beta, square));
    let sum = s.add(large, small);
    let error = s.sub(small, s.sub(sum, large));
    s.add(sum, s.add(s.mul(s.add(x, upper), lower), error))
}
