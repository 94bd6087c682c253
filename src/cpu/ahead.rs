//! What is fetched from memory before it is read.

use super::cache::LINE;
use super::job::Job;
use super::pipeline::UNROLL;
use super::simd::Simd;

/// What is fetched while something else is in work.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    /// Elements from what is read to what is fetched.
    elements: usize,
    /// Whether it is fetched into the first level of the caches, not only into the second.
    first_level: bool,
}

impl Ahead {
    /// How far ahead of itself what reads straight on fetches, in bytes.
    const STRAIGHT: usize = 8 << 10;
    /// The same of what reads a row twice before the next one, if that is more than a row.
    const ROWS: usize = 16 << 10;
    /// Bytes of such a row from which on the first level has enough to do with it and the weight.
    const LONG: usize = 4096;

    /// For rows that are read straight on, or one after the other is read twice.
    pub(super) fn of<X>(job: &Job, twice: bool) -> Self {
        let bytes = job.channels * size_of::<X>();
        let rows = |ahead: usize| (ahead / bytes).max(1) * job.x.stride;
        if !twice {
            let straight = Self::STRAIGHT / size_of::<X>();
            let on = job.x.stride == job.channels || bytes > Self::STRAIGHT;
            Self { elements: if on { straight } else { rows(Self::STRAIGHT) }, first_level: false }
        } else if bytes < Self::LONG {
            Self { elements: job.x.stride, first_level: true }
        } else {
            Self { elements: rows(Self::ROWS), first_level: false }
        }
    }

    /// Fetches for as many elements as are written at once, of what is read from `x` on.
    #[inline(always)]
    pub(super) fn fetch<S: Simd, X>(self, s: S, x: *const X) {
        let fetched = x.wrapping_add(self.elements).cast::<u8>();
        for line in 0..(UNROLL * S::LANES * size_of::<X>()).div_ceil(LINE) {
            s.prefetch(fetched.wrapping_add(line * LINE), self.first_level);
        }
    }
}
