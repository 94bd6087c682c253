//! Which instructions the kernels use: chosen once, at run time.

// Where short calls look for it, too.
use super::short::{choose_first_isa, choose_isa, chosen_isa};
use crate::Error;

/// An instruction set that the kernels are compiled for, the least first. Results of one
/// instruction set are the same to the bit for every split and alignment; between instruction
/// sets, and of DyT, DyISRU, Derf and gates between processors of different makers, they differ within the
/// stated errors.
///
/// ```
/// use dynorm::Isa;
/// assert!(Isa::Portable.is_available() && Isa::Portable < Isa::Avx2);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// What the program was compiled for, through the crate `wide`: SSE2 in an ordinary x86-64
    /// build, NEON on aarch64.
    Portable,
    /// AVX2 with FMA and F16C: x86-64-v3.
    Avx2,
    /// AVX-512 F, BW, DQ and VL: x86-64-v4.
    Avx512,
    /// AVX-512 with its conversion to bfloat16.
    Avx512Bf16,
}

/// The environment variable that chooses an instruction set.
const VARIABLE: &str = "DYNORM_ISA";

impl Isa {
    /// Every instruction set, the least first.
    pub const ALL: [Self; 4] = [Self::Portable, Self::Avx2, Self::Avx512, Self::Avx512Bf16];

    /// The name that `DYNORM_ISA` and reports use.
    ///
    /// ```
    /// assert_eq!(dynorm::Isa::Avx2.name(), "avx2");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512bf16",
        }
    }

    /// Whether this processor, and its operating system, have it.
    ///
    /// ```
    /// assert!(dynorm::Isa::detected().is_available());
    /// ```
    #[cfg(target_arch = "x86_64")]
    pub fn is_available(self) -> bool {
        use std::arch::is_x86_feature_detected as has;
        // These must be the features that the `enter` functions in `simd` are compiled with.
        let avx2 = || has!("avx2") && has!("fma") && has!("f16c");
        let avx512 = || has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
        match self {
            Self::Portable => true,
            Self::Avx2 => avx2(),
            Self::Avx512 => avx2() && avx512(),
            Self::Avx512Bf16 => avx2() && avx512() && has!("avx512bf16"),
        }
    }

    /// Whether this processor, and its operating system, have it.
    ///
    /// ```
    /// assert!(dynorm::Isa::detected().is_available());
    /// ```
    #[cfg(not(target_arch = "x86_64"))]
    pub fn is_available(self) -> bool {
        self == Self::Portable
    }

    /// Those that this processor has, the least first.
    ///
    /// ```
    /// assert_eq!(dynorm::Isa::available().next(), Some(dynorm::Isa::Portable));
    /// ```
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// The best that this processor has.
    ///
    /// ```
    /// use dynorm::Isa;
    /// assert_eq!(Some(Isa::detected()), Isa::available().last());
    /// ```
    pub fn detected() -> Self {
        Self::available().last().unwrap_or(Self::Portable)
    }

    /// The one that calls use unless they say otherwise: what [`set_current`](Isa::set_current)
    /// chose, else what the environment variable `DYNORM_ISA` names, else the best there is.
    ///
    /// # Errors
    /// [`Error::IsaName`] or [`Error::IsaMissing`] if `DYNORM_ISA` names none or one that the
    /// processor lacks: a benchmark under a misspelt name would otherwise measure another one.
    ///
    /// ```
    /// assert!(dynorm::Isa::current()?.is_available());
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    #[inline]
    pub fn current() -> Result<Self, Error> {
        chosen_isa().map_or_else(Self::first_choice, Ok)
    }

    /// Of the first call in the process.
    #[cold]
    fn first_choice() -> Result<Self, Error> {
        // Another thread may have come first; then its choice, which may be a
        // `set_current`, stands.
        choose_first_isa(Self::from_environment()?);
        Self::current()
    }

    /// Makes every later call of the process use this one unless it says otherwise.
    ///
    /// # Errors
    /// [`Error::IsaMissing`] if the processor lacks it.
    ///
    /// ```
    /// use dynorm::Isa;
    /// Isa::Portable.set_current()?;
    /// assert_eq!(Isa::current()?, Isa::Portable);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn set_current(self) -> Result<(), Error> {
        choose_isa(self.checked()?);
        Ok(())
    }

    /// Whether few kernels of the functions are compiled for it: those that write f32, from which any other output is made.
    /// x86-64 processors without AVX2 are rare by now, and all kernels for them would be a quarter of the library.
    #[inline(always)]
    pub(crate) const fn is_lean(self) -> bool {
        cfg!(target_arch = "x86_64") && matches!(self, Self::Portable)
    }

    /// Itself, if the processor has it.
    pub(crate) fn checked(self) -> Result<Self, Error> {
        if self.is_available() {
            Ok(self)
        } else {
            Err(Error::IsaMissing { wanted: self.name(), best: Self::detected().name() })
        }
    }

    fn from_environment() -> Result<Self, Error> {
        let Some(value) = std::env::var_os(VARIABLE) else {
            return Ok(Self::detected());
        };
        let given = value.to_string_lossy();
        match Self::ALL.into_iter().find(|isa| isa.name() == given) {
            Some(isa) => isa.checked(),
            None => Err(Error::IsaName { given: given.into_owned() }),
        }
    }
}
