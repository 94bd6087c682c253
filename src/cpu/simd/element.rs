//! Element types in memory: widened to f32 on load, rounded once on store.

use super::Simd;
use half::{bf16, f16};

/// An element type as the kernels see it. The methods are those of [`Simd`] for the type,
/// with their contracts.
pub(crate) trait Storage: Copy + 'static {
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
    /// # Safety
    /// `p` must be valid for writes of `2 * S::LANES` elements, and 64-byte aligned where `STREAM`.
    unsafe fn store_x2<S: Simd, const STREAM: bool>(s: S, p: *mut Self, a: S::F, b: S::F);
    /// # Safety
    /// `p` must be valid for writes of `n <= S::LANES` elements.
    unsafe fn store_part<S: Simd>(s: S, p: *mut Self, v: S::F, n: usize);
}

macro_rules! storage {
    ($ty:ty, $load_x2:ident, $unordered:ident, $load_part:ident, $store_x2:ident, $store_part:ident) => {
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
            #[inline(always)]
            unsafe fn store_x2<S: Simd, const STREAM: bool>(s: S, p: *mut Self, a: S::F, b: S::F) {
                // SAFETY: the same contract.
                unsafe { s.$store_x2::<STREAM>(p.cast(), a, b) }
            }
            #[inline(always)]
            unsafe fn store_part<S: Simd>(s: S, p: *mut Self, v: S::F, n: usize) {
                // SAFETY: the same contract.
                unsafe { s.$store_part(p.cast(), v, n) }
            }
        }
    };
}

storage!(
    f32,
    load_f32_x2,
    load_f32_x2,
    load_f32_part,
    store_f32_x2,
    store_f32_part
);
storage!(
    f16,
    load_f16_x2,
    load_f16_x2,
    load_f16_part,
    store_f16_x2,
    store_f16_part
);
storage!(
    bf16,
    load_bf16_x2,
    load_bf16_x2_unordered,
    load_bf16_part,
    store_bf16_x2,
    store_bf16_part
);
