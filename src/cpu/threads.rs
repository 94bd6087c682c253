//! Who does the work: the calling thread, rayon's, or the host's own.

use super::cache::cache_sizes;
use super::dispatch;
use super::fused::Fused;
use super::job::{Job, Stored};
use super::operands::become_plain;
use super::processor::is_intel;
use super::seam::shares_blocks;
use super::split::for_part;
use crate::Norm;

/// Whether `job`, with an output of elements of `size` bytes and worked on by so many threads, is more than the
/// caches keep until it is used again: then its input is better fetched ahead.
#[inline]
pub(crate) fn is_large(job: &Job, size: usize, threads: usize) -> bool {
    let output = if job.x.data == job.y.data { 0 } else { size };
    exceeds_caches(job.rows * job.channels * (job.x_element.size() + output), threads)
}

/// Whether so many bytes that so many threads work on are more than the caches keep until they are used again.
#[inline]
pub(crate) fn exceeds_caches(bytes: usize, threads: usize) -> bool {
    let last_level = cache_sizes().last_level();
    last_level > 0 && bytes > kept(last_level, is_intel(), threads)
}

/// Bytes that a last level of so many keeps for so many threads: half of it, since others use it, too. Of Intel's, which
/// is the one of all cores, that is not more than [`INTEL_KEPT`] for each thread.
fn kept(last_level: usize, intel: bool, threads: usize) -> usize {
    let most = if intel { INTEL_KEPT.saturating_mul(threads) } else { usize::MAX };
    most.min(last_level / 2)
}

/// `cargo bench --bench stream` on an Emerald Rapids with 260 MiB of last level, rows of 768 channels in f32, plain time
/// over streamed time for an output of 4, 8, 16 and 32 MiB of as much input: 1.3, 1.5, 1.8, 2.5 (RMSNorm), 1.1, 1.2, 1.2,
/// 1.7 (DyT). It is less for whoever reads the output next, who finds it in the last level or does not.
const INTEL_KEPT: usize = 12 << 20;

/// Whether the output of a [large](is_large) `job`, elements of `size` bytes, is better written past the
/// caches: if its rows begin at cache lines, share blocks or are long. The lines at either end of a row
/// are otherwise read from memory first, and the streamed stores wait for them.
///
/// `cargo bench --bench stream` on a Zen 4 whose 32 MiB of last level are shared, rows of 768 channels in f32,
/// plain time over streamed time, from an output of 16 MiB on: 1.4 to 2.1 (RMSNorm, LayerNorm), 1.3 to 1.7
/// (DyISRU), 0.8 to 1.3 (DyT, Derf), whether rows begin at cache lines or 16 bytes behind.
pub(crate) fn stream_pays(norm: Norm, job: &Job, size: usize) -> bool {
    let job = if is_elementwise(norm, job) { job.flattened() } else { *job };
    job.y.begins_at_lines(size)
        || job.channels * size >= LONG_ROW
        || (shares_blocks(&job) && will_be_usual(norm, &job))
}

/// Whether `job` comes down to what has blocks that rows share.
fn will_be_usual(norm: Norm, job: &Job) -> bool {
    job.stored == Stored::Element(job.x_element)
        && become_plain(norm, job)
        && !job.fused.is_some_and(Fused::has_output)
}

/// Bytes of a row of output from which on its ends do not matter.
const LONG_ROW: usize = 4096;

/// Whether nothing depends on rows.
fn is_elementwise(norm: Norm, job: &Job) -> bool {
    norm.is_elementwise() && !job.fused.is_some_and(Fused::needs_rows)
}

/// Does all of `job` on the calling thread.
///
/// # Safety
/// `job` must keep [`Job`]'s promises.
#[inline]
pub(crate) unsafe fn run_serial(norm: Norm, job: &Job) {
    // SAFETY: the same contract.
    unsafe {
        // Not a copy that nothing comes of, which short calls notice.
        if is_elementwise(norm, job) && job.is_flat() {
            dispatch::run(norm, &job.flattened());
        } else {
            dispatch::run(norm, job);
        }
    }
}

/// Does part `index` of `count` of `job` on the calling thread.
///
/// # Safety
/// As [`run_serial`]; no other thread may do the same part at the same time.
pub(crate) unsafe fn run_part(norm: Norm, job: &Job, index: usize, count: usize) {
    let elementwise = is_elementwise(norm, job);
    let job = if elementwise { job.flattened() } else { *job };
    for_part(&job, elementwise, index, count, |piece| {
        // SAFETY: the same contract; pieces of different parts do not overlap.
        unsafe { dispatch::run(norm, piece) }
    });
}

/// Elements below which rayon is not woken. `cargo bench --bench threads` on two cores of a Zen 4,
/// serial time over parallel time: 0.4 to 0.7 at 131,072, 0.65 to 1.0 at 524,288, 0.7 to 1.5 at
/// 1,048,576, 1.1 to 1.5 at 2,097,152.
#[cfg(feature = "rayon")]
const SERIAL_BELOW: usize = 1 << 20;

/// How many threads are worth waking for so many elements: all of rayon's current pool, or only the calling one.
#[cfg(feature = "rayon")]
#[inline]
pub(crate) fn useful_threads(elements: usize) -> usize {
    // The size first: to ask rayon for its threads is to start them.
    if elements < SERIAL_BELOW { 1 } else { rayon::current_num_threads() }
}

/// Does all of `job` on `count` threads of rayon's current pool.
///
/// # Safety
/// As [`run_serial`].
#[cfg(feature = "rayon")]
pub(crate) unsafe fn run_parallel(norm: Norm, job: &Job, count: usize) {
    use rayon::prelude::*;

    // SAFETY: the addresses in it come from borrows that outlive the call, and parts do not overlap.
    let shared = unsafe { Shared::new(*job) };
    (0..count).into_par_iter().with_max_len(1).for_each(|index| {
        // SAFETY: the same contract; each index is given once.
        unsafe { run_part(norm, shared.get(), index, count) }
    });
}

/// A job that several threads work on, each on parts of its own.
#[cfg(feature = "rayon")]
pub(super) struct Shared<T>(T);

// SAFETY: who makes one vouches for it.
#[cfg(feature = "rayon")]
unsafe impl<T> Sync for Shared<T> {}

#[cfg(feature = "rayon")]
impl<T> Shared<T> {
    /// # Safety
    /// What `job` has the addresses of must outlive it, and no two threads may write to the same.
    pub(super) unsafe fn new(job: T) -> Self {
        Self(job)
    }

    pub(super) fn get(&self) -> &T {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_last_level_is_kept_and_less_where_all_cores_share_it() {
        let mib = |n: usize| n << 20;
        assert_eq!(kept(mib(32), false, 1), mib(16));
        assert_eq!(kept(mib(260), false, 1), mib(130));
        assert_eq!(kept(mib(20), true, 1), mib(10));
        assert_eq!(kept(mib(260), true, 1), mib(12));
        assert_eq!(kept(mib(260), true, 2), mib(24));
        assert_eq!(kept(mib(260), true, usize::MAX), mib(130));
    }
}
