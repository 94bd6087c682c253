//! What RMSNorm and LayerNorm need to know of rows, found on a device.

use super::Device;
use super::call::{Call, Output};
use super::rows::DeviceRows;
use crate::{Error, Norm};
use core::ffi::c_void;

/// A call that finds the statistics of rows in device memory, the twin of
/// [`Norm::row_statistics`]. Hosts that hold rows in shards on several devices find those of their
/// shards, bring them together (NCCL, MPI), and give the whole to
/// [`Forward::statistics`](super::Forward::statistics).
///
/// ```no_run
/// use dynorm::{ElementType, Norm, cuda::{Device, DeviceRows, Forward, Statistics}};
/// # let (x, y, statistics, stream) = (0, 0, 0, core::ptr::null_mut());
/// let norm = Norm::RmsNorm { eps: 1e-6 };
/// let device = Device::primary(0, &[norm], &[ElementType::Bf16])?;
/// let shard = DeviceRows::new(x, ElementType::Bf16, 512, 1024)?;
/// let output = DeviceRows::new(y, ElementType::Bf16, 512, 1024)?;
/// // SAFETY: the tensors live until the stream has come this far.
/// unsafe {
///     Statistics::new(norm, shard, statistics).launch(&device, stream)?;
///     // Here the host puts an all-reduce of 4 * 512 f32 on the stream: a sum, for RMSNorm.
///     Forward::new(norm, shard, output).statistics(statistics).launch(&device, stream)?;
/// }
/// # Ok::<(), dynorm::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "a call does nothing until it is launched"]
pub struct Statistics {
    call: Call,
}

impl Statistics {
    /// The statistics of every row of `x`, written to the device address `statistics`: a
    /// [`RowStatistics`](crate::RowStatistics) for each.
    ///
    /// ```
    /// use dynorm::{ElementType::F32, Norm, cuda::{DeviceRows, Statistics}};
    /// # fn f(x: u64, statistics: u64) -> Result<Statistics, dynorm::Error> {
    /// let x = DeviceRows::new(x, F32, 8, 4096)?;
    /// let call = Statistics::new(Norm::LayerNorm { eps: 1e-5 }, x, statistics);
    /// # Ok(call)
    /// # }
    /// ```
    pub fn new(norm: Norm, x: DeviceRows, statistics: u64) -> Self {
        Self { call: Call::new(norm, x, Output::Statistics(statistics)) }
    }

    /// As [`Forward::programmatic`](super::Forward::programmatic).
    ///
    /// ```
    /// # fn f(call: dynorm::cuda::Statistics) -> dynorm::cuda::Statistics {
    /// let call = call.programmatic(true);
    /// # call
    /// # }
    /// ```
    pub fn programmatic(mut self, programmatic: bool) -> Self {
        self.call.programmatic = programmatic;
        self
    }

    /// Puts the work on `stream`, as [`Forward::launch`](super::Forward::launch).
    ///
    /// # Errors
    /// [`Error::NoStatistics`] for an element-wise function; else as that.
    ///
    /// # Safety
    /// As that.
    ///
    /// ```
    /// # use dynorm::{Error, cuda::{Device, Statistics}};
    /// # fn f(call: &Statistics, device: &Device, stream: *mut std::ffi::c_void) -> Result<(), Error> {
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
