//! The sentence that every kernel is: load → (row statistic) → function → affine → store.

use super::cache::LINE;
use super::job::{Job, KnownScale, Operand, Stored};
use super::simd::{
    Kernel, Simd,
    element::{Output, Storage},
};
use crate::{ElementType, RowStatistics};
use core::marker::PhantomData;
use core::ptr;
use half::{bf16, f16};

/// A function over rows. One file each: `rms_norm`, `layer_norm`, `dyt`, `dyisru`, `derf`.
pub(crate) trait Function: Copy {
    /// Whether `row` reads the row.
    const READS_ROW: bool;
    /// What every row of a call shares: constants, spread over lanes.
    type Prepared<S: Simd>: Copy;
    /// What is applied to the elements of one row.
    type Row<S: Simd>: Pointwise<S>;

    /// Prepares the constants for rows of `channels` channels.
    fn prepare<S: Simd>(self, s: S, channels: usize) -> Self::Prepared<S>;

    /// Reads what the function needs to know of row `index`, at `x`.
    ///
    /// # Safety
    /// `x` must be valid for reads of `channels` elements.
    unsafe fn row<S: Simd, X: Storage>(
        prepared: Self::Prepared<S>,
        s: S,
        x: *const X,
        channels: usize,
        index: usize,
    ) -> Self::Row<S>;
}

/// A function that reads the row.
pub(crate) trait RowFunction: Function {
    /// What it finds.
    ///
    /// # Safety
    /// As [`Function::row`].
    unsafe fn statistics<S: Simd, X: Storage>(
        prepared: Self::Prepared<S>,
        s: S,
        x: *const X,
        channels: usize,
    ) -> RowStatistics;

    /// What is applied to the elements of a row of which this is known.
    fn known<S: Simd>(prepared: Self::Prepared<S>, s: S, statistics: RowStatistics)
    -> Self::Row<S>;
}

/// A function of each element by itself.
pub(crate) trait Pointwise<S: Simd>: Copy {
    /// The function of `U` vectors; of several at once, so that one's latency hides another's.
    /// The result goes to weight and bias and is then rounded to a `Y`, which may hide an error.
    fn apply<const U: usize, Y: Output>(&self, s: S, x: [S::F; U]) -> [S::F; U];

    /// Whether `apply_ordinary` is more than `apply`.
    const ORDINARY: bool = false;

    /// The same for ordinary arguments. For others it may give 0 or NaN instead, which
    /// [`try_store_x4`](super::simd::element::Output::try_store_x4) finds and leaves to `apply`.
    #[inline(always)]
    fn apply_ordinary<const U: usize, Y: Output>(&self, s: S, x: [S::F; U]) -> [S::F; U] {
        self.apply::<U, Y>(s, x)
    }
}

/// Vectors in flight in the write pass.
const UNROLL: usize = 4;
/// How far ahead of itself an element-wise function fetches its input, in bytes.
const PREFETCH: usize = 32 << 10;
/// Bytes of a row from which on its successors are fetched into the second level of the caches: the
/// first has the row and the weight to keep.
const LONG: usize = 4096;
/// How far ahead of itself a row function fetches then, in bytes, if that is more than a row.
const PREFETCH_ROWS: usize = 16 << 10;

/// Lengths of rows, in bytes of input, of which each is read before the one before it is
/// written. What follows a sum (its horizontal end, a division, a root) then happens while that
/// one is written. The processor does so by itself if rows are shorter, and in longer ones it is
/// too little to notice.
const LEAD: core::ops::Range<usize> = 512..2048;

/// A job with its function and types, ready to be entered with an instruction set.
pub(crate) struct Run<'a, F, X, Y> {
    function: F,
    job: &'a Job<'a>,
    types: PhantomData<(X, Y)>,
}

impl<'a, F: Function, X, Y> Run<'a, F, X, Y> {
    /// # Safety
    /// `job` must keep [`Job`]'s promises, for elements of type `X` and `Y`.
    pub(crate) unsafe fn new(function: F, job: &'a Job<'a>) -> Self {
        Self { function, job, types: PhantomData }
    }
}

impl<F: Function, X: Storage, Y: Output> Kernel for Run<'_, F, X, Y> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let function = self.function;
        // A copy of its own: stores to the output might change the caller's, for all that the
        // compiler knows, and it would read every field again after each.
        let job = &{ *self.job };
        let prepared = function.prepare(s, job.channels);
        let (x, y) = (job.x.data.as_ptr().cast::<X>(), job.y.data.as_ptr().cast::<Y>());
        let bytes = job.channels * size_of::<X>();
        // A row function reads its next row next; the others read straight on.
        let first_level = F::READS_ROW && bytes < LONG;
        let elements = if !F::READS_ROW {
            PREFETCH / size_of::<X>()
        } else if first_level {
            job.x.stride
        } else {
            (PREFETCH_ROWS / bytes).max(1) * job.x.stride
        };
        let ahead = Ahead { elements, first_level };
        let mut row = 0;
        while row < job.rows {
            // As many as are a stride apart in both.
            let (x_offset, x_left) = job.x.offset(row);
            let (y_offset, y_left) = job.y.offset(row);
            let rows = row..row + (job.rows - row).min(x_left).min(y_left);
            let (x, y) = (x.wrapping_add(x_offset), y.wrapping_add(y_offset));
            row = rows.end;
            // SAFETY: `new`'s caller vouches for the rows.
            unsafe { run_rows::<S, F, X, Y>(s, prepared, job, ahead, rows, x, y) };
        }
        if job.stream {
            s.fence_streams();
        }
    }
}

/// Does the rows `rows` of `job`, which begin at `x` and `y` and are a stride apart.
///
/// # Safety
/// `job` must keep [`Job`]'s promises, for elements of type `X` and `Y`.
#[inline(always)]
unsafe fn run_rows<S: Simd, F: Function, X: Storage, Y: Output>(
    s: S,
    prepared: F::Prepared<S>,
    job: &Job,
    ahead: Ahead,
    rows: core::ops::Range<usize>,
    x: *const X,
    y: *mut Y,
) {
    let (first, rows) = (rows.start, rows.len());
    let (x_stride, y_stride) = (job.x.stride, job.y.stride);
    if F::READS_ROW && LEAD.contains(&(job.channels * size_of::<X>())) {
        let ahead = Ahead { elements: ahead.elements + x_stride, ..ahead };
        // SAFETY: the caller vouches for the rows.
        unsafe {
            let mut known = F::row(prepared, s, x, job.channels, first);
            for i in 0..rows {
                // The last row has none after it, and is read once more instead.
                let next = (i + 1).min(rows - 1);
                let after = F::row(prepared, s, x.add(next * x_stride), job.channels, first + next);
                let (x, y) = (x.add(i * x_stride), y.add(i * y_stride));
                let results = Results { row: known, factor: factor::<S, Y>(s, job, first + i) };
                write_row(s, &results, job, ahead, x, y);
                known = after;
            }
        }
    } else {
        for i in 0..rows {
            // SAFETY: as above.
            unsafe {
                let x = x.add(i * x_stride);
                let row = F::row(prepared, s, x, job.channels, first + i);
                let results = Results { row, factor: factor::<S, Y>(s, job, first + i) };
                write_row(s, &results, job, ahead, x, y.add(i * y_stride));
            }
        }
    }
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
    /// Elements from the input in work to the one that is fetched.
    elements: usize,
    /// Whether it is fetched into the first level of the caches, not only into the second.
    first_level: bool,
}

/// Function, affine and store over a row of `job` at `x` and `y`.
///
/// # Safety
/// They must be places of one of its rows.
#[inline(always)]
unsafe fn write_row<S: Simd, X: Storage, Y: Output>(
    s: S,
    results: &Results<S, impl Pointwise<S>>,
    job: &Job,
    ahead: Ahead,
    x: *const X,
    y: *mut Y,
) {
    let n = job.channels;
    if job.stream {
        // A row may begin in the middle of a cache line, whose stores cannot be streamed. They
        // hold up the streamed ones behind them until the line has come from memory, so it is
        // asked for a row ahead. If it begins with a line, it is the page that counts.
        s.prefetch_write(y.wrapping_add(job.y.stride).cast());
    }
    let block = UNROLL * S::LANES;
    let mut i = 0;
    // Streamed stores need aligned addresses: go there in parts of vectors first.
    let mut stop = if job.stream { (y.align_offset(LINE)).min(n) } else { 0 };
    'parts: loop {
        while i < stop {
            let access = First((stop - i).min(S::LANES));
            // SAFETY: `i + access.0 <= stop <= n`.
            unsafe { write_block::<S, X, Y, _, 1>(s, results, job, access, i, x, y) };
            i += access.0;
        }
        if stop == n {
            return;
        }
        while n - i >= block {
            if job.fetch {
                let fetched = x.wrapping_add(i + ahead.elements).cast::<u8>();
                for line in 0..(block * size_of::<X>()).div_ceil(LINE) {
                    s.prefetch(fetched.wrapping_add(line * LINE), ahead.first_level);
                }
            }
            // SAFETY: `i + block <= n`; `y + i` is aligned if streamed, since blocks are
            // multiples of a cache line.
            let written = unsafe { write_whole_block::<S, X, Y, _>(s, results, job, i, x, y) };
            if !written {
                stop = i + block;
                continue 'parts;
            }
            i += block;
        }
        stop = n;
    }
}

/// Function, affine and store over `U` vectors from channel `i` on.
///
/// # Safety
/// As [`write_row`], for the channels that `access` reaches; `y + i` must be 64-byte aligned if
/// the job is streamed and `access` is [`Whole`].
#[inline(always)]
unsafe fn write_block<S: Simd, X: Storage, Y: Output, A: Access, const U: usize>(
    s: S,
    results: &Results<S, impl Pointwise<S>>,
    job: &Job,
    access: A,
    i: usize,
    x: *const X,
    y: *mut Y,
) {
    // SAFETY: the caller vouches for these channels of `x`, `y` and the operands.
    unsafe {
        let x = access.load::<S, X, U>(s, x.add(i));
        let mut v = affine(s, job, access, i, results.row.apply::<U, Y>(s, x));
        if Y::QUANTIZED {
            for j in 0..U {
                v[j] = s.mul(v[j], results.factor);
            }
        }
        access.store(s, y.add(i), v, job.stream);
    }
}

/// Function, affine and store over a block of vectors from channel `i` on. Returns `false`,
/// having written nothing, where that is better done a vector at a time.
///
/// # Safety
/// As [`write_block`] for [`Whole`].
#[inline(always)]
unsafe fn write_whole_block<S: Simd, X: Storage, Y: Output, R: Pointwise<S>>(
    s: S,
    results: &Results<S, R>,
    job: &Job,
    i: usize,
    x: *const X,
    y: *mut Y,
) -> bool {
    // SAFETY: the same contract.
    unsafe {
        const { assert!(!(Y::IS_BF16 && Y::QUANTIZED), "what is tried has no scale") };
        if !Y::tries::<S>() {
            write_block::<S, X, Y, _, UNROLL>(s, results, job, Whole, i, x, y);
            return true;
        }
        let (x, y) = (Whole.load::<S, X, UNROLL>(s, x.add(i)), y.add(i));
        // A bias would hide the 0 by which the store finds an argument that is not ordinary.
        let ordinary = R::ORDINARY && job.bias.is_none();
        if ordinary {
            let v = affine(s, job, Whole, i, results.row.apply_ordinary::<UNROLL, Y>(s, x));
            if try_store(s, y, v, job.stream, false) {
                return true;
            }
        }
        let v = affine(s, job, Whole, i, results.row.apply::<UNROLL, Y>(s, x));
        try_store(s, y, v, job.stream, true)
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

/// `(weight + weight_offset) * scale * f + bias`. Which of them are there, and of which type, is the
/// same for every block of a call: the branches are predicted and cost less than the copies of
/// all kernels that it would take to have none.
///
/// # Safety
/// The operands of `job` must be valid for the channels that `access` reaches from `i` on.
#[inline(always)]
unsafe fn affine<S: Simd, A: Access, const U: usize>(
    s: S,
    job: &Job,
    access: A,
    i: usize,
    f: [S::F; U],
) -> [S::F; U] {
    let mut v = f;
    if let Some(weight) = job.plain_weight() {
        // SAFETY: the caller vouches for the operands.
        let w: [S::F; U] = unsafe { access.load(s, weight.add(i)) };
        for j in 0..U {
            v[j] = s.mul(f[j], w[j]);
        }
        return v;
    }
    // SAFETY: the caller vouches for the operands.
    let (weight, bias) = unsafe {
        (
            job.weight.map(|w| load_operand::<S, A, U>(s, w, access, i)),
            job.bias.map(|b| load_operand::<S, A, U>(s, b, access, i)),
        )
    };
    let weight = weight.map(|mut w| {
        if job.weight_offset != 0.0 {
            let offset = s.splat(seldom(&job.weight_offset));
            for j in 0..U {
                w[j] = s.add(w[j], offset);
            }
        }
        if job.scale != 1.0 {
            let scale = s.splat(seldom(&job.scale));
            for j in 0..U {
                w[j] = s.mul(w[j], scale);
            }
        }
        w
    });
    if weight.is_none() && job.scale != 1.0 {
        let scale = s.splat(seldom(&job.scale));
        for j in 0..U {
            v[j] = s.mul(f[j], scale);
        }
    }
    match (weight, bias) {
        (None, None) => {}
        (Some(w), None) => {
            for j in 0..U {
                v[j] = s.mul(f[j], w[j]);
            }
        }
        (None, Some(b)) => {
            for j in 0..U {
                v[j] = s.add(v[j], b[j]);
            }
        }
        (Some(w), Some(b)) => {
            for j in 0..U {
                v[j] = s.mul_add(f[j], w[j], b[j]);
            }
        }
    }
    v
}

/// What is used seldom, read where it is used: left to itself, the compiler spreads it over a vector
/// ahead of all rows, and has one less for what every block needs.
#[inline(always)]
fn seldom(value: &f32) -> f32 {
    // SAFETY: a reference can be read.
    unsafe { ptr::from_ref(value).read_volatile() }
}

/// # Safety
/// `operand` must be valid for the channels that `access` reaches from `i` on.
#[inline(always)]
unsafe fn load_operand<S: Simd, A: Access, const U: usize>(
    s: S,
    operand: Operand,
    access: A,
    i: usize,
) -> [S::F; U] {
    let p = operand.data.as_ptr();
    // SAFETY: the caller vouches for the operand.
    unsafe {
        match operand.element {
            ElementType::F32 => access.load(s, p.cast::<f32>().add(i)),
            ElementType::F16 => access.load(s, p.cast::<f16>().add(i)),
            ElementType::Bf16 => access.load(s, p.cast::<bf16>().add(i)),
        }
    }
}

/// How much of the vectors is in memory.
pub(crate) trait Access: Copy {
    /// # Safety
    /// `p` must be valid for reads of the elements that are in memory.
    unsafe fn load<S: Simd, E: Storage, const U: usize>(self, s: S, p: *const E) -> [S::F; U];
    /// # Safety
    /// `p` must be valid for writes of the elements that are in memory, and 64-byte aligned if
    /// `stream` and all are.
    unsafe fn store<S: Simd, E: Output, const U: usize>(
        self,
        s: S,
        p: *mut E,
        v: [S::F; U],
        stream: bool,
    );
}

/// All lanes of a multiple of four vectors.
#[derive(Clone, Copy)]
pub(crate) struct Whole;

impl Access for Whole {
    #[inline(always)]
    unsafe fn load<S: Simd, E: Storage, const U: usize>(self, s: S, p: *const E) -> [S::F; U] {
        let mut v = [s.splat(0.0); U];
        const { assert!(U.is_multiple_of(2)) };
        for j in 0..U / 2 {
            // SAFETY: the caller vouches for `U * LANES` elements.
            [v[2 * j], v[2 * j + 1]] = unsafe { E::load_x2(s, p.add(2 * j * S::LANES)) };
        }
        v
    }

    #[inline(always)]
    unsafe fn store<S: Simd, E: Output, const U: usize>(
        self,
        s: S,
        p: *mut E,
        v: [S::F; U],
        stream: bool,
    ) {
        const { assert!(U.is_multiple_of(4)) };
        for j in (0..U).step_by(4) {
            let four = [v[j], v[j + 1], v[j + 2], v[j + 3]];
            // SAFETY: the caller vouches for `U * LANES` elements.
            unsafe {
                let p = p.add(j * S::LANES);
                if stream {
                    E::store_x4::<S, true>(s, p, four);
                } else {
                    E::store_x4::<S, false>(s, p, four);
                }
            }
        }
    }
}

/// The first lanes of one vector: at least one, at most all.
#[derive(Clone, Copy)]
pub(crate) struct First(pub(crate) usize);

impl Access for First {
    #[inline(always)]
    unsafe fn load<S: Simd, E: Storage, const U: usize>(self, s: S, p: *const E) -> [S::F; U] {
        const { assert!(U == 1) };
        // SAFETY: the caller vouches for as many elements.
        [unsafe { E::load_part(s, p, self.0) }; U]
    }

    #[inline(always)]
    unsafe fn store<S: Simd, E: Output, const U: usize>(
        self,
        s: S,
        p: *mut E,
        v: [S::F; U],
        _: bool,
    ) {
        // SAFETY: the caller vouches for as many elements.
        unsafe { E::store_part(s, p, v[0], self.0) }
    }
}
