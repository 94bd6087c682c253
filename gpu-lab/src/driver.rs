//! The functions of the CUDA driver that are called here, looked up by name. Not by way of
//! cudarc: which of them its bindings have depends on the CUDA version that it was built for.

use crate::Error;
use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use libloading::Library;
use std::error::Error as _;
use std::sync::OnceLock;

/// The driver's library.
const LIBRARY: &str = if cfg!(windows) { "nvcuda.dll" } else { "libcuda.so.1" };

/// A handle of the driver's: a context, stream, event, graph, module or function.
pub(crate) type Handle = *mut c_void;
/// An address in device memory.
pub(crate) type Address = u64;

macro_rules! driver {
    ($($name:ident($($argument:ty),*);)*) => {
        /// The driver's functions by their names there; all give 0 for success.
        #[allow(non_snake_case, reason = "the driver's names")]
        pub(crate) struct Driver {
            $(pub(crate) $name: unsafe extern "system" fn($($argument),*) -> c_int,)*
        }

        impl Driver {
            fn find(library: &Library) -> Result<Self, libloading::Error> {
                // SAFETY: every driver since CUDA 11.4 has these functions with these arguments.
                unsafe { Ok(Self { $($name: *library.get(stringify!($name))?,)* }) }
            }
        }
    };
}

driver! {
    cuCtxSetCurrent(Handle);
    cuDeviceGetAttribute(*mut c_int, c_int, c_int);
    cuCtxGetDevice(*mut c_int);
    cuEventCreate(*mut Handle, c_uint);
    cuEventDestroy_v2(Handle);
    cuEventElapsedTime(*mut f32, Handle, Handle);
    cuEventRecord(Handle, Handle);
    cuEventSynchronize(Handle);
    cuGetErrorName(c_int, *mut *const c_char);
    cuGraphDestroy(Handle);
    cuGraphExecDestroy(Handle);
    cuGraphInstantiateWithFlags(*mut Handle, Handle, u64);
    cuGraphLaunch(Handle, Handle);
    cuLaunchKernel(Handle, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Handle, *mut *mut c_void, *mut *mut c_void);
    cuMemAlloc_v2(*mut Address, usize);
    cuMemFree_v2(Address);
    cuMemGetInfo_v2(*mut usize, *mut usize);
    cuMemcpyDtoDAsync_v2(Address, Address, usize, Handle);
    cuMemcpyDtoH_v2(*mut c_void, Address, usize);
    cuMemcpyHtoD_v2(Address, *const c_void, usize);
    cuMemsetD8_v2(Address, u8, usize);
    cuModuleGetFunction(*mut Handle, Handle, *const c_char);
    cuModuleLoadData(*mut Handle, *const c_void);
    cuModuleUnload(Handle);
    cuStreamBeginCapture_v2(Handle, c_int);
    cuStreamCreate(*mut Handle, c_uint);
    cuStreamDestroy_v2(Handle);
    cuStreamEndCapture(Handle, *mut Handle);
    cuStreamSynchronize(Handle);
}

/// The driver's functions.
pub(crate) fn driver() -> Result<&'static Driver, Error> {
    static DRIVER: OnceLock<Result<Driver, Error>> = OnceLock::new();
    DRIVER.get_or_init(open).as_ref().map_err(Error::clone)
}

fn open() -> Result<Driver, Error> {
    let missing = |error: libloading::Error| {
        Error::Driver(error.source().map_or_else(|| error.to_string(), ToString::to_string))
    };
    // SAFETY: the driver's initialisers may run anywhere.
    let library = unsafe { Library::new(LIBRARY) }.map_err(missing)?;
    let driver = Driver::find(&library).map_err(missing)?;
    // It stays: drivers do not like to be unloaded, and the functions are part of it.
    core::mem::forget(library);
    Ok(driver)
}

impl Driver {
    /// An error that names `call` unless `code` is success.
    pub(crate) fn check(&self, call: &'static str, code: c_int) -> Result<(), Error> {
        if code == 0 {
            return Ok(());
        }
        let mut name = core::ptr::null();
        // SAFETY: `name` is a place for an address; where it is given one, it is a C string that
        // lives as long as the driver.
        let name = unsafe {
            let known = (self.cuGetErrorName)(code, &mut name) == 0 && !name.is_null();
            if known { CStr::from_ptr(name).to_string_lossy() } else { "no name".into() }
        };
        Err(Error::Call { call, code, name: name.into_owned() })
    }
}

/// Calls a function of the driver; an error unless it succeeds.
macro_rules! call {
    ($driver:expr, $name:ident($($argument:expr),* $(,)?)) => {
        $driver.check(stringify!($name), ($driver.$name)($($argument),*))
    };
}
pub(crate) use call;
