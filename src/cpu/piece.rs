//! A piece of a row on its way from the function's f32 results to the output.

use super::ahead::Ahead;
use super::dispatch::enter;
use super::finish::{Gate, GatedStore, Largest, Store};
use super::groups::StoreGroups;
use super::isa::Isa;
use super::job::{Job, Places, Tensor};
use super::processor::is_intel;
use super::simd::element::{self, Storage};
use crate::{ElementType, F8E4M3, Quantized, QuantizedType};
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
    /// Of a row of the whole call.
    pub(crate) channels: usize,
}

/// What results are rounded to, after a product with the reciprocal of their scale if they have one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    Element(ElementType),
    Quantized(QuantizedType, Scale),
    /// With a scale for each group of channels.
    Grouped(QuantizedType, GroupScales),
}

/// Scales of a quantised output; addresses of one for each row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scale {
    Given(f32),
    GivenPerRow(NonNull<f32>),
    Computed(NonNull<f32>),
}

/// Scales of groups of channels, each computed from its own results and written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct GroupScales {
    pub(crate) scales: NonNull<f32>,
    /// Channels of a group, but perhaps of a row's last. Short, so that nothing becomes longer by it.
    pub(crate) size: u16,
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
        // SAFETY: the same contract.
        unsafe {
            match form {
                Form::Element(ElementType::F32) => self.gate_for::<f32>(z, fetch),
                Form::Element(ElementType::F16) => self.gate_for::<f16>(z, fetch),
                // 8 bits need no more.
                Form::Element(ElementType::Bf16) | Form::Quantized(..) | Form::Grouped(..) => {
                    self.gate_for::<bf16>(z, fetch);
                }
            }
        }
    }

    /// As [`gate`](Piece::gate), for results of type `Y`.
    ///
    /// # Safety
    /// As that.
    unsafe fn gate_for<Y: element::Output>(&self, z: &Tensor, fetch: bool) {
        let isa = self.isa;
        // SAFETY: the same contract, and the types are those of `z`; the piece's maker vouches for `isa`.
        unsafe {
            match z.element {
                ElementType::F32 => enter(isa, self.gate_of::<f32, Y>(z, fetch)),
                ElementType::F16 => enter(isa, self.gate_of::<f16, Y>(z, fetch)),
                ElementType::Bf16 => enter(isa, self.gate_of::<bf16, Y>(z, fetch)),
            }
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
    /// What the results of a piece's row are all multiplied with, if anything; `largest` gives the largest
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

    /// Whether scales are computed, so that the results of a row, or of a group in it, are to be known before the first of
    /// them is written.
    pub(crate) fn computes_scales(&self) -> bool {
        match self.form {
            Form::Element(_) => false,
            Form::Quantized(_, scale) => scale.is_computed(),
            Form::Grouped(..) => true,
        }
    }

    /// Channels of a long row that are done at a time if that may be about so many: no group is divided.
    pub(crate) fn piece_channels(&self, about: usize) -> usize {
        let Form::Grouped(_, GroupScales { size, .. }) = self.form else { return about };
        let size = usize::from(size);
        size * (about / size).max(1)
    }

    /// Whether a gate is applied while results are stored: see [`is_intel`]. Never by the portable kernels, which do not
    /// stream.
    pub(crate) fn gates_at_once(&self, isa: Isa) -> bool {
        self.stream && isa != Isa::Portable && !self.computes_scales() && is_intel()
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
        // SAFETY: the same contract, and the types are the form's.
        unsafe {
            match self.form {
                Form::Element(ElementType::F32) => self.store_as::<f32>(piece, factor, gate),
                Form::Element(ElementType::F16) => self.store_as::<f16>(piece, factor, gate),
                Form::Element(ElementType::Bf16) => self.store_as::<bf16>(piece, factor, gate),
                Form::Quantized(QuantizedType::I8, _) => self.store_as::<i8>(piece, factor, gate),
                Form::Quantized(QuantizedType::F8E4M3, _) => {
                    self.store_as::<F8E4M3>(piece, factor, gate);
                }
                Form::Grouped(QuantizedType::I8, groups) => self.store_groups::<i8>(piece, groups),
                Form::Grouped(QuantizedType::F8E4M3, groups) => {
                    self.store_groups::<F8E4M3>(piece, groups);
                }
            }
        }
    }

    /// Stores results of groups, which no gate is left to be applied to: see [`gates_at_once`](Self::gates_at_once).
    ///
    /// # Safety
    /// As [`store`](Output::store), of the form's type.
    unsafe fn store_groups<Y: element::Output + Quantized>(
        &self,
        piece: &Piece,
        groups: GroupScales,
    ) {
        let Piece { isa, row, channel, values, channels } = *piece;
        let size = usize::from(groups.size);
        let first = row * self.channels.div_ceil(size) + channel / size;
        let store = StoreGroups {
            values: values.as_ptr(),
            y: self.places.at::<Y>(row, channel),
            channels,
            size,
            // SAFETY: there is one for each group.
            scales: unsafe { groups.scales.add(first) },
            stream: self.stream,
        };
        // SAFETY: the job's maker vouches for the row, and for `isa`.
        unsafe { enter(isa, store) };
    }

    /// As [`store`](Output::store), of the form's type.
    ///
    /// # Safety
    /// As that.
    unsafe fn store_as<Y: element::Output>(
        &self,
        piece: &Piece,
        factor: Option<f32>,
        gate: Option<(&Tensor, bool)>,
    ) {
        let Piece { isa, row, channel, values, channels } = *piece;
        let y = self.places.at::<Y>(row, channel);
        let values = values.as_ptr().cast_const();
        let store = Store { values, y, channels, factor, stream: self.stream };
        // SAFETY: the job's maker vouches for the row, and for `isa`.
        unsafe {
            let Some((z, fetch)) = gate else { return enter(isa, store) };
            match z.element {
                ElementType::F32 => {
                    enter(isa, GatedStore { gate: piece.gate_of::<f32, Y>(z, fetch), store });
                }
                ElementType::F16 => {
                    enter(isa, GatedStore { gate: piece.gate_of::<f16, Y>(z, fetch), store });
                }
                ElementType::Bf16 => {
                    enter(isa, GatedStore { gate: piece.gate_of::<bf16, Y>(z, fetch), store });
                }
            }
        }
    }
}
