//! What is fetched from memory before it is read.

use super::cache::LINE;
use super::job::{Job, Operand, Places};
use super::pipeline::UNROLL;
use super::processor::is_intel;
use super::simd::{Simd, pause};

/// Bytes of a page, the smallest there are.
const PAGE: usize = 4096;

/// Elements of type `T` in a page.
pub(super) const fn page<T>() -> usize {
    PAGE / size_of::<T>()
}

/// Has the processor look up where pages lie before they are reached: the next one of `y`, if that is
/// written past the caches, and one of `x`, if that comes from memory. Called once for each page.
///
/// Where a page lies has to be looked up in memory, too, and the processor's own fetching ahead ends with
/// a page. A kernel is so many instructions that it does not come to the next one in time by itself.
#[inline(always)]
pub(super) fn look_up<S: Simd, X, Y>(s: S, x: Option<*const X>, y: Option<*mut Y>) {
    // Only what fetches something looks up; so it is the page's first line, each time.
    if let Some(y) = y {
        s.prefetch_write(page_behind(y, PAGE));
    }
    if let Some(x) = x {
        s.prefetch(page_behind(x, PAGES * PAGE), true);
    }
}

/// Whether that makes it faster.
pub(super) fn looks_up() -> bool {
    !is_intel()
}

/// Pages from what is read to what is looked up.
const PAGES: usize = 3;

/// The begin of the page that lies `bytes` bytes behind `p`.
#[inline(always)]
fn page_behind<T>(p: *const T, bytes: usize) -> *const u8 {
    p.cast::<u8>().wrapping_byte_add(bytes).map_addr(|a| a & !(PAGE - 1))
}

/// In which order rows are read and written.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Order {
    /// Each element is written as it is read.
    Straight,
    /// A row is read, and then written.
    InTurns,
    /// A row is read while another is written.
    Leading,
}

/// What is fetched while something else is in work.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    /// Elements from what is read to what is fetched into the first level of the caches; 0 if nothing is.
    first: usize,
    /// The same into the second level.
    second: usize,
    /// Whether to [`pace`](Self::pace).
    paced: bool,
    /// Whether to [look up](look_up) pages.
    pub(super) looks_up: bool,
}

/// Whether all elements have four bytes. So few instructions are done for as many bytes then that rows which are read
/// before they are written may be better [paced](Ahead::pace): between rows that are only read, what is fetched and
/// streamed would come in bursts, which memory does not follow.
pub(super) const fn of_four_bytes<X, Y>() -> bool {
    size_of::<X>() == 4 && size_of::<Y>() == 4
}

/// How far ahead of itself what is read is fetched into the second level, in bytes; a row ahead, if that is
/// more and rows take turns.
const FAR: usize = 12 << 10;
/// The same into the first level, instead.
const NEAR: usize = 5632;
/// Bytes of a row from which on the second level is better, if it is read straight on, leads, or takes turns.
const LONG: usize = 1 << 10;
const LONG_LEADING: usize = 512;
const LONG_IN_TURNS: usize = 4 << 10;
/// The same of a row that takes turns and the operands together, which the first level has to hold.
const MOST_IN_TURNS: usize = 12 << 10;

/// How far ahead what is in the second level by then is fetched from there into the first, on processors of Intel.
const INTEL_NEAR: usize = 1 << 10;
/// Bytes of a row up to which, if rows take turns, the next one is fetched there while one is written; and how far beyond
/// that it is fetched into the second level then. With elements of two bytes it is slower, and more so into one.
const INTEL_MOST_NEAR: usize = 16 << 10;
const INTEL_BEYOND: usize = 4 << 10;

impl Ahead {
    /// Nothing is.
    pub(super) const NONE: Self = Self { first: 0, second: 0, paced: false, looks_up: false };

    /// For the input of `job`, whose rows are worked on in that order.
    pub(super) fn of<X, Y>(job: &Job, order: Order) -> Self {
        if let Some(rows) = job.fused.and_then(|fused| fused.sums_at_once(job)) {
            // These are in the caches; those are asked for that are made next.
            return Self { second: rows * job.x.stride, looks_up: looks_up(), ..Self::NONE };
        }
        let row = job.channels * size_of::<X>();
        let distance = |bytes| distance::<X>(bytes, &job.x, job.channels);
        if is_intel() {
            let (near, far) = match order {
                Order::Straight | Order::Leading => (Some(INTEL_NEAR), FAR),
                Order::InTurns if of_four_bytes::<X, Y>() && row <= INTEL_MOST_NEAR => {
                    (Some(row), FAR.max(row + INTEL_BEYOND))
                }
                Order::InTurns => (None, FAR.max(row)),
            };
            return Self { first: near.map_or(0, distance), second: distance(far), ..Self::NONE };
        }
        let operand = |o: Operand| o.element.size() * job.channels;
        let operands = job.weight.map_or(0, operand) + job.bias.map_or(0, operand);
        let first_level = match order {
            Order::Straight => row < LONG,
            Order::InTurns => row < LONG_IN_TURNS && operands + row <= MOST_IN_TURNS,
            Order::Leading => row < LONG_LEADING,
        };
        if first_level {
            return Self { first: distance(NEAR), looks_up: true, ..Self::NONE };
        }
        let far = if order == Order::InTurns { FAR.max(row) } else { FAR };
        let paced = of_four_bytes::<X, Y>() && order != Order::Straight;
        Self { second: distance(far), paced, looks_up: true, ..Self::NONE }
    }

    /// For rows of `channels` channels that are read straight on.
    pub(super) fn straight<X>(places: &Places, channels: usize) -> Self {
        let distance = |bytes| distance::<X>(bytes, places, channels);
        let first = if is_intel() { distance(INTEL_NEAR) } else { 0 };
        Self { first, second: distance(FAR), paced: false, looks_up: looks_up() }
    }

    /// For a copy of f32.
    pub(super) fn for_copy() -> Self {
        if is_intel() {
            let elements = |bytes| bytes / size_of::<f32>();
            return Self { first: elements(INTEL_NEAR), second: elements(FAR), ..Self::NONE };
        }
        Self { paced: true, looks_up: true, ..Self::NONE }
    }

    /// Fetches for as many elements as are written at once, of what is read from `x` on.
    #[inline(always)]
    pub(super) fn fetch<S: Simd, X>(self, s: S, x: *const X) {
        if self.second > 0 {
            fetch_block(s, x.wrapping_add(self.second), false);
        }
        if self.first > 0 {
            fetch_block(s, x.wrapping_add(self.first), true);
        }
    }

    /// Waits a little after fetching, where that pays.
    #[inline(always)]
    pub(super) fn pace(self) {
        if self.paced {
            pause();
        }
    }
}

/// Elements of type `X` from what is read to what is `bytes` bytes ahead, or that many rows or groups of them, if
/// there are gaps between those.
fn distance<X>(bytes: usize, places: &Places, channels: usize) -> usize {
    let (stride, run) = places.runs(channels);
    let run_bytes = run * size_of::<X>();
    if stride == run || run_bytes > 2 * bytes {
        bytes / size_of::<X>()
    } else {
        (bytes / run_bytes).max(1) * stride
    }
}

/// Fetches as many elements as are written at once, from `x` on.
#[inline(always)]
fn fetch_block<S: Simd, X>(s: S, x: *const X, first_level: bool) {
    for line in 0..(UNROLL * S::LANES * size_of::<X>()).div_ceil(LINE) {
        s.prefetch(x.cast::<u8>().wrapping_add(line * LINE), first_level);
    }
}
