//! Borrowed views of tensors: rows of channels, and one value per channel.

use crate::{Element, ElementType, Error};
use core::{marker::PhantomData, ptr::NonNull};

/// Where the rows of a tensor are: `rows` rows of `channels` elements that lie side by side,
/// one row every `stride` elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) rows: usize,
    pub(crate) channels: usize,
    pub(crate) stride: usize,
}

impl Layout {
    /// Checks that the shape is one, and gives the number of elements it reaches over.
    pub(crate) fn span(self, what: &'static str, element_size: usize) -> Result<usize, Error> {
        let Self { rows, channels, stride } = self;
        if channels == 0 {
            return Err(Error::NoChannels { what });
        }
        if stride < channels {
            return Err(Error::Stride { what, given: stride, channels });
        }
        if rows == 0 {
            return Ok(0);
        }
        let bytes = rows.checked_mul(stride).and_then(|n| n.checked_mul(element_size));
        match bytes {
            Some(bytes) if bytes <= isize::MAX as usize => Ok((rows - 1) * stride + channels),
            _ => Err(Error::TooLarge { what, rows, stride }),
        }
    }

    fn check_dense<T>(self, what: &'static str, given: usize) -> Result<(), Error> {
        let wanted = self.span(what, size_of::<T>())?;
        if given == wanted { Ok(()) } else { Err(Error::Length { what, given, wanted }) }
    }

    fn check_strided<T>(self, what: &'static str, given: usize) -> Result<(), Error> {
        let wanted = self.span(what, size_of::<T>())?;
        if given >= wanted { Ok(()) } else { Err(Error::Length { what, given, wanted }) }
    }
}

/// A borrowed input: `rows` rows of `channels` elements.
///
/// ```
/// use dynorm::Rows;
/// // Two rows of three channels, side by side.
/// let x = Rows::new(&[1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 3)?;
/// assert_eq!((x.rows(), x.channels()), (2, 3));
/// # Ok::<(), dynorm::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    pub(crate) data: NonNull<u8>,
    pub(crate) element: ElementType,
    pub(crate) layout: Layout,
    lifetime: PhantomData<&'a [u8]>,
}

// SAFETY: a `Rows` is a shared borrow of a slice of plain numbers.
unsafe impl Send for Rows<'_> {}
// SAFETY: as above.
unsafe impl Sync for Rows<'_> {}

impl<'a> Rows<'a> {
    /// A view of `rows * channels` elements, row after row.
    ///
    /// # Errors
    /// [`Error::NoChannels`], [`Error::TooLarge`], or [`Error::Length`] unless `data` has
    /// exactly `rows * channels` elements.
    ///
    /// ```
    /// use dynorm::Rows;
    /// assert!(Rows::new(&[0.0_f32; 6], 2, 3).is_ok());
    /// assert!(Rows::new(&[0.0_f32; 6], 2, 4).is_err());
    /// ```
    pub fn new<T: Element>(data: &'a [T], rows: usize, channels: usize) -> Result<Self, Error> {
        let layout = Layout { rows, channels, stride: channels };
        layout.check_dense::<T>("input", data.len())?;
        Ok(Self::from_slice(data, layout))
    }

    /// A view of rows that start every `stride` elements. What lies between the rows is not read.
    ///
    /// # Errors
    /// As [`new`](Rows::new); `data` may be longer than the rows need. [`Error::Stride`] if
    /// `stride < channels`.
    ///
    /// ```
    /// use dynorm::Rows;
    /// // The middle two channels of four.
    /// let packed = [0.0_f32, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
    /// let x = Rows::with_stride(&packed[1..], 2, 2, 4)?;
    /// assert_eq!(x.rows(), 2);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn with_stride<T: Element>(
        data: &'a [T],
        rows: usize,
        channels: usize,
        stride: usize,
    ) -> Result<Self, Error> {
        let layout = Layout { rows, channels, stride };
        layout.check_strided::<T>("input", data.len())?;
        Ok(Self::from_slice(data, layout))
    }

    fn from_slice<T: Element>(data: &'a [T], layout: Layout) -> Self {
        Self { data: NonNull::from(data).cast(), element: T::TYPE, layout, lifetime: PhantomData }
    }

    /// A view of memory that is no slice, whose layout has been validated.
    ///
    /// # Safety
    /// For `'a`, `data` must be valid for reads of the rows, and aligned to the element.
    #[cfg(feature = "capi")]
    pub(crate) unsafe fn from_raw(data: NonNull<u8>, element: ElementType, layout: Layout) -> Self {
        Self { data, element, layout, lifetime: PhantomData }
    }

    /// The number of rows.
    ///
    /// ```
    /// use dynorm::Rows;
    /// let x = Rows::new(&[0.0_f32; 6], 2, 3)?;
    /// assert_eq!(x.rows(), 2);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn rows(&self) -> usize {
        self.layout.rows
    }

    /// The number of channels of a row.
    ///
    /// ```
    /// use dynorm::Rows;
    /// let x = Rows::new(&[0.0_f32; 6], 2, 3)?;
    /// assert_eq!(x.channels(), 3);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn channels(&self) -> usize {
        self.layout.channels
    }

    /// The type of the elements.
    ///
    /// ```
    /// use dynorm::{ElementType, Rows};
    /// let x = Rows::new(&[0.0_f32; 6], 2, 3)?;
    /// assert_eq!(x.element_type(), ElementType::F32);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn element_type(&self) -> ElementType {
        self.element
    }
}

/// A borrowed output: `rows` rows of `channels` elements.
///
/// ```
/// use dynorm::RowsMut;
/// let mut y = [0.0_f32; 6];
/// let y = RowsMut::new(&mut y, 2, 3)?;
/// assert_eq!((y.rows(), y.channels()), (2, 3));
/// # Ok::<(), dynorm::Error>(())
/// ```
#[derive(Debug)]
pub struct RowsMut<'a> {
    pub(crate) data: NonNull<u8>,
    pub(crate) element: ElementType,
    pub(crate) layout: Layout,
    lifetime: PhantomData<&'a mut [u8]>,
}

// SAFETY: a `RowsMut` is an exclusive borrow of a slice of plain numbers.
unsafe impl Send for RowsMut<'_> {}
// SAFETY: a shared `RowsMut` gives no access to the slice.
unsafe impl Sync for RowsMut<'_> {}

impl<'a> RowsMut<'a> {
    /// A view of `rows * channels` elements, row after row.
    ///
    /// # Errors
    /// As [`Rows::new`].
    ///
    /// ```
    /// use dynorm::RowsMut;
    /// assert!(RowsMut::new(&mut [0.0_f32; 6], 2, 3).is_ok());
    /// assert!(RowsMut::new(&mut [0.0_f32; 6], 0, 0).is_err());
    /// ```
    pub fn new<T: Element>(data: &'a mut [T], rows: usize, channels: usize) -> Result<Self, Error> {
        let layout = Layout { rows, channels, stride: channels };
        layout.check_dense::<T>("output", data.len())?;
        Ok(Self::from_slice(data, layout))
    }

    /// A view of rows that start every `stride` elements. What lies between the rows is
    /// neither read nor written.
    ///
    /// # Errors
    /// As [`Rows::with_stride`].
    ///
    /// ```
    /// use dynorm::RowsMut;
    /// // The first two channels of three.
    /// let mut packed = [0.0_f32; 6];
    /// let y = RowsMut::with_stride(&mut packed, 2, 2, 3)?;
    /// assert_eq!(y.channels(), 2);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn with_stride<T: Element>(
        data: &'a mut [T],
        rows: usize,
        channels: usize,
        stride: usize,
    ) -> Result<Self, Error> {
        let layout = Layout { rows, channels, stride };
        layout.check_strided::<T>("output", data.len())?;
        Ok(Self::from_slice(data, layout))
    }

    fn from_slice<T: Element>(data: &'a mut [T], layout: Layout) -> Self {
        Self { data: NonNull::from(data).cast(), element: T::TYPE, layout, lifetime: PhantomData }
    }

    /// A view of memory that is no slice, whose layout has been validated.
    ///
    /// # Safety
    /// For `'a`, `data` must be valid for reads and writes of the rows, and aligned to the element.
    #[cfg(feature = "capi")]
    pub(crate) unsafe fn from_raw(data: NonNull<u8>, element: ElementType, layout: Layout) -> Self {
        Self { data, element, layout, lifetime: PhantomData }
    }

    /// The number of rows.
    ///
    /// ```
    /// use dynorm::RowsMut;
    /// let mut y = [0.0_f32; 6];
    /// let y = RowsMut::new(&mut y, 2, 3)?;
    /// assert_eq!(y.rows(), 2);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn rows(&self) -> usize {
        self.layout.rows
    }

    /// The number of channels of a row.
    ///
    /// ```
    /// use dynorm::RowsMut;
    /// let mut y = [0.0_f32; 6];
    /// let y = RowsMut::new(&mut y, 2, 3)?;
    /// assert_eq!(y.channels(), 3);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn channels(&self) -> usize {
        self.layout.channels
    }

    /// The type of the elements.
    ///
    /// ```
    /// use dynorm::{ElementType, RowsMut};
    /// let mut y = [0.0_f32; 6];
    /// let y = RowsMut::new(&mut y, 2, 3)?;
    /// assert_eq!(y.element_type(), ElementType::F32);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn element_type(&self) -> ElementType {
        self.element
    }
}

/// One borrowed value per channel: a weight or a bias.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Channels<'a> {
    pub(crate) data: NonNull<u8>,
    pub(crate) element: ElementType,
    len: usize,
    lifetime: PhantomData<&'a [u8]>,
}

// SAFETY: a shared borrow of a slice of plain numbers.
unsafe impl Send for Channels<'_> {}
// SAFETY: as above.
unsafe impl Sync for Channels<'_> {}

impl<'a> Channels<'a> {
    pub(crate) fn new<T: Element>(data: &'a [T]) -> Self {
        Self {
            data: NonNull::from(data).cast(),
            element: T::TYPE,
            len: data.len(),
            lifetime: PhantomData,
        }
    }

    /// Values of memory that is no slice.
    ///
    /// # Safety
    /// For `'a`, `data` must be valid for reads of `len` elements, and aligned to them.
    #[cfg(feature = "capi")]
    pub(crate) unsafe fn from_raw(data: NonNull<u8>, element: ElementType, len: usize) -> Self {
        Self { data, element, len, lifetime: PhantomData }
    }

    pub(crate) fn check(&self, what: &'static str, channels: usize) -> Result<(), Error> {
        if self.len == channels {
            Ok(())
        } else {
            Err(Error::Length { what, given: self.len, wanted: channels })
        }
    }
}
