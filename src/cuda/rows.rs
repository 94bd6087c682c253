//! Tensors in device memory, by address.

use crate::place::Place;
use crate::tensor::Layout;
use crate::{ElementType, Error, HeadShape, QuantizedType};

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
        Self::of_layout("tensor", address, element, Layout::new(rows, channels, stride))
    }

    /// The heads of tokens in a larger tensor, token by token. What lies between them is neither read
    /// nor written. All tensors of a call that have heads must have as many.
    ///
    /// # Errors
    /// As [`Rows::of_heads`](crate::Rows::of_heads), but for the length of a slice.
    ///
    /// ```
    /// use dynorm::{ElementType::F16, HeadShape, cuda::DeviceRows};
    /// // The 32 query heads of packed q, k, v with 8 heads each of k and v.
    /// let shape = HeadShape {
    ///     tokens: 512,
    ///     heads: 32,
    ///     channels: 128,
    ///     token_stride: (32 + 8 + 8) * 128,
    ///     head_stride: 128,
    /// };
    /// let q = DeviceRows::of_heads(0x7f00_0000_0000, F16, shape)?;
    /// assert_eq!(q.rows(), 512 * 32);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn of_heads(address: u64, element: ElementType, shape: HeadShape) -> Result<Self, Error> {
        let layout = Layout::of_heads("tensor", shape, element.size())?;
        Self::of_layout("tensor", address, element, layout)
    }

    /// A tensor of a layout that may be more than memory can hold, or have no channels.
    pub(crate) fn of_layout(
        what: &'static str,
        address: u64,
        element: ElementType,
        layout: Layout,
    ) -> Result<Self, Error> {
        layout.span(what, element.size())?;
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

/// An output of 8 bits in device memory: `rows` rows of `channels` elements.
///
/// ```
/// use dynorm::{QuantizedType, cuda::DeviceQuantizedRows};
/// assert!(DeviceQuantizedRows::new(0x7f00_0000_0000, QuantizedType::F8E4M3, 8, 4096).is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceQuantizedRows {
    pub(crate) address: u64,
    pub(crate) element: QuantizedType,
    pub(crate) layout: Layout,
}

impl DeviceQuantizedRows {
    /// Rows that follow one another without gaps.
    ///
    /// # Errors
    /// As [`DeviceRows::new`].
    ///
    /// ```
    /// use dynorm::{QuantizedType, cuda::DeviceQuantizedRows};
    /// assert!(DeviceQuantizedRows::new(0x7f00_0000_0000, QuantizedType::I8, 8, 0).is_err());
    /// ```
    pub fn new(
        address: u64,
        element: QuantizedType,
        rows: usize,
        channels: usize,
    ) -> Result<Self, Error> {
        Self::with_stride(address, element, rows, channels, channels)
    }

    /// Rows that start every `stride` elements.
    ///
    /// # Errors
    /// As [`DeviceRows::with_stride`].
    ///
    /// ```
    /// use dynorm::{QuantizedType, cuda::DeviceQuantizedRows};
    /// let padded = DeviceQuantizedRows::with_stride(0x7f00_0000_0000, QuantizedType::I8, 8, 100, 128);
    /// assert!(padded.is_ok());
    /// ```
    pub fn with_stride(
        address: u64,
        element: QuantizedType,
        rows: usize,
        channels: usize,
        stride: usize,
    ) -> Result<Self, Error> {
        Self::of_layout("tensor", address, element, Layout::new(rows, channels, stride))
    }

    /// The heads of tokens in a larger tensor, as [`DeviceRows::of_heads`].
    ///
    /// # Errors
    /// As that.
    ///
    /// ```
    /// use dynorm::{HeadShape, QuantizedType, cuda::DeviceQuantizedRows};
    /// let shape =
    ///     HeadShape { tokens: 4, heads: 8, channels: 64, token_stride: 1024, head_stride: 64 };
    /// assert!(DeviceQuantizedRows::of_heads(0x7f00_0000_0000, QuantizedType::I8, shape).is_ok());
    /// ```
    pub fn of_heads(address: u64, element: QuantizedType, shape: HeadShape) -> Result<Self, Error> {
        Self::of_layout("tensor", address, element, Layout::of_heads("tensor", shape, 1)?)
    }

    /// As [`DeviceRows::of_layout`].
    pub(crate) fn of_layout(
        what: &'static str,
        address: u64,
        element: QuantizedType,
        layout: Layout,
    ) -> Result<Self, Error> {
        layout.span(what, 1)?;
        Ok(Self { address, element, layout })
    }

    pub(crate) fn place(&self) -> Place {
        Place { address: self.address, element_size: 1, layout: self.layout }
    }
}

/// The scale of quantised results, of which the value is about the stored number times the scale: the
/// twin of [`crate::Scale`], but for those of groups, for which there are no kernels. Addresses are of f32 in device memory, which a call reads or writes when the
/// stream comes to it: nobody checks that scales there are finite and at least 2^-126.
///
/// ```
/// use dynorm::{ElementType::Bf16, Norm, QuantizedType::F8E4M3};
/// use dynorm::cuda::{DeviceQuantizedRows, DeviceRows, DeviceScale, Forward};
/// # fn f(x: u64, y: u64, scales: u64) -> Result<Forward, dynorm::Error> {
/// let (x, y) = (DeviceRows::new(x, Bf16, 8, 4096)?, DeviceQuantizedRows::new(y, F8E4M3, 8, 4096)?);
/// let norm = Norm::RmsNorm { eps: 1e-6 };
/// Ok(Forward::quantized(norm, x, y, DeviceScale::Computed(scales)))
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DeviceScale {
    /// The same for all; finite and at least [`f32::MIN_POSITIVE`].
    Given(f32),
    /// The same for all, at this address.
    GivenAt(u64),
    /// One for each row, side by side at this address.
    GivenPerRow(u64),
    /// One for each row, computed from the largest magnitude of the row's results by
    /// [`QuantizedType::scale_for`] and written here. NaN does not count, infinity as [`f32::MAX`].
    Computed(u64),
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
