//! Element types in memory: widened to f32 on load, rounded once on store.

use super::{Doubt, Simd};
use crate::F8E4M3;
use half::{bf16, f16};

/// A type of outputs. The methods are those of [`Simd`] for the type, with their contracts.
pub(crate) trait Output: Copy + 'static {
    /// Bits of the significand that results are computed to, the implied one included: what will be
    /// rounded to few of them need not be exact to 24.
    const DIGITS: u32 = 24;
    /// Whether this is bfloat16, for which there are instructions that nothing else needs.
    const IS_BF16: bool = false;
    /// Whether results are multiplied with the reciprocal of a scale before they are stored.
    const QUANTIZED: bool = false;
    /// # Safety
    /// `p` must be valid for writes of `4 * S::LANES` elements, and aligned to as many, at most 64
    /// bytes, where `STREAM`.
    unsafe fn store_x4<S: Simd, const STREAM: bool>(s: S, p: *mut Self, v: [S::F; 4]);
    /// # Safety
    /// `p` must be valid for writes of `n <= S::LANES` elements.
    unsafe fn store_part<S: Simd>(s: S, p: *mut Self, v: S::F, n: usize);

    /// Whether [`try_store_x4`](Output::try_store_x4) ever stores.
    #[inline(always)]
    fn tries<S: Simd>() -> bool {
        false
    }
    /// Stores as `store_x4` does, but faster, if no result is in `doubt`; else it stores nothing and
    /// returns `false`.
    ///
    /// # Safety
    /// As [`store_x4`](Output::store_x4), and what `doubt` says.
    #[inline(always)]
    unsafe fn try_store_x4<S: Simd, const STREAM: bool>(
        _: S,
        _: *mut Self,
        _: [S::F; 4],
        _doubt: Doubt,
    ) -> bool {
        false
    }
}

/// An element type as the kernels see it. The methods are those of [`Simd`] for the type,
/// with their contracts.
pub(crate) trait Storage: Output {
    /// # Safety
    /// `p` must be valid for reads of `2 * S::LANES` elements.
    unsafe fn load_x2<S: Simd>(s: S, p: *const Self) -> [S::F; 2];
    /// The same elements in a fixed order that is cheapest to load in, for sums.
    ///
    /// # Safety
    /// `p` must be valid for reads of `2 * S::LANES` elements.
    unsafe fn load_x2_unordered<S: Simd>(s: S, p: *const Self) -> [S::F; 2];
    /// # Safety
    /// `p` must be valid for reads of `n <= S::LANES` elements.
    unsafe fn load_part<S: Simd>(s: S, p: *const Self, n: usize) -> S::F;

    /// Whether vectors are added up two at a time, as [`Simd::add_squares_bf16_x2`] does it.
    #[inline(always)]
    fn sums_pairs<S: Simd>() -> bool {
        const { Self::IS_BF16 && S::BF16_SUMS }
    }
}

macro_rules! storage {
    ($ty:ty, $digits:literal, $load_x2:ident, $unordered:ident, $load_part:ident, $store_x4:ident, $store_part:ident $(, $more:item)*) => {
        impl Storage for $ty {
            #[inline(always)]
            unsafe fn load_x2<S: Simd>(s: S, p: *const Self) -> [S::F; 2] {
                // SAFETY: the same contract.
                unsafe { s.$load_x2(p.cast()) }
            }
            #[inline(always)]
            unsafe fn load_x2_unordered<S: Simd>(s: S, p: *const Self) -> [S::F; 2] {
                // SAFETY: the same contract.
                unsafe { s.$unordered(p.cast()) }
            }
            #[inline(always)]
            unsafe fn load_part<S: Simd>(s: S, p: *const Self, n: usize) -> S::F {
                // SAFETY: the same contract.
                unsafe { s.$load_part(p.cast(), n) }
            }
        }

        impl Output for $ty {
            const DIGITS: u32 = $digits;

            $($more)*

            #[inline(always)]
            unsafe fn store_x4<S: Simd, const STREAM: bool>(s: S, p: *mut Self, v: [S::F; 4]) {
                // SAFETY: the same contract.
                unsafe { s.$store_x4::<STREAM>(p.cast(), v) }
            }
            #[inline(always)]
            unsafe fn store_part<S: Simd>(s: S, p: *mut Self, v: S::F, n: usize) {
                // SAFETY: the same contract.
                unsafe { s.$store_part(p.cast(), v, n) }
            }
        }
    };
}

storage!(f32, 24, load_f32_x2, load_f32_x2, load_f32_part, store_f32_x4, store_f32_part);
storage!(f16, 11, load_f16_x2, load_f16_x2, load_f16_part, store_f16_x4, store_f16_part);
storage!(
    bf16,
    8,
    load_bf16_x2,
    load_bf16_x2_unordered,
    load_bf16_part,
    store_bf16_x4,
    store_bf16_part,
    const IS_BF16: bool = true;,
    #[inline(always)]
    fn tries<S: Simd>() -> bool {
        S::BF16_CONVERSION
    },
    #[inline(always)]
    unsafe fn try_store_x4<S: Simd, const STREAM: bool>(
        s: S,
        p: *mut Self,
        v: [S::F; 4],
        doubt: Doubt,
    ) -> bool {
        // SAFETY: the same contract.
        unsafe { s.try_store_bf16_x4::<STREAM>(p.cast(), v, doubt) }
    }
);

/// f32 that will be rounded to at most eight digits: those between the function and an output of so few.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Rough(f32);

impl Output for Rough {
    const DIGITS: u32 = 8;

    #[inline(always)]
    unsafe fn store_x4<S: Simd, const STREAM: bool>(s: S, p: *mut Self, v: [S::F; 4]) {
        // SAFETY: the same contract.
        unsafe { f32::store_x4::<S, STREAM>(s, p.cast(), v) }
    }
    #[inline(always)]
    unsafe fn store_part<S: Simd>(s: S, p: *mut Self, v: S::F, n: usize) {
        // SAFETY: the same contract.
        unsafe { f32::store_part(s, p.cast(), v, n) }
    }
}

macro_rules! output_of_8_bits {
    ($ty:ty, $digits:literal, $store_x4:ident) => {
        impl Output for $ty {
            const DIGITS: u32 = $digits;
            const QUANTIZED: bool = true;

            #[inline(always)]
            unsafe fn store_x4<S: Simd, const STREAM: bool>(s: S, p: *mut Self, v: [S::F; 4]) {
                // SAFETY: the same contract.
                unsafe { s.$store_x4::<STREAM>(p.cast(), v) }
            }
            #[inline(always)]
            unsafe fn store_part<S: Simd>(s: S, p: *mut Self, v: S::F, n: usize) {
                const { assert!(S::LANES <= 16) };
                let mut block = [0; 64];
                // SAFETY: there is room for four vectors; the caller vouches for `n` elements.
                unsafe {
                    s.$store_x4::<false>(block.as_mut_ptr(), [v; 4]);
                    s.store_bytes_part(p.cast(), &block, n);
                }
            }
        }
    };
}

// What suffices for bfloat16 is here wrong by a fiftieth of a step, at the end of the range.
output_of_8_bits!(i8, 8, store_i8_x4);
output_of_8_bits!(F8E4M3, 8, store_e4m3_x4);
