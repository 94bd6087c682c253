//! Calls on the CPU.

use super::args::dynorm_forward_args;
use super::boundary::guard;
use super::refusal::Refusal;
use super::status::dynorm_status;
use super::tensors::{Operand, Output, Residual, Scales, Tensor, Tensors, memory};
use crate::tensor::Channels;
use crate::{Forward, QuantizedRowsMut, RowStatistics, Rows, RowsMut, forward};
use core::mem::MaybeUninit;
use core::slice;

/// Does the work on the calling thread. Nothing is allocated, and no lock is taken.
///
/// Returns DYNORM_OK, or an error, and then has written nothing: DYNORM_ERROR_NULL, _ALIGNMENT,
/// _STRUCT_SIZE, _VALUE, _SHAPE, _PARAMETER, _OVERLAP, _ISA, or _UNSUPPORTED for fields of a later
/// version. Any number of threads may call it at once, on outputs of their own.
///
/// What it cannot see: that the tensors are as large as their shapes say, and that no other thread
/// writes them or reads what is written meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynorm_forward(args: *const dynorm_forward_args) -> dynorm_status {
    guard(|| {
        let mut room = MaybeUninit::uninit();
        // SAFETY: the caller keeps what the header says.
        let args = unsafe { dynorm_forward_args::read(args, &mut room) }?;
        // SAFETY: as above.
        Ok(unsafe { call(args) }?.run()?)
    })
}

/// As `dynorm_forward`, on the threads of a pool that is made at the first call: one per logical
/// processor, or as many as the environment variable RAYON_NUM_THREADS says. Small work stays on
/// the calling thread; results have the same bits.
///
/// DYNORM_ERROR_UNSUPPORTED if the library was built without the feature rayon. A process that has
/// made the pool must not use this function in a child that it has forked.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynorm_forward_parallel(
    args: *const dynorm_forward_args,
) -> dynorm_status {
    guard(|| {
        let mut room = MaybeUninit::uninit();
        // SAFETY: the caller keeps what the header says.
        let args = unsafe { dynorm_forward_args::read(args, &mut room) }?;
        // SAFETY: as above.
        let mut call = unsafe { call(args) }?;
        #[cfg(feature = "rayon")]
        return Ok(call.run_parallel()?);
        #[cfg(not(feature = "rayon"))]
        {
            let _ = &mut call;
            Err(Refusal::Unsupported { feature: "rayon" })
        }
    })
}

/// Does part `index` of `count` of the work on the calling thread, for hosts with threads of their
/// own: each of `count` threads calls this with the same args and its index, and when all have
/// returned the work is done. Nothing is spawned and nothing is waited for; one thread may do
/// several parts, one after another. Row functions are split by rows, the others anywhere, also
/// inside one row; a part may be empty. Results have the same bits as those of `dynorm_forward`.
///
/// Errors as `dynorm_forward`; DYNORM_ERROR_PART unless `index < count`. Every part checks the
/// args by itself, so all of them return the same error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynorm_forward_part(
    args: *const dynorm_forward_args,
    index: usize,
    count: usize,
) -> dynorm_status {
    guard(|| {
        let mut room = MaybeUninit::uninit();
        // SAFETY: the caller keeps what the header says.
        let args = unsafe { dynorm_forward_args::read(args, &mut room) }?;
        // SAFETY: as above; each part is done once, by one thread.
        Ok(unsafe { call(args)?.run_part(index, count) }?)
    })
}

/// The call that `args` describe, with everything checked that only C can get wrong.
///
/// # Safety
/// For `'a` the tensors must be memory as their shapes say, which nobody else writes, nor reads
/// where it is written.
unsafe fn call<'a>(args: &dynorm_forward_args) -> Result<Forward<'a>, Refusal> {
    let norm = args.norm()?;
    let flags = args.flags()?;
    let Tensors { x, y, weight, bias, residual, z, statistics } = args.tensors()?;

    // SAFETY: the layouts and the addresses were checked; the caller vouches for the memory. In
    // place an input and an output are the same, which a call is made for.
    let mut call = unsafe {
        let channels =
            |given: Operand| Channels::from_raw(memory(given.data), given.element, args.channels);
        let rows = |given: Tensor| Rows::from_raw(memory(given.data), given.element, given.layout);
        let rows_mut =
            |given: Tensor| RowsMut::from_raw(memory(given.data), given.element, given.layout);
        let mut call = match y {
            Output::Element(y) => norm.forward(rows(x), rows_mut(y)),
            Output::Quantized(y, scales) => {
                let y = QuantizedRowsMut::from_raw(memory(y.data), y.element, y.layout);
                Forward::quantized(norm, rows(x), y, scales.read(args.rows))
            }
        };
        call = call.operands(weight.map(channels), bias.map(channels));
        call = match residual {
            None => call,
            Some(Residual { input, sum: None }) => call.residual(rows_mut(input)),
            Some(Residual { input, sum: Some(sum) }) => {
                call.residual_into(rows(input), rows_mut(sum))
            }
        };
        if let Some(z) = z {
            call = call.gate(rows(z));
        }
        if let Some(data) = statistics {
            let data = memory::<_, RowStatistics>(data.cast_mut());
            call = call.statistics(slice::from_raw_parts(data.as_ptr(), args.rows));
        }
        call.weight_offset(args.weight_offset)
    };
    if let Some(isa) = args.isa()? {
        call = call.isa(isa);
    }
    if let Some(stream) = flags.stream()? {
        call = call.stream(stream);
    }
    Ok(call)
}

impl Scales {
    /// The scales of `rows` rows as the crate takes them.
    ///
    /// # Safety
    /// They must be memory for as many.
    unsafe fn read(self, rows: usize) -> forward::Scales {
        match self {
            // No address is looked at.
            Self::Given(_) if rows == 0 => forward::Scales::Given(1.0),
            // SAFETY: the same contract.
            Self::Given(data) => forward::Scales::Given(unsafe { data.read() }),
            Self::GivenPerRow(data) => forward::Scales::GivenPerRow(memory(data), rows),
            Self::Computed(data) => forward::Scales::Computed(memory(data), rows),
        }
    }
}
