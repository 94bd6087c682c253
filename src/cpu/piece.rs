//! A piece of a row on its way from the function's f32 results to the output.

use super::ahead::Ahead;
use super::dispatch::enter;
use super::finish::{Gate, GatedStore, Largest, Store};
use super::isa::Isa;
use super::job::{Job, Places, Tensor};
use super::processor::is_intel;
use super::simd::element::Storage;
use crate::{ElementType, F8E4M3, QuantizedType};
use core::marker::PhantomData;
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

    /// Multiplies the results, which will be stored in `form`, by `silu(z)`, which is fetched ahead if `fetch`.
    ///
    /// # Safety
    /// They must be in the scratch piece, and `z` must have the piece's row.
    pub(crate) unsafe fn gate(&self, z: &Tensor, form: Form, fetch: bool) {
        macro_rules! gate {
            ($results:ty) => {
                // SAFETY: the same contract, and the types are those of `z`; the piece's maker vouches for `isa`.
                unsafe {
                    match z.element {
                        ElementType::F32 => {
                            enter(self.isa, self.gate_of::<f32, $results>(z, fetch))
                        }
                        ElementType::F16 => {
                            enter(self.isa, self.gate_of::<f16, $results>(z, fetch))
                        }
                        ElementType::Bf16 => {
                            enter(self.isa, self.gate_of::<bf16, $results>(z, fetch))
                        }
                    }
                }
            };
        }
        match form {
            Form::Element(ElementType::F32) => gate!(f32),
            Form::Element(ElementType::F16) => gate!(f16),
            // 8 bits need no more.
            Form::Element(ElementType::Bf16) | Form::Quantized(..) => gate!(bf16),
        }
    }

    /// The gate of the piece, for results of type `Y`.
    ///
    /// # Safety
    /// As [`gate`](Piece::gate), of elements of type `Z`.
    unsafe fn gate_of<Z: Storage, Y>(&self, z: &Tensor, fetch: bool) -> Gate<Z, Y> {
        let Self { row, channel, values, channels, .. } = *self;
        Gate {
            z: z.places.at::<Z>(row, channel),
            values: values.as_ptr(),
            channels,
            ahead: fetch.then(|| Ahead::straight::<Z>(&z.places, channels)),
            results: PhantomData,
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

    /// Whether a gate is applied while results are stored: see [`is_intel`].
    pub(crate) fn gates_at_once(&self) -> bool {
        let computed = matches!(self.form, Form::Quantized(_, scale) if scale.is_computed());
        self.stream && !computed && is_intel()
    }

    /// Stores the results times `factor`, after a product with `silu(z)` if there is a `gate`, which is fetched
    /// ahead if that says so.
    ///
    /// # Safety
    /// The piece's results must be in the scratch piece, and the gate must have the piece's row.
    pub(crate) unsafe fn store(
        &self,
        piece: &Piece,
        factor: Option<f32>,
        gate: Option<(&Tensor, bool)>,
    ) {
        let Piece { isa, row, channel, values, channels } = *piece;
        let (values, stream) = (values.as_ptr().cast_const(), self.stream);
        // SAFETY: the job's maker vouches for the row, and for `isa`.
        unsafe {
            macro_rules! store {
                ($ty:ty) => {{
                    let y = self.places.at::<$ty>(row, channel);
                    let store = Store { values, y, channels, factor, stream };
                    macro_rules! gated {
                        ($z:ty, $of:ident) => {{
                            let gate = piece.gate_of::<$z, $ty>($of.0, $of.1);
                            enter(isa, GatedStore { gate, store })
                        }};
                    }
                    match gate {
                        None => enter(isa, store),
                        Some(z) => match z.0.element {
                            ElementType::F32 => gated!(f32, z),
                            ElementType::F16 => gated!(f16, z),
                            ElementType::Bf16 => gated!(bf16, z),
                        },
                    }
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
