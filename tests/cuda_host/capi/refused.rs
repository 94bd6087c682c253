//! What C can get wrong in what is fused around the function: a status and a text, and nothing
//! launched. `tests/c/fused_errors.c` has the same for the CPU, with which most of it is shared.

use super::call::{CHANNELS, Fused, HEADS, Memory, Tensor};
use super::{close, find_statistics, last_error, launch, norm, open};
use crate::emulator::{self, Emulator};
use dynorm::Norm;
use dynorm::ffi::*;
use dynorm_element::*;
use dynorm_scale::*;
use dynorm_status::*;
use std::mem::MaybeUninit;
use std::ptr;

/// The machine, an open device and memory for calls that are not launched.
struct Calls<'a> {
    emulator: &'a Emulator,
    device: *mut dynorm_cuda,
    memory: Memory,
    statistics: *mut dynorm_row_statistics,
    /// A call of everything at once.
    good: dynorm_forward_args,
}

impl<'a> Calls<'a> {
    fn new(emulator: &'a Emulator) -> Self {
        let memory = Memory::new(0);
        memory.expose(emulator);
        let fused = Fused {
            heads: true,
            residual: Some(Tensor::Sum),
            gate: true,
            statistics: true,
            ..Fused::new(Norm::DEFAULTS[0], 0)
        };
        let device = open(&[dynorm_function::DYNORM_RMS_NORM, dynorm_function::DYNORM_DYT]);
        let good = fused.args(&memory);
        let calls =
            Self { emulator, device, statistics: memory.at(Tensor::Statistics), memory, good };
        assert_eq!(launch(device, &good), DYNORM_OK, "{}", emulator.fault());
        calls
    }

    fn at<T>(&self, tensor: Tensor) -> *mut T {
        self.memory.at(tensor)
    }

    /// The good call with y of 8 bits.
    fn quantized(&self, mode: dynorm_scale) -> dynorm_forward_args {
        dynorm_forward_args {
            y_element: MaybeUninit::new(DYNORM_I8),
            scale_mode: MaybeUninit::new(mode),
            scales: self.at(Tensor::Scales),
            ..self.good
        }
    }

    fn refused(&self, args: dynorm_forward_args, status: dynorm_status, said: &str) {
        self.check(launch(self.device, &args), status, said);
    }

    /// The good call is refused with one thing changed.
    fn changed(
        &self,
        change: impl FnOnce(&mut dynorm_forward_args),
        status: dynorm_status,
        said: &str,
    ) {
        let mut args = self.good;
        change(&mut args);
        self.refused(args, status, said);
    }

    /// The statistics of a call are refused.
    fn statistics_refused(
        &self,
        args: dynorm_forward_args,
        to: *mut dynorm_row_statistics,
        status: dynorm_status,
        said: &str,
    ) {
        self.check(find_statistics(self.device, &args, to), status, said);
    }

    fn check(&self, given: dynorm_status, wanted: dynorm_status, said: &str) {
        let text = last_error();
        assert!(given == wanted && text.contains(said), "{wanted:?}, {said}: {given:?}, {text}");
        // The good call alone was.
        assert_eq!(self.emulator.counts().launches, 1, "{said}");
    }
}

impl Drop for Calls<'_> {
    fn drop(&mut self) {
        close(self.device);
    }
}

fn byte_after<T>(pointer: *mut T) -> *mut T {
    pointer.wrapping_byte_add(1)
}

#[test]
fn pointers() {
    let emulator = emulator::lock();
    let calls = Calls::new(&emulator);
    let missing = "args.residual is NULL; args.residual_sum needs it";
    calls.changed(|args| args.residual = ptr::null_mut(), DYNORM_ERROR_NULL, missing);
    let misaligned = DYNORM_ERROR_ALIGNMENT;
    let residual = byte_after(calls.good.residual);
    calls.changed(|args| args.residual = residual, misaligned, "residual is at 0x");
    let sum = byte_after(calls.good.residual_sum);
    calls.changed(|args| args.residual_sum = sum, misaligned, "residual's sum is at 0x");
    let z = byte_after(calls.good.z.cast_mut());
    calls.changed(|args| args.z = z, misaligned, "gate is at 0x");
    let statistics = byte_after(calls.statistics);
    calls.changed(|args| args.statistics = statistics, misaligned, "statistics is at 0x");
    for mode in [DYNORM_SCALE_GIVEN, DYNORM_SCALE_GIVEN_PER_ROW, DYNORM_SCALE_COMPUTED] {
        let with = |scales| dynorm_forward_args { scales, ..calls.quantized(mode) };
        calls.refused(with(ptr::null_mut()), DYNORM_ERROR_NULL, "scales is at 0x0");
        let scales = byte_after(calls.at(Tensor::Scales));
        calls.refused(with(scales), misaligned, "scales is at 0x");
        // A scale that is the host's, which is what the CPU takes.
        let mut of_host = 0.5;
        calls.refused(with(&mut of_host), DYNORM_ERROR_CUDA_MEMORY, "scales is at 0x");
    }
}

#[test]
fn values() {
    let emulator = emulator::lock();
    let calls = Calls::new(&emulator);
    let value = DYNORM_ERROR_VALUE;
    let eight_bits = MaybeUninit::new(DYNORM_F8_E4M3);
    let only_y = "DYNORM_F8_E4M3, which only y can be of";
    calls.changed(|args| args.x_element = eight_bits, value, only_y);
    calls.changed(|args| args.residual_element = eight_bits, value, only_y);
    calls.changed(|args| args.z_element = eight_bits, value, only_y);
    let no_scale = "args.scale_mode is DYNORM_SCALE_NONE and args.y_element DYNORM_F8_E4M3";
    calls.changed(|args| args.y_element = eight_bits, value, no_scale);
    let computed = MaybeUninit::new(DYNORM_SCALE_COMPUTED);
    let no_bits = "args.scale_mode is DYNORM_SCALE_COMPUTED and args.y_element DYNORM_F16";
    calls.changed(|args| args.scale_mode = computed, value, no_bits);
    let unknown = MaybeUninit::zeroed();
    calls.changed(|args| args.z_element = unknown, value, "args.z_element is 0");
    let dyt = norm(Norm::DyT { alpha: 1.0 });
    calls.changed(|args| args.norm = dyt, value, "dyt is element-wise");
    let unsupported = DYNORM_ERROR_UNSUPPORTED;
    calls.changed(|args| args.reserved = 1, unsupported, "args.reserved is not 0");
    let no_groups = "args.scale_group_size is set; only DYNORM_SCALE_COMPUTED_PER_GROUP";
    calls.changed(|args| args.scale_group_size = 1, value, no_groups);
    let groups = |args: &mut dynorm_forward_args| {
        args.scale_mode = MaybeUninit::new(DYNORM_SCALE_COMPUTED_PER_GROUP);
        (args.y_element, args.scale_group_size) = (eight_bits, 2);
    };
    calls.changed(groups, value, "CUDA calls compute no scales of groups");
}

#[test]
fn shapes() {
    let emulator = emulator::lock();
    let calls = Calls::new(&emulator);
    let shape = DYNORM_ERROR_SHAPE;
    calls.changed(|args| args.heads = 5, shape, "multiple of args.heads, which is 5");
    calls.changed(|args| args.residual_token_stride = 1, shape, "residual has 4 heads");
    calls.changed(|args| args.residual_sum_token_stride = 1, shape, "residual's sum has 4 heads");
    calls.changed(|args| args.z_token_stride = 1, shape, "gate has 4 heads");
    calls.changed(|args| args.y_token_stride = 1, shape, "output has 4 heads");
    calls.changed(|args| args.x_token_stride = 1, shape, "input has 4 heads");
    let too_large = "larger than the address space";
    calls.changed(|args| args.z_token_stride = usize::MAX / 2, shape, too_large);
    let without_heads = dynorm_forward_args { heads: 0, ..calls.good };
    let narrow = |change: fn(&mut dynorm_forward_args), said| {
        let mut args = without_heads;
        change(&mut args);
        calls.refused(args, shape, said);
    };
    narrow(|args| args.x_row_stride = 1, "input has");
    narrow(|args| args.y_row_stride = 1, "output has");
    narrow(|args| args.residual_row_stride = 1, "residual has");
    narrow(|args| args.residual_sum_row_stride = 1, "residual's sum has");
    narrow(|args| args.z_row_stride = 1, "gate has");
    narrow(|args| args.z_row_stride = usize::MAX / 2, too_large);
    let narrow_bits =
        dynorm_forward_args { heads: 0, y_row_stride: 1, ..calls.quantized(DYNORM_SCALE_GIVEN) };
    calls.refused(narrow_bits, shape, "output has");

    // More heads than a grid has blocks: one channel of each, in place.
    let in_place = Fused { heads: true, ..Fused::new(Norm::DyT { alpha: 1.0 }, 0) };
    let many = dynorm_forward_args {
        rows: 1 << 32,
        channels: 1,
        x: calls.at(Tensor::Y),
        x_element: calls.good.y_element,
        x_row_stride: Tensor::Y.row_stride(),
        x_token_stride: Tensor::Y.token_stride(),
        weight: ptr::null(),
        bias: ptr::null(),
        ..in_place.args(&calls.memory)
    };
    calls.refused(many, shape, too_large);
}

#[test]
fn overlaps() {
    let emulator = emulator::lock();
    let calls = Calls::new(&emulator);
    let overlap = DYNORM_ERROR_OVERLAP;
    let good = calls.good;
    calls.changed(|args| args.y = good.residual, overlap, "output overlaps residual");
    calls.changed(|args| args.y = good.residual_sum, overlap, "output overlaps residual's sum");
    calls.changed(|args| args.y = good.z.cast_mut(), overlap, "output overlaps gate");
    calls.changed(|args| args.y = calls.statistics.cast(), overlap, "output overlaps statistics");
    let x = good.x.cast_mut();
    calls.changed(|args| args.residual_sum = x, overlap, "residual's sum overlaps input");
    let next = good.residual.wrapping_byte_add(2);
    calls.changed(|args| args.residual_sum = next, overlap, "residual's sum overlaps residual");
    let in_place = |args: &mut dynorm_forward_args| {
        (args.residual, args.residual_sum) = (x, ptr::null_mut());
    };
    calls.changed(in_place, overlap, "residual overlaps input");
    for mode in [DYNORM_SCALE_GIVEN, DYNORM_SCALE_GIVEN_PER_ROW, DYNORM_SCALE_COMPUTED] {
        let with = |scales| dynorm_forward_args { scales, ..calls.quantized(mode) };
        calls.refused(with(good.y.cast()), overlap, "output overlaps scales");
        calls.refused(with(good.residual_sum.cast()), overlap, "sum overlaps scales");
    }
    let computed = calls.quantized(DYNORM_SCALE_COMPUTED);
    let over_x = dynorm_forward_args { scales: x.cast(), ..computed };
    calls.refused(over_x, overlap, "scales overlaps input");
    let over_weight = dynorm_forward_args { scales: calls.at(Tensor::Weight), ..computed };
    calls.refused(over_weight, overlap, "scales overlaps weight");
}

#[test]
fn statistics_of_rows() {
    let emulator = emulator::lock();
    let calls = Calls::new(&emulator);
    let to = calls.statistics;
    let good = dynorm_forward_args { residual: ptr::null_mut(), ..calls.good };
    calls.check(find_statistics(ptr::null_mut(), &good, to), DYNORM_ERROR_NULL, "device is NULL");
    // SAFETY: no struct is refused.
    let no_args =
        unsafe { dynorm_cuda_row_statistics(calls.device, ptr::null(), to, ptr::null_mut()) };
    calls.check(no_args, DYNORM_ERROR_NULL, "args is NULL");
    let refused = |args, status, said| calls.statistics_refused(args, to, status, said);
    let sized = dynorm_forward_args { size: 1, ..good };
    refused(sized, DYNORM_ERROR_STRUCT_SIZE, "args.size is 1");
    refused(calls.good, DYNORM_ERROR_VALUE, "args.residual is set");
    let dyt = dynorm_forward_args { norm: norm(Norm::DyT { alpha: 1.0 }), ..good };
    refused(dyt, DYNORM_ERROR_VALUE, "dyt is element-wise");
    let flags = dynorm_forward_args { flags: 1 << 31, ..good };
    refused(flags, DYNORM_ERROR_VALUE, "args.flags is 2147483648");
    let reserved = dynorm_forward_args { reserved: 1, ..good };
    refused(reserved, DYNORM_ERROR_UNSUPPORTED, "args.reserved is not 0");
    let negative = dynorm_forward_args { norm: norm(Norm::RmsNorm { eps: -1.0 }), ..good };
    refused(negative, DYNORM_ERROR_PARAMETER, "eps is -1");
    let heads = dynorm_forward_args { heads: HEADS + 1, ..good };
    refused(heads, DYNORM_ERROR_SHAPE, "multiple of args.heads");
    let narrow = dynorm_forward_args { heads: 0, x_row_stride: CHANNELS - 1, ..good };
    refused(narrow, DYNORM_ERROR_SHAPE, "input has");
    let layer_norm = dynorm_forward_args { norm: norm(Norm::LayerNorm { eps: 0.0 }), ..good };
    refused(layer_norm, DYNORM_ERROR_CUDA_NOT_LOADED, "the kernels of layer_norm");

    let refused = |to, status, said| calls.statistics_refused(good, to, status, said);
    refused(ptr::null_mut(), DYNORM_ERROR_NULL, "statistics is at 0x0");
    refused(byte_after(to), DYNORM_ERROR_ALIGNMENT, "statistics is at 0x");
    refused(calls.at(Tensor::X), DYNORM_ERROR_OVERLAP, "statistics overlaps input");
    let mut of_host = [0.0_f32; 48];
    refused(of_host.as_mut_ptr().cast(), DYNORM_ERROR_CUDA_MEMORY, "statistics is at 0x");
}
