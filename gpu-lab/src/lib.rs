//! What tests and measurements need of a CUDA device besides the library that is tested: memory,
//! a stream, graphs and times. Nothing here is called by dynorm itself.

mod driver;
mod error;
mod graph;
mod kernel;
mod memory;
mod time;

pub use error::Error;
pub use graph::Graph;
pub use kernel::{Argument, EmptyKernel, Kernel, Module};
pub use memory::{Memory, Part};

use core::ffi::c_void;
use core::ptr;
use driver::{Driver, Handle, call, driver};

/// `CU_STREAM_NON_BLOCKING`.
const NON_BLOCKING: u32 = 1;
/// `CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE`.
const L2_CACHE_SIZE: i32 = 38;

/// A stream of a context that is current on this thread.
pub struct Lab {
    driver: &'static Driver,
    stream: Handle,
}

impl Lab {
    /// A new stream of `context`, a `CUcontext`, which becomes the calling thread's.
    ///
    /// # Errors
    /// What the driver refuses.
    ///
    /// # Safety
    /// The context must outlive the value, and stay the current one of this thread.
    pub unsafe fn new(context: *mut c_void) -> Result<Self, Error> {
        let (driver, mut stream) = (driver()?, ptr::null_mut());
        // SAFETY: the caller vouches for the context; `stream` is a place for a handle.
        unsafe {
            call!(driver, cuCtxSetCurrent(context))?;
            call!(driver, cuStreamCreate(&mut stream, NON_BLOCKING))?;
        }
        Ok(Self { driver, stream })
    }

    /// The stream, a `CUstream`.
    pub fn stream(&self) -> *mut c_void {
        self.stream
    }

    /// Waits until all that was put on the stream is done.
    ///
    /// # Errors
    /// What the driver refuses, and what went wrong in a kernel.
    pub fn synchronize(&self) -> Result<(), Error> {
        // SAFETY: the stream is this value's.
        unsafe { call!(self.driver, cuStreamSynchronize(self.stream)) }
    }

    /// Waits for the default stream, for which this one does not: a copy from the host returns
    /// when the host's memory has been read, the device's need not be written yet.
    fn wait_for_default_stream(&self) -> Result<(), Error> {
        // SAFETY: null is the default stream.
        unsafe { call!(self.driver, cuStreamSynchronize(ptr::null_mut())) }
    }

    /// Puts a copy of `from` to `to` on the stream.
    ///
    /// # Errors
    /// What the driver refuses.
    ///
    /// # Panics
    /// If they are not as long.
    pub fn copy(&self, from: Part, to: Part) -> Result<(), Error> {
        assert_eq!(from.bytes(), to.bytes(), "both parts of a copy are as long");
        let (from, to, bytes) = (from.address(), to.address(), from.bytes());
        // SAFETY: both are parts of memory of this context.
        unsafe { call!(self.driver, cuMemcpyDtoDAsync_v2(to, from, bytes, self.stream)) }
    }

    /// Bytes of device memory that are free.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn free_memory(&self) -> Result<usize, Error> {
        let (mut free, mut total) = (0, 0);
        // SAFETY: a place for each number.
        unsafe { call!(self.driver, cuMemGetInfo_v2(&mut free, &mut total)) }?;
        Ok(free)
    }

    /// Bytes of the device's L2 cache.
    ///
    /// # Errors
    /// What the driver refuses.
    pub fn l2_bytes(&self) -> Result<usize, Error> {
        let (mut device, mut bytes) = (0, 0);
        // SAFETY: a place for each number.
        unsafe {
            call!(self.driver, cuCtxGetDevice(&mut device))?;
            call!(self.driver, cuDeviceGetAttribute(&mut bytes, L2_CACHE_SIZE, device))?;
        }
        Ok(usize::try_from(bytes).unwrap_or(0))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // SAFETY: the stream is this value's. There is nothing to be done if it fails.
        let _ = unsafe { call!(self.driver, cuStreamDestroy_v2(self.stream)) };
    }
}
