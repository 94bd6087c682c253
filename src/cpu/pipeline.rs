//! The sentence that every kernel is: load → (row statistic) → function → affine → store.

use super::access::{Access, First, Whole};
use super::affine::Affine;
use super::ahead::{Ahead, Order, look_up, of_four_bytes, page};
use super::function::{Begun, Function, Pointwise};
use super::job::Job;
use super::lead::{LEAD, begins_next, can_lead, lead_pays, read_first, run_leading};
use super::residual::Sums;
use super::results::{Products, Results};
use super::seam::{Around, Before, begin_row, has_seams, shares_blocks};
use super::simd::{
    Doubt, Kernel, Simd,
    element::{Output, Storage},
};
use core::marker::PhantomData;
use core::ops::Range;

/// Vectors in flight where results are written.
pub(super) const UNROLL: usize = 4;

/// Whether this is what most calls come down to. It is compiled without `MEMORY`, too, since short rows in
/// the caches notice what memory needs.
pub(crate) const fn is_usual<A: Affine, X: Output, Y: Output>() -> bool {
    A::PLAIN && X::DIGITS == Y::DIGITS && !Y::QUANTIZED
}

/// Whether rows can share blocks. What is [rough](super::simd::element::Rough) is on its way elsewhere, and never streamed.
const fn may_share<A: Affine, X: Output, Y: Output>() -> bool {
    is_usual::<A, X, Y>() && size_of::<X>() == size_of::<Y>()
}

/// Whether f32 is stored, rough or not: nothing else is compiled for [lean](Simd::LEAN) instruction sets.
const fn stores_f32<Y: Output>() -> bool {
    size_of::<Y>() == size_of::<f32>()
}

/// Whether sums with a residual can be made while rows are written.
const fn may_make_sums<A: Affine, X: Output, Y: Output>() -> bool {
    may_share::<A, X, Y>() || (A::PLAIN && Y::QUANTIZED)
}

/// A job with its function and types, ready to be entered with an instruction set. `MEMORY`: the input
/// may be fetched ahead, or the output written past the caches.
pub(crate) struct Run<'a, F, A, X, Y, const MEMORY: bool> {
    function: F,
    affine: A,
    job: &'a Job<'a>,
    types: PhantomData<(X, Y)>,
}

impl<'a, F: Function, A: Affine, X: Output, Y: Output, const MEMORY: bool>
    Run<'a, F, A, X, Y, MEMORY>
{
    /// # Safety
    /// `job` must keep [`Job`]'s promises, for elements of type `X` and `Y`, and `affine` be its. `MEMORY`
    /// must be whether the instruction set is for memory, unless it [`is_usual`]; a lean one must be to store f32.
    pub(crate) unsafe fn new(function: F, affine: A, job: &'a Job<'a>) -> Self {
        Self { function, affine, job, types: PhantomData }
    }
}

impl<F: Function, A: Affine, X: Storage, Y: Output, const MEMORY: bool> Kernel
    for Run<'_, F, A, X, Y, MEMORY>
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let compiled = const {
            let memory = MEMORY == S::FOR_MEMORY || (S::FOR_MEMORY && is_usual::<A, X, Y>());
            memory && (!S::LEAN || stores_f32::<Y>())
        };
        if !compiled {
            unreachable!("`run_affine` and `stores_at_once` choose what is compiled");
        }
        let function = self.function;
        // A copy of its own: stores to the output might change the caller's, for all that the
        // compiler knows, and it would read every field again after each.
        let job = &{ *self.job };
        let prepared = function.prepare(s, job.channels);
        let (x, y) = (job.x.data.as_ptr().cast::<X>(), job.y.data.as_ptr().cast::<Y>());
        let leads = !job.makes_sums && can_lead::<S, F, A>() && lead_pays::<S, F, A, X, Y>(job);
        let order = match F::READS_ROW {
            false => Order::Straight,
            true if leads => Order::Leading,
            true => Order::InTurns,
        };
        let ahead = if const { MEMORY } { Ahead::of::<X, Y>(job, order) } else { Ahead::NONE };
        let mut arounds = [Around::new(), Around::new()];
        let around = if const { MEMORY && may_share::<A, X, Y>() }
            && job.stream
            && shares_blocks(job)
            && has_seams::<S, Y>(job)
        {
            // SAFETY: `new`'s caller vouches for the operands; rows that share blocks have channels enough.
            unsafe { self.affine.around::<S>(job.channels, &mut arounds) }
        } else {
            None
        };
        let work = Work::<A, MEMORY> { job, affine: self.affine, around, ahead };
        let mut sums =
            if const { MEMORY && may_make_sums::<A, X, Y>() } { Sums::<X>::of(job) } else { None };
        debug_assert!(sums.is_some() || !job.makes_sums);
        let mut row = 0;
        while row < job.rows {
            // As many as are a stride apart in both.
            let (x_offset, x_left) = job.x.offset(row);
            let (y_offset, y_left) = job.y.offset(row);
            let rows = row..row + (job.rows - row).min(x_left).min(y_left);
            let (x, y) = (x.wrapping_add(x_offset), y.wrapping_add(y_offset));
            row = rows.end;
            // SAFETY: `new`'s caller vouches for the rows.
            unsafe {
                let leads = leads && rows.len() > LEAD;
                // Constants, so that no more is compiled.
                if const { can_lead::<S, F, A>() && is_usual::<A, X, Y>() } {
                    if leads {
                        run_leading::<S, F, A, X, Y, MEMORY>(s, prepared, &work, rows, x, y);
                        continue;
                    }
                } else if const { can_lead::<S, F, A>() && !(MEMORY && is_usual::<A, X, Y>()) }
                    && leads
                {
                    let work = Work::<A, false> { job, affine: self.affine, around: None, ahead };
                    run_leading::<S, F, A, X, Y, false>(s, prepared, &work, rows, x, y);
                    continue;
                }
                // One copy for calls with and without sums, since fewer ask for these than for the usual ones.
                if const { MEMORY && Y::QUANTIZED && may_make_sums::<A, X, Y>() } {
                    run_rows::<S, F, A, X, Y, MEMORY>(s, prepared, &work, &mut sums, rows, x, y);
                    continue;
                }
                match &mut sums {
                    Some(sums) if const { MEMORY && may_make_sums::<A, X, Y>() } => {
                        run_rows::<S, F, A, X, Y, MEMORY>(s, prepared, &work, sums, rows, x, y);
                    }
                    _ => run_rows::<S, F, A, X, Y, MEMORY>(s, prepared, &work, &mut (), rows, x, y),
                }
            }
        }
    }
}

/// What the rows of a job share.
pub(super) struct Work<'a, A, const MEMORY: bool> {
    pub(super) job: &'a Job<'a>,
    pub(super) affine: A,
    /// The same around the ends of rows, if rows share blocks.
    pub(super) around: Option<A>,
    pub(super) ahead: Ahead,
}

impl<A, const MEMORY: bool> Work<'_, A, MEMORY> {
    /// Whether the output is written past the caches.
    #[inline(always)]
    pub(super) fn streams(&self) -> bool {
        MEMORY && self.job.stream
    }

    /// Whether the input is fetched ahead.
    #[inline(always)]
    pub(super) fn fetches(&self) -> bool {
        MEMORY && self.job.fetch
    }

    /// Whether rows share blocks.
    #[inline(always)]
    pub(super) fn shares<X: Output, Y: Output>(&self) -> bool
    where
        A: Affine,
    {
        self.around.is_some() && const { MEMORY && may_share::<A, X, Y>() }
    }

    /// [Looks up](look_up) pages ahead of `x` and `y`, if they come from memory or go there.
    #[inline(always)]
    pub(super) fn look_up<S: Simd, X, Y>(&self, s: S, x: *const X, y: *mut Y) {
        if self.ahead.looks_up {
            look_up(s, self.fetches().then_some(x), self.streams().then_some(y));
        }
    }
}

/// Does the rows `rows` of a job, which begin at `x` and `y` and are a stride apart, one after the
/// other.
///
/// # Safety
/// The job must keep [`Job`]'s promises, for elements of type `X` and `Y`.
#[inline(always)]
unsafe fn run_rows<S, F, A, X, Y, const MEMORY: bool>(
    s: S,
    prepared: F::Prepared<S>,
    work: &Work<A, MEMORY>,
    meanwhile: &mut impl Meanwhile,
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
    let shared = work.shares::<X, Y>();
    let mut before = None;
    let (mut reading, mut read) = (F::begin(s), 0);
    for i in 0..rows.len() {
        let (x, index) = (x.wrapping_add(i * job.x.stride), rows.start + i);
        let begun = Begun { read, ..Begun::new(index, x, job.channels) };
        // SAFETY: the caller vouches for the rows.
        unsafe {
            meanwhile.before(s, (index + 1) * job.channels);
            let (found, product) = match Products::of(s, work) {
                Some(mut products) if const { Y::QUANTIZED && A::PLAIN && F::Row::<S>::IS_FACTOR } =>
                {
                    debug_assert_eq!(read, 0, "they would not be among the products");
                    let found = F::find(prepared, s, reading, begun, &mut products);
                    (found, Some(products.largest(s)))
                }
                _ => (F::find(prepared, s, reading, begun, &mut ()), None),
            };
            let row = F::row(prepared, s, found);
            (reading, read) = (F::begin(s), 0);
            if const { begins_next::<S, F, A, X, Y, MEMORY>() } && i + 1 < rows.len() {
                read = read_first(s, x.wrapping_add(job.x.stride), job.channels, &mut reading);
            }
            let results = Results::of::<X, Y, MEMORY>(s, work, meanwhile, row, product, index, x);
            let y = y.add(i * job.y.stride);
            let from =
                begin_row::<S, F, A, X, Y, MEMORY>(s, work, before.take(), &results, x, (x, y));
            let leave = shared && i + 1 < rows.len();
            let left = write_row(s, &results, work, meanwhile, from, leave, x, y);
            if leave {
                before = Some(Before { results, left });
            }
        }
    }
}

/// What else is done while rows are written.
pub(super) trait Meanwhile {
    /// Does what has to be done before element `end` of all rows is reached.
    ///
    /// # Safety
    /// What it works on must be valid for as many elements.
    unsafe fn before<S: Simd>(&mut self, s: S, end: usize);
    /// Does what belongs to a block.
    ///
    /// # Safety
    /// What it works on must be valid.
    unsafe fn with_block<S: Simd>(&mut self, s: S);
}

/// Nothing.
impl Meanwhile for () {
    #[inline(always)]
    unsafe fn before<S: Simd>(&mut self, _: S, _: usize) {}
    #[inline(always)]
    unsafe fn with_block<S: Simd>(&mut self, _: S) {}
}

impl<M: Meanwhile> Meanwhile for Option<M> {
    #[inline(always)]
    unsafe fn before<S: Simd>(&mut self, s: S, end: usize) {
        if let Some(some) = self {
            // SAFETY: the same contract.
            unsafe { some.before(s, end) };
        }
    }
    #[inline(always)]
    unsafe fn with_block<S: Simd>(&mut self, s: S) {
        if let Some(some) = self {
            // SAFETY: the same contract.
            unsafe { some.with_block(s) };
        }
    }
}

/// Function, affine and store over a row at `x` and `y` from channel `i` on, up to `stop` in parts of
/// vectors. Returns how many channels are left: if `leave`, the last ones, that are less than a block.
///
/// # Safety
/// They must be places of one row of the job, and `y + stop` be aligned if it is streamed.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "they are what the loop is made of")]
pub(super) unsafe fn write_row<S, X, Y, R, const MEMORY: bool>(
    s: S,
    results: &Results<S, R>,
    work: &Work<impl Affine, MEMORY>,
    meanwhile: &mut impl Meanwhile,
    (mut i, mut stop): (usize, usize),
    leave: bool,
    x: *const X,
    y: *mut Y,
) -> usize
where
    S: Simd,
    X: Storage,
    Y: Output,
    R: Pointwise<S>,
{
    let n = work.job.channels;
    let block = UNROLL * S::LANES;
    let mut ordinary = results.row.begins_ordinary();
    'parts: loop {
        while i < stop {
            let part = First((stop - i).min(S::LANES));
            // SAFETY: `i + part.0 <= stop <= n`.
            unsafe { write_part(s, results, work.affine, part, i, x, y) };
            i += part.0;
        }
        if stop == n {
            return 0;
        }
        while n - i >= block {
            let mut until = n;
            if work.streams() || work.fetches() {
                work.look_up(s, x.wrapping_add(i), y.wrapping_add(i));
                until = n.min(i + page::<X>().min(page::<Y>()));
            }
            let until = until - (until - i) % block;
            while i < until {
                if work.fetches() {
                    work.ahead.fetch(s, x.wrapping_add(i));
                    if const { R::OF_ROW && of_four_bytes::<X, Y>() } {
                        work.ahead.pace();
                    }
                }
                // SAFETY: the same contract.
                unsafe { meanwhile.with_block(s) };
                // SAFETY: `i + block <= n`; `y + i` is aligned if streamed, since blocks are
                // multiples of a cache line.
                let whole = unsafe {
                    write_whole_block(
                        s,
                        results,
                        work.affine,
                        (work.streams(), &mut ordinary),
                        i,
                        x,
                        y,
                    )
                };
                if !whole {
                    stop = i + block;
                    continue 'parts;
                }
                i += block;
            }
        }
        if leave {
            return n - i;
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

/// Function, affine and store over a block of vectors from channel `i` on, past the caches if `stream`.
/// Returns `false`, having written nothing, where that is better done a vector at a time.
///
/// `ordinary` says whether to expect ordinary arguments, and becomes `false` once they were not: where there
/// is one other there are more, and to find that anew in each block takes as long as the block itself.
///
/// # Safety
/// As [`write_row`], for these channels; `y + i` must be 64-byte aligned if `stream`.
#[inline(always)]
pub(super) unsafe fn write_whole_block<S: Simd, X: Storage, Y: Output, R: Pointwise<S>>(
    s: S,
    results: &Results<S, R>,
    affine: impl Affine,
    (stream, ordinary): (bool, &mut bool),
    i: usize,
    x: *const X,
    y: *mut Y,
) -> bool {
    // SAFETY: the same contract.
    unsafe {
        const { assert!(!(Y::IS_BF16 && Y::QUANTIZED), "what is tried has no scale") };
        let (from, y) = (x.add(i), y.add(i));
        let x = Whole.load::<S, X, UNROLL>(s, from);
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
        if R::ORDINARY && *ordinary && !affine.has_bias() {
            let v = affine.apply(s, Whole, i, results.row.apply_ordinary::<UNROLL, Y>(s, x));
            if Whole.try_store(s, y, v, stream, Doubt::ZeroOrNotFinite) {
                return true;
            }
            *ordinary = false;
        }
        let v = affine.apply(s, Whole, i, results.row.apply::<UNROLL, Y>(s, x));
        let doubt = if const { R::KEEPS_ZERO && X::IS_BF16 } && !affine.has_bias() {
            Doubt::SubnormalOfOther(from.cast())
        } else {
            Doubt::Subnormal
        };
        Whole.try_store(s, y, v, stream, doubt)
    }
}
