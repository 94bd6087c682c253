//! The functions of DyT, Derf and DyISRU, as a kernel outside this crate applies them.

use super::Lanes;
use crate::cpu::math;

/// `tanh(alpha x)`, the function of DyT, for one `alpha`: to the bit what
/// [`Norm::DyT`](crate::Norm::DyT) gives in f32 on the same instruction set.
///
/// ```
/// use dynorm::cpu::lanes::{Lanes, Tanh};
///
/// /// `weight * tanh(alpha x)` on its way into a product.
/// #[inline(always)]
/// fn prologue<L: Lanes>(lanes: L, tanh: &Tanh<L>, x: &[f32], weight: &[f32]) -> L::Vector {
///     let [y] = tanh.apply([lanes.load(x)]);
///     lanes.mul(y, lanes.load(weight))
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Tanh<L: Lanes> {
    s: L::Simd,
    function: math::Tanh<L::Simd>,
}

impl<L: Lanes> Tanh<L> {
    /// Prepares for an `alpha`, which must be finite: for another the results mean nothing.
    ///
    /// ```
    /// # use dynorm::cpu::lanes::{Lanes, Tanh};
    /// # #[inline(always)]
    /// # fn kernel<L: Lanes>(lanes: L) {
    /// let tanh = Tanh::new(lanes, 0.5);
    /// # }
    /// ```
    #[inline(always)]
    pub fn new(lanes: L, alpha: f32) -> Self {
        let s = lanes.simd();
        Self { s, function: math::Tanh::new(s, alpha) }
    }

    /// The function of every lane of `U` vectors.
    ///
    /// ```
    /// # use dynorm::cpu::lanes::{Lanes, Tanh};
    /// # #[inline(always)]
    /// # fn kernel<L: Lanes>(lanes: L, tanh: Tanh<L>, x: [L::Vector; 4]) {
    /// let y: [L::Vector; 4] = tanh.apply(x);
    /// # }
    /// ```
    #[inline(always)]
    pub fn apply<const U: usize>(&self, x: [L::Vector; U]) -> [L::Vector; U] {
        self.function.apply(self.s, x)
    }
}

/// `erf(alpha x + shift)`, the function of Derf, for one `alpha` and `shift`: to the bit what
/// [`Norm::Derf`](crate::Norm::Derf) gives in f32 on the same instruction set.
///
/// ```
/// use dynorm::cpu::lanes::{Erf, Lanes};
///
/// /// `erf(alpha x + shift)` of a product's results, on their way out.
/// #[inline(always)]
/// fn epilogue<L: Lanes>(lanes: L, erf: &Erf<L>, sums: [L::Vector; 4], y: &mut [f32]) {
///     let results = erf.apply(sums);
///     for (result, y) in results.into_iter().zip(y.chunks_mut(L::COUNT)) {
///         lanes.store(result, y);
///     }
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Erf<L: Lanes> {
    s: L::Simd,
    function: math::Erf<L::Simd>,
}

impl<L: Lanes> Erf<L> {
    /// Prepares for an `alpha` and a `shift`, which must be finite: for others the results mean
    /// nothing.
    ///
    /// ```
    /// # use dynorm::cpu::lanes::{Erf, Lanes};
    /// # #[inline(always)]
    /// # fn kernel<L: Lanes>(lanes: L) {
    /// let erf = Erf::new(lanes, 0.5, 0.0);
    /// # }
    /// ```
    #[inline(always)]
    pub fn new(lanes: L, alpha: f32, shift: f32) -> Self {
        let s = lanes.simd();
        Self { s, function: math::Erf::new(s, alpha, shift) }
    }

    /// The function of every lane of `U` vectors.
    ///
    /// ```
    /// # use dynorm::cpu::lanes::{Erf, Lanes};
    /// # #[inline(always)]
    /// # fn kernel<L: Lanes>(lanes: L, erf: Erf<L>, x: [L::Vector; 4]) {
    /// let y: [L::Vector; 4] = erf.apply(x);
    /// # }
    /// ```
    #[inline(always)]
    pub fn apply<const U: usize>(&self, x: [L::Vector; U]) -> [L::Vector; U] {
        self.function.apply(self.s, x)
    }
}

/// `x / sqrt(beta + x^2)`, the function of DyISRU without its scale, for one `beta`: to the bit
/// what [`Norm::DyIsru`](crate::Norm::DyIsru) with a scale of 1 gives in f32 on the same
/// instruction set.
///
/// ```
/// use dynorm::cpu::lanes::{Isru, Lanes};
///
/// /// `weight * x / sqrt(beta + x^2)` on its way into a product. A scale goes with the weight, or
/// /// with the product's result.
/// #[inline(always)]
/// fn prologue<L: Lanes>(lanes: L, isru: &Isru<L>, x: &[f32], weight: &[f32]) -> L::Vector {
///     let [y] = isru.apply([lanes.load(x)]);
///     lanes.mul(y, lanes.load(weight))
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Isru<L: Lanes> {
    s: L::Simd,
    function: math::Isru<L::Simd>,
}

impl<L: Lanes> Isru<L> {
    /// Prepares for a `beta`, which must be finite and above 0: for another the results mean
    /// nothing.
    ///
    /// ```
    /// # use dynorm::cpu::lanes::{Isru, Lanes};
    /// # #[inline(always)]
    /// # fn kernel<L: Lanes>(lanes: L) {
    /// let isru = Isru::new(lanes, 4.0);
    /// # }
    /// ```
    #[inline(always)]
    pub fn new(lanes: L, beta: f32) -> Self {
        let s = lanes.simd();
        Self { s, function: math::Isru::new(s, beta) }
    }

    /// The function of every lane of `U` vectors.
    ///
    /// ```
    /// # use dynorm::cpu::lanes::{Isru, Lanes};
    /// # #[inline(always)]
    /// # fn kernel<L: Lanes>(lanes: L, isru: Isru<L>, x: [L::Vector; 4]) {
    /// let y: [L::Vector; 4] = isru.apply(x);
    /// # }
    /// ```
    #[inline(always)]
    pub fn apply<const U: usize>(&self, x: [L::Vector; U]) -> [L::Vector; U] {
        self.function.apply(self.s, x)
    }
}
