//! A forward call on a device: what it works on, its options, and its launch.

use super::Device;
use super::driver::Current;
use super::launch::{Call, plan};
use super::rows::{DeviceChannels, DeviceRows};
use crate::norm::require;
use crate::place::{self, Access};
use crate::{ElementType, Error, Norm};
use core::ffi::c_void;

/// A call of a [`Norm`] over rows in device memory, the twin of [`crate::Forward`].
///
/// For each element, `y = (weight_offset + weight) * f(x) + bias`, with `f` the function, in f32
/// and rounded once, to nearest even, to the type of `y`. Input, output, weight and bias may each
/// be f32, f16 or bf16. To work in place give the same tensor twice.
///
/// A row gives the same bits in any batch and at any alignment. Accesses are 16 bytes wide where
/// addresses, row strides and the number of channels are multiples of 16 bytes, and slower
/// otherwise.
///
/// ```no_run
/// use dynorm::{ElementType, Norm, cuda::{Device, DeviceRows, Forward}};
/// # let (x, y, weight, stream) = (0, 0, 0, core::ptr::null_mut());
/// let norm = Norm::RmsNorm { eps: 1e-6 };
/// let device = Device::primary(0, &[norm])?;
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
    programmatic: bool,
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
        let call = Call { norm, x, y, weight: None, bias: None, weight_offset: 0.0, fast: false };
        Self { call, programmatic: false }
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
    /// that can (compute capability 9.0). It waits before it reads `x` or writes, but weight and
    /// bias may be read before: no kernel that may still run may write them.
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
        self.programmatic = programmatic;
        self
    }

    /// Puts the work on `stream`, a `CUstream` of the device's context; null is its default
    /// stream. Nothing is allocated and nothing is waited for, so a stream that is being captured
    /// into a graph takes it. No rows are no work.
    ///
    /// # Errors
    /// As [`crate::Forward::run`] for shapes and parameters; [`Error::Address`] for addresses that
    /// are not aligned to the element; [`Error::Overlap`] if `y` shares memory with an operand or,
    /// other than in place, with `x`; [`Error::NotDeviceMemory`] and [`Error::OtherContext`] as
    /// far as the driver knows; [`Error::NotLoaded`] if the device was opened without this
    /// function; [`Error::TooLarge`] beyond 2^31 blocks or channels; [`Error::Driver`] for what
    /// else the driver refuses. Nothing is launched then.
    ///
    /// # Safety
    /// Until the work is done, all tensors must be memory that `device` can reach, of the size
    /// that their shapes say, and nobody else may write them or read `y`. `stream` must be null or
    /// a stream of the device's context.
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
        let call = &self.call;
        self.check()?;
        let module = device.module(call.norm)?;
        let Some(launch) = plan(call, module.max_cluster())? else { return Ok(()) };
        // SAFETY: a device's context is alive. The caller vouches for the memory and the stream,
        // `check` and `plan` for what the kernel is told about them.
        unsafe {
            let _current = Current::new(device.context().cast())?;
            for (what, address) in self.addresses() {
                device.check_address(what, address)?;
            }
            let kernel = module.kernel(call.x.element, launch.form);
            device.start(kernel, &launch, self.programmatic, stream)
        }
    }

    /// The tensors that there are.
    fn addresses(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let Call { x, y, weight, bias, .. } = self.call;
        let in_place = x.address == y.address;
        [
            Some(("input", x.address)),
            (!in_place).then_some(("output", y.address)),
            weight.map(|given| ("weight", given.address)),
            bias.map(|given| ("bias", given.address)),
        ]
        .into_iter()
        .flatten()
    }

    /// Checks what can be known without a device.
    fn check(&self) -> Result<(), Error> {
        let Call { norm, x, y, weight, bias, weight_offset, .. } = self.call;
        norm.check()?;
        require("weight_offset", weight_offset, weight_offset.is_finite(), "finite")?;
        if (x.rows(), x.channels()) != (y.rows(), y.channels()) {
            return Err(Error::Shape {
                what: "output",
                given_rows: y.rows(),
                given_channels: y.channels(),
                rows: x.rows(),
                channels: x.channels(),
            });
        }
        let operand = |what, operand: Option<DeviceChannels>| {
            let access = |given: DeviceChannels| {
                Access::of_channels(what, given.address, given.element.size(), x.channels())
            };
            operand.map(access).transpose()
        };
        let tensors = [
            Some(Access::read("input", x.place())),
            Some(Access::output(y.place())),
            operand("weight", weight)?,
            operand("bias", bias)?,
        ];
        place::check(x.rows(), &tensors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ElementType::{Bf16, F32};

    fn forward(x: u64, y: u64) -> Forward {
        let rows = |address| DeviceRows::new(address, F32, 4, 8).unwrap();
        Forward::new(Norm::DEFAULTS[0], rows(x), rows(y))
    }

    #[test]
    fn calls_are_checked() {
        assert_eq!(forward(4096, 8192).check(), Ok(()));
        assert!(matches!(forward(4098, 8192).check(), Err(Error::Address { what: "input", .. })));
        assert!(matches!(forward(4096, 4100).check(), Err(Error::Overlap { what: "input", .. })));
        let weighted = forward(4096, 8192).weight(8193, Bf16);
        assert!(matches!(weighted.check(), Err(Error::Address { what: "weight", .. })));
        let weighted = forward(4096, 8192).bias(8192, Bf16);
        assert!(matches!(weighted.check(), Err(Error::Overlap { what: "bias", .. })));
        let offset = forward(4096, 8192).weight_offset(f32::NAN);
        assert!(matches!(offset.check(), Err(Error::Parameter { .. })));
    }

    #[test]
    fn shapes_must_agree_and_no_rows_need_no_memory() {
        let rows = |rows, channels| DeviceRows::new(0, F32, rows, channels).unwrap();
        let call = |x, y| Forward::new(Norm::DEFAULTS[0], x, y).check();
        assert!(matches!(call(rows(4, 8), rows(4, 7)), Err(Error::Shape { .. })));
        assert_eq!(call(rows(0, 8), rows(0, 8)), Ok(()));
    }
}
