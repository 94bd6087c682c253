//! The shape of a launch, decided from channels, types and alignment; no GPU is asked.
//!
//! What decides the order of a row's sums (`RowShape`) comes from the number of channels and the
//! type of x alone.

mod fused;

use super::args::{
    ABSENT, Args, PRECISION_FAST, PRECISION_FULL, PRECISION_SHORT, SCALE_NUMBER, STATISTICS_NONE,
    Tensor, or_minus_zero, prescale, type_number,
};
use super::call::{Call, Output};
use super::geometry::{
    MAX_CHANNELS, SMALL_BLOCK, VECTOR, WARP, grid, is_aligned, lanes_of, magic, whole_vectors,
};
use super::kernel::{Form, Kernel};
use super::rows::{DeviceChannels, DeviceRows};
use crate::place::Place;
use crate::{ElementType, Error, Norm};

/// The most threads that work on a row or segment; also in `kernels/rows.cuh` and `group.cuh`.
pub(crate) const MAX_THREADS: usize = 512;
/// The most threads of a block of a kernel with four vectors a thread that takes more registers than
/// there are for `MAX_THREADS`; also in `kernels/rows.cuh`.
const FEW_THREADS: usize = 384;
/// The most blocks of a launch of such a kernel: it begins sooner, but of many blocks fewer run at once.
const FEW_BLOCKS: usize = 264;
/// Accesses of a thread, `UNROLL` of `kernels/elements.cuh`: of 16 bytes, and of one element.
const UNROLL_WIDE: usize = 4;
const UNROLL_NARROW: usize = 16;
/// Bytes between the accesses of a thread of 16 bytes each: with less memory is slower.
const PITCH: usize = 16 << 10;

/// A kernel and how to start it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Launch {
    pub(crate) kernel: Kernel,
    pub(crate) grid: u32,
    pub(crate) block: u32,
    /// Blocks of a cluster; 1 for none.
    pub(crate) cluster: u32,
    pub(crate) args: Args,
}

/// How the threads share a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RowShape {
    /// Threads of a segment: a power of two up to a warp, or whole warps.
    threads: usize,
    /// Vectors of a thread in a segment.
    vectors: usize,
    /// Parts of the row that are measured by themselves; a power of two.
    segments: usize,
}

impl RowShape {
    /// 32 or 64 bytes a thread, since a block should have 4 KiB and more, else 128, which is what fits
    /// in its registers. As few segments as can be: blocks of a cluster wait for one another.
    fn new(channels: usize, x: ElementType) -> Self {
        let row = channels.div_ceil(VECTOR / x.size());
        if row <= 4 * WARP {
            let vectors = if row <= 2 * WARP { 2 } else { 4 };
            let threads = row.div_ceil(vectors).next_power_of_two();
            return Self { threads, vectors, segments: 1 };
        }
        let vectors = if row <= 4 * MAX_THREADS { 4 } else { 8 };
        let segments = row.div_ceil(vectors * MAX_THREADS).next_power_of_two();
        let threads = row.div_ceil(vectors * segments).next_multiple_of(WARP);
        Self { threads, vectors, segments }
    }

    /// Threads of a block, and blocks for so many rows.
    fn blocks(self, rows: usize) -> (usize, usize) {
        if self.threads <= WARP {
            (SMALL_BLOCK, rows.div_ceil(SMALL_BLOCK / self.threads))
        } else {
            (self.threads, rows)
        }
    }

    /// Arguments with those that tell a kernel this shape.
    fn arguments(self, args: Args) -> Args {
        Args {
            threads: self.threads as u32,
            row_shift: self.threads.ilog2(),
            vectors: self.vectors as u32,
            segments: self.segments as u32,
            ..args
        }
    }
}

/// Plans a call for a device whose clusters have at most `max_cluster` blocks; nothing is to be
/// done if there is no row.
///
/// # Errors
/// [`Error::TooLarge`] for what no grid can cover.
pub(crate) fn plan(call: &Call, max_cluster: u32) -> Result<Option<Launch>, Error> {
    if call.x.layout.rows == 0 {
        return Ok(None);
    }
    let launch = match plain_output(call) {
        None => fused::plan(call),
        Some(y) if call.norm.is_elementwise() => plan_elements(call, y),
        Some(y) => plan_rows(call, y, max_cluster),
    };
    launch.map(Some).ok_or(Error::TooLarge {
        what: "input",
        rows: call.x.layout.rows,
        stride: call.x.layout.stride,
    })
}

/// The output, if nothing is fused.
fn plain_output(call: &Call) -> Option<DeviceRows> {
    let fused = call.residual.is_some()
        || call.gate.is_some()
        || call.statistics.is_some()
        || call.heads().is_some();
    match call.output {
        Output::Rows(y) if !fused => Some(y),
        _ => None,
    }
}

fn plan_rows(call: &Call, y: DeviceRows, max_cluster: u32) -> Option<Launch> {
    let (x, rows) = (call.x.layout, call.x.layout.rows);
    if x.channels > MAX_CHANNELS {
        return None;
    }
    let shape = RowShape::new(x.channels, call.x.element);
    let in_cluster = shape.segments > 1 && shape.segments <= max_cluster as usize;
    let wide = is_wide(call, [call.x.place(), y.place()], call.x);
    let one = shape.segments == 1;
    let few = shape.threads <= FEW_THREADS && shape.blocks(rows).1 <= FEW_BLOCKS;
    let form = match (wide, is_usual(call, y), shape.vectors) {
        (false, ..) => Form::RereadAny,
        (true, true, 2) if one => Form::UsualKeep2,
        (true, true, 4) if one && few => Form::UsualKeep4Few,
        (true, true, 4) if one => Form::UsualKeep4,
        (true, true, _) if one => Form::UsualKeep8,
        (true, false, 2) if one => Form::Keep2,
        (true, false, 4) if one => Form::Keep4,
        (true, false, _) if one => Form::Keep8,
        (true, true, _) if in_cluster => Form::UsualCluster,
        (true, false, _) if in_cluster => Form::Cluster,
        _ => Form::Reread,
    };
    let cluster = if Form::IN_CLUSTERS.contains(&form) { shape.segments } else { 1 };
    let (block, blocks) = shape.blocks(rows);
    Some(Launch {
        kernel: form.into(),
        grid: grid(blocks.checked_mul(cluster)?)?,
        block: block as u32,
        cluster: cluster as u32,
        args: shape.arguments(arguments(call, call.x, y)),
    })
}

fn plan_elements(call: &Call, y: DeviceRows) -> Option<Launch> {
    let x = call.x.layout;
    let dense = (x.stride == x.channels && y.layout.stride == x.channels) || x.rows == 1;
    let usual = is_usual(call, y);
    let form = |wide| match (precision(call), wide) {
        (PRECISION_FAST, true) if usual => Form::FastUsual,
        (PRECISION_FAST, true) => Form::FastWide,
        (PRECISION_FAST, false) => Form::FastNarrow,
        (_, true) if usual => Form::Usual,
        (PRECISION_SHORT, true) => Form::ShortWide,
        (PRECISION_SHORT, false) => Form::ShortNarrow,
        (_, true) => Form::Wide,
        (_, false) => Form::Narrow,
    };
    let lanes = lanes_of(call.x.element);
    if dense && call.weight.is_none() && call.bias.is_none() {
        let elements = x.rows * x.channels;
        let wide = is_aligned(call.x.place(), lanes) && is_aligned(y.place(), lanes);
        let accesses = if wide { elements / lanes } else { elements };
        let blocks = accesses.div_ceil(SMALL_BLOCK * unroll(wide)).max(1);
        let (spread, blocks) = spread(SMALL_BLOCK, blocks, wide);
        let args = Args { channels: elements as u64, spread, ..arguments(call, call.x, y) };
        return Some(Launch {
            kernel: form(wide).into(),
            grid: grid(blocks)?,
            block: SMALL_BLOCK as u32,
            cluster: 1,
            args,
        });
    }
    let wide = is_wide(call, [call.x.place(), y.place()], call.x);
    plan_columns(call.x, form(wide).into(), wide, arguments(call, call.x, y))
}

/// Plans a launch whose threads stay in their columns.
fn plan_columns(source: DeviceRows, kernel: Kernel, wide: bool, args: Args) -> Option<Launch> {
    let x = source.layout;
    let columns = if wide { x.channels / lanes_of(source.element) } else { x.channels };
    let column_blocks = columns.div_ceil(SMALL_BLOCK);
    // Columns of a block, spread evenly; several rows side by side where they are few.
    let threads = match columns.div_ceil(column_blocks) {
        few @ 0..=64 => few.next_power_of_two(),
        many => many.next_multiple_of(WARP),
    };
    let side_by_side = SMALL_BLOCK / threads;
    let row_blocks = x.rows.div_ceil(side_by_side * unroll(wide));
    let (spread, row_blocks) =
        spread(columns.min(threads) * side_by_side * column_blocks, row_blocks, wide);
    let column_blocks_32 = u32::try_from(column_blocks).ok()?;
    let (column_magic, column_shift) = magic(column_blocks_32);
    let args = Args {
        threads: threads as u32,
        // Where one row takes the whole block, all of its threads are in row 0.
        row_shift: if side_by_side > 1 { threads.ilog2() } else { 31 },
        rows_a_block: side_by_side as u32,
        column_blocks: column_blocks_32,
        column_magic,
        column_shift,
        spread,
        ..args
    };
    Some(Launch {
        kernel,
        grid: grid(column_blocks.checked_mul(row_blocks)?)?,
        block: (threads * side_by_side) as u32,
        cluster: 1,
        args,
    })
}

/// Whether operands and output have the type of x.
fn is_usual(call: &Call, y: DeviceRows) -> bool {
    y.element == call.x.element && has_operands_of(call, call.x.element)
}

fn has_operands_of(call: &Call, element: ElementType) -> bool {
    let of_it =
        |operand: Option<DeviceChannels>| operand.is_none_or(|given| given.element == element);
    of_it(call.weight) && of_it(call.bias)
}

/// How exact an element-wise function has to be for the output.
fn precision(call: &Call) -> u32 {
    // Other functions have no approximate form.
    match (call.norm, call.output) {
        (Norm::DyT { .. }, _) if call.fast => PRECISION_FAST,
        (_, Output::Rows(y)) if y.element == ElementType::F32 => PRECISION_FULL,
        _ => PRECISION_SHORT,
    }
}

/// How far, as a power of two of what `blocks` side by side make in one access each, the accesses of a
/// thread are from one another, and how many blocks there are then. Each makes `accesses`.
fn spread(accesses: usize, blocks: usize, wide: bool) -> (u32, usize) {
    // A sixteenth of the blocks may be without work.
    let most = (PITCH / (accesses * VECTOR).max(1)).min(blocks / 16);
    let spread = if wide && most > 1 { most.ilog2() } else { 0 };
    (spread, blocks.next_multiple_of(1 << spread))
}

/// Accesses of a thread in a column.
fn unroll(wide: bool) -> usize {
    if wide { UNROLL_WIDE } else { UNROLL_NARROW }
}

/// Whether a kernel of `call` can take 16 bytes of `source` at once.
fn is_wide(call: &Call, tensors: impl IntoIterator<Item = Place>, source: DeviceRows) -> bool {
    let channels = call.x.layout.channels;
    whole_vectors(channels, tensors, [call.weight, call.bias], lanes_of(source.element))
}

/// The arguments of a call without anything fused that do not depend on the launch's shape, for the
/// function taken of `x`.
fn arguments(call: &Call, x: DeviceRows, y: DeviceRows) -> Args {
    let number = |operand: Option<DeviceChannels>| {
        operand.map_or(ABSENT, |given| type_number(given.element))
    };
    let address = |operand: Option<DeviceChannels>| operand.map_or(0, |given| given.address);
    Args {
        x: x.address,
        y: y.address,
        weight: address(call.weight),
        bias: address(call.bias),
        x_stride: x.layout.stride as u64,
        y_stride: y.layout.stride as u64,
        rows: x.layout.rows as u64,
        channels: x.layout.channels as u64,
        weight_offset: or_minus_zero(call.weight_offset),
        parameter: parameters(call.norm, x.layout.channels),
        y_type: type_number(y.element),
        weight_type: number(call.weight),
        bias_type: number(call.bias),
        threads: 0,
        row_shift: 0,
        vectors: 0,
        segments: 0,
        rows_a_block: 0,
        column_blocks: 0,
        column_magic: 0,
        column_shift: 0,
        spread: 0,
        heads: 1,
        head_magic: 0,
        head_shift: 0,
        scale: SCALE_NUMBER,
        statistics: STATISTICS_NONE,
        factor: 1.0,
        precision: precision(call),
        x_token_stride: 0,
        y_token_stride: 0,
        scales: 0,
        statistics_address: 0,
        addend: Tensor::NONE,
        sum: Tensor::NONE,
        gate: Tensor::NONE,
    }
}

/// The function's parameters as its kernel wants them.
fn parameters(norm: Norm, channels: usize) -> [f32; 3] {
    match norm {
        Norm::RmsNorm { eps } | Norm::LayerNorm { eps } => [eps, 1.0 / channels as f32, 0.0],
        Norm::DyT { alpha } => [alpha, 0.0, 0.0],
        Norm::DyIsru { beta, scale } => {
            let prescale = prescale(beta);
            [beta * prescale * prescale, scale, prescale]
        }
        Norm::Derf { alpha, shift } => [alpha, shift, 0.0],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::ptx::Target;
    use ElementType::{Bf16, F16, F32};

    fn call(norm: Norm, x: ElementType, rows: usize, channels: usize) -> Call {
        let at = |address| DeviceRows::new(address, x, rows, channels).unwrap();
        Call::new(norm, at(1 << 20), Output::Rows(at(1 << 40)))
    }

    const RMS: Norm = Norm::DEFAULTS[0];
    const DYT: Norm = Norm::DEFAULTS[2];

    #[test]
    fn a_row_is_covered_by_its_threads() {
        for x in ElementType::ALL {
            for channels in (1..70_000).chain([131_072, 262_144, 1 << 24, MAX_CHANNELS]) {
                let RowShape { threads, vectors, segments } = RowShape::new(channels, x);
                let segment = threads * vectors * VECTOR / x.size();
                assert!(segment * segments >= channels, "{channels} {x:?}");
                assert!(threads <= MAX_THREADS && segments.is_power_of_two());
                assert!(
                    threads.is_multiple_of(WARP) || (threads < WARP && threads.is_power_of_two())
                );
                assert!(
                    threads <= WARP
                        || segments > 1
                        || threads > channels * x.size() / VECTOR / 8 / 2
                );
                // The kernels count to the end of the last segment in 32 bits.
                assert!(u32::try_from(segment * segments).is_ok());
            }
        }
    }

    #[test]
    fn rows_stay_in_registers_to_16384_channels_and_in_clusters_beyond() {
        let form =
            |x, channels, max| plan(&call(RMS, x, 3, channels), max).unwrap().unwrap().kernel.form;
        for x in ElementType::ALL {
            assert!([Form::UsualKeep4, Form::UsualKeep8].contains(&form(x, 16_384, 1)));
        }
        assert_eq!(form(Bf16, 512, 1), Form::UsualKeep2);
        assert_eq!(form(Bf16, 4096, 1), Form::UsualKeep4Few);
        assert_eq!(form(Bf16, 32_768, 1), Form::UsualKeep8);
        assert_eq!(form(Bf16, 65_536, 1), Form::Reread);
        assert_eq!(form(Bf16, 65_536, 8), Form::UsualCluster);
        assert_eq!(form(F32, 262_144, 8), Form::Reread);
        assert_eq!(form(F32, 262_144, 16), Form::UsualCluster);
        assert_eq!(form(F32, 16_385, 16), Form::RereadAny);
    }

    #[test]
    fn narrow_rows_share_a_block() {
        for (channels, rows_of_a_block) in [(64, 32), (128, 16), (256, 8), (512, 4), (1024, 4)] {
            let launch = plan(&call(RMS, Bf16, 1000, channels), 1).unwrap().unwrap();
            assert_eq!(launch.block, 128);
            assert_eq!(launch.grid as usize, 1000_usize.div_ceil(rows_of_a_block), "{channels}");
        }
    }

    #[test]
    fn the_shape_of_a_row_depends_on_neither_batch_nor_alignment() {
        let shape =
            |launch: Launch| (launch.args.threads, launch.args.vectors, launch.args.segments);
        for channels in [1, 7, 64, 768, 4096, 5000, 40_000] {
            let reference = shape(plan(&call(RMS, F16, 1, channels), 1).unwrap().unwrap());
            for rows in [2, 33, 70_000, 5_000_000] {
                for (offset, stride) in [(0, 0), (2, 0), (16, 1), (0, 8)] {
                    let mut call = call(RMS, F16, rows, channels);
                    call.x = DeviceRows::with_stride(
                        1024 + offset,
                        F16,
                        rows,
                        channels,
                        channels + stride,
                    )
                    .unwrap();
                    assert_eq!(shape(plan(&call, 16).unwrap().unwrap()), reference);
                }
            }
        }
    }

    #[test]
    fn zero_rows_launch_nothing() {
        for norm in Norm::DEFAULTS {
            assert_eq!(plan(&call(norm, F32, 0, 8), 1).unwrap(), None);
        }
    }

    #[test]
    fn many_rows_fit_on_the_grid_and_too_many_are_refused() {
        for norm in Norm::DEFAULTS {
            let rows = 1_usize << 30;
            assert!(plan(&call(norm, F32, rows, 2048), 16).unwrap().unwrap().grid >= 1 << 28);
        }
        let refused = plan(&call(RMS, F32, 1 << 31, 4096), 1).unwrap_err();
        assert!(matches!(refused, Error::TooLarge { rows, .. } if rows == 1 << 31));
    }

    #[test]
    fn elements_without_operands_have_no_rows() {
        let launch = plan(&call(DYT, Bf16, 3, 1001), 1).unwrap().unwrap();
        assert_eq!((launch.kernel.form, launch.args.channels), (Form::Usual, 3003));
        assert_eq!(launch.args.column_blocks, 0);
        let mut with_weight = call(DYT, Bf16, 3, 1001);
        with_weight.weight = Some(DeviceChannels { address: 4096, element: F32 });
        let launch = plan(&with_weight, 1).unwrap().unwrap();
        assert_eq!((launch.kernel.form, launch.args.column_blocks), (Form::ShortNarrow, 8));
    }

    #[test]
    fn an_approximate_tanh_is_for_dyt_alone() {
        for norm in Norm::DEFAULTS {
            for channels in [1000, 1024] {
                let fast = Call { fast: true, ..call(norm, Bf16, 3, channels) };
                let launch = plan(&fast, 1).unwrap().unwrap();
                assert!(
                    Kernel::all(norm, Bf16, Target::Sm80).any(|k| k == launch.kernel),
                    "{norm:?}"
                );
            }
        }
        let fast = Call { fast: true, ..call(DYT, Bf16, 3, 1000) };
        assert_eq!(plan(&fast, 1).unwrap().unwrap().kernel.form, Form::FastUsual);
    }

    #[test]
    fn columns_of_elements_are_covered() {
        for channels in (8..20_000).step_by(8) {
            for rows in [1, 3, 4, 5, 100] {
                let mut call = call(DYT, Bf16, rows, channels);
                call.bias = Some(DeviceChannels { address: 4096, element: Bf16 });
                let launch = plan(&call, 1).unwrap().unwrap();
                let (threads, blocks) = (launch.args.threads, launch.args.column_blocks);
                assert!(launch.block <= 128 && launch.block.is_multiple_of(threads));
                assert!((threads * blocks) as usize * 8 >= channels);
                let row_blocks = launch.grid / blocks;
                assert!((row_blocks * 4 * (launch.block / threads)) as usize >= rows);
            }
        }
    }

    #[test]
    fn alignment_is_asked_of_every_tensor() {
        let aligned = Call {
            weight: Some(DeviceChannels { address: 4096, element: Bf16 }),
            bias: Some(DeviceChannels { address: 8192, element: F32 }),
            ..call(RMS, Bf16, 4, 4096)
        };
        let form = |call: &Call| plan(call, 1).unwrap().unwrap().kernel.form;
        assert_eq!(form(&aligned), Form::Keep4);
        let shifted = |address: u64| DeviceRows::new(address, Bf16, 4, 4096).unwrap();
        assert_eq!(form(&Call { x: shifted((1 << 20) + 8), ..aligned }), Form::RereadAny);
        let output = Output::Rows(shifted((1 << 40) + 2));
        assert_eq!(form(&Call { output, ..aligned }), Form::RereadAny);
        let weight = Some(DeviceChannels { address: 4104, element: Bf16 });
        assert_eq!(form(&Call { weight, ..aligned }), Form::RereadAny);
        let bias = Some(DeviceChannels { address: 8196, element: F32 });
        assert_eq!(form(&Call { bias, ..aligned }), Form::RereadAny);
    }

    #[test]
    fn beta_is_brought_near_one() {
        for exponent in -149..128 {
            let beta = 2.0_f64.powi(exponent) as f32;
            let [scaled, _, factor] = parameters(Norm::DyIsru { beta, scale: 1.0 }, 1);
            assert!((-70..68).contains(&(scaled.log2() as i32)), "{exponent}");
            assert_eq!(f64::from(scaled), f64::from(beta) * f64::from(factor).powi(2));
        }
    }
}
