//! What a call does to a row beside the function: a residual is added before, a gate and a
//! quantised output come after.
//!
//! Each is a small kernel over a piece of a row that stands in the first level of the caches, so that
//! memory is gone through once, and no function is compiled for every combination. Where something
//! comes after it, the function writes f32 to a scratch piece.

use super::affine::Plain;
use super::isa::Isa;
use super::job::{Job, Places, Stored, Tensor};
use super::piece::{Form, Output, Piece};
use super::residual::Residual;
use super::statistics::find_row;
use crate::tensor::Layout;
use crate::{ElementType, Norm, Scale};
use core::mem::MaybeUninit;
use core::ptr::NonNull;

/// Everything that is fused into a call.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fused {
    pub(crate) residual: Option<Residual>,
    pub(crate) gate: Option<Tensor>,
    /// If the function's results are not the output.
    pub(crate) output: Option<Output>,
}

/// Elements of the scratch piece: a row, if it is to be known as a whole before its first result is
/// written; or a group of channels.
const SCRATCH: usize = 4096;
const _: () = assert!(Scale::MOST_GROUP_SIZE <= SCRATCH);
/// Elements that are done at a time otherwise, so that all that belongs to them stays in the first
/// level of the caches.
const PIECE: usize = 2048;
/// The same for what comes from memory and goes to the output without a scratch piece: reading and
/// writing by turns, in pieces as small as that, leaves the memory idle at every turn.
const LARGE_PIECE: usize = 16384;
/// Bytes of the longest row of sums that are made while the row before is written: two of them should stay in the
/// second level of the caches.
const LONGEST_AHEAD: usize = 128 << 10;

/// f32 results on their way, on the stack.
#[repr(align(64))]
struct Scratch(MaybeUninit<[f32; SCRATCH]>);

/// What is in the scratch piece of what will be stored in `form`: it says how exact it has to be.
fn scratch_of(norm: Norm, form: Form) -> Stored {
    let few_digits =
        matches!(form, Form::Element(ElementType::Bf16) | Form::Quantized(..) | Form::Grouped(..));
    // The row functions have no other way.
    if norm.is_elementwise() && few_digits {
        Stored::Rough
    } else {
        Stored::Element(ElementType::F32)
    }
}

impl Fused {
    /// Whether rows are not divided: a scale is computed from all of their results, or from those of a group of any size.
    pub(crate) fn needs_rows(&self) -> bool {
        self.output.is_some_and(|output| output.computes_scales())
    }

    /// Whether something comes after the function.
    pub(crate) fn has_output(&self) -> bool {
        self.output.is_some()
    }

    /// Whether what comes after the function writes the output past the caches.
    pub(crate) fn streams(&self) -> bool {
        self.output.is_some_and(|output| output.stream)
    }

    /// How many rows of sums with a residual are made before the function reads them, if that is so.
    pub(crate) fn sums_at_once(&self, job: &Job) -> Option<usize> {
        self.residual.map(|_| self.rows_at_once(job))
    }

    /// Rows of `job` that are done at a time.
    fn rows_at_once(&self, job: &Job) -> usize {
        let most = if job.fetch && self.output.is_none() { LARGE_PIECE } else { PIECE };
        (most / job.channels).max(1)
    }

    /// Whether what reads the sums with a residual also [makes](super::residual::Sums) them: where they come from
    /// memory or the output goes there, in the usual way.
    fn makes_sums_ahead(&self, job: &Job) -> bool {
        let Job { channels, x_element, .. } = *job;
        let usual_form = match job.stored {
            Stored::Element(element) => element == x_element,
            Stored::Quantized(..) => true,
            Stored::Rough => false,
        };
        let usual = usual_form && Plain::of(job).is_some() && job.isa != Isa::Portable;
        (job.fetch || job.stream)
            && usual
            && self.output.is_none()
            && channels * x_element.size() <= LONGEST_AHEAD
            && self.residual.is_some_and(|r| r.is_dense(channels))
    }

    /// Does a piece of work, with `run` for the function alone.
    ///
    /// # Safety
    /// `job` must keep [`Job`]'s promises.
    pub(crate) unsafe fn run(&self, norm: Norm, job: &Job, run: impl Fn(&Job)) {
        let Job { rows, channels, .. } = *job;
        if self.makes_sums_ahead(job) {
            // What is read has just been made, and is fetched by what makes it.
            return run(&Job { makes_sums: true, fetch: false, ..*job });
        }
        let together = self.rows_at_once(job);
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
                    Some(output) if channels <= SCRATCH => self.run_rows(norm, output, &part, &run),
                    Some(output) => self.run_long_row(norm, output, &part, &run),
                }
            }
            row += count;
        }
    }

    /// The gate, and whether it is fetched ahead: where it is applied before results are stored, and where it is
    /// while they are.
    fn gates(&self, output: &Output, job: &Job) -> [Option<(&Tensor, bool)>; 2] {
        let gate = self.gate.as_ref().map(|z| (z, job.fetch));
        if output.gates_at_once(job.isa) { [None, gate] } else { [gate, None] }
    }

    /// Does rows of which at least one fits into the scratch piece.
    ///
    /// # Safety
    /// As [`run`](Fused::run).
    unsafe fn run_rows(&self, norm: Norm, output: &Output, job: &Job, run: impl Fn(&Job)) {
        let mut scratch = Scratch(MaybeUninit::uninit());
        let channels = job.channels;
        let y = NonNull::from(&mut scratch.0).cast::<f32>();
        let layout = Layout::new(job.rows, channels, channels);
        run(&Job {
            y: Places::new(y.cast(), layout),
            stored: scratch_of(norm, output.form),
            ..*job
        });
        for row in 0..job.rows {
            // SAFETY: the same contract; the row's results are in the scratch piece.
            unsafe {
                let piece = Piece::new(job, (row, 0), y.add(row * channels), channels);
                let [before, at_once] = self.gates(output, job);
                if let Some((z, fetch)) = before {
                    piece.gate(z, output.form, fetch);
                }
                let factor = output.factor(&piece, || piece.largest(0.0));
                output.store(&piece, factor, at_once);
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
        let [before, at_once] = self.gates(output, job);
        let each = |then: &mut dyn FnMut(&Piece)| {
            let piece = output.piece_channels(PIECE);
            for first in (0..job.channels).step_by(piece) {
                let end = (first + piece).min(job.channels);
                let y_places = Places::new(y.cast(), Layout::new(1, end - first, end - first));
                run(&Job {
                    y: y_places,
                    stored: scratch_of(norm, output.form),
                    statistics,
                    ..job.part(0, 1, first, end)
                });
                let piece = Piece::new(job, (0, first), y, end - first);
                if let Some((z, fetch)) = before {
                    // SAFETY: the same contract; these results are in the scratch piece.
                    unsafe { piece.gate(z, output.form, fetch) };
                }
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
            each(&mut |piece| output.store(piece, factor, at_once));
        }
    }
}
