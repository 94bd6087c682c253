//! Rows that are read while others are written, so that all of reading, arithmetic and writing goes on
//! at any time; and rows of which the begin is read before others are written.

use super::affine::Affine;
use super::ahead::of_four_bytes;
use super::function::{Begun, Function, Pointwise, Reading};
use super::job::Job;
use super::pipeline::{UNROLL, Work, is_usual, write_row, write_whole_block};
use super::results::Results;
use super::seam::{Before, begin_row};
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
    if size_of::<X>() > 2 { 14 << 10 } else { 24 << 10 }
}

/// Bytes of the longest row that leads if it comes from memory or goes there, and of the shortest of elements
/// of four bytes. Others are faster in turns.
const LONGEST: usize = 3 << 10;
const SHORTEST: usize = 512;

/// Whether it is compiled: without offset and the like, and where there are registers for two loops at
/// once.
pub(super) const fn can_lead<S: Simd, F: Function, A: Affine>() -> bool {
    F::READS_ROW && A::PLAIN && S::MANY_REGISTERS
}

/// Whether it is faster: if the rows that are read, waited with and written, and the weight, stay in the
/// first level of the caches together.
pub(super) fn lead_pays<S: Simd, F: Function, A: Affine, X: Storage, Y: Output>(job: &Job) -> bool {
    let memory = job.fetch || job.stream;
    let row = job.channels * size_of::<X>();
    let least = if size_of::<X>() > 2 { SHORTEST } else { 0 };
    let from_memory = is_usual::<A, X, Y>() && (least..=LONGEST).contains(&row);
    job.channels * ((LEAD + 1) * size_of::<X>() + size_of::<f32>()) <= space::<X>()
        && job.channels <= F::Reading::<S>::longest::<X>()
        && (!memory || from_memory)
}

/// As `run_rows` of `pipeline`, with the same results, for more than [`LEAD`] rows.
///
/// # Safety
/// As that.
#[inline(always)]
pub(super) unsafe fn run_leading<S, F, A, X, Y, const MEMORY: bool>(
    s: S,
    prepared: F::Prepared<S>,
    work: &Work<A, MEMORY>,
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
    let shared = work.shares::<X, Y>();
    // SAFETY: the caller vouches for the rows, which are more than `LEAD`.
    unsafe {
        let mut found = F::find(prepared, s, F::begin(s), begun(0), &mut ());
        let mut ready = Ready::new(F::row(prepared, s, found));
        for i in 1..LEAD {
            ready.push(i - 1, F::row(prepared, s, found));
            found = F::find(prepared, s, F::begin(s), begun(i), &mut ());
        }
        let mut before = None;
        for i in 0..count {
            let row = ready.get(i);
            let (from, to) = (begun(i).x, y.wrapping_add(i * job.y.stride));
            let results =
                Results::of::<X, Y, MEMORY>(s, work, &mut (), row, None, rows.start + i, from);
            let (mut reading, mut ahead) = (F::begin(s), begun(i + LEAD));
            let places = (from, to);
            let (mut written, mut stop) = begin_row::<S, F, A, X, Y, MEMORY>(
                s,
                work,
                before.take(),
                &results,
                ahead.x,
                places,
            );
            let leads = i + LEAD < count;
            if leads && written == stop {
                (ahead.read, written) =
                    write_and_read(s, &results, work, written, places, ahead.x, &mut reading);
                stop = written;
            }
            let leave = shared && i + 1 < count;
            let left = write_row(s, &results, work, &mut (), (written, stop), leave, from, to);
            if leave {
                before = Some(Before { results, left });
            }
            // Of two different rows, so that the processor does one beside the other.
            ready.push(i + LEAD - 1, F::row(prepared, s, found));
            if leads {
                found = F::find(prepared, s, reading, ahead, &mut ());
            }
        }
    }
}

/// Rows of which all is known: the one that is written, and the next.
struct Ready<R>([R; 2]);

impl<R: Copy> Ready<R> {
    /// Whether they stand in memory, from where one is spread over vectors when its turn comes. To hand on
    /// what is more than one number from row to row, as registers go, takes longer.
    const IN_MEMORY: bool = size_of::<R>() > size_of::<f32>();

    /// Row 0, in all places.
    #[inline(always)]
    fn new(row: R) -> Self {
        Self([row; 2])
    }

    /// Row `i`, the one before the last that was pushed.
    #[inline(always)]
    fn get(&self, i: usize) -> R {
        self.0[if const { Self::IN_MEMORY } { i % 2 } else { 0 }]
    }

    /// Row `i`, in the place of the one two before it.
    #[inline(always)]
    fn push(&mut self, i: usize, row: R) {
        if const { Self::IN_MEMORY } {
            self.0[i % 2] = row;
        } else {
            (self.0[0], self.0[1]) = (self.0[1], row);
        }
    }
}

/// Function, affine and store over the row at `x` and `y` from channel `i` on, as far as that goes by whole
/// blocks, while `ahead` is read. Returns how many channels of it have been read, and up to which
/// channel has been written.
///
/// # Safety
/// The addresses must be places of rows of the job, and `y + i` be aligned if it is streamed.
#[inline(always)]
unsafe fn write_and_read<S, G, X, Y, const MEMORY: bool>(
    s: S,
    results: &Results<S, impl Pointwise<S>>,
    work: &Work<impl Affine, MEMORY>,
    mut i: usize,
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
    let (mut read, mut ordinary) = (0, results.row.begins_ordinary());
    // Parts of what is read are blocks of what is written.
    let block = UNROLL * S::LANES;
    // A row from memory that leads is less than a page.
    work.look_up(s, ahead, y);
    loop {
        for part in 0..G::parts::<X>() {
            if work.job.channels - i < block {
                return (read + part * block, i);
            }
            // Before what is stored: addresses of one place in different pages are taken for the same,
            // and a load would wait for the store.
            // SAFETY: no more has been read than written, and so a part is left.
            unsafe { reading.add(s, ahead.add(read), part) };
            if work.fetches() {
                work.ahead.fetch(s, ahead.wrapping_add(i));
                if const { of_four_bytes::<X, Y>() } {
                    work.ahead.pace();
                }
            }
            // SAFETY: a block is left; `y + i` is aligned if streamed, since blocks are multiples of a
            // cache line.
            let whole = unsafe {
                let how = (work.streams(), &mut ordinary);
                write_whole_block(s, results, work.affine, how, i, x, y)
            };
            if !whole {
                return (read + (part + 1) * block, i);
            }
            i += block;
        }
        read += G::block::<X>();
    }
}

/// Whether the first channels of the next row are read before one is written: the processor does so while it
/// waits for what the one is found to be. There is enough else to do where elements have to be widened.
pub(super) const fn begins_next<
    S: Simd,
    F: Function,
    A: Affine,
    X: Output,
    Y: Output,
    const MEMORY: bool,
>() -> bool {
    F::READS_ROW && !MEMORY && is_usual::<A, X, Y>() && size_of::<X>() == 4 && S::MANY_REGISTERS
}

/// Channels that are read so, and the longest rows of which they are: of longer ones they would be gone from
/// the first level of the caches before they are written.
const FIRST: usize = 512;
const LONGEST_BEGUN: usize = 1536;

/// Reads the first channels of the row at `x`. Returns how many.
///
/// # Safety
/// It must be valid for reads of `channels` elements.
#[inline(always)]
pub(super) unsafe fn read_first<S: Simd, X: Storage, G: Reading<S>>(
    s: S,
    x: *const X,
    channels: usize,
    reading: &mut G,
) -> usize {
    if !(FIRST..=LONGEST_BEGUN).contains(&channels) {
        return 0;
    }
    debug_assert!(FIRST.is_multiple_of(G::block::<X>()), "they are whole blocks");
    let mut read = 0;
    while read < FIRST {
        for part in 0..G::parts::<X>() {
            // SAFETY: a block follows `read`.
            unsafe { reading.add(s, x.add(read), part) };
        }
        read += G::block::<X>();
    }
    read
}
