//! A forward call on a device: its tensors and options.

use super::Device;
use super::call::{Call, Output, Residual};
use super::rows::{DeviceChannels, DeviceQuantizedRows, DeviceRows, DeviceScale};
use crate::{ElementType, Error, Norm};
use core::ffi::c_void;

/// A call of a [`Norm`] over rows in device memory, the twin of [`crate::Forward`].
///
/// For each element, `y = ((weight_offset + weight) * f(x) + bias) * silu(z)`, with `f` the function,
/// in f32 and rounded once, to nearest even, to the type of `y`; without a [`gate`](Self::gate) `z`
/// there is no `silu(z)`. With a [`residual`](Self::residual), `f` is taken of the sum of `x` and it.
/// All tensors may each be f32, f16 or bf16; the output also int8 or fp8, see
/// [`quantized`](Self::quantized). To work in place give the same tensor twice. Where `y` is not of f32,
/// DyT, DyISRU, Derf and `silu(z)` have a relative error of up to 2^-16 before rounding: a few
/// thousandths of f16's last digit.
///
/// A row gives the same bits in any batch and at any alignment. Accesses are widest, 16 bytes of `x`
/// or of the residual, where the number of channels is a multiple of theirs and as many elements of
/// each other tensor begin at a multiple of their size, or of 16 bytes, in every row; they are slower
/// otherwise.
///
/// ```no_run
/// use dynorm::{ElementType, Norm, cuda::{Device, DeviceRows, Forward}};
/// # let (x, y, weight, stream) = (0, 0, 0, core::ptr::null_mut());
/// let norm = Norm::RmsNorm { eps: 1e-6 };
/// let device = Device::primary(0, &[norm], &[ElementType::Bf16])?;
/// let call = Forward::new(
///     norm,
///     DeviceRows::new(x, ElementType::Bf16, 512, 4096)?,
///     DeviceRows::new(y, ElementType::Bf16, 512, 4096)?,
/// )
/// .weight(weight, ElementType::Bf16);
/// // SAFETY: the tensors live until the stream has come this far.
/// unsafe { call.launch(&device, stream) }?;
/// # Ok::<(), dynorm::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "a call does nothing until it is launched"]
pub struct Forward {
    call: Call,
}

impl Forward {
    /// `norm` over every row of `x`, written to `y`.
    ///
    /// ```
    /// use dynorm::{ElementType::Bf16, Norm, cuda::{DeviceRows, Forward}};
    /// # fn f(x: u64, y: u64, weight: u64, bias: u64) -> Result<Forward, dynorm::Error> {
    /// let (x, y) = (DeviceRows::new(x, Bf16, 8, 4096)?, DeviceRows::new(y, Bf16, 8, 4096)?);
    /// let call = Forward::new(Norm::DyT { alpha: 0.5 }, x, y);
    /// # Ok(call)
    /// # }
    /// ```
    pub fn new(norm: Norm, x: DeviceRows, y: DeviceRows) -> Self {
        Self { call: Call::new(norm, x, Output::Rows(y)) }
    }

    /// `norm` over every row of `x`, quantised to the 8 bits of `y`'s elements: the results in f32,
    /// multiplied with the reciprocal of their scale, rounded to nearest even; what is out of range
    /// becomes the largest of its sign.
    ///
    /// A computed scale takes every row's results twice, for the largest and to write them. One that is
    /// given does not: for DyT, DyISRU and Derf [`Norm::output_bound`] makes one of weight and bias alone,
    /// on the host, once.
    ///
    /// ```
    /// use dynorm::{ElementType::Bf16, Norm, QuantizedType::I8};
    /// use dynorm::cuda::{DeviceQuantizedRows, DeviceRows, DeviceScale, Forward};
    /// # fn f(x: u64, y: u64) -> Result<Forward, dynorm::Error> {
    /// let (x, y) = (DeviceRows::new(x, Bf16, 8, 4096)?, DeviceQuantizedRows::new(y, I8, 8, 4096)?);
    /// let norm = Norm::DyT { alpha: 0.5 };
    /// let scale = I8.scale_for(norm.output_bound::<f32, f32>(None, 0.0, None)?);
    /// let call = Forward::quantized(norm, x, y, DeviceScale::Given(scale));
    /// # Ok(call)
    /// # }
    /// ```
    pub fn quantized(
        norm: Norm,
        x: DeviceRows,
        y: DeviceQuantizedRows,
        scale: DeviceScale,
    ) -> Self {
        Self { call: Call::new(norm, x, Output::Quantized(y, scale)) }
    }

    /// Adds `x` to `residual`, in f32 and rounded once to the residual's type, in its place, and takes
    /// the function of the sum.
    ///
    /// ```
    /// use dynorm::{ElementType::Bf16, Norm, cuda::{DeviceRows, Forward}};
    /// # fn f(x: u64, y: u64, residual: u64) -> Result<Forward, dynorm::Error> {
    /// let rows = |address| DeviceRows::new(address, Bf16, 8, 4096);
    /// let norm = Norm::RmsNorm { eps: 1e-6 };
    /// let call = Forward::new(norm, rows(x)?, rows(y)?).residual(rows(residual)?);
    /// # Ok(call)
    /// # }
    /// ```
    pub fn residual(self, residual: DeviceRows) -> Self {
        self.residual_into(residual, residual)
    }

    /// The same with the sum written to `sum`, of the residual's type, which is only read.
    ///
    /// ```
    /// use dynorm::{ElementType::{Bf16, F32}, Norm, cuda::{DeviceRows, Forward}};
    /// # fn f(x: u64, y: u64, residual: u64, sum: u64) -> Result<Forward, dynorm::Error> {
    /// let rows = |address, element| DeviceRows::new(address, element, 8, 4096);
    /// let norm = Norm::RmsNorm { eps: 1e-6 };
    /// let call = Forward::new(norm, rows(x, Bf16)?, rows(y, Bf16)?)
    ///     .residual_into(rows(residual, F32)?, rows(sum, F32)?);
    /// # Ok(call)
    /// # }
    /// ```
    pub fn residual_into(mut self, residual: DeviceRows, sum: DeviceRows) -> Self {
        self.call.residual = Some(Residual { input: residual, sum });
        self
    }

    /// Multiplies each result by `silu(z) = z / (1 + exp(-z))` before it is rounded.
    ///
    /// ```
    /// use dynorm::{ElementType::Bf16, Norm, cuda::{DeviceRows, Forward}};
    /// # fn f(x: u64, y: u64, z: u64) -> Result<Forward, dynorm::Error> {
    /// let rows = |address| DeviceRows::new(address, Bf16, 8, 4096);
    /// let call = Forward::new(Norm::RmsNorm { eps: 1e-6 }, rows(x)?, rows(y)?).gate(rows(z)?);
    /// # Ok(call)
    /// # }
    /// ```
    pub fn gate(mut self, z: DeviceRows) -> Self {
        self.call.gate = Some(z);
        self
    }

    /// Takes what RMSNorm and LayerNorm need to know of each row from the device address `statistics`:
    /// a [`RowStatistics`](crate::RowStatistics) for each, for rows of which this device holds only a part
    /// of the channels. With a residual they are those of the sum. [`Statistics`](super::Statistics)
    /// finds a part's.
    ///
    /// ```
    /// use dynorm::{ElementType::Bf16, Norm, cuda::{DeviceRows, Forward}};
    /// # fn f(x: u64, y: u64, statistics: u64) -> Result<Forward, dynorm::Error> {
    /// let rows = |address| DeviceRows::new(address, Bf16, 8, 1024);
    /// let norm = Norm::RmsNorm { eps: 1e-6 };
    /// let call = Forward::new(norm, rows(x)?, rows(y)?).statistics(statistics);
    /// # Ok(call)
    /// # }
    /// ```
    pub fn statistics(mut self, statistics: u64) -> Self {
        self.call.statistics = Some(statistics);
        self
    }

    /// Multiplies each channel by its weight: as many elements of type `element` at the device
    /// address `address` as there are channels.
    ///
    /// ```
    /// use dynorm::{ElementType::Bf16, Norm, cuda::{DeviceRows, Forward}};
    /// # fn f(x: u64, y: u64, weight: u64, bias: u64) -> Result<Forward, dynorm::Error> {
    /// let (x, y) = (DeviceRows::new(x, Bf16, 8, 4096)?, DeviceRows::new(y, Bf16, 8, 4096)?);
    /// let call = Forward::new(Norm::DyT { alpha: 0.5 }, x, y).weight(weight, Bf16);
    /// # Ok(call)
    /// # }
    /// ```
    pub fn weight(mut self, address: u64, element: ElementType) -> Self {
        self.call.weight = Some(DeviceChannels { address, element });
        self
    }

    /// Adds to each channel its bias, given as [`weight`](Self::weight).
    ///
    /// ```
    /// use dynorm::{ElementType::Bf16, Norm, cuda::{DeviceRows, Forward}};
    /// # fn f(x: u64, y: u64, weight: u64, bias: u64) -> Result<Forward, dynorm::Error> {
    /// let (x, y) = (DeviceRows::new(x, Bf16, 8, 4096)?, DeviceRows::new(y, Bf16, 8, 4096)?);
    /// let call = Forward::new(Norm::DyT { alpha: 0.5 }, x, y).bias(bias, Bf16);
    /// # Ok(call)
    /// # }
    /// ```
    pub fn bias(mut self, address: u64, element: ElementType) -> Self {
        self.call.bias = Some(DeviceChannels { address, element });
        self
    }

    /// Adds `offset` to every weight, in f32: 1 for models that store `weight - 1` (Gemma).
    /// Without a weight it has no effect.
    ///
    /// ```
    /// use dynorm::{ElementType::Bf16, Norm, cuda::{DeviceRows, Forward}};
    /// # fn f(x: u64, y: u64, weight: u64, bias: u64) -> Result<Forward, dynorm::Error> {
    /// let (x, y) = (DeviceRows::new(x, Bf16, 8, 4096)?, DeviceRows::new(y, Bf16, 8, 4096)?);
    /// let call = Forward::new(Norm::DyT { alpha: 0.5 }, x, y).weight(weight, Bf16).weight_offset(1.0);
    /// # Ok(call)
    /// # }
    /// ```
    pub fn weight_offset(mut self, offset: f32) -> Self {
        self.call.weight_offset = offset;
        self
    }

    /// Takes DyT's tanh from one instruction of the device, with a relative error of 2^-11 instead
    /// of 2^-22: less than the 2^-9 of rounding to bf16, but results differ. Other functions
    /// ignore it.
    ///
    /// ```
    /// use dynorm::{ElementType::Bf16, Norm, cuda::{DeviceRows, Forward}};
    /// # fn f(x: u64, y: u64, weight: u64, bias: u64) -> Result<Forward, dynorm::Error> {
    /// let (x, y) = (DeviceRows::new(x, Bf16, 8, 4096)?, DeviceRows::new(y, Bf16, 8, 4096)?);
    /// let call = Forward::new(Norm::DyT { alpha: 0.5 }, x, y).fast_tanh(true);
    /// # Ok(call)
    /// # }
    /// ```
    pub fn fast_tanh(mut self, fast: bool) -> Self {
        self.call.fast = fast;
        self
    }

    /// Lets the kernel start before the one ahead of it on the stream has finished, on devices
    /// that can (compute capability 9.0 and newer). It waits before it reads anything but weight and
    /// bias, and before it writes: no kernel that may still run may write those two. Every call lets a
    /// kernel behind it start early that is launched in this way.
    ///
    /// ```
    /// use dynorm::{ElementType::Bf16, Norm, cuda::{DeviceRows, Forward}};
    /// # fn f(x: u64, y: u64, weight: u64, bias: u64) -> Result<Forward, dynorm::Error> {
    /// let (x, y) = (DeviceRows::new(x, Bf16, 8, 4096)?, DeviceRows::new(y, Bf16, 8, 4096)?);
    /// let call = Forward::new(Norm::DyT { alpha: 0.5 }, x, y).programmatic(true);
    /// # Ok(call)
    /// # }
    /// ```
    pub fn programmatic(mut self, programmatic: bool) -> Self {
        self.call.programmatic = programmatic;
        self
    }

    /// Puts the work on `stream`, a `CUstream` of the device's context; null is its default
    /// stream. Nothing is allocated and nothing is waited for, so a stream that is being captured
    /// into a graph takes it. No rows are no work.
    ///
    /// # Errors
    /// As [`crate::Forward::run`] for shapes, types and parameters; [`Error::Heads`] for tensors whose
    /// tokens have different numbers of heads; [`Error::Address`] for addresses that are not aligned
    /// to the element; [`Error::Overlap`] if something that is written shares memory with something
    /// else, other than in place; [`Error::NotDeviceMemory`] and [`Error::OtherContext`] as
    /// far as the driver knows; [`Error::NotLoaded`] if the device was opened without this
    /// function or this type of x (of the residual, with one); [`Error::TooLarge`] for 2^31 or more blocks or channels, or, with heads, rows; [`Error::Driver`] for what
    /// else the driver refuses. Nothing is launched then.
    ///
    /// # Safety
    /// Until the work is done, all tensors must be memory that `device` can reach, of the size
    /// that their shapes say, and nobody else may write them or read what is written. `stream` must be
    /// null or a stream of the device's context.
    ///
    /// ```
    /// # use dynorm::{Error, cuda::{Device, Forward}};
    /// # fn f(call: &Forward, device: &Device, stream: *mut std::ffi::c_void) -> Result<(), Error> {
    /// // SAFETY: the tensors are the caller's until the stream has done the work.
    /// unsafe { call.launch(device, stream)? };
    /// # Ok(())
    /// # }
    /// ```
    pub unsafe fn launch(&self, device: &Device, stream: *mut c_void) -> Result<(), Error> {
        // SAFETY: the same contract.
        unsafe { self.call.launch(device, stream) }
    }
}
