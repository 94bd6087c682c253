//! The operation's gradients, on the CPU.

use crate::cpu::{dense, view, with_elements};
use crate::op::Op;
use crate::row_layout::RowLayout;
use candle::backend::BackendStorage;
use candle::{CpuStorage, Error, Layout, Result, Storage, Tensor, WithDType};
use dynorm::{Element, RowsMut};

/// Those of all inputs, in their order: `x`, then the weight and the bias, as far as there are any.
pub(crate) fn gradients(op: &Op, x: &Tensor, rest: &[&Tensor], dy: &Tensor) -> Result<Vec<Tensor>> {
    // That of a sum, for example, is one number in many places.
    let dy = dy.to_dtype(x.dtype())?.contiguous()?;
    let weight = if op.weight { rest.first() } else { None };
    on_cpu(op, x, |x_storage, x_layout| {
        on_cpu(op, &dy, |dy, dy_layout| {
            let run = |weight: Option<(&CpuStorage, &Layout)>| {
                let rows = [x_layout, dy_layout].map(|layout| RowLayout::of(layout, op.name()));
                with_elements!(x_storage, op, |data| run(op, x, data, dy, rows, weight))
            };
            let (dx, sums) = match weight {
                None => run(None)?,
                Some(weight) => on_cpu(op, weight, |w, layout| run(Some((w, layout))))?,
            };
            let mut all = vec![dx];
            for (input, sums) in rest.iter().zip(sums) {
                let sums = Tensor::from_vec(sums, input.shape(), input.device())?;
                all.push(sums.to_dtype(input.dtype())?);
            }
            Ok(all)
        })
    })
}

/// What `with` makes of a tensor in main memory.
fn on_cpu<R>(
    op: &Op,
    tensor: &Tensor,
    with: impl FnOnce(&CpuStorage, &Layout) -> Result<R>,
) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => with(storage, layout),
        _ => candle::bail!("{}: gradients are for the CPU", op.name()),
    }
}

/// The gradient of `x`, and those of weight and bias, which are sums over rows, as far as there are any.
fn run<T: Element + WithDType + bytemuck::Zeroable>(
    op: &Op,
    x: &Tensor,
    data: &[T],
    dy: &CpuStorage,
    [x_rows, dy_rows]: [Result<RowLayout>; 2],
    weight: Option<(&CpuStorage, &Layout)>,
) -> Result<(Tensor, Vec<Vec<f32>>)> {
    let dy_rows = dy_rows?;
    let RowLayout { rows, channels, .. } = dy_rows;
    let mut dx = bytemuck::zeroed_vec::<T>(rows * channels);
    let (mut d_weight, mut d_bias) = (vec![0.0; channels], vec![0.0; channels]);
    let dy = view(T::cpu_storage_as_slice(dy)?, dy_rows)?;
    let to = RowsMut::new(&mut dx, rows, channels).map_err(Error::wrap)?;
    let mut call = op.norm.backward(view(data, x_rows?)?, dy, to).weight_offset(op.weight_offset);
    if let Some((weight, layout)) = weight {
        call = with_elements!(weight, op, |data| Ok(call.weight(dense(op, data, layout)?)))?;
    }
    if op.weight {
        call = call.d_weight(&mut d_weight);
    }
    if op.bias {
        call = call.d_bias(&mut d_bias);
    }
    let mut workspace = vec![0.0; call.workspace_len()];
    call.workspace(&mut workspace).run_parallel().map_err(Error::wrap)?;
    let sums = [(op.weight, d_weight), (op.bias, d_bias)];
    let sums = sums.into_iter().filter_map(|(there, sums)| there.then_some(sums)).collect();
    Ok((Tensor::from_vec(dx, x.shape(), x.device())?, sums))
}
