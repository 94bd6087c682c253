//! Calls for gradients: their memory, wherever they are run, and their comparison with the definition.

use super::buffer::Buffer;
use super::fused::{Access, Call, Machine};
use crate::common::backward::{BackwardCall, GPU, Numbers, Written};
use crate::common::tensor::{Sample, Tensor};
use dynorm::cuda::{Backward, DeviceRows};
use dynorm::{ElementType, HeadShape, Isa, Norm};

/// A call for a GPU, all gradients wanted.
pub fn call(norm: Norm, element: ElementType, rows: usize, channels: usize) -> BackwardCall {
    // No instruction set of the CPU matters.
    let call = BackwardCall::new(norm, Isa::Portable, rows, channels);
    BackwardCall { element, exactness: GPU, ..call }
}

/// Everything that a call works on, in its order.
pub const X: usize = 0;
pub const DY: usize = 1;
pub const DX: usize = 2;
pub const WEIGHT: usize = 3;
pub const SUMS: usize = 4;
pub const WORKSPACE: usize = 7;

/// The call on tensors at `addresses`; in place `dx` is at that of `dy`. With `heads`, as many rows are a token's.
fn on(call: &BackwardCall, heads: usize, addresses: &[u64]) -> Backward {
    let BackwardCall { norm, element, rows, channels, .. } = *call;
    let view = |which: usize| {
        let (address, stride) = (addresses[which], stride(call, which));
        match heads {
            0 => DeviceRows::with_stride(address, element, rows, channels, stride),
            heads => {
                let token_stride = token_stride(call, which, heads);
                let tokens = rows / heads;
                let shape =
                    HeadShape { tokens, heads, channels, token_stride, head_stride: stride };
                DeviceRows::of_heads(address, element, shape)
            }
        }
        .unwrap()
    };
    let dx = if call.in_place { view(DY) } else { view(DX) };
    let mut on = Backward::new(norm, view(X), view(DY), dx).weight_offset(call.weight_offset);
    if let Some(element) = call.weight {
        on = on.weight(addresses[WEIGHT], element);
    }
    if call.sums {
        on = on
            .d_weight(addresses[SUMS])
            .d_bias(addresses[SUMS + 1])
            .d_parameters(addresses[SUMS + 2]);
    }
    on.workspace(addresses[WORKSPACE], on.workspace_len())
}

/// Elements between rows of tensor `which`: another number of them in each.
pub fn stride(call: &BackwardCall, which: usize) -> usize {
    call.channels + if call.gap == 0 { 0 } else { call.gap + which }
}

pub fn token_stride(call: &BackwardCall, which: usize, heads: usize) -> usize {
    (heads + 1) * stride(call, which) + which
}

/// How many f32 its workspace needs.
pub fn workspace_len(call: &BackwardCall, heads: usize) -> usize {
    on(call, heads, &[256; 8]).workspace_len()
}

/// Runs a call on `machine` and gives what it has written.
///
/// # Panics
/// If something was written that is not the call's.
pub fn run(
    machine: &mut impl Machine,
    call: &BackwardCall,
    heads: usize,
    numbers: &Numbers,
) -> Written {
    let BackwardCall { norm, element, rows, channels, .. } = *call;
    let start_of = |which: usize, row: usize| match heads {
        0 => row * stride(call, which),
        heads => row / heads * token_stride(call, which, heads) + row % heads * stride(call, which),
    };
    let at = |which: usize, i: usize| start_of(which, i / channels) + i % channels;
    let elements = rows * channels;
    let tensor = |which: usize, content: Option<&Tensor>| {
        let len = if elements == 0 { 0 } else { at(which, elements - 1) + 1 };
        let mut buffer = Buffer::new(element, len, call.start * (which + 1));
        if let Some(content) = content {
            (0..elements).for_each(|i| buffer.set_bits(at(which, i), content.bits(i)));
        }
        buffer
    };
    let mut weight = Buffer::new(call.weight.unwrap_or(element), channels, call.start);
    if let Some(weights) = &numbers.weight {
        (0..channels).for_each(|c| weight.set_bits(c, weights.bits(c)));
    }
    let sums = |len| Buffer::new(ElementType::F32, len, 0);
    let workspace = workspace_len(call, heads);
    let mut buffers = [
        tensor(X, Some(&numbers.x)),
        tensor(DY, Some(&numbers.dy)),
        tensor(DX, None),
        weight,
        sums(channels),
        sums(channels),
        sums(norm.parameter_count()),
        sums(workspace),
    ];
    let access = |which: usize| match which {
        X => Access::Read,
        DY if !call.in_place => Access::Read,
        WEIGHT => Access::Operand,
        _ => Access::Written,
    };
    let mut tensors: Vec<_> =
        buffers.iter_mut().enumerate().map(|(which, buffer)| (buffer, access(which))).collect();
    machine.run(&mut tensors, &|addresses| Call::Backward(on(call, heads, addresses)));

    assert!(buffers.iter().all(Buffer::guards_are_whole), "{call:?}: wrote past a tensor");
    let which = if call.in_place { DY } else { DX };
    let dx = &buffers[which];
    let mut is_row = vec![false; dx.len()];
    (0..elements).for_each(|i| is_row[at(which, i)] = true);
    let untouched = (0..dx.len()).filter(|&i| !is_row[i]).all(|i| dx.is_guard(i));
    assert!(untouched, "{call:?}: wrote between rows");
    let bits: Vec<_> = (0..elements).map(|i| dx.bits(at(which, i))).collect();
    let sums = |which: usize| {
        let (sums, all) = (&buffers[which], 0..buffers[which].len());
        if call.sums {
            return all.map(|i| f32::from_bits(sums.bits(i))).collect();
        }
        assert!(all.clone().all(|i| sums.is_guard(i)), "{call:?}: wrote what is not wanted");
        all.map(|_| <f32 as Sample>::POISON).collect()
    };
    Written {
        dx: Tensor::from_bits(element, &bits),
        d_weight: sums(SUMS),
        d_bias: sums(SUMS + 1),
        d_parameters: sums(SUMS + 2),
    }
}

/// Runs with ordinary numbers and compares with the definition; gives what was written.
pub fn check(machine: &mut impl Machine, call: &BackwardCall) -> Written {
    let numbers = call.numbers((call.rows * 4096 + call.channels) as u64);
    let written = run(machine, call, 0, &numbers);
    call.compare(&numbers, &written);
    written
}
