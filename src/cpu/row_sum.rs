//! Sums over a row, in an order that depends on the number of channels alone.

use super::simd::{Simd, element::Storage};

/// What is summed.
pub(crate) trait Summand<S: Simd>: Copy {
    /// The sums of one lane each.
    type Sums: Copy;
    /// Adds every lane of `x`.
    fn add(&self, s: S, sums: Self::Sums, x: S::F) -> Self::Sums;
    /// Adds the first `n <= LANES` lanes of `x`; the others are 0.
    fn add_first(&self, s: S, sums: Self::Sums, x: S::F, n: usize) -> Self::Sums;
    /// Empty sums.
    fn zero(&self, s: S) -> Self::Sums;
    /// Adds sums to sums.
    fn merge(&self, s: S, a: Self::Sums, b: Self::Sums) -> Self::Sums;
}

/// Additions to a chain before it is set aside and a new one begun: the error of a sum grows with
/// the length of its chains.
const CHAIN: usize = 32;

/// Sums over `n` elements at `x` in `U` independent chains (a power of two), which hide the
/// latency of an addition.
///
/// # Safety
/// `x` must be valid for reads of `n` elements.
#[inline(always)]
pub(crate) unsafe fn row_sum<S: Simd, X: Storage, T: Summand<S>, const U: usize>(
    s: S,
    summand: T,
    x: *const X,
    n: usize,
) -> T::Sums {
    const { assert!(U.is_power_of_two() && U > 1) };
    let pair = 2 * S::LANES;
    let mut total = [summand.zero(s); U];
    let mut sums = total;
    let mut long = false;
    let mut i = 0;
    loop {
        let blocks = ((n - i) / (U * S::LANES)).min(CHAIN);
        for _ in 0..blocks {
            for j in 0..U / 2 {
                // SAFETY: `U * LANES` elements follow `i`.
                let [a, b] = unsafe { X::load_x2_unordered(s, x.add(i + j * pair)) };
                sums[2 * j] = summand.add(s, sums[2 * j], a);
                sums[2 * j + 1] = summand.add(s, sums[2 * j + 1], b);
            }
            i += U * S::LANES;
        }
        if blocks < CHAIN {
            break;
        }
        for j in 0..U {
            total[j] = summand.merge(s, total[j], sums[j]);
            sums[j] = summand.zero(s);
        }
        long = true;
    }
    // What is left is less than all chains take: pairs of vectors, then parts of them.
    for j in 0..U / 2 {
        if n - i < pair {
            break;
        }
        // SAFETY: `pair` elements follow `i`.
        let [a, b] = unsafe { X::load_x2_unordered(s, x.add(i)) };
        sums[2 * j] = summand.add(s, sums[2 * j], a);
        sums[2 * j + 1] = summand.add(s, sums[2 * j + 1], b);
        i += pair;
    }
    for j in [U - 2, U - 1] {
        let part = (n - i).min(S::LANES);
        if part > 0 {
            // SAFETY: `part` elements are left.
            let v = unsafe { X::load_part(s, x.add(i), part) };
            sums[j] = summand.add_first(s, sums[j], v, part);
            i += part;
        }
    }
    if long {
        for j in 0..U {
            sums[j] = summand.merge(s, total[j], sums[j]);
        }
    }
    let mut chains = U;
    while chains > 1 {
        chains /= 2;
        for j in 0..chains {
            sums[j] = summand.merge(s, sums[j], sums[j + chains]);
        }
    }
    sums[0]
}
