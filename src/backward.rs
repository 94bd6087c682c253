//! A backward call: gradients of a forward call's input, weight, bias and parameters.

use crate::cpu::{self, BackwardJob, Gradients, Isa, Operand, Places, Wanted, Weight};
use crate::forward::{Tensor, input, output};
use crate::norm::require;
use crate::tensor::{Channels, Layout, as_uninit};
use crate::{Element, ElementType, Error, Norm, Rows, RowsMut};
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

/// The gradients of a [`Norm`] over rows: made by [`Norm::backward`] or [`Norm::backward_in_place`], told the
/// weight and which gradients are wanted, then run.
///
/// With `dy` the gradient of some loss by the output of
/// [`Forward`](crate::Forward), `y = (weight_offset + weight) * f(x) + bias`, it writes that by the input,
/// `dx`, and on request those by [weight](Backward::d_weight), [bias](Backward::d_bias) and the function's
/// [parameters](Backward::d_parameters), all in one pass over rows. What the forward call was given is given again; nothing
/// else of it has to be kept. (The bias changes no gradient.)
///
/// `x`, `dy` and `dx` are of one type, f32, f16 or bf16; arithmetic is in f32 and `dx` rounded once. The other gradients are f32, sums over
/// all rows: of up to 64 groups of rows each in f32, and of the groups in f64, in an order that depends on the
/// shape alone.
///
/// Running validates first and writes nothing if it returns an [`Error`]. It allocates nothing and takes no lock. For
/// one [`Isa`] on one processor the results are the same to the bit on any number of threads, at any alignment and in place or not.
///
/// ```
/// use dynorm::{Norm, Rows, RowsMut};
/// let (x, dy) = ([1.0_f32, 2.0, 3.0, 4.0], [1.0_f32; 4]); // 2 rows of 2 channels
/// let weight = [0.5_f32, 2.0];
/// let (mut dx, mut d_weight, mut d_alpha) = ([0.0_f32; 4], [0.0; 2], [0.0]);
/// let norm = Norm::DyT { alpha: 0.5 };
/// let mut call = norm
///     .backward(Rows::new(&x, 2, 2)?, Rows::new(&dy, 2, 2)?, RowsMut::new(&mut dx, 2, 2)?)
///     .weight(&weight)
///     .d_weight(&mut d_weight)
///     .d_parameters(&mut d_alpha);
/// let mut workspace = vec![0.0; call.workspace_len()];
/// call.workspace(&mut workspace).run()?;
///
/// let tanh = |x: f32| (0.5 * x).tanh();
/// assert!((d_weight[0] - (tanh(1.0) + tanh(3.0))).abs() < 1e-6);
/// assert!((dx[1] - 2.0 * 0.5 * (1.0 - tanh(2.0) * tanh(2.0))).abs() < 1e-6);
/// # Ok::<(), dynorm::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a call does nothing until it is run"]
pub struct Backward<'a> {
    norm: Norm,
    x: Tensor<ElementType>,
    /// The gradient of the output; in place, it is where that of the input goes.
    dy: Tensor<ElementType>,
    dx: Tensor<ElementType>,
    weight: Option<Channels<'a>>,
    weight_offset: f32,
    d_weight: Option<Sums<'a>>,
    d_bias: Option<Sums<'a>>,
    d_parameters: Option<Sums<'a>>,
    workspace: Sums<'a>,
    isa: Option<Isa>,
    borrows: PhantomData<(Rows<'a>, RowsMut<'a>)>,
}

/// Names in errors.
pub(crate) const DY: &str = "gradient of the output";
pub(crate) const DX: &str = "gradient of the input";

/// Memory for sums, which need not hold anything before. Only values are written to it.
pub(crate) type Sums<'a> = &'a mut [MaybeUninit<f32>];

// SAFETY: a `Backward` is a shared borrow of everything that is read and an exclusive one of everything that is
// written.
unsafe impl Send for Backward<'_> {}
// SAFETY: through a shared `Backward` nothing is written.
unsafe impl Sync for Backward<'_> {}

impl Norm {
    /// The gradients over every row of `x` for `dy`, those of the output: a call to add weights and further
    /// gradients to and to run. That of the input goes to `dx`.
    ///
    /// ```
    /// use dynorm::{Norm, Rows, RowsMut};
    /// let (x, dy, mut dx) = ([0.0_f32; 4], [1.0_f32; 4], [0.0_f32; 4]);
    /// Norm::DyT { alpha: 0.5 }
    ///     .backward(Rows::new(&x, 1, 4)?, Rows::new(&dy, 1, 4)?, RowsMut::new(&mut dx, 1, 4)?)
    ///     .run()?;
    /// assert_eq!(dx, [0.5; 4]);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn backward<'a>(self, x: Rows<'a>, dy: Rows<'a>, dx: RowsMut<'a>) -> Backward<'a> {
        Backward::new(self, input(x), input(dy), output(dx))
    }

    /// The same with the gradient of the input written over that of the output.
    ///
    /// ```
    /// use dynorm::{Norm, Rows, RowsMut};
    /// let (x, mut gradient) = ([0.0_f32; 4], [1.0_f32; 4]);
    /// Norm::DyIsru { beta: 4.0, scale: 1.0 }
    ///     .backward_in_place(Rows::new(&x, 1, 4)?, RowsMut::new(&mut gradient, 1, 4)?)
    ///     .run()?;
    /// assert_eq!(gradient, [0.5; 4]);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn backward_in_place<'a>(self, x: Rows<'a>, gradient: RowsMut<'a>) -> Backward<'a> {
        let gradient = output(gradient);
        Backward::new(self, input(x), gradient, gradient)
    }

    /// How many parameters have a gradient: `alpha` of DyT, `beta` and `scale` of DyISRU, `alpha` and `shift` of Derf;
    /// none of RMSNorm and LayerNorm.
    ///
    /// ```
    /// assert_eq!(dynorm::Norm::Derf { alpha: 0.5, shift: 0.0 }.parameter_count(), 2);
    /// ```
    pub const fn parameter_count(self) -> usize {
        match self {
            Self::RmsNorm { .. } | Self::LayerNorm { .. } => 0,
            Self::DyT { .. } => 1,
            Self::DyIsru { .. } | Self::Derf { .. } => 2,
        }
    }
}

impl<'a> Backward<'a> {
    /// Of tensors that are borrowed for `'a`.
    fn new(
        norm: Norm,
        x: Tensor<ElementType>,
        dy: Tensor<ElementType>,
        dx: Tensor<ElementType>,
    ) -> Self {
        Self {
            norm,
            x,
            dy,
            dx,
            weight: None,
            weight_offset: 0.0,
            d_weight: None,
            d_bias: None,
            d_parameters: None,
            workspace: &mut [],
            isa: None,
            borrows: PhantomData,
        }
    }

    /// The forward call's weight, one element per channel.
    ///
    /// ```
    /// use dynorm::{Norm, Rows, RowsMut};
    /// let (x, mut gradient) = ([0.0_f32; 2], [1.0_f32; 2]);
    /// Norm::DyT { alpha: 0.5 }
    ///     .backward_in_place(Rows::new(&x, 1, 2)?, RowsMut::new(&mut gradient, 1, 2)?)
    ///     .weight(&[2.0_f32, 3.0])
    ///     .run()?;
    /// assert_eq!(gradient, [1.0, 1.5]);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn weight<T: Element>(mut self, weight: &'a [T]) -> Self {
        self.weight = Some(Channels::new(weight));
        self
    }

    /// The forward call's [`weight_offset`](crate::Forward::weight_offset).
    ///
    /// ```
    /// use dynorm::{Norm, Rows, RowsMut};
    /// let (x, mut gradient) = ([0.0_f32; 2], [1.0_f32; 2]);
    /// Norm::DyT { alpha: 0.5 }
    ///     .backward_in_place(Rows::new(&x, 1, 2)?, RowsMut::new(&mut gradient, 1, 2)?)
    ///     .weight(&[1.0_f32, 2.0]).weight_offset(1.0)
    ///     .run()?;
    /// assert_eq!(gradient, [1.0, 1.5]);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn weight_offset(mut self, offset: f32) -> Self {
        self.weight_offset = offset;
        self
    }

    /// Writes the gradient of the weight, `sum(dy f(x))` over the rows, one element per channel. Needs a
    /// [workspace](Backward::workspace).
    ///
    /// ```
    /// use dynorm::{Norm, Rows, RowsMut};
    /// let (x, mut gradient, mut d_weight) = ([1e30_f32, -1e30], [1.0_f32; 2], [0.0; 1]);
    /// let mut call = Norm::DyT { alpha: 0.5 }
    ///     .backward_in_place(Rows::new(&x[..1], 1, 1)?, RowsMut::new(&mut gradient[..1], 1, 1)?)
    ///     .d_weight(&mut d_weight);
    /// let mut workspace = vec![0.0; call.workspace_len()];
    /// call.workspace(&mut workspace).run()?;
    /// assert_eq!(d_weight, [1.0]);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn d_weight(mut self, gradient: &'a mut [f32]) -> Self {
        // SAFETY: only values are written to it.
        self.d_weight = Some(unsafe { as_uninit(gradient) });
        self
    }

    /// Writes the gradient of the bias, `sum(dy)` over the rows, one element per channel. Needs a
    /// [workspace](Backward::workspace).
    ///
    /// ```
    /// use dynorm::{Norm, Rows, RowsMut};
    /// let (x, mut gradient, mut d_bias) = ([0.0_f32; 4], [1.0_f32, 2.0, 3.0, 4.0], [0.0; 2]);
    /// let mut call = Norm::LayerNorm { eps: 1e-5 }
    ///     .backward_in_place(Rows::new(&x, 2, 2)?, RowsMut::new(&mut gradient, 2, 2)?)
    ///     .d_bias(&mut d_bias);
    /// let mut workspace = vec![0.0; call.workspace_len()];
    /// call.workspace(&mut workspace).run()?;
    /// assert_eq!(d_bias, [4.0, 6.0]);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn d_bias(mut self, gradient: &'a mut [f32]) -> Self {
        // SAFETY: only values are written to it.
        self.d_bias = Some(unsafe { as_uninit(gradient) });
        self
    }

    /// Writes the gradients of the function's parameters, sums over all elements, in the order of the fields of
    /// [`Norm`]: as many as [`Norm::parameter_count`] says. Needs a [workspace](Backward::workspace).
    ///
    /// ```
    /// use dynorm::{Norm, Rows, RowsMut};
    /// let (x, mut gradient, mut by) = ([0.0_f32; 2], [1.0_f32; 2], [0.0; 2]);
    /// let mut call = Norm::Derf { alpha: 0.5, shift: 0.0 }
    ///     .backward_in_place(Rows::new(&x, 1, 2)?, RowsMut::new(&mut gradient, 1, 2)?)
    ///     .d_parameters(&mut by);
    /// let mut workspace = vec![0.0; call.workspace_len()];
    /// call.workspace(&mut workspace).run()?;
    /// let [alpha, shift] = by;
    /// assert_eq!(alpha, 0.0);
    /// assert!((shift - 2.0 * core::f32::consts::FRAC_2_SQRT_PI).abs() < 1e-6);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn d_parameters(mut self, gradients: &'a mut [f32]) -> Self {
        // SAFETY: only values are written to it.
        self.d_parameters = Some(unsafe { as_uninit(gradients) });
        self
    }

    /// How many elements the [workspace](Backward::workspace) needs for the gradients that were asked for so far: for up to 64
    /// groups of rows as many as these have; 0 if only that of the input is wanted.
    ///
    /// ```
    /// use dynorm::{Norm, Rows, RowsMut};
    /// let (x, mut gradient) = ([0.0_f32; 4], [1.0_f32; 4]);
    /// let x = Rows::new(&x, 1, 4)?;
    /// let call = Norm::DyT { alpha: 0.5 }.backward_in_place(x, RowsMut::new(&mut gradient, 1, 4)?);
    /// assert_eq!(call.workspace_len(), 0);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn workspace_len(&self) -> usize {
        let Layout { rows, channels, .. } = self.x.layout;
        self.wanted().workspace(rows, channels)
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            weight: self.d_weight.is_some(),
            bias: self.d_bias.is_some(),
            parameters: self.d_parameters.is_some(),
        }
    }

    /// A weight of a type that is known at run time.
    #[cfg(feature = "capi")]
    pub(crate) fn operand(mut self, weight: Option<Channels<'a>>) -> Self {
        self.weight = weight;
        self
    }

    /// Where weight's, bias' and parameters' gradients go, and the workspace.
    #[cfg(feature = "capi")]
    pub(crate) fn sums(mut self, gradients: [Option<Sums<'a>>; 3], workspace: Sums<'a>) -> Self {
        [self.d_weight, self.d_bias, self.d_parameters] = gradients;
        self.workspace = workspace;
        self
    }

    /// The instruction set, if it is chosen.
    #[cfg(feature = "capi")]
    pub(crate) fn choose_isa(mut self, isa: Option<Isa>) -> Self {
        self.isa = isa;
        self
    }

    /// Memory for partial sums, of at least [`workspace_len`](Backward::workspace_len) elements. It need not hold anything, and
    /// holds nothing of use afterwards.
    ///
    /// ```
    /// use dynorm::{Error, Norm, Rows, RowsMut};
    /// let (x, mut gradient, mut d_bias) = ([0.0_f32; 4], [1.0_f32; 4], [0.0; 4]);
    /// let mut call = Norm::DyT { alpha: 0.5 }
    ///     .backward_in_place(Rows::new(&x, 1, 4)?, RowsMut::new(&mut gradient, 1, 4)?)
    ///     .d_bias(&mut d_bias);
    /// assert_eq!(call.run(), Err(Error::Length { what: "workspace", given: 0, wanted: 4 }));
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn workspace(mut self, workspace: &'a mut [f32]) -> Self {
        // SAFETY: only values are written to it.
        self.workspace = unsafe { as_uninit(workspace) };
        self
    }

    /// Uses `isa` instead of [`Isa::current`].
    ///
    /// ```
    /// use dynorm::{Isa, Norm, Rows, RowsMut};
    /// let (x, mut gradient) = ([0.0_f32; 4], [1.0_f32; 4]);
    /// Norm::DyT { alpha: 0.5 }
    ///     .backward_in_place(Rows::new(&x, 1, 4)?, RowsMut::new(&mut gradient, 1, 4)?)
    ///     .isa(Isa::Portable)
    ///     .run()?;
    /// assert_eq!(gradient, [0.5; 4]);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn isa(mut self, isa: Isa) -> Self {
        self.isa = Some(isa);
        self
    }

    /// Does the work on the calling thread.
    ///
    /// # Errors
    /// [`Error::Shape`] if tensors differ in shape, [`Error::GradientType`] if they differ in type, [`Error::Length`] for a
    /// weight or a gradient that is not one element per channel, or per parameter, and for a
    /// workspace that is too short; those of [`Norm::check`] and of [`Isa::current`].
    ///
    /// ```
    /// use dynorm::{Norm, Rows, RowsMut};
    /// let (x, mut gradient) = ([3.0_f32, -3.0], [1.0_f32, -1.0]);
    /// // The length of a row has no influence on what RMSNorm makes of it.
    /// Norm::RmsNorm { eps: 0.0 }
    ///     .backward_in_place(Rows::new(&x, 1, 2)?, RowsMut::new(&mut gradient, 1, 2)?)
    ///     .run()?;
    /// assert_eq!(gradient, [0.0; 2]);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn run(&mut self) -> Result<(), Error> {
        self.with_job(1, |norm, job| {
            // SAFETY: `with_job` vouches for the job; `&mut self` keeps others from running it meanwhile.
            unsafe { cpu::run_backward(norm, job) }
        })
    }

    /// Does the work on the threads of rayon's current pool (of the pool that the calling thread belongs to, else
    /// the global one), group of rows by group: there are up to 64, of at least 32 rows each if there are several. Work of
    /// less than 2^20 elements stays on the calling thread.
    ///
    /// # Errors
    /// As [`run`](Backward::run).
    ///
    /// ```
    /// use dynorm::{Norm, Rows, RowsMut};
    /// let (x, mut gradient) = (vec![0.0_f32; 1 << 20], vec![1.0_f32; 1 << 20]);
    /// Norm::DyT { alpha: 0.5 }
    ///     .backward_in_place(Rows::new(&x, 256, 4096)?, RowsMut::new(&mut gradient, 256, 4096)?)
    ///     .run_parallel()?;
    /// assert!(gradient.iter().all(|&dx| dx == 0.5));
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    #[cfg(feature = "rayon")]
    pub fn run_parallel(&mut self) -> Result<(), Error> {
        let Layout { rows, channels, .. } = self.x.layout;
        let threads = cpu::useful_threads(rows * channels);
        if threads == 1 {
            return self.run();
        }
        self.with_job(threads, |norm, job| {
            // SAFETY: as in `run`.
            unsafe { cpu::run_backward_parallel(norm, job) }
        })
    }

    /// Checks everything, has `run` do the rows on `threads` threads, and adds up what it leaves.
    fn with_job(
        &mut self,
        threads: usize,
        run: impl FnOnce(Norm, &BackwardJob),
    ) -> Result<(), Error> {
        let weight = self.checked()?;
        let isa = self.isa.map_or_else(Isa::current, Isa::checked)?;
        let Layout { rows, channels, .. } = self.x.layout;
        let wanted = self.workspace_len();
        let given = self.workspace.len();
        let Some(partial) = self.workspace.get_mut(..wanted) else {
            return Err(Error::Length { what: "workspace", given, wanted });
        };
        let mut gradients = Gradients {
            weight: self.d_weight.as_deref_mut(),
            bias: self.d_bias.as_deref_mut(),
            parameters: self.d_parameters.as_deref_mut(),
        };
        let (dx, size) = (&self.dx, self.x.element.size());
        let in_place = dx.data == self.dy.data;
        let tensors = if in_place { 2 } else { 3 };
        let to = Places::new(dx.data, dx.layout);
        let large = cpu::exceeds_caches((rows * channels * size).saturating_mul(tensors), threads);
        let job = BackwardJob {
            x: Places::new(self.x.data, self.x.layout),
            dy: Places::new(self.dy.data, self.dy.layout),
            dx: to,
            element: self.x.element,
            isa,
            rows,
            channels,
            weight: Weight { operand: weight, offset: self.weight_offset },
            stream: large && !in_place && to.begins_at_lines(size),
            fetch: large,
            wanted: gradients.wanted(),
            partial: NonNull::from(&mut *partial).cast(),
        };
        run(self.norm, &job);
        // SAFETY: all groups were run.
        unsafe { cpu::add_up(partial, rows, channels, &mut gradients) };
        Ok(())
    }

    /// Checks everything but workspace and instruction set, and gives the weight.
    fn checked(&self) -> Result<Option<Operand>, Error> {
        self.norm.check()?;
        let offset = self.weight_offset;
        require("weight_offset", offset, offset.is_finite(), "finite")?;
        let input = self.x.layout;
        for (what, layout, element) in
            [(DY, self.dy.layout, self.dy.element), (DX, self.dx.layout, self.dx.element)]
        {
            layout.check_shape(what, input)?;
            if element != self.x.element {
                let (given, wanted) = (element, self.x.element);
                return Err(Error::GradientType { what, given, wanted });
            }
        }
        let length = |what, gradient: &Option<Sums<'_>>, wanted| match gradient {
            Some(gradient) if gradient.len() != wanted => {
                Err(Error::Length { what, given: gradient.len(), wanted })
            }
            _ => Ok(()),
        };
        length("gradient of the weight", &self.d_weight, input.channels)?;
        length("gradient of the bias", &self.d_bias, input.channels)?;
        length("gradient of the parameters", &self.d_parameters, self.norm.parameter_count())?;
        let Some(weight) = self.weight else { return Ok(None) };
        weight.check("weight", input.channels)?;
        Ok(Some(Operand { data: weight.data, element: weight.element }))
    }
}
