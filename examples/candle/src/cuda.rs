//! The operation on tensors in the memory of an NVIDIA GPU. No GPU has run it yet.

use crate::fused::Beside;
use crate::op::{Input, Op};
use crate::row_layout::RowLayout;
use candle::backend::BackendStorage;
use candle::cuda_backend::cudarc::driver::{
    CudaSlice, CudaStream, DevicePtr, DevicePtrMut, DeviceRepr, SyncOnDrop,
};
use candle::cuda_backend::{CudaDType, CudaStorageSlice};
use candle::{CudaStorage, Error, Result, Shape};
use dynorm::cuda::{Device, DeviceRows, Forward};
use dynorm::{Element, ElementType, Norm};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// `$body` for the elements of `$storage` as `$data`, a `CudaSlice` of a type that dynorm takes.
macro_rules! with_elements {
    ($storage:expr, $op:expr, |$data:ident| $body:expr) => {
        match &$storage.slice {
            CudaStorageSlice::F32($data) => $body,
            CudaStorageSlice::F16($data) => $body,
            CudaStorageSlice::BF16($data) => $body,
            _ => Err(Error::UnsupportedDTypeForOp($storage.dtype(), $op.name()).bt()),
        }
    };
}

/// The operation, with what is done beside it, if anything, and with which input.
pub(crate) fn forward(
    op: &Op,
    (x, layout): Input<CudaStorage>,
    operands: &[Input<CudaStorage>],
    beside: Option<(Beside, Input<CudaStorage>)>,
) -> Result<(CudaStorage, Shape)> {
    let rows = RowLayout::of(layout, op.name())?;
    let y = with_elements!(x, op, |slice| run(op, x, slice, rows, operands, beside))?;
    let shape = beside.map_or(layout.shape().clone(), |(beside, _)| beside.shape(layout.shape()));
    Ok((y, shape))
}

/// The function over the rows of `slice`, which is `x`'s, on candle's stream, as a new storage in
/// which they follow one another; ahead of them, with a residual, the sums.
fn run<T: Element + CudaDType + DeviceRepr>(
    op: &Op,
    x: &CudaStorage,
    slice: &CudaSlice<T>,
    at: RowLayout,
    operands: &[Input<CudaStorage>],
    beside: Option<(Beside, Input<CudaStorage>)>,
) -> Result<CudaStorage> {
    let stream = x.device.cuda_stream();
    let device = device(stream.context().ordinal(), op.norm, T::TYPE)?;
    let RowLayout { rows, channels, .. } = at;
    let sums = if matches!(beside, Some((Beside::Residual, _))) { rows * channels } else { 0 };
    // SAFETY: the kernel writes every element before anything that follows on the stream reads one.
    let mut results = unsafe { x.device.alloc::<T>(sums + rows * channels)? };
    {
        // The addresses hold while these guards live; the guards order the work with that of
        // other streams, where candle uses several.
        let (results_address, _results) = results.device_ptr_mut(&stream);
        let (weight, bias) = op.operands(operands);
        let weight = weight.map(|given| channels_of(op, given, channels, &stream)).transpose()?;
        let bias = bias.map(|given| channels_of(op, given, channels, &stream)).transpose()?;

        let (x_rows, _x) = rows_of(slice, at, &stream)?;
        let results_at =
            |address| DeviceRows::new(address, T::TYPE, rows, channels).map_err(Error::wrap);
        let y_rows = results_at(results_address + (sums * size_of::<T>()) as u64)?;
        let mut call = Forward::new(op.norm, x_rows, y_rows).weight_offset(op.weight_offset);
        let mut _other = None;
        if let Some((beside, (storage, layout))) = beside {
            let at = RowLayout::of(layout, op.name())?;
            let (other, guard) = with_elements!(storage, op, |slice| rows_of(slice, at, &stream))?;
            _other = Some(guard);
            call = match beside {
                // Of x's type, as `Layer` has checked.
                Beside::Residual => call.residual_into(other, results_at(results_address)?),
                Beside::Gate => call.gate(other),
            };
        }
        if let Some((address, element, _)) = weight {
            call = call.weight(address, element);
        }
        if let Some((address, element, _)) = bias {
            call = call.bias(address, element);
        }
        // SAFETY: candle's layouts lie within their storages; `channels_of` has checked the
        // operands' lengths; `results` is new; the guards above keep the tensors until the work is on the stream.
        unsafe { call.launch(&device, stream.cu_stream().cast()) }.map_err(Error::wrap)?;
    }
    Ok(CudaStorage::wrap_cuda_slice(results, x.device.clone()))
}

/// The rows at `at` in `slice`, and what keeps them until the work is on the stream.
fn rows_of<'a, T: Element>(
    slice: &'a CudaSlice<T>,
    RowLayout { start, rows, channels, stride }: RowLayout,
    stream: &'a CudaStream,
) -> Result<(DeviceRows, SyncOnDrop<'a>)> {
    let (address, guard) = slice.device_ptr(stream);
    let address = address + (start * size_of::<T>()) as u64;
    let rows = DeviceRows::with_stride(address, T::TYPE, rows, channels, stride);
    Ok((rows.map_err(Error::wrap)?, guard))
}

/// The address and type of a weight or bias of one element per channel.
fn channels_of<'a>(
    op: &Op,
    (storage, layout): Input<'a, CudaStorage>,
    channels: usize,
    stream: &'a CudaStream,
) -> Result<(u64, ElementType, SyncOnDrop<'a>)> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        return Err(Error::RequiresContiguous { op: op.name() }.bt());
    };
    if end - start != channels {
        candle::bail!("{}: {} weights or biases for {channels} channels", op.name(), end - start);
    }
    fn address<'a, T: Element>(
        slice: &'a CudaSlice<T>,
        start: usize,
        stream: &'a CudaStream,
    ) -> (u64, ElementType, SyncOnDrop<'a>) {
        let (address, guard) = slice.device_ptr(stream);
        (address + (start * size_of::<T>()) as u64, T::TYPE, guard)
    }
    with_elements!(storage, op, |slice| Ok(address(slice, start, stream)))
}

/// dynorm's kernels of one function for one type of x in the primary context of device `ordinal`, which
/// is the one that candle uses. Loaded when first asked for, and kept.
fn device(ordinal: usize, norm: Norm, x: ElementType) -> Result<Arc<Device>> {
    type Loaded = HashMap<(usize, &'static str, ElementType), Arc<Device>>;
    static LOADED: OnceLock<Mutex<Loaded>> = OnceLock::new();
    let mut loaded =
        LOADED.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    let key = (ordinal, norm.name(), x);
    if let Some(device) = loaded.get(&key) {
        return Ok(device.clone());
    }
    let device = Arc::new(Device::primary(ordinal, &[norm], &[x]).map_err(Error::wrap)?);
    loaded.insert(key, device.clone());
    Ok(device)
}
