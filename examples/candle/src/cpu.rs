//! The operation on tensors in main memory.

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

pub(crate) fn forward(
    op: &Op,
    (x, layout): Input<CpuStorage>,
    operands: &[Input<CpuStorage>],
) -> Result<(CpuStorage, Shape)> {
    let rows = RowLayout::of(layout, op.name())?;
    let y = with_elements!(x, op, |x| run(op, x, rows, operands))?;
    Ok((y, layout.shape().clone()))
}

/// The function over the rows of `x`, as a new storage in which they follow one another.
fn run<T: Element + WithDType + bytemuck::Zeroable>(
    op: &Op,
    x: &[T],
    RowLayout { start, rows, channels, stride }: RowLayout,
    operands: &[Input<CpuStorage>],
) -> Result<CpuStorage> {
    let mut y = bytemuck::zeroed_vec::<T>(rows * channels);
    let x = x.get(start..).unwrap_or_default();
    let x = Rows::with_stride(x, rows, channels, stride).map_err(Error::wrap)?;
    let mut call = op
        .norm
        .forward(x, RowsMut::new(&mut y, rows, channels).map_err(Error::wrap)?)
        .weight_offset(op.weight_offset);
    let (weight, bias) = op.operands(operands);
    if let Some((weight, layout)) = weight {
        call = with_elements!(weight, op, |data| Ok(call.weight(dense(op, data, layout)?)))?;
    }
    if let Some((bias, layout)) = bias {
        call = with_elements!(bias, op, |data| Ok(call.bias(dense(op, data, layout)?)))?;
    }
    call.run_parallel().map_err(Error::wrap)?;
    Ok(T::to_cpu_storage_owned(y))
}

/// The elements of a contiguous tensor.
pub(crate) fn dense<'a, T>(op: &Op, data: &'a [T], layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&data[start..end]),
        None => Err(Error::RequiresContiguous { op: op.name() }.bt()),
    }
}
