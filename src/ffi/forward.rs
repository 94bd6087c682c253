//! Calls on the CPU.

use super::args::{self, dynorm_forward_args};
use super::boundary::{catch, status_of};
use super::ordinary::Ordinary;
use super::refusal::Refusal;
use super::status::dynorm_status;
use super::tensors::{Operand, Output, Residual, Scales, Tensor, Tensors, groups, memory};
use crate::cpu::ShortCall;
use crate::tensor::Channels;
use crate::{Forward, Norm, QuantizedRowsMut, RowStatistics, Rows, RowsMut, forward};
use core::mem::MaybeUninit;
use core::slice;

/// Does the work on the calling thread. Nothing is allocated, and no lock is taken.
///
/// Returns DYNORM_OK, or an error, and then has written nothing: DYNORM_ERROR_NULL, _ALIGNMENT,
/// _STRUCT_SIZE, _VALUE, _SHAPE, _PARAMETER, _OVERLAP, _ISA, or _UNSUPPORTED for fields of a later
/// version. (DYNORM_ERROR_INTERNAL would be a defect of the library, and leaves the output undefined.)
/// Any number of threads may call it at once, on outputs of their own.
///
/// What it cannot see: that the tensors are as large as their shapes say, and that no other thread
/// writes them or reads what is written meanwhile.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn dynorm_forward(args: *const dynorm_forward_args) -> dynorm_status {
    catch(|| {
        // SAFETY: the caller keeps what the header says.
        unsafe {
            if short(args).is_some_and(|call| call.run()) {
                return dynorm_status::DYNORM_OK;
            }
            with_call(args, |call| Ok(call.run()?))
        }
    })
}

/// As `dynorm_forward`, on the threads of a pool that is made at the first call: one per logical
/// processor, or as many as the environment variable RAYON_NUM_THREADS says. Small work stays on
/// the calling thread; results have the same bits.
///
/// DYNORM_ERROR_UNSUPPORTED if the library was built without the feature rayon. A process that has
/// made the pool must not use this function in a child that it has forked.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn dynorm_forward_parallel(
    args: *const dynorm_forward_args,
) -> dynorm_status {
    catch(|| {
        // SAFETY: the caller keeps what the header says.
        #[cfg(feature = "rayon")]
        if unsafe { short(args).is_some_and(|call| call.run()) } {
            return dynorm_status::DYNORM_OK;
        }
        let run = |call: &mut Forward| {
            #[cfg(feature = "rayon")]
            return Ok(call.run_parallel()?);
            #[cfg(not(feature = "rayon"))]
            {
                let _ = call;
                Err(Refusal::Unsupported { feature: "rayon" })
            }
        };
        // SAFETY: as above.
        unsafe { with_call(args, run) }
    })
}

/// Does part `index` of `count` of the work on the calling thread, for hosts with threads of their
/// own: each of `count` threads calls this with the same args and its index, and when all have
/// returned the work is done. Nothing is spawned and nothing is waited for; one thread may do
/// several parts, one after another. Row functions are split by rows, the others anywhere, also
/// inside one row; a part may be empty, and of a few thousand elements all may be in the first.
/// Results have the same bits as those of `dynorm_forward`.
///
/// Errors as `dynorm_forward`; DYNORM_ERROR_PART unless `index < count`. Every part checks the
/// args by itself, so all of them return the same error.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn dynorm_forward_part(
    args: *const dynorm_forward_args,
    index: usize,
    count: usize,
) -> dynorm_status {
    catch(|| {
        if index < count {
            // SAFETY: the caller keeps what the header says.
            let call = unsafe { short(args) }.filter(ShortCall::is_undivided);
            // SAFETY: as above; each part is done once, by one thread.
            if call.is_some_and(|call| unsafe { call.run_part(index) }) {
                return dynorm_status::DYNORM_OK;
            }
        }
        // SAFETY: as above; each part is done once, by one thread.
        unsafe { with_call(args, |call| Ok(call.run_part(index, count)?)) }
    })
}

/// The call, if it is a short one.
///
/// # Safety
/// `args` must be as the header says.
#[inline(always)]
unsafe fn short(args: *const dynorm_forward_args) -> Option<ShortCall> {
    // SAFETY: the same contract.
    unsafe { args::of_this_version(args) }?.short()
}

/// Has `run` run the call that `args` describe, with everything checked that only C can get wrong.
///
/// # Safety
/// `args` must be as the header says, and the tensors memory as their shapes say, which nobody else writes, nor reads where
/// it is written.
// In a function of its own, whose stack and way out short calls need not have.
#[inline(never)]
unsafe fn with_call(
    args: *const dynorm_forward_args,
    run: impl FnOnce(&mut Forward) -> Result<(), Refusal>,
) -> dynorm_status {
    // SAFETY: the same contract.
    status_of(unsafe { try_call(args, run) })
}

/// # Safety
/// As [`with_call`].
#[inline(always)]
unsafe fn try_call(
    args: *const dynorm_forward_args,
    run: impl FnOnce(&mut Forward) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let mut room = MaybeUninit::uninit();
    // SAFETY: the same contract.
    let args = unsafe { args::read(args, &mut room) }?;
    let mut call = match args.ordinary() {
        // SAFETY: layouts and addresses are in order; the caller vouches for the memory.
        Some(Ordinary { norm, tensors, isa, stream }) => unsafe {
            let mut call = call_of(args, norm, tensors);
            call.set_options(isa, stream);
            call
        },
        // SAFETY: the same contract.
        None => unsafe { any_call(args) }?,
    };
    run(&mut call)
}

/// # Safety
/// As [`with_call`], for `'a`.
#[cold]
unsafe fn any_call<'a>(args: &dynorm_forward_args) -> Result<Forward<'a>, Refusal> {
    let norm = args.norm()?;
    let (isa, stream) = (args.isa()?, args.flags()?.stream()?);
    // SAFETY: the tensors have been checked; the caller vouches for the memory.
    let mut call = unsafe { call_of(args, norm, args.tensors()?) };
    call.set_options(isa, stream);
    Ok(call)
}

/// The call, but for what is chosen. Made where it is, by way of no copies, which a small call would feel.
///
/// # Safety
/// As [`with_call`], for `'a`, and the tensors must have been checked.
#[inline(always)]
pub(super) unsafe fn call_of<'a>(
    args: &dynorm_forward_args,
    norm: Norm,
    tensors: Tensors,
) -> Forward<'a> {
    let Tensors { x, y, weight, bias, residual, z, statistics } = tensors;
    // SAFETY: as the caller says. In place an input and an output are the same, which a call is made for.
    unsafe {
        let mut call = match y {
            Output::Element(y) => Forward::new(norm, rows(x), rows_mut(y)),
            Output::Quantized(y, scales) => {
                let y = QuantizedRowsMut::from_raw(memory(y.data), y.element, y.layout);
                Forward::quantized(norm, rows(x), y, scales.read(args.rows, args.channels))
            }
        };
        let operands = [weight, bias].map(|given| channels(given, args.channels));
        call.set_operands(operands, args.weight_offset);
        match residual {
            None => {}
            Some(Residual { input, sum: None }) => call.set_residual(None, rows_mut(input)),
            Some(Residual { input, sum: Some(sum) }) => {
                call.set_residual(Some(rows(input)), rows_mut(sum));
            }
        }
        call.set_gate(z.map(|z| rows(z)));
        call.set_statistics(statistics.map(|data| {
            let data = memory::<_, RowStatistics>(data.cast_mut());
            slice::from_raw_parts(data.as_ptr(), args.rows)
        }));
        call
    }
}

/// # Safety
/// For `'a` the memory must be as the layout says, and nobody may write it but through the call.
#[inline]
pub(super) unsafe fn rows<'a>(given: Tensor) -> Rows<'a> {
    // SAFETY: the same contract.
    unsafe { Rows::from_raw(memory(given.data), given.element, given.layout) }
}

/// # Safety
/// As [`rows`], and nobody else may read it.
#[inline]
pub(super) unsafe fn rows_mut<'a>(given: Tensor) -> RowsMut<'a> {
    // SAFETY: the same contract.
    unsafe { RowsMut::from_raw(memory(given.data), given.element, given.layout) }
}

/// # Safety
/// As [`rows`], of one element for each of `count` channels.
#[inline]
pub(super) unsafe fn channels<'a>(given: Option<Operand>, count: usize) -> Option<Channels<'a>> {
    // SAFETY: the same contract.
    given.map(|given| unsafe { Channels::from_raw(memory(given.data), given.element, count) })
}

impl Scales {
    /// The scales of `rows` rows of `channels` channels as the crate takes them.
    ///
    /// # Safety
    /// They must be memory for as many.
    #[inline(always)]
    unsafe fn read(self, rows: usize, channels: usize) -> forward::Scales {
        match self {
            // No address is looked at.
            Self::Given(_) if rows == 0 => forward::Scales::Given(1.0),
            // SAFETY: the same contract.
            Self::Given(data) => forward::Scales::Given(unsafe { data.read() }),
            Self::GivenPerRow(data) => forward::Scales::GivenPerRow(memory(data), rows),
            Self::Computed(data) => forward::Scales::Computed(memory(data), rows),
            Self::ComputedPerGroup(data, size) => {
                let count = rows * groups(channels, size);
                forward::Scales::ComputedPerGroup(memory(data), count, size)
            }
        }
    }
}
