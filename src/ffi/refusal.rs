//! Why a call from C was refused.

use super::enums::{dynorm_element, dynorm_scale};
use super::status::dynorm_status::{self, *};
use crate::Error;

/// What can be wrong with a call from C: what the crate refuses, and what only C can give.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(transparent)]
    Call(#[from] Error),
    #[error("{what} is NULL")]
    Null { what: &'static str },
    #[error("{what} is at {address:#x}; it must be a multiple of {wanted}")]
    Misaligned { what: &'static str, address: usize, wanted: usize },
    #[error("args.size is {given}; it must be sizeof({name}), here {wanted}")]
    Size { given: usize, wanted: usize, name: &'static str },
    #[error("{what} is not 0; this version of the library does not know what it means")]
    Later { what: &'static str },
    #[error("{what} is {given}, which is no {name}")]
    Unknown { what: &'static str, given: u32, name: &'static str },
    #[error("{what} is {given:?}, which only y can be of")]
    OutputOnly { what: &'static str, given: dynorm_element },
    #[error("{what} is NULL; {wanted_by} needs it")]
    Missing { what: &'static str, wanted_by: &'static str },
    #[error("{what} is set; {reason}")]
    Unwanted { what: &'static str, reason: &'static str },
    #[error(
        "args.scale_mode is {mode:?} and args.y_element {y_element:?}; outputs of 8 bits need a scale, and others have none"
    )]
    Scale { mode: dynorm_scale, y_element: dynorm_element },
    #[error("args.rows is {rows}; it must be a multiple of args.heads, which is {heads}")]
    Heads { rows: usize, heads: usize },
    #[error("DYNORM_FLAG_STREAM and DYNORM_FLAG_NO_STREAM exclude each other")]
    Contradiction,
    #[cfg(not(all(feature = "cuda", feature = "rayon")))]
    #[error("this library was built without the feature {feature:?}")]
    Unsupported { feature: &'static str },
    #[error("internal error, please report: {message}")]
    Panic { message: String },
}

impl Refusal {
    /// The status that says so.
    pub(super) fn status(&self) -> dynorm_status {
        match self {
            Self::Call(error) => of_error(error),
            Self::Null { .. } | Self::Missing { .. } => DYNORM_ERROR_NULL,
            Self::Misaligned { .. } => DYNORM_ERROR_ALIGNMENT,
            Self::Size { .. } => DYNORM_ERROR_STRUCT_SIZE,
            Self::Later { .. } => DYNORM_ERROR_UNSUPPORTED,
            #[cfg(not(all(feature = "cuda", feature = "rayon")))]
            Self::Unsupported { .. } => DYNORM_ERROR_UNSUPPORTED,
            Self::Unknown { .. }
            | Self::OutputOnly { .. }
            | Self::Unwanted { .. }
            | Self::Scale { .. }
            | Self::Contradiction => DYNORM_ERROR_VALUE,
            Self::Heads { .. } => DYNORM_ERROR_SHAPE,
            Self::Panic { .. } => DYNORM_ERROR_INTERNAL,
        }
    }
}

fn of_error(error: &Error) -> dynorm_status {
    match error {
        Error::NoChannels { .. }
        | Error::Stride { .. }
        | Error::TooLarge { .. }
        | Error::Length { .. }
        | Error::GroupSize { .. }
        | Error::HeadStride { .. }
        | Error::Heads { .. }
        | Error::Shape { .. } => DYNORM_ERROR_SHAPE,
        Error::Parameter { .. } => DYNORM_ERROR_PARAMETER,
        Error::SumType { .. }
        | Error::GradientType { .. }
        | Error::NoStatistics { .. }
        | Error::NoStaticScale { .. } => DYNORM_ERROR_VALUE,
        Error::Part { .. } => DYNORM_ERROR_PART,
        Error::IsaMissing { .. } | Error::IsaName { .. } => DYNORM_ERROR_ISA,
        Error::Address { address: 0, .. } => DYNORM_ERROR_NULL,
        Error::Address { .. } => DYNORM_ERROR_ALIGNMENT,
        Error::Overlap { .. } => DYNORM_ERROR_OVERLAP,
        #[cfg(feature = "cuda")]
        Error::DriverMissing { .. } | Error::DriverTooOld { .. } | Error::DeviceTooOld { .. } => {
            DYNORM_ERROR_CUDA_MISSING
        }
        #[cfg(feature = "cuda")]
        Error::Driver { .. } => DYNORM_ERROR_CUDA_DRIVER,
        #[cfg(feature = "cuda")]
        Error::NoContext => DYNORM_ERROR_CUDA_CONTEXT,
        #[cfg(feature = "cuda")]
        Error::NotLoaded { .. } | Error::GradientNotLoaded { .. } => DYNORM_ERROR_CUDA_NOT_LOADED,
        #[cfg(feature = "cuda")]
        Error::NotDeviceMemory { .. } | Error::OtherContext { .. } => DYNORM_ERROR_CUDA_MEMORY,
    }
}
