//! Launches with more fused around the function: heads, a residual, a gate, an output of 8 bits,
//! statistics of rows.

use super::super::args::{
    Args, SCALE_COMPUTED, SCALE_NUMBER, SCALE_READ, SCALE_READ_PER_ROW, STATISTICS_GIVEN,
    STATISTICS_NONE, STATISTICS_WANTED, Tensor, quantized_type_number, type_number,
};
use super::super::call::{Call, Output};
use super::super::kernel::Form;
use super::super::rows::{DeviceRows, DeviceScale};
use super::{
    Launch, MAX_CHANNELS, MAX_GRID, RowShape, arguments, grid, lanes_of, magic, plan_columns,
    whole_vectors,
};
use crate::place::Place;
use crate::tensor::Layout;

/// Plans a call of at least one row; nothing for one that is too large.
pub(super) fn plan(call: &Call) -> Option<Launch> {
    let source = call.residual.map_or(call.x, |residual| residual.input);
    let args = fused_arguments(call, source)?;
    let wide = whole_vectors(call, places(call), lanes_of(source.element));
    let computed = args.scale == SCALE_COMPUTED;
    if call.norm.is_elementwise() && !computed {
        let form = if wide { Form::FusedWide } else { Form::FusedNarrow };
        return plan_columns(source, form, wide, args);
    }
    if source.layout.channels > MAX_CHANNELS {
        return None;
    }
    let shape = RowShape::new(source.layout.channels, source.element);
    let fits = matches!(shape, RowShape { vectors: 4, segments: 1, .. });
    let form = match (wide, fits && !call.norm.is_elementwise()) {
        (false, _) => Form::FusedRereadAny,
        (true, true) => Form::FusedKeep4,
        (true, false) => Form::FusedReread,
    };
    let (block, blocks) = shape.blocks(source.layout.rows);
    Some(Launch {
        form,
        source: source.element,
        grid: grid(blocks)?,
        block: block as u32,
        cluster: 1,
        args: shape.arguments(args),
    })
}

/// Everything of rows that a kernel of `call` reads or writes.
fn places(call: &Call) -> impl Iterator<Item = Place> {
    let output = match call.output {
        Output::Rows(y) => Some(y.place()),
        Output::Quantized(y, _) => Some(y.place()),
        Output::Statistics(_) => None,
    };
    let residual = call.residual.map(|residual| residual.input.place());
    let sum = call.residual.map(|residual| residual.sum.place());
    let gate = call.gate.map(|z| z.place());
    [Some(call.x.place()), output, residual, sum, gate].into_iter().flatten()
}

fn fused_arguments(call: &Call, source: DeviceRows) -> Option<Args> {
    let rows = source.layout.rows;
    let heads = call.heads().unwrap_or(1);
    // Kernels divide a row's number by the heads as numbers of a grid's blocks are divided.
    if heads > 1 && rows > MAX_GRID {
        return None;
    }
    let heads_32 = u32::try_from(heads).ok()?;
    let (head_magic, head_shift) = magic(heads_32);
    let tensor = |of: DeviceRows| Tensor {
        address: of.address,
        stride: of.layout.stride as u64,
        token_stride: token_stride(of.layout, heads),
        element: type_number(of.element),
        reserved: 0,
    };
    let (y_address, y_layout, y_type) = match call.output {
        Output::Rows(y) => (y.address, y.layout, type_number(y.element)),
        Output::Quantized(y, _) => (y.address, y.layout, quantized_type_number(y.element)),
        Output::Statistics(_) => (0, source.layout, type_number(source.element)),
    };
    let (scale, factor, scales) = match call.output {
        Output::Quantized(_, DeviceScale::Given(scale)) => (SCALE_NUMBER, 1.0 / scale, 0),
        Output::Quantized(_, DeviceScale::GivenAt(address)) => (SCALE_READ, 1.0, address),
        Output::Quantized(_, DeviceScale::GivenPerRow(address)) => {
            (SCALE_READ_PER_ROW, 1.0, address)
        }
        Output::Quantized(_, DeviceScale::Computed(address)) => (SCALE_COMPUTED, 1.0, address),
        _ => (SCALE_NUMBER, 1.0, 0),
    };
    let (statistics, statistics_address) = match (call.output, call.statistics) {
        (Output::Statistics(address), _) => (STATISTICS_WANTED, address),
        (_, Some(address)) => (STATISTICS_GIVEN, address),
        (_, None) => (STATISTICS_NONE, 0),
    };
    Some(Args {
        y: y_address,
        y_stride: y_layout.stride as u64,
        y_type,
        heads: heads_32,
        head_magic,
        head_shift,
        scale,
        statistics,
        factor,
        x_token_stride: token_stride(source.layout, heads),
        y_token_stride: token_stride(y_layout, heads),
        scales,
        statistics_address,
        addend: call.residual.map_or(Tensor::NONE, |_| tensor(call.x)),
        sum: call.residual.map_or(Tensor::NONE, |residual| tensor(residual.sum)),
        gate: call.gate.map_or(Tensor::NONE, tensor),
        ..arguments(call, source, source)
    })
}

/// Elements from one token of `heads` rows to the next; in a tensor without heads they follow one
/// another like all rows.
fn token_stride(layout: Layout, heads: usize) -> u64 {
    let dense = || (heads as u64).wrapping_mul(layout.stride as u64);
    layout.heads.map_or_else(dense, |heads| heads.token_stride as u64)
}
