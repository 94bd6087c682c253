//! A piece of a row on its way from the function's f32 results to the output.

use super::ahead::Ahead;
use super::dispatch::enter;
use super::finish::{Gate, Largest, Store};
use super::isa::Isa;
use super::job::{Job, Places, Tensor};
use crate::{ElementType, F8E4M3, QuantizedType};
use core::ptr::NonNull;
use half::{bf16, f16};

/// The output behind the scratch piece.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) places: Places,
    pub(crate) form: Form,
    /// Whether it is written past the caches.
    pub(crate) stream: bool,
}

/// What results are rounded to, after a product with the reciprocal of their scale if they have one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    Element(ElementType),
    Quantized(QuantizedType, Scale),
}

/// Scales of a quantised output; addresses of one for each row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scale {
    Given(f32),
    GivenPerRow(NonNull<f32>),
    Computed(NonNull<f32>),
}

impl Scale {
    /// The same from row `row` on.
    ///
    /// # Safety
    /// There must be such a row, or be as many.
    #[inline]
    pub(super) unsafe fn from(self, row: usize) -> Self {
        // SAFETY: there is one for each row.
        unsafe {
            match self {
                Self::Given(_) => self,
                Self::GivenPerRow(scales) => Self::GivenPerRow(scales.add(row)),
                Self::Computed(scales) => Self::Computed(scales.add(row)),
            }
        }
    }

    /// Whether it needs the largest magnitude among the row's results.
    #[inline(always)]
    pub(super) fn is_computed(self) -> bool {
        matches!(self, Self::Computed(_))
    }

    /// That of row `row`, whose largest magnitude is `largest` if it is computed.
    ///
    /// # Safety
    /// There must be such a row.
    #[inline(always)]
    pub(super) unsafe fn of_row(self, element: QuantizedType, row: usize, largest: f32) -> f32 {
        // SAFETY: there is one for each row.
        unsafe {
            match self {
                Self::Given(scale) => scale,
                Self::GivenPerRow(scales) => scales.add(row).read(),
                Self::Computed(scales) => {
                    let scale = element.scale_for(largest.min(f32::MAX));
                    scales.add(row).write(scale);
                    scale
                }
            }
        }
    }
}

/// A piece of a row whose results are in the scratch piece.
#[derive(Clone, Copy)]
pub(crate) struct Piece {
    isa: Isa,
    /// Row and channel of the whole call that it begins with.
    row: usize,
    channel: usize,
    values: NonNull<f32>,
    channels: usize,
}

impl Piece {
    /// The piece of `job` from row and channel `at` on.
    pub(crate) fn new(
        job: &Job,
        at: (usize, usize),
        values: NonNull<f32>,
        channels: usize,
    ) -> Self {
        let (row, channel) = (job.first.0 + at.0, job.first.1 + at.1);
        Self { isa: job.isa, row, channel, values, channels }
    }

    /// The largest magnitude among `largest` and the piece's.
    pub(crate) fn largest(&self, largest: f32) -> f32 {
        let Self { isa, values, channels, .. } = *self;
        // SAFETY: whoever has made the piece vouches for its results, and for `isa`.
        unsafe { enter(isa, Largest { values: values.as_ptr(), channels, largest }) }
    }

    /// Multiplies the results, which will be stored in `form`, by `silu(z)`.
    ///
    /// # Safety
    /// They must be in the scratch piece, and `z` must have the piece's row.
    pub(crate) unsafe fn gate(&self, z: &Tensor, form: Form, fetch: bool) {
        let Self { isa, row, channel, values, channels } = *self;
        // SAFETY: the caller vouches for the row, the piece's maker for `isa`.
        unsafe {
            macro_rules! gate {
                ($ty:ty) => {{
                    let ahead = fetch.then(|| Ahead::straight::<$ty>(&z.places, channels));
                    let z = z.places.at::<$ty>(row, channel);
                    let values = values.as_ptr();
                    match form {
                        Form::Element(ElementType::F32) => {
                            enter(isa, Gate::<_, 24> { z, values, channels, ahead })
                        }
                        Form::Element(ElementType::F16) => {
                            enter(isa, Gate::<_, 11> { z, values, channels, ahead })
                        }
                        Form::Element(ElementType::Bf16) | Form::Quantized(..) => {
                            enter(isa, Gate::<_, 8> { z, values, channels, ahead })
                        }
                    }
                }};
            }
            match z.element {
                ElementType::F32 => gate!(f32),
                ElementType::F16 => gate!(f16),
                ElementType::Bf16 => gate!(bf16),
            }
        }
    }
}

impl Output {
    /// What the results of a piece's row are multiplied with, if anything; `largest` gives the largest
    /// of them, which a computed scale needs.
    ///
    /// # Safety
    /// The piece must be one of the call's.
    // Inlined into a loop over rows, the compiler looks at the scale ahead of the loop, also where
    // there is none. No harm comes of that, but valgrind reports it to every user.
    #[inline(never)]
    pub(crate) unsafe fn factor(
        &self,
        piece: &Piece,
        largest: impl FnOnce() -> f32,
    ) -> Option<f32> {
        let Form::Quantized(element, scale) = self.form else { return None };
        // SAFETY: the piece's row is one of the call's.
        let scale = unsafe {
            scale.of_row(element, piece.row, if scale.is_computed() { largest() } else { 0.0 })
        };
        Some(1.0 / scale)
    }

    /// # Safety
    /// The piece's results must be in the scratch piece.
    pub(crate) unsafe fn store(&self, piece: &Piece, factor: Option<f32>) {
        let Piece { isa, row, channel, values, channels } = *piece;
        let (values, stream) = (values.as_ptr().cast_const(), self.stream);
        // SAFETY: the job's maker vouches for the row, and for `isa`.
        unsafe {
            macro_rules! store {
                ($ty:ty) => {{
                    let y = self.places.at::<$ty>(row, channel);
                    enter(isa, Store { values, y, channels, factor, stream })
                }};
            }
            match self.form {
                Form::Element(ElementType::F32) => store!(f32),
                Form::Element(ElementType::F16) => store!(f16),
                Form::Element(ElementType::Bf16) => store!(bf16),
                Form::Quantized(QuantizedType::I8, _) => store!(i8),
                Form::Quantized(QuantizedType::F8E4M3, _) => store!(F8E4M3),
            }
        }
    }
}
