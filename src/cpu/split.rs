//! How work is divided: whole rows for the row functions, anywhere for the element-wise ones,
//! so that one long row can use every core. No result depends on it.

use super::job::Job;

/// Channels between which an element-wise function may be divided: a multiple of every block of
/// the write pass, and so of the cache line.
const GRAIN: usize = 256;

/// Calls `each` with the pieces of part `index` of `count` of `job`.
pub(crate) fn for_part(
    job: &Job,
    elementwise: bool,
    index: usize,
    count: usize,
    mut each: impl FnMut(&Job),
) {
    if !elementwise {
        let (first, end) = share(job.rows, index, count);
        if first < end {
            each(&job.part(first, end - first, 0, job.channels));
        }
        return;
    }
    // Grains are counted row by row; the last one of a row may be smaller.
    let grains = job.channels.div_ceil(GRAIN);
    let (first, end) = share(job.rows * grains, index, count);
    let mut grain = first;
    while grain < end {
        let (row, column) = (grain / grains, grain % grains);
        let whole_rows = if column == 0 { (end - grain) / grains } else { 0 };
        if whole_rows > 0 {
            each(&job.part(row, whole_rows, 0, job.channels));
            grain += whole_rows * grains;
        } else {
            let stop = grains.min(column + end - grain);
            each(&job.part(row, 1, column * GRAIN, job.channels.min(stop * GRAIN)));
            grain += stop - column;
        }
    }
}

/// The range of part `index` when `total` things are shared by `count`, as evenly as can be.
pub(super) fn share(total: usize, index: usize, count: usize) -> (usize, usize) {
    let (each, extra) = (total / count, total % count);
    let first = index * each + index.min(extra);
    (first, first + each + usize::from(index < extra))
}
