//! The sentence that the kernels of gradients are: load x and dy → (read the row) → derivatives → store dx, and add
//! what belongs to weight, bias and parameters to the sums of the group of rows.

use super::function::{Differentiable, Gradient, Row};
use super::job::{BackwardJob, MOST_AT_ONCE, Sums, TILE};
use crate::cpu::access::{Access, First, Whole};
use crate::cpu::cache::LINE;
use crate::cpu::math::{MOST_PARAMETERS, Slopes};
use crate::cpu::pipeline::UNROLL;
use crate::cpu::simd::{Doubt, Kernel, Simd, element::Storage};
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ops::Range;

/// The gradients of one group of rows, of elements of type `E`.
pub(super) struct Group<'a, F, E> {
    function: F,
    job: &'a BackwardJob,
    group: usize,
    element: PhantomData<E>,
}

impl<'a, F, E> Group<'a, F, E> {
    /// # Safety
    /// `job` must keep [`BackwardJob`]'s promises, for elements of type `E`, and have such a group, which no
    /// other thread works on.
    pub(super) unsafe fn new(function: F, job: &'a BackwardJob, group: usize) -> Self {
        Self { function, job, group, element: PhantomData }
    }
}

impl<F: Differentiable, E: Storage> Kernel for Group<'_, F, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // A copy of its own, which no store can change.
        let job = &{ *self.job };
        let (rows, sums) = (job.rows_of(self.group), job.sums(self.group));
        let prepared = self.function.prepare(s, job.channels);
        for column in [sums.weight, sums.bias].into_iter().flatten() {
            // SAFETY: the job's maker vouches for the room.
            unsafe { column.write_bytes(0, job.channels) };
        }
        let mut parameters = [0.0; MOST_PARAMETERS];
        let at_once = job.at_once::<E>(F::READS_ROW);
        let ahead = job.ahead::<E>(at_once);
        for first in rows.clone().step_by(at_once) {
            let rows = first..rows.end.min(first + at_once);
            // SAFETY: they are rows of the group, and no more than are worked on at once.
            unsafe { run_rows::<S, F, E>(s, prepared, job, sums, rows, ahead, &mut parameters) };
        }
        if let Some(to) = sums.parameters {
            for (k, (sum, factor)) in parameters.into_iter().zip(F::factors(prepared)).enumerate() {
                let sum = sum * factor;
                let high = sum as f32;
                // Infinity less itself would be none.
                let low = if high.is_finite() { (sum - f64::from(high)) as f32 } else { 0.0 };
                // SAFETY: the job's maker vouches for the room.
                unsafe {
                    to.add(2 * k).write(high);
                    to.add(2 * k + 1).write(low);
                }
            }
        }
        if S::FOR_MEMORY && job.stream {
            s.fence_streams();
        }
    }
}

/// The rows `rows`, at most [`MOST_AT_ONCE`], tile of channels by tile.
///
/// # Safety
/// They must be rows of the group whose sums these are, of a job that keeps its promises.
#[inline(always)]
unsafe fn run_rows<S: Simd, F: Differentiable, E: Storage>(
    s: S,
    prepared: F::Prepared<S>,
    job: &BackwardJob,
    sums: Sums,
    rows: Range<usize>,
    ahead: (usize, usize),
    totals: &mut [f64; MOST_PARAMETERS],
) {
    let n = job.channels;
    let mut gradients = [MaybeUninit::<F::Row<S>>::uninit(); MOST_AT_ONCE];
    for (gradient, row) in gradients.iter_mut().zip(rows.clone()) {
        let row = Row::<E> { x: job.x.at(row, 0), dy: job.dy.at(row, 0), channels: n };
        // SAFETY: the job's maker vouches for its rows.
        gradient.write(unsafe { F::row(prepared, s, row, job.weight) });
    }
    for first in (0..n).step_by(TILE) {
        for (gradient, row) in gradients.iter().zip(rows.clone()) {
            let at = Addresses::<E> {
                x: job.x.at(row, 0),
                dy: job.dy.at(row, 0),
                dx: job.dx.at(row, 0),
                ahead,
            };
            let channels = first..n.min(first + TILE);
            // SAFETY: as above, and there is a gradient for each row.
            unsafe {
                let gradient = gradient.assume_init();
                let parameters = run_channels(s, job, sums, channels, at, gradient);
                for k in 0..F::Row::<S>::PARAMETERS {
                    totals[k] += f64::from(s.reduce_add(parameters[k]));
                }
            }
        }
    }
}

/// A row of input and gradients.
#[derive(Clone, Copy)]
struct Addresses<E> {
    x: *const E,
    dy: *const E,
    dx: *mut E,
    /// Elements from `x` and `dy` to what is fetched.
    ahead: (usize, usize),
}

/// The channels `channels` of a row. Returns the sums of the gradients by parameters, a lane each.
///
/// # Safety
/// They must be channels of the row, and `sums` those of its group.
#[inline(always)]
unsafe fn run_channels<S: Simd, G: Gradient<S>, E: Storage>(
    s: S,
    job: &BackwardJob,
    sums: Sums,
    channels: Range<usize>,
    at: Addresses<E>,
    gradient: G,
) -> [S::F; MOST_PARAMETERS] {
    let block = UNROLL * S::LANES;
    let mut parameters = [s.splat(0.0); MOST_PARAMETERS];
    let Range { start: mut i, end } = channels;
    while end - i >= block {
        if S::FOR_MEMORY && job.fetch {
            fetch(s, at.x.wrapping_add(at.ahead.0 + i));
            fetch(s, at.dy.wrapping_add(at.ahead.1 + i));
        }
        // SAFETY: a block follows `i`.
        let by = unsafe { run_block::<S, G, E, _, UNROLL>(s, Whole, job, sums, i, at, gradient) };
        for k in 0..G::PARAMETERS {
            for j in 0..UNROLL {
                parameters[k] = s.add(parameters[k], by[k][j]);
            }
        }
        i += block;
    }
    while i < end {
        let part = First((end - i).min(S::LANES));
        // SAFETY: so many follow.
        let by = unsafe { run_block::<S, G, E, _, 1>(s, part, job, sums, i, at, gradient) };
        for k in 0..G::PARAMETERS {
            parameters[k] = s.add(parameters[k], by[k][0]);
        }
        i += part.0;
    }
    parameters
}

/// Fetches a block of elements into the second level of the caches.
#[inline(always)]
fn fetch<S: Simd, E>(s: S, p: *const E) {
    for line in 0..UNROLL * S::LANES * size_of::<E>() / LINE {
        s.prefetch(p.cast::<u8>().wrapping_add(line * LINE), false);
    }
}

/// The channels of a row that `access` reaches from `i` on. Returns the gradients by parameters.
///
/// # Safety
/// They must be channels of the row, and `sums` those of its group.
#[inline(always)]
unsafe fn run_block<S, G, E, A, const U: usize>(
    s: S,
    access: A,
    job: &BackwardJob,
    sums: Sums,
    i: usize,
    at: Addresses<E>,
    gradient: G,
) -> [[S::F; U]; MOST_PARAMETERS]
where
    S: Simd,
    G: Gradient<S>,
    E: Storage,
    A: Access,
{
    let stream = S::FOR_MEMORY && job.stream;
    // SAFETY: the caller vouches for these channels.
    unsafe {
        let x = access.load::<S, E, U>(s, at.x.add(i));
        let dy = access.load::<S, E, U>(s, at.dy.add(i));
        let mut df = dy;
        if let Some(w) = job.weight.load::<S, A, U>(s, access, i) {
            for j in 0..U {
                df[j] = s.mul(dy[j], w[j]);
            }
        }
        let Slopes { value, by_x, parameters: by } = gradient.at(s, x, df);
        let dx = at.dx.add(i);
        if !access.try_store(s, dx, by_x, stream, Doubt::Subnormal) {
            access.store(s, dx, by_x, stream);
        }
        if let Some(p) = sums.weight {
            let mut sum = access.load::<S, f32, U>(s, p.add(i).cast_const());
            for j in 0..U {
                sum[j] = s.mul_add(dy[j], value[j], sum[j]);
            }
            access.store(s, p.add(i), sum, false);
        }
        if let Some(p) = sums.bias {
            let mut sum = access.load::<S, f32, U>(s, p.add(i).cast_const());
            for j in 0..U {
                sum[j] = s.add(sum[j], dy[j]);
            }
            access.store(s, p.add(i), sum, false);
        }
        by
    }
}
