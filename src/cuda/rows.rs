//! Tensors in device memory, by address.

use crate::place::Place;
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
    ///
    /// ```
    /// use dynorm::{ElementType::F16, cuda::DeviceRows};
    /// let address = 0x7f00_0000_0000; // as cuMemAlloc, PyTorch or candle give it
    /// assert!(DeviceRows::new(address, F16, 8, 4096).is_ok());
    /// ```
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
    ///
    /// ```
    /// use dynorm::{ElementType::F16, cuda::DeviceRows};
    /// // The first 128 channels of 384.
    /// assert!(DeviceRows::with_stride(0x7f00_0000_0000, F16, 8, 128, 384).is_ok());
    /// ```
    pub fn with_stride(
        address: u64,
        element: ElementType,
        rows: usize,
        channels: usize,
        stride: usize,
    ) -> Result<Self, Error> {
        let layout = Layout::new(rows, channels, stride);
        layout.span("tensor", element.size())?;
        Ok(Self { address, element, layout })
    }

    /// The number of rows.
    ///
    /// ```
    /// use dynorm::{ElementType::F16, cuda::DeviceRows};
    /// let x = DeviceRows::new(0x7f00_0000_0000, F16, 8, 4096)?;
    /// assert_eq!(x.rows(), 8);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn rows(&self) -> usize {
        self.layout.rows
    }

    /// The number of channels of a row.
    ///
    /// ```
    /// use dynorm::{ElementType::F16, cuda::DeviceRows};
    /// let x = DeviceRows::new(0x7f00_0000_0000, F16, 8, 4096)?;
    /// assert_eq!(x.channels(), 4096);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn channels(&self) -> usize {
        self.layout.channels
    }

    /// The type of the elements.
    ///
    /// ```
    /// use dynorm::{ElementType::F16, cuda::DeviceRows};
    /// let x = DeviceRows::new(0x7f00_0000_0000, F16, 8, 4096)?;
    /// assert_eq!(x.element_type(), F16);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn element_type(&self) -> ElementType {
        self.element
    }

    pub(crate) fn place(&self) -> Place {
        Place { address: self.address, element_size: self.element.size(), layout: self.layout }
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
    use ElementType::Bf16;

    #[test]
    fn shapes_are_checked() {
        assert!(matches!(DeviceRows::new(0, Bf16, 1, 0), Err(Error::NoChannels { .. })));
        assert!(matches!(DeviceRows::with_stride(0, Bf16, 1, 8, 7), Err(Error::Stride { .. })));
        assert!(matches!(DeviceRows::new(0, Bf16, 1 << 60, 64), Err(Error::TooLarge { .. })));
    }
}
