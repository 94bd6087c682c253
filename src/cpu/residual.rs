//! `sum = x + residual`, in f32 and rounded once.

use super::ahead::Ahead;
use super::dispatch::enter;
use super::job::{Job, Places, Tensor};
use super::pipeline::UNROLL;
use super::simd::{Doubt, Kernel, Simd, element::Storage};
use crate::ElementType;
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
struct Add<X, R> {
    x: *const X,
    residual: *const R,
    sum: *mut R,
    channels: usize,
    /// What is fetched of `x` and `residual` meanwhile, if they come from memory.
    ahead: (Option<Ahead>, Option<Ahead>),
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
            unsafe {
                let (x, r) = (x.add(i), residual.add(i));
                let [a, b] = X::load_x2(s, x);
                let [c, d] = X::load_x2(s, x.add(2 * S::LANES));
                let [e, f] = R::load_x2(s, r);
                let [g, h] = R::load_x2(s, r.add(2 * S::LANES));
                let v = [s.add(a, e), s.add(b, f), s.add(c, g), s.add(d, h)];
                if !R::try_store_x4::<S, false>(s, sum.add(i), v, Doubt::Subnormal) {
                    R::store_x4::<S, false>(s, sum.add(i), v);
                }
            }
            i += block;
        }
        while i < channels {
            let part = (channels - i).min(S::LANES);
            // SAFETY: as above, of `part` elements.
            unsafe {
                let v =
                    s.add(X::load_part(s, x.add(i), part), R::load_part(s, residual.add(i), part));
                R::store_part(s, sum.add(i), v, part);
            }
            i += part;
        }
    }
}
