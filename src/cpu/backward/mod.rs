//! Gradients: kernels over groups of rows, each with sums of its own, which are added up in the order of the groups.

mod add_up;
mod elementwise;
mod function;
mod job;
mod kernel;
mod rows;

pub(crate) use add_up::{Gradients, add_up};
pub(crate) use job::{BackwardJob, Wanted, Weight};

use job::groups;

use super::dispatch::{enter, enter_without_bf16, with_function};
use super::{derf::Derf, dyisru::DyIsru, dyt::DyT, layer_norm::LayerNorm, rms_norm::RmsNorm};
use crate::{ElementType, Norm};
use function::Differentiable;
use half::{bf16, f16};
use kernel::Group;

/// Does one group of rows on the calling thread.
///
/// # Safety
/// `job` must keep [`BackwardJob`]'s promises and have such a group, which no other thread works on.
unsafe fn run_group(norm: Norm, job: &BackwardJob, group: usize) {
    // SAFETY: the same contract.
    unsafe {
        with_function!(norm, function => run_function(function, job, group));
    }
}

/// # Safety
/// As [`run_group`].
unsafe fn run_function<F: Differentiable>(function: F, job: &BackwardJob, group: usize) {
    // SAFETY: the same contract, and the types are the job's.
    unsafe {
        match job.element {
            ElementType::F32 => {
                enter_without_bf16(job.isa, Group::<F, f32>::new(function, job, group));
            }
            ElementType::F16 => {
                enter_without_bf16(job.isa, Group::<F, f16>::new(function, job, group));
            }
            ElementType::Bf16 => {
                enter(job.isa, Group::<F, bf16>::new(function, job, group));
            }
        }
    }
}

/// Does all groups on the calling thread.
///
/// # Safety
/// `job` must keep [`BackwardJob`]'s promises.
pub(crate) unsafe fn run_backward(norm: Norm, job: &BackwardJob) {
    for group in 0..groups(job.rows) {
        // SAFETY: the same contract.
        unsafe { run_group(norm, job, group) };
    }
}

/// Does all groups on the threads of rayon's current pool.
///
/// # Safety
/// As [`run_backward`].
#[cfg(feature = "rayon")]
pub(crate) unsafe fn run_backward_parallel(norm: Norm, job: &BackwardJob) {
    use super::threads::Shared;
    use rayon::prelude::*;

    // SAFETY: the addresses in it come from borrows that outlive the call, and no two threads do one group.
    let shared = unsafe { Shared::new(*job) };
    (0..groups(job.rows)).into_par_iter().for_each(|group| {
        // SAFETY: the same contract; each group is given once.
        unsafe { run_group(norm, shared.get(), group) }
    });
}
