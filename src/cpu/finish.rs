//! What happens to f32 results on their way from the scratch piece to the output.

use super::ahead::{Ahead, look_up, looks_up, page};
use super::cache::LINE;
use super::math::{SHORT_DIGITS, short_silu, silu};
use super::simd::{
    Doubt, Kernel, Simd,
    element::{Output, Storage},
};

/// Vectors in flight.
const UNROLL: usize = 4;

/// `values *= silu(z)`, exact to what results of so many digits need.
pub(crate) struct Gate<Z, const DIGITS: u32> {
    pub(crate) z: *const Z,
    pub(crate) values: *mut f32,
    pub(crate) channels: usize,
    /// What is fetched of `z` meanwhile, if it comes from memory.
    pub(crate) ahead: Option<Ahead>,
}

impl<Z, const DIGITS: u32> Gate<Z, DIGITS> {
    #[inline(always)]
    fn silu<S: Simd, const U: usize>(s: S, z: [S::F; U]) -> [S::F; U] {
        if DIGITS <= SHORT_DIGITS { short_silu::<S, DIGITS, U>(s, z) } else { silu(s, z) }
    }
}

impl<Z: Storage, const DIGITS: u32> Kernel for Gate<Z, DIGITS> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { z, values, channels, ahead } = self;
        let mut i = 0;
        while channels - i >= UNROLL * S::LANES {
            if let Some(ahead) = ahead {
                ahead.fetch(s, z.wrapping_add(i));
            }
            // SAFETY: whoever makes a `Gate` vouches for `channels` elements at both; a block
            // follows `i`.
            unsafe {
                let (z, values) = (z.add(i), values.add(i));
                let [z0, z1] = Z::load_x2(s, z);
                let [z2, z3] = Z::load_x2(s, z.add(2 * S::LANES));
                let [a, b] = s.load_f32_x2(values);
                let [c, d] = s.load_f32_x2(values.add(2 * S::LANES));
                let [z0, z1, z2, z3] = Self::silu(s, [z0, z1, z2, z3]);
                let v = [s.mul(a, z0), s.mul(b, z1), s.mul(c, z2), s.mul(d, z3)];
                s.store_f32_x4::<false>(values, v);
            }
            i += UNROLL * S::LANES;
        }
        while i < channels {
            let part = (channels - i).min(S::LANES);
            // SAFETY: as above, of `part` elements.
            unsafe {
                let [gate] = Self::silu(s, [Z::load_part(s, z.add(i), part)]);
                let v = s.load_f32_part(values.add(i), part);
                s.store_f32_part(values.add(i), s.mul(v, gate), part);
            }
            i += part;
        }
    }
}

/// The largest magnitude among `largest` and the values; NaN does not count.
pub(crate) struct Largest {
    pub(crate) values: *const f32,
    pub(crate) channels: usize,
    pub(crate) largest: f32,
}

impl Kernel for Largest {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let mut largest = [s.splat(self.largest); UNROLL];
        let mut i = 0;
        while self.channels - i >= UNROLL * S::LANES {
            for j in (0..UNROLL).step_by(2) {
                // SAFETY: whoever makes a `Largest` vouches for the values.
                let v = unsafe { s.load_f32_x2(self.values.add(i + j * S::LANES)) };
                for k in 0..2 {
                    // The second operand where the first is NaN.
                    largest[j + k] = s.max(s.abs(v[k]), largest[j + k]);
                }
            }
            i += UNROLL * S::LANES;
        }
        while i < self.channels {
            let part = (self.channels - i).min(S::LANES);
            // SAFETY: as above.
            let v = unsafe { s.load_f32_part(self.values.add(i), part) };
            largest[0] = s.max(s.abs(v), largest[0]);
            i += part;
        }
        largest_lane(s, largest)
    }
}

/// The largest of all lanes, none of which is below 0 or NaN.
#[inline(always)]
pub(super) fn largest_lane<S: Simd>(s: S, v: [S::F; UNROLL]) -> f32 {
    let both = s.max(s.max(v[0], v[1]), s.max(v[2], v[3]));
    let mut lanes = [0.0; 16];
    const { assert!(S::LANES <= 16) };
    // SAFETY: there is room for all lanes.
    unsafe { s.store_f32_part(lanes.as_mut_ptr(), both, S::LANES) };
    // Halves, not one after the other: the processor does what does not wait for another at once.
    for half in [8, 4, 2, 1] {
        for j in 0..half {
            if lanes[j + half] > lanes[j] {
                lanes[j] = lanes[j + half];
            }
        }
    }
    lanes[0]
}

/// `y = values * factor`, rounded to `Y`.
pub(crate) struct Store<Y> {
    pub(crate) values: *const f32,
    pub(crate) y: *mut Y,
    pub(crate) channels: usize,
    pub(crate) factor: Option<f32>,
    /// Whether it is written past the caches, where it begins at a line of them.
    pub(crate) stream: bool,
}

impl<Y: Output> Kernel for Store<Y> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { values, y, channels, factor, stream } = self;
        let stream = stream && y.addr().is_multiple_of(LINE);
        // A product with 1 changes nothing.
        let factor = s.splat(factor.unwrap_or(1.0));
        if stream && looks_up() {
            for page in (0..channels).step_by(page::<Y>()) {
                look_up::<S, f32, Y>(s, None, Some(y.wrapping_add(page)));
            }
        }
        let mut i = 0;
        while channels - i >= UNROLL * S::LANES {
            // SAFETY: whoever makes a `Store` vouches for the values and the output; blocks are
            // multiples of a vector, to which the output is aligned where `stream`.
            unsafe {
                let [a, b] = s.load_f32_x2(values.add(i));
                let [c, d] = s.load_f32_x2(values.add(i + 2 * S::LANES));
                let v = [s.mul(a, factor), s.mul(b, factor), s.mul(c, factor), s.mul(d, factor)];
                let y = y.add(i);
                if stream {
                    if !Y::try_store_x4::<S, true>(s, y, v, Doubt::Subnormal) {
                        Y::store_x4::<S, true>(s, y, v);
                    }
                } else if !Y::try_store_x4::<S, false>(s, y, v, Doubt::Subnormal) {
                    Y::store_x4::<S, false>(s, y, v);
                }
            }
            i += UNROLL * S::LANES;
        }
        while i < channels {
            let part = (channels - i).min(S::LANES);
            // SAFETY: as above, of `part` elements.
            unsafe {
                let v = s.mul(s.load_f32_part(values.add(i), part), factor);
                Y::store_part(s, y.add(i), v, part);
            }
            i += part;
        }
    }
}

/// Makes streamed stores visible to other threads before what follows.
pub(crate) struct Fence;

impl Kernel for Fence {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        s.fence_streams();
    }
}
