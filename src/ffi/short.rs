//! The calls that a model makes for every token, seen at a glance: rows of one type without gaps, with a weight and perhaps
//! a bias of that type or of f32, and perhaps a residual.
//!
//! Between two of them the processor has seen the weights of a layer, so that all code and data of the call are in memory
//! again: here only what such a call needs is looked at, and what is described is what the kernel takes.

use super::args::{dynorm_forward_args, dynorm_norm};
use super::enums::{dynorm_element, dynorm_function, number};
use super::memory::Memory;
use crate::ElementType;
use crate::cpu::{Kind, Named, ShortCall, ShortRows, are_few, prefetch};
use core::ffi::c_void;
use core::ptr::NonNull;

const F32: u32 = dynorm_element::DYNORM_F32 as u32;
const F16: u32 = dynorm_element::DYNORM_F16 as u32;
const BF16: u32 = dynorm_element::DYNORM_BF16 as u32;

impl dynorm_forward_args {
    /// The call, if it is one of these, with all of its memory in order; its parameters have not been looked at. Others may
    /// be in order, too; that takes a closer look. All that is accepted here is so by [`Forward`](crate::Forward)'s own `short`,
    /// see [`ShortCall::is_undivided`].
    #[inline(always)]
    pub(super) fn short(&self) -> Option<ShortCall> {
        let Self { rows, channels, .. } = *self;
        // First, since then no product is too large.
        if !are_few(rows, channels) {
            return None;
        }
        prefetch([self.x.cast(), self.weight.cast(), self.y.cast_const().cast()]);
        let is_strided = |stride| (stride != 0) & (stride != channels);
        let strided = is_strided(self.x_row_stride) | is_strided(self.y_row_stride);
        let rare = self.z.addr() | self.statistics.addr() | self.heads;
        let chosen = number(self.scale_mode) | number(self.isa) | self.flags;
        let reserved = self.norm.reserved[0] | self.norm.reserved[1];
        let reserved = reserved | self.reserved | self.scale_group_size;
        let of_two_types = number(self.x_element) != number(self.y_element);
        if (rare != 0) | (chosen | reserved != 0) | strided | of_two_types {
            return None;
        }
        let Named { kind, parameters } = self.norm.named()?;
        let element = match number(self.x_element) {
            F32 => ElementType::F32,
            F16 => ElementType::F16,
            BF16 => ElementType::Bf16,
            _ => return None,
        };
        // Not from a table.
        let size = 2 << u32::from(number(self.x_element) == F32);
        let at = |data| Memory::of(data, [size; 2], rows * channels);
        let (x_at, y_at) = (at(self.x)?, at(self.y)?);
        let weight_type = number(self.weight_element);
        let of_f32 = weight_type == F32;
        if !of_f32 & (weight_type != number(self.x_element)) {
            return None;
        }
        let operand = |data| Memory::of(data, [2 << u32::from(of_f32); 2], channels);
        let (weight, weight_at) = (not_null(self.weight)?, operand(self.weight)?);
        let bias = NonNull::new(self.bias.cast_mut());
        let bias_at = match bias {
            None => Memory::NONE,
            Some(_) if number(self.bias_element) != weight_type => return None,
            Some(_) => operand(self.bias)?,
        };
        let mut apart = (self.x == self.y) | y_at.is_apart_from(x_at);
        apart &= y_at.is_apart_from_all([weight_at, bias_at]);
        let residual = match NonNull::new(self.residual) {
            None if !self.residual_sum.is_null() => return None,
            None => None,
            Some(residual) => {
                let sum = NonNull::new(self.residual_sum).unwrap_or(residual);
                let of_type = number(self.residual_element) == number(self.x_element);
                let strided = is_strided(self.residual_row_stride)
                    // What is not there may have any.
                    || !self.residual_sum.is_null() && is_strided(self.residual_sum_row_stride);
                if strided | !of_type {
                    return None;
                }
                let residual_at = at(residual.as_ptr())?;
                let sum_at = at(sum.as_ptr())?;
                apart &= (sum == residual) | sum_at.is_apart_from(residual_at);
                apart &= sum_at.is_apart_from_all([x_at, y_at, weight_at, bias_at]);
                apart &= y_at.is_apart_from(residual_at);
                Some([residual.cast(), sum.cast()])
            }
        };
        if !apart {
            return None;
        }
        let rows = ShortRows {
            parameters,
            rows,
            channels,
            x: not_null(self.x)?,
            y: not_null(self.y)?,
            weight,
            bias: bias.map(NonNull::cast),
            weight_offset: self.weight_offset,
            residual,
        };
        let weight = if of_f32 { ElementType::F32 } else { element };
        Some(ShortCall { kind, element, weight, isa: None, rows })
    }
}

#[inline(always)]
fn not_null(data: *const c_void) -> Option<NonNull<u8>> {
    NonNull::new(data.cast_mut().cast())
}

impl dynorm_norm {
    /// The function, without a jump.
    #[inline(always)]
    fn named(&self) -> Option<Named> {
        const {
            let (first, last) = (dynorm_function::DYNORM_RMS_NORM, dynorm_function::DYNORM_DERF);
            assert!(first as usize == Kind::RmsNorm as usize + 1);
            assert!(last as usize == Kind::Derf as usize + 1);
        }
        let kind = (number(self.function) as usize).wrapping_sub(1);
        let of_row = (kind == Kind::RmsNorm as usize) | (kind == Kind::LayerNorm as usize);
        let (isru, derf) = (kind == Kind::DyIsru as usize, kind == Kind::Derf as usize);
        let of_element = if isru { self.beta } else { self.alpha };
        let first = if of_row { self.eps } else { of_element };
        let second = if isru { self.scale } else { self.shift };
        let second = if isru | derf { second } else { 0.0 };
        (kind <= Kind::Derf as usize).then_some(Named { kind, parameters: [first, second] })
    }
}
