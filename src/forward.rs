//! A forward call: what it works on, its options, and the ways to run it.

mod job;
#[cfg(feature = "capi")]
mod set;

use crate::cpu::{self, Isa, ShortCall};
use crate::tensor::{Channels, Layout};
use crate::{
    Element, ElementType, Error, Norm, QuantizedRowsMut, QuantizedType, RowStatistics, Rows,
    RowsMut, Scale,
};
use core::marker::PhantomData;
use core::ptr::NonNull;

/// A call of a [`Norm`] over rows: made by [`Norm::forward`] or [`Norm::forward_in_place`],
/// given weights, then run.
///
/// For each element, `y = (weight_offset + weight) * f(x) + bias`, with `f` the function, in f32
/// and rounded once to the type of `y`. Input, output, weight and bias may each be f32, f16 or
/// bf16.
///
/// Running validates first and writes nothing if it returns an [`Error`]. It allocates nothing
/// and takes no lock. For one [`Isa`] on one processor the results are the same to the bit however the work is
/// split, wherever a row stands, whatever the alignment, and in place or not.
///
/// ```
/// use dynorm::{Norm, Rows, RowsMut, bf16};
/// let x = [bf16::from_f32(2.0); 8];
/// let weight = [0.5_f32; 4];
/// let mut y = [bf16::ZERO; 8];
/// // Gemma adds 1 to its weights.
/// Norm::RmsNorm { eps: 0.0 }
///     .forward(Rows::new(&x, 2, 4)?, RowsMut::new(&mut y, 2, 4)?)
///     .weight(&weight)
///     .weight_offset(1.0)
///     .run()?;
/// assert_eq!(y, [bf16::from_f32(1.5); 8]);
/// # Ok::<(), dynorm::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a call does nothing until it is run"]
pub struct Forward<'a> {
    norm: Norm,
    /// The input; in place, it is where the output is.
    x: Tensor<ElementType>,
    y: Tensor<Form>,
    residual: Option<Residual>,
    gate: Option<Tensor<ElementType>>,
    weight: Option<Channels<'a>>,
    bias: Option<Channels<'a>>,
    weight_offset: f32,
    statistics: Option<&'a [RowStatistics]>,
    isa: Option<Isa>,
    stream: Option<bool>,
    borrows: PhantomData<(Rows<'a>, RowsMut<'a>)>,
}

/// Where a tensor is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tensor<T> {
    pub(crate) data: NonNull<u8>,
    pub(crate) element: T,
    pub(crate) layout: Layout,
}

/// What is added to the input, and where the sum goes.
#[derive(Clone, Copy, Debug)]
struct Residual {
    /// `None` if it is where the sum goes.
    input: Option<Tensor<ElementType>>,
    sum: Tensor<ElementType>,
}

/// What results are rounded to.
#[derive(Clone, Copy, Debug)]
enum Form {
    Element(ElementType),
    Quantized(QuantizedType, Scales),
}

/// The scales of a quantised output by address, and how many there are. Computed ones need not hold
/// anything before.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scales {
    Given(f32),
    GivenPerRow(NonNull<f32>, usize),
    Computed(NonNull<f32>, usize),
    /// With the size of a group; of more than this type has, its largest, which is no size either.
    ComputedPerGroup(NonNull<f32>, usize, u32),
}

impl From<Scale<'_>> for Scales {
    #[inline]
    fn from(scale: Scale<'_>) -> Self {
        match scale {
            Scale::Given(scale) => Self::Given(scale),
            Scale::GivenPerRow(scales) => {
                Self::GivenPerRow(NonNull::from(scales).cast(), scales.len())
            }
            Scale::Computed(scales) => {
                let len = scales.len();
                Self::Computed(NonNull::from(scales).cast(), len)
            }
            Scale::ComputedPerGroup { scales, group_size } => {
                let len = scales.len();
                let size = u32::try_from(group_size).unwrap_or(u32::MAX);
                Self::ComputedPerGroup(NonNull::from(scales).cast(), len, size)
            }
        }
    }
}

// SAFETY: a `Forward` is a shared borrow of everything that is read and an exclusive one of
// everything that is written.
unsafe impl Send for Forward<'_> {}
// SAFETY: through a shared `Forward` only `run_part` writes, and its caller vouches for it.
unsafe impl Sync for Forward<'_> {}

#[inline]
pub(crate) fn input(x: Rows<'_>) -> Tensor<ElementType> {
    Tensor { data: x.data, element: x.element, layout: x.layout }
}

#[inline]
pub(crate) fn output(y: RowsMut<'_>) -> Tensor<ElementType> {
    Tensor { data: y.data, element: y.element, layout: y.layout }
}

impl<'a> Forward<'a> {
    #[inline(always)]
    pub(crate) fn new(norm: Norm, x: Rows<'a>, y: RowsMut<'a>) -> Self {
        Self { x: input(x), ..Self::in_place(norm, y) }
    }

    #[inline(always)]
    pub(crate) fn in_place(norm: Norm, xy: RowsMut<'a>) -> Self {
        let x = output(xy);
        let element = Form::Element(x.element);
        Self::over(norm, x, Tensor { data: x.data, element, layout: x.layout })
    }

    /// The caller sees to it that the scales live as long as the call.
    #[inline]
    pub(crate) fn quantized(
        norm: Norm,
        x: Rows<'a>,
        y: QuantizedRowsMut<'a>,
        scales: Scales,
    ) -> Self {
        let element = Form::Quantized(y.element, scales);
        Self::over(norm, input(x), Tensor { data: y.data, element, layout: y.layout })
    }

    /// With nothing but input and output.
    #[inline(always)]
    fn over(norm: Norm, x: Tensor<ElementType>, y: Tensor<Form>) -> Self {
        Self {
            norm,
            x,
            y,
            residual: None,
            gate: None,
            weight: None,
            bias: None,
            weight_offset: 0.0,
            statistics: None,
            isa: None,
            stream: None,
            borrows: PhantomData,
        }
    }

    #[inline(always)]
    pub(crate) fn set_residual(&mut self, from: Option<Rows<'a>>, sum: RowsMut<'a>) {
        self.residual = Some(Residual { input: from.map(input), sum: output(sum) });
    }

    /// Adds the input to `residual` first, in f32 and rounded to its type, and takes the function of
    /// that: `residual += x; y = norm(residual)`, in one pass over the memory and with the bits of
    /// the two steps. The input may be overwritten ([`Norm::forward_in_place`]), as engines do it.
    ///
    /// ```
    /// use dynorm::{Norm, RowsMut};
    /// let (mut x, mut residual) = ([1.0_f32; 4], [3.0_f32; 4]);
    /// Norm::RmsNorm { eps: 0.0 }
    ///     .forward_in_place(RowsMut::new(&mut x, 1, 4)?)
    ///     .residual(RowsMut::new(&mut residual, 1, 4)?)
    ///     .run()?;
    /// assert_eq!((residual, x), ([4.0; 4], [1.0; 4]));
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    #[inline]
    pub fn residual(mut self, residual: RowsMut<'a>) -> Self {
        self.set_residual(None, residual);
        self
    }

    /// As [`residual`](Forward::residual), but `residual` stays and the sum goes elsewhere, in the
    /// same type. That costs reading it from memory first if it is in no cache.
    ///
    /// ```
    /// use dynorm::{Norm, Rows, RowsMut};
    /// let (x, residual) = ([1.0_f32; 4], [3.0_f32; 4]);
    /// let (mut sum, mut y) = ([0.0_f32; 4], [0.0_f32; 4]);
    /// Norm::RmsNorm { eps: 0.0 }
    ///     .forward(Rows::new(&x, 1, 4)?, RowsMut::new(&mut y, 1, 4)?)
    ///     .residual_into(Rows::new(&residual, 1, 4)?, RowsMut::new(&mut sum, 1, 4)?)
    ///     .run()?;
    /// assert_eq!((sum, y), ([4.0; 4], [1.0; 4]));
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    #[inline]
    pub fn residual_into(mut self, residual: Rows<'a>, sum: RowsMut<'a>) -> Self {
        self.set_residual(Some(residual), sum);
        self
    }

    /// Multiplies the result by `silu(z) = z / (1 + exp(-z))`, element by element, before it is
    /// rounded: Qwen3-Next's gate, and that of mamba_ssm with `norm_before_gate`.
    ///
    /// silu is within 2.87 ulp of f32 from -87 on, and below that within 1e-43; for an output in f16 within 0.01 ulp,
    /// and in bf16 within 0.017 ulp, of that, and below -87 within 1e-36; for one of 8 bits as for bf16.
    ///
    /// ```
    /// use dynorm::{Norm, Rows, RowsMut};
    /// let (mut xy, z) = ([1e30_f32, 1e30], [0.0_f32, 50.0]);
    /// Norm::DyT { alpha: 1.0 }
    ///     .forward_in_place(RowsMut::new(&mut xy, 1, 2)?)
    ///     .gate(Rows::new(&z, 1, 2)?)
    ///     .run()?;
    /// assert_eq!(xy, [0.0, 50.0]);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    #[inline]
    pub fn gate(mut self, z: Rows<'a>) -> Self {
        self.gate = Some(input(z));
        self
    }

    /// Takes what RMSNorm and LayerNorm need to know of each row from here instead of reading the row
    /// for it: one element for each row; with a residual, those of the sum. See [`RowStatistics`].
    ///
    /// ```
    /// use dynorm::{Norm, RowStatistics, RowsMut};
    /// // This shard has two of four channels, whose squares' sum is 16.
    /// let whole = RowStatistics { count: 4.0, m2: 16.0, ..RowStatistics::EMPTY };
    /// let mut shard = [1.0_f32, 3.0];
    /// Norm::RmsNorm { eps: 0.0 }
    ///     .forward_in_place(RowsMut::new(&mut shard, 1, 2)?)
    ///     .statistics(&[whole])
    ///     .run()?;
    /// assert_eq!(shard, [0.5, 1.5]);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    #[inline]
    pub fn statistics(mut self, statistics: &'a [RowStatistics]) -> Self {
        self.statistics = Some(statistics);
        self
    }

    /// Multiplies each channel by its `weight`: one element per channel.
    ///
    /// ```
    /// use dynorm::{Norm, RowsMut};
    /// let mut xy = [0.0_f32, 1e30, -1e30];
    /// Norm::DyT { alpha: 0.5 }
    ///     .forward_in_place(RowsMut::new(&mut xy, 1, 3)?)
    ///     .weight(&[1.0_f32, 2.0, 3.0])
    ///     .run()?;
    /// assert_eq!(xy, [0.0, 2.0, -3.0]);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn weight<T: Element>(mut self, weight: &'a [T]) -> Self {
        self.weight = Some(Channels::new(weight));
        self
    }

    /// Adds to each channel its `bias`: one element per channel.
    ///
    /// ```
    /// use dynorm::{Norm, RowsMut};
    /// let mut xy = [0.0_f32, 1e30, -1e30];
    /// Norm::DyT { alpha: 0.5 }
    ///     .forward_in_place(RowsMut::new(&mut xy, 1, 3)?)
    ///     .bias(&[1.0_f32, 2.0, 3.0])
    ///     .run()?;
    /// assert_eq!(xy, [1.0, 3.0, 2.0]);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn bias<T: Element>(mut self, bias: &'a [T]) -> Self {
        self.bias = Some(Channels::new(bias));
        self
    }

    /// Adds `offset` to every weight, in f32: 1 for models that store `weight - 1` (Gemma).
    /// Without a weight it has no effect.
    ///
    /// ```
    /// use dynorm::{Norm, RowsMut};
    /// let mut xy = [0.0_f32, 1e30, -1e30];
    /// Norm::DyT { alpha: 0.5 }
    ///     .forward_in_place(RowsMut::new(&mut xy, 1, 3)?)
    ///     .weight(&[0.0_f32, 0.5, 1.0]).weight_offset(1.0)
    ///     .run()?;
    /// assert_eq!(xy, [0.0, 1.5, -2.0]);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    #[inline]
    pub fn weight_offset(mut self, offset: f32) -> Self {
        self.weight_offset = offset;
        self
    }

    /// Uses `isa` instead of [`Isa::current`].
    ///
    /// ```
    /// use dynorm::{Norm, RowsMut};
    /// let mut xy = [0.0_f32, 1e30, -1e30];
    /// Norm::DyT { alpha: 0.5 }
    ///     .forward_in_place(RowsMut::new(&mut xy, 1, 3)?)
    ///     .isa(dynorm::Isa::Portable)
    ///     .run()?;
    /// assert_eq!(xy, [0.0, 1.0, -1.0]);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    #[inline]
    pub fn isa(mut self, isa: Isa) -> Self {
        self.isa = Some(isa);
        self
    }

    /// Writes the output past the caches (streams it), or not, instead of deciding by size: what is streamed by itself is
    /// an output that with the input is more than half of the last-level cache, or on processors of Intel more than 12 MiB
    /// for each thread, if its rows begin at cache lines (64 bytes), are of at least 4096 bytes, or are of the input's type
    /// and follow each other without gaps, in input and output. A gated output, one of given statistics, one in
    /// bf16 of f16 or the other way round, one of an element-wise function in fp8 or of a computed scale, and one with scales
    /// of groups are streamed only where rows, and groups, begin at cache lines.
    ///
    /// Streamed stores are faster for an output that leaves the caches anyhow, and much slower for one
    /// that would stay, or for other rows. Say `false` if a large output is read again at once. Has no effect in
    /// place, nor with [`Isa::Portable`].
    ///
    /// ```
    /// use dynorm::{Norm, Rows, RowsMut};
    /// let (x, mut y) = ([1e30_f32; 99], [0.0; 99]);
    /// Norm::DyT { alpha: 0.5 }
    ///     .forward(Rows::new(&x, 1, 99)?, RowsMut::new(&mut y, 1, 99)?)
    ///     .stream(true)
    ///     .run()?;
    /// assert_eq!(y, [1.0; 99]);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    #[inline]
    pub fn stream(mut self, stream: bool) -> Self {
        self.stream = Some(stream);
        self
    }

    /// Does the work on the calling thread.
    ///
    /// # Errors
    /// [`Error::Shape`] if tensors differ in shape, [`Error::Length`] for a weight or bias that is not
    /// one element per channel, or scales or statistics that are not one per row, or scales one per group,
    /// [`Error::GroupSize`] for groups of no channels or too many,
    /// [`Error::SumType`] if a residual and its sum differ in type, [`Error::NoStatistics`] for
    /// statistics with an element-wise function, [`Error::Parameter`] for scales out of range, those
    /// of [`Norm::check`] for the parameters and of [`Isa::current`] for the instruction set.
    ///
    /// ```
    /// use dynorm::{Norm, Rows, RowsMut};
    /// let (x, mut y) = ([2.0_f32; 8], [0.0_f32; 8]);
    /// let mut call = Norm::RmsNorm { eps: 0.0 }
    ///     .forward(Rows::new(&x, 2, 4)?, RowsMut::new(&mut y, 2, 4)?);
    /// call.run()?;
    /// assert_eq!(y, [1.0; 8]);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    #[inline]
    pub fn run(&mut self) -> Result<(), Error> {
        // SAFETY: `short` and `with_job` vouch for the work; `&mut self` keeps others from running it meanwhile.
        if self.short().is_some_and(|call| unsafe { call.run() }) {
            return Ok(());
        }
        // SAFETY: as above.
        self.with_job(1, |job| unsafe { cpu::run_serial(self.norm, job) })
    }

    /// Does the work on the threads of rayon's current pool (of the pool that the calling
    /// thread belongs to, else the global one). Work of less than 2^20 elements stays on the calling thread.
    ///
    /// Row functions are split by rows, element-wise functions anywhere, also inside one row.
    ///
    /// # Errors
    /// As [`run`](Forward::run).
    ///
    /// ```
    /// use dynorm::{Norm, RowsMut};
    /// let mut xy = vec![4.0_f32; 1 << 21];
    /// Norm::RmsNorm { eps: 0.0 }
    ///     .forward_in_place(RowsMut::new(&mut xy, 512, 4096)?)
    ///     .run_parallel()?;
    /// assert!(xy.iter().all(|&y| y == 1.0));
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    #[cfg(feature = "rayon")]
    #[inline]
    pub fn run_parallel(&mut self) -> Result<(), Error> {
        let threads = cpu::useful_threads(self.x.layout.rows * self.x.layout.channels);
        if threads == 1 {
            return self.run();
        }
        // SAFETY: as in `run`.
        self.with_job(threads, |job| unsafe { cpu::run_parallel(self.norm, job, threads) })
    }

    /// Does part `index` of `count` of the work on the calling thread, for hosts with threads of
    /// their own: each of `count` threads calls this with its index, and when all have returned
    /// the work is done. Nothing is spawned and nothing is waited for. A part may be empty; of a few thousand
    /// elements all may be in the first. [`parts`](Forward::parts) is the safe form.
    ///
    /// # Errors
    /// As [`run`](Forward::run); [`Error::Part`] unless `index < count`.
    ///
    /// # Safety
    /// No two threads may do the same part at the same time, nor parts of different counts, and
    /// nobody may use the output meanwhile.
    ///
    /// ```
    /// use dynorm::{Norm, Rows, RowsMut};
    /// let x = [1.0_f32; 512];
    /// let mut y = [0.0_f32; 512];
    /// let call = Norm::DyT { alpha: 0.5 }.forward(Rows::new(&x, 1, 512)?, RowsMut::new(&mut y, 1, 512)?);
    /// std::thread::scope(|scope| {
    ///     for index in 0..2 {
    ///         let call = &call;
    ///         // SAFETY: each index is given to one thread.
    ///         scope.spawn(move || unsafe { call.run_part(index, 2) });
    ///     }
    /// });
    /// assert_eq!(y, [0.5_f32.tanh(); 512]);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub unsafe fn run_part(&self, index: usize, count: usize) -> Result<(), Error> {
        if index >= count {
            return Err(Error::Part { index, count });
        }
        if let Some(call) = self.short().filter(ShortCall::is_undivided) {
            // SAFETY: `short` vouches for the work, the caller for the part.
            if unsafe { call.run_part(index) } {
                return Ok(());
            }
            return self.with_job(1, |job| {
                if index == 0 {
                    // SAFETY: `with_job` vouches for the job, the caller for the part.
                    unsafe { cpu::run_serial(self.norm, job) };
                }
            });
        }
        // SAFETY: `with_job` vouches for the job, the caller for the part.
        self.with_job(count, |job| unsafe { cpu::run_part(self.norm, job, index, count) })
    }

    /// The work in `count` parts of about equal size, for threads of the host's own. A part may
    /// be empty, and of a few thousand elements all may be in the first; all of them must be run.
    ///
    /// ```
    /// use dynorm::{Norm, RowsMut};
    /// let mut xy = [4.0_f32; 12];
    /// let mut call = Norm::RmsNorm { eps: 0.0 }.forward_in_place(RowsMut::new(&mut xy, 3, 4)?);
    /// std::thread::scope(|scope| {
    ///     for part in call.parts(2) {
    ///         scope.spawn(move || part.run());
    ///     }
    /// });
    /// assert_eq!(xy, [1.0; 12]);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn parts(&mut self, count: usize) -> impl ExactSizeIterator<Item = Part<'_>> {
        let call = &*self;
        (0..count).map(move |index| Part { call, index, count })
    }
}

/// A part of a [`Forward`], to be run by one thread; see [`Forward::parts`].
///
/// ```
/// use dynorm::{Norm, RowsMut};
/// let mut xy = [1e30_f32; 1000];
/// let mut call = Norm::DyT { alpha: 1.0 }.forward_in_place(RowsMut::new(&mut xy, 1, 1000)?);
/// for part in call.parts(3) {
///     part.run()?; // each on a thread of its own, as a rule
/// }
/// assert_eq!(xy, [1.0; 1000]);
/// # Ok::<(), dynorm::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "the work is done when every part has been run"]
pub struct Part<'a> {
    call: &'a Forward<'a>,
    index: usize,
    count: usize,
}

impl Part<'_> {
    /// Does this part on the calling thread.
    ///
    /// # Errors
    /// As [`Forward::run`].
    ///
    /// ```
    /// use dynorm::{Norm, RowsMut};
    /// let mut xy = [1e30_f32; 4];
    /// let mut call = Norm::DyT { alpha: 1.0 }.forward_in_place(RowsMut::new(&mut xy, 1, 4)?);
    /// let part = call.parts(1).next().expect("one was asked for");
    /// part.run()?;
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn run(self) -> Result<(), Error> {
        // SAFETY: `Forward::parts` borrows the call exclusively and makes each part once.
        unsafe { self.call.run_part(self.index, self.count) }
    }
}
