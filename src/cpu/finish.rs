//! What happens to f32 results on their way from the scratch piece to the output.

use super::access::{Access, First, Whole};
use super::ahead::{Ahead, look_up, looks_up, page};
use super::cache::LINE;
use super::math::{SHORT_DIGITS, short_silu, silu};
use super::pipeline::UNROLL;
use super::simd::{
    Doubt, Kernel, Simd,
    element::{Output, Storage},
};
use core::marker::PhantomData;

/// `values *= silu(z)`, exact to what results of type `Y` need.
pub(crate) struct Gate<Z, Y> {
    pub(crate) z: *const Z,
    pub(crate) values: *mut f32,
    pub(crate) channels: usize,
    /// What is fetched of `z` meanwhile, if it comes from memory.
    pub(crate) ahead: Option<Ahead>,
    pub(crate) results: PhantomData<Y>,
}

impl<Z: Storage, Y: Output> Gate<Z, Y> {
    #[inline(always)]
    fn silu<S: Simd, const U: usize>(s: S, z: [S::F; U]) -> [S::F; U] {
        match Y::DIGITS {
            ..=8 => short_silu::<S, 8, U>(s, z),
            9..=SHORT_DIGITS => short_silu::<S, SHORT_DIGITS, U>(s, z),
            _ => silu(s, z),
        }
    }

    /// The products of a block.
    ///
    /// # Safety
    /// `z` and `values` must be valid for it.
    #[inline(always)]
    unsafe fn block<S: Simd>(s: S, z: *const Z, values: *const f32) -> [S::F; UNROLL] {
        // SAFETY: the same contract.
        unsafe {
            let z = Whole.load::<S, Z, UNROLL>(s, z);
            let mut v = Whole.load::<S, f32, UNROLL>(s, values);
            let gate = Self::silu(s, z);
            for j in 0..UNROLL {
                v[j] = s.mul(v[j], gate[j]);
            }
            v
        }
    }

    /// The products of part of a vector.
    ///
    /// # Safety
    /// As [`block`](Self::block), of these.
    #[inline(always)]
    unsafe fn part<S: Simd>(s: S, z: *const Z, values: *const f32, part: First) -> [S::F; 1] {
        // SAFETY: the same contract.
        unsafe {
            let [gate] = Self::silu(s, part.load::<S, Z, 1>(s, z));
            let [v] = part.load::<S, f32, 1>(s, values);
            [s.mul(v, gate)]
        }
    }
}

impl<Z: Storage, Y: Output> Kernel for Gate<Z, Y> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { z, values, channels, ahead, .. } = self;
        let mut i = 0;
        // SAFETY: whoever makes a `Gate` vouches for `channels` elements at both; a block or a part follows `i`.
        unsafe {
            while channels - i >= UNROLL * S::LANES {
                if let Some(ahead) = ahead {
                    ahead.fetch(s, z.wrapping_add(i));
                }
                let v = Self::block(s, z.add(i), values.add(i));
                Whole.store(s, values.add(i), v, false);
                i += UNROLL * S::LANES;
            }
            while i < channels {
                let part = First((channels - i).min(S::LANES));
                let v = Self::part(s, z.add(i), values.add(i), part);
                part.store(s, values.add(i), v, false);
                i += part.0;
            }
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
    s.reduce_max(s.max(s.max(v[0], v[1]), s.max(v[2], v[3])))
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

impl<Y: Output> Store<Y> {
    /// Whether it is written past the caches. Says where the pages of the output are, if so.
    #[inline(always)]
    pub(super) fn begin<S: Simd>(&self, s: S) -> bool {
        let stream = self.stream && self.y.addr().is_multiple_of(LINE);
        if stream && looks_up() {
            for page in (0..self.channels).step_by(page::<Y>()) {
                look_up::<S, f32, Y>(s, None, Some(self.y.wrapping_add(page)));
            }
        }
        stream
    }

    /// What results are multiplied with: a product with 1 changes nothing.
    #[inline(always)]
    fn factor<S: Simd>(&self, s: S) -> S::F {
        s.splat(self.factor.unwrap_or(1.0))
    }

    /// Stores a block from channel `i` on.
    ///
    /// # Safety
    /// The output must be valid for it, and `y + i` aligned if it streams.
    #[inline(always)]
    unsafe fn block<S: Simd>(
        &self,
        s: S,
        i: usize,
        mut v: [S::F; UNROLL],
        factor: S::F,
        stream: bool,
    ) {
        for j in 0..UNROLL {
            v[j] = s.mul(v[j], factor);
        }
        // SAFETY: the same contract.
        unsafe {
            let y = self.y.add(i);
            if !Whole.try_store(s, y, v, stream, Doubt::Subnormal) {
                Whole.store(s, y, v, stream);
            }
        }
    }

    /// Stores part of a vector from channel `i` on.
    ///
    /// # Safety
    /// As [`block`](Self::block), of these.
    #[inline(always)]
    unsafe fn part<S: Simd>(&self, s: S, i: usize, part: First, v: [S::F; 1], factor: S::F) {
        // SAFETY: the same contract.
        unsafe { part.store(s, self.y.add(i), [s.mul(v[0], factor)], false) };
    }
}

impl<Y: Output> Kernel for Store<Y> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let stream = self.begin(s);
        // SAFETY: whoever makes a `Store` vouches for the values and the output, and it is aligned where `stream`.
        unsafe { self.write(s, stream) };
    }
}

impl<Y: Output> Store<Y> {
    /// Stores all of it, past the caches if `stream`.
    ///
    /// # Safety
    /// Values and output must be valid, and that begin at a cache line if it streams.
    #[inline(always)]
    pub(super) unsafe fn write<S: Simd>(&self, s: S, stream: bool) {
        let factor = self.factor(s);
        let mut i = 0;
        // SAFETY: the same contract; blocks are multiples of a vector, to which the output is aligned then.
        unsafe {
            while self.channels - i >= UNROLL * S::LANES {
                let v = Whole.load::<S, f32, UNROLL>(s, self.values.add(i));
                self.block(s, i, v, factor, stream);
                i += UNROLL * S::LANES;
            }
            while i < self.channels {
                let part = First((self.channels - i).min(S::LANES));
                let v = part.load::<S, f32, 1>(s, self.values.add(i));
                self.part(s, i, part, v, factor);
                i += part.0;
            }
        }
    }
}

/// [`Gate`], whose products go to [`Store`] at once. What is written past the caches leaves them little by little
/// then, while the gate is computed, and not in bursts.
pub(crate) struct GatedStore<Z, Y> {
    pub(crate) gate: Gate<Z, Y>,
    pub(crate) store: Store<Y>,
}

impl<Z: Storage, Y: Output> Kernel for GatedStore<Z, Y> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        if const { !S::FOR_MEMORY } {
            unreachable!("`gates_at_once` is false where nothing streams");
        }
        let Self { gate: Gate { z, values, channels, ahead, .. }, store } = self;
        let (stream, factor) = (store.begin(s), store.factor(s));
        let mut i = 0;
        // SAFETY: as in both.
        unsafe {
            while channels - i >= UNROLL * S::LANES {
                if let Some(ahead) = ahead {
                    ahead.fetch(s, z.wrapping_add(i));
                }
                let v = Gate::<Z, Y>::block(s, z.add(i), values.add(i));
                store.block(s, i, v, factor, stream);
                i += UNROLL * S::LANES;
            }
            while i < channels {
                let part = First((channels - i).min(S::LANES));
                let v = Gate::<Z, Y>::part(s, z.add(i), values.add(i), part);
                store.part(s, i, part, v, factor);
                i += part.0;
            }
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
