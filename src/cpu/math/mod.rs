//! The functions behind DyT, DyISRU and Derf, on vectors.
//!
//! Each file has one type that is prepared once for a call's parameters and then applied to
//! blocks of `U` vectors. A block is worked on breadth-first (one step for all its vectors,
//! then the next), so that the latency of one vector's step is hidden behind the others'.
//!
//! Where a lookup in 16 entries is one instruction ([`Simd::FAST_LOOKUP`]), tanh and erf are made of 16 pieces of
//! the same length, which an addition finds ([`rounder`]); elsewhere they are made from `exp`. For results
//! that will be rounded to f16, bfloat16 or i8 both are quotients of short polynomials ([`rational`]), or, on Intel's
//! processors with AVX-512, 32 pieces of degree 3 ([`cubics`]): [`short`] says why.
//!
//! All of them: a NaN gives a NaN, zero keeps its sign, subnormal arguments are as exact as
//! normal ones, and no result but silu's is above 1 in magnitude, once it is rounded to its type.
//! An error bound "in ulp" is the largest distance from the exact value that a run over every f32 found, in
//! units of the spacing of f32 at that value; of results for f16 and bfloat16, over a sample for many
//! parameters, in units of theirs. `tests.rs` has these runs.
//!
//! [`Simd::FAST_LOOKUP`]: super::simd::Simd::FAST_LOOKUP

mod cubics;
mod erf;
mod isru;
mod rational;
mod short;
mod silu;
mod slopes;
#[allow(clippy::approx_constant, reason = "a coefficient may come close to a constant")]
mod tables;
mod tanh;
#[cfg(test)]
mod tests;

pub(crate) use {
    erf::{Erf, short_erf},
    isru::Isru,
    short::{SHORT_DIGITS, Short},
    silu::{short_silu, silu},
    slopes::{ErfSlope, IsruSlope, MOST_PARAMETERS, Slopes, TanhSlope},
    tanh::{Tanh, short_tanh},
};

use super::simd::Simd;

/// What rounds to a multiple of `step`, a power of two, when it is added to what is not negative and less than
/// 2^22 steps. The sum's last bits are the multiple's number.
const fn rounder(step: f32) -> f32 {
    1.5 * (1 << 23) as f32 * step
}

/// `c[0] + c[1] x + ...`, by Horner's rule.
#[inline(always)]
fn polynomial<S: Simd, const N: usize, const U: usize>(
    s: S,
    c: &[f32; N],
    x: [S::F; U],
) -> [S::F; U] {
    let mut p = [s.splat(c[N - 1]); U];
    for k in 1..N {
        let next = s.splat(c[N - 1 - k]);
        for j in 0..U {
            p[j] = s.mul_add(p[j], x[j], next);
        }
    }
    p
}
