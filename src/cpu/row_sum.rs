//! Sums over a row, in an order that depends on the number of channels alone.

use super::function::{Begun, Reading};
use super::simd::{Simd, element::Storage};
use core::mem::MaybeUninit;

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

    /// Independent chains of additions, which hide the latency of one: a power of two from 4 to
    /// [`MOST_CHAINS`].
    #[inline(always)]
    fn chains<X: Storage>() -> usize {
        4
    }
}

const MOST_CHAINS: usize = 8;

/// Additions to a chain before it is set aside and a new one begun: the error of a sum grows with
/// the length of its chains.
const CHAIN: usize = 32;

/// The sums over the first blocks of a row.
#[derive(Clone, Copy)]
pub(crate) struct RowSum<S: Simd, T: Summand<S>> {
    summand: T,
    sums: [T::Sums; MOST_CHAINS],
    /// Chains that were set aside, if any were. To write zeros there for every row would take time.
    total: [MaybeUninit<T::Sums>; MOST_CHAINS],
    long: bool,
}

impl<S: Simd, T: Summand<S>> RowSum<S, T> {
    #[inline(always)]
    pub(crate) fn new(s: S, summand: T) -> Self {
        let sums = [summand.zero(s); MOST_CHAINS];
        Self { summand, sums, total: [MaybeUninit::uninit(); MOST_CHAINS], long: false }
    }

    /// Begins new chains.
    #[inline(always)]
    fn set_aside<X: Storage>(&mut self, s: S) {
        self.merge_total::<X>(s);
        for j in 0..T::chains::<X>() {
            self.total[j] = MaybeUninit::new(self.sums[j]);
            self.sums[j] = self.summand.zero(s);
        }
        self.long = true;
    }

    /// Adds what was set aside to the chains.
    #[inline(always)]
    fn merge_total<X: Storage>(&mut self, s: S) {
        if self.long {
            for j in 0..T::chains::<X>() {
                // SAFETY: then it has been written.
                let total = unsafe { self.total[j].assume_init() };
                self.sums[j] = self.summand.merge(s, total, self.sums[j]);
            }
        }
    }

    /// The sums over all of the row that was begun.
    ///
    /// # Safety
    /// It must be valid for reads.
    #[inline(always)]
    pub(crate) unsafe fn finish<X: Storage>(mut self, s: S, begun: Begun<X>) -> T::Sums {
        let Begun { x, channels: n, read: mut i, .. } = begun;
        // What has been read is less than a chain, or a chain and all of the row.
        let mut added = i / Self::block::<X>();
        while n - i >= Self::block::<X>() {
            let blocks = ((n - i) / Self::block::<X>()).min(CHAIN - added);
            for _ in 0..blocks {
                for part in 0..Self::parts::<X>() {
                    // SAFETY: a block follows `i`.
                    unsafe { self.add(s, x.add(i), part) };
                }
                i += Self::block::<X>();
            }
            added += blocks;
            if added == CHAIN {
                self.set_aside::<X>(s);
                added = 0;
            }
        }
        let (summand, sums) = (self.summand, &mut self.sums);
        // What is left is less than all chains take: pairs of vectors, then parts of them.
        let (mut chains, pair) = (T::chains::<X>(), 2 * S::LANES);
        for j in 0..chains / 2 {
            if n - i < pair {
                break;
            }
            // SAFETY: `pair` elements follow `i`.
            let [a, b] = unsafe { X::load_x2_unordered(s, x.add(i)) };
            sums[2 * j] = summand.add(s, sums[2 * j], a);
            sums[2 * j + 1] = summand.add(s, sums[2 * j + 1], b);
            i += pair;
        }
        for j in [chains - 2, chains - 1] {
            let part = (n - i).min(S::LANES);
            if part > 0 {
                // SAFETY: `part` elements are left.
                let v = unsafe { X::load_part(s, x.add(i), part) };
                sums[j] = summand.add_first(s, sums[j], v, part);
                i += part;
            }
        }
        self.merge_total::<X>(s);
        let mut sums = self.sums;
        while chains > 1 {
            chains /= 2;
            for j in 0..chains {
                sums[j] = summand.merge(s, sums[j], sums[j + chains]);
            }
        }
        sums[0]
    }
}

impl<S: Simd, T: Summand<S>> Reading<S> for RowSum<S, T> {
    #[inline(always)]
    fn parts<X: Storage>() -> usize {
        T::chains::<X>() / 4
    }

    #[inline(always)]
    fn longest<X: Storage>() -> usize {
        // A chain may end with the row: to set it aside and add it to nothing would not change it.
        CHAIN * Self::block::<X>()
    }

    #[inline(always)]
    unsafe fn add<X: Storage>(&mut self, s: S, x: *const X, part: usize) {
        let (summand, sums) = (self.summand, &mut self.sums);
        for j in 2 * part..2 * part + 2 {
            // SAFETY: the caller vouches for them.
            let [a, b] = unsafe { X::load_x2_unordered(s, x.add(j * 2 * S::LANES)) };
            sums[2 * j] = summand.add(s, sums[2 * j], a);
            sums[2 * j + 1] = summand.add(s, sums[2 * j + 1], b);
        }
    }
}
