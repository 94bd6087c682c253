//! Tensors in device memory, by address.

use crate::tensor::Layout;
use crate::{ElementType, Error};

/// A tensor in device memory: `rows` rows of `channels` elements.
///
/// The address may come from any library that shares the context: PyTorch's `data_ptr()`,
/// candle, ggml. Nothing is owned or kept alive.
///
/// ```
/// use dynorm::{ElementType, cuda::DeviceRows};
/// // The second quarter of rows that hold four heads of 128 channels.
/// let packed = 0x7f00_0000_0000;
/// let head = DeviceRows::with_stride(packed + 128 * 2, ElementType::Bf16, 1000, 128, 512)?;
/// assert_eq!((head.rows(), head.channels()), (1000, 128));
/// # Ok::<(), dynorm::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceRows {
    pub(crate) address: u64,
    pub(crate) element: ElementType,
    pub(crate) layout: Layout,
}

impl DeviceRows {
    /// Rows that follow one another without gaps.
    ///
    /// # Errors
    /// [`Error::NoChannels`], or [`Error::TooLarge`].
    pub fn new(
        address: u64,
        element: ElementType,
        rows: usize,
        channels: usize,
    ) -> Result<Self, Error> {
        Self::with_stride(address, element, rows, channels, channels)
    }

    /// Rows that start every `stride` elements. What lies between them is neither read nor
    /// written.
    ///
    /// # Errors
    /// As [`new`](Self::new); [`Error::Stride`] if `stride < channels`.
    pub fn with_stride(
        address: u64,
        element: ElementType,
        rows: usize,
        channels: usize,
        stride: usize,
    ) -> Result<Self, Error> {
        let layout = Layout { rows, channels, stride };
        layout.span("tensor", element.size())?;
        Ok(Self { address, element, layout })
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.layout.rows
    }

    /// The number of channels of a row.
    pub fn channels(&self) -> usize {
        self.layout.channels
    }

    /// The type of the elements.
    pub fn element_type(&self) -> ElementType {
        self.element
    }

    /// Bytes from the first element to behind the last; validated by the constructor.
    fn bytes(&self) -> u64 {
        let Layout { rows, channels, stride } = self.layout;
        (((rows - 1) * stride + channels) * self.element.size()) as u64
    }

    /// Whether an element of `self` shares memory with one of `other`.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        if self.address >= other.address.saturating_add(other.bytes())
            || other.address >= self.address.saturating_add(self.bytes())
        {
            return false;
        }
        let row_bytes = |rows: &Self| (rows.layout.channels * rows.element.size()) as u64;
        let stride_bytes = |rows: &Self| (rows.layout.stride * rows.element.size()) as u64;
        // Columns side by side in rows of one length, such as the parts of a packed q, k, v.
        let stride = stride_bytes(self);
        let apart =
            (other.address.wrapping_sub(self.address) as i64).rem_euclid(stride as i64) as u64;
        let side_by_side = stride == stride_bytes(other)
            && apart >= row_bytes(self)
            && stride - apart >= row_bytes(other);
        !side_by_side
    }
}

/// One value per channel in device memory: a weight or a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceChannels {
    pub(crate) address: u64,
    pub(crate) element: ElementType,
}

#[cfg(test)]
mod tests {
    use super::*;
    use ElementType::{Bf16, F32};

    #[test]
    fn overlaps_are_found() {
        let rows = |address, stride| DeviceRows::with_stride(address, F32, 4, 8, stride).unwrap();
        let x = rows(4096, 8);
        assert!(x.overlaps(&x));
        assert!(x.overlaps(&rows(4096 + 4, 8)));
        assert!(!x.overlaps(&rows(4096 + 128, 8)));
        assert!(!rows(4096 + 128, 8).overlaps(&x));
        // Two halves of rows of 16, either way round; then one column too far.
        assert!(!rows(4096, 16).overlaps(&rows(4096 + 32, 16)));
        assert!(!rows(4096 + 32, 16).overlaps(&rows(4096, 16)));
        assert!(rows(4096, 16).overlaps(&rows(4096 + 28, 16)));
        assert!(rows(4096 + 28, 16).overlaps(&rows(4096, 16)));
        assert!(rows(4096, 16).overlaps(&rows(4096 + 32, 17)));
    }

    #[test]
    fn shapes_are_checked() {
        assert!(matches!(DeviceRows::new(0, Bf16, 1, 0), Err(Error::NoChannels { .. })));
        assert!(matches!(DeviceRows::with_stride(0, Bf16, 1, 8, 7), Err(Error::Stride { .. })));
        assert!(matches!(DeviceRows::new(0, Bf16, 1 << 60, 64), Err(Error::TooLarge { .. })));
    }
}
