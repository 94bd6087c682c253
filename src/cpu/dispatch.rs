//! From values to types: the list of what is compiled, but for the kernels of [short calls](super::short). Every
//! function × input type × output type × instruction set is an instance, but for those that `stores_at_once` names;
//! weight and bias types are told apart inside.

use super::affine::{Affine, General, Plain};
use super::finish::Fence;
use super::function::Function;
use super::fused::Fused;
use super::isa::Isa;
use super::job::{Job, Stored};
use super::known::Known;
use super::operands::with_wide_operands;
use super::piece::{Form, Scale};
use super::pipeline::{Run, is_usual};
use super::simd::element::{Output, Rough, Storage};
use super::simd::{Kernel, portable};
#[cfg(target_arch = "x86_64")]
use super::simd::{avx2, avx512};
use super::{derf::Derf, dyisru::DyIsru, dyt::DyT, layer_norm::LayerNorm, rms_norm::RmsNorm};
use crate::{ElementType, F8E4M3 as F8, Norm, QuantizedType, RowStatistics};
use half::{bf16, f16};

/// `$body` with `$function` the function that `$norm` names: the one list of them.
macro_rules! with_function {
    ($norm:expr, $function:ident => $body:expr) => {
        match $norm {
            Norm::RmsNorm { eps } => {
                let $function = RmsNorm { eps };
                $body
            }
            Norm::LayerNorm { eps } => {
                let $function = LayerNorm { eps };
                $body
            }
            Norm::DyT { alpha } => {
                let $function = DyT { alpha };
                $body
            }
            Norm::DyIsru { beta, scale } => {
                let $function = DyIsru { beta, scale };
                $body
            }
            Norm::Derf { alpha, shift } => {
                let $function = Derf { alpha, shift };
                $body
            }
        }
    };
}
pub(super) use with_function;

/// Does a piece of work on the calling thread.
///
/// # Safety
/// `job` must keep [`Job`]'s promises.
#[inline]
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
                _ => with_function!(norm, function => run_function(function, job)),
            }
        }
    };
    // SAFETY: the same contract.
    unsafe {
        with_wide_operands(norm, job, |job| match job.fused {
            None => run(job),
            Some(fused) => fused.run(norm, job, run),
        });
        if job.stream || job.fused.is_some_and(Fused::streams) {
            enter(job.isa, Fence);
        }
    }
}

/// Whether the function itself stores results of this form, of inputs of this type.
///
/// * [Lean](Isa::is_lean) instruction sets have it store f32 and nothing else.
/// * From one type of 16 bits to the other it does not: hardly anyone wants that, and everyone would wait for two in
///   nine of the kernels to be compiled.
/// * The element-wise ones do not in fp8: their constants and those of the rounding do not fit into the registers
///   together, and f32 that are quantised after took less time (`cargo bench --bench fused` of either, in L2 on a
///   Zen 4, when both were of all digits).
/// * Nor do they where the scale is computed: to compute their results twice takes longer than to keep them as f32
///   meanwhile. Nor does any where scales of groups are.
pub(crate) fn stores_at_once(isa: Isa, norm: Norm, x: ElementType, form: Form) -> bool {
    match form {
        Form::Element(ElementType::F32) => true,
        _ if isa.is_lean() => false,
        Form::Element(element) => x == element || x.size() != 2 || element.size() != 2,
        Form::Grouped(..) => false,
        Form::Quantized(element, scale) => {
            let computed = matches!(scale, Scale::Computed(_));
            !norm.is_elementwise() || (element != QuantizedType::F8E4M3 && !computed)
        }
    }
}

/// # Safety
/// As [`run`].
unsafe fn run_function<F: Function>(function: F, job: &Job) {
    use ElementType::{Bf16, F16, F32};
    use QuantizedType::{F8E4M3, I8};
    macro_rules! with {
        ($x:ty, $y:ty) => {
            // SAFETY: the same contract, and the types are the job's.
            unsafe { run_typed::<F, $x, $y>(function, job) }
        };
    }
    match (job.x_element, job.stored) {
        (F32, Stored::Element(F32)) => with!(f32, f32),
        (F32, Stored::Element(F16)) => with!(f32, f16),
        (F32, Stored::Element(Bf16)) => with!(f32, bf16),
        (F32, Stored::Quantized(I8, _)) => with!(f32, i8),
        (F32, Stored::Quantized(F8E4M3, _)) if F::READS_ROW => with!(f32, F8),
        (F16, Stored::Element(F32)) => with!(f16, f32),
        (F16, Stored::Element(F16)) => with!(f16, f16),
        (F16, Stored::Quantized(I8, _)) => with!(f16, i8),
        (F16, Stored::Quantized(F8E4M3, _)) if F::READS_ROW => with!(f16, F8),
        (Bf16, Stored::Element(F32)) => with!(bf16, f32),
        (Bf16, Stored::Element(Bf16)) => with!(bf16, bf16),
        (Bf16, Stored::Quantized(I8, _)) => with!(bf16, i8),
        (Bf16, Stored::Quantized(F8E4M3, _)) if F::READS_ROW => with!(bf16, F8),
        (F32, Stored::Rough) if !F::READS_ROW => with!(f32, Rough),
        (F16, Stored::Rough) if !F::READS_ROW => with!(f16, Rough),
        (Bf16, Stored::Rough) if !F::READS_ROW => with!(bf16, Rough),
        (_, Stored::Rough) => unreachable!("rough results of a row function"),
        // See `stores_at_once`, which whoever makes a job asks.
        (F16, Stored::Element(Bf16)) | (Bf16, Stored::Element(F16)) => {
            unreachable!("of one type of 16 bits to the other")
        }
        (_, Stored::Quantized(F8E4M3, _)) => unreachable!("fp8 of an element-wise function"),
    }
}

/// Into f32 only: what knows the rows beforehand has an output behind it.
///
/// # Safety
/// As [`run`]; the job's output must be f32.
unsafe fn run_known<F: Function<Found = RowStatistics>>(function: F, job: &Job) {
    debug_assert_eq!(job.stored, Stored::Element(ElementType::F32));
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
unsafe fn run_typed<F: Function, X: Storage, Y: Output>(function: F, job: &Job) {
    // SAFETY: the same contract.
    unsafe {
        match Plain::of(job) {
            Some(plain) => run_affine::<_, _, X, Y>(function, plain, job),
            None => run_affine::<_, _, X, Y>(function, General::of(job), job),
        }
    }
}

/// # Safety
/// As [`run_typed`]; `affine` must be the job's.
unsafe fn run_affine<F: Function, A: Affine, X: Storage, Y: Output>(
    function: F,
    affine: A,
    job: &Job,
) {
    // SAFETY: the same contract; what has an instruction set has the lesser ones.
    unsafe {
        let memory = job.stream || job.fetch || job.makes_sums || !is_usual::<A, X, Y>();
        if memory && job.isa != Isa::Portable {
            enter_for::<F, X, Y, _>(job.isa, Run::<F, A, X, Y, true>::new(function, affine, job));
        } else {
            enter_for::<F, X, Y, _>(job.isa, Run::<F, A, X, Y, false>::new(function, affine, job));
        }
    }
}

/// Runs `kernel`, that of `F` from `X` to `Y`, compiled for `isa`. AVX512-BF16 brings nothing but a
/// conversion and sums over rows: kernels that use neither are not compiled for it.
///
/// # Safety
/// The processor must have `isa`.
pub(super) unsafe fn enter_for<F: Function, X: Storage, Y: Output, K: Kernel>(
    isa: Isa,
    kernel: K,
) -> K::Output {
    let uses_bf16 = const { Y::IS_BF16 || (F::READS_ROW && X::IS_BF16) };
    // SAFETY: the same contract.
    unsafe { if uses_bf16 { enter(isa, kernel) } else { enter_without_bf16(isa, kernel) } }
}

/// As [`enter`], for kernels to which AVX512-BF16 makes no difference.
///
/// # Safety
/// As that.
pub(super) unsafe fn enter_without_bf16<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    match isa {
        Isa::Portable => portable::enter(kernel),
        // SAFETY: the caller vouches for the processor; `Isa::is_available` tests the features
        // that these functions are compiled with.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2::enter(kernel) },
        // SAFETY: as above; the second has what the first has.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Avx512Bf16 => unsafe { avx512::enter(kernel) },
        // No other architecture has these, so the contract rules them out.
        #[cfg(not(target_arch = "x86_64"))]
        _ => portable::enter(kernel),
    }
}

/// Runs `kernel` compiled for `isa`.
///
/// # Safety
/// The processor must have `isa`.
pub(crate) unsafe fn enter<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    match isa {
        // SAFETY: the caller vouches for the processor; `Isa::is_available` tests the features
        // that this function is compiled with.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Bf16 => unsafe { avx512::enter_bf16(kernel) },
        // SAFETY: the same contract.
        _ => unsafe { enter_without_bf16(isa, kernel) },
    }
}
