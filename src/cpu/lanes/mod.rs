//! For kernels of your own: the vectors that this crate's kernels are written over, and the
//! functions of DyT, Derf and DyISRU on them, so that a matrix product can apply one of them to
//! what it loads, or to its results before it stores them.
//!
//! A [`Kernel`] is written once, over [`Lanes`]; [`run`] enters the copy of it that was compiled
//! for an instruction set. Here is the dot product of a row of weights with `tanh(alpha x)`:
//!
//! ```
//! use dynorm::Isa;
//! use dynorm::cpu::lanes::{self, Kernel, Lanes, Tanh};
//!
//! struct Dot<'a> {
//!     alpha: f32,
//!     row: &'a [f32],
//!     x: &'a [f32],
//! }
//!
//! impl Kernel for Dot<'_> {
//!     type Output = f32;
//!
//!     #[inline(always)]
//!     fn run<L: Lanes>(self, lanes: L) -> f32 {
//!         let tanh = Tanh::new(lanes, self.alpha);
//!         let mut sum = lanes.splat(0.0);
//!         for (row, x) in self.row.chunks(L::COUNT).zip(self.x.chunks(L::COUNT)) {
//!             let [y] = tanh.apply([lanes.load(x)]);
//!             sum = lanes.mul_add(lanes.load(row), y, sum);
//!         }
//!         lanes.reduce_add(sum)
//!     }
//! }
//!
//! let (row, x) = ([0.5; 100], [1.0; 100]);
//! let dot = lanes::run(Isa::current()?, Dot { alpha: 2.0, row: &row, x: &x })?;
//! assert!((dot - 50.0 * 2.0_f32.tanh()).abs() < 1e-4);
//! # Ok::<(), dynorm::Error>(())
//! ```
//!
//! `examples/matvec` is a matrix-vector product with DyT, DyISRU or RMSNorm applied on load.
//!
//! # What makes it fast
//! * Kernels are compiled in your crate, with its settings. A vector operation is an instruction
//!   only where it is inlined into the function that has the instruction set: mark
//!   `#[inline(always)]` [`Kernel::run`] and every function between it and the vectors. One that is
//!   not is correct and many times slower, and so is a build without optimisation.
//! * A slice whose length the compiler sees to be [`COUNT`](Lanes::COUNT), such as those of
//!   `chunks_exact` or `&x[i..i + L::COUNT]`, is loaded and stored by one instruction; for another a
//!   branch comes before it.
//! * `apply` works on several vectors at once, so that the latency of one is hidden behind the
//!   others: four are a good number.

mod functions;
mod vector;

pub use functions::{Erf, Isru, Tanh};
pub use vector::Lanes;

use super::dispatch::enter;
use super::simd::{self, Simd};
use crate::{Error, Isa};
use vector::Token;

/// Work that is compiled once for each instruction set; the [module](self) has an example.
///
/// ```
/// use dynorm::Isa;
/// use dynorm::cpu::lanes::{self, Kernel, Lanes};
///
/// struct Count;
/// impl Kernel for Count {
///     type Output = usize;
///     #[inline(always)]
///     fn run<L: Lanes>(self, _: L) -> usize {
///         L::COUNT
///     }
/// }
/// assert_eq!(lanes::run(Isa::Portable, Count)?, 8);
/// # Ok::<(), dynorm::Error>(())
/// ```
pub trait Kernel {
    /// What the work gives.
    type Output;

    /// Does the work. Mark it `#[inline(always)]`, so that it takes over the instruction set of
    /// the function that enters it.
    fn run<L: Lanes>(self, lanes: L) -> Self::Output;
}

/// Runs `kernel` as it was compiled for `isa`, on the calling thread. Entering costs a few
/// nanoseconds, so give a kernel the whole of the work.
///
/// [`Isa::Avx512Bf16`] is the same here as [`Isa::Avx512`].
///
/// # Errors
/// [`Error::IsaMissing`] if the processor lacks `isa`.
///
/// ```
/// use dynorm::Isa;
/// use dynorm::cpu::lanes::{self, Kernel, Lanes};
///
/// struct Negate<'a>(&'a mut [f32]);
/// impl Kernel for Negate<'_> {
///     type Output = ();
///     #[inline(always)]
///     fn run<L: Lanes>(self, lanes: L) {
///         for part in self.0.chunks_mut(L::COUNT) {
///             let negated = lanes.sub(lanes.splat(0.0), lanes.load(part));
///             lanes.store(negated, part);
///         }
///     }
/// }
///
/// let mut values = [1.0, 2.0, 3.0];
/// lanes::run(Isa::current()?, Negate(&mut values))?;
/// assert_eq!(values, [-1.0, -2.0, -3.0]);
/// # Ok::<(), dynorm::Error>(())
/// ```
pub fn run<K: Kernel>(isa: Isa, kernel: K) -> Result<K::Output, Error> {
    // No operation of `Lanes` uses what the last one adds.
    let isa = isa.checked()?.min(Isa::Avx512);
    // SAFETY: the processor has it, and with it the lesser ones.
    Ok(unsafe { enter(isa, Entered(kernel)) })
}

/// A [`Kernel`] as the crate's own entry takes it.
struct Entered<K>(K);

impl<K: Kernel> simd::Kernel for Entered<K> {
    type Output = K::Output;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> K::Output {
        self.0.run(Token(s))
    }
}
