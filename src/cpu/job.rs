//! What a kernel is given: raw addresses of a piece of work, all of it validated before.

use crate::ElementType;
use core::ptr::NonNull;

/// A weight or a bias: one value per channel of the piece.
#[derive(Clone, Copy)]
pub(crate) struct Operand {
    pub(crate) data: NonNull<u8>,
    pub(crate) element: ElementType,
}

/// A piece of work: `rows` rows of `channels` channels.
///
/// Whoever makes one vouches that `x` and `y` are valid for the rows that it describes, the
/// operands for `channels` elements, and that `x` and `y` coincide or do not overlap.
#[derive(Clone, Copy)]
pub(crate) struct Job {
    pub(crate) x: NonNull<u8>,
    pub(crate) y: NonNull<u8>,
    pub(crate) x_element: ElementType,
    pub(crate) y_element: ElementType,
    /// Elements from one row to the next.
    pub(crate) x_stride: usize,
    /// Elements from one row to the next.
    pub(crate) y_stride: usize,
    pub(crate) rows: usize,
    pub(crate) channels: usize,
    pub(crate) weight: Option<Operand>,
    pub(crate) bias: Option<Operand>,
    /// Added to every weight.
    pub(crate) weight_offset: f32,
    /// What the function is multiplied with beside the weight. It is multiplied with the weight
    /// first, which for many rows is done once.
    pub(crate) scale: f32,
    /// Whether the output is written past the caches, and the input fetched ahead.
    pub(crate) stream: bool,
}

impl Job {
    /// The weight, if it is of f32 and all that is applied: the case that is told apart first.
    pub(crate) fn plain_weight(&self) -> Option<*const f32> {
        match self.weight {
            Some(weight)
                if weight.element == ElementType::F32
                    && self.bias.is_none()
                    && self.weight_offset == 0.0
                    && self.scale == 1.0 =>
            {
                Some(weight.data.as_ptr().cast())
            }
            _ => None,
        }
    }

    /// The columns `first..end` of the rows `row..row + rows`.
    pub(crate) fn part(&self, row: usize, rows: usize, first: usize, end: usize) -> Self {
        debug_assert!(row + rows <= self.rows && first < end && end <= self.channels);
        let at = |operand: Operand| Operand {
            data: offset(operand.data, first * operand.element.size()),
            ..operand
        };
        Self {
            x: offset(self.x, (row * self.x_stride + first) * self.x_element.size()),
            y: offset(self.y, (row * self.y_stride + first) * self.y_element.size()),
            rows,
            channels: end - first,
            weight: self.weight.map(at),
            bias: self.bias.map(at),
            ..*self
        }
    }

    /// The same work as one long row, where that is possible and nothing depends on rows.
    pub(crate) fn flattened(self) -> Self {
        let dense = self.x_stride == self.channels && self.y_stride == self.channels;
        if dense && self.rows > 0 && self.weight.is_none() && self.bias.is_none() {
            let channels = self.rows * self.channels;
            Self { rows: 1, channels, x_stride: channels, y_stride: channels, ..self }
        } else {
            self
        }
    }
}

/// `p` moved on by `bytes`, which lie in the same slice.
fn offset(p: NonNull<u8>, bytes: usize) -> NonNull<u8> {
    // SAFETY: the job's maker vouches that the rows and channels it describes are in the slice,
    // and `part` asks for no others.
    unsafe { p.add(bytes) }
}
