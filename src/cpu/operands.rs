//! Weights and biases that are brought into their final form, f32 with offset and scale, once for
//! many rows instead of once a row.

use super::dispatch::enter;
use super::job::{Job, Operand};
use super::simd::{Kernel, Simd, element::Storage};
use crate::ElementType;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use half::{bf16, f16};

/// Rows from which on it is done: by counting instructions, it costs what it saves on about five.
const LEAST_ROWS: usize = 8;
/// Channels up to which it is done: wide values fill half of a level-1 cache of 32 KiB then.
const MOST_CHANNELS: usize = 4096;

/// Values of a weight or a bias, on the stack.
#[repr(align(64))]
struct Wide(MaybeUninit<[f32; MOST_CHANNELS]>);

/// Calls `run` with `job`, or with the same job whose weight and bias are f32 where that is
/// faster. The results are the same: widening is exact, offset and scale are applied as they would
/// be for every row.
///
/// # Safety
/// `job` must keep [`Job`]'s promises.
#[inline]
pub(crate) unsafe fn with_wide_operands(job: &Job, run: impl FnOnce(&Job)) {
    let narrow = |operand: Option<Operand>| operand.is_some_and(|o| o.element != ElementType::F32);
    let scaled = job.weight.is_some() && job.scale != 1.0;
    let pays = job.rows >= LEAST_ROWS && job.channels <= MOST_CHANNELS;
    if pays && (narrow(job.weight) || narrow(job.bias) || scaled) {
        // SAFETY: the same contract, and there is room for the channels.
        unsafe { run_widened(job, run) }
    } else {
        run(job);
    }
}

/// In a function of its own, whose stack calls with few rows need not have.
///
/// # Safety
/// As [`with_wide_operands`]; `job` must have at most [`MOST_CHANNELS`] channels.
#[inline(never)]
unsafe fn run_widened(job: &Job, run: impl FnOnce(&Job)) {
    let (mut weight, mut bias) = (Wide(MaybeUninit::uninit()), Wide(MaybeUninit::uninit()));
    let widen = |operand: Option<Operand>, offset: f32, scale: f32, wide: &mut Wide| {
        operand.map(|from| {
            let to = NonNull::from(&mut wide.0).cast();
            // SAFETY: the job vouches for its operands, the caller for the room.
            unsafe { enter(job.isa, Widen { from, offset, scale, to, channels: job.channels }) };
            Operand { data: to.cast(), element: ElementType::F32 }
        })
    };
    let weight = widen(job.weight, job.weight_offset, job.scale, &mut weight);
    let bias = widen(job.bias, 0.0, 1.0, &mut bias);
    let scale = if weight.is_some() { 1.0 } else { job.scale };
    run(&Job { weight, bias, weight_offset: 0.0, scale, ..*job });
}

/// `(from + offset) * scale`, as f32.
struct Widen {
    from: Operand,
    offset: f32,
    scale: f32,
    to: NonNull<f32>,
    channels: usize,
}

impl Kernel for Widen {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let p = self.from.data.as_ptr();
        // SAFETY: whoever makes a `Widen` vouches for both addresses.
        unsafe {
            match self.from.element {
                ElementType::F32 => widen::<S, f32>(s, p.cast(), &self),
                ElementType::F16 => widen::<S, f16>(s, p.cast(), &self),
                ElementType::Bf16 => widen::<S, bf16>(s, p.cast(), &self),
            }
        }
    }
}

/// # Safety
/// `from` must be valid for reads of `to.channels` elements, and `to.to` for writes.
#[inline(always)]
unsafe fn widen<S: Simd, E: Storage>(s: S, from: *const E, to: &Widen) {
    for i in (0..to.channels).step_by(S::LANES) {
        let part = (to.channels - i).min(S::LANES);
        // SAFETY: `i + part` is at most the number of channels.
        unsafe {
            let mut v = E::load_part(s, from.add(i), part);
            if to.offset != 0.0 {
                v = s.add(v, s.splat(to.offset));
            }
            if to.scale != 1.0 {
                v = s.mul(v, s.splat(to.scale));
            }
            s.store_f32_part(to.to.as_ptr().add(i), v, part);
        }
    }
}
