//! The CUDA driver: found before it is used, and its errors in words.
//!
//! cudarc panics where there is no driver or a function is missing in it. So nothing of cudarc is
//! called before `load` has opened the library by itself and found every function that is used
//! here. Where another crate makes cudarc link the driver, that changes nothing.

use crate::Error;
use core::ffi::CStr;
use core::ptr;
use cudarc::driver::sys;
use std::error::Error as _;
use std::sync::OnceLock;

/// The driver's library.
const LIBRARY: &str = if cfg!(windows) { "nvcuda.dll" } else { "libcuda.so.1" };
/// CUDA 12.2, driver R535: it loads PTX 8.2 and knows clusters.
const OLDEST: u32 = 12_020;

/// What this module's users call of the driver, as it is named there.
const FUNCTIONS: [&str; 18] = [
    "cuCtxGetCurrent",
    "cuCtxGetDevice",
    "cuCtxPopCurrent_v2",
    "cuCtxPushCurrent_v2",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxRetain",
    "cuFuncSetAttribute",
    "cuGetErrorName",
    "cuLaunchKernelEx",
    "cuModuleGetFunction",
    "cuModuleLoadDataEx",
    "cuModuleUnload",
    "cuOccupancyMaxPotentialClusterSize",
    "cuPointerGetAttributes",
];

/// Loads and initialises the driver, once a process; gives the CUDA version that it supports, as
/// 1000 major + 10 minor.
pub(crate) fn load() -> Result<u32, Error> {
    static LOADED: OnceLock<Result<u32, Error>> = OnceLock::new();
    LOADED.get_or_init(open).clone()
}

fn open() -> Result<u32, Error> {
    // The system's own words are one level down.
    let missing = |e: libloading::Error| Error::DriverMissing {
        library: LIBRARY,
        reason: e.source().map_or_else(|| e.to_string(), ToString::to_string),
    };
    // SAFETY: the driver's initialisers may run anywhere.
    let library = unsafe { libloading::Library::new(LIBRARY) }.map_err(missing)?;
    let mut version = 0;
    // SAFETY: the library is there, and every version of it has these functions.
    unsafe {
        check("cuInit", sys::cuInit(0))?;
        check("cuDriverGetVersion", sys::cuDriverGetVersion(&mut version))?;
    }
    let given = version.unsigned_abs();
    if given < OLDEST {
        return Err(Error::DriverTooOld { given, wanted: OLDEST });
    }
    for function in FUNCTIONS {
        // SAFETY: only its presence is looked at.
        unsafe { library.get::<unsafe extern "C" fn()>(function.as_bytes()) }.map_err(missing)?;
    }
    // It stays: cudarc opens it again, and drivers do not like to be unloaded.
    core::mem::forget(library);
    Ok(given)
}

/// An [`Error::Driver`] unless `result` is success.
pub(crate) fn check(call: &'static str, result: sys::CUresult) -> Result<(), Error> {
    check_with(call, result, String::new)
}

/// The same, with more to say.
pub(crate) fn check_with(
    call: &'static str,
    result: sys::CUresult,
    detail: impl FnOnce() -> String,
) -> Result<(), Error> {
    if result == sys::CUresult::CUDA_SUCCESS {
        return Ok(());
    }
    let mut name = ptr::null();
    // SAFETY: a result comes from a driver that is loaded; `name` is a place for an address.
    let known = unsafe { sys::cuGetErrorName(result, &mut name) } == sys::CUresult::CUDA_SUCCESS;
    let name = if known && !name.is_null() {
        // SAFETY: the driver's names are C strings that live as long as it does.
        unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
    } else {
        String::from("an error without a name")
    };
    let detail = match detail() {
        text if text.is_empty() => text,
        text => format!(": {text}"),
    };
    Err(Error::Driver { call, code: result as u32, name, detail })
}

/// Makes a context current on the calling thread as long as it lives.
pub(crate) struct Current {
    pushed: bool,
}

impl Current {
    /// # Safety
    /// The driver must be loaded and `context` alive.
    pub(crate) unsafe fn new(context: sys::CUcontext) -> Result<Self, Error> {
        // SAFETY: the same contract.
        if unsafe { current_context() }? == context {
            return Ok(Self { pushed: false });
        }
        // SAFETY: the same contract.
        check("cuCtxPushCurrent", unsafe { sys::cuCtxPushCurrent_v2(context) })?;
        Ok(Self { pushed: true })
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        if self.pushed {
            let mut popped = ptr::null_mut();
            // SAFETY: this thread pushed it. There is nothing to be done if it fails.
            let _ = unsafe { sys::cuCtxPopCurrent_v2(&mut popped) };
        }
    }
}

/// The calling thread's context; null for none.
///
/// # Safety
/// The driver must be loaded.
pub(crate) unsafe fn current_context() -> Result<sys::CUcontext, Error> {
    let mut context = ptr::null_mut();
    // SAFETY: the driver is loaded; `context` is a place for a handle.
    check("cuCtxGetCurrent", unsafe { sys::cuCtxGetCurrent(&mut context) })?;
    Ok(context)
}
