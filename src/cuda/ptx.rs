//! The compiled kernels that are part of this library.

/// `(function.sm_architecture, PTX ended by a 0 byte)`.
pub(crate) static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/ptx.rs"));

/// The PTX of a function.
pub(crate) fn find(function: &str, target: Target) -> Option<&'static [u8]> {
    let name = Some((function, target.suffix()));
    FILES.iter().find(|(file, _)| file.split_once('.') == name).map(|&(_, text)| text)
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
