//! Sums over a row, in an order that depends on the number of channels alone.

use super::function::{Begun, Beside, Reading};
use super::simd::{Simd, element::Storage};
use core::mem::MaybeUninit;
use half::bf16;

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

    /// Whether two vectors go to one chain, by [`add_both`](Summand::add_both), and not to one each.
    #[inline(always)]
    fn at_once<X: Storage>() -> bool {
        false
    }
    /// Adds `2 * LANES` elements, if `at_once`.
    ///
    /// # Safety
    /// `x` must be valid for reads of them.
    #[inline(always)]
    unsafe fn add_both<X: Storage>(&self, _: S, _: Self::Sums, _: *const X) -> Self::Sums {
        unreachable!("it is not `at_once`")
    }
}

const MOST_CHAINS: usize = 8;

/// Sums of squares below which [`Storage::sums_pairs`] may have taken elements for 0 that matter.
pub(crate) const TINY: f32 = 1.0 / (1u128 << 90) as f32;

/// The sums over a row.
pub(crate) struct TinySums {
    pub(crate) sum: f32,
    pub(crate) squares: f32,
}

/// Those over a row of elements so small that nothing of them may be lost, or of zeros.
///
/// # Safety
/// `x` must be valid for reads of `channels` elements.
#[cold]
#[inline(never)]
pub(crate) unsafe fn tiny_sums(x: *const bf16, channels: usize) -> TinySums {
    // SAFETY: the caller vouches for the elements.
    let x = unsafe { core::slice::from_raw_parts(x, channels) };
    // Rows of zeros are the only usual ones.
    let any = x.iter().fold(0, |any, x| any | x.to_bits());
    let (mut sum, mut squares) = (0.0, 0.0);
    if any & 0x7fff != 0 {
        for x in x.iter().map(|x| x.to_f64()) {
            sum += x;
            squares += x * x;
        }
    }
    TinySums { sum: sum as f32, squares: squares as f32 }
}

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

    /// Adds pair `pair` of the vectors of a block, which is at `x`.
    ///
    /// # Safety
    /// `x` must be valid for reads of it.
    #[inline(always)]
    unsafe fn add_pair<X: Storage>(&mut self, s: S, pair: usize, x: *const X) {
        let (summand, sums) = (self.summand, &mut self.sums);
        // SAFETY: the same contract.
        unsafe {
            if T::at_once::<X>() {
                sums[pair] = summand.add_both(s, sums[pair], x);
            } else {
                let [a, b] = X::load_x2_unordered(s, x);
                sums[2 * pair] = summand.add(s, sums[2 * pair], a);
                sums[2 * pair + 1] = summand.add(s, sums[2 * pair + 1], b);
            }
        }
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

    /// Adds part `part` of a block, which is at channel `i` of `x`.
    ///
    /// # Safety
    /// It must be valid for reads, and `beside` good for it.
    #[inline(always)]
    unsafe fn add_beside<X: Storage>(
        &mut self,
        s: S,
        (x, i): (*const X, usize),
        part: usize,
        beside: &mut impl Beside<S>,
    ) {
        for j in 0..2 {
            let i = i + j * 2 * S::LANES;
            // SAFETY: the same contract.
            unsafe {
                self.add_pair(s, 2 * part + j, x.add(i));
                beside.pair(s, x.add(i), i, j);
            }
        }
    }

    /// The sums over all of the row that was begun.
    ///
    /// # Safety
    /// It must be valid for reads, and `beside` good for what is left of it.
    #[inline(always)]
    pub(crate) unsafe fn finish<X: Storage>(
        mut self,
        s: S,
        begun: Begun<X>,
        beside: &mut impl Beside<S>,
    ) -> T::Sums {
        let Begun { x, channels: n, read: mut i, .. } = begun;
        let (part, pair) = (4 * S::LANES, 2 * S::LANES);
        let begun_parts = i % Self::block::<X>() / part;
        for next in 1..Self::parts::<X>() {
            if begun_parts > 0 && next >= begun_parts && n - i >= part {
                // SAFETY: a part follows `i`.
                unsafe { self.add_beside(s, (x, i), next, beside) };
                i += part;
            }
        }
        // What has been read is less than a chain, or a chain and all of the row.
        let mut added = i / Self::block::<X>();
        // If it ends within a block, the row does so before the next part.
        let first_pair = i % Self::block::<X>() / pair;
        while n - i >= Self::block::<X>() {
            let blocks = ((n - i) / Self::block::<X>()).min(CHAIN - added);
            for _ in 0..blocks {
                for part in 0..Self::parts::<X>() {
                    // SAFETY: a block follows `i`.
                    unsafe { self.add_beside(s, (x, i + part * 4 * S::LANES), part, beside) };
                }
                i += Self::block::<X>();
            }
            added += blocks;
            if added == CHAIN {
                self.set_aside::<X>(s);
                added = 0;
            }
        }
        // What is left is less than all chains take: pairs of vectors, then parts of them.
        for j in 0..Self::block::<X>() / pair {
            if n - i < pair {
                break;
            }
            if j >= first_pair {
                // SAFETY: `pair` elements follow `i`.
                unsafe {
                    self.add_pair(s, j, x.add(i));
                    beside.pair(s, x.add(i), i, j % 2);
                }
                i += pair;
            }
        }
        let (summand, sums, mut chains) = (self.summand, &mut self.sums, T::chains::<X>());
        for j in [chains - 2, chains - 1] {
            let part = (n - i).min(S::LANES);
            if part > 0 {
                // SAFETY: `part` elements are left.
                let v = unsafe { X::load_part(s, x.add(i), part) };
                sums[j] = summand.add_first(s, sums[j], v, part);
                // SAFETY: as above.
                unsafe { beside.part(s, v, i, part) };
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
        T::chains::<X>() / if T::at_once::<X>() { 2 } else { 4 }
    }

    #[inline(always)]
    fn longest<X: Storage>() -> usize {
        // A chain may end with the row: to set it aside and add it to nothing would not change it.
        CHAIN * Self::block::<X>()
    }

    #[inline(always)]
    unsafe fn add<X: Storage>(&mut self, s: S, x: *const X, part: usize) {
        for j in 2 * part..2 * part + 2 {
            // SAFETY: the caller vouches for them.
            unsafe { self.add_pair(s, j, x.add(j * 2 * S::LANES)) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::dispatch::enter;
    use crate::cpu::isa::Isa;
    use crate::cpu::rms_norm::Squares;
    use crate::cpu::simd::Kernel;

    /// The sums of squares of a row of which 0, 1, … parts are read beforehand.
    struct Begins<'a, X>(&'a [X]);

    impl<X: Storage> Kernel for Begins<'_, X> {
        type Output = Vec<u32>;

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Vec<u32> {
            let (x, channels) = (self.0.as_ptr(), self.0.len());
            let parts = RowSum::<S, Squares>::parts::<X>();
            let sum = |read: usize| {
                let mut sums = RowSum::new(s, Squares);
                // SAFETY: the parts are of the row.
                unsafe {
                    for part in 0..read {
                        let block = part / parts * RowSum::<S, Squares>::block::<X>();
                        sums.add(s, x.add(block), part % parts);
                    }
                    let begun = Begun { read: read * 4 * S::LANES, ..Begun::new(0, x, channels) };
                    s.reduce_add(sums.finish(s, begun, &mut ())).to_bits()
                }
            };
            (0..=channels / (4 * S::LANES)).map(sum).collect()
        }
    }

    #[test]
    fn a_row_has_one_sum_wherever_reading_it_went_on() {
        for isa in Isa::available() {
            for channels in [64, 100, 256, 514, 700] {
                let wide: Vec<f32> = (0..channels).map(|i| (i as f32).sin() + 0.01).collect();
                let narrow: Vec<bf16> = wide.iter().map(|&x| bf16::from_f32(x)).collect();
                // SAFETY: the processor has it.
                let sums = unsafe { [enter(isa, Begins(&wide)), enter(isa, Begins(&narrow))] };
                for sums in sums {
                    assert!(sums.iter().all(|&sum| sum == sums[0]), "{isa:?} {channels} {sums:?}");
                }
            }
        }
    }
}
