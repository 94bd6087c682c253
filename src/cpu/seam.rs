//! Blocks of a streamed output that two rows share.
//!
//! Streamed stores write whole lines of the caches. Where rows follow each other without gaps, but do not
//! begin where lines do, the output is gone through as one run of blocks: what is left of a row is written
//! with the begin of the next one. A line that is written in two parts would be read from memory first, and
//! the streamed stores behind it would wait for that.

use super::access::{Access, Whole};
use super::affine::Affine;
use super::function::{Function, Pointwise};
use super::job::Job;
use super::pipeline::{Results, UNROLL, try_store};
use super::simd::{
    Simd,
    element::{Output, Storage},
};
use core::mem::MaybeUninit;
use core::ptr::NonNull;

/// Channels of the largest block.
const MOST: usize = UNROLL * 16;

/// Whether rows of `job` are written so: if the input, too, has no gaps, so that a block of it can be read
/// at once, and a block is shared by no more than two rows.
#[inline(always)]
pub(crate) fn shares_blocks(job: &Job) -> bool {
    job.is_dense() && job.channels >= MOST
}

/// The last channels of an operand, a block of them, and behind them its first.
#[repr(align(64))]
pub(super) struct Around(MaybeUninit<[u8; 2 * MOST * size_of::<f32>()]>);

impl Around {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self(MaybeUninit::uninit())
    }

    /// Fills it with those of `operand`, with elements of `size` bytes, and says where they are.
    ///
    /// # Safety
    /// `operand` must be valid for reads of `channels` elements, which are at least a block.
    #[inline(always)]
    pub(super) unsafe fn fill<S: Simd>(
        &mut self,
        operand: NonNull<u8>,
        size: usize,
        channels: usize,
    ) -> NonNull<u8> {
        const { assert!(UNROLL * S::LANES <= MOST) };
        debug_assert!(size <= size_of::<f32>() && channels >= UNROLL * S::LANES);
        let bytes = UNROLL * S::LANES * size;
        let to = NonNull::from(&mut self.0).cast::<u8>();
        // SAFETY: a block is at either end of the operand, and there is room for two.
        unsafe {
            to.copy_from_nonoverlapping(operand.add(channels * size - bytes), bytes);
            to.add(bytes).copy_from_nonoverlapping(operand, bytes);
        }
        to
    }
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
        let mut v = around.apply(s, Whole, block - left, v);
        if Y::QUANTIZED {
            for j in 0..UNROLL {
                v[j] = s.mul(v[j], select(s, left, j, before.factor, after.factor));
            }
        }
        if !try_store(s, y, v, true, true) {
            Whole.store(s, y, v, true);
        }
    }
}

/// Vector `j` of a block whose first `left` lanes are of one row, and the others of the next.
#[inline(always)]
fn select<S: Simd>(s: S, left: usize, j: usize, before: S::F, after: S::F) -> S::F {
    s.first_n(before, left.saturating_sub(j * S::LANES).min(S::LANES), after)
}
