//! What is fetched from memory before it is read.

use super::cache::LINE;
use super::job::{Job, Operand, Places};
use super::pipeline::UNROLL;
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
    /// Elements from what is read to what is fetched.
    elements: usize,
    /// Whether it is fetched into the first level of the caches, not only into the second.
    first_level: bool,
    /// Whether to [`pace`](Self::pace).
    paced: bool,
}

/// Whether rows that are read before they are written may be better [paced](Ahead::pace): so few
/// instructions are done for elements of four bytes that between rows that are only read, what is fetched
/// and streamed would come in bursts, which memory does not follow.
pub(super) const fn is_paced<X, Y>() -> bool {
    size_of::<X>() == 4 && size_of::<Y>() == 4
}

impl Ahead {
    /// How far ahead of itself what is read is fetched into the second level, in bytes; a row ahead, if that is
    /// more and rows take turns.
    const FAR: usize = 12 << 10;
    /// The same into the first level.
    const NEAR: usize = 5632;
    /// Bytes of a row from which on the second level is better, if it is read straight on, leads, or takes turns.
    const LONG: usize = 1 << 10;
    const LONG_LEADING: usize = 512;
    const LONG_IN_TURNS: usize = 4 << 10;
    /// The same of a row that takes turns and the operands together, which the first level has to hold.
    const MOST_IN_TURNS: usize = 12 << 10;

    /// Nothing is.
    pub(super) const NONE: Self = Self { elements: 0, first_level: false, paced: false };

    /// For the input of `job`, whose rows are worked on in that order.
    pub(super) fn of<X, Y>(job: &Job, order: Order) -> Self {
        if let Some(rows) = job.fused.and_then(|fused| fused.sums_at_once(job)) {
            // These are in the caches; those are asked for that are made next.
            return Self { elements: rows * job.x.stride, first_level: false, paced: false };
        }
        let row = job.channels * size_of::<X>();
        let operand = |o: Operand| o.element.size() * job.channels;
        let operands = job.weight.map_or(0, operand) + job.bias.map_or(0, operand);
        let first_level = match order {
            Order::Straight => row < Self::LONG,
            Order::InTurns => row < Self::LONG_IN_TURNS && operands + row <= Self::MOST_IN_TURNS,
            Order::Leading => row < Self::LONG_LEADING,
        };
        let bytes = match order {
            _ if first_level => Self::NEAR,
            Order::InTurns => Self::FAR.max(row),
            _ => Self::FAR,
        };
        let paced = is_paced::<X, Y>() && order != Order::Straight && !first_level;
        Self { first_level, paced, ..Self::by::<X>(bytes, &job.x, job.channels) }
    }

    /// For rows of `channels` channels that are read straight on.
    pub(super) fn straight<X>(places: &Places, channels: usize) -> Self {
        Self::by::<X>(Self::FAR, places, channels)
    }

    /// For what is fetched into the second level `bytes` bytes before it is read, or that many rows or
    /// groups of them, if there are gaps between those.
    fn by<X>(bytes: usize, places: &Places, channels: usize) -> Self {
        let (stride, run) = places.runs(channels);
        let run_bytes = run * size_of::<X>();
        let elements = if stride == run || run_bytes > 2 * bytes {
            bytes / size_of::<X>()
        } else {
            (bytes / run_bytes).max(1) * stride
        };
        Self { elements, first_level: false, paced: false }
    }

    /// Fetches for as many elements as are written at once, of what is read from `x` on.
    #[inline(always)]
    pub(super) fn fetch<S: Simd, X>(self, s: S, x: *const X) {
        let fetched = x.wrapping_add(self.elements).cast::<u8>();
        for line in 0..(UNROLL * S::LANES * size_of::<X>()).div_ceil(LINE) {
            s.prefetch(fetched.wrapping_add(line * LINE), self.first_level);
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
