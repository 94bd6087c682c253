//! What every kernel is given: the twin of `Args` in `kernels/args.cuh`.

use crate::ElementType;

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
    pub(crate) reserved: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::ptx;

    #[test]
    fn kernels_declare_an_argument_of_this_size() {
        let size = size_of::<Args>();
        for (name, text) in ptx::FILES {
            let text = str::from_utf8(text).unwrap();
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
