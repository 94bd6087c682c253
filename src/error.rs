//! What a call refuses, and why.

/// Why a call was refused. Nothing has been written when one is returned.
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
    /// An output of another shape than the input.
    #[error(
        "output has {given_rows} rows of {given_channels} channels; the input has {rows} of {channels}"
    )]
    Shape {
        /// The output's rows.
        given_rows: usize,
        /// The output's channels.
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
}
