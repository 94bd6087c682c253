//! What every kernel is given: the twin of `Args` in `kernels/args.cuh`.

use super::geometry::token_stride;
use super::rows::DeviceRows;
use crate::{ElementType, QuantizedType};

/// The number that stands for an operand that there is none of.
pub(crate) const ABSENT: u32 = 3;

/// The number that stands for a type in [`Args`].
pub(crate) const fn type_number(element: ElementType) -> u32 {
    match element {
        ElementType::F32 => 0,
        ElementType::F16 => 1,
        ElementType::Bf16 => 2,
    }
}

/// The same for outputs of 8 bits.
pub(crate) const fn quantized_type_number(element: QuantizedType) -> u32 {
    match element {
        QuantizedType::I8 => 4,
        QuantizedType::F8E4M3 => 5,
    }
}

/// Values of `scale`.
pub(crate) const SCALE_NUMBER: u32 = 0;
pub(crate) const SCALE_READ: u32 = 1;
pub(crate) const SCALE_READ_PER_ROW: u32 = 2;
pub(crate) const SCALE_COMPUTED: u32 = 3;

/// Values of `precision`.
pub(crate) const PRECISION_FULL: u32 = 0;
pub(crate) const PRECISION_SHORT: u32 = 1;
pub(crate) const PRECISION_FAST: u32 = 2;

/// Values of `statistics`.
pub(crate) const STATISTICS_NONE: u32 = 0;
pub(crate) const STATISTICS_GIVEN: u32 = 1;
pub(crate) const STATISTICS_WANTED: u32 = 2;

/// A tensor besides x and y.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tensor {
    pub(crate) address: u64,
    pub(crate) stride: u64,
    pub(crate) token_stride: u64,
    pub(crate) element: u32,
    pub(crate) reserved: u32,
}

impl Tensor {
    pub(crate) const NONE: Self =
        Self { address: 0, stride: 0, token_stride: 0, element: ABSENT, reserved: 0 };

    /// Rows of which `heads` are a token's.
    pub(crate) fn new(of: DeviceRows, heads: usize) -> Self {
        Self {
            address: of.address,
            stride: of.layout.stride as u64,
            token_stride: token_stride(of.layout, heads),
            element: type_number(of.element),
            reserved: 0,
        }
    }
}

/// A power of two that brings `beta`, times its square, between 2^-70 and 2^68.
pub(crate) fn prescale(beta: f32) -> f32 {
    const FAR: f32 = (1_u64 << 60) as f32;
    if beta < 1.0 / FAR {
        (1_u64 << 40) as f32
    } else if beta > FAR {
        1.0 / (1_u64 << 30) as f32
    } else {
        1.0
    }
}

/// Adding -0 changes no number; adding 0 changes -0.
pub(crate) fn or_minus_zero(summand: f32) -> f32 {
    if summand == 0.0 { -0.0 } else { summand }
}

/// The single argument of a kernel; see `kernels/args.cuh` for what each is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Args {
    pub(crate) x: u64,
    pub(crate) y: u64,
    pub(crate) weight: u64,
    pub(crate) bias: u64,
    pub(crate) x_stride: u64,
    pub(crate) y_stride: u64,
    pub(crate) rows: u64,
    pub(crate) channels: u64,
    pub(crate) weight_offset: f32,
    pub(crate) parameter: [f32; 3],
    pub(crate) y_type: u32,
    pub(crate) weight_type: u32,
    pub(crate) bias_type: u32,
    pub(crate) threads: u32,
    pub(crate) row_shift: u32,
    pub(crate) vectors: u32,
    pub(crate) segments: u32,
    pub(crate) rows_a_block: u32,
    pub(crate) column_blocks: u32,
    pub(crate) column_magic: u32,
    pub(crate) column_shift: u32,
    pub(crate) spread: u32,
    pub(crate) heads: u32,
    pub(crate) head_magic: u32,
    pub(crate) head_shift: u32,
    pub(crate) scale: u32,
    pub(crate) statistics: u32,
    pub(crate) factor: f32,
    pub(crate) precision: u32,
    pub(crate) x_token_stride: u64,
    pub(crate) y_token_stride: u64,
    pub(crate) scales: u64,
    pub(crate) statistics_address: u64,
    pub(crate) addend: Tensor,
    pub(crate) sum: Tensor,
    pub(crate) gate: Tensor,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::backward::BackwardArgs;
    use crate::cuda::ptx;

    #[test]
    fn kernels_declare_an_argument_of_this_size() {
        for file in ptx::FILES {
            let (name, text) = (file.name, String::from_utf8(file.text()).unwrap());
            let of_gradients = name.contains(ptx::GRADIENTS);
            let size = if of_gradients { size_of::<BackwardArgs>() } else { size_of::<Args>() };
            let parameters: Vec<_> = text.matches(".param").collect();
            let ours = format!("[{size}]");
            let declared = text
                .lines()
                .filter(|line| line.trim_start().starts_with(".param .align 8 .b8"))
                .inspect(|line| assert!(line.contains(&ours), "{name}: {line}, not {ours}"))
                .count();
            assert!(declared > 0 && declared <= parameters.len(), "{name}");
            assert_eq!(declared, text.matches(".entry").count(), "{name}");
        }
    }
}
