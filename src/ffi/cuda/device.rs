//! The functions' work, through the crate's own interface to CUDA.

use super::super::args::{dynorm_forward_args, dynorm_norm};
use super::super::enums::dynorm_function;
use super::super::refusal::Refusal;
use super::super::statistics::dynorm_row_statistics;
use super::dynorm_cuda;
pub(super) use crate::cuda::Device;
use crate::{Error, Norm};
use core::ffi::c_void;
use core::mem::MaybeUninit;

pub(super) unsafe fn device_count(count: *mut usize) -> Result<(), Refusal> {
    if count.is_null() {
        return Err(Refusal::Null { what: "count" });
    }
    let devices = Device::count()?;
    // SAFETY: not NULL, and the caller vouches that it is a place for one.
    unsafe { count.write(devices) };
    Ok(())
}

pub(super) unsafe fn open_primary(
    ordinal: u32,
    functions: *const MaybeUninit<dynorm_function>,
    count: usize,
    device: *mut *mut dynorm_cuda,
) -> Result<(), Refusal> {
    // SAFETY: the same contract.
    unsafe { open(functions, count, device, |norms| Device::primary(ordinal as usize, norms)) }
}

pub(super) unsafe fn open_context(
    context: *mut c_void,
    functions: *const MaybeUninit<dynorm_function>,
    count: usize,
    device: *mut *mut dynorm_cuda,
) -> Result<(), Refusal> {
    // SAFETY: the same contract.
    unsafe {
        open(functions, count, device, |norms| {
            if context.is_null() {
                Device::current(norms)
            } else {
                Device::from_context(context, norms)
            }
        })
    }
}

unsafe fn open(
    functions: *const MaybeUninit<dynorm_function>,
    count: usize,
    device: *mut *mut dynorm_cuda,
    open: impl FnOnce(&[Norm]) -> Result<Device, Error>,
) -> Result<(), Refusal> {
    if device.is_null() {
        return Err(Refusal::Null { what: "device" });
    }
    let count = if functions.is_null() { 0 } else { count };
    let mut norms = Vec::new();
    for i in 0..count {
        // SAFETY: not NULL, and the caller vouches for `count` of them.
        let function = unsafe { functions.add(i).read() };
        norms.push(dynorm_norm::any("functions[i]", function)?);
    }
    let opened = open(if functions.is_null() { &Norm::DEFAULTS } else { &norms })?;
    // SAFETY: not NULL, and the caller vouches that it is a place for a pointer.
    unsafe { device.write(Box::into_raw(Box::new(dynorm_cuda(opened)))) };
    Ok(())
}

pub(super) unsafe fn forward(
    device: *const dynorm_cuda,
    args: *const dynorm_forward_args,
    stream: *mut c_void,
) -> Result<(), Refusal> {
    // SAFETY: the caller keeps what the header says.
    let device = unsafe { opened(device) }?;
    let mut room = MaybeUninit::uninit();
    // SAFETY: as above.
    let args = unsafe { dynorm_forward_args::read(args, &mut room) }?;
    // SAFETY: the caller keeps what the header says, which is what `launch` wants.
    Ok(unsafe { args.cuda_forward()?.launch(device, stream) }?)
}

pub(super) unsafe fn row_statistics(
    device: *const dynorm_cuda,
    args: *const dynorm_forward_args,
    statistics: *mut dynorm_row_statistics,
    stream: *mut c_void,
) -> Result<(), Refusal> {
    // SAFETY: the caller keeps what the header says.
    let device = unsafe { opened(device) }?;
    let mut room = MaybeUninit::uninit();
    // SAFETY: as above.
    let args = unsafe { dynorm_forward_args::read(args, &mut room) }?;
    // SAFETY: the caller keeps what the header says, which is what `launch` wants.
    Ok(unsafe { args.cuda_statistics(statistics)?.launch(device, stream) }?)
}

/// # Safety
/// It must be NULL, or a device that is open for `'a`.
unsafe fn opened<'a>(device: *const dynorm_cuda) -> Result<&'a Device, Refusal> {
    // SAFETY: the same contract.
    match unsafe { device.as_ref() } {
        Some(dynorm_cuda(device)) => Ok(device),
        None => Err(Refusal::Null { what: "device" }),
    }
}
