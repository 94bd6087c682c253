//! The functions' work, through the crate's own interface to CUDA.

use super::super::args::{self, dynorm_forward_args, dynorm_norm};
use super::super::backward::dynorm_backward_args;
use super::super::enums::{dynorm_element, dynorm_function, element};
use super::super::refusal::Refusal;
use super::super::statistics::dynorm_row_statistics;
use super::dynorm_cuda;
pub(super) use crate::cuda::Device;
use crate::{ElementType, Error, Norm};
use core::ffi::c_void;
use core::mem::MaybeUninit;

/// An address, which may be NULL, and how many there are.
type List<T> = (*const MaybeUninit<T>, usize);

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
    functions: List<dynorm_function>,
    types: List<dynorm_element>,
    device: *mut *mut dynorm_cuda,
) -> Result<(), Refusal> {
    // SAFETY: the same contract.
    unsafe {
        open(functions, types, device, |norms, types| {
            Device::primary(ordinal as usize, norms, types)
        })
    }
}

pub(super) unsafe fn open_context(
    context: *mut c_void,
    functions: List<dynorm_function>,
    types: List<dynorm_element>,
    device: *mut *mut dynorm_cuda,
) -> Result<(), Refusal> {
    // SAFETY: the same contract.
    unsafe {
        open(functions, types, device, |norms, types| {
            if context.is_null() {
                Device::current(norms, types)
            } else {
                Device::from_context(context, norms, types)
            }
        })
    }
}

unsafe fn open(
    functions: List<dynorm_function>,
    types: List<dynorm_element>,
    device: *mut *mut dynorm_cuda,
    open: impl FnOnce(&[Norm], &[ElementType]) -> Result<Device, Error>,
) -> Result<(), Refusal> {
    if device.is_null() {
        return Err(Refusal::Null { what: "device" });
    }
    // SAFETY: the same contract.
    let (norms, types) = unsafe { lists(functions, types) }?;
    let opened = open(&norms, &types)?;
    // SAFETY: not NULL, and the caller vouches that it is a place for a pointer.
    unsafe { device.write(Box::into_raw(Box::new(dynorm_cuda(opened)))) };
    Ok(())
}

/// What the numbers of both lists stand for.
///
/// # Safety
/// As [`named`].
unsafe fn lists(
    functions: List<dynorm_function>,
    types: List<dynorm_element>,
) -> Result<(Vec<Norm>, Vec<ElementType>), Refusal> {
    // SAFETY: the same contract.
    unsafe {
        Ok((
            named(functions, &Norm::DEFAULTS, |raw| dynorm_norm::any("functions[i]", raw))?,
            named(types, &ElementType::ALL, |raw| element("types[i]", raw))?,
        ))
    }
}

/// What the numbers of a list stand for; all there is if it is NULL.
///
/// # Safety
/// It must be NULL, or valid for reads of as many as it says.
unsafe fn named<T, U: Copy>(
    (list, count): List<T>,
    all: &[U],
    name: impl Fn(MaybeUninit<T>) -> Result<U, Refusal>,
) -> Result<Vec<U>, Refusal> {
    if list.is_null() {
        return Ok(all.to_vec());
    }
    // SAFETY: the same contract.
    (0..count).map(|i| name(unsafe { list.add(i).read() })).collect()
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
    let args = unsafe { args::read(args, &mut room) }?;
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
    let args = unsafe { args::read(args, &mut room) }?;
    // SAFETY: the caller keeps what the header says, which is what `launch` wants.
    Ok(unsafe { args.cuda_statistics(statistics)?.launch(device, stream) }?)
}

pub(super) unsafe fn load_gradients(
    device: *mut dynorm_cuda,
    functions: List<dynorm_function>,
    types: List<dynorm_element>,
) -> Result<(), Refusal> {
    // SAFETY: the caller keeps what the header says.
    let Some(dynorm_cuda(device)) = (unsafe { device.as_mut() }) else {
        return Err(Refusal::Null { what: "device" });
    };
    // SAFETY: as above.
    let (norms, types) = unsafe { lists(functions, types) }?;
    Ok(device.load_gradients(&norms, &types)?)
}

pub(super) unsafe fn backward(
    device: *const dynorm_cuda,
    args: *const dynorm_backward_args,
    stream: *mut c_void,
) -> Result<(), Refusal> {
    // SAFETY: the caller keeps what the header says.
    let device = unsafe { opened(device) }?;
    let mut room = MaybeUninit::uninit();
    // SAFETY: as above.
    let args = unsafe { args::read(args, &mut room) }?;
    // SAFETY: the caller keeps what the header says, which is what `launch` wants.
    Ok(unsafe { args.cuda_backward()?.launch(device, stream) }?)
}

pub(super) unsafe fn backward_workspace(
    args: *const dynorm_backward_args,
    len: *mut usize,
) -> Result<(), Refusal> {
    let mut room = MaybeUninit::uninit();
    // SAFETY: the caller keeps what the header says.
    let args: &dynorm_backward_args = unsafe { args::read(args, &mut room) }?;
    if len.is_null() {
        return Err(Refusal::Null { what: "len" });
    }
    let wanted = args.cuda_backward()?.workspace_len();
    // SAFETY: it is not NULL; the caller vouches for it.
    unsafe { len.write(wanted) };
    Ok(())
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
