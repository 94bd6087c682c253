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

    /// For the input of `job`, whose rows are read twice before the next one, or straight on.
    pub(super) fn of<X>(job: &Job, twice: bool) -> Self {
        if let Some(rows) = job.fused.and_then(|fused| fused.sums_at_once(job)) {
            // These are in the caches; those are asked for that are made next.
            Self::by(rows * job.x.stride)
        } else if twice {
            Self::twice::<X>(job)
        } else {
            Self::straight::<X>(job.x.stride, job.channels)
        }
    }

    /// For what is fetched `elements` elements before it is read.
    fn by(elements: usize) -> Self {
        Self { elements, first_level: false }
    }

    /// For rows of `channels` channels, `stride` apart, that are read straight on.
    pub(super) fn straight<X>(stride: usize, channels: usize) -> Self {
        let bytes = channels * size_of::<X>();
        Self::by(if stride == channels || bytes > Self::STRAIGHT {
            Self::STRAIGHT / size_of::<X>()
        } else {
            (Self::STRAIGHT / bytes).max(1) * stride
        })
    }

    /// For the rows of `job`, each of which is read twice before the next one.
    fn twice<X>(job: &Job) -> Self {
        let bytes = job.channels * size_of::<X>();
        if bytes < Self::LONG {
            Self { elements: job.x.stride, first_level: true }
        } else {
            Self::by((Self::ROWS / bytes).max(1) * job.x.stride)
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
