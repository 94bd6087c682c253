//! Weight and bias, after the function.

use super::access::Access;
use super::job::{Job, Operand};
use super::seam::Around;
use super::simd::{Simd, element::Storage, seldom};
use crate::ElementType;
use core::ptr::NonNull;
use half::{bf16, f16};

/// What is done after the function, channel by channel.
pub(crate) trait Affine: Copy {
    /// Whether this is what most calls come down to.
    const PLAIN: bool;

    /// Whether something is added.
    fn has_bias(self) -> bool;

    /// The same around the end of a row: its channels are the last of the row, a block of them, and the
    /// first of the next one. Only for what most calls come down to.
    ///
    /// # Safety
    /// Weight and bias must be valid for `channels` channels, which are at least a block. `arounds` must
    /// outlive what is returned.
    unsafe fn around<S: Simd>(self, _channels: usize, _arounds: &mut [Around; 2]) -> Option<Self> {
        None
    }

    /// Applies it to results `f` of the function, which are those of the channels from `i` on.
    ///
    /// # Safety
    /// Weight and bias must be valid for the channels that `access` reaches from `i` on.
    unsafe fn apply<S: Simd, A: Access, const U: usize>(
        self,
        s: S,
        access: A,
        i: usize,
        f: [S::F; U],
    ) -> [S::F; U];
}

/// `weight * f + bias`, of f32: what most calls come down to (see `operands`). Kernels that have
/// nothing else in them are faster, if only for the registers.
#[derive(Clone, Copy)]
pub(crate) struct Plain {
    weight: NonNull<f32>,
    bias: Option<NonNull<f32>>,
}

impl Plain {
    /// That of `job`, if it has no more.
    #[inline(always)]
    pub(crate) fn of(job: &Job) -> Option<Self> {
        let plain = |o: Operand| o.element == ElementType::F32;
        match job.weight {
            Some(weight)
                if plain(weight)
                    && job.bias.is_none_or(plain)
                    && job.weight_offset == 0.0
                    && job.scale == 1.0 =>
            {
                Some(Self { weight: weight.data.cast(), bias: job.bias.map(|b| b.data.cast()) })
            }
            _ => None,
        }
    }
}

impl Affine for Plain {
    const PLAIN: bool = true;

    #[inline(always)]
    fn has_bias(self) -> bool {
        self.bias.is_some()
    }

    #[inline(always)]
    unsafe fn around<S: Simd>(
        self,
        channels: usize,
        [weight, bias]: &mut [Around; 2],
    ) -> Option<Self> {
        let of = |operand: NonNull<f32>, around: &mut Around| {
            // SAFETY: the caller vouches for the operands.
            unsafe { around.fill::<S>(operand, channels) }
        };
        Some(Self { weight: of(self.weight, weight), bias: self.bias.map(|b| of(b, bias)) })
    }

    #[inline(always)]
    unsafe fn apply<S: Simd, A: Access, const U: usize>(
        self,
        s: S,
        access: A,
        i: usize,
        f: [S::F; U],
    ) -> [S::F; U] {
        // SAFETY: the caller vouches for the operands.
        unsafe {
            let w = access.load(s, self.weight.as_ptr().add(i));
            multiply_and_add(s, access, f, w, self.bias.map(|bias| bias.as_ptr().add(i)))
        }
    }
}

/// `w * f`, and `bias` added if there is one.
///
/// # Safety
/// It must be valid for the channels that `access` reaches.
#[inline(always)]
pub(super) unsafe fn multiply_and_add<S: Simd, A: Access, W: Storage, const U: usize>(
    s: S,
    access: A,
    mut f: [S::F; U],
    w: [S::F; U],
    bias: Option<*mut W>,
) -> [S::F; U] {
    if let Some(bias) = bias {
        // SAFETY: the same contract.
        let b: [S::F; U] = unsafe { access.load(s, bias.cast_const()) };
        for j in 0..U {
            f[j] = s.mul_add(f[j], w[j], b[j]);
        }
    } else {
        for j in 0..U {
            f[j] = s.mul(f[j], w[j]);
        }
    }
    f
}

/// `(weight + weight_offset) * scale * f + bias`. Which of them are there, and of which type, is the
/// same for every block of a call: the branches are predicted and cost less than the copies of
/// all kernels that it would take to have none.
#[derive(Clone, Copy)]
pub(crate) struct General {
    weight: Option<Operand>,
    bias: Option<Operand>,
    weight_offset: f32,
    scale: f32,
}

impl General {
    /// That of `job`.
    #[inline(always)]
    pub(crate) fn of(job: &Job) -> Self {
        let Job { weight, bias, weight_offset, scale, .. } = *job;
        Self { weight, bias, weight_offset, scale }
    }
}

impl Affine for General {
    const PLAIN: bool = false;

    #[inline(always)]
    fn has_bias(self) -> bool {
        self.bias.is_some()
    }

    #[inline(always)]
    unsafe fn apply<S: Simd, A: Access, const U: usize>(
        self,
        s: S,
        access: A,
        i: usize,
        f: [S::F; U],
    ) -> [S::F; U] {
        let mut v = f;
        // SAFETY: the caller vouches for the operands.
        let (mut weight, bias) = unsafe {
            (
                self.weight.map(|w| load_operand::<S, A, U>(s, w, access, i)),
                self.bias.map(|b| load_operand::<S, A, U>(s, b, access, i)),
            )
        };
        // Not a closure: those are not always inlined, and instructions become calls then.
        if let Some(w) = &mut weight {
            if self.weight_offset != 0.0 {
                let offset = s.splat(seldom(&self.weight_offset));
                for j in 0..U {
                    w[j] = s.add(w[j], offset);
                }
            }
            if self.scale != 1.0 {
                let scale = s.splat(seldom(&self.scale));
                for j in 0..U {
                    w[j] = s.mul(w[j], scale);
                }
            }
        }
        if weight.is_none() && self.scale != 1.0 {
            weight = Some([s.splat(seldom(&self.scale)); U]);
        }
        match (weight, bias) {
            (None, None) => {}
            (Some(w), None) => {
                for j in 0..U {
                    v[j] = s.mul(f[j], w[j]);
                }
            }
            (None, Some(b)) => {
                for j in 0..U {
                    v[j] = s.add(f[j], b[j]);
                }
            }
            (Some(w), Some(b)) => {
                for j in 0..U {
                    v[j] = s.mul_add(f[j], w[j], b[j]);
                }
            }
        }
        v
    }
}

/// # Safety
/// `operand` must be valid for the channels that `access` reaches from `i` on.
#[inline(always)]
pub(super) unsafe fn load_operand<S: Simd, A: Access, const U: usize>(
    s: S,
    operand: Operand,
    access: A,
    i: usize,
) -> [S::F; U] {
    let p = operand.data.as_ptr();
    // SAFETY: the caller vouches for the operand.
    unsafe {
        match operand.element {
            ElementType::F32 => access.load(s, p.cast::<f32>().add(i)),
            ElementType::F16 => access.load(s, p.cast::<f16>().add(i)),
            ElementType::Bf16 => access.load(s, p.cast::<bf16>().add(i)),
        }
    }
}
