//! Gradients in C's terms: the same bits as in Rust's, and what is refused.

use super::{close, element, last_error, norm, open_for};
use crate::common::backward::{BackwardCall, Numbers};
use crate::cuda_common::backward::{
    DX, DY, SUMS, WEIGHT, WORKSPACE, X, call, run, stride, token_stride, workspace_len,
};
use crate::cuda_common::buffer::Buffer;
use crate::cuda_common::fused::{Access, Call, Machine};
use crate::emulator::{self, Emulator, Range};
use crate::fused::Host;
use crate::{TYPES, device};
use dynorm::Norm;
use dynorm::ffi::*;
use dynorm_status::*;
use std::mem::zeroed;
use std::ptr;

/// The call in C's terms, over tensors at `addresses`.
fn arguments(call: &BackwardCall, heads: usize, addresses: &[u64]) -> dynorm_backward_args {
    fn at<T>(address: u64) -> *mut T {
        ptr::without_provenance_mut(address as usize)
    }
    let dx = if call.in_place { DY } else { DX };
    let sums = |which: usize| if call.sums { at(addresses[which]) } else { ptr::null_mut() };
    let has_parameters = call.norm.parameter_count() > 0;
    // SAFETY: zeros are every field's default.
    let defaults: dynorm_backward_args = unsafe { zeroed() };
    dynorm_backward_args {
        size: size_of::<dynorm_backward_args>(),
        norm: norm(call.norm),
        rows: call.rows,
        channels: call.channels,
        x: at(addresses[X]),
        dy: at(addresses[DY]),
        dx: at(addresses[dx]),
        x_row_stride: stride(call, X),
        dy_row_stride: stride(call, DY),
        dx_row_stride: stride(call, dx),
        element: element(call.element),
        weight: at(call.weight.map_or(0, |_| addresses[WEIGHT])),
        weight_element: element(call.weight.unwrap_or(call.element)),
        weight_offset: call.weight_offset,
        d_weight: sums(SUMS),
        d_bias: sums(SUMS + 1),
        d_parameters: if has_parameters { sums(SUMS + 2) } else { ptr::null_mut() },
        workspace: at(addresses[WORKSPACE]),
        workspace_len: workspace_len(call, heads),
        heads,
        x_token_stride: token_stride(call, X, heads),
        dy_token_stride: token_stride(call, DY, heads),
        dx_token_stride: token_stride(call, dx, heads),
        ..defaults
    }
}

/// The emulator, called as C does.
struct FromC<'a> {
    emulator: &'a Emulator,
    device: *mut dynorm_cuda,
    call: BackwardCall,
    heads: usize,
}

impl Machine for FromC<'_> {
    fn run(&mut self, tensors: &mut [(&mut Buffer, Access)], _: &dyn Fn(&[u64]) -> Call) {
        let addresses: Vec<_> = tensors.iter().map(|(buffer, _)| buffer.address()).collect();
        let ranges: Vec<_> = tensors
            .iter()
            .map(|(buffer, access)| Range::new(buffer, *access == Access::Written, false))
            .collect();
        self.emulator.set_ranges(&ranges);
        let args = arguments(&self.call, self.heads, &addresses);
        let mut len = 0;
        // SAFETY: arguments and a place for a number.
        assert_eq!(unsafe { dynorm_cuda_backward_workspace(&args, &mut len) }, DYNORM_OK);
        assert_eq!(len, args.workspace_len);
        // SAFETY: the emulator looks at every access, and is done when it returns.
        let status = unsafe { dynorm_cuda_backward(self.device, &args, ptr::null_mut()) };
        assert_eq!(status, DYNORM_OK, "{} {}", last_error(), self.emulator.fault());
    }
}

#[test]
fn every_field_arrives() {
    let mut emulator = emulator::lock();
    for (i, norm) in Norm::DEFAULTS.into_iter().enumerate() {
        for heads in [0, 3] {
            let call = BackwardCall {
                weight: Some(TYPES[(i + 1) % 3]),
                weight_offset: 0.5,
                gap: 2,
                in_place: heads == 0,
                ..call(norm, TYPES[i % 3], 6, 40)
            };
            let numbers = call.numbers(7);
            let mut loaded = device();
            loaded.load_gradients(&[norm], &TYPES).unwrap();
            let wanted = run(&mut Host::with(&mut emulator, loaded), &call, heads, &numbers);

            let device = open_for(&[], &[]);
            // SAFETY: it is open, and all is loaded.
            let loaded =
                unsafe { dynorm_cuda_load_gradients(device, ptr::null(), 0, ptr::null(), 0) };
            assert_eq!(loaded, DYNORM_OK);
            let mut host = FromC { emulator: &emulator, device, call, heads };
            let given = run(&mut host, &call, heads, &numbers);
            close(device);
            assert_eq!(given.bits(), wanted.bits(), "{call:?}");
        }
    }
}

#[test]
fn what_is_wrong_is_refused() {
    let emulator = emulator::lock();
    let device = open_for(&[], &[]);
    let call = call(Norm::DEFAULTS[2], TYPES[0], 2, 8);
    let Numbers { x, .. } = call.numbers(1);
    let mut memory: Vec<_> = (0..8).map(|_| Buffer::new(TYPES[0], x.len(), 0)).collect();
    let addresses: Vec<_> = memory.iter().map(Buffer::address).collect();
    let ranges: Vec<_> = memory.iter().map(|buffer| Range::new(buffer, true, false)).collect();
    emulator.set_ranges(&ranges);
    let good = arguments(&call, 0, &addresses);
    // SAFETY: the emulator looks at every access.
    let status = |args| unsafe { dynorm_cuda_backward(device, args, ptr::null_mut()) };
    assert_eq!(status(&good), DYNORM_ERROR_CUDA_NOT_LOADED);
    assert!(last_error().contains("gradients of dyt for f32"), "{}", last_error());
    let function = dynorm_function::DYNORM_DYT;
    // SAFETY: a list of one.
    let loaded = unsafe {
        dynorm_cuda_load_gradients(device, ptr::from_ref(&function).cast(), 1, ptr::null(), 0)
    };
    assert_eq!(loaded, DYNORM_OK);

    let bad = |change: &dyn Fn(&mut dynorm_backward_args)| {
        let mut args = good;
        change(&mut args);
        status(&args)
    };
    assert_eq!(status(ptr::null()), DYNORM_ERROR_NULL);
    assert_eq!(bad(&|args| args.size = 8), DYNORM_ERROR_STRUCT_SIZE);
    assert_eq!(bad(&|args| args.dx = args.x.cast_mut()), DYNORM_ERROR_OVERLAP);
    assert_eq!(bad(&|args| args.dx = args.dx.wrapping_byte_add(2)), DYNORM_ERROR_ALIGNMENT);
    assert_eq!(bad(&|args| args.d_bias = args.d_weight), DYNORM_ERROR_OVERLAP);
    assert_eq!(bad(&|args| args.workspace_len -= 1), DYNORM_ERROR_SHAPE);
    assert_eq!(bad(&|args| args.x_row_stride = 7), DYNORM_ERROR_SHAPE);
    assert_eq!(bad(&|args| args.weight_offset = f32::INFINITY), DYNORM_ERROR_PARAMETER);
    assert_eq!(bad(&|args| args.norm = norm(Norm::DEFAULTS[0])), DYNORM_ERROR_VALUE);
    assert_eq!(emulator.counts().launches, 0);
    let guarded = |buffer: &mut Buffer| (0..buffer.len()).all(|i| buffer.is_guard(i));
    assert!(memory.iter_mut().all(guarded), "a refused call has written something");
    close(device);
}
