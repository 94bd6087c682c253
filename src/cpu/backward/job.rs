//! What the kernels of gradients are given: raw addresses of a call, all of it validated before, and how it is
//! divided.

use crate::ElementType;
use crate::cpu::access::Access;
use crate::cpu::affine::load_operand;
use crate::cpu::isa::Isa;
use crate::cpu::job::{Operand, Places};
use crate::cpu::math::MOST_PARAMETERS;
use crate::cpu::simd::{Simd, seldom};
use crate::cpu::split::share;
use core::ops::Range;
use core::ptr::NonNull;

/// A call. Whoever makes one vouches that its tensors are valid for the rows that it describes, that `dx` and
/// `dy` coincide or nothing that is written overlaps anything else, that there is room for the partial
/// sums of all [groups](groups), and for the instruction set.
#[derive(Clone, Copy)]
pub(crate) struct BackwardJob {
    pub(crate) x: Places,
    pub(crate) dy: Places,
    pub(crate) dx: Places,
    /// The type of all three.
    pub(crate) element: ElementType,
    pub(crate) isa: Isa,
    pub(crate) rows: usize,
    pub(crate) channels: usize,
    pub(crate) weight: Weight,
    /// Whether `dx` is written past the caches. Its rows begin at cache lines then.
    pub(crate) stream: bool,
    /// Whether the next rows are fetched ahead.
    pub(crate) fetch: bool,
    pub(crate) wanted: Wanted,
    /// Partial sums of all groups, if anything but `dx` is wanted.
    pub(crate) partial: NonNull<f32>,
}

/// The weight, if there is one.
#[derive(Clone, Copy)]
pub(crate) struct Weight {
    pub(crate) operand: Option<Operand>,
    /// Added to every weight.
    pub(crate) offset: f32,
}

impl Weight {
    /// The weights of the channels from `i` on, with the offset, if there are any.
    ///
    /// # Safety
    /// The weight must be valid for the channels that `access` reaches from `i` on.
    #[inline(always)]
    pub(super) unsafe fn load<S: Simd, A: Access, const U: usize>(
        self,
        s: S,
        access: A,
        i: usize,
    ) -> Option<[S::F; U]> {
        let operand = self.operand?;
        // SAFETY: the same contract.
        let mut w: [S::F; U] = unsafe { load_operand(s, operand, access, i) };
        if self.offset != 0.0 {
            let offset = s.splat(seldom(&self.offset));
            for j in 0..U {
                w[j] = s.add(w[j], offset);
            }
        }
        Some(w)
    }
}

/// Which gradients are wanted beside the input's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) weight: bool,
    pub(crate) bias: bool,
    pub(crate) parameters: bool,
}

/// Rows of a group, at least, where there are several: their sums are written and read again once for all of them.
const LEAST_ROWS: usize = 32;
/// Groups, at most.
const MOST_GROUPS: usize = 64;

/// Groups of rows that are summed up by themselves: by the number of rows alone, so that nothing depends on
/// who does which.
pub(crate) fn groups(rows: usize) -> usize {
    (rows / LEAST_ROWS).clamp(usize::from(rows > 0), MOST_GROUPS)
}

/// Rows that are worked on at once, at most.
pub(super) const MOST_AT_ONCE: usize = 8;
/// Bytes of `x` and `dy` of these, at most, if they are more than one: while they are worked on, as many of the next are fetched, and
/// the second level of the caches is to hold both.
const BYTES_AT_ONCE: usize = 128 << 10;
/// Channels of them that are worked on at once: their weights and sums stay in the first level of the caches meanwhile, and
/// sums over channels have an end in f32 there and go on in f64.
pub(super) const TILE: usize = 1024;
/// Bytes ahead of which rows are fetched, at least.
const AHEAD: usize = 16 << 10;

impl Wanted {
    /// Values of f32 that the sums of all groups of `rows` rows take.
    pub(crate) fn workspace(self, rows: usize, channels: usize) -> usize {
        groups(rows).saturating_mul(self.len(channels))
    }

    /// The same of one group: those of the weight, of the bias, of the parameters.
    pub(super) fn len(self, channels: usize) -> usize {
        let columns = usize::from(self.weight) + usize::from(self.bias);
        let parameters = if self.parameters { 2 * MOST_PARAMETERS } else { 0 };
        // There may be no rows, of any number of channels.
        channels.saturating_mul(columns).saturating_add(parameters)
    }
}

impl BackwardJob {
    /// Rows of group `group`.
    pub(super) fn rows_of(&self, group: usize) -> Range<usize> {
        let (first, end) = share(self.rows, group, groups(self.rows));
        first..end
    }

    /// How many rows of elements of type `E` are worked on at once: several where each is read before and again, and is
    /// so long that weights and sums would not stay in the first level of the caches from one to the next. `cargo bench
    /// --bench backward` on an Emerald Rapids, 16 x 4096 in f32, all gradients, in turns: RMSNorm 433 instead of 515 ps per
    /// element, LayerNorm 467 instead of 524; of the element-wise functions and of 576 channels no less than one by one.
    pub(super) fn at_once<E>(&self, reads_row: bool) -> usize {
        let has_columns = self.wanted.weight || self.wanted.bias;
        if !reads_row || !has_columns || self.channels <= TILE {
            return 1;
        }
        (BYTES_AT_ONCE / (2 * self.channels * size_of::<E>())).clamp(1, MOST_AT_ONCE)
    }

    /// Elements of type `E` from a row of `x` and `dy` to what is fetched while it is worked on, with as many others at
    /// once: those after them, or of tensors in groups of rows some others, which costs little.
    pub(super) fn ahead<E>(&self, at_once: usize) -> (usize, usize) {
        let rows = AHEAD.div_ceil(self.x.stride * size_of::<E>()).max(at_once);
        // They need not be there.
        (rows.wrapping_mul(self.x.stride), rows.wrapping_mul(self.dy.stride))
    }

    /// Where the sums of group `group` are.
    pub(super) fn sums(&self, group: usize) -> Sums {
        let Wanted { weight, bias, parameters } = self.wanted;
        let first = self.partial.as_ptr().wrapping_add(group * self.wanted.len(self.channels));
        let second = first.wrapping_add(if weight { self.channels } else { 0 });
        let third = second.wrapping_add(if bias { self.channels } else { 0 });
        Sums {
            weight: weight.then_some(first),
            bias: bias.then_some(second),
            parameters: parameters.then_some(third),
        }
    }
}

/// The sums of a group, those that are wanted.
#[derive(Clone, Copy)]
pub(super) struct Sums {
    pub(super) weight: Option<*mut f32>,
    pub(super) bias: Option<*mut f32>,
    /// Of each parameter what f32 holds of its sum, then what that has left.
    pub(super) parameters: Option<*mut f32>,
}
