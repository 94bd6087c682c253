//! What a call refuses, and why.

use crate::{ElementType, HeadShape};

/// Why a call was refused. Nothing has been written when one is returned.
///
/// ```
/// use dynorm::{Error, Rows};
/// let error = Rows::new(&[0.0_f32; 5], 2, 3).unwrap_err();
/// assert_eq!(error, Error::Length { what: "input", given: 5, wanted: 6 });
/// assert_eq!(error.to_string(), "input has 5 elements; its shape needs 6");
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor with rows of no channels.
    #[error("{what} has 0 channels; at least 1 is needed")]
    NoChannels {
        /// Which tensor.
        what: &'static str,
    },
    /// Rows that would overlap.
    #[error(
        "{what} has a row stride of {given} elements; its rows of {channels} channels need at least {channels}"
    )]
    Stride {
        /// Which tensor.
        what: &'static str,
        /// The row stride given, in elements.
        given: usize,
        /// The channels of a row.
        channels: usize,
    },
    /// Heads of tokens that would overlap.
    #[error(
        "{what} has {} heads of {} channels, one every {} elements, in tokens that are {} elements apart; they overlap",
        given.heads, given.channels, given.head_stride, given.token_stride
    )]
    HeadStride {
        /// Which tensor.
        what: &'static str,
        /// The shape given.
        given: HeadShape,
    },
    /// A tensor whose tokens have another number of heads than another tensor's, in a call on a GPU.
    #[error(
        "{what} has tokens of {given} heads, another tensor of {wanted}; on a GPU they must agree"
    )]
    Heads {
        /// Which tensor.
        what: &'static str,
        /// The heads of its tokens.
        given: usize,
        /// The heads of the other's.
        wanted: usize,
    },
    /// A shape whose number of elements, or of bytes, no memory can hold.
    #[error("{what} of {rows} rows, one every {stride} elements, is larger than the address space")]
    TooLarge {
        /// Which tensor.
        what: &'static str,
        /// The number of rows given.
        rows: usize,
        /// The row stride given, in elements.
        stride: usize,
    },
    /// A slice whose length does not fit the shape.
    #[error("{what} has {given} elements; its shape needs {wanted}")]
    Length {
        /// Which tensor.
        what: &'static str,
        /// The number of elements given.
        given: usize,
        /// The number of elements that the shape needs.
        wanted: usize,
    },
    /// A tensor of another shape than the input.
    #[error(
        "{what} has {given_rows} rows of {given_channels} channels; the input has {rows} of {channels}"
    )]
    Shape {
        /// Which tensor.
        what: &'static str,
        /// Its rows.
        given_rows: usize,
        /// Its channels.
        given_channels: usize,
        /// The input's rows.
        rows: usize,
        /// The input's channels.
        channels: usize,
    },
    /// A parameter outside its range.
    #[error("{name} is {given}; it must be {wanted}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// Its value.
        given: f32,
        /// The range that is allowed, in words.
        wanted: &'static str,
    },
    /// Groups of channels, each to have a scale of its own, of none or too many.
    #[error("the scales' groups are of {given} channels; they must be of 1 to {most}")]
    GroupSize {
        /// The size given.
        given: usize,
        /// The largest allowed.
        most: usize,
    },
    /// A residual's sum of another type than the residual.
    #[error("the residual's sum is of {}; the residual is of {}", given.name(), wanted.name())]
    SumType {
        /// The sum's type.
        given: ElementType,
        /// The residual's type.
        wanted: ElementType,
    },
    /// A gradient of another type than the input.
    #[error("the {what} is of {}; the input is of {}", given.name(), wanted.name())]
    GradientType {
        /// Which gradient.
        what: &'static str,
        /// Its type.
        given: ElementType,
        /// The input's type.
        wanted: ElementType,
    },
    /// Statistics of rows for a function that needs none.
    #[error("{name} is element-wise and needs no statistics of rows")]
    NoStatistics {
        /// The function.
        name: &'static str,
    },
    /// A static scale for a function whose results have no bound but the number of channels'.
    #[error("{name} has no bound that does not depend on the row; compute the scale of each row")]
    NoStaticScale {
        /// The function.
        name: &'static str,
    },
    /// A part that does not exist.
    #[error("part {index} of {count} was asked for; the index must be below the count")]
    Part {
        /// The part asked for.
        index: usize,
        /// The number of parts.
        count: usize,
    },
    /// An instruction set that this processor lacks.
    #[error("instruction set {wanted} was asked for; this processor's best is {best}")]
    IsaMissing {
        /// The one asked for.
        wanted: &'static str,
        /// The best that the processor has.
        best: &'static str,
    },
    /// A value of the environment variable `DYNORM_ISA` that names no instruction set.
    #[error("DYNORM_ISA is {given:?}; it must be one of portable, avx2, avx512, avx512bf16")]
    IsaName {
        /// The variable's value.
        given: String,
    },
    /// No CUDA driver on this machine.
    #[cfg(feature = "cuda")]
    #[error("no CUDA driver: {library} could not be loaded: {reason}")]
    DriverMissing {
        /// The library looked for.
        library: &'static str,
        /// What the loader said.
        reason: String,
    },
    /// A CUDA driver that cannot load this crate's kernels.
    #[cfg(feature = "cuda")]
    #[error("the CUDA driver supports CUDA {}.{}; {}.{} (driver R535) is needed",
        given / 1000, given % 1000 / 10, wanted / 1000, wanted % 1000 / 10)]
    DriverTooOld {
        /// The newest CUDA version that the driver supports, as 1000 major + 10 minor.
        given: u32,
        /// The version that is needed, in the same form.
        wanted: u32,
    },
    /// A device older than this crate's kernels.
    #[cfg(feature = "cuda")]
    #[error("the device has compute capability {}.{}; {}.{} is needed", given.0, given.1, wanted.0, wanted.1)]
    DeviceTooOld {
        /// The device's compute capability.
        given: (u32, u32),
        /// The lowest that will do.
        wanted: (u32, u32),
    },
    /// A failed call of the CUDA driver. It may be the report of an earlier kernel's failure.
    #[cfg(feature = "cuda")]
    #[error("{call} failed: {name} ({code}){detail}")]
    Driver {
        /// The function called.
        call: &'static str,
        /// The error's number.
        code: u32,
        /// The error's name, as the driver gives it.
        name: String,
        /// What more is known, led in by `: `, or nothing.
        detail: String,
    },
    /// No CUDA context is current on the calling thread.
    #[cfg(feature = "cuda")]
    #[error("no CUDA context is current on this thread")]
    NoContext,
    /// A function whose kernels were not asked for, or not for this type, when the device was opened.
    #[cfg(feature = "cuda")]
    #[error(
        "the kernels of {name} for {} are not loaded; name both when the device is opened",
        element.name()
    )]
    NotLoaded {
        /// The function.
        name: &'static str,
        /// The type of x, or of the residual that it is added to.
        element: ElementType,
    },
    /// A gradient whose kernels were not loaded.
    #[cfg(feature = "cuda")]
    #[error(
        "the kernels of the gradients of {name} for {} are not loaded; load_gradients loads them",
        element.name()
    )]
    GradientNotLoaded {
        /// The function.
        name: &'static str,
        /// The type of x.
        element: ElementType,
    },
    /// An address that is null, or not a multiple of the element's size.
    #[cfg(any(feature = "cuda", feature = "capi"))]
    #[error(
        "{what} is at {address:#x}; it must be a multiple of its element's {wanted} bytes, and not 0"
    )]
    Address {
        /// Which tensor.
        what: &'static str,
        /// Its address.
        address: u64,
        /// Bytes of an element.
        wanted: usize,
    },
    /// An address that the device cannot reach.
    #[cfg(feature = "cuda")]
    #[error("{what} is at {address:#x}, which is no memory that CUDA knows")]
    NotDeviceMemory {
        /// Which tensor.
        what: &'static str,
        /// Its address.
        address: u64,
    },
    /// Device memory that belongs to another context than the kernels.
    #[cfg(feature = "cuda")]
    #[error("{what} is at {address:#x}, in another CUDA context")]
    OtherContext {
        /// Which tensor.
        what: &'static str,
        /// Its address.
        address: u64,
    },
    /// Something written that shares memory with anything else, other than in place.
    #[cfg(any(feature = "cuda", feature = "capi"))]
    #[error(
        "{written} overlaps {what}; what is written must be apart, or exactly in place: the output of the input, the sum of the residual, the gradient of the input of that of the output"
    )]
    Overlap {
        /// What is written.
        written: &'static str,
        /// What it overlaps.
        what: &'static str,
    },
}
