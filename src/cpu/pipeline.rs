//! The sentence that every kernel is: load → (row statistic) → function → affine → store.

use super::access::{Access, First, Whole};
use super::affine::Affine;
use super::cache::LINE;
use super::function::{Begun, Function, Pointwise, Reading};
use super::job::{Job, KnownScale, Stored};
use super::simd::{
    Kernel, Simd,
    element::{Output, Storage},
};
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr;

/// Vectors in flight in the write pass.
const UNROLL: usize = 4;

/// A job with its function and types, ready to be entered with an instruction set.
pub(crate) struct Run<'a, F, A, X, Y> {
    function: F,
    affine: A,
    job: &'a Job<'a>,
    types: PhantomData<(X, Y)>,
}

impl<'a, F: Function, A: Affine, X, Y> Run<'a, F, A, X, Y> {
    /// # Safety
    /// `job` must keep [`Job`]'s promises, for elements of type `X` and `Y`, and `affine` be its.
    pub(crate) unsafe fn new(function: F, affine: A, job: &'a Job<'a>) -> Self {
        Self { function, affine, job, types: PhantomData }
    }
}

impl<F: Function, A: Affine, X: Storage, Y: Output> Kernel for Run<'_, F, A, X, Y> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let function = self.function;
        // A copy of its own: stores to the output might change the caller's, for all that the
        // compiler knows, and it would read every field again after each.
        let job = &{ *self.job };
        let prepared = function.prepare(s, job.channels);
        let (x, y) = (job.x.data.as_ptr().cast::<X>(), job.y.data.as_ptr().cast::<Y>());
        let leads = can_lead::<S, F, A>() && lead_pays::<X>(job);
        let ahead = Ahead::of::<X>(job, F::READS_ROW, leads);
        let work = Work { job, affine: self.affine, leads, ahead };
        let mut row = 0;
        while row < job.rows {
            // As many as are a stride apart in both.
            let (x_offset, x_left) = job.x.offset(row);
            let (y_offset, y_left) = job.y.offset(row);
            let rows = row..row + (job.rows - row).min(x_left).min(y_left);
            let (x, y) = (x.wrapping_add(x_offset), y.wrapping_add(y_offset));
            row = rows.end;
            // SAFETY: `new`'s caller vouches for the rows.
            unsafe { run_rows::<S, F, A, X, Y>(s, prepared, &work, rows, x, y) };
        }
        if job.stream {
            s.fence_streams();
        }
    }
}

/// What the rows of a job share.
struct Work<'a, A> {
    job: &'a Job<'a>,
    affine: A,
    /// Whether rows are read while others are written.
    leads: bool,
    ahead: Ahead,
}

/// Rows between the one that is written and the one that is read meanwhile, so that all of reading,
/// arithmetic and writing goes on at any time. What follows a sum (its horizontal end, a division, a
/// root) has the time of a row then.
const LEAD: usize = 2;
/// What the rows and the weight may take of the first level of the caches for that, in bytes: of 32 KiB
/// or more.
const LEAD_SPACE: usize = 20 << 10;

/// Whether to do so: if the rows, and the weight, stay in the first level of the caches together, and
/// unless f32 come from memory, which leaves so much time for arithmetic that taking turns is faster.
fn lead_pays<X>(job: &Job) -> bool {
    let space = job.channels * ((LEAD + 1) * size_of::<X>() + size_of::<f32>());
    space <= LEAD_SPACE && !(job.fetch && size_of::<X>() > 2)
}

/// Whether it is compiled.
const fn can_lead<S: Simd, F: Function, A: Affine>() -> bool {
    F::READS_ROW && A::PLAIN && S::MANY_REGISTERS
}

/// Does the rows `rows` of a job, which begin at `x` and `y` and are a stride apart.
///
/// # Safety
/// The job must keep [`Job`]'s promises, for elements of type `X` and `Y`.
#[inline(always)]
unsafe fn run_rows<S: Simd, F: Function, A: Affine, X: Storage, Y: Output>(
    s: S,
    prepared: F::Prepared<S>,
    work: &Work<A>,
    rows: core::ops::Range<usize>,
    x: *const X,
    y: *mut Y,
) {
    let job = work.job;
    let (first, rows) = (rows.start, rows.len());
    let begun = |row: usize, read: usize| Begun {
        index: first + row,
        x: x.wrapping_add(row * job.x.stride),
        channels: job.channels,
        read,
    };
    let lead = if work.leads { LEAD } else { 1 };
    // The first `read` rows have been read. The one to write and, if rows lead, the one after it are
    // kept apart: in an array they would be memory, and waited for.
    let (mut this, mut next) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    let mut read = 0;
    for i in 0..rows {
        // SAFETY: the caller vouches for the rows; row `i` has been read when it is written.
        unsafe {
            while read < (i + lead).min(rows) {
                let row = MaybeUninit::new(F::row(prepared, s, F::begin(s), begun(read, 0)));
                *(if read == i { &mut this } else { &mut next }) = row;
                read += 1;
            }
            let results =
                Results { row: this.assume_init(), factor: factor::<S, Y>(s, job, first + i) };
            let beside = can_lead::<S, F, A>() && work.leads && read < rows;
            let mut along = Along {
                reading: F::begin(s),
                x: if beside { begun(read, 0).x } else { ptr::null() },
                read: 0,
            };
            let (x, y) = (begun(i, 0).x, y.add(i * job.y.stride));
            write_row::<S, F, A, X, Y>(s, &results, work, &mut along, x, y);
            this = next;
            if beside {
                let begun = begun(read, along.read);
                next = MaybeUninit::new(F::row(prepared, s, along.reading, begun));
                read += 1;
            }
        }
    }
}

/// A row that is read while another one is written.
struct Along<G, X> {
    reading: G,
    /// Null if there is none.
    x: *const X,
    /// Channels that have been read.
    read: usize,
}

/// What makes the results of a row.
struct Results<S: Simd, R> {
    row: R,
    /// What they are multiplied with before they are stored, if they are quantised.
    factor: S::F,
}

/// What the results of row `index` of `job` are multiplied with before they are stored, if they are
/// quantised.
///
/// # Safety
/// `job` must keep [`Job`]'s promises.
#[inline(always)]
unsafe fn factor<S: Simd, Y: Output>(s: S, job: &Job, index: usize) -> S::F {
    let scale = match job.stored {
        Stored::Quantized(_, KnownScale::All(scale)) if Y::QUANTIZED => scale,
        // SAFETY: there is one for each row.
        Stored::Quantized(_, KnownScale::PerRow(scales)) if Y::QUANTIZED => unsafe {
            scales.add(index).read()
        },
        _ => 1.0,
    };
    s.splat(1.0 / scale)
}

/// What is fetched while something else is in work.
#[derive(Clone, Copy)]
struct Ahead {
    /// Elements from what is read to what is fetched.
    elements: usize,
    /// Whether it is fetched into the first level of the caches, not only into the second.
    first_level: bool,
}

impl Ahead {
    /// How far ahead of itself what reads straight on fetches, in bytes.
    const STRAIGHT: usize = 32 << 10;
    /// The same of what reads a row twice before the next one, if that is more than a row.
    const ROWS: usize = 16 << 10;
    /// Bytes of such a row from which on the first level has enough to do with it and the weight.
    const LONG: usize = 4096;

    fn of<X>(job: &Job, reads: bool, leads: bool) -> Self {
        let bytes = job.channels * size_of::<X>();
        let rows = |ahead: usize| (ahead / bytes).max(1) * job.x.stride;
        if !reads {
            Self { elements: Self::STRAIGHT / size_of::<X>(), first_level: false }
        } else if leads {
            Self { elements: rows(Self::STRAIGHT), first_level: false }
        } else if bytes < Self::LONG {
            Self { elements: job.x.stride, first_level: true }
        } else {
            Self { elements: rows(Self::ROWS), first_level: false }
        }
    }

    /// Fetches for as many elements as are written at once, of what is read from `x` on.
    #[inline(always)]
    fn fetch<S: Simd, X>(self, s: S, x: *const X) {
        let fetched = x.wrapping_add(self.elements).cast::<u8>();
        for line in 0..(UNROLL * S::LANES * size_of::<X>()).div_ceil(LINE) {
            s.prefetch(fetched.wrapping_add(line * LINE), self.first_level);
        }
    }
}

/// Function, affine and store over a row at `x` and `y`, while the one in `along` is read.
///
/// # Safety
/// They must be places of one row of the job, and `along.x`, if it is not null, of another.
#[inline(always)]
unsafe fn write_row<S: Simd, F: Function, A: Affine, X: Storage, Y: Output>(
    s: S,
    results: &Results<S, F::Row<S>>,
    work: &Work<A>,
    along: &mut Along<F::Reading<S>, X>,
    x: *const X,
    y: *mut Y,
) {
    let (job, n) = (work.job, work.job.channels);
    let can_lead = can_lead::<S, F, A>();
    if job.stream {
        // A row may begin in the middle of a cache line, whose stores cannot be streamed. They
        // hold up the streamed ones behind them until the line has come from memory, so it is
        // asked for a row ahead. If it begins with a line, it is the page that counts.
        s.prefetch_write(y.wrapping_add(job.y.stride).cast());
    }
    let block = UNROLL * S::LANES;
    // Blocks of what is read are as many of what is written.
    let group = if can_lead { F::Reading::<S>::block::<X>() } else { block };
    let mut i = 0;
    // Streamed stores need aligned addresses: go there in parts of vectors first.
    let mut stop = if job.stream { (y.align_offset(LINE)).min(n) } else { 0 };
    'parts: loop {
        while i < stop {
            let part = First((stop - i).min(S::LANES));
            // SAFETY: `i + part.0 <= stop <= n`.
            unsafe { write_part(s, results, work.affine, part, i, x, y) };
            i += part.0;
        }
        if stop == n {
            return;
        }
        while n - i >= group {
            let beside = can_lead && !along.x.is_null();
            if beside {
                // Before what is stored: addresses of one place in different pages are taken for
                // the same, and a load would wait for the store.
                // SAFETY: no more has been read than written, and so a block is left.
                unsafe { along.reading.add(s, along.x.add(along.read)) };
                along.read += group;
            }
            for _ in 0..group / block {
                if job.fetch {
                    let reads = if beside { along.x } else { x };
                    work.ahead.fetch(s, reads.wrapping_add(i));
                }
                // SAFETY: `i + block <= n`; `y + i` is aligned if streamed, since blocks are
                // multiples of a cache line.
                if !unsafe { write_whole_block(s, results, work.affine, job.stream, i, x, y) } {
                    stop = i + block;
                    if along.read > stop {
                        // The rest is read after the row.
                        along.x = ptr::null();
                    }
                    continue 'parts;
                }
                i += block;
            }
        }
        while n - i >= block {
            // SAFETY: as above.
            if !unsafe { write_whole_block(s, results, work.affine, job.stream, i, x, y) } {
                stop = i + block;
                continue 'parts;
            }
            i += block;
        }
        stop = n;
    }
}

/// Function, affine and store over part of a vector from channel `i` on.
///
/// # Safety
/// As [`write_row`], for these channels.
#[inline(always)]
unsafe fn write_part<S: Simd, X: Storage, Y: Output>(
    s: S,
    results: &Results<S, impl Pointwise<S>>,
    affine: impl Affine,
    part: First,
    i: usize,
    x: *const X,
    y: *mut Y,
) {
    // SAFETY: the caller vouches for these channels of `x`, `y` and the operands.
    unsafe {
        let v = results.row.apply::<1, Y>(s, part.load::<S, X, 1>(s, x.add(i)));
        let mut v = affine.apply(s, part, i, v);
        if Y::QUANTIZED {
            v = [s.mul(v[0], results.factor)];
        }
        part.store(s, y.add(i), v, false);
    }
}

/// Function, affine and store over a block of vectors from channel `i` on. Returns `false`,
/// having written nothing, where that is better done a vector at a time.
///
/// # Safety
/// As [`write_row`], for these channels; `y + i` must be 64-byte aligned if `stream`.
#[inline(always)]
unsafe fn write_whole_block<S: Simd, X: Storage, Y: Output, R: Pointwise<S>>(
    s: S,
    results: &Results<S, R>,
    affine: impl Affine,
    stream: bool,
    i: usize,
    x: *const X,
    y: *mut Y,
) -> bool {
    // SAFETY: the same contract.
    unsafe {
        const { assert!(!(Y::IS_BF16 && Y::QUANTIZED), "what is tried has no scale") };
        let (x, y) = (Whole.load::<S, X, UNROLL>(s, x.add(i)), y.add(i));
        if !Y::tries::<S>() {
            let mut v = affine.apply(s, Whole, i, results.row.apply::<UNROLL, Y>(s, x));
            if Y::QUANTIZED {
                for j in 0..UNROLL {
                    v[j] = s.mul(v[j], results.factor);
                }
            }
            Whole.store(s, y, v, stream);
            return true;
        }
        // A bias would hide the 0 by which the store finds an argument that is not ordinary.
        let ordinary = R::ORDINARY && !affine.has_bias();
        if ordinary {
            let v = affine.apply(s, Whole, i, results.row.apply_ordinary::<UNROLL, Y>(s, x));
            if try_store(s, y, v, stream, false) {
                return true;
            }
        }
        let v = affine.apply(s, Whole, i, results.row.apply::<UNROLL, Y>(s, x));
        try_store(s, y, v, stream, true)
    }
}

/// [`try_store_x4`](super::simd::element::Output::try_store_x4), past the caches or not.
///
/// # Safety
/// As that.
#[inline(always)]
unsafe fn try_store<S: Simd, Y: Output>(
    s: S,
    y: *mut Y,
    v: [S::F; 4],
    stream: bool,
    zeros: bool,
) -> bool {
    // SAFETY: the same contract.
    unsafe {
        if stream {
            Y::try_store_x4::<S, true>(s, y, v, zeros)
        } else {
            Y::try_store_x4::<S, false>(s, y, v, zeros)
        }
    }
}
