//! `sum = x + residual`, in f32 and rounded once: a row by itself, or while the row before it is written.

use super::ahead::{Ahead, look_up, page};
use super::dispatch::enter;
use super::job::{Job, Places, Tensor};
use super::pipeline::{Meanwhile, UNROLL};
use super::simd::{Doubt, Kernel, Simd, element::Storage};
use crate::ElementType;
use core::ptr::NonNull;
use half::{bf16, f16};

/// `sum = x + residual`, of which the function is taken. `residual` and `sum` have one type, and may
/// be the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Residual {
    pub(crate) x: Tensor,
    pub(crate) residual: Places,
    pub(crate) sum: Tensor,
}

impl Residual {
    /// Whether the rows of all three, of `channels` channels, follow each other without gaps, and have one type.
    pub(crate) fn is_dense(&self, channels: usize) -> bool {
        let places = [self.x.places, self.residual, self.sum.places];
        self.x.element == self.sum.element && places.iter().all(|p| p.is_dense(channels))
    }

    /// Adds row `row` of `job`.
    ///
    /// # Safety
    /// `job` must keep [`Job`]'s promises.
    pub(crate) unsafe fn add(&self, job: &Job, row: usize) {
        use ElementType::{Bf16, F16, F32};
        // SAFETY: the same contract.
        unsafe {
            let run = match (self.x.element, self.sum.element) {
                (F32, F32) => add::<f32, f32>,
                (F32, F16) => add::<f32, f16>,
                (F32, Bf16) => add::<f32, bf16>,
                (F16, F32) => add::<f16, f32>,
                (F16, F16) => add::<f16, f16>,
                (F16, Bf16) => add::<f16, bf16>,
                (Bf16, F32) => add::<bf16, f32>,
                (Bf16, F16) => add::<bf16, f16>,
                (Bf16, Bf16) => add::<bf16, bf16>,
            };
            run(self, job, row);
        }
    }
}

/// # Safety
/// As [`Residual::add`]; `X` and `R` must be the types of `x` and `sum`.
unsafe fn add<X: Storage, R: Storage>(tensors: &Residual, job: &Job, row: usize) {
    let (row, channel) = (job.first.0 + row, job.first.1);
    // SAFETY: the caller vouches for the row and `isa`.
    unsafe {
        let x = tensors.x.places.at::<X>(row, channel);
        let residual = tensors.residual.at::<R>(row, channel);
        let sum = tensors.sum.places.at::<R>(row, channel);
        let channels = job.channels;
        // The function asks for the sums that come next, which may be the residual.
        let fetch_residual = job.fetch && !core::ptr::eq(residual, sum);
        let ahead = (
            job.fetch.then(|| Ahead::straight::<X>(&tensors.x.places, channels)),
            fetch_residual.then(|| Ahead::straight::<R>(&tensors.residual, channels)),
        );
        enter(job.isa, Add { x, residual, sum, channels, ahead });
    }
}

/// Adds `channels` elements. `sum` may be `x` or `residual`.
pub(super) struct Add<X, R> {
    x: *const X,
    residual: *const R,
    sum: *mut R,
    channels: usize,
    /// What is fetched of `x` and `residual` meanwhile, if they come from memory.
    ahead: (Option<Ahead>, Option<Ahead>),
}

impl<X, R> Add<X, R> {
    /// Of elements in the caches.
    ///
    /// # Safety
    /// All three must be valid for `channels` elements, `sum` one of the others or apart from them.
    #[inline(always)]
    pub(super) unsafe fn dense(
        x: NonNull<X>,
        residual: NonNull<R>,
        sum: NonNull<R>,
        channels: usize,
    ) -> Self {
        let (x, residual) = (x.as_ptr(), residual.as_ptr());
        Self { x, residual, sum: sum.as_ptr(), channels, ahead: (None, None) }
    }
}

impl<X: Storage, R: Storage> Kernel for Add<X, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, residual, sum, channels, ahead } = self;
        let block = UNROLL * S::LANES;
        let mut i = 0;
        while channels - i >= block {
            if let Some(ahead) = ahead.0 {
                ahead.fetch(s, x.wrapping_add(i));
            }
            if let Some(ahead) = ahead.1 {
                ahead.fetch(s, residual.wrapping_add(i));
            }
            // SAFETY: whoever makes an `Add` vouches for `channels` elements; a block follows `i`.
            unsafe { add_block(s, x.add(i), residual.add(i), sum.add(i)) };
            i += block;
        }
        while i < channels {
            let part = (channels - i).min(S::LANES);
            // SAFETY: as above, of `part` elements.
            unsafe { add_part(s, part, x.add(i), residual.add(i), sum.add(i)) };
            i += part;
        }
    }
}

/// Adds a block of vectors.
///
/// # Safety
/// All three must be valid for it; `sum` may be one of the others.
#[inline(always)]
unsafe fn add_block<S: Simd, X: Storage, R: Storage>(
    s: S,
    x: *const X,
    residual: *const R,
    sum: *mut R,
) {
    // SAFETY: the same contract.
    unsafe {
        let [a, b] = X::load_x2(s, x);
        let [c, d] = X::load_x2(s, x.add(2 * S::LANES));
        let [e, f] = R::load_x2(s, residual);
        let [g, h] = R::load_x2(s, residual.add(2 * S::LANES));
        let v = [s.add(a, e), s.add(b, f), s.add(c, g), s.add(d, h)];
        if !R::try_store_x4::<S, false>(s, sum, v, Doubt::Subnormal) {
            R::store_x4::<S, false>(s, sum, v);
        }
    }
}

/// Adds `part <= LANES` elements.
///
/// # Safety
/// As [`add_block`], of these.
#[inline(always)]
unsafe fn add_part<S: Simd, X: Storage, R: Storage>(
    s: S,
    part: usize,
    x: *const X,
    residual: *const R,
    sum: *mut R,
) {
    // SAFETY: the same contract.
    unsafe {
        let v = s.add(X::load_part(s, x, part), R::load_part(s, residual, part));
        R::store_part(s, sum, v, part);
    }
}

/// The sums of all rows of a job, made while rows are written, a row ahead: memory then reads and writes at any
/// time, and not by turns.
pub(super) struct Sums<T> {
    x: *const T,
    residual: *const T,
    sum: *mut T,
    made: usize,
    all: usize,
    /// How many may be made for now, so that those of two rows at most are in the caches.
    most: usize,
    channels: usize,
    ahead: Ahead,
}

impl<T: Storage> Sums<T> {
    /// Those of `job`, none of which has been made.
    pub(super) fn of(job: &Job) -> Option<Self> {
        let tensors = job.fused.filter(|_| job.makes_sums)?.residual?;
        let (row, channel) = job.first;
        Some(Self {
            x: tensors.x.places.at::<T>(row, channel),
            residual: tensors.residual.at::<T>(row, channel),
            sum: tensors.sum.places.at::<T>(row, channel),
            made: 0,
            all: job.rows * job.channels,
            most: 0,
            channels: job.channels,
            ahead: Ahead::straight::<T>(&tensors.x.places, job.channels),
        })
    }
}

impl<T: Storage> Meanwhile for Sums<T> {
    #[inline(always)]
    unsafe fn before<S: Simd>(&mut self, s: S, end: usize) {
        // Up to a block may be missing of the row that comes then.
        self.most = end + self.channels;
        while self.made < end {
            // SAFETY: the same contract; less than a block is left where none has been made.
            unsafe {
                let made = self.made;
                self.with_block(s);
                if self.made == made {
                    let part = (self.all - made).min(S::LANES);
                    let (x, residual) = (self.x.add(made), self.residual.add(made));
                    add_part(s, part, x, residual, self.sum.add(made));
                    self.made += part;
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn with_block<S: Simd>(&mut self, s: S) {
        let block = UNROLL * S::LANES;
        if self.all - self.made < block || self.made >= self.most {
            return;
        }
        let (x, residual) = (self.x.wrapping_add(self.made), self.residual.wrapping_add(self.made));
        if self.ahead.looks_up && self.made.is_multiple_of(page::<T>()) {
            look_up::<S, T, T>(s, Some(x), None);
            look_up::<S, T, T>(s, Some(residual), None);
        }
        self.ahead.fetch(s, x);
        self.ahead.fetch(s, residual);
        // SAFETY: a block of each is left.
        unsafe { add_block(s, x, residual, self.sum.add(self.made)) };
        self.made += block;
    }
}
