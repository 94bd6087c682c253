//! The kernels of short calls, and the table in which they are found, with the choice of instructions beside it.

use super::affine::{Adjusted, OfType};
use super::{Named, ShortRows};
use crate::cpu::ahead::Ahead;
use crate::cpu::function::{Begun, Function};
use crate::cpu::isa::Isa;
use crate::cpu::job::{Job, Places, Stored};
use crate::cpu::pipeline::{Work, write_row};
use crate::cpu::residual::Add;
use crate::cpu::results::Results;
use crate::cpu::simd::element::Storage;
use crate::cpu::simd::{Kernel, ShortKernel, Simd, portable};
#[cfg(target_arch = "x86_64")]
use crate::cpu::simd::{avx2, avx512};
use crate::cpu::{derf::Derf, dyisru::DyIsru, dyt::DyT, layer_norm::LayerNorm, rms_norm::RmsNorm};
use crate::tensor::Layout;
use crate::{Element, ElementType, Norm};
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};
use half::{bf16, f16};

/// A kernel with its instruction set.
///
/// # Safety
/// It must be given rows of its type and parameters of its function, as [`ShortCall::run`](super::ShortCall::run) says.
pub(super) type Entry = unsafe fn(&ShortRows);

/// What a short call looks at beside its arguments: on one page, though that puts the addresses into memory that can be
/// written.
#[repr(align(1024))]
struct Choices {
    /// The instruction set of calls that name none, or [`UNSET`] before the first one.
    isa: AtomicU8,
    /// By function.
    kernels: [OfTypes; Norm::DEFAULTS.len()],
}

/// Kernels by the type of the rows, and whether weight and bias are of that type and not of f32.
type OfTypes = [[OfIsas; 2]; ElementType::ALL.len()];

/// By instruction set, if it is compiled.
type OfIsas = [Option<Entry>; Isa::ALL.len()];

const UNSET: u8 = u8::MAX;

/// The kernel of function `kind` for rows of `element` with operands of `weight`, which is the same or f32, on `isa` or
/// what has been chosen, if it is compiled and one has.
#[inline(always)]
pub(super) fn kernel(
    kind: usize,
    element: ElementType,
    weight: ElementType,
    isa: Option<Isa>,
) -> Option<Entry> {
    let isa = isa.map_or_else(|| CHOICES.isa.load(Relaxed), |isa| isa as u8);
    let narrow = usize::from(weight != ElementType::F32);
    CHOICES.kernels[kind][element as usize][narrow].get(usize::from(isa)).copied()?
}

/// Where the choice of instructions is, near the addresses of the kernels.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn choices() -> *const u8 {
    CHOICES.isa.as_ptr().cast_const()
}

/// The instruction set of calls that name none, if it has been chosen.
#[inline]
pub(in crate::cpu) fn chosen_isa() -> Option<Isa> {
    Isa::ALL.get(usize::from(CHOICES.isa.load(Relaxed))).copied()
}

/// Chooses it, which the processor must have.
pub(in crate::cpu) fn choose_isa(isa: Isa) {
    CHOICES.isa.store(isa as u8, Relaxed);
}

/// Chooses it, which the processor must have, unless one has been chosen.
pub(in crate::cpu) fn choose_first_isa(isa: Isa) {
    let _ = CHOICES.isa.compare_exchange(UNSET, isa as u8, Relaxed, Relaxed);
}

// The order in which `of_function` and `of_types` give the kernels, and that they are on one page.
const _: () = {
    assert!(ElementType::F32 as usize == 0 && ElementType::F16 as usize == 1);
    assert!(ElementType::Bf16 as usize == 2);
    assert!(Isa::Portable as usize == 0 && Isa::Avx2 as usize == 1);
    assert!(Isa::Avx512 as usize == 2 && Isa::Avx512Bf16 as usize == 3);
    assert!(size_of::<Choices>() == align_of::<Choices>());
};

/// The kernel of a function, from and to rows of type `X`, with weight and bias of type `W`.
struct Of<F, X, W>(PhantomData<(F, X, W)>);

impl<F: FromParameters, X: Storage + Element, W: Storage> ShortKernel for Of<F, X, W> {
    #[inline(always)]
    unsafe fn run<S: Simd>(s: S, given: &ShortRows) {
        let ShortRows { parameters, rows, channels, x, y, weight, bias, residual, .. } = *given;
        let adjusted = Adjusted::new(given.weight_offset, F::scale(parameters));
        let affine = OfType::<W>::new(weight, bias, &adjusted);
        let layout = Layout::new(rows, channels, channels);
        // `write_row` takes its channels from a job; the compiler leaves nothing else of it.
        let job = Job {
            x: Places::new(x.cast(), layout),
            y: Places::new(y, layout),
            x_element: X::TYPE,
            stored: Stored::Element(X::TYPE),
            isa: Isa::Portable,
            rows,
            channels,
            weight: None,
            bias: None,
            weight_offset: 0.0,
            scale: 1.0,
            stream: false,
            fetch: false,
            makes_sums: false,
            statistics: None,
            fused: None,
            first: (0, 0),
        };
        let work = Work::<_, false> { job: &job, affine, around: None, ahead: Ahead::NONE };
        let prepared = F::from_parameters(parameters).prepare(s, channels);
        for index in 0..rows {
            let row = |data: NonNull<u8>| {
                // SAFETY: the same contract.
                unsafe { data.cast::<X>().add(index * channels) }
            };
            let mut x = row(x);
            if let Some([residual, sum]) = residual {
                // SAFETY: the same contract.
                unsafe { Add::dense(x, row(residual), row(sum), channels) }.run(s);
                x = row(sum);
            }
            let (x, y) = (x.as_ptr().cast_const(), row(y).as_ptr());
            // SAFETY: the same contract.
            unsafe {
                let begun = Begun::new(index, x, channels);
                let found = F::find(prepared, s, F::begin(s), begun, &mut ());
                let row = F::row(prepared, s, found);
                let results = Results { row, factor: s.splat(1.0) };
                write_row(s, &results, &work, &mut (), (0, 0), false, x, y);
            }
        }
    }
}

trait FromParameters: Function {
    fn from_parameters(parameters: [f32; 2]) -> Self;
    /// What the function is multiplied with beside the weight.
    fn scale(parameters: [f32; 2]) -> f32;
}

macro_rules! functions {
    ($($name:ident { $($field:ident),* }),*) => {
        /// The functions by name.
        pub(crate) enum Kind {
            $($name),*
        }

        impl From<Norm> for Named {
            #[inline(always)]
            fn from(norm: Norm) -> Self {
                match norm {
                    $(Norm::$name { $($field),* } => {
                        Self { kind: Kind::$name as usize, parameters: padded([$($field),*]) }
                    })*
                }
            }
        }

        $(impl FromParameters for $name {
            #[inline(always)]
            fn from_parameters([$($field,)* ..]: [f32; 2]) -> Self {
                Self { $($field),* }
            }

            #[inline(always)]
            fn scale([$($field,)* ..]: [f32; 2]) -> f32 {
                Norm::$name { $($field),* }.scale()
            }
        })*

        static CHOICES: Choices = Choices {
            isa: AtomicU8::new(UNSET),
            kernels: [$(of_function::<$name>()),*],
        };
    };
}
functions!(
    RmsNorm { eps },
    LayerNorm { eps },
    DyT { alpha },
    DyIsru { beta, scale },
    Derf { alpha, shift }
);

/// With 0 for a second one that there is not.
#[inline(always)]
fn padded<const N: usize>(given: [f32; N]) -> [f32; 2] {
    let mut parameters = [0.0; 2];
    parameters[..N].copy_from_slice(&given);
    parameters
}

const fn of_function<F: FromParameters>() -> OfTypes {
    [
        [of_types::<F, f32, f32>(), [None; Isa::ALL.len()]],
        [of_types::<F, f16, f32>(), of_types::<F, f16, f16>()],
        [of_types::<F, bf16, f32>(), of_types::<F, bf16, bf16>()],
    ]
}

#[cfg(target_arch = "x86_64")]
const fn of_types<F: FromParameters, X: Storage + Element, W: Storage>() -> OfIsas {
    let portable: Option<Entry> = if Isa::Portable.is_lean() && size_of::<X>() != 4 {
        None
    } else {
        Some(portable::enter_short::<Of<F, X, W>>)
    };
    // AVX512-BF16 makes no difference to others, see `enter_for`.
    let with_bf16: Entry = if X::IS_BF16 {
        avx512::enter_short_bf16::<Of<F, X, W>>
    } else {
        avx512::enter_short::<Of<F, X, W>>
    };
    [
        portable,
        Some(avx2::enter_short::<Of<F, X, W>>),
        Some(avx512::enter_short::<Of<F, X, W>>),
        Some(with_bf16),
    ]
}

#[cfg(not(target_arch = "x86_64"))]
const fn of_types<F: FromParameters, X: Storage + Element, W: Storage>() -> OfIsas {
    [Some(portable::enter_short::<Of<F, X, W>>); Isa::ALL.len()]
}
