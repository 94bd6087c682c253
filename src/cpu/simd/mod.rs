//! What a vector can do: the [`Simd`] trait and its implementations.
//!
//! Kernels are written once over [`Simd`]. An implementation is a zero-sized token whose
//! existence proves that the processor has the instructions, so that the arithmetic methods
//! are safe; only memory access is `unsafe`. Every method is `#[inline(always)]` and has no
//! `#[target_feature]` of its own: the features come from the functions that enter a kernel
//! (`enter` in the implementation's file, and `enter_short`), into which everything
//! is inlined but what [`Simd::apart`] runs in a function of its own.

use super::short::ShortRows;

/// Writes the arithmetic methods of [`Simd`]: each a body of intrinsics, `name(args) -> ret = body;`.
#[cfg(target_arch = "x86_64")]
macro_rules! safe_intrinsics {
    ($($(#[$attr:meta])* fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty = $body:expr;)*) => {
        $($(#[$attr])* #[inline(always)]
        fn $name(self, $($arg: $ty),*) -> $ret {
            // SAFETY: `self` proves the features, see the module's head; what the body reads
            // from memory it takes from references.
            unsafe { $body }
        })*
    };
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod element;
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod neon;
pub(crate) mod portable;

/// Aligns the stack of the function that it is inlined into to a cache line. Where a kernel has more
/// vectors than registers, those on the stack would otherwise lie across two lines or not, as the
/// caller's stack happens to stand, and the same call would take one of several times.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn align_stack() {
    #[repr(align(64))]
    struct Line(core::mem::MaybeUninit<[u8; 64]>);
    let line = Line(core::mem::MaybeUninit::uninit());
    // Something that is aligned and might be used.
    core::hint::black_box(line.0.as_ptr());
}

/// Instructions that do nothing, for about 25 cycles: processors do six of them in one, or a few more or
/// less. PAUSE takes several times as long, and how long differs.
#[inline(always)]
pub(super) fn pause() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: they do nothing.
    unsafe {
        core::arch::asm!(".rept 160", "nop", ".endr", options(nomem, nostack, preserves_flags))
    };
}

/// What is used seldom, read where it is used: left to itself, the compiler spreads it over a vector
/// ahead of all rows, and has one less for what every block needs.
#[inline(always)]
pub(crate) fn seldom<T: Copy>(value: &T) -> T {
    // SAFETY: a reference can be read.
    unsafe { core::ptr::from_ref(value).read_volatile() }
}

#[inline(always)]
fn add_squares<S: Simd>(s: S, sum: S::F, [first, second]: [S::F; 2]) -> S::F {
    s.mul_add(first, first, s.mul_add(second, second, sum))
}

#[inline(always)]
fn add_values<S: Simd>(s: S, sum: S::F, [first, second]: [S::F; 2]) -> S::F {
    s.add(first, s.add(second, sum))
}

/// Which results a conversion that takes subnormal numbers for 0 has to leave to another.
#[derive(Clone, Copy)]
pub(crate) enum Doubt {
    /// Those that are subnormal.
    Subnormal,
    /// Those that are subnormal. Where there is 0 at this address, of bfloat16 numbers as many as there are
    /// results, the result is 0 or NaN: so it need not be looked at.
    // Only AVX-512 looks there.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    SubnormalOfOther(*const u16),
    /// Those that are subnormal, 0, infinite or NaN.
    ZeroOrNotFinite,
}

/// Work that is compiled once for each instruction set.
pub(crate) trait Kernel {
    type Output;
    /// Does the work. Implementations are `#[inline(always)]`, so that they take over the
    /// features of the function that enters them.
    fn run<S: Simd>(self, s: S) -> Self::Output;
}

/// A kernel of a short call, which is entered by its address.
pub(crate) trait ShortKernel {
    /// Does the work. Inlined, as [`Kernel::run`].
    ///
    /// # Safety
    /// It must be a kernel for these rows, as [`ShortCall::run`](super::short::ShortCall::run) says.
    unsafe fn run<S: Simd>(s: S, rows: &ShortRows);
}

/// A vector of `LANES` f32 values and the operations that the kernels need.
///
/// # Safety
/// A value of an implementing type may exist only where the processor has the instructions
/// that its methods use.
pub(crate) unsafe trait Simd: Copy {
    /// The vector: `LANES` values of f32.
    type F: Copy;
    /// Number of f32 values in a vector.
    const LANES: usize;
    /// Whether [`mul_add`](Simd::mul_add) rounds once. Where it does not, algorithms that
    /// recover a rounding error with a fused operation take another way.
    const FMA: bool;
    /// Whether [`lookup`](Simd::lookup) is one instruction rather than a loop over lanes, and
    /// [`lookup_x2`](Simd::lookup_x2) another.
    const FAST_LOOKUP: bool;
    /// Whether [`fraction`](Simd::fraction) and [`reciprocal_estimate`](Simd::reciprocal_estimate) are one instruction
    /// each, and [`times_exp2`](Simd::times_exp2) one that takes any `n` for its floor.
    const FAST_EXP2: bool = false;
    /// Number of correct bits of [`rsqrt_estimate`](Simd::rsqrt_estimate).
    const RSQRT_BITS: u32;
    /// Whether there is a conversion to bfloat16, which takes subnormal numbers for 0.
    const BF16_CONVERSION: bool = false;
    /// Whether sums are by [`add_bf16_x2`](Simd::add_bf16_x2) and
    /// [`add_squares_bf16_x2`](Simd::add_squares_bf16_x2), which may be instructions.
    const BF16_SUMS: bool = false;
    /// Whether it can fetch ahead and store past the caches.
    const FOR_MEMORY: bool;
    /// Whether there are registers for two loops at once (32, not 16).
    const MANY_REGISTERS: bool = false;
    /// What [`Isa::is_lean`](crate::Isa::is_lean) says of it.
    const LEAN: bool = false;

    /// Runs `kernel` in a function of its own, not as part of the one that this is called in.
    fn apart<K: Kernel>(self, kernel: K) -> K::Output;

    fn splat(self, v: f32) -> Self::F;
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once where `FMA`.
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `c - a * b`, rounded once where `FMA`.
    fn neg_mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    fn sqrt(self, a: Self::F) -> Self::F;
    /// An estimate of `1 / sqrt(a)` with `RSQRT_BITS` correct bits, for normal `a`.
    fn rsqrt_estimate(self, a: Self::F) -> Self::F;
    /// The smaller of `limit` and `x`; `x` where either is NaN.
    fn min(self, limit: Self::F, x: Self::F) -> Self::F;
    /// The larger of `limit` and `x`; `x` where either is NaN.
    fn max(self, limit: Self::F, x: Self::F) -> Self::F;
    fn abs(self, a: Self::F) -> Self::F;
    /// `a`, of which the sign bit is inverted where that of `sign` is set.
    fn with_sign(self, a: Self::F, sign: Self::F) -> Self::F;
    /// The nearest integer, ties to even, for `|a| < 2^22`.
    fn round(self, a: Self::F) -> Self::F;
    /// `2^n` for integral `n` in -126..=127; NaN where `n` is NaN.
    fn exp2(self, n: Self::F) -> Self::F;
    /// `a * 2^n` for integral `n` in -126..=127 and a result that is a normal number; NaN where `n` is NaN.
    #[inline(always)]
    fn times_exp2(self, a: Self::F, n: Self::F) -> Self::F {
        self.mul(a, self.exp2(n))
    }
    /// `a` less its floor; 0 where `a` is infinite. Only where `FAST_EXP2`.
    #[inline(always)]
    fn fraction(self, _a: Self::F) -> Self::F {
        unreachable!("`FAST_EXP2` says whether it is there")
    }
    /// `1 / a` with 14 correct bits for `|a|` from 2^-126 to 2^126; 0 for infinity. Only where `FAST_EXP2`.
    #[inline(always)]
    fn reciprocal_estimate(self, _a: Self::F) -> Self::F {
        unreachable!("`FAST_EXP2` says whether it is there")
    }
    /// Lane by lane, the entry of the table whose number the last four bits of `index` are.
    fn lookup(self, table: &[f32; 16], index: Self::F) -> Self::F;
    /// Lane by lane, the entry of two vectors of 16 whose number the last five bits of `index` are. Only where
    /// `FAST_LOOKUP`.
    #[inline(always)]
    fn lookup_x2(self, _table: [Self::F; 2], _index: Self::F) -> Self::F {
        unreachable!("`FAST_LOOKUP` says whether it is there")
    }
    /// The sum of all lanes, in a fixed order.
    fn reduce_add(self, a: Self::F) -> f32;
    /// The largest of all lanes, none of which is below 0 or NaN.
    fn reduce_max(self, a: Self::F) -> f32;
    /// The first `n <= LANES` lanes of `a`, and from there on those of `rest`.
    fn first_n(self, a: Self::F, n: usize, rest: Self::F) -> Self::F;

    /// Asks for the cache line at `p`, which may be any address, to be read into the second level
    /// of the caches, or into the first.
    fn prefetch(self, p: *const u8, first_level: bool);
    /// Asks for the cache line at `p`, which may be any address, to be written.
    fn prefetch_write(self, p: *const u8);
    /// Makes streamed stores visible to other threads before what follows.
    fn fence_streams(self);

    /// Loads `2 * LANES` values of f32.
    ///
    /// # Safety
    /// `p` must be valid for reads of `2 * LANES` elements.
    unsafe fn load_f32_x2(self, p: *const f32) -> [Self::F; 2];
    /// Loads `n <= LANES` values of f32 into the first lanes; the others become +0.
    ///
    /// # Safety
    /// `p` must be valid for reads of `n` elements, and `n <= LANES`.
    unsafe fn load_f32_part(self, p: *const f32, n: usize) -> Self::F;
    /// Stores four vectors as f32, rounded to nearest even; past the caches where `STREAM`.
    ///
    /// # Safety
    /// `p` must be valid for writes of `4 * LANES` elements, and 64-byte aligned where `STREAM`.
    unsafe fn store_f32_x4<const STREAM: bool>(self, p: *mut f32, v: [Self::F; 4]);
    /// Stores the first `n <= LANES` lanes as f32, rounded to nearest even.
    ///
    /// # Safety
    /// `p` must be valid for writes of `n` elements, and `n <= LANES`.
    unsafe fn store_f32_part(self, p: *mut f32, v: Self::F, n: usize);

    /// Loads `2 * LANES` values of IEEE binary16.
    ///
    /// # Safety
    /// `p` must be valid for reads of `2 * LANES` elements.
    unsafe fn load_f16_x2(self, p: *const u16) -> [Self::F; 2];
    /// Loads `n <= LANES` values of IEEE binary16 into the first lanes; the others become +0.
    ///
    /// # Safety
    /// `p` must be valid for reads of `n` elements, and `n <= LANES`.
    unsafe fn load_f16_part(self, p: *const u16, n: usize) -> Self::F;
    /// Stores four vectors as IEEE binary16, rounded to nearest even; past the caches where `STREAM`.
    ///
    /// # Safety
    /// `p` must be valid for writes of `4 * LANES` elements, and 64-byte aligned where `STREAM`.
    unsafe fn store_f16_x4<const STREAM: bool>(self, p: *mut u16, v: [Self::F; 4]);
    /// Stores the first `n <= LANES` lanes as IEEE binary16, rounded to nearest even.
    ///
    /// # Safety
    /// `p` must be valid for writes of `n` elements, and `n <= LANES`.
    unsafe fn store_f16_part(self, p: *mut u16, v: Self::F, n: usize);

    /// Loads `2 * LANES` values of bfloat16.
    ///
    /// # Safety
    /// `p` must be valid for reads of `2 * LANES` elements.
    unsafe fn load_bf16_x2(self, p: *const u16) -> [Self::F; 2];
    /// Loads `2 * LANES` values of bfloat16 in an order that is the same every time, but need not
    /// be that of memory: widening them is cheaper then.
    ///
    /// # Safety
    /// As [`load_bf16_x2`](Simd::load_bf16_x2).
    unsafe fn load_bf16_x2_unordered(self, p: *const u16) -> [Self::F; 2];
    /// Loads `n <= LANES` values of bfloat16 into the first lanes; the others become +0.
    ///
    /// # Safety
    /// `p` must be valid for reads of `n` elements, and `n <= LANES`.
    unsafe fn load_bf16_part(self, p: *const u16, n: usize) -> Self::F;
    /// Stores four vectors as bfloat16, rounded to nearest even; past the caches where `STREAM`.
    ///
    /// # Safety
    /// `p` must be valid for writes of `4 * LANES` elements, and 64-byte aligned where `STREAM`.
    unsafe fn store_bf16_x4<const STREAM: bool>(self, p: *mut u16, v: [Self::F; 4]);
    /// Stores as [`store_bf16_x4`](Simd::store_bf16_x4) does if `BF16_CONVERSION` and no result is
    /// in `doubt`; else stores nothing and returns `false`.
    ///
    /// # Safety
    /// As [`store_bf16_x4`](Simd::store_bf16_x4), and what `doubt` says.
    #[inline(always)]
    unsafe fn try_store_bf16_x4<const STREAM: bool>(
        self,
        _: *mut u16,
        _: [Self::F; 4],
        _doubt: Doubt,
    ) -> bool {
        false
    }
    /// Adds the squares of `2 * LANES` values of bfloat16 to `sum`: to each lane the second of
    /// [`load_bf16_x2_unordered`](Simd::load_bf16_x2_unordered), then the first. Subnormal numbers, sums
    /// too, may be taken for 0.
    ///
    /// # Safety
    /// `p` must be valid for reads of `2 * LANES` elements.
    #[inline(always)]
    unsafe fn add_squares_bf16_x2(self, sum: Self::F, p: *const u16) -> Self::F {
        // SAFETY: the same contract.
        add_squares(self, sum, unsafe { self.load_bf16_x2_unordered(p) })
    }
    /// Adds `2 * LANES` values of bfloat16 to `sum`, as
    /// [`add_squares_bf16_x2`](Simd::add_squares_bf16_x2) does their squares.
    ///
    /// # Safety
    /// `p` must be valid for reads of `2 * LANES` elements.
    #[inline(always)]
    unsafe fn add_bf16_x2(self, sum: Self::F, p: *const u16) -> Self::F {
        // SAFETY: the same contract.
        add_values(self, sum, unsafe { self.load_bf16_x2_unordered(p) })
    }
    /// Stores the first `n <= LANES` lanes as bfloat16, rounded to nearest even.
    ///
    /// # Safety
    /// `p` must be valid for writes of `n` elements, and `n <= LANES`.
    unsafe fn store_bf16_part(self, p: *mut u16, v: Self::F, n: usize);

    /// Stores four vectors as `i8`: rounded to nearest even, at most 127 in magnitude, 0 for NaN;
    /// past the caches where `STREAM`.
    ///
    /// # Safety
    /// `p` must be valid for writes of `4 * LANES` bytes, and aligned to as many where `STREAM`.
    unsafe fn store_i8_x4<const STREAM: bool>(self, p: *mut u8, v: [Self::F; 4]);
    /// Stores four vectors as [`F8E4M3`](crate::F8E4M3), as its `from_f32` does; past the caches
    /// where `STREAM`.
    ///
    /// # Safety
    /// As [`store_i8_x4`](Simd::store_i8_x4).
    unsafe fn store_e4m3_x4<const STREAM: bool>(self, p: *mut u8, v: [Self::F; 4]);
    /// Stores the first `n <= 16` of `bytes`.
    ///
    /// # Safety
    /// `p` must be valid for writes of `n` bytes, and `n <= 16`.
    #[inline(always)]
    unsafe fn store_bytes_part(self, p: *mut u8, bytes: &[u8; 64], n: usize) {
        // SAFETY: the caller vouches for `n` bytes.
        unsafe { p.copy_from_nonoverlapping(bytes.as_ptr(), n) };
    }
}
