//! Short calls: a few rows of one type, with a weight and perhaps a bias of that type or of f32, and perhaps a residual.
//!
//! Between two norms of a model a processor goes through the weights of a layer, and when a call comes, all that it runs
//! through and looks at is in memory again: each line of it is waited for, and the first one of a page longest. So these
//! calls have kernels of their own, the parts of the others with little around them, which are found by address and are
//! given no more than they need.

mod affine;
mod kernels;

use super::isa::Isa;
use crate::ElementType;
use core::ptr::NonNull;

pub(crate) use kernels::Kind;
pub(super) use kernels::{choose_first_isa, choose_isa, chosen_isa};

/// Channels up to which rows are short: more than models have. A few rows of as many are work for one thread.
const MOST_CHANNELS: usize = 16 << 10;
/// Rows up to which such rows are few, and elements up to which more rows are. Beyond, what the other kernels gain by
/// reading a row while they write another is more than what it takes to come to them. Near these limits either takes about
/// as long (`cargo bench --bench capi -- short`, with the limits moved to see both on one side), so they need not be exact.
const MOST_ROWS: usize = 4;
const MOST_ELEMENTS: usize = 1024;
/// Elements up to which the host's threads do not divide a call: a piece of it would be less than a microsecond's work.
const UNDIVIDED: usize = 4096;

/// Whether `rows` rows of `channels` channels are a short call.
#[inline(always)]
pub(crate) fn are_few(rows: usize, channels: usize) -> bool {
    // In this order, so that no product is too large.
    (1..=MOST_ELEMENTS).contains(&rows)
        && (1..=MOST_CHANNELS).contains(&channels)
        && (rows <= MOST_ROWS || rows * channels <= MOST_ELEMENTS)
}

/// A function by the number of its [`Kind`] and its parameters, 0 where it has no second one: what [`Norm`](crate::Norm) says, in a
/// form that is looked at without jumps, whose targets a processor cannot foretell before it has read a table.
pub(crate) struct Named {
    pub(crate) kind: usize,
    pub(crate) parameters: [f32; 2],
}

/// The rows of a short call, which follow one another in each tensor.
pub(crate) struct ShortCall {
    /// The number of the function's [`Kind`].
    pub(crate) kind: usize,
    pub(crate) element: ElementType,
    /// That of weight and bias: the same, or f32.
    pub(crate) weight: ElementType,
    /// The instruction set, if the call names one.
    pub(crate) isa: Option<Isa>,
    pub(crate) rows: ShortRows,
}

/// What a kernel is given: it knows the function and the types.
pub(crate) struct ShortRows {
    /// Of the function.
    pub(crate) parameters: [f32; 2],
    pub(crate) rows: usize,
    pub(crate) channels: usize,
    pub(crate) x: NonNull<u8>,
    pub(crate) y: NonNull<u8>,
    pub(crate) weight: NonNull<u8>,
    pub(crate) bias: Option<NonNull<u8>>,
    /// Added to every weight.
    pub(crate) weight_offset: f32,
    /// What is added to `x`, and where the sum goes.
    pub(crate) residual: Option<[NonNull<u8>; 2]>,
}

impl ShortCall {
    /// Does the work, if there is a kernel for it, and returns whether it has.
    ///
    /// # Safety
    /// All tensors must be aligned and valid for the rows, which [`are_few`], weight and bias for as many channels;
    /// what is written must be where something else is read, element for element, or apart from it; and the processor must
    /// have the instruction set.
    #[inline(always)]
    pub(crate) unsafe fn run(&self) -> bool {
        // SAFETY: the same contract.
        unsafe { self.run_part(0) }
    }

    /// Does part `index` of a call that [is not divided](Self::is_undivided), if there is a kernel for it, and returns
    /// whether it has. All of the work is the first part.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    #[inline(always)]
    pub(crate) unsafe fn run_part(&self, index: usize) -> bool {
        debug_assert!(are_few(self.rows.rows, self.rows.channels));
        if !self.is_in_range() {
            return false;
        }
        let kernel = kernels::kernel(self.kind, self.element, self.weight, self.isa);
        let Some(kernel) = kernel else { return false };
        if index == 0 {
            // SAFETY: the same contract; it is that of the function and the types.
            unsafe { kernel(&self.rows) };
        }
        true
    }

    /// Whether the host's threads do not divide it, but leave it to the first of them. All of them must come to the same
    /// answer, so it does not depend on the instruction set, which [`set_current`](Isa::set_current) or another thread's
    /// first call may choose meanwhile. For the same reason the calls from C that are short must be so for
    /// [`Forward`](crate::Forward), too: it is where a thread turns that finds no kernel.
    #[inline(always)]
    pub(crate) fn is_undivided(&self) -> bool {
        let ShortRows { rows, channels, .. } = self.rows;
        ((rows == 1) & self.is_of_row()) | (rows * channels <= UNDIVIDED)
    }

    /// Whether [`Norm::check`](crate::Norm::check) finds nothing, and the offset is finite.
    #[inline(always)]
    fn is_in_range(&self) -> bool {
        let ShortRows { parameters: [first, second], weight_offset, .. } = self.rows;
        let isru = self.kind == Kind::DyIsru as usize;
        let in_range = (!self.is_of_row() | (first >= 0.0)) & (!isru | (first > 0.0));
        first.is_finite() & second.is_finite() & weight_offset.is_finite() & in_range
    }

    /// Whether the function reads rows.
    #[inline(always)]
    fn is_of_row(&self) -> bool {
        (self.kind == Kind::RmsNorm as usize) | (self.kind == Kind::LayerNorm as usize)
    }
}

/// Prefetches what a short call will read, while its code comes from memory, too. What is at the addresses does not matter,
/// nor whether there is anything.
#[inline(always)]
pub(crate) fn prefetch([x, weight, y]: [*const u8; 3]) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of the architecture, and no address is followed.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(kernels::choices().cast());
        _mm_prefetch::<_MM_HINT_T0>(x.cast());
        _mm_prefetch::<_MM_HINT_T0>(weight.cast());
        _mm_prefetch::<_MM_HINT_T0>(y.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (x, weight, y);
}
