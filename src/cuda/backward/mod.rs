//! Gradients on a device.

mod args;
mod call;
mod kernel;
mod plan;

#[cfg(test)]
pub(crate) use args::BackwardArgs;
pub(crate) use kernel::GradientModule;

use super::Device;
use super::rows::{DeviceChannels, DeviceRows};
use crate::{ElementType, Error, Norm};
use call::Call;
use core::ffi::c_void;

/// A call for the gradients of a [`Norm`] over rows in device memory, the twin of [`crate::Backward`].
///
/// `x`, `dy` and `dx` are of one type; arithmetic is in f32 and `dx` rounded once. The other gradients are f32: sums of groups
/// of rows in f32, as many groups as fill a device, and of the groups in f64. To write `dx` over `dy` give the same tensor
/// twice. Slopes of DyT and Derf below about 2^-126 are 0; where `x` is of 16 bits, their gradients of the weight are of values that
/// are known to 2^-16 of themselves.
///
/// The order of sums depends on shape and type alone, not on the device. Of one device the results are the same to the bit at any
/// alignment and in place or not, but for the gradients by parameters, which may differ by roundings where accesses are not of 16
/// bytes. Without the [kernels of gradients](Device::load_gradients) a launch is refused.
///
/// `x` and `dy` are read once for DyT, DyISRU and Derf, and for rows of RMSNorm and LayerNorm of up to 12,288 channels of 16 bits, 6,144
/// of f32, if accesses are of 16 bytes: the number of channels is a multiple of theirs, and all rows, and the weight, begin at such
/// multiples. Else RMSNorm reads them twice, and LayerNorm `x` once more, or twice where its mean is far from 0.
///
/// ```no_run
/// use dynorm::{ElementType::Bf16, Norm, cuda::{Backward, Device, DeviceRows}};
/// # let (x, dy, dx, weight, d_weight, stream) = (0, 0, 0, 0, 0, core::ptr::null_mut());
/// # let allocate = |_elements: usize| 0;
/// let norm = Norm::RmsNorm { eps: 1e-6 };
/// let mut device = Device::primary(0, &[norm], &[Bf16])?;
/// device.load_gradients(&[norm], &[Bf16])?;
/// let rows = |address| DeviceRows::new(address, Bf16, 512, 4096);
/// let call = Backward::new(norm, rows(x)?, rows(dy)?, rows(dx)?)
///     .weight(weight, Bf16)
///     .d_weight(d_weight);
/// // Once for a training run: it depends on the shape and on which gradients are wanted.
/// let workspace = allocate(call.workspace_len());
/// let call = call.workspace(workspace, call.workspace_len());
/// // SAFETY: the tensors live until the stream has come this far.
/// unsafe { call.launch(&device, stream) }?;
/// # Ok::<(), dynorm::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "a call does nothing until it is launched"]
pub struct Backward {
    call: Call,
}

impl Backward {
    /// The gradient by `x`, written to `dx`, for `dy`, that of the output.
    ///
    /// ```
    /// use dynorm::{ElementType::Bf16, Norm, cuda::{Backward, DeviceRows}};
    /// # fn f(x: u64, dy: u64) -> Result<Backward, dynorm::Error> {
    /// let (x, dy) = (DeviceRows::new(x, Bf16, 8, 4096)?, DeviceRows::new(dy, Bf16, 8, 4096)?);
    /// let in_place = Backward::new(Norm::DyT { alpha: 0.5 }, x, dy, dy);
    /// # Ok(in_place)
    /// # }
    /// ```
    pub fn new(norm: Norm, x: DeviceRows, dy: DeviceRows, dx: DeviceRows) -> Self {
        Self {
            call: Call {
                norm,
                x,
                dy,
                dx,
                weight: None,
                weight_offset: 0.0,
                d_weight: None,
                d_bias: None,
                d_parameters: None,
                workspace: (0, 0),
            },
        }
    }

    /// The forward call's weight.
    ///
    /// ```
    /// # use dynorm::{ElementType::F32, cuda::Backward};
    /// # fn f(call: Backward, weight: u64) -> Backward {
    /// call.weight(weight, F32)
    /// # }
    /// ```
    pub fn weight(mut self, address: u64, element: ElementType) -> Self {
        self.call.weight = Some(DeviceChannels { address, element });
        self
    }

    /// The forward call's weight offset.
    ///
    /// ```
    /// # use dynorm::{ElementType::F32, cuda::Backward};
    /// # fn f(call: Backward, weight: u64) -> Backward {
    /// call.weight(weight, F32).weight_offset(1.0)
    /// # }
    /// ```
    pub fn weight_offset(mut self, offset: f32) -> Self {
        self.call.weight_offset = offset;
        self
    }

    /// Writes the gradient of the weight, one f32 per channel, to the address `gradient`. Needs a
    /// [workspace](Self::workspace).
    ///
    /// ```
    /// # fn f(call: dynorm::cuda::Backward, gradient: u64) -> dynorm::cuda::Backward {
    /// call.d_weight(gradient)
    /// # }
    /// ```
    pub fn d_weight(mut self, gradient: u64) -> Self {
        self.call.d_weight = Some(gradient);
        self
    }

    /// Writes the gradient of the bias, one f32 per channel, to the address `gradient`. Needs a
    /// [workspace](Self::workspace).
    ///
    /// ```
    /// # fn f(call: dynorm::cuda::Backward, gradient: u64) -> dynorm::cuda::Backward {
    /// call.d_bias(gradient)
    /// # }
    /// ```
    pub fn d_bias(mut self, gradient: u64) -> Self {
        self.call.d_bias = Some(gradient);
        self
    }

    /// Writes the gradients of the function's parameters, as many f32 as [`Norm::parameter_count`] says, to the address
    /// `gradients`. Needs a [workspace](Self::workspace).
    ///
    /// ```
    /// # fn f(call: dynorm::cuda::Backward, gradients: u64) -> dynorm::cuda::Backward {
    /// call.d_parameters(gradients)
    /// # }
    /// ```
    pub fn d_parameters(mut self, gradients: u64) -> Self {
        let wanted = self.call.norm.parameter_count() > 0;
        self.call.d_parameters = wanted.then_some(gradients);
        self
    }

    /// How many f32 the [workspace](Self::workspace) needs for the gradients that were asked for so far: two for each row of RMSNorm,
    /// five of LayerNorm, and for each group of rows as many as the sums that are wanted. 0 for `dx` alone of the other functions.
    ///
    /// ```
    /// use dynorm::{ElementType::Bf16, Norm, cuda::{Backward, DeviceRows}};
    /// let rows = DeviceRows::new(0x7f00_0000_0000, Bf16, 8, 4096)?;
    /// let call = Backward::new(Norm::RmsNorm { eps: 1e-6 }, rows, rows, rows);
    /// assert_eq!(call.workspace_len(), 8 * 2);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn workspace_len(&self) -> usize {
        plan::workspace_len(&self.call)
    }

    /// Device memory for partial sums, of `len` f32, at least [`workspace_len`](Self::workspace_len). It need not hold anything, and
    /// holds nothing of use afterwards; calls that may run at the same time need one each.
    ///
    /// ```
    /// # fn f(call: dynorm::cuda::Backward, workspace: u64) -> dynorm::cuda::Backward {
    /// call.workspace(workspace, call.workspace_len())
    /// # }
    /// ```
    pub fn workspace(mut self, address: u64, len: usize) -> Self {
        self.call.workspace = (address, len);
        self
    }

    /// Puts the work on `stream`, as [`Forward::launch`](super::Forward::launch): up to three kernels, one after the other. Without
    /// rows the gradients that are sums over rows become 0.
    ///
    /// # Errors
    /// As that, and as [`crate::Backward::run`] for types and the workspace; [`Error::GradientNotLoaded`] if the device has no kernels of
    /// gradients for this function and type; [`Error::TooLarge`] for 2^31 or more rows, channels or blocks. Nothing is launched
    /// then, unless it is the driver that refuses the second or third kernel.
    ///
    /// # Safety
    /// As that.
    ///
    /// ```
    /// # use dynorm::{Error, cuda::{Backward, Device}};
    /// # fn f(call: &Backward, device: &Device, stream: *mut std::ffi::c_void) -> Result<(), Error> {
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
