//! Statistics of rows, for hosts that hold them in shards.

use super::args::{self, dynorm_forward_args};
use super::boundary::guard;
use super::status::dynorm_status;
use super::tensors::{address, memory};
use crate::place::{self, Access};
use crate::{RowStatistics, Rows};
use core::mem::{MaybeUninit, offset_of};
use core::slice;

/// What is known of a row, or of a shard of it. All 0 are those of no elements.
///
/// Tensor-parallel hosts compute them for their shards by `dynorm_row_statistics_compute` or
/// `dynorm_cuda_row_statistics`, bring the parts together, and give the whole to a call, in its field
/// `statistics`. For RMSNorm an all-reduce that sums up all four numbers does that; for LayerNorm
/// gather them and merge them in the same order everywhere, by `dynorm_row_statistics_merge`, so that
/// all devices have the same bits.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct dynorm_row_statistics {
    /// Elements.
    pub count: f32,
    /// Their mean, rounded; 0 for RMSNorm.
    pub mean: f32,
    /// What rounding took from the mean, which is `mean + mean_low`; 0 for RMSNorm.
    pub mean_low: f32,
    /// The sum of `(x - mean)^2`.
    pub m2: f32,
}

// Arrays of the one are read and written as arrays of the other.
const _: () = {
    assert!(size_of::<dynorm_row_statistics>() == size_of::<RowStatistics>());
    assert!(align_of::<dynorm_row_statistics>() == align_of::<RowStatistics>());
    assert!(offset_of!(dynorm_row_statistics, count) == offset_of!(RowStatistics, count));
    assert!(offset_of!(dynorm_row_statistics, mean) == offset_of!(RowStatistics, mean));
    assert!(offset_of!(dynorm_row_statistics, mean_low) == offset_of!(RowStatistics, mean_low));
    assert!(offset_of!(dynorm_row_statistics, m2) == offset_of!(RowStatistics, m2));
};

impl From<dynorm_row_statistics> for RowStatistics {
    fn from(given: dynorm_row_statistics) -> Self {
        let dynorm_row_statistics { count, mean, mean_low, m2 } = given;
        Self { count, mean, mean_low, m2 }
    }
}

impl From<RowStatistics> for dynorm_row_statistics {
    fn from(given: RowStatistics) -> Self {
        let RowStatistics { count, mean, mean_low, m2 } = given;
        Self { count, mean, mean_low, m2 }
    }
}

/// Writes to `statistics`, one for each row, what RMSNorm or LayerNorm need to know of the rows of x,
/// on the calling thread.
///
/// Of `args`, the function with its parameters, rows, channels, heads, x with its type and strides, and
/// isa are used; residual must be NULL, since x alone is looked at; nothing else is. With no rows
/// nothing is done.
///
/// DYNORM_ERROR_NULL, _ALIGNMENT, _STRUCT_SIZE, _SHAPE, _PARAMETER, _ISA; _OVERLAP if `statistics`
/// shares memory with x; _VALUE also for the element-wise functions, which need none, and for a
/// residual. On error `statistics` is left as it was. Any thread may call it.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn dynorm_row_statistics_compute(
    args: *const dynorm_forward_args,
    statistics: *mut dynorm_row_statistics,
) -> dynorm_status {
    guard(|| {
        let mut room = MaybeUninit::uninit();
        // SAFETY: the caller keeps what the header says.
        let args = unsafe { args::read(args, &mut room) }?;
        let (norm, x, isa) = (args.norm()?, args.statistics_input()?, args.isa()?);
        let written = Access::per_row("statistics", address(statistics), args.rows, 4)?;
        let written = Access { is_written: true, ..written };
        place::check(args.rows, &[Some(x.access("input")?), Some(written)])?;
        // SAFETY: the addresses were checked; the caller vouches for the memory.
        let (x, statistics) = unsafe {
            (
                Rows::from_raw(memory(x.data), x.element, x.layout),
                slice::from_raw_parts_mut(memory(statistics).as_ptr(), args.rows),
            )
        };
        Ok(norm.write_row_statistics(isa, x, statistics)?)
    })
}

/// Those of the elements of both, in double precision and rounded once. The order of merging may
/// change the last bit. Never fails; any thread may call it.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub extern "C" fn dynorm_row_statistics_merge(
    a: dynorm_row_statistics,
    b: dynorm_row_statistics,
) -> dynorm_row_statistics {
    RowStatistics::from(a).merge(b.into()).into()
}
