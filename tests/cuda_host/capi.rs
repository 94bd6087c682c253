//! The C interface's functions for GPUs, over the emulator.

#[path = "capi/backward.rs"]
mod backward;
#[path = "capi/call.rs"]
mod call;
#[path = "capi/fused.rs"]
mod fused;
#[path = "capi/refused.rs"]
mod refused;

use crate::cuda_common::case::{Case, Numbers, Tensors};
use crate::emulator::{self, Emulator};
use crate::{TYPES, ULP, allocations};
use dynorm::ffi::*;
use dynorm::{ElementType, Norm};
use dynorm_status::*;
use std::ffi::{CStr, c_void};
use std::mem::MaybeUninit;
use std::ptr;

fn element(element: ElementType) -> MaybeUninit<dynorm_element> {
    MaybeUninit::new(match element {
        ElementType::F32 => dynorm_element::DYNORM_F32,
        ElementType::F16 => dynorm_element::DYNORM_F16,
        ElementType::Bf16 => dynorm_element::DYNORM_BF16,
    })
}

/// The function of a norm, and its parameters where the struct of C has them.
fn norm(norm: Norm) -> dynorm_norm {
    let function = MaybeUninit::new(match norm {
        Norm::RmsNorm { .. } => dynorm_function::DYNORM_RMS_NORM,
        Norm::LayerNorm { .. } => dynorm_function::DYNORM_LAYER_NORM,
        Norm::DyT { .. } => dynorm_function::DYNORM_DYT,
        Norm::DyIsru { .. } => dynorm_function::DYNORM_DYISRU,
        Norm::Derf { .. } => dynorm_function::DYNORM_DERF,
        _ => unreachable!("C has every function"),
    });
    // What a function does not use is not looked at.
    let nan = f32::NAN;
    let none = dynorm_norm {
        function,
        eps: nan,
        alpha: nan,
        beta: nan,
        scale: nan,
        shift: nan,
        reserved: [0; 2],
    };
    match norm {
        Norm::RmsNorm { eps } | Norm::LayerNorm { eps } => dynorm_norm { eps, ..none },
        Norm::DyT { alpha } => dynorm_norm { alpha, ..none },
        Norm::DyIsru { beta, scale } => dynorm_norm { beta, scale, ..none },
        Norm::Derf { alpha, shift } => dynorm_norm { alpha, shift, ..none },
        _ => none,
    }
}

fn arguments(tensors: &Tensors) -> dynorm_forward_args {
    let case = tensors.case;
    let at = |address: u64| ptr::without_provenance_mut::<c_void>(address as usize);
    let operand = |which: &Option<_>| {
        which.as_ref().map_or(0, |buffer: &crate::cuda_common::buffer::Buffer| buffer.address())
    };
    // SAFETY: zeros are every field's default.
    let defaults: dynorm_forward_args = unsafe { std::mem::zeroed() };
    dynorm_forward_args {
        size: size_of::<dynorm_forward_args>(),
        norm: norm(case.norm),
        rows: case.rows,
        channels: case.channels,
        x: at(tensors.x.address()),
        y: at(tensors.y.address()),
        x_row_stride: case.channels + case.padding[0],
        y_row_stride: case.channels + case.padding[1],
        x_element: element(case.x),
        y_element: element(case.y),
        weight: at(operand(&tensors.weight)),
        bias: at(operand(&tensors.bias)),
        weight_element: element(case.weight.unwrap_or(case.x)),
        bias_element: element(case.bias.unwrap_or(case.x)),
        weight_offset: case.weight_offset,
        ..defaults
    }
}

/// A device with the kernels of some functions for all types; all for none.
fn open(functions: &[dynorm_function]) -> *mut dynorm_cuda {
    open_for(functions, &[])
}

/// The same for some types of x; all for none.
fn open_for(functions: &[dynorm_function], types: &[dynorm_element]) -> *mut dynorm_cuda {
    fn list<T>(of: &[T]) -> (*const MaybeUninit<T>, usize) {
        (if of.is_empty() { ptr::null() } else { of.as_ptr().cast() }, of.len())
    }
    let ((functions, function_count), (types, type_count)) = (list(functions), list(types));
    let mut device = ptr::null_mut();
    // SAFETY: two lists, and a place for a device.
    let status = unsafe {
        dynorm_cuda_open_primary(0, functions, function_count, types, type_count, &mut device)
    };
    assert_eq!(status, DYNORM_OK);
    device
}

fn launch(device: *mut dynorm_cuda, args: &dynorm_forward_args) -> dynorm_status {
    // SAFETY: the emulator looks at every access, and is done when it returns.
    unsafe { dynorm_cuda_forward(device, args, ptr::null_mut()) }
}

fn find_statistics(
    device: *mut dynorm_cuda,
    args: &dynorm_forward_args,
    statistics: *mut dynorm_row_statistics,
) -> dynorm_status {
    // SAFETY: as in `launch`.
    unsafe { dynorm_cuda_row_statistics(device, args, statistics, ptr::null_mut()) }
}

fn close(device: *mut dynorm_cuda) {
    // SAFETY: nobody uses it.
    unsafe { dynorm_cuda_close(device) };
}

fn last_error() -> String {
    // SAFETY: a C string of this thread's.
    unsafe { CStr::from_ptr(dynorm_last_error()) }.to_str().unwrap().to_owned()
}

fn plain(emulator: &Emulator) -> Tensors {
    let case =
        Case { weight: Some(TYPES[2]), ..Case::new(Norm::DEFAULTS[0], TYPES[2], TYPES[0], 3, 256) };
    let mut numbers = Numbers::new(1);
    let tensors = Tensors::new(case, |_, _| numbers.normal());
    emulator.expose(&tensors);
    tensors
}

#[test]
fn every_function_and_field_arrives() {
    let emulator = emulator::lock();
    let device = open(&[]);
    for norm in Norm::DEFAULTS {
        for (i, x) in TYPES.into_iter().enumerate() {
            let case = Case {
                weight: Some(TYPES[(i + 1) % 3]),
                bias: Some(TYPES[(i + 2) % 3]),
                weight_offset: 1.0,
                padding: [3, 8],
                ..Case::new(norm, x, TYPES[(i + 1) % 3], 4, 136)
            };
            let mut numbers = Numbers::new(i as u64);
            let tensors = Tensors::new(case, |_, _| numbers.normal());
            emulator.expose(&tensors);
            assert_eq!(launch(device, &arguments(&tensors)), DYNORM_OK, "{}", emulator.fault());
            tensors.check(ULP);
        }
    }
    close(device);
}

#[test]
fn flags_arrive() {
    let emulator = emulator::lock();
    let device = open(&[dynorm_function::DYNORM_DYT]);
    let mut tensors = plain(&emulator);
    tensors.case.norm = Norm::DyT { alpha: 0.5 };
    let mut args = arguments(&tensors);
    let before = emulator.counts().programmatic;
    args.flags = dynorm_flag::DYNORM_FLAG_FAST_TANH as u32;
    assert_eq!(launch(device, &args), DYNORM_OK);
    assert!(emulator.counts().kernel().starts_with("dyt_fast_"));
    assert_eq!(emulator.counts().programmatic, before);
    args.flags = dynorm_flag::DYNORM_FLAG_PROGRAMMATIC as u32;
    assert_eq!(launch(device, &args), DYNORM_OK);
    assert!(!emulator.counts().kernel().starts_with("dyt_fast_"));
    assert_eq!(emulator.counts().programmatic, before + 1);
    close(device);
}

#[test]
fn a_call_allocates_nothing() {
    let emulator = emulator::lock();
    let device = open(&[dynorm_function::DYNORM_RMS_NORM]);
    let tensors = plain(&emulator);
    let args = arguments(&tensors);
    // cudarc looks functions up when they are first called.
    assert_eq!(launch(device, &args), DYNORM_OK);
    let before = allocations::count();
    let status = launch(device, &args);
    assert_eq!((allocations::count(), status), (before, DYNORM_OK));

    // The emulator's memory is the host's, so the CPU takes the same call.
    // SAFETY: `args` describes the tensors.
    let on_cpu = || unsafe { dynorm_forward(&args) };
    assert_eq!(on_cpu(), DYNORM_OK);
    let before = allocations::count();
    assert_eq!((on_cpu(), allocations::count()), (DYNORM_OK, before));
    tensors.check(ULP);
    close(device);
}

#[test]
fn devices_are_opened_and_closed() {
    let emulator = emulator::lock();
    let mut count = 0;
    // SAFETY: a place for a number.
    assert_eq!(unsafe { dynorm_cuda_device_count(&mut count) }, DYNORM_OK);
    assert_eq!(count, 1);

    let open_context = |context| {
        let mut device = ptr::null_mut();
        // SAFETY: the context lives longer than the device.
        let status = unsafe {
            dynorm_cuda_open_context(context, ptr::null(), 9, ptr::null(), 9, &mut device)
        };
        (status, device)
    };
    assert_eq!(open_context(ptr::null_mut()), (DYNORM_ERROR_CUDA_CONTEXT, ptr::null_mut()));

    let primary = open_for(
        &[dynorm_function::DYNORM_DERF, dynorm_function::DYNORM_DERF],
        &[dynorm_element::DYNORM_F16, dynorm_element::DYNORM_BF16],
    );
    assert_eq!((emulator.counts().modules, emulator.counts().retained), (2, 1));
    let (status, second) = open_context(ptr::dangling_mut::<u64>().cast());
    assert_eq!(status, DYNORM_OK);
    assert_eq!((emulator.counts().modules, emulator.counts().retained), (17, 1));
    close(second);
    close(primary);
    assert_eq!((emulator.counts().modules, emulator.counts().retained), (0, 0));
}

#[test]
fn what_is_refused_has_a_status() {
    let mut emulator = emulator::lock();
    let device = open(&[dynorm_function::DYNORM_RMS_NORM]);
    let tensors = plain(&emulator);
    let good = arguments(&tensors);

    let unloaded = dynorm_forward_args { norm: norm(Norm::DyT { alpha: 1.0 }), ..good };
    assert_eq!(launch(device, &unloaded), DYNORM_ERROR_CUDA_NOT_LOADED);
    assert_eq!(
        last_error(),
        "the kernels of dyt for bf16 are not loaded; name both when the device is opened"
    );
    let misaligned = dynorm_forward_args { x: good.x.wrapping_byte_add(1), ..good };
    assert_eq!(launch(device, &misaligned), DYNORM_ERROR_ALIGNMENT);
    let nowhere = dynorm_forward_args { y: ptr::null_mut(), ..good };
    assert_eq!(launch(device, &nowhere), DYNORM_ERROR_NULL);
    let overlapping = dynorm_forward_args { y: good.x.cast_mut(), ..good };
    assert_eq!(launch(device, &overlapping), DYNORM_ERROR_OVERLAP);
    let unknown = dynorm_forward_args { y: ptr::dangling_mut::<u64>().cast(), ..good };
    assert_eq!(launch(device, &unknown), DYNORM_ERROR_CUDA_MEMORY);
    let narrow = dynorm_forward_args { x_row_stride: 1, ..good };
    assert_eq!(launch(device, &narrow), DYNORM_ERROR_SHAPE);
    let both = dynorm_flag::DYNORM_FLAG_STREAM as u32 | dynorm_flag::DYNORM_FLAG_NO_STREAM as u32;
    assert_eq!(launch(device, &dynorm_forward_args { flags: both, ..good }), DYNORM_ERROR_VALUE);
    assert_eq!(launch(device, &dynorm_forward_args { size: 1, ..good }), DYNORM_ERROR_STRUCT_SIZE);
    assert_eq!(launch(ptr::null_mut(), &good), DYNORM_ERROR_NULL);

    emulator.fail("cuLaunchKernelEx", 719);
    emulator.expose(&tensors);
    assert_eq!(launch(device, &good), DYNORM_ERROR_CUDA_DRIVER);
    assert_eq!(last_error(), "cuLaunchKernelEx failed: CUDA_ERROR_LAUNCH_FAILED (719)");
    close(device);
}
