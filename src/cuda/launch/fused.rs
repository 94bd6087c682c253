//! Launches with more fused around the function: heads, a residual, a gate, an output of 8 bits,
//! statistics of rows.

use super::super::args::{
    Args, SCALE_COMPUTED, SCALE_NUMBER, SCALE_READ, SCALE_READ_PER_ROW, STATISTICS_GIVEN,
    STATISTICS_NONE, STATISTICS_WANTED, Tensor, quantized_type_number, type_number,
};
use super::super::call::{Call, Output};
use super::super::geometry::{MAX_CHANNELS, MAX_GRID, grid, magic, token_stride};
use super::super::kernel::{Form, Fusion, Kernel};
use super::super::rows::{DeviceRows, DeviceScale};
use super::{FEW_THREADS, Launch, RowShape, arguments, has_operands_of, is_wide, plan_columns};
use crate::place::Place;
use crate::{ElementType, QuantizedType};

/// Plans a call of at least one row; nothing for one that is too large.
pub(super) fn plan(call: &Call) -> Option<Launch> {
    let source = call.source();
    let args = fused_arguments(call, source)?;
    let wide = is_wide(call, places(call), source);
    let fusion = if wide { fusion(call, source.element) } else { None };
    let with = |usual: Form, all: Form| match fusion {
        Some(_) => Kernel { form: usual, fusion },
        None => all.into(),
    };
    let computed = args.scale == SCALE_COMPUTED;
    if call.norm.is_elementwise() && !computed {
        let all = if wide { Form::FusedWide } else { Form::FusedNarrow };
        return plan_columns(source, with(Form::UsualFused, all), wide, args);
    }
    if source.layout.channels > MAX_CHANNELS {
        return None;
    }
    let shape = RowShape::new(source.layout.channels, source.element);
    let kernel = match (wide, shape) {
        (false, _) => Form::FusedRereadAny.into(),
        (true, RowShape { segments: 1, vectors: 4, threads: ..=FEW_THREADS })
            if fusion.is_some() =>
        {
            Kernel { form: Form::UsualFused4, fusion }
        }
        _ if call.norm.is_elementwise() => Form::FusedReread.into(),
        (true, RowShape { segments: 1, vectors: 2, .. }) => {
            with(Form::UsualFused2, Form::FusedKeep2)
        }
        (true, RowShape { segments: 1, vectors: 4, .. }) => Form::FusedKeep4.into(),
        _ => Form::FusedReread.into(),
    };
    let (block, blocks) = shape.blocks(source.layout.rows);
    Some(Launch {
        kernel,
        grid: grid(blocks)?,
        block: block as u32,
        cluster: 1,
        args: shape.arguments(args),
    })
}

/// What is fused, if there are kernels for that alone.
fn fusion(call: &Call, source: ElementType) -> Option<Fusion> {
    let of_source = |rows: DeviceRows| rows.element == source;
    let residual =
        call.residual.is_none_or(|residual| of_source(call.x) && of_source(residual.sum));
    let usual = residual && call.gate.is_none_or(of_source) && has_operands_of(call, source);
    if source == ElementType::F32 || !usual || call.fast || call.statistics.is_some() {
        return None;
    }
    let eight_bits = match call.output {
        Output::Rows(y) if of_source(y) => None,
        Output::Quantized(y, scale) => Some((y.element, matches!(scale, DeviceScale::Computed(_)))),
        Output::Rows(_) | Output::Statistics(_) => return None,
    };
    use QuantizedType::{F8E4M3, I8};
    match (call.heads().is_some(), call.residual.is_some(), call.gate.is_some(), eight_bits) {
        (true, false, false, None) => Some(Fusion::Heads),
        (false, true, false, None) => Some(Fusion::Residual),
        (false, false, true, None) => Some(Fusion::Gate),
        (false, false, false, Some((I8, false))) => Some(Fusion::I8),
        (false, false, false, Some((F8E4M3, false))) => Some(Fusion::E4m3),
        (false, true, false, Some((I8, false))) => Some(Fusion::ResidualI8),
        (false, true, false, Some((F8E4M3, false))) => Some(Fusion::ResidualE4m3),
        (false, false, false, Some((I8, true))) => Some(Fusion::ScaledI8),
        (false, false, false, Some((F8E4M3, true))) => Some(Fusion::ScaledE4m3),
        (false, true, false, Some((I8, true))) => Some(Fusion::ResidualScaledI8),
        (false, true, false, Some((F8E4M3, true))) => Some(Fusion::ResidualScaledE4m3),
        _ => None,
    }
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
    let tensor = |of: DeviceRows| Tensor::new(of, heads);
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
