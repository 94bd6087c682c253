//! The enums of the header, and what their numbers mean here.

use super::refusal::Refusal;
use crate::{ElementType, Isa, QuantizedType};
use core::mem::MaybeUninit;

/// A function over the rows of a tensor.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum dynorm_function {
    /// RMSNorm: `x / sqrt(mean(x^2) + eps)`, the mean over the row.
    DYNORM_RMS_NORM = 1,
    /// LayerNorm: `(x - mean) / sqrt(var + eps)`, mean and population variance over the row.
    DYNORM_LAYER_NORM = 2,
    /// DyT: `tanh(alpha x)`.
    DYNORM_DYT = 3,
    /// DyISRU: `scale x / sqrt(beta + x^2)`.
    DYNORM_DYISRU = 4,
    /// Derf: `erf(alpha x + shift)`.
    DYNORM_DERF = 5,
}

/// The type of a tensor's elements. Arithmetic is in f32 whatever the type; results are rounded
/// once, to nearest even.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum dynorm_element {
    /// IEEE binary32, `float`.
    DYNORM_F32 = 1,
    /// IEEE binary16.
    DYNORM_F16 = 2,
    /// bfloat16, the upper half of a binary32.
    DYNORM_BF16 = 3,
    /// Two's complement of 8 bits, from -127 to 127; NaN becomes 0. For y alone, with a scale.
    DYNORM_I8 = 4,
    /// The OCP's float of 8 bits with 4 of exponent and 3 of significand, without infinities, up to
    /// 448; NaN stays one. For y alone, with a scale.
    DYNORM_F8_E4M3 = 5,
}

/// Where the scales of an output of 8 bits come from. Its elements are the results in f32, multiplied
/// with the reciprocal of their scale, rounded to nearest even; what is out of range becomes the
/// largest value of its sign. DyT, DyISRU and Derf have a relative error of up to 1.5e-4 before weight and
/// bias: at most a fiftieth of a step of i8 where there is no bias or the scale is that of
/// `dynorm_output_bound`; a gate comes with 7e-5 more. Scales must be finite and at least 2^-126.
/// Those that are given are checked on the CPU; a device reads them when the stream comes to the call, and
/// checks nothing.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum dynorm_scale {
    /// There is none, as y has more than 8 bits.
    DYNORM_SCALE_NONE = 0,
    /// One for all of y, which is read: in CUDA calls from device memory.
    DYNORM_SCALE_GIVEN = 1,
    /// One for each row, read from `scales`.
    DYNORM_SCALE_GIVEN_PER_ROW = 2,
    /// One for each row, written to `scales`: the largest magnitude of the row's results over that of
    /// y's type, and 2^-126 at least. NaN does not count, infinity as the largest finite f32. On the CPU that
    /// of RMSNorm without bias and gate is within a relative 2^-22.
    DYNORM_SCALE_COMPUTED = 3,
    /// One for each group of `scale_group_size` channels of each row, the last of a row perhaps of fewer, exactly from the
    /// largest of the group's own results: that of channel c of row r to `scales[r * groups + c / scale_group_size]`, with
    /// `groups = (channels + scale_group_size - 1) / scale_group_size`. Not in CUDA calls.
    DYNORM_SCALE_COMPUTED_PER_GROUP = 4,
}

/// Instructions for the CPU's kernels. On one of them, on one processor, a row gives the same bits in
/// every call; between them results differ within the errors that docs/accuracy.md states, and so do those of
/// DyT, DyISRU, Derf and gates between processors of different makers.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum dynorm_isa {
    /// No choice: what `dynorm_isa_set_current` chose, else what the environment variable
    /// `DYNORM_ISA` names (portable, avx2, avx512 or avx512bf16), else the best there is.
    DYNORM_ISA_CURRENT = 0,
    /// The instructions that every processor of the architecture has.
    DYNORM_ISA_PORTABLE = 1,
    /// AVX2 with FMA and F16C.
    DYNORM_ISA_AVX2 = 2,
    /// AVX-512 F, BW, DQ and VL.
    DYNORM_ISA_AVX512 = 3,
    /// AVX-512 with its conversion to bfloat16.
    DYNORM_ISA_AVX512_BF16 = 4,
}

/// Options of a call, to be combined by `|`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum dynorm_flag {
    /// CPU: write the output past the caches (stream it), whatever its size. Without this flag and the next
    /// an output is streamed that with the input is more than half of the last-level cache, or on processors
    /// of Intel more than 12 MiB for each thread, unless its rows begin elsewhere than at cache lines and are
    /// short, and of another type than x or with gaps between them.
    /// It has no effect in place, nor on the portable kernels.
    DYNORM_FLAG_STREAM = 1,
    /// CPU: never write the output past the caches: for a large output that is read again at once.
    DYNORM_FLAG_NO_STREAM = 2,
    /// CUDA: take DyT's tanh from one instruction, with a relative error of 2^-11.
    DYNORM_FLAG_FAST_TANH = 4,
    /// CUDA, compute capability 9.0 and newer: let the kernel start before the one ahead of it on the stream
    /// has finished. It waits before it reads anything but weight and bias, and before it writes: no
    /// kernel that may still run may write those two.
    DYNORM_FLAG_PROGRAMMATIC = 8,
}

/// An enum of the header. In C it is a `uint32_t`, so values that come from there are kept as
/// `MaybeUninit` until `known` has looked at them.
pub trait Enum: Copy + 'static {
    /// Its name.
    const NAME: &'static str;
    /// Its values.
    const ALL: &'static [Self];
    /// The number that stands for it.
    fn number(self) -> u32;
}

macro_rules! numbered {
    ($name:ident, $($value:ident),*) => {
        impl Enum for $name {
            const NAME: &'static str = stringify!($name);
            const ALL: &'static [Self] = &[$(Self::$value),*];
            fn number(self) -> u32 {
                self as u32
            }
        }
    };
}
pub(super) use numbered;

numbered!(
    dynorm_function,
    DYNORM_RMS_NORM,
    DYNORM_LAYER_NORM,
    DYNORM_DYT,
    DYNORM_DYISRU,
    DYNORM_DERF
);
numbered!(dynorm_element, DYNORM_F32, DYNORM_F16, DYNORM_BF16, DYNORM_I8, DYNORM_F8_E4M3);
numbered!(
    dynorm_scale,
    DYNORM_SCALE_NONE,
    DYNORM_SCALE_GIVEN,
    DYNORM_SCALE_GIVEN_PER_ROW,
    DYNORM_SCALE_COMPUTED,
    DYNORM_SCALE_COMPUTED_PER_GROUP
);
numbered!(
    dynorm_isa,
    DYNORM_ISA_CURRENT,
    DYNORM_ISA_PORTABLE,
    DYNORM_ISA_AVX2,
    DYNORM_ISA_AVX512,
    DYNORM_ISA_AVX512_BF16
);
numbered!(
    dynorm_flag,
    DYNORM_FLAG_STREAM,
    DYNORM_FLAG_NO_STREAM,
    DYNORM_FLAG_FAST_TANH,
    DYNORM_FLAG_PROGRAMMATIC
);

/// The number that C has put in the place of an `E`.
#[inline(always)]
pub(super) fn number<E: Enum>(raw: MaybeUninit<E>) -> u32 {
    const { assert!(size_of::<E>() == size_of::<u32>()) };
    // SAFETY: a `uint32_t` of C's, which has set it.
    unsafe { core::mem::transmute_copy(&raw) }
}

/// The value that C has given, if it has a name.
#[inline(always)]
pub(super) fn value<E: Enum>(raw: MaybeUninit<E>) -> Option<E> {
    let given = number(raw);
    E::ALL.iter().copied().find(|value| value.number() == given)
}

/// The value that C has given.
///
/// # Errors
/// [`Refusal::Unknown`] if it has no name.
pub(super) fn known<E: Enum>(what: &'static str, raw: MaybeUninit<E>) -> Result<E, Refusal> {
    value(raw).ok_or(Refusal::Unknown { what, given: number(raw), name: E::NAME })
}

/// The type of an output, of 8 bits or not.
pub(super) enum OutputType {
    Element(ElementType),
    Quantized(QuantizedType),
}

impl dynorm_element {
    /// The type of an output.
    #[inline]
    pub(super) fn output(self) -> OutputType {
        match self {
            Self::DYNORM_F32 => OutputType::Element(ElementType::F32),
            Self::DYNORM_F16 => OutputType::Element(ElementType::F16),
            Self::DYNORM_BF16 => OutputType::Element(ElementType::Bf16),
            Self::DYNORM_I8 => OutputType::Quantized(QuantizedType::I8),
            Self::DYNORM_F8_E4M3 => OutputType::Quantized(QuantizedType::F8E4M3),
        }
    }
}

/// The type of a tensor that is not the output.
///
/// # Errors
/// [`Refusal::Unknown`], or [`Refusal::OutputOnly`].
pub(super) fn element(
    what: &'static str,
    raw: MaybeUninit<dynorm_element>,
) -> Result<ElementType, Refusal> {
    let given = known(what, raw)?;
    match given.output() {
        OutputType::Element(element) => Ok(element),
        OutputType::Quantized(_) => Err(Refusal::OutputOnly { what, given }),
    }
}

impl dynorm_isa {
    /// `None` for no choice.
    pub(super) fn choice(self) -> Option<Isa> {
        match self {
            Self::DYNORM_ISA_CURRENT => None,
            Self::DYNORM_ISA_PORTABLE => Some(Isa::Portable),
            Self::DYNORM_ISA_AVX2 => Some(Isa::Avx2),
            Self::DYNORM_ISA_AVX512 => Some(Isa::Avx512),
            Self::DYNORM_ISA_AVX512_BF16 => Some(Isa::Avx512Bf16),
        }
    }
}

impl From<Isa> for dynorm_isa {
    fn from(isa: Isa) -> Self {
        match isa {
            Isa::Portable => Self::DYNORM_ISA_PORTABLE,
            Isa::Avx2 => Self::DYNORM_ISA_AVX2,
            Isa::Avx512 => Self::DYNORM_ISA_AVX512,
            Isa::Avx512Bf16 => Self::DYNORM_ISA_AVX512_BF16,
        }
    }
}
