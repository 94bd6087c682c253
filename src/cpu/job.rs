//! What a kernel is given: raw addresses of a piece of work, all of it validated before.

use super::cache::LINE;
use super::fused::Fused;
use super::isa::Isa;
use super::piece::Scale;
use crate::tensor::{Heads, Layout};
use crate::{ElementType, QuantizedType, RowStatistics};
use core::ptr::NonNull;

/// A weight or a bias: one value per channel of the piece.
#[derive(Clone, Copy)]
pub(crate) struct Operand {
    pub(crate) data: NonNull<u8>,
    pub(crate) element: ElementType,
}

/// Where the rows of a tensor are: groups of rows, such as the heads of a token, with a stride
/// within a group and a jump to the next one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    pub(crate) data: NonNull<u8>,
    /// Elements from one row to the next.
    pub(crate) stride: usize,
    /// Rows of a group; without groups more than there can be.
    group: usize,
    /// Elements to add to the stride after the last row of a group; may wrap around.
    jump: usize,
    /// Rows from `data` to the end of its group.
    left: usize,
}

impl Places {
    /// Rows of `layout` from `data` on.
    pub(crate) fn new(data: NonNull<u8>, layout: Layout) -> Self {
        let Layout { stride, heads, .. } = layout;
        match heads {
            None => Self { data, stride, group: usize::MAX, jump: 0, left: usize::MAX },
            Some(Heads { count, token_stride }) => {
                let group = count.get();
                let jump = token_stride.wrapping_sub(group.wrapping_mul(stride));
                Self { data, stride, group, jump, left: group }
            }
        }
    }

    /// Elements from the first row to row `index`, which wrap around if it lies before it, and how many
    /// rows of its group are left from there on.
    #[inline(always)]
    pub(crate) fn offset(&self, index: usize) -> (usize, usize) {
        if index < self.left {
            return (index.wrapping_mul(self.stride), self.left - index);
        }
        let beyond = index - self.left;
        let (groups, in_group) = (beyond / self.group, beyond % self.group);
        let jumps = (groups + 1).wrapping_mul(self.jump);
        (index.wrapping_mul(self.stride).wrapping_add(jumps), self.group - in_group)
    }

    /// Channel `channel` of row `index`, for elements of `T`. The row may lie before the first one in
    /// memory, if that is not the first of its group.
    #[inline]
    pub(crate) fn at<T>(&self, index: usize, channel: usize) -> *mut T {
        let (offset, _) = self.offset(index);
        self.data.as_ptr().cast::<T>().wrapping_add(offset.wrapping_add(channel))
    }

    /// The same rows from `row` on, each from `channel` on, for elements of `size` bytes.
    ///
    /// # Safety
    /// It must be a row of the tensor.
    unsafe fn from(&self, row: usize, channel: usize, size: usize) -> Self {
        let (offset, left) = self.offset(row);
        let left = if self.group == usize::MAX { usize::MAX } else { left };
        let bytes = offset.wrapping_add(channel).wrapping_mul(size);
        // SAFETY: memory of the tensor, says the caller, and so not at 0; or, of an output that something else is behind, a
        // number that nobody uses and that lies within four times as much.
        let data = unsafe { NonNull::new_unchecked(self.data.as_ptr().wrapping_add(bytes)) };
        Self { data, left, ..*self }
    }

    /// Elements from one group to the next, and how many those of a group, of rows of `channels` channels,
    /// take; without groups, the same of rows.
    #[inline]
    pub(crate) fn runs(&self, channels: usize) -> (usize, usize) {
        if self.group == usize::MAX {
            return (self.stride, channels);
        }
        let run = (self.group - 1) * self.stride + channels;
        (self.group.wrapping_mul(self.stride).wrapping_add(self.jump), run)
    }

    /// Whether all rows, of elements of `size` bytes, begin at cache lines.
    pub(crate) fn begins_at_lines(&self, size: usize) -> bool {
        let steps = self.stride.wrapping_mul(size) | self.jump.wrapping_mul(size);
        (self.data.addr().get() | steps).is_multiple_of(LINE)
    }

    /// Whether the rows, of `channels` channels, follow each other without gaps.
    #[inline(always)]
    pub(crate) fn is_dense(&self, channels: usize) -> bool {
        self.group == usize::MAX && self.stride == channels
    }
}

/// A tensor of the whole call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tensor {
    pub(crate) places: Places,
    pub(crate) element: ElementType,
}

/// What results are stored as.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stored {
    Element(ElementType),
    Quantized(QuantizedType, Scale),
    /// As f32, which will be rounded to [at most eight digits](super::simd::element::Rough). Of element-wise functions only.
    Rough,
}

impl Stored {
    /// Bytes of an element.
    #[inline]
    fn size(self) -> usize {
        match self {
            Self::Element(element) => element.size(),
            Self::Quantized(..) => 1,
            Self::Rough => ElementType::F32.size(),
        }
    }

    /// The same from row `row` on.
    ///
    /// # Safety
    /// There must be such a row, or be as many.
    #[inline]
    unsafe fn from(self, row: usize) -> Self {
        match self {
            // SAFETY: the same contract.
            Self::Quantized(element, scale) => Self::Quantized(element, unsafe { scale.from(row) }),
            Self::Element(_) | Self::Rough => self,
        }
    }
}

/// A piece of work: `rows` rows of `channels` channels.
///
/// Whoever makes one vouches that `x` and `y` are valid for the rows that it describes, the
/// operands for `channels` elements, that `x` and `y` coincide or do not overlap, the same of
/// everything in `fused`, and for the instruction set.
#[derive(Clone, Copy)]
pub(crate) struct Job<'a> {
    pub(crate) x: Places,
    pub(crate) y: Places,
    pub(crate) x_element: ElementType,
    pub(crate) stored: Stored,
    /// The instructions to do it with, which the processor must have.
    pub(crate) isa: Isa,
    pub(crate) rows: usize,
    pub(crate) channels: usize,
    pub(crate) weight: Option<Operand>,
    pub(crate) bias: Option<Operand>,
    /// Added to every weight.
    pub(crate) weight_offset: f32,
    /// What the function is multiplied with beside the weight. It is multiplied with the weight
    /// first, which for many rows is done once.
    pub(crate) scale: f32,
    /// Whether the output is written past the caches.
    pub(crate) stream: bool,
    /// Whether the input is fetched ahead.
    pub(crate) fetch: bool,
    /// Whether the sums with the residual in `fused` are still to be made, by what makes `x` of them.
    pub(crate) makes_sums: bool,
    /// What is known of the rows, if they are not to be read for it. There must be an output behind
    /// the function's then.
    pub(crate) statistics: Option<NonNull<RowStatistics>>,
    /// What is done before and after the function.
    pub(crate) fused: Option<&'a Fused>,
    /// Row and channel of the whole call that this piece begins with: tensors in `fused` are
    /// those of the whole call.
    pub(crate) first: (usize, usize),
}

impl<'a> Job<'a> {
    /// The columns `first..end` of the rows `row..row + rows`.
    pub(crate) fn part(&self, row: usize, rows: usize, first: usize, end: usize) -> Self {
        debug_assert!(row + rows <= self.rows && first < end && end <= self.channels);
        // SAFETY: the job's maker vouches for `channels` elements, of which `first` is one.
        let at = |operand: Operand| unsafe {
            Operand { data: operand.data.add(first * operand.element.size()), ..operand }
        };
        // SAFETY: as above, of the rows.
        let (x, y) = unsafe {
            (
                self.x.from(row, first, self.x_element.size()),
                self.y.from(row, first, self.stored.size()),
            )
        };
        Self {
            x,
            y,
            rows,
            channels: end - first,
            // SAFETY: there is a scale for each row.
            stored: unsafe { self.stored.from(row) },
            weight: self.weight.map(at),
            bias: self.bias.map(at),
            // SAFETY: there is one for each row.
            statistics: self.statistics.map(|p| unsafe { p.add(row) }),
            first: (self.first.0 + row, self.first.1 + first),
            ..*self
        }
    }

    /// Whether the rows of both input and output follow each other without gaps.
    #[inline(always)]
    pub(crate) fn is_dense(&self) -> bool {
        self.x.is_dense(self.channels) && self.y.is_dense(self.channels)
    }

    /// Whether it can be done as one long row, where nothing depends on rows.
    #[inline]
    pub(crate) fn is_flat(&self) -> bool {
        let plain = self.weight.is_none() && self.bias.is_none() && self.fused.is_none();
        let plain = plain && !matches!(self.stored, Stored::Quantized(_, Scale::GivenPerRow(_)));
        self.is_dense() && plain && self.rows > 0
    }

    /// The same work as one long row, where that is possible and nothing depends on rows.
    pub(crate) fn flattened(self) -> Self {
        if self.is_flat() {
            let channels = self.rows * self.channels;
            let row = |places: Places| Places { stride: channels, ..places };
            Self { rows: 1, channels, x: row(self.x), y: row(self.y), ..self }
        } else {
            self
        }
    }
}
