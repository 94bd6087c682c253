//! The kernels by name: the one list of what `kernels/*.cu` holds.

use super::ptx::Target;
use crate::{ElementType, Norm};

/// How a kernel goes through memory; `kernels/rows.cuh`, `kernels/elements.cuh` and, with more fused
/// around the function, `kernels/fused_rows.cuh` and `kernels/fused_elements.cuh` say more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Form {
    /// Rows in registers, up to 4 vectors a thread.
    Keep4,
    /// Rows in registers, up to 8 vectors a thread.
    Keep8,
    /// Rows in the registers of a cluster.
    Cluster,
    /// Rows read for each pass.
    Reread,
    /// Rows read for each pass, at any alignment.
    RereadAny,
    /// Each element by itself, 16 bytes at a time.
    Wide,
    /// Each element by itself, one at a time.
    Narrow,
    /// As `Wide`, with the approximate function.
    FastWide,
    /// As `Narrow`, with the approximate function.
    FastNarrow,
    /// As `Keep4`, with everything that may be fused.
    FusedKeep4,
    /// As `Reread`, with everything that may be fused; also for scales computed from rows of
    /// functions of each element.
    FusedReread,
    /// The same at any alignment.
    FusedRereadAny,
    /// As `Wide`, with everything that may be fused.
    FusedWide,
    /// As `Narrow`, with everything that may be fused.
    FusedNarrow,
}

impl Form {
    /// The number of forms.
    pub(crate) const COUNT: usize = 14;

    /// The forms that `norm` has on `target`.
    pub(crate) fn of(norm: Norm, target: Target) -> &'static [Self] {
        use Form::*;
        match (norm, target) {
            (Norm::RmsNorm { .. } | Norm::LayerNorm { .. }, Target::Sm80) => {
                &[Keep4, Keep8, Reread, RereadAny, FusedKeep4, FusedReread, FusedRereadAny]
            }
            (Norm::RmsNorm { .. } | Norm::LayerNorm { .. }, Target::Sm90) => {
                &[Keep4, Keep8, Cluster, Reread, RereadAny, FusedKeep4, FusedReread, FusedRereadAny]
            }
            (Norm::DyT { .. }, _) => &[
                Wide,
                Narrow,
                FastWide,
                FastNarrow,
                FusedWide,
                FusedNarrow,
                FusedReread,
                FusedRereadAny,
            ],
            (Norm::DyIsru { .. } | Norm::Derf { .. }, _) => {
                &[Wide, Narrow, FusedWide, FusedNarrow, FusedReread, FusedRereadAny]
            }
        }
    }

    /// The kernel's name for inputs of type `x`.
    pub(crate) fn kernel_name(self, norm: Norm, x: ElementType) -> String {
        let (fast, form) = match self {
            Self::Keep4 => ("", "keep4"),
            Self::Keep8 => ("", "keep8"),
            Self::Cluster => ("", "cluster"),
            Self::Reread => ("", "reread"),
            Self::RereadAny => ("", "reread_any"),
            Self::Wide => ("", "wide"),
            Self::Narrow => ("", "narrow"),
            Self::FastWide => ("_fast", "wide"),
            Self::FastNarrow => ("_fast", "narrow"),
            Self::FusedKeep4 => ("", "fused_keep4"),
            Self::FusedReread => ("", "fused_reread"),
            Self::FusedRereadAny => ("", "fused_reread_any"),
            Self::FusedWide => ("", "fused_wide"),
            Self::FusedNarrow => ("", "fused_narrow"),
        };
        format!("{}{fast}_{}_{form}", norm.name(), x.name())
    }
}

/// Where `norm` stands in [`Norm::DEFAULTS`].
pub(crate) const fn function_index(norm: Norm) -> usize {
    match norm {
        Norm::RmsNorm { .. } => 0,
        Norm::LayerNorm { .. } => 1,
        Norm::DyT { .. } => 2,
        Norm::DyIsru { .. } => 3,
        Norm::Derf { .. } => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::ptx;

    #[test]
    fn every_kernel_is_in_the_ptx_and_nothing_else() {
        for (index, norm) in Norm::DEFAULTS.into_iter().enumerate() {
            assert_eq!(function_index(norm), index);
            for target in [Target::Sm80, Target::Sm90] {
                let text = String::from_utf8(ptx::find(norm.name(), target).unwrap()).unwrap();
                let forms = Form::of(norm, target);
                for x in ElementType::ALL {
                    for form in forms {
                        let entry = format!(".entry {}(", form.kernel_name(norm, x));
                        assert_eq!(text.matches(&entry).count(), 1, "{entry}");
                    }
                }
                assert_eq!(text.matches(".entry ").count(), 3 * forms.len());
            }
        }
    }

    #[test]
    fn ptx_loads_on_the_oldest_driver_that_is_supported() {
        for file in ptx::FILES {
            let (name, text) = (file.name, String::from_utf8(file.text()).unwrap());
            assert!(text.starts_with(".version 8.2\n"), "{name}");
            assert!(text.ends_with('\0'), "{name}");
        }
    }
}
