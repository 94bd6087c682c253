//! Weight and bias of short calls.

use crate::cpu::access::Access;
use crate::cpu::affine::{Affine, multiply_and_add};
use crate::cpu::simd::{Simd, element::Storage, seldom};
use core::ptr::NonNull;

/// `(weight + offset) * scale * f + bias`, with weight and bias of type `W`: for a few rows they are not brought into a simpler
/// form first.
#[derive(Clone, Copy)]
pub(super) struct OfType<'a, W> {
    weight: NonNull<W>,
    bias: Option<NonNull<W>>,
    /// By reference, so that what few calls have stays in memory.
    adjusted: &'a Adjusted,
}

/// What a weight is added to and multiplied with.
pub(super) struct Adjusted {
    /// Whether the offset is not 0, or the scale not 1.
    is_more: bool,
    /// -0 for none, which changes no weight's sign.
    offset: f32,
    scale: f32,
}

impl Adjusted {
    #[inline(always)]
    pub(super) fn new(offset: f32, scale: f32) -> Self {
        let is_more = offset != 0.0 || scale != 1.0;
        Self { is_more, offset: if offset == 0.0 { -0.0 } else { offset }, scale }
    }
}

impl<'a, W> OfType<'a, W> {
    /// With both aligned to their elements.
    #[inline(always)]
    pub(super) fn new(
        weight: NonNull<u8>,
        bias: Option<NonNull<u8>>,
        adjusted: &'a Adjusted,
    ) -> Self {
        Self { weight: weight.cast(), bias: bias.map(NonNull::cast), adjusted }
    }
}

impl<W: Storage> Affine for OfType<'_, W> {
    const PLAIN: bool = true;

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
        // SAFETY: the caller vouches for the operands.
        let mut w: [S::F; U] = unsafe { access.load(s, self.weight.as_ptr().add(i)) };
        if seldom(&self.adjusted.is_more) {
            let (offset, scale) = (seldom(&self.adjusted.offset), seldom(&self.adjusted.scale));
            for j in 0..U {
                w[j] = s.mul(s.add(w[j], s.splat(offset)), s.splat(scale));
            }
        }
        // SAFETY: as above.
        unsafe { multiply_and_add(s, access, f, w, self.bias.map(|bias| bias.as_ptr().add(i))) }
    }
}
