//! Where the rows of a tensor are.

use candle::{Layout, Result};

/// The rows of a tensor in its storage, in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowLayout {
    /// Where the first one starts.
    pub(crate) start: usize,
    pub(crate) rows: usize,
    pub(crate) channels: usize,
    /// From one row's start to the next one's.
    pub(crate) stride: usize,
}

impl RowLayout {
    /// The rows along the last dimension. Whether the stride leaves room for a row is for dynorm
    /// to say.
    pub(crate) fn of(layout: &Layout, op: &'static str) -> Result<Self> {
        let refused = |why| {
            let (shape, strides) = (layout.shape(), layout.stride());
            candle::Error::Msg(format!(
                "{op}: {why} in a tensor of shape {shape:?} and strides {strides:?}; call contiguous() first"
            ))
            .bt()
        };
        let (Some((&channels, outer)), Some((&channel_stride, outer_strides))) =
            (layout.dims().split_last(), layout.stride().split_last())
        else {
            candle::bail!("{op}: a scalar has no channels");
        };
        let dense = Self { start: layout.start_offset(), rows: 0, channels, stride: channels };
        if layout.shape().elem_count() == 0 {
            return Ok(dense);
        }
        if channel_stride != 1 && channels != 1 {
            return Err(refused("channels do not lie side by side"));
        }
        // From the innermost dimension outwards, each must step over the whole of those before.
        let mut found = Self { rows: 1, ..dense };
        for (&count, &stride) in outer.iter().zip(outer_strides).rev() {
            if count == 1 {
                continue;
            }
            if found.rows == 1 {
                found.stride = stride;
            } else if stride != found.rows * found.stride {
                return Err(refused("rows do not lie at even distances"));
            }
            found.rows *= count;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::{DType, Device, Tensor};

    fn of(x: &Tensor) -> Result<RowLayout> {
        RowLayout::of(x.layout(), "op")
    }

    #[test]
    fn dimensions_before_the_last_are_rows() -> Result<()> {
        let x = Tensor::zeros((2, 3, 4, 5), DType::F32, &Device::Cpu)?;
        let found = |start, rows, channels, stride| RowLayout { start, rows, channels, stride };
        assert_eq!(of(&x)?, found(0, 24, 5, 5));
        assert_eq!(of(&x.narrow(3, 1, 2)?)?, found(1, 24, 2, 5));
        assert_eq!(of(&x.narrow(0, 1, 1)?)?, found(60, 12, 5, 5));
        assert_eq!(of(&x.narrow(2, 1, 1)?)?, found(5, 6, 5, 20));
        let column = x.narrow(0, 0, 1)?.narrow(1, 0, 1)?.t()?.narrow(3, 2, 1)?;
        assert_eq!(of(&column)?, found(10, 5, 1, 1), "one channel needs no neighbours");
        Ok(())
    }

    #[test]
    fn other_layouts_are_refused() -> Result<()> {
        let x = Tensor::zeros((2, 3, 4, 5), DType::F32, &Device::Cpu)?;
        let why = |x: &Tensor| of(x).unwrap_err().to_string();
        assert!(why(&x.t()?).contains("channels do not lie side by side"));
        assert!(why(&x.narrow(2, 1, 2)?).contains("rows do not lie at even distances"));
        assert!(why(&x.transpose(1, 2)?).contains("call contiguous() first"));
        assert!(why(&Tensor::new(1_f32, &Device::Cpu)?).contains("scalar"));
        Ok(())
    }
}
