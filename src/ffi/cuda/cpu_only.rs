//! What a call's struct can ask of the CPU, and not of a GPU.

use super::super::args::dynorm_forward_args;
use super::super::enums::{Enum, dynorm_element, number};
use super::super::refusal::Refusal;

impl dynorm_forward_args {
    /// # Errors
    /// [`Refusal::CpuOnly`] if y is of 8 bits, or a field is not 0 that came after `reserved`.
    pub(super) fn check_for_gpu(&self) -> Result<(), Refusal> {
        let eight_bits = [dynorm_element::DYNORM_I8, dynorm_element::DYNORM_F8_E4M3];
        let y_element = number(self.y_element);
        let fields = [
            ("args.y_element of 8 bits", eight_bits.iter().any(|of| of.number() == y_element)),
            ("args.residual", !self.residual.is_null()),
            ("args.residual_sum", !self.residual_sum.is_null()),
            ("args.residual_row_stride", self.residual_row_stride != 0),
            ("args.residual_sum_row_stride", self.residual_sum_row_stride != 0),
            ("args.z", !self.z.is_null()),
            ("args.z_row_stride", self.z_row_stride != 0),
            ("args.residual_element", number(self.residual_element) != 0),
            ("args.z_element", number(self.z_element) != 0),
            ("args.heads", self.heads != 0),
            ("args.x_token_stride", self.x_token_stride != 0),
            ("args.y_token_stride", self.y_token_stride != 0),
            ("args.residual_token_stride", self.residual_token_stride != 0),
            ("args.residual_sum_token_stride", self.residual_sum_token_stride != 0),
            ("args.z_token_stride", self.z_token_stride != 0),
            ("args.scales", !self.scales.is_null()),
            ("args.scale_mode", number(self.scale_mode) != 0),
            ("args.reserved_2", self.reserved_2 != 0),
            ("args.statistics", !self.statistics.is_null()),
        ];
        let given = fields.into_iter().find(|(_, is_given)| *is_given);
        given.map_or(Ok(()), |(what, _)| Err(Refusal::CpuOnly { what }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::args::OLDEST;
    use super::*;
    use core::mem::MaybeUninit;

    #[test]
    fn no_later_field_is_forgotten() {
        for byte in 0..size_of::<dynorm_forward_args>() {
            let mut args = MaybeUninit::<dynorm_forward_args>::zeroed();
            // SAFETY: it has that many bytes, and any of them make valid fields.
            let args = unsafe {
                args.as_mut_ptr().cast::<u8>().add(byte).write(0x80);
                args.assume_init()
            };
            assert_eq!(args.check_for_gpu().is_err(), byte >= OLDEST, "byte {byte}");
        }
    }
}
