//! The operation on tensors in main memory.

use crate::fused::Beside;
use crate::op::{Input, Op};
use crate::row_layout::RowLayout;
use candle::backend::BackendStorage;
use candle::{CpuStorage, Error, Layout, Result, Shape, WithDType};
use dynorm::{Element, Rows, RowsMut};

/// `$body` for the elements of `$storage` as `$data`, a `Vec` of a type that dynorm takes.
macro_rules! with_elements {
    ($storage:expr, $op:expr, |$data:ident| $body:expr) => {
        match $storage {
            CpuStorage::F32($data) => $body,
            CpuStorage::F16($data) => $body,
            CpuStorage::BF16($data) => $body,
            other => Err(Error::UnsupportedDTypeForOp(other.dtype(), $op.name()).bt()),
        }
    };
}

pub(crate) use with_elements;

/// The operation, with what is done beside it, if anything, and with which input.
pub(crate) fn forward(
    op: &Op,
    (x, layout): Input<CpuStorage>,
    operands: &[Input<CpuStorage>],
    beside: Option<(Beside, Input<CpuStorage>)>,
) -> Result<(CpuStorage, Shape)> {
    let rows = RowLayout::of(layout, op.name())?;
    let y = with_elements!(x, op, |x| run(op, x, rows, operands, beside))?;
    let shape = beside.map_or(layout.shape().clone(), |(beside, _)| beside.shape(layout.shape()));
    Ok((y, shape))
}

/// The function over the rows of `x`, as a new storage in which they follow one another; ahead of them, with a
/// residual, the sums.
fn run<T: Element + WithDType + bytemuck::Zeroable>(
    op: &Op,
    x: &[T],
    at: RowLayout,
    operands: &[Input<CpuStorage>],
    beside: Option<(Beside, Input<CpuStorage>)>,
) -> Result<CpuStorage> {
    let RowLayout { rows, channels, .. } = at;
    let sums = if matches!(beside, Some((Beside::Residual, _))) { rows * channels } else { 0 };
    let mut results = bytemuck::zeroed_vec::<T>(sums + rows * channels);
    let (sums, y) = results.split_at_mut(sums);
    let rows_of = |results| RowsMut::new(results, rows, channels).map_err(Error::wrap);
    let mut call = op.norm.forward(view(x, at)?, rows_of(y)?).weight_offset(op.weight_offset);
    match beside {
        None => {}
        Some((Beside::Residual, (residual, layout))) => {
            let at = RowLayout::of(layout, op.name())?;
            let residual = view(T::cpu_storage_as_slice(residual)?, at)?;
            call = call.residual_into(residual, rows_of(sums)?);
        }
        Some((Beside::Gate, (z, layout))) => {
            let at = RowLayout::of(layout, op.name())?;
            call = with_elements!(z, op, |data| Ok(call.gate(view(data, at)?)))?;
        }
    }
    let (weight, bias) = op.operands(operands);
    if let Some((weight, layout)) = weight {
        call = with_elements!(weight, op, |data| Ok(call.weight(dense(op, data, layout)?)))?;
    }
    if let Some((bias, layout)) = bias {
        call = with_elements!(bias, op, |data| Ok(call.bias(dense(op, data, layout)?)))?;
    }
    call.run_parallel().map_err(Error::wrap)?;
    Ok(T::to_cpu_storage_owned(results))
}

/// The rows at `at` in `data`.
pub(crate) fn view<T: Element>(data: &[T], at: RowLayout) -> Result<Rows<'_>> {
    let data = data.get(at.start..).unwrap_or_default();
    Rows::with_stride(data, at.rows, at.channels, at.stride).map_err(Error::wrap)
}

/// The elements of a contiguous tensor.
pub(crate) fn dense<'a, T>(op: &Op, data: &'a [T], layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&data[start..end]),
        None => Err(Error::RequiresContiguous { op: op.name() }.bt()),
    }
}
