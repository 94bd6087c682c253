//! Calls on NVIDIA GPUs. The functions are there in every build; `device` does their work where
//! the crate has CUDA, `absent` where it has not.

#[cfg(not(feature = "cuda"))]
#[path = "absent.rs"]
mod backend;
#[cfg(feature = "cuda")]
#[path = "device.rs"]
mod backend;
#[cfg(feature = "cuda")]
mod call;

use super::args::dynorm_forward_args;
use super::backward::dynorm_backward_args;
use super::boundary::guard;
use super::enums::{dynorm_element, dynorm_function};
use super::statistics::dynorm_row_statistics;
use super::status::dynorm_status;
use core::ffi::c_void;
use core::mem::MaybeUninit;

/// A CUDA context with the kernels of some functions, for some types of x, loaded into it. Make one at
/// start-up and keep it: opening compiles kernels for the device, which takes up to seconds for each
/// function and type (the driver keeps a cache on disk). Several threads may use one at once, whichever
/// context is current on them.
pub struct dynorm_cuda(backend::Device);

/// Writes to `count` the number of CUDA devices.
///
/// DYNORM_ERROR_NULL; DYNORM_ERROR_CUDA_MISSING without a driver that will do;
/// DYNORM_ERROR_CUDA_DRIVER; DYNORM_ERROR_UNSUPPORTED if the library was built without CUDA. On
/// error `count` is left as it was. Any thread may call it.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn dynorm_cuda_device_count(count: *mut usize) -> dynorm_status {
    // SAFETY: the caller keeps what the header says.
    guard(|| unsafe { backend::device_count(count) })
}

/// Opens the primary context of device `ordinal`, which is the one that the CUDA runtime and
/// PyTorch use, and loads kernels into it: those of the `function_count` functions at `functions`, for x
/// (or the residual that it is added to) of the `type_count` types at `types`; of all functions or types
/// where the address is NULL, whatever the count is. `device` receives what `dynorm_cuda_close` must be
/// given in the end.
///
/// DYNORM_ERROR_NULL; DYNORM_ERROR_VALUE for an unknown function or type, or one of 8 bits;
/// DYNORM_ERROR_CUDA_MISSING without a driver or device that will do; DYNORM_ERROR_CUDA_DRIVER;
/// DYNORM_ERROR_UNSUPPORTED if the library was built without CUDA. On error `device` is left as it was.
/// Any thread may call it.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn dynorm_cuda_open_primary(
    ordinal: u32,
    functions: *const MaybeUninit<dynorm_function>,
    function_count: usize,
    types: *const MaybeUninit<dynorm_element>,
    type_count: usize,
    device: *mut *mut dynorm_cuda,
) -> dynorm_status {
    // SAFETY: the caller keeps what the header says.
    guard(|| unsafe {
        backend::open_primary(ordinal, (functions, function_count), (types, type_count), device)
    })
}

/// As `dynorm_cuda_open_primary`, for a context of the caller's, a `CUcontext`; NULL for the one
/// that is current on the calling thread. It is neither retained nor destroyed, and must outlive
/// the device.
///
/// Further errors: DYNORM_ERROR_CUDA_CONTEXT if none is current.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn dynorm_cuda_open_context(
    context: *mut c_void,
    functions: *const MaybeUninit<dynorm_function>,
    function_count: usize,
    types: *const MaybeUninit<dynorm_element>,
    type_count: usize,
    device: *mut *mut dynorm_cuda,
) -> dynorm_status {
    // SAFETY: the caller keeps what the header says.
    guard(|| unsafe {
        backend::open_context(context, (functions, function_count), (types, type_count), device)
    })
}

/// Unloads the kernels and releases what `dynorm_cuda_open_primary` has retained. Kernels that
/// still run are waited for; no call may be in progress on another thread. NULL is nothing to be
/// done.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn dynorm_cuda_close(device: *mut dynorm_cuda) {
    if !device.is_null() {
        // A status would tell the caller nothing that it could act on.
        // SAFETY: it came from `Box::into_raw`, and the caller gives it up.
        let _ = guard(|| unsafe {
            drop(Box::from_raw(device));
            Ok(())
        });
    }
}

/// Puts the work of `args` on `stream`, a `CUstream` (or `cudaStream_t`) of the device's context;
/// NULL for its default stream. Tensors, scales and statistics are device memory, which may come
/// from any library that shares the context. Nothing is allocated and nothing is waited for, so that
/// a stream that is being captured into a graph takes it. In any batch and at any alignment a row
/// gives the same bits; addresses, strides and channels that are multiples of 16 bytes are the
/// fastest.
///
/// Errors as `dynorm_forward` but for _ISA, and nothing is launched then; DYNORM_ERROR_SHAPE also for
/// 2^31 or more blocks or channels, or, with heads, rows; DYNORM_ERROR_CUDA_NOT_LOADED if the device
/// was opened without the function; DYNORM_ERROR_CUDA_MEMORY as far as the driver knows;
/// DYNORM_ERROR_CUDA_DRIVER for what else the driver refuses, such as a stream of another context;
/// DYNORM_ERROR_UNSUPPORTED also if the library was built without CUDA. Any number of threads may
/// call it at once.
///
/// What it cannot see: what `dynorm_forward` cannot, until the stream has come past the call; and
/// the values of scales that are given.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn dynorm_cuda_forward(
    device: *const dynorm_cuda,
    args: *const dynorm_forward_args,
    stream: *mut c_void,
) -> dynorm_status {
    // SAFETY: the caller keeps what the header says.
    guard(|| unsafe { backend::forward(device, args, stream) })
}

/// Puts on `stream` the work of writing to `statistics`, device memory for one for each row, what
/// RMSNorm or LayerNorm need to know of the rows of x: `dynorm_row_statistics_compute` on a device,
/// for calls to take in their field `statistics`. Streams are as in `dynorm_cuda_forward`.
///
/// Of `args`, the function with its parameters, rows, channels, heads, x with its type and strides,
/// and flags are used; residual must be NULL, since x alone is looked at; nothing else is. With no
/// rows nothing is done.
///
/// DYNORM_ERROR_NULL, _ALIGNMENT, _STRUCT_SIZE, _SHAPE, _PARAMETER; _OVERLAP if `statistics` shares
/// memory with x; _VALUE also for the element-wise functions, which need none, and for a residual;
/// _UNSUPPORTED and those of CUDA as `dynorm_cuda_forward`. Nothing is launched then. Any number of
/// threads may call it at once.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn dynorm_cuda_row_statistics(
    device: *const dynorm_cuda,
    args: *const dynorm_forward_args,
    statistics: *mut dynorm_row_statistics,
    stream: *mut c_void,
) -> dynorm_status {
    // SAFETY: the caller keeps what the header says.
    guard(|| unsafe { backend::row_statistics(device, args, statistics, stream) })
}

/// Loads the kernels of gradients, too, of functions and types as in `dynorm_cuda_open_primary`. They are apart since
/// inference needs none. No other call may use `device` meanwhile.
///
/// DYNORM_ERROR_NULL, _VALUE, _CUDA_DRIVER, and _UNSUPPORTED if the library was built without CUDA. What was loaded before an
/// error stays loaded.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn dynorm_cuda_load_gradients(
    device: *mut dynorm_cuda,
    functions: *const MaybeUninit<dynorm_function>,
    function_count: usize,
    types: *const MaybeUninit<dynorm_element>,
    type_count: usize,
) -> dynorm_status {
    // SAFETY: the caller keeps what the header says.
    guard(|| unsafe {
        backend::load_gradients(device, (functions, function_count), (types, type_count))
    })
}

/// Puts the work of `args` on `stream`, as `dynorm_cuda_forward`: gradients on a device, in up to three kernels, one after the
/// other. All addresses in `args` are of device memory; `workspace` has room for what `dynorm_cuda_backward_workspace` says,
/// and calls that may run at the same time need one each. `isa` is not looked at.
///
/// The order of sums depends on shape and type alone, not on the device. Of one device the results have the same bits at any
/// alignment and in place or not, but for those by parameters, which may differ by roundings where rows are not aligned to 16
/// bytes.
///
/// Errors as `dynorm_backward` but for _ISA, and as `dynorm_cuda_forward`; DYNORM_ERROR_CUDA_NOT_LOADED if
/// `dynorm_cuda_load_gradients` has not loaded the function for the type. Nothing is launched then, unless it is
/// DYNORM_ERROR_CUDA_DRIVER of the second or third kernel. Any number of threads may call it at once.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn dynorm_cuda_backward(
    device: *const dynorm_cuda,
    args: *const dynorm_backward_args,
    stream: *mut c_void,
) -> dynorm_status {
    // SAFETY: the caller keeps what the header says.
    guard(|| unsafe { backend::backward(device, args, stream) })
}

/// Writes to `len` how many values of f32 the workspace of `dynorm_cuda_backward` has to have room for, by function, type,
/// rows and channels and by which gradients are not NULL; none of them is written, and no address looked at. No device is
/// needed.
///
/// Errors as `dynorm_cuda_backward` for what is looked at, and then nothing is written.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn dynorm_cuda_backward_workspace(
    args: *const dynorm_backward_args,
    len: *mut usize,
) -> dynorm_status {
    // SAFETY: the caller keeps what the header says.
    guard(|| unsafe { backend::backward_workspace(args, len) })
}
