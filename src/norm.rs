//! Which function, and its parameters.

use crate::{Error, Forward, QuantizedRowsMut, Rows, RowsMut, Scale};

/// A function over rows of C channels, with its parameters. `weight` and `bias` are given to
/// the call, see [`Forward`].
///
/// `eps`, `alpha`, `beta`, `shift` and `scale` are dimensionless f32 scalars, as the papers
/// name them; `beta` is always the scalar under DyISRU's root, never the additive term, which
/// is called bias.
///
/// ```
/// use dynorm::Norm;
/// let norm = Norm::DyIsru { beta: 100.0, scale: 1.0 };
/// assert!(norm.is_elementwise() && norm.check().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Norm {
    /// `x / sqrt(mean(x^2) + eps)`, the mean over the row
    /// ([Zhang & Sennrich 2019](https://arxiv.org/abs/1910.07467)).
    RmsNorm {
        /// Added to the mean square; at least 0.
        eps: f32,
    },
    /// `(x - mean) / sqrt(var + eps)`, mean and population variance over the row
    /// ([Ba, Kiros & Hinton 2016](https://arxiv.org/abs/1607.06450)).
    LayerNorm {
        /// Added to the variance; at least 0.
        eps: f32,
    },
    /// `tanh(alpha x)` ([Zhu et al. 2025](https://arxiv.org/abs/2503.10622)).
    ///
    /// On the CPU, tanh for an output in bf16 is within 0.016 ulp of that, and in f16 within 0.016 ulp of that,
    /// before weight, bias and rounding.
    DyT {
        /// The slope at 0.
        alpha: f32,
    },
    /// `scale x / sqrt(beta + x^2)`
    /// ([Stollenwerk 2026](https://arxiv.org/abs/2503.21708)). Equal to RMSNorm for a channel
    /// whose fellow channels have `sum(x^2) + C eps = beta`, with `scale = sqrt(C)`.
    ///
    /// With a weight the scale is multiplied with it first: their product must be within f32's range.
    ///
    /// On x86 processors the quotient for an output in bf16 is within 0.016 ulp of that, and in f16 within
    /// 0.002 ulp of that, before scale, weight, bias and rounding: the root is estimated.
    DyIsru {
        /// The scalar under the root; above 0.
        beta: f32,
        /// 1 in trained models, `sqrt(C)` in the paper.
        scale: f32,
    },
    /// `erf(alpha x + shift)` ([Chen et al. 2025](https://arxiv.org/abs/2512.10938)).
    ///
    /// On the CPU, erf for an output in bf16 is within 0.019 ulp of that, and in f16 within 0.007 ulp of that,
    /// before weight, bias and rounding.
    Derf {
        /// The slope of erf's argument.
        alpha: f32,
        /// Added to erf's argument.
        shift: f32,
    },
}

impl Norm {
    /// Every function with the parameters that its paper or its users start from. Tests,
    /// benches and the command line go through this list.
    pub const DEFAULTS: [Self; 5] = [
        Self::RmsNorm { eps: 1e-5 },
        Self::LayerNorm { eps: 1e-5 },
        Self::DyT { alpha: 0.5 },
        Self::DyIsru { beta: 4.0, scale: 1.0 },
        Self::Derf { alpha: 0.5, shift: 0.0 },
    ];

    /// The function's name in lower case, as files and reports write it.
    ///
    /// ```
    /// assert_eq!(dynorm::Norm::RmsNorm { eps: 1e-6 }.name(), "rms_norm");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            Self::RmsNorm { .. } => "rms_norm",
            Self::LayerNorm { .. } => "layer_norm",
            Self::DyT { .. } => "dyt",
            Self::DyIsru { .. } => "dyisru",
            Self::Derf { .. } => "derf",
        }
    }

    /// Whether an output element depends on the input element at its place alone, so that no
    /// row has to be read before the first result can be written.
    ///
    /// ```
    /// use dynorm::Norm;
    /// assert!(Norm::DyT { alpha: 0.5 }.is_elementwise());
    /// assert!(!Norm::LayerNorm { eps: 1e-5 }.is_elementwise());
    /// ```
    pub const fn is_elementwise(self) -> bool {
        match self {
            Self::RmsNorm { .. } | Self::LayerNorm { .. } => false,
            Self::DyT { .. } | Self::DyIsru { .. } | Self::Derf { .. } => true,
        }
    }

    /// What the function is multiplied with at last.
    pub(crate) const fn scale(self) -> f32 {
        match self {
            Self::DyIsru { scale, .. } => scale,
            _ => 1.0,
        }
    }

    /// Checks the parameters. Every call does so by itself.
    ///
    /// # Errors
    /// [`Error::Parameter`] for an `eps` below 0, a `beta` not above 0, or any parameter that
    /// is not finite.
    ///
    /// ```
    /// let norm = dynorm::Norm::DyIsru { beta: 0.0, scale: 1.0 };
    /// assert_eq!(norm.check().unwrap_err().to_string(), "beta is 0; it must be finite and above 0");
    /// ```
    pub fn check(self) -> Result<(), Error> {
        let finite = |name, given: f32| require(name, given, given.is_finite(), "finite");
        match self {
            Self::RmsNorm { eps } | Self::LayerNorm { eps } => {
                require("eps", eps, eps.is_finite() && eps >= 0.0, "finite and at least 0")
            }
            Self::DyT { alpha } => finite("alpha", alpha),
            Self::DyIsru { beta, scale } => {
                require("beta", beta, beta.is_finite() && beta > 0.0, "finite and above 0")?;
                finite("scale", scale)
            }
            Self::Derf { alpha, shift } => {
                finite("alpha", alpha)?;
                finite("shift", shift)
            }
        }
    }

    /// The function over every row of `x`, written to `y`: a call to add weights to and to run.
    ///
    /// `x` and `y` may differ in element type and in row stride. Arithmetic is in f32, the
    /// result is rounded once.
    ///
    /// ```
    /// use dynorm::{Norm, Rows, RowsMut};
    /// let x = [3.0_f32, -4.0, 0.0, 0.0];
    /// let mut y = [0.0_f32; 4];
    /// Norm::RmsNorm { eps: 0.0 }
    ///     .forward(Rows::new(&x, 1, 4)?, RowsMut::new(&mut y, 1, 4)?)
    ///     .run()?;
    /// assert_eq!(y, [1.2, -1.6, 0.0, 0.0]);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    #[inline]
    pub fn forward<'a>(self, x: Rows<'a>, y: RowsMut<'a>) -> Forward<'a> {
        Forward::new(self, x, y)
    }

    /// The function over every row of `x`, quantised to 8 bits: the f32 result over its scale is
    /// rounded to nearest even. See [`Scale`].
    ///
    /// DyT, DyISRU and Derf are computed as for an output in bf16, with a relative error of up to 1.5e-4 before weight
    /// and bias: at most a fiftieth of a step of i8 where there is no bias or the scale is that of
    /// [`output_bound`](Norm::output_bound). A [gate](Forward::gate) comes with 7e-5 more.
    ///
    /// ```
    /// use dynorm::{F8E4M3, Norm, QuantizedRowsMut, Rows, Scale};
    /// let (x, mut y) = ([1e30_f32, -1e30, 0.0], [F8E4M3::default(); 3]);
    /// Norm::DyT { alpha: 0.5 }
    ///     .forward_quantized(
    ///         Rows::new(&x, 1, 3)?,
    ///         QuantizedRowsMut::new(&mut y, 1, 3)?,
    ///         Scale::Given(1.0 / 448.0),
    ///     )
    ///     .run()?;
    /// assert_eq!(y.map(F8E4M3::to_f32), [448.0, -448.0, 0.0]);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    #[inline]
    pub fn forward_quantized<'a>(
        self,
        x: Rows<'a>,
        y: QuantizedRowsMut<'a>,
        scale: Scale<'a>,
    ) -> Forward<'a> {
        Forward::quantized(self, x, y, scale.into())
    }

    /// The function over every row of `xy`, written over its input.
    ///
    /// ```
    /// use dynorm::{Norm, RowsMut};
    /// let mut xy = [0.0_f32, 1e30, -1e30];
    /// Norm::DyT { alpha: 0.5 }.forward_in_place(RowsMut::new(&mut xy, 1, 3)?).run()?;
    /// assert_eq!(xy, [0.0, 1.0, -1.0]);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    #[inline]
    pub fn forward_in_place<'a>(self, xy: RowsMut<'a>) -> Forward<'a> {
        Forward::in_place(self, xy)
    }
}

/// An [`Error::Parameter`] unless `ok`.
pub(crate) fn require(
    name: &'static str,
    given: f32,
    ok: bool,
    wanted: &'static str,
) -> Result<(), Error> {
    if ok { Ok(()) } else { Err(Error::Parameter { name, given, wanted }) }
}
