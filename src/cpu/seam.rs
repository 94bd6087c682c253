//! How streamed rows begin, and blocks of the output that two of them share.
//!
//! Streamed stores write whole lines of the caches. Where rows follow each other without gaps, but do not
//! begin where lines do, the output is gone through as one run of blocks: what is left of a row is written
//! with the begin of the next one. A line that is written in two parts would be read from memory first, and
//! the streamed stores behind it would wait for that.

use super::access::{Access, Whole};
use super::affine::Affine;
use super::cache::LINE;
use super::function::{Function, Pointwise};
use super::job::Job;
use super::pipeline::{UNROLL, Work};
use super::results::Results;
use super::simd::{
    Doubt, Simd,
    element::{Output, Storage},
};
use core::mem::MaybeUninit;
use core::ptr::NonNull;

/// Channels of the largest block.
const MOST: usize = UNROLL * 16;

/// Whether rows of a [usual](super::pipeline::is_usual) job are written so: if the input, too, has no gaps,
/// so that a block of it can be read at once, and a block is shared by no more than two rows.
#[inline(always)]
pub(crate) fn shares_blocks(job: &Job) -> bool {
    job.is_dense() && job.channels >= MOST && job.rows > 1
}

/// Whether blocks of a job that shares them are shared: unless each row begins with one.
#[inline(always)]
pub(super) fn has_seams<S: Simd, Y>(job: &Job) -> bool {
    let blocks = job.channels.is_multiple_of(UNROLL * S::LANES);
    !(blocks && job.y.data.cast::<Y>().addr().get().is_multiple_of(LINE))
}

/// The last channels of an operand, a block of them, and behind them its first.
#[repr(align(64))]
pub(super) struct Around(MaybeUninit<[f32; 2 * MOST]>);

impl Around {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self(MaybeUninit::uninit())
    }

    /// Fills it with those of `operand`, and says where they are.
    ///
    /// # Safety
    /// `operand` must be valid for reads of `channels` elements, which are at least a block.
    #[inline(always)]
    pub(super) unsafe fn fill<S: Simd>(
        &mut self,
        operand: NonNull<f32>,
        channels: usize,
    ) -> NonNull<f32> {
        const { assert!(UNROLL * S::LANES <= MOST) };
        let block = UNROLL * S::LANES;
        debug_assert!(channels >= block);
        let to = NonNull::from(&mut self.0).cast::<f32>();
        // SAFETY: a block is at either end of the operand, and there is room for two.
        unsafe {
            to.copy_from_nonoverlapping(operand.add(channels - block), block);
            to.add(block).copy_from_nonoverlapping(operand, block);
        }
        to
    }
}

/// A row that has been written, but for its last channels.
pub(super) struct Before<S: Simd, R> {
    pub(super) results: Results<S, R>,
    pub(super) left: usize,
}

/// Writes the begin of a row, together with what is left of the row before; `reading` is the row that is
/// read meanwhile. Returns from which channel on it is to be written, and up to which in parts of vectors.
///
/// # Safety
/// They must be places of rows of the job, and `before` the row before.
#[inline(always)]
pub(super) unsafe fn begin_row<S, F, A, X, Y, const MEMORY: bool>(
    s: S,
    work: &Work<A, MEMORY>,
    before: Option<Before<S, F::Row<S>>>,
    results: &Results<S, F::Row<S>>,
    reading: *const X,
    (x, y): (*const X, *mut Y),
) -> (usize, usize)
where
    S: Simd,
    F: Function,
    A: Affine,
    X: Storage,
    Y: Output,
{
    if !work.streams() {
        return (0, 0);
    }
    let around = if work.shares::<X, Y>() { work.around } else { None };
    match (around, before) {
        (Some(around), Some(Before { results: before, left })) if left > 0 => {
            if work.fetches() {
                work.ahead.fetch(s, reading.wrapping_sub(left));
            }
            // SAFETY: the rows follow each other without gaps; what was left begins where a block
            // of the row before ended.
            unsafe {
                let (x, y) = (x.sub(left), y.sub(left));
                write_seam::<S, F, X, Y>(s, around, [&before, results], left, x, y);
            }
            let written = UNROLL * S::LANES - left;
            (written, written)
        }
        _ => (0, head(s, work.job, y)),
    }
}

/// Channels up to which a row at `y` is written in parts of vectors, since streamed stores need aligned
/// addresses.
#[inline(always)]
fn head<S: Simd, Y>(s: S, job: &Job, y: *mut Y) -> usize {
    let head = y.align_offset(LINE).min(job.channels);
    if head > 0 {
        // Stores to the middle of a line hold up the streamed ones behind them until it has come
        // from memory, so it is asked for a row ahead.
        s.prefetch_write(y.wrapping_add(job.y.stride).cast());
    }
    head
}

/// Writes the block that begins with the last `left` channels of one row and ends with the first ones of
/// the next. `around` is the affine with the operands of [`Around`].
///
/// # Safety
/// `x` and `y` must be the addresses of the block, `y` aligned for streamed stores, and `left` less than a
/// block.
#[inline(always)]
pub(super) unsafe fn write_seam<S: Simd, F: Function, X: Storage, Y: Output>(
    s: S,
    around: impl Affine,
    [before, after]: [&Results<S, F::Row<S>>; 2],
    left: usize,
    x: *const X,
    y: *mut Y,
) {
    let block = UNROLL * S::LANES;
    // SAFETY: the caller vouches for the block; `around` has two blocks of each operand.
    unsafe {
        let x = Whole.load::<S, X, UNROLL>(s, x);
        let mut v = after.row.apply::<UNROLL, Y>(s, x);
        if F::BY_ROW {
            let first = before.row.apply::<UNROLL, Y>(s, x);
            for j in 0..UNROLL {
                v[j] = select(s, left, j, first[j], v[j]);
            }
        }
        let v = around.apply(s, Whole, block - left, v);
        if !Whole.try_store(s, y, v, true, Doubt::Subnormal) {
            Whole.store(s, y, v, true);
        }
    }
}

/// Vector `j` of a block whose first `left` lanes are of one row, and the others of the next.
#[inline(always)]
fn select<S: Simd>(s: S, left: usize, j: usize, before: S::F, after: S::F) -> S::F {
    s.first_n(before, left.saturating_sub(j * S::LANES).min(S::LANES), after)
}
