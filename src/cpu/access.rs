//! Loads and stores of vectors, whole or in part.

use super::simd::{
    Doubt, Simd,
    element::{Output, Storage},
};

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
    /// As `store`, where there is a faster way and no result is in `doubt`; else it stores nothing and returns
    /// `false`.
    ///
    /// # Safety
    /// As [`store`](Access::store), and what `doubt` says.
    #[inline(always)]
    unsafe fn try_store<S: Simd, E: Output, const U: usize>(
        self,
        _: S,
        _: *mut E,
        _: [S::F; U],
        _stream: bool,
        _doubt: Doubt,
    ) -> bool {
        false
    }
}

/// All lanes of four vectors; a multiple of two can be loaded.
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
        // No loop over fours: where there is one, vectors are computed one after the other.
        const { assert!(U == 4) };
        let four = [v[0], v[1], v[2], v[3]];
        // SAFETY: the same contract.
        unsafe {
            if stream {
                E::store_x4::<S, true>(s, p, four);
            } else {
                E::store_x4::<S, false>(s, p, four);
            }
        }
    }

    #[inline(always)]
    unsafe fn try_store<S: Simd, E: Output, const U: usize>(
        self,
        s: S,
        p: *mut E,
        v: [S::F; U],
        stream: bool,
        doubt: Doubt,
    ) -> bool {
        const { assert!(U == 4) };
        let four = [v[0], v[1], v[2], v[3]];
        // SAFETY: the same contract.
        unsafe {
            if stream {
                E::try_store_x4::<S, true>(s, p, four, doubt)
            } else {
                E::try_store_x4::<S, false>(s, p, four, doubt)
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
