//! The same functions in a build without CUDA: each says so.

use super::super::args::dynorm_forward_args;
use super::super::backward::dynorm_backward_args;
use super::super::enums::{dynorm_element, dynorm_function};
use super::super::refusal::Refusal;
use super::super::statistics::dynorm_row_statistics;
use super::dynorm_cuda;
use core::ffi::c_void;
use core::mem::MaybeUninit;

/// There is none.
pub(super) enum Device {}

type List<T> = (*const MaybeUninit<T>, usize);

const ABSENT: Result<(), Refusal> = Err(Refusal::Unsupported { feature: "cuda" });

pub(super) unsafe fn device_count(_: *mut usize) -> Result<(), Refusal> {
    ABSENT
}

pub(super) unsafe fn open_primary(
    _: u32,
    _: List<dynorm_function>,
    _: List<dynorm_element>,
    _: *mut *mut dynorm_cuda,
) -> Result<(), Refusal> {
    ABSENT
}

pub(super) unsafe fn open_context(
    _: *mut c_void,
    _: List<dynorm_function>,
    _: List<dynorm_element>,
    _: *mut *mut dynorm_cuda,
) -> Result<(), Refusal> {
    ABSENT
}

pub(super) unsafe fn forward(
    _: *const dynorm_cuda,
    _: *const dynorm_forward_args,
    _: *mut c_void,
) -> Result<(), Refusal> {
    ABSENT
}

pub(super) unsafe fn row_statistics(
    _: *const dynorm_cuda,
    _: *const dynorm_forward_args,
    _: *mut dynorm_row_statistics,
    _: *mut c_void,
) -> Result<(), Refusal> {
    ABSENT
}

pub(super) unsafe fn load_gradients(
    _: *mut dynorm_cuda,
    _: List<dynorm_function>,
    _: List<dynorm_element>,
) -> Result<(), Refusal> {
    ABSENT
}

pub(super) unsafe fn backward(
    _: *const dynorm_cuda,
    _: *const dynorm_backward_args,
    _: *mut c_void,
) -> Result<(), Refusal> {
    ABSENT
}

pub(super) unsafe fn backward_workspace(
    _: *const dynorm_backward_args,
    _: *mut usize,
) -> Result<(), Refusal> {
    ABSENT
}
