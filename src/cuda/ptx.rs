//! The compiled kernels that are part of this library, packed.

use crate::{ElementType, Norm};
use miniz_oxide::inflate::decompress_to_vec;

/// A file of PTX.
pub(crate) struct File {
    /// `function.type.sm_architecture`.
    pub(crate) name: &'static str,
    packed: &'static [u8],
}

/// All of them, packed by `build.rs`.
pub(crate) static FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/ptx.rs"));

impl File {
    /// The text, ended by a 0 byte.
    pub(crate) fn text(&self) -> Vec<u8> {
        decompress_to_vec(self.packed).expect("build.rs has packed it")
    }
}

/// The PTX of the kernels of a function for one type of x, ended by a 0 byte.
pub(crate) fn find(norm: Norm, x: ElementType, target: Target) -> Option<Vec<u8>> {
    text([norm.name(), x.name(), target.suffix()])
}

/// The same of the kernels of its gradients, which are for every device.
pub(crate) fn find_gradients(norm: Norm, x: ElementType) -> Option<Vec<u8>> {
    let name = format!("{}{GRADIENTS}", norm.name());
    text([&name, x.name(), Target::Sm80.suffix()])
}

/// What follows a function's name in that of a file with kernels of its gradients.
pub(crate) const GRADIENTS: &str = "_backward";

fn text(name: [&str; 3]) -> Option<Vec<u8>> {
    FILES.iter().find(|file| file.name.split('.').eq(name)).map(File::text)
}

/// What the PTX is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Every device that is supported.
    Sm80,
    /// Devices with clusters and programmatic dependent launch.
    Sm90,
}

impl Target {
    pub(crate) const fn of(capability: (u32, u32)) -> Self {
        if capability.0 >= 9 { Self::Sm90 } else { Self::Sm80 }
    }

    const fn suffix(self) -> &'static str {
        match self {
            Self::Sm80 => "sm_80",
            Self::Sm90 => "sm_90",
        }
    }
}
