//! How the rows of a call are divided, and its launches, decided from shape, types and alignment; no GPU is asked.
//!
//! What decides the order of sums ([`Division`]) comes from shape and type alone.

use super::args::{BackwardArgs, LAYER_NORM_WORDS, PARAMETER_WORDS, RMS_NORM_WORDS};
use super::call::Call;
use super::kernel::Kernel;
use crate::cuda::args::{ABSENT, Tensor, or_minus_zero, prescale, type_number};
use crate::cuda::device::Grid;
use crate::cuda::geometry::{
    MAX_CHANNELS, MAX_GRID, SMALL_BLOCK, WARP, grid, lanes_of, magic, whole_vectors,
};
use crate::{ElementType, Error, Norm};
use core::f64::consts::FRAC_2_SQRT_PI;

/// Vectors of a row up to which it is kept with one, two and four of them a thread: as far as there are registers for
/// it, its sums and its weights. Also in `kernels/backward_rows.cuh`.
const MOST_VECTORS: [usize; 3] = [384, 1024, 1536];
/// Threads of these kernels that a multiprocessor has room for, by their registers.
const RESIDENT: [usize; 3] = [768, 512, 384];
/// Multiprocessors that are filled; an H100 and an H200 have four more.
const PROCESSORS: usize = 128;
/// Threads that measure a row that is not kept.
const MEASURING: usize = 512;
/// Rows of a group, or of each of its rows side by side, at least: so often their sums are used before they are written.
const LEAST_ROWS: usize = 4;
/// Threads of a block that adds up, and columns that it does; also in `kernels/backward.cuh`.
const SUM_THREADS: u32 = 512;
const SUM_COLUMNS: usize = 32;

/// How rows are dealt out: by their number, the channels and the type of x alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Division {
    /// Whether a row can be kept, and how.
    kept: Option<Kernel>,
    /// Threads that share a row of a function that reads it first.
    threads: usize,
    /// Rows of a group side by side in a block.
    slots: usize,
    /// Groups of rows that are summed up by themselves.
    groups: usize,
}

impl Division {
    pub(super) fn new(norm: Norm, x: ElementType, rows: usize, channels: usize) -> Self {
        let vectors = channels.div_ceil(lanes_of(x));
        let at_most = |slots: usize, groups: usize| {
            rows.div_ceil(slots * LEAST_ROWS).min(groups.max(usize::from(rows > 0)))
        };
        let form = MOST_VECTORS.iter().position(|&most| vectors <= most);
        let Some(form) = form.filter(|_| !norm.is_elementwise()) else {
            let (threads, blocks) = columns(vectors, 1);
            let slots = if threads <= WARP { SMALL_BLOCK / threads } else { 1 };
            // Blocks side by side over a row are all of a group.
            let groups = PROCESSORS * RESIDENT[0] / (threads * slots * blocks);
            return Self { kept: None, threads: MEASURING, slots, groups: at_most(slots, groups) };
        };
        let threads = match vectors.div_ceil(1 << form) {
            few @ ..=WARP => few.next_power_of_two(),
            many => many.next_multiple_of(WARP),
        };
        let slots = if threads <= WARP { SMALL_BLOCK / threads } else { 1 };
        // As many on each multiprocessor: one more would wait for all others to be done, since each has as much to do.
        let groups = PROCESSORS * (RESIDENT[form] / (threads * slots));
        Self {
            kept: Some([Kernel::Keep1, Kernel::Keep2, Kernel::Keep4][form]),
            threads,
            slots,
            groups: at_most(slots, groups),
        }
    }

    /// The most blocks that have sums of gradients by parameters.
    fn parameter_blocks(self, channels: usize) -> usize {
        self.groups.saturating_mul(columns(channels, self.slots).1)
    }
}

/// Threads that share a row of so many accesses where each has its column, and blocks side by side.
fn columns(accesses: usize, slots: usize) -> (usize, usize) {
    if slots > 1 || accesses < WARP {
        let threads = if slots > 1 { SMALL_BLOCK / slots } else { accesses.next_power_of_two() };
        return (threads, accesses.div_ceil(threads));
    }
    let blocks = accesses.div_ceil(SMALL_BLOCK);
    (accesses.div_ceil(blocks).next_multiple_of(WARP), blocks)
}

/// Where in the workspace things begin, in f32.
struct Workspace {
    parameter_sums: usize,
    statistics: usize,
    len: usize,
}

impl Workspace {
    fn of(call: &Call, division: Division) -> Self {
        let (rows, channels) = (call.x.rows(), call.x.channels());
        let parameter_sums = division.groups.saturating_mul(call.columns());
        let blocks =
            if call.d_parameters.is_some() { division.parameter_blocks(channels) } else { 0 };
        let statistics = parameter_sums.saturating_add(PARAMETER_WORDS.saturating_mul(blocks));
        let words = match call.norm {
            Norm::RmsNorm { .. } => RMS_NORM_WORDS,
            Norm::LayerNorm { .. } => LAYER_NORM_WORDS,
            _ => 0,
        };
        Self {
            parameter_sums,
            statistics,
            len: statistics.saturating_add(words.saturating_mul(rows)),
        }
    }
}

/// How many f32 the workspace of a call has to have room for.
pub(super) fn workspace_len(call: &Call) -> usize {
    let x = call.x;
    let division = Division::new(call.norm, x.element, x.rows(), x.channels());
    Workspace::of(call, division).len
}

/// A kernel and how to start it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Launch {
    pub(super) kernel: Kernel,
    pub(super) grid: Grid,
    pub(super) args: BackwardArgs,
}

/// Plans a call: up to three launches, one after the other.
///
/// # Errors
/// [`Error::TooLarge`] for what the kernels cannot count.
pub(super) fn plan(call: &Call) -> Result<[Option<Launch>; 3], Error> {
    let layout = call.x.layout;
    let (rows, stride) = (layout.rows, layout.stride);
    launches(call).ok_or(Error::TooLarge { what: "input", rows, stride })
}

fn launches(call: &Call) -> Option<[Option<Launch>; 3]> {
    let (rows, channels) = (call.x.rows(), call.x.channels());
    if rows > MAX_GRID || channels > MAX_CHANNELS {
        return None;
    }
    let division = Division::new(call.norm, call.x.element, rows, channels);
    let lanes = lanes_of(call.x.element);
    let places = [call.x, call.dy, call.dx].map(|tensor| tensor.place());
    let wide = whole_vectors(channels, places, [call.weight, None], lanes);
    let args = arguments(call, division)?;

    let accesses = channels.div_ceil(if wide { lanes } else { 1 });
    let (threads, column_blocks) = columns(accesses, division.slots);
    let blocks = column_blocks.checked_mul(division.groups)?;
    let (column_magic, column_shift) = magic(u32::try_from(column_blocks).ok()?);
    let columns = Launch {
        kernel: if wide { Kernel::Columns } else { Kernel::ColumnsAny },
        grid: of_blocks(blocks, threads * division.slots)?,
        args: BackwardArgs {
            threads: threads as u32,
            slot_shift: slot_shift(threads, division.slots),
            column_blocks: column_blocks as u32,
            column_magic,
            column_shift,
            ..args
        },
    };
    let of_rows = |kernel, blocks| {
        let (threads, slots) = (division.threads, division.slots);
        let slot_shift = slot_shift(threads, slots);
        let args = BackwardArgs { threads: threads as u32, slot_shift, ..args };
        Some(Launch { kernel, grid: of_blocks(blocks, threads * slots)?, args })
    };
    let (first, second) = match division.kept {
        _ if rows == 0 => (None, None),
        Some(kernel) if wide => (Some(of_rows(kernel, division.groups)?), None),
        _ if call.norm.is_elementwise() => (Some(columns), None),
        _ => {
            let measure = if wide { Kernel::Measure } else { Kernel::MeasureAny };
            (Some(of_rows(measure, rows.div_ceil(division.slots))?), Some(columns))
        }
    };
    Some([first, second, add_up(call, args, if rows == 0 { 0 } else { blocks })?])
}

/// The sums of all groups, if any are wanted; those by parameters of so many blocks.
fn add_up(call: &Call, args: BackwardArgs, parameter_blocks: usize) -> Option<Option<Launch>> {
    let column_blocks = call.columns().div_ceil(SUM_COLUMNS);
    let blocks = column_blocks + usize::from(call.d_parameters.is_some());
    if blocks == 0 {
        return Some(None);
    }
    let args = BackwardArgs {
        column_blocks: u32::try_from(column_blocks).ok()?,
        parameter_blocks: u32::try_from(parameter_blocks).ok()?,
        ..args
    };
    Some(Some(Launch {
        kernel: Kernel::AddUp,
        grid: of_blocks(blocks, SUM_THREADS as usize)?,
        args,
    }))
}

/// Of a thread's index, to its slot's. Where a row takes the whole block, all of its threads are in slot 0.
fn slot_shift(threads: usize, slots: usize) -> u32 {
    if slots > 1 { threads.ilog2() } else { 31 }
}

fn of_blocks(blocks: usize, threads: usize) -> Option<Grid> {
    Some(Grid { blocks: grid(blocks)?, threads: threads as u32, cluster: 1 })
}

/// The arguments that do not depend on the launch's shape.
fn arguments(call: &Call, division: Division) -> Option<BackwardArgs> {
    let heads = call.heads();
    let (head_magic, head_shift) = magic(u32::try_from(heads.unwrap_or(1)).ok()?);
    let [x, dy, dx] = [call.x, call.dy, call.dx].map(|rows| Tensor::new(rows, heads.unwrap_or(1)));
    let Workspace { parameter_sums, statistics, .. } = Workspace::of(call, division);
    let at = |words: usize| call.workspace.0.wrapping_add(4 * words as u64);
    let (parameter, factor) = parameters(call.norm, call.x.channels());
    Some(BackwardArgs {
        x,
        dy,
        dx,
        weight: call.weight.map_or(0, |weight| weight.address),
        d_weight: call.d_weight.unwrap_or(0),
        d_bias: call.d_bias.unwrap_or(0),
        d_parameters: call.d_parameters.unwrap_or(0),
        sums: at(0),
        columns: call.columns() as u64,
        parameter_sums: at(parameter_sums),
        statistics: at(statistics),
        factor,
        parameter,
        rows: call.x.rows() as u32,
        channels: call.x.channels() as u32,
        weight_offset: or_minus_zero(call.weight_offset),
        weight_type: call.weight.map_or(ABSENT, |weight| type_number(weight.element)),
        heads: heads.unwrap_or(0) as u32,
        head_magic,
        head_shift,
        groups: division.groups as u32,
        slots: division.slots as u32,
        slot_shift: 0,
        threads: 0,
        column_blocks: 0,
        column_magic: 0,
        column_shift: 0,
        parameter_blocks: 0,
        reserved: 0,
    })
}

/// The function's parameters as its kernel wants them, and what sums of the gradients by them lack.
fn parameters(norm: Norm, channels: usize) -> ([f32; 4], [f64; 2]) {
    match norm {
        Norm::RmsNorm { eps } | Norm::LayerNorm { eps } => {
            ([eps, 1.0 / channels as f32, 0.0, 0.0], [0.0; 2])
        }
        Norm::DyT { alpha } => {
            const LARGEST: f32 = f32::MAX / 4.0;
            ([alpha, 4.0 * alpha.clamp(-LARGEST, LARGEST), 0.0, 0.0], [4.0, 0.0])
        }
        Norm::DyIsru { beta, scale } => {
            let prescale = prescale(beta);
            let wide = f64::from;
            let by_x = wide(scale) * wide(beta) * wide(prescale).powi(3);
            let by_beta = -0.5 * wide(scale) * wide(prescale).powi(2);
            ([beta * prescale * prescale, scale, prescale, by_x as f32], [by_beta, 1.0])
        }
        Norm::Derf { alpha, shift } => {
            let by_x = (FRAC_2_SQRT_PI * f64::from(alpha)) as f32;
            ([alpha, shift, by_x.clamp(f32::MIN, f32::MAX), 0.0], [FRAC_2_SQRT_PI; 2])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ElementType::{Bf16, F32};

    const RMS: Norm = Norm::DEFAULTS[0];
    const DYT: Norm = Norm::DEFAULTS[2];

    #[test]
    fn a_kept_row_is_covered_by_its_threads() {
        for x in ElementType::ALL {
            for channels in 1..20_000 {
                let division = Division::new(RMS, x, 1000, channels);
                let vectors = match division.kept {
                    Some(Kernel::Keep1) => 1,
                    Some(Kernel::Keep2) => 2,
                    Some(Kernel::Keep4) => 4,
                    _ => continue,
                };
                let Division { threads, slots, .. } = division;
                assert!(threads * vectors * lanes_of(x) >= channels, "{channels} {x:?}");
                let most = if vectors == 2 { 512 } else { 384 };
                assert!((threads * slots).is_multiple_of(WARP) && threads * slots <= most);
                assert!(slots == 1 || (vectors == 1 && threads * slots == SMALL_BLOCK));
            }
        }
    }

    #[test]
    fn rows_are_kept_as_far_as_there_are_registers() {
        let kept = |x, channels| Division::new(RMS, x, 1000, channels).kept;
        assert_eq!(kept(Bf16, 1024), Some(Kernel::Keep1));
        assert_eq!(kept(Bf16, 4096), Some(Kernel::Keep2));
        assert_eq!(kept(Bf16, 12_288), Some(Kernel::Keep4));
        assert_eq!(kept(F32, 4096), Some(Kernel::Keep2));
        assert_eq!(kept(Bf16, 16_384), None);
    }

    #[test]
    fn a_device_is_filled_and_no_block_waits() {
        for x in ElementType::ALL {
            for channels in (8..12_288_usize).step_by(8).chain([16_384, 65_536]) {
                let vectors = channels.div_ceil(lanes_of(x));
                let most = PROCESSORS * RESIDENT[0];
                for norm in [RMS, DYT] {
                    let division = Division::new(norm, x, 1 << 20, channels);
                    let groups = division.groups;
                    if division.kept.is_some() {
                        assert!(groups > 0 && groups.is_multiple_of(PROCESSORS), "{channels}");
                        continue;
                    }
                    let (threads, blocks) = columns(vectors, division.slots);
                    let resident = groups * blocks * threads * division.slots;
                    assert!(resident <= most && resident >= most * 3 / 4, "{channels} {resident}");
                    assert!((threads * division.slots).is_multiple_of(WARP), "{channels}");
                    assert!(threads * blocks >= vectors, "{channels}");
                }
            }
        }
    }

    #[test]
    fn few_rows_are_few_groups() {
        for norm in Norm::DEFAULTS {
            for channels in [64, 128, 768, 4096, 65_536] {
                for rows in [1, 2, 5, 100] {
                    let few = Division::new(norm, Bf16, rows, channels).groups;
                    assert!(few >= 1 && few <= rows.div_ceil(LEAST_ROWS));
                }
                assert_eq!(Division::new(norm, Bf16, 0, channels).groups, 0);
            }
        }
    }
}
