//! What every kernel of gradients is given: the twin of `BackwardArgs` in `kernels/backward.cuh`.

use crate::cpu::MOST_PARAMETERS;
use crate::cuda::args::Tensor;

/// f32 that are known of a row, if it is not kept.
pub(super) const RMS_NORM_WORDS: usize = 2;
pub(super) const LAYER_NORM_WORDS: usize = 5;
/// f32 that a block's sums of gradients by parameters take.
pub(super) const PARAMETER_WORDS: usize = 2 * MOST_PARAMETERS;

const _: () = assert!(MOST_PARAMETERS == 2);

/// The single argument of a kernel; see there for what each is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct BackwardArgs {
    pub(super) x: Tensor,
    pub(super) dy: Tensor,
    pub(super) dx: Tensor,
    pub(super) weight: u64,
    pub(super) d_weight: u64,
    pub(super) d_bias: u64,
    pub(super) d_parameters: u64,
    pub(super) sums: u64,
    pub(super) columns: u64,
    pub(super) parameter_sums: u64,
    pub(super) statistics: u64,
    pub(super) factor: [f64; 2],
    pub(super) parameter: [f32; 4],
    pub(super) rows: u32,
    pub(super) channels: u32,
    pub(super) weight_offset: f32,
    pub(super) weight_type: u32,
    pub(super) heads: u32,
    pub(super) head_magic: u32,
    pub(super) head_shift: u32,
    pub(super) groups: u32,
    pub(super) slots: u32,
    pub(super) slot_shift: u32,
    pub(super) threads: u32,
    pub(super) column_blocks: u32,
    pub(super) column_magic: u32,
    pub(super) column_shift: u32,
    pub(super) parameter_blocks: u32,
    pub(super) reserved: u32,
}
