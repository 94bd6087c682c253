//! A call's parts as C gives them: types that are known at run time, each of which may be missing.

use super::{Forward, input};
use crate::tensor::Channels;
use crate::{Isa, RowStatistics, Rows};

// In place, and inlined: what hands a whole call on by value copies it, which takes as long as a short row.
impl<'a> Forward<'a> {
    #[inline(always)]
    pub(crate) fn set_operands(
        &mut self,
        [weight, bias]: [Option<Channels<'a>>; 2],
        weight_offset: f32,
    ) {
        (self.weight, self.bias, self.weight_offset) = (weight, bias, weight_offset);
    }

    #[inline(always)]
    pub(crate) fn set_gate(&mut self, z: Option<Rows<'a>>) {
        self.gate = z.map(input);
    }

    #[inline(always)]
    pub(crate) fn set_statistics(&mut self, statistics: Option<&'a [RowStatistics]>) {
        self.statistics = statistics;
    }

    /// Instruction set and streaming, if they are chosen.
    #[inline(always)]
    pub(crate) fn set_options(&mut self, isa: Option<Isa>, stream: Option<bool>) {
        (self.isa, self.stream) = (isa, stream);
    }
}
