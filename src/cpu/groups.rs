//! Outputs of 8 bits with a scale for each group of channels.

use super::access::{Access, Whole};
use super::cache::LINE;
use super::finish::{Largest, Store};
use super::pipeline::UNROLL;
use super::simd::{Kernel, Simd, element::Output};
use crate::Quantized;
use core::ptr::NonNull;

/// Groups whose scales are computed together.
const AT_ONCE: usize = 128;

/// [`Store`] group by group of `size` channels, each with a scale of its own, which is computed from the largest of its
/// results and written.
pub(super) struct StoreGroups<Y> {
    pub(super) values: *const f32,
    pub(super) y: *mut Y,
    pub(super) channels: usize,
    pub(super) size: usize,
    /// Where the scales go.
    pub(super) scales: NonNull<f32>,
    /// Whether the output is written past the caches, where it and its groups begin at lines of them.
    pub(super) stream: bool,
}

impl<Y: Output + Quantized> Kernel for StoreGroups<Y> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { values, y, channels, size, scales, stream } = self;
        let stream = Store { values, y, channels, factor: None, stream }.begin(s);
        for (index, first) in (0..channels).step_by(AT_ONCE * size).enumerate() {
            let channels = (channels - first).min(AT_ONCE * size);
            // SAFETY: whoever makes a `StoreGroups` vouches for the values, the output and a scale for each group.
            unsafe {
                let (values, y) = (values.add(first), y.add(first));
                let scales = scales.add(index * AT_ONCE);
                let part = Self { values, y, channels, size, scales, stream };
                let mut factors = [0.0; AT_ONCE];
                part.find_factors(s, &mut factors);
                part.store(s, &factors);
            }
        }
    }
}

impl<Y: Output + Quantized> StoreGroups<Y> {
    /// Computes the scales, and what results are multiplied with.
    ///
    /// # Safety
    /// The values and scales of at most [`AT_ONCE`] groups must be valid.
    #[inline(always)]
    unsafe fn find_factors<S: Simd>(&self, s: S, factors: &mut [f32; AT_ONCE]) {
        let Self { values, channels, size, scales, .. } = *self;
        let mut count = 0;
        for first in (0..channels).step_by(size) {
            // SAFETY: the same contract.
            factors[count] = unsafe {
                let values = values.add(first);
                if size.is_multiple_of(2 * S::LANES) && channels - first >= size {
                    largest_of_pairs(s, values, size)
                } else {
                    Largest { values, channels: size.min(channels - first), largest: 0.0 }.run(s)
                }
            };
            count += 1;
        }
        // By itself, so that several are divided at once.
        for (group, factor) in factors[..count].iter_mut().enumerate() {
            let scale = Y::TYPE.scale_for(factor.min(f32::MAX));
            // SAFETY: the same contract.
            unsafe { scales.add(group).write(scale) };
            *factor = 1.0 / scale;
        }
    }

    /// Stores the results times the factor of their group.
    ///
    /// # Safety
    /// The values and the output must be valid, and that begin at a cache line if it streams.
    #[inline(always)]
    unsafe fn store<S: Simd>(&self, s: S, factors: &[f32; AT_ONCE]) {
        let Self { values, y, channels, size, stream, .. } = *self;
        let block = UNROLL * S::LANES;
        // Groups that fill blocks.
        let small = size.is_multiple_of(S::LANES) && block.is_multiple_of(size);
        let mut i = 0;
        if small {
            // Of one vector, two or four.
            let shift = (size / S::LANES).trailing_zeros();
            while channels - i >= block {
                let first = (i / S::LANES) >> shift;
                // SAFETY: a block follows `i`, and begins with a group.
                unsafe {
                    let mut v = Whole.load::<S, f32, UNROLL>(s, values.add(i));
                    for j in 0..UNROLL {
                        v[j] = s.mul(v[j], s.splat(factors[first + (j >> shift)]));
                    }
                    Whole.store(s, y.add(i), v, stream);
                }
                i += block;
            }
        }
        // Or lines would be written in part past the caches, and in part not.
        let stream = stream && size.is_multiple_of(LINE);
        for (group, first) in (i..channels).step_by(size).enumerate() {
            let channels = size.min(channels - first);
            let factor = Some(factors[i / size + group]);
            // SAFETY: the same contract; what begins at a line does so after whole lines.
            unsafe {
                let (values, y) = (values.add(first), y.add(first));
                Store { values, y, channels, factor, stream }.write(s, stream);
            }
        }
    }
}

/// The largest magnitude of `n` values, a multiple of two vectors; NaN does not count.
///
/// # Safety
/// They must be valid for reads.
#[inline(always)]
unsafe fn largest_of_pairs<S: Simd>(s: S, values: *const f32, n: usize) -> f32 {
    let mut largest = [s.splat(0.0); 2];
    for i in (0..n).step_by(2 * S::LANES) {
        // SAFETY: the same contract.
        let v = unsafe { s.load_f32_x2(values.add(i)) };
        for j in 0..2 {
            // The second operand where the first is NaN.
            largest[j] = s.max(s.abs(v[j]), largest[j]);
        }
    }
    s.reduce_max(s.max(largest[0], largest[1]))
}
