//! The kernels by name: the one list of what `kernels/*.cu` holds.

use super::ptx::Target;
use crate::{ElementType, Norm};

/// How a kernel goes through memory; `kernels/rows.cuh`, `kernels/elements.cuh` and, with more fused
/// around the function, `kernels/fused_rows.cuh` and `kernels/fused_elements.cuh` say more. `Usual`
/// ones are for calls whose operands and output have the type of x.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(usize)]
pub(crate) enum Form {
    /// Rows in registers, up to 2 vectors a thread.
    Keep2,
    /// Up to 4 vectors.
    Keep4,
    /// Up to 8 vectors.
    Keep8,
    /// Rows in the registers of a cluster.
    Cluster,
    UsualKeep2,
    /// As `UsualKeep4`, for few rows of few threads: both operands are loaded before the row.
    UsualKeep4Few,
    UsualKeep4,
    UsualKeep8,
    UsualCluster,
    /// Rows read for each pass.
    Reread,
    /// Rows read for each pass, at any alignment.
    RereadAny,
    /// Each element by itself, 16 bytes at a time.
    Wide,
    /// Each element by itself, one at a time.
    Narrow,
    /// As `Wide`, with the function for outputs of 16 bits.
    ShortWide,
    /// As `Narrow`, with the function for outputs of 16 bits.
    ShortNarrow,
    /// As `Wide` or `ShortWide`.
    Usual,
    /// As `Wide`, with the approximate function.
    FastWide,
    /// As `Narrow`, with the approximate function.
    FastNarrow,
    /// As `FastWide`.
    FastUsual,
    /// As `Keep2`, with everything that may be fused.
    FusedKeep2,
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
    /// As `FusedWide`, with a [`Fusion`] alone.
    UsualFused,
    /// As `FusedKeep2`, with a [`Fusion`] alone.
    UsualFused2,
    /// As `FusedKeep4`, with a [`Fusion`] alone; also for scales computed from rows of functions of each element.
    UsualFused4,
}

/// What is fused most of all, and so has kernels of its own where x is of 16 bits; residual and gate are
/// of the type of x, and so is the output, if it is not said to be of 8 bits. `Scaled`: with a scale
/// computed from each row.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(usize)]
pub(crate) enum Fusion {
    Heads,
    Residual,
    Gate,
    I8,
    E4m3,
    ResidualI8,
    ResidualE4m3,
    ScaledI8,
    ScaledE4m3,
    ResidualScaledI8,
    ResidualScaledE4m3,
}

impl Fusion {
    /// With the kernels' names for them.
    const ALL: [(Self, &str); 11] = [
        (Self::Heads, "heads"),
        (Self::Residual, "residual"),
        (Self::Gate, "gate"),
        (Self::I8, "i8"),
        (Self::E4m3, "e4m3"),
        (Self::ResidualI8, "residual_i8"),
        (Self::ResidualE4m3, "residual_e4m3"),
        (Self::ScaledI8, "scaled_i8"),
        (Self::ScaledE4m3, "scaled_e4m3"),
        (Self::ResidualScaledI8, "residual_scaled_i8"),
        (Self::ResidualScaledE4m3, "residual_scaled_e4m3"),
    ];

    /// Whether it takes a look at the results of the whole row.
    pub(crate) fn is_scaled(self) -> bool {
        self as usize >= Self::ScaledI8 as usize
    }
}

/// A kernel of a function for one type of x.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Kernel {
    pub(crate) form: Form,
    /// There is one if the form says so.
    pub(crate) fusion: Option<Fusion>,
}

impl From<Form> for Kernel {
    fn from(form: Form) -> Self {
        Self { form, fusion: None }
    }
}

impl Kernel {
    /// More than every number of one.
    pub(crate) const COUNT: usize =
        Form::UsualFused as usize + Form::WITH_FUSION.len() * Fusion::ALL.len();

    /// Different for every kernel.
    pub(crate) fn number(self) -> usize {
        let fusion = self.fusion.map_or(0, |fusion| fusion as usize);
        self.form as usize + Form::WITH_FUSION.len() * fusion
    }

    /// Those that `norm` has for `x` on `target`.
    pub(crate) fn all(norm: Norm, x: ElementType, target: Target) -> impl Iterator<Item = Self> {
        use Form::*;
        let elementwise = norm.is_elementwise();
        let forms: &[Form] = match elementwise {
            false => &[
                Keep2,
                Keep4,
                Keep8,
                UsualKeep2,
                UsualKeep4Few,
                UsualKeep4,
                UsualKeep8,
                FusedKeep2,
                FusedKeep4,
            ],
            true => &[Wide, Narrow, ShortWide, ShortNarrow, Usual, FusedWide, FusedNarrow],
        };
        let of_rows: &[Form] = if elementwise { &[] } else { &[Reread, RereadAny] };
        let clusters: &[Form] =
            if target == Target::Sm90 && !elementwise { &Form::IN_CLUSTERS } else { &[] };
        let fast: &[Form] = match norm {
            Norm::DyT { .. } => &[FastWide, FastNarrow, FastUsual],
            _ => &[],
        };
        let fused = if x == ElementType::F32 { &[] } else { &Fusion::ALL[..] };
        let fused = fused.iter().flat_map(move |&(fusion, _)| {
            let forms: &[Form] = match (elementwise, fusion.is_scaled()) {
                (false, _) => &[UsualFused2, UsualFused4],
                (true, false) => &[UsualFused],
                (true, true) => &[UsualFused4],
            };
            forms.iter().map(move |&form| Self { form, fusion: Some(fusion) })
        });
        [forms, of_rows, &[FusedReread, FusedRereadAny], clusters, fast]
            .into_iter()
            .flatten()
            .map(|&form| form.into())
            .chain(fused)
    }

    /// Its name in the PTX.
    pub(crate) fn name(self, norm: Norm, x: ElementType) -> String {
        let (variant, form) = self.form.name();
        let fusion = self.fusion.map_or("", |fusion| Fusion::ALL[fusion as usize].1);
        format!("{}{variant}_{}_{form}{fusion}", norm.name(), x.name())
    }
}

impl Form {
    /// Those whose blocks are launched as clusters.
    pub(crate) const IN_CLUSTERS: [Self; 2] = [Self::Cluster, Self::UsualCluster];
    /// Those of which there is one for every [`Fusion`]; the last ones.
    const WITH_FUSION: [Self; 3] = [Self::UsualFused, Self::UsualFused2, Self::UsualFused4];

    /// The function's variant, and the form, in a kernel's name.
    fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::Keep2 => ("", "keep2"),
            Self::Keep4 => ("", "keep4"),
            Self::Keep8 => ("", "keep8"),
            Self::Cluster => ("", "cluster"),
            Self::UsualKeep2 => ("", "usual_keep2"),
            Self::UsualKeep4Few => ("", "usual_keep4_few"),
            Self::UsualKeep4 => ("", "usual_keep4"),
            Self::UsualKeep8 => ("", "usual_keep8"),
            Self::UsualCluster => ("", "usual_cluster"),
            Self::Reread => ("", "reread"),
            Self::RereadAny => ("", "reread_any"),
            Self::Wide => ("", "wide"),
            Self::Narrow => ("", "narrow"),
            Self::ShortWide => ("_short", "wide"),
            Self::ShortNarrow => ("_short", "narrow"),
            Self::Usual => ("", "usual"),
            Self::FastWide => ("_fast", "wide"),
            Self::FastNarrow => ("_fast", "narrow"),
            Self::FastUsual => ("_fast", "usual"),
            Self::FusedKeep2 => ("", "fused_keep2"),
            Self::FusedKeep4 => ("", "fused_keep4"),
            Self::FusedReread => ("", "fused_reread"),
            Self::FusedRereadAny => ("", "fused_reread_any"),
            Self::FusedWide => ("", "fused_wide"),
            Self::FusedNarrow => ("", "fused_narrow"),
            Self::UsualFused => ("", "usual_"),
            Self::UsualFused2 => ("", "usual2_"),
            Self::UsualFused4 => ("", "usual4_"),
        }
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
    fn fusions_stand_where_their_names_are() {
        for (index, (fusion, _)) in Fusion::ALL.into_iter().enumerate() {
            assert_eq!(fusion as usize, index);
        }
    }

    #[test]
    fn every_kernel_is_in_the_ptx_and_nothing_else() {
        for (index, norm) in Norm::DEFAULTS.into_iter().enumerate() {
            assert_eq!(function_index(norm), index);
            for target in [Target::Sm80, Target::Sm90] {
                for x in ElementType::ALL {
                    let text = String::from_utf8(ptx::find(norm, x, target).unwrap()).unwrap();
                    let mut kernels = 0;
                    let mut numbers: Vec<_> =
                        Kernel::all(norm, x, target).map(|kernel| kernel.number()).collect();
                    for kernel in Kernel::all(norm, x, target) {
                        let entry = format!(".entry {}(", kernel.name(norm, x));
                        assert_eq!(text.matches(&entry).count(), 1, "{entry}");
                        kernels += 1;
                    }
                    numbers.sort_unstable();
                    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{norm:?} {x:?}");
                    assert!(numbers.last().is_some_and(|&last| last < Kernel::COUNT));
                    assert_eq!(text.matches(".entry ").count(), kernels);
                }
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
