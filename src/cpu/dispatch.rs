//! From values to types: the one list of what is compiled. Every function × input type ×
//! output type × instruction set is an instance; weight and bias types are told apart inside.

use super::isa::Isa;
use super::job::Job;
use super::known::Known;
use super::operands::with_wide_operands;
use super::pipeline::{Function, RowFunction, Run};
use super::simd::element::Storage;
use super::simd::{Kernel, portable};
#[cfg(target_arch = "x86_64")]
use super::simd::{avx2, avx512};
use super::{derf::Derf, dyisru::DyIsru, dyt::DyT, layer_norm::LayerNorm, rms_norm::RmsNorm};
use crate::{ElementType, Norm};
use half::{bf16, f16};

/// Does a piece of work on the calling thread.
///
/// # Safety
/// `job` must keep [`Job`]'s promises.
pub(crate) unsafe fn run(norm: Norm, job: &Job) {
    if job.rows == 0 {
        return;
    }
    let run = |job: &Job| {
        // SAFETY: the same contract.
        unsafe {
            match norm {
                Norm::RmsNorm { eps } if job.statistics.is_some() => {
                    run_known(RmsNorm { eps }, job);
                }
                Norm::LayerNorm { eps } if job.statistics.is_some() => {
                    run_known(LayerNorm { eps }, job);
                }
                Norm::RmsNorm { eps } => run_function(RmsNorm { eps }, job),
                Norm::LayerNorm { eps } => run_function(LayerNorm { eps }, job),
                Norm::DyT { alpha } => run_function(DyT { alpha }, job),
                Norm::DyIsru { beta, .. } => run_function(DyIsru { beta }, job),
                Norm::Derf { alpha, shift } => run_function(Derf { alpha, shift }, job),
            }
        }
    };
    // SAFETY: the same contract.
    unsafe {
        with_wide_operands(job, |job| match job.fused {
            None => run(job),
            Some(fused) => fused.run(norm, job, run),
        });
    }
}

/// # Safety
/// As [`run`].
unsafe fn run_function<F: Function>(function: F, job: &Job) {
    use ElementType::{Bf16, F16, F32};
    macro_rules! with {
        ($x:ty, $y:ty) => {
            // SAFETY: the same contract, and the types are the job's.
            unsafe { run_typed::<F, $x, $y>(function, job) }
        };
    }
    match (job.x_element, job.y_element) {
        (F32, F32) => with!(f32, f32),
        (F32, F16) => with!(f32, f16),
        (F32, Bf16) => with!(f32, bf16),
        (F16, F32) => with!(f16, f32),
        (F16, F16) => with!(f16, f16),
        (F16, Bf16) => with!(f16, bf16),
        (Bf16, F32) => with!(bf16, f32),
        (Bf16, F16) => with!(bf16, f16),
        (Bf16, Bf16) => with!(bf16, bf16),
    }
}

/// Into f32 only: what knows the rows beforehand has an output behind it.
///
/// # Safety
/// As [`run`]; the job's output must be f32.
unsafe fn run_known<F: RowFunction>(function: F, job: &Job) {
    debug_assert_eq!(job.y_element, ElementType::F32);
    let Some(statistics) = job.statistics else { return };
    // SAFETY: the same contract, and the types are the job's.
    unsafe {
        let function = Known::new(function, statistics);
        match job.x_element {
            ElementType::F32 => run_typed::<_, f32, f32>(function, job),
            ElementType::F16 => run_typed::<_, f16, f32>(function, job),
            ElementType::Bf16 => run_typed::<_, bf16, f32>(function, job),
        }
    }
}

/// # Safety
/// As [`run`]; `X` and `Y` must be the job's element types.
unsafe fn run_typed<F: Function, X: Storage, Y: Storage>(function: F, job: &Job) {
    // The conversion to bfloat16 is all that the last step brings.
    let bf16 = job.y_element == ElementType::Bf16;
    let isa = if bf16 { job.isa } else { job.isa.min(Isa::Avx512) };
    // SAFETY: the same contract; what has an instruction set has the lesser ones.
    unsafe { enter(isa, Run::<F, X, Y>::new(function, job)) }
}

/// Runs `kernel` compiled for `isa`.
///
/// # Safety
/// The processor must have `isa`.
pub(crate) unsafe fn enter<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    match isa {
        Isa::Portable => portable::enter(kernel),
        // SAFETY: the caller vouches for the processor; `Isa::is_available` tests the features
        // that these functions are compiled with.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2::enter(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { avx512::enter(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Bf16 => unsafe { avx512::enter_bf16(kernel) },
        // No other architecture has these, so the contract rules them out.
        #[cfg(not(target_arch = "x86_64"))]
        _ => portable::enter(kernel),
    }
}
