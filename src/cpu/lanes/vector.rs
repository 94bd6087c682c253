//! What a kernel outside this crate sees of a vector.

use crate::cpu::simd::{
    Simd,
    element::{Output, Storage},
};
use crate::{Element, ElementType};
use half::{bf16, f16};

/// An instruction set inside a [`Kernel`](super::Kernel): what vectors of f32 there are, and what they can do.
///
/// A value is the proof that the processor has the instructions; only [`run`](super::run) makes one, and only
/// this crate implements the trait.
///
/// ```
/// use dynorm::cpu::lanes::Lanes;
///
/// /// The sum of the squares of `x`.
/// #[inline(always)]
/// fn sum_of_squares<L: Lanes>(lanes: L, x: &[f32]) -> f32 {
///     let mut sum = lanes.splat(0.0);
///     for part in x.chunks(L::COUNT) {
///         let x = lanes.load(part);
///         sum = lanes.mul_add(x, x, sum);
///     }
///     lanes.reduce_add(sum)
/// }
/// ```
pub trait Lanes: sealed::Sealed + Copy {
    /// A vector of [`COUNT`](Lanes::COUNT) values of f32, in registers.
    type Vector: Copy;
    /// Number of lanes.
    const COUNT: usize;

    /// What the operations are made of.
    #[doc(hidden)]
    #[allow(private_bounds, reason = "its methods are not for outside")]
    type Simd: Simd<F = Self::Vector>;
    #[doc(hidden)]
    fn simd(self) -> Self::Simd;

    /// `value` in every lane.
    #[inline(always)]
    fn splat(self, value: f32) -> Self::Vector {
        self.simd().splat(value)
    }

    /// The first elements of `from`, widened to f32: as many as there are lanes, or all that there
    /// are; the lanes left over are +0.
    #[inline(always)]
    fn load<E: Element>(self, from: &[E]) -> Self::Vector {
        let (p, n) = (from.as_ptr(), from.len());
        // The compiler makes a plain access of a whole vector where it is told that it is one.
        // SAFETY: `from` has `n` elements.
        unsafe {
            if n < Self::COUNT {
                load(self.simd(), p, n)
            } else {
                load(self.simd(), p, Self::COUNT)
            }
        }
    }

    /// Writes the first lanes to `to`, rounded to nearest even: as many as it has elements, or all
    /// that there are; elements left over keep their values.
    #[inline(always)]
    fn store<E: Element>(self, vector: Self::Vector, to: &mut [E]) {
        let (p, n) = (to.as_mut_ptr(), to.len());
        // As in `load`; to store with a mask takes many times as long on some processors.
        // SAFETY: `to` has `n` elements.
        unsafe {
            if n < Self::COUNT {
                store(self.simd(), p, vector, n);
            } else {
                store(self.simd(), p, vector, Self::COUNT);
            }
        }
    }

    /// `a + b`.
    #[inline(always)]
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        self.simd().add(a, b)
    }

    /// `a - b`.
    #[inline(always)]
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        self.simd().sub(a, b)
    }

    /// `a * b`.
    #[inline(always)]
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        self.simd().mul(a, b)
    }

    /// `a * b + c`, rounded once where the instruction set has a fused operation, else twice.
    #[inline(always)]
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
        self.simd().mul_add(a, b, c)
    }

    /// The sum of all lanes, in an order that depends on the instruction set alone.
    #[inline(always)]
    fn reduce_add(self, a: Self::Vector) -> f32 {
        self.simd().reduce_add(a)
    }
}

/// # Safety
/// `p` must be valid for reads of `n` elements, and `n <= S::LANES`.
#[inline(always)]
unsafe fn load<S: Simd, E: Element>(s: S, p: *const E, n: usize) -> S::F {
    // SAFETY: the same contract; `TYPE` names the type of the elements.
    unsafe {
        match E::TYPE {
            ElementType::F32 => f32::load_part(s, p.cast(), n),
            ElementType::F16 => f16::load_part(s, p.cast(), n),
            ElementType::Bf16 => bf16::load_part(s, p.cast(), n),
        }
    }
}

/// # Safety
/// `p` must be valid for writes of `n` elements, and `n <= S::LANES`.
#[inline(always)]
unsafe fn store<S: Simd, E: Element>(s: S, p: *mut E, v: S::F, n: usize) {
    // SAFETY: the same contract; `TYPE` names the type of the elements.
    unsafe {
        match E::TYPE {
            ElementType::F32 => f32::store_part(s, p.cast(), v, n),
            ElementType::F16 => f16::store_part(s, p.cast(), v, n),
            ElementType::Bf16 => bf16::store_part(s, p.cast(), v, n),
        }
    }
}

mod sealed {
    pub trait Sealed {}
    impl<S> Sealed for super::Token<S> {}
}

/// The crate's own token as others see it.
#[derive(Clone, Copy)]
pub(super) struct Token<S>(pub(super) S);

impl<S: Simd> Lanes for Token<S> {
    type Vector = S::F;
    type Simd = S;
    const COUNT: usize = S::LANES;

    #[inline(always)]
    fn simd(self) -> S {
        self.0
    }
}
