//! Weights and biases that are brought into their final form, f32 with offset and scale and aligned to cache
//! lines, once for many rows instead of once a row.

use super::access::{Access, Whole};
use super::affine::Plain;
use super::cache::LINE;
use super::dispatch::enter;
use super::job::{Job, Operand};
use super::pipeline::UNROLL;
use super::simd::{Kernel, Simd, element::Storage};
use crate::{ElementType, Norm};
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use half::{bf16, f16};

/// Rows from which on it is done: by counting instructions, it costs what it saves on about five.
const LEAST_ROWS: usize = 8;
/// The same where they only lie across cache lines, which fewer rows would not repay.
const LEAST_ROWS_TO_ALIGN: usize = 64;
/// Channels up to which it is done.
const MOST_CHANNELS: usize = 4096;
/// Bytes of the operands, and of a row that is read twice, up to which it is done: beyond, a level-1 cache of
/// 32 KiB does not hold them, and what is read from the second level is better short.
const MOST_BYTES: usize = 32 << 10;

/// Values of a weight or a bias, on the stack.
#[repr(align(64))]
struct Wide([MaybeUninit<f32>; MOST_CHANNELS]);

impl Wide {
    fn new() -> Self {
        Self([MaybeUninit::uninit(); MOST_CHANNELS])
    }
}

/// Channels up to which what has no weight gets one, of ones: short rows gain more from the kernels that
/// take one than reading it costs.
const MOST_ONES: usize = 2048;

/// Calls `run` with `job`, or with the same job whose operands are what the fastest kernels take
/// where that is faster: an aligned weight and perhaps a bias of f32, and no more. The results are the same:
/// widening is exact, offset and scale are applied as they would be for every row, and a product with 1
/// changes nothing.
///
/// # Safety
/// `job` must keep [`Job`]'s promises.
#[inline]
pub(crate) unsafe fn with_wide_operands(norm: Norm, job: &Job, run: impl FnOnce(&Job)) {
    let plain = Plain::of(job).is_some() && (job.rows < LEAST_ROWS_TO_ALIGN || aligned(job));
    if !plain && pays(norm, job) {
        // SAFETY: the same contract, and there is room for the channels.
        unsafe { run_widened(job, run) }
    } else {
        run(job);
    }
}

/// Whether the operands of `job` are, or come to be, a weight and perhaps a bias of f32.
pub(crate) fn become_plain(norm: Norm, job: &Job) -> bool {
    Plain::of(job).is_some() || pays(norm, job)
}

/// Whether no vector of an operand lies in two cache lines, of whatever size.
#[inline(always)]
fn aligned(job: &Job) -> bool {
    [job.weight, job.bias].into_iter().flatten().all(|o| o.data.addr().get().is_multiple_of(LINE))
}

/// Whether it is faster.
#[inline(always)]
fn pays(norm: Norm, job: &Job) -> bool {
    let elementwise = norm.is_elementwise();
    let most = match job.weight {
        Some(_) => MOST_CHANNELS,
        None if elementwise => 0,
        None => MOST_ONES,
    };
    let operands = 1 + usize::from(job.bias.is_some());
    let bytes = job.channels * (operands * size_of::<f32>() + job.x_element.size());
    job.rows >= LEAST_ROWS && job.channels <= most && (elementwise || bytes <= MOST_BYTES)
}

/// In a function of its own, whose stack calls with few rows need not have.
///
/// # Safety
/// As [`with_wide_operands`]; `job` must have at most [`MOST_CHANNELS`] channels.
#[inline(never)]
unsafe fn run_widened(job: &Job, run: impl FnOnce(&Job)) {
    let (mut weight, mut bias) = (Wide::new(), Wide::new());
    let widen = |from: Operand, offset: f32, scale: f32, wide: &mut Wide| {
        let to = NonNull::from(&mut wide.0).cast();
        // SAFETY: the job vouches for its operands, the caller for the room.
        unsafe { enter(job.isa, Widen { from, offset, scale, to, channels: job.channels }) };
        Operand { data: to.cast(), element: ElementType::F32 }
    };
    let weight = match job.weight {
        Some(from) => widen(from, job.weight_offset, job.scale, &mut weight),
        None => {
            weight.0[..job.channels].fill(MaybeUninit::new(job.scale));
            Operand { data: NonNull::from(&mut weight.0).cast(), element: ElementType::F32 }
        }
    };
    let bias = job.bias.map(|from| widen(from, 0.0, 1.0, &mut bias));
    run(&Job { weight: Some(weight), bias, weight_offset: 0.0, scale: 1.0, ..*job });
}

/// `(from + offset) * scale`, as f32.
struct Widen {
    from: Operand,
    offset: f32,
    scale: f32,
    to: NonNull<f32>,
    channels: usize,
}

impl Widen {
    /// `(v + offset) * scale`.
    #[inline(always)]
    fn finish<S: Simd, const U: usize>(&self, s: S, mut v: [S::F; U]) -> [S::F; U] {
        for j in 0..U {
            if self.offset != 0.0 {
                v[j] = s.add(v[j], s.splat(self.offset));
            }
            if self.scale != 1.0 {
                v[j] = s.mul(v[j], s.splat(self.scale));
            }
        }
        v
    }
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
    let (block, p) = (UNROLL * S::LANES, to.to.as_ptr());
    let whole = to.channels - to.channels % block;
    for i in (0..whole).step_by(block) {
        // SAFETY: a block follows `i`.
        unsafe {
            let v = to.finish(s, Whole.load::<S, E, UNROLL>(s, from.add(i)));
            Whole.store::<S, f32, UNROLL>(s, p.add(i), v, false);
        }
    }
    for i in (whole..to.channels).step_by(S::LANES) {
        let part = (to.channels - i).min(S::LANES);
        // SAFETY: `i + part` is at most the number of channels.
        unsafe {
            let [v] = to.finish(s, [E::load_part(s, from.add(i), part)]);
            s.store_f32_part(p.add(i), v, part);
        }
    }
}
