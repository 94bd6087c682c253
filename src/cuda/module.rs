//! The kernels of one function for one type of x, loaded into a context.

use super::driver::check_with;
use super::kernel::{Form, Kernel};
use super::launch::MAX_THREADS;
use super::ptx::{self, Target};
use crate::{ElementType, Error, Norm};
use core::ptr;
use cudarc::driver::sys;
use std::ffi::CString;

/// The most blocks of a cluster that this crate asks for.
const MAX_CLUSTER: u32 = 16;
/// The most that every device with clusters has.
const PORTABLE_CLUSTER: u32 = 8;
/// Bytes for what the driver's compiler says of PTX that it refuses.
const LOG_BYTES: usize = 4096;

/// A loaded module and its kernels. Unloaded by hand: it does not know
/// whether its context is current.
#[derive(Debug)]
pub(crate) struct Module {
    module: sys::CUmodule,
    kernels: [sys::CUfunction; Kernel::COUNT],
    max_cluster: u32,
}

impl Module {
    /// Loads the kernels of `norm` for `x`.
    ///
    /// # Safety
    /// The driver must be loaded and a context of a device that has `target` be current.
    pub(crate) unsafe fn load(norm: Norm, x: ElementType, target: Target) -> Result<Self, Error> {
        let missing = Error::NotLoaded { name: norm.name(), element: x };
        let ptx = ptx::find(norm, x, target).ok_or(missing)?;
        // SAFETY: the same contract; embedded PTX ends with a 0 byte.
        let module = unsafe { compile(&ptx) }?;
        let mut module = Self { module, kernels: [ptr::null_mut(); Kernel::COUNT], max_cluster: 1 };
        // SAFETY: the same contract.
        let found = unsafe { module.find_kernels(norm, x, target) };
        if let Err(error) = found {
            // SAFETY: nothing of the module has been used.
            unsafe { module.unload() };
            return Err(error);
        }
        Ok(module)
    }

    /// # Safety
    /// As [`load`](Self::load).
    unsafe fn find_kernels(
        &mut self,
        norm: Norm,
        x: ElementType,
        target: Target,
    ) -> Result<(), Error> {
        for kernel in Kernel::all(norm, x, target) {
            // SAFETY: the module is loaded.
            self.kernels[kernel.number()] = unsafe { find(self.module, kernel.name(norm, x)) }?;
        }
        let clustered = Form::IN_CLUSTERS.map(|form| self.kernel(form.into()));
        let most = clustered.into_iter().filter(|kernel| !kernel.is_null()).map(|kernel| {
            // SAFETY: the kernel is there, in the current context.
            unsafe { max_cluster_of(kernel) }
        });
        self.max_cluster = most.min().unwrap_or(1);
        Ok(())
    }

    /// A kernel; null for one that the function does not have.
    pub(crate) fn kernel(&self, kernel: Kernel) -> sys::CUfunction {
        self.kernels[kernel.number()]
    }

    /// The most blocks of a cluster on this device; 1 where there are none.
    pub(crate) fn max_cluster(&self) -> u32 {
        self.max_cluster
    }

    /// # Safety
    /// The context of [`load`](Self::load) must be current, and no kernel of the module in use.
    pub(crate) unsafe fn unload(&self) {
        // SAFETY: the same contract.
        unsafe { unload(self.module) };
    }
}

/// The kernel of that name.
///
/// # Safety
/// The module must be loaded into the context that is current.
pub(crate) unsafe fn find(module: sys::CUmodule, name: String) -> Result<sys::CUfunction, Error> {
    let name = CString::new(name).expect("no zero in a name");
    let mut found = ptr::null_mut();
    // SAFETY: the module is loaded; the name ends with a 0.
    let result = unsafe { sys::cuModuleGetFunction(&mut found, module, name.as_ptr()) };
    check_with("cuModuleGetFunction", result, || name.to_string_lossy().into_owned())?;
    Ok(found)
}

/// # Safety
/// The module's context must be current, and no kernel of it in use.
pub(crate) unsafe fn unload(module: sys::CUmodule) {
    // SAFETY: the same contract. There is nothing to be done if it fails.
    let _ = unsafe { sys::cuModuleUnload(module) };
}

/// Has the driver compile `ptx`, and loads what comes out.
///
/// # Safety
/// The driver must be loaded and a context be current; `ptx` must end with a 0 byte.
pub(crate) unsafe fn compile(ptx: &[u8]) -> Result<sys::CUmodule, Error> {
    let mut module = ptr::null_mut();
    let mut log = [0_u8; LOG_BYTES];
    let mut options = [
        sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER,
        sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
    ];
    // The driver takes numbers in the place of addresses.
    let mut values = [log.as_mut_ptr().cast(), ptr::without_provenance_mut(LOG_BYTES)];
    // SAFETY: two options with their values; the log is as long as said.
    let result = unsafe {
        sys::cuModuleLoadDataEx(
            &mut module,
            ptx.as_ptr().cast(),
            options.len() as u32,
            options.as_mut_ptr(),
            values.as_mut_ptr(),
        )
    };
    check_with("cuModuleLoadDataEx", result, || {
        let end = log.iter().position(|&byte| byte == 0).unwrap_or(LOG_BYTES);
        String::from_utf8_lossy(&log[..end]).trim().to_owned()
    })?;
    Ok(module)
}

/// The most blocks, a power of two, of a cluster that can run `kernel`.
///
/// # Safety
/// `kernel` must be one of a context that is current.
unsafe fn max_cluster_of(kernel: sys::CUfunction) -> u32 {
    let allowed = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED;
    // SAFETY: the same contract. Where it is refused, clusters stay at what is portable.
    let _ = unsafe { sys::cuFuncSetAttribute(kernel, allowed, 1) };
    let config = sys::CUlaunchConfig {
        gridDimX: MAX_CLUSTER,
        gridDimY: 1,
        gridDimZ: 1,
        blockDimX: MAX_THREADS as u32,
        blockDimY: 1,
        blockDimZ: 1,
        sharedMemBytes: 0,
        hStream: ptr::null_mut(),
        attrs: ptr::null_mut(),
        numAttrs: 0,
    };
    let mut size = 0;
    // SAFETY: the same contract; the configuration has no attributes.
    let asked = unsafe { sys::cuOccupancyMaxPotentialClusterSize(&mut size, kernel, &config) };
    let most = match (asked, u32::try_from(size)) {
        (sys::CUresult::CUDA_SUCCESS, Ok(size @ 1..)) => size.min(MAX_CLUSTER),
        _ => PORTABLE_CLUSTER,
    };
    1 << most.ilog2()
}
