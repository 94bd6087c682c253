//! What a call does to a row beside the function: a residual is added before, a gate and a
//! quantised output come after.
//!
//! Each is a small kernel over a piece of a row that stands in the first level of the caches, so that
//! memory is gone through once, and no function is compiled for every combination. Where something
//! comes after it, the function writes f32 to a scratch piece.

use super::dispatch::enter;
use super::finish::{Fence, Gate, Largest, Store};
use super::isa::Isa;
use super::job::{Job, Places};
use super::residual::Add;
use super::simd::element::Storage;
use super::statistics::find_row;
use crate::tensor::Layout;
use crate::{ElementType, F8E4M3, Norm, QuantizedType};
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use half::{bf16, f16};

/// A tensor of the whole call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tensor {
    pub(crate) places: Places,
    pub(crate) element: ElementType,
}

/// `sum = x + residual`, of which the function is taken. `residual` and `sum` have one type, and may
/// be the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Residual {
    pub(crate) x: Tensor,
    pub(crate) residual: Places,
    pub(crate) sum: Tensor,
}

/// The output behind the scratch piece.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) places: Places,
    pub(crate) element: OutputType,
    pub(crate) scale: Option<Scale>,
    /// Whether it is written past the caches.
    pub(crate) stream: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum OutputType {
    Element(ElementType),
    Quantized(QuantizedType),
}

/// Scales of a quantised output; addresses of one for each row.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scale {
    Given(f32),
    GivenPerRow(NonNull<f32>),
    Computed(NonNull<f32>),
}

/// Everything that is fused into a call.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fused {
    pub(crate) residual: Option<Residual>,
    pub(crate) gate: Option<Tensor>,
    /// If the function's results are not the output.
    pub(crate) output: Option<Output>,
}

/// Elements of the scratch piece: a row, if it is to be known as a whole before its first result is
/// written.
const SCRATCH: usize = 4096;
/// Elements that are done at a time otherwise, so that all that belongs to them stays in the first
/// level of the caches.
const PIECE: usize = 2048;

/// f32 results on their way, on the stack.
#[repr(align(64))]
struct Scratch(MaybeUninit<[f32; SCRATCH]>);

impl Fused {
    /// Whether everything can be done piece by piece, wherever a row is divided.
    pub(crate) fn is_elementwise(&self) -> bool {
        !self.computes_scales()
    }

    fn computes_scales(&self) -> bool {
        matches!(self.output, Some(Output { scale: Some(Scale::Computed(_)), .. }))
    }

    /// Does a piece of work, with `run` for the function alone.
    ///
    /// # Safety
    /// `job` must keep [`Job`]'s promises.
    pub(crate) unsafe fn run(&self, norm: Norm, job: &Job, run: impl Fn(&Job)) {
        let Job { rows, channels, .. } = *job;
        let together = (PIECE / channels).max(1);
        let mut row = 0;
        while row < rows {
            let count = together.min(rows - row);
            // SAFETY: the same contract.
            unsafe {
                if let Some(residual) = &self.residual {
                    for row in row..row + count {
                        residual.add(job, row);
                    }
                }
                let part = job.part(row, count, 0, channels);
                match &self.output {
                    None => run(&part),
                    Some(output) if channels <= SCRATCH => self.run_rows(output, &part, &run),
                    Some(output) => self.run_long_row(norm, output, &part, &run),
                }
            }
            row += count;
        }
        if self.output.is_some_and(|output| output.stream) {
            // SAFETY: the processor has the job's instruction set.
            unsafe { enter(job.isa, Fence) };
        }
    }

    /// Does rows of which at least one fits into the scratch piece.
    ///
    /// # Safety
    /// As [`run`](Fused::run).
    unsafe fn run_rows(&self, output: &Output, job: &Job, run: impl Fn(&Job)) {
        let mut scratch = Scratch(MaybeUninit::uninit());
        let channels = job.channels;
        let y = NonNull::from(&mut scratch.0).cast::<f32>();
        let layout = Layout::new(job.rows, channels, channels);
        run(&Job { y: Places::new(y.cast(), layout), y_element: ElementType::F32, ..*job });
        for row in 0..job.rows {
            // SAFETY: the same contract; the row's results are in the scratch piece.
            unsafe {
                let piece = Piece::new(job, (row, 0), y.add(row * channels), channels);
                self.gate(&piece);
                let factor = output.factor(&piece, || piece.largest(0.0));
                output.store(&piece, factor);
            }
        }
    }

    /// Does one row that does not fit. The function is taken of it twice if its largest result has
    /// to be known before the first is written.
    ///
    /// # Safety
    /// As [`run`](Fused::run).
    unsafe fn run_long_row(&self, norm: Norm, output: &Output, job: &Job, run: impl Fn(&Job)) {
        let mut scratch = Scratch(MaybeUninit::uninit());
        let y = NonNull::from(&mut scratch.0).cast::<f32>();
        // SAFETY: the same contract.
        let found = unsafe { find_row(norm, job) };
        let statistics = job.statistics.or(found.as_ref().map(NonNull::from));
        let each = |then: &mut dyn FnMut(&Piece)| {
            for first in (0..job.channels).step_by(PIECE) {
                let end = (first + PIECE).min(job.channels);
                let y_places = Places::new(y.cast(), Layout::new(1, end - first, end - first));
                run(&Job {
                    y: y_places,
                    y_element: ElementType::F32,
                    statistics,
                    ..job.part(0, 1, first, end)
                });
                let piece = Piece::new(job, (0, first), y, end - first);
                // SAFETY: the same contract; these results are in the scratch piece.
                unsafe { self.gate(&piece) };
                then(&piece);
            }
        };
        // SAFETY: as above.
        unsafe {
            let whole = Piece::new(job, (0, 0), y, 0);
            let factor = output.factor(&whole, || {
                let mut largest = 0.0;
                each(&mut |piece| largest = piece.largest(largest));
                largest
            });
            each(&mut |piece| output.store(piece, factor));
        }
    }

    /// # Safety
    /// The piece's results must be in the scratch piece.
    unsafe fn gate(&self, piece: &Piece) {
        let Some(Tensor { places, element }) = self.gate else { return };
        let Piece { isa, row, channel, values, channels, .. } = *piece;
        // SAFETY: the job's maker vouches for the row, and for `isa`.
        unsafe {
            macro_rules! gate {
                ($ty:ty) => {{
                    let z = places.at::<$ty>(row, channel);
                    enter(isa, Gate { z, values: values.as_ptr(), channels })
                }};
            }
            match element {
                ElementType::F32 => gate!(f32),
                ElementType::F16 => gate!(f16),
                ElementType::Bf16 => gate!(bf16),
            }
        }
    }
}

/// A piece of a row whose results are in the scratch piece.
#[derive(Clone, Copy)]
struct Piece {
    isa: Isa,
    /// Row and channel of the whole call that it begins with.
    row: usize,
    channel: usize,
    values: NonNull<f32>,
    channels: usize,
}

impl Piece {
    /// The piece of `job` from row and channel `at` on.
    fn new(job: &Job, at: (usize, usize), values: NonNull<f32>, channels: usize) -> Self {
        let (row, channel) = (job.first.0 + at.0, job.first.1 + at.1);
        Self { isa: job.isa, row, channel, values, channels }
    }

    /// The largest magnitude among `largest` and the piece's.
    fn largest(&self, largest: f32) -> f32 {
        let Self { isa, values, channels, .. } = *self;
        // SAFETY: whoever has made the piece vouches for its results, and for `isa`.
        unsafe { enter(isa, Largest { values: values.as_ptr(), channels, largest }) }
    }
}

impl Output {
    /// What the results of a piece's row are multiplied with, if anything; `largest` gives the largest
    /// of them, which a computed scale needs.
    ///
    /// # Safety
    /// The piece must be one of the call's.
    unsafe fn factor(&self, piece: &Piece, largest: impl FnOnce() -> f32) -> Option<f32> {
        // SAFETY: there is a scale for each row.
        let scale = unsafe {
            match (self.scale?, self.element) {
                (Scale::Given(scale), _) => scale,
                (Scale::GivenPerRow(scales), _) => scales.add(piece.row).read(),
                (Scale::Computed(scales), OutputType::Quantized(element)) => {
                    let scale = element.scale_for(largest().min(f32::MAX));
                    scales.add(piece.row).write(scale);
                    scale
                }
                (Scale::Computed(_), OutputType::Element(_)) => return None,
            }
        };
        Some(1.0 / scale)
    }

    /// # Safety
    /// The piece's results must be in the scratch piece.
    unsafe fn store(&self, piece: &Piece, factor: Option<f32>) {
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
            match self.element {
                OutputType::Element(ElementType::F32) => store!(f32),
                OutputType::Element(ElementType::F16) => store!(f16),
                OutputType::Element(ElementType::Bf16) => store!(bf16),
                OutputType::Quantized(QuantizedType::I8) => store!(i8),
                OutputType::Quantized(QuantizedType::F8E4M3) => store!(F8E4M3),
            }
        }
    }
}

impl Residual {
    /// Adds row `row` of `job`.
    ///
    /// # Safety
    /// `job` must keep [`Job`]'s promises.
    unsafe fn add(&self, job: &Job, row: usize) {
        use ElementType::{Bf16, F16, F32};
        // SAFETY: the same contract.
        unsafe {
            let run = match (self.x.element, self.sum.element) {
                (F32, F32) => add::<f32, f32>,
                (F32, F16) => add::<f32, f16>,
                (F32, Bf16) => add::<f32, bf16>,
                (F16, F32) => add::<f16, f32>,
                (F16, F16) => add::<f16, f16>,
                (F16, Bf16) => add::<f16, bf16>,
                (Bf16, F32) => add::<bf16, f32>,
                (Bf16, F16) => add::<bf16, f16>,
                (Bf16, Bf16) => add::<bf16, bf16>,
            };
            run(self, job, row);
        }
    }
}

/// # Safety
/// As [`Residual::add`]; `X` and `R` must be the types of `x` and `sum`.
unsafe fn add<X: Storage, R: Storage>(tensors: &Residual, job: &Job, row: usize) {
    let (row, channel) = (job.first.0 + row, job.first.1);
    // SAFETY: the caller vouches for the row and `isa`.
    unsafe {
        let x = tensors.x.places.at::<X>(row, channel);
        let residual = tensors.residual.at::<R>(row, channel);
        let sum = tensors.sum.places.at::<R>(row, channel);
        // The next row, or what comes after some of it.
        let ahead = if job.fetch { tensors.x.places.stride.min(FETCH / size_of::<X>()) } else { 0 };
        enter(job.isa, Add { x, residual, sum, channels: job.channels, ahead });
    }
}

/// How far ahead of itself a residual is fetched, at most, in bytes.
const FETCH: usize = 16 << 10;
