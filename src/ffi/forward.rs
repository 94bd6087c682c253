//! Calls on the CPU.

use super::args::{Operand, Tensor, dynorm_forward_args};
use super::boundary::guard;
use super::refusal::Refusal;
use super::status::dynorm_status;
use crate::place::{self, Access, Place};
use crate::tensor::Channels;
use crate::{Forward, Rows, RowsMut};
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

/// Does the work on the calling thread. Nothing is allocated, and no lock is taken.
///
/// Returns DYNORM_OK, or an error, and then has written nothing: DYNORM_ERROR_NULL, _ALIGNMENT,
/// _STRUCT_SIZE, _VALUE, _SHAPE, _PARAMETER, _OVERLAP, _ISA, or _UNSUPPORTED for fields of a later
/// version. Any number of threads may call it at once, on outputs of their own.
///
/// What it cannot see: that the tensors are as large as their shapes say, and that no other thread
/// writes them or reads y meanwhile.
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
/// where it is the output.
unsafe fn call<'a>(args: &dynorm_forward_args) -> Result<Forward<'a>, Refusal> {
    let norm = args.norm()?;
    let flags = args.flags()?;
    let (x, y) = (args.input()?, args.output()?);
    let (weight, bias) = (args.weight()?, args.bias()?);

    let place = |what, given: &Tensor| {
        Place::new(what, address(given.data), given.element.size(), given.layout)
    };
    let of_channels = |what, given: &Option<Operand>| {
        let access = |given: &Operand| {
            Access::of_channels(what, address(given.data), given.element.size(), args.channels)
        };
        given.as_ref().map(access).transpose()
    };
    let tensors = [
        Some(Access::read("input", place("input", &x)?)),
        Some(Access::output(place("output", &y)?)),
        of_channels("weight", &weight)?,
        of_channels("bias", &bias)?,
    ];
    place::check(args.rows, &tensors)?;

    // SAFETY: the layouts and the addresses were checked; the caller vouches for the memory. In
    // place `x` and `y` are the same, which a call is made for.
    let (x, y, weight, bias) = unsafe {
        let channels =
            |given: Operand| Channels::from_raw(memory(given.data), given.element, args.channels);
        (
            Rows::from_raw(memory(x.data), x.element, x.layout),
            RowsMut::from_raw(memory(y.data), y.element, y.layout),
            weight.map(channels),
            bias.map(channels),
        )
    };
    let mut call = norm.forward(x, y).operands(weight, bias).weight_offset(args.weight_offset);
    if let Some(isa) = args.isa()? {
        call = call.isa(isa);
    }
    if let Some(stream) = flags.stream()? {
        call = call.stream(stream);
    }
    Ok(call)
}

fn address(data: *mut c_void) -> u64 {
    data.addr() as u64
}

/// A pointer that is NULL only if there are no rows, and so is not used.
fn memory(data: *mut c_void) -> NonNull<u8> {
    NonNull::new(data.cast()).unwrap_or(NonNull::dangling())
}
