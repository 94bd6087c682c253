//! Rows in the caches that are read while others are written, so that all of reading, arithmetic and
//! writing goes on at any time. Memory leaves time enough for the arithmetic, and taking turns is faster.

use super::affine::Affine;
use super::function::{Begun, Function, Pointwise, Reading};
use super::job::Job;
use super::pipeline::{Results, UNROLL, Work, factor, write_row, write_whole_block};
use super::simd::{
    Simd,
    element::{Output, Storage},
};
use core::ops::Range;

/// Rows from the one that is written to the one that is read meanwhile. Between them lie one of which all
/// is known, and one that has been found to be something, of which it still has to be made what is
/// applied to it: a sum's horizontal end has the time of a row then, and so have the division and the
/// root that follow it.
pub(super) const LEAD: usize = 3;

/// What the rows that have been read and the weight may take of the first level of the caches, in bytes: of
/// 32 KiB or more, through which the output goes, too. More of it is left for elements of four bytes.
const fn space<X>() -> usize {
    if size_of::<X>() > 2 { 18 << 10 } else { 24 << 10 }
}

/// Whether it is compiled: for what most calls come down to, and where there are registers for two loops
/// at once.
pub(super) const fn can_lead<S: Simd, F: Function, A: Affine>() -> bool {
    F::READS_ROW && A::PLAIN && S::MANY_REGISTERS
}

/// Whether it is faster: if the rows that are read, waited with and written, and the weight, stay in the
/// first level of the caches together, and nothing comes from memory or goes there.
pub(super) fn lead_pays<S: Simd, F: Function, X: Storage>(job: &Job) -> bool {
    job.channels * ((LEAD + 1) * size_of::<X>() + size_of::<f32>()) <= space::<X>()
        && job.channels <= F::Reading::<S>::longest::<X>()
        && !(job.fetch || job.stream)
}

/// As `run_rows` of `pipeline`, with the same results, for more than [`LEAD`] rows.
///
/// # Safety
/// As that.
#[inline(always)]
pub(super) unsafe fn run_leading<S, F, A, X, Y>(
    s: S,
    prepared: F::Prepared<S>,
    work: &Work<A, false>,
    rows: Range<usize>,
    x: *const X,
    y: *mut Y,
) where
    S: Simd,
    F: Function,
    A: Affine,
    X: Storage,
    Y: Output,
{
    let job = work.job;
    let begun =
        |i: usize| Begun::new(rows.start + i, x.wrapping_add(i * job.x.stride), job.channels);
    let count = rows.len();
    // SAFETY: the caller vouches for the rows, which are more than `LEAD`.
    unsafe {
        let mut found = F::find(prepared, s, F::begin(s), begun(0));
        let mut next = F::row(prepared, s, found);
        let mut this = next;
        for i in 1..LEAD {
            this = next;
            next = F::row(prepared, s, found);
            found = F::find(prepared, s, F::begin(s), begun(i));
        }
        for i in 0..count {
            let results = Results { row: this, factor: factor::<S, Y>(s, job, rows.start + i) };
            let (from, to) = (begun(i).x, y.wrapping_add(i * job.y.stride));
            let (mut reading, mut ahead) = (F::begin(s), begun(i + LEAD));
            let leads = i + LEAD < count;
            let mut written = 0;
            if leads {
                (ahead.read, written) =
                    write_and_read(s, &results, work, (from, to), ahead.x, &mut reading);
            }
            write_row(s, &results, work, (written, written), false, from, to);
            // Of two different rows, so that the processor does one beside the other.
            this = next;
            next = F::row(prepared, s, found);
            if leads {
                found = F::find(prepared, s, reading, ahead);
            }
        }
    }
}

/// Function, affine and store over the row at `x` and `y`, as far as that goes by whole blocks, while
/// `ahead` is read. Returns how many channels of it have been read, and up to which channel has been
/// written.
///
/// # Safety
/// The addresses must be places of rows of the job.
#[inline(always)]
unsafe fn write_and_read<S, G, X, Y>(
    s: S,
    results: &Results<S, impl Pointwise<S>>,
    work: &Work<impl Affine, false>,
    (x, y): (*const X, *mut Y),
    ahead: *const X,
    reading: &mut G,
) -> (usize, usize)
where
    S: Simd,
    G: Reading<S>,
    X: Storage,
    Y: Output,
{
    let (mut read, mut written) = (0, 0);
    // Blocks of what is read are as many of what is written.
    while work.job.channels - written >= G::block::<X>() {
        for part in 0..G::parts::<X>() {
            // Before what is stored: addresses of one place in different pages are taken for the same,
            // and a load would wait for the store.
            // SAFETY: as much has been read as written, and so a block is left.
            unsafe { reading.add(s, ahead.add(read), part) };
            // SAFETY: a block is left.
            if !unsafe { write_whole_block(s, results, work.affine, false, written, x, y) } {
                for part in part + 1..G::parts::<X>() {
                    // SAFETY: as above.
                    unsafe { reading.add(s, ahead.add(read), part) };
                }
                return (read + G::block::<X>(), written);
            }
            written += UNROLL * S::LANES;
        }
        read += G::block::<X>();
    }
    (read, written)
}
