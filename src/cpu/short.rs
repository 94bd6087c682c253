//! Short calls: a few rows of one type, with a weight and perhaps a bias of f32, and perhaps a residual.
//!
//! Between two norms of a model a processor goes through the weights of a layer, and when a call comes, all that it runs
//! through and looks at is in memory again: each line takes as long as a hundred additions, and the first one of a page
//! several times that. So these calls have kernels of their own, the parts of the others with nothing between them, which
//! are found by address and are given what they need in one line.

use super::affine::Plain;
use super::ahead::Ahead;
use super::function::{Begun, Function};
use super::isa::Isa;
use super::job::{Job, Operand, Places, Stored};
use super::pipeline::{Work, write_row};
use super::residual::Add;
use super::results::Results;
use super::simd::element::Storage;
use super::simd::{Kernel, ShortKernel, Simd, portable};
#[cfg(target_arch = "x86_64")]
use super::simd::{avx2, avx512};
use super::{derf::Derf, dyisru::DyIsru, dyt::DyT, layer_norm::LayerNorm, rms_norm::RmsNorm};
use crate::tensor::Layout;
use crate::{Element, ElementType, Norm};
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};
use half::{bf16, f16};

/// Channels up to which rows are short: more than models have. A few rows of as many are work for one thread.
const MOST_CHANNELS: usize = 16 << 10;
/// Rows up to which such rows are few, whatever their length.
const MOST_ROWS: usize = 3;
/// Elements up to which there may be more rows. The kernels that read a row while they write another gain more, beyond, than
/// they take longer to be found: `cargo bench --bench capi -- short`, with this limit at 1024, where 16 rows of 64
/// channels in bf16 took 0.9 of the time with them.
const MOST_ELEMENTS: usize = 512;
/// Elements up to which the host's threads do not divide a call: a piece of it would be less than a microsecond's work.
const UNDIVIDED: usize = 4096;

/// Whether `rows` rows of `channels` channels are a short call.
#[inline(always)]
pub(crate) fn are_few(rows: usize, channels: usize) -> bool {
    // In this order, so that no product is too large.
    (1..=MOST_ELEMENTS).contains(&rows)
        && (1..=MOST_CHANNELS).contains(&channels)
        && (rows <= MOST_ROWS || rows * channels <= MOST_ELEMENTS)
}

/// A function by the number of its [`Kind`] and its parameters, 0 where it has no second one: what [`Norm`] says, in a
/// form that is looked at without jumps, whose targets a processor cannot foretell before it has read a table.
pub(crate) struct Named {
    pub(crate) kind: usize,
    pub(crate) parameters: [f32; 2],
}

/// The rows of a short call, which follow one another in each tensor.
pub(crate) struct ShortCall {
    /// The number of the function's [`Kind`].
    pub(crate) kind: usize,
    pub(crate) element: ElementType,
    /// The instruction set, if the call names one.
    pub(crate) isa: Option<Isa>,
    pub(crate) rows: ShortRows,
}

/// What a kernel is given: it knows the function and the type.
pub(crate) struct ShortRows {
    /// Of the function.
    pub(crate) parameters: [f32; 2],
    pub(crate) rows: usize,
    pub(crate) channels: usize,
    pub(crate) x: NonNull<u8>,
    pub(crate) y: NonNull<u8>,
    pub(crate) weight: NonNull<f32>,
    pub(crate) bias: Option<NonNull<f32>>,
    /// What is added to `x`, and where the sum goes.
    pub(crate) residual: Option<[NonNull<u8>; 2]>,
}

impl ShortCall {
    /// Does the work, if there is a kernel for it, and returns whether it has.
    ///
    /// # Safety
    /// All tensors must be aligned and valid for the rows, which [`are_few`], weight and bias for f32 of as many channels;
    /// what is written must be where something else is read, element for element, or apart from it; and the processor must
    /// have the instruction set.
    #[inline(always)]
    pub(crate) unsafe fn run(&self) -> bool {
        // SAFETY: the same contract.
        unsafe { self.run_part(0) }
    }

    /// Does part `index` of a call that [is not divided](Self::is_undivided), if there is a kernel for it, and returns
    /// whether it has. All of the work is the first part.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    #[inline(always)]
    pub(crate) unsafe fn run_part(&self, index: usize) -> bool {
        debug_assert!(are_few(self.rows.rows, self.rows.channels));
        if !self.is_plain() {
            return false;
        }
        let Some(kernel) = CHOICES.kernel(self.kind, self.element, self.isa) else { return false };
        if index == 0 {
            // SAFETY: the same contract; it is that of the function and the type.
            unsafe { kernel(&self.rows) };
        }
        true
    }

    /// Whether the host's threads do not divide it, but leave it to the first of them. All of them must come to the same
    /// answer, so it does not depend on the instruction set, which [`set_current`](Isa::set_current) or another thread's
    /// first call may choose meanwhile. For the same reason the calls from C that are short must be so for
    /// [`Forward`](crate::Forward), too: it is where a thread turns that finds no kernel.
    #[inline(always)]
    pub(crate) fn is_undivided(&self) -> bool {
        let ShortRows { rows, channels, .. } = self.rows;
        ((rows == 1) & self.is_of_row()) | (rows * channels <= UNDIVIDED)
    }

    /// Whether [`Norm::check`] finds nothing, and there is no scale.
    #[inline(always)]
    fn is_plain(&self) -> bool {
        let [first, second] = self.rows.parameters;
        let isru = self.kind == Kind::DyIsru as usize;
        let in_range = (!self.is_of_row() | (first >= 0.0)) & (!isru | (first > 0.0));
        // Not as floats: their constants are on a page of their own.
        let scaled = isru & (second.to_bits() != 1.0_f32.to_bits());
        first.is_finite() & second.is_finite() & in_range & !scaled
    }

    /// Whether the function reads rows.
    #[inline(always)]
    fn is_of_row(&self) -> bool {
        (self.kind == Kind::RmsNorm as usize) | (self.kind == Kind::LayerNorm as usize)
    }
}

/// Prefetches what a short call will read, while its code comes from memory, too. What is at the addresses does not matter,
/// nor whether there is anything.
#[inline(always)]
pub(crate) fn prefetch<const N: usize>(addresses: [*const u8; N]) {
    #[cfg(target_arch = "x86_64")]
    for address in addresses.into_iter().chain([(&raw const CHOICES.isa).cast()]) {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: SSE is part of the architecture, and no address is followed.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = addresses;
}

/// A kernel with its instruction set.
///
/// # Safety
/// It must be given rows of its type and parameters of its function, as [`ShortCall::run`] says.
type Entry = unsafe fn(&ShortRows);

/// What a short call looks at beside its arguments: on one page, though that puts the addresses into memory that can be
/// written.
#[repr(align(512))]
struct Choices {
    /// The instruction set of calls that name none, or [`UNSET`] before the first one.
    isa: AtomicU8,
    /// By function, type and instruction set, if it is compiled.
    kernels: [[[Option<Entry>; Isa::ALL.len()]; ElementType::ALL.len()]; Norm::DEFAULTS.len()],
}

const UNSET: u8 = u8::MAX;

impl Choices {
    #[inline(always)]
    fn kernel(&self, kind: usize, element: ElementType, isa: Option<Isa>) -> Option<Entry> {
        let isa = isa.map_or_else(|| self.isa.load(Relaxed), |isa| isa as u8);
        self.kernels[kind][element as usize].get(usize::from(isa)).copied()?
    }
}

/// The instruction set of calls that name none, if it has been chosen.
#[inline]
pub(super) fn chosen_isa() -> Option<Isa> {
    Isa::ALL.get(usize::from(CHOICES.isa.load(Relaxed))).copied()
}

/// Chooses it, which the processor must have.
pub(super) fn choose_isa(isa: Isa) {
    CHOICES.isa.store(isa as u8, Relaxed);
}

/// Chooses it, which the processor must have, unless one has been chosen.
pub(super) fn choose_first_isa(isa: Isa) {
    let _ = CHOICES.isa.compare_exchange(UNSET, isa as u8, Relaxed, Relaxed);
}

// The order in which `of_function` and `of_type` give the kernels, and that they are on one page.
const _: () = {
    assert!(ElementType::F32 as usize == 0 && ElementType::F16 as usize == 1);
    assert!(ElementType::Bf16 as usize == 2);
    assert!(Isa::Portable as usize == 0 && Isa::Avx2 as usize == 1);
    assert!(Isa::Avx512 as usize == 2 && Isa::Avx512Bf16 as usize == 3);
    assert!(size_of::<Choices>() == align_of::<Choices>());
};

/// The kernel of a function, from and to rows of a type.
struct Of<F, X>(PhantomData<(F, X)>);

impl<F: FromParameters, X: Storage + Element> ShortKernel for Of<F, X> {
    #[inline(always)]
    unsafe fn run<S: Simd>(s: S, given: &ShortRows) {
        let ShortRows { parameters, rows, channels, x, y, weight, bias, residual } = *given;
        let (affine, layout) = (Plain::new(weight, bias), Layout::new(rows, channels, channels));
        let operand = |data: NonNull<f32>| Operand { data: data.cast(), element: f32::TYPE };
        // `write_row` takes its channels from a job; the compiler leaves nothing else of it.
        let job = Job {
            x: Places::new(x.cast(), layout),
            y: Places::new(y, layout),
            x_element: X::TYPE,
            stored: Stored::Element(X::TYPE),
            isa: Isa::Portable,
            rows,
            channels,
            weight: Some(operand(weight)),
            bias: bias.map(operand),
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

type OfIsas = [Option<Entry>; Isa::ALL.len()];

const fn of_function<F: FromParameters>() -> [OfIsas; ElementType::ALL.len()] {
    [of_type::<F, f32>(), of_type::<F, f16>(), of_type::<F, bf16>()]
}

#[cfg(target_arch = "x86_64")]
const fn of_type<F: FromParameters, X: Storage + Element>() -> OfIsas {
    let portable: Option<Entry> = if Isa::Portable.is_lean() && size_of::<X>() != 4 {
        None
    } else {
        Some(portable::enter_short::<Of<F, X>>)
    };
    // AVX512-BF16 makes no difference to others, see `enter_for`.
    let with_bf16: Entry = if X::IS_BF16 {
        avx512::enter_short_bf16::<Of<F, X>>
    } else {
        avx512::enter_short::<Of<F, X>>
    };
    [
        portable,
        Some(avx2::enter_short::<Of<F, X>>),
        Some(avx512::enter_short::<Of<F, X>>),
        Some(with_bf16),
    ]
}

#[cfg(not(target_arch = "x86_64"))]
const fn of_type<F: FromParameters, X: Storage + Element>() -> OfIsas {
    [Some(portable::enter_short::<Of<F, X>>); Isa::ALL.len()]
}
