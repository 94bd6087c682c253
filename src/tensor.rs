//! Borrowed views of tensors: rows of channels, and one value per channel.

use crate::{Element, ElementType, Error};
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::num::NonZeroUsize;
use core::ptr::{self, NonNull};

/// Where the rows of a tensor are: `rows` rows of `channels` elements that lie side by side,
/// one row every `stride` elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) rows: usize,
    pub(crate) channels: usize,
    pub(crate) stride: usize,
    /// If the rows are not all one stride apart.
    pub(crate) heads: Option<Heads>,
}

/// Rows in groups: the heads of a token are a stride apart, and tokens another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heads {
    /// Heads of a token, at least 2.
    pub(crate) count: NonZeroUsize,
    pub(crate) token_stride: usize,
}

impl Layout {
    /// Rows that are all `stride` elements apart.
    pub(crate) fn new(rows: usize, channels: usize, stride: usize) -> Self {
        Self { rows, channels, stride, heads: None }
    }

    /// `heads` rows for each of `tokens` tokens.
    pub(crate) fn of_heads(
        what: &'static str,
        shape: HeadShape,
        element_size: usize,
    ) -> Result<Self, Error> {
        let HeadShape { tokens, heads, channels, token_stride, head_stride } = shape;
        let too_large = Error::TooLarge { what, rows: tokens, stride: token_stride };
        let Some(rows) = tokens.checked_mul(heads) else { return Err(too_large) };
        if heads <= 1 || tokens <= 1 || heads.checked_mul(head_stride) == Some(token_stride) {
            let stride = if heads <= 1 { token_stride } else { head_stride };
            return Ok(Self::new(rows, channels, stride));
        }
        // Rows of one kind must lie within one stride of the other.
        let last = |count: usize, stride: usize| {
            let last = (count - 1).checked_mul(stride)?.checked_add(channels)?;
            last.checked_mul(element_size).filter(|&bytes| bytes <= isize::MAX as usize)?;
            Some(last)
        };
        match (last(heads, head_stride), last(tokens, token_stride)) {
            (Some(token), Some(head)) => {
                let apart = head_stride >= channels && token_stride >= token
                    || token_stride >= channels && head_stride >= head;
                if channels > 0 && !apart {
                    return Err(Error::HeadStride { what, given: shape });
                }
                let heads = NonZeroUsize::new(heads).map(|count| Heads { count, token_stride });
                Ok(Self { rows, channels, stride: head_stride, heads })
            }
            _ => Err(too_large),
        }
    }

    /// Whether it is `rows` rows of `channels` channels that follow each other without gaps.
    #[inline(always)]
    pub(crate) fn is_dense(self, rows: usize, channels: usize) -> bool {
        // Behind a single row there may be anything.
        let dense = (self.stride == channels) | (rows == 1);
        (self.rows == rows) & (self.channels == channels) & dense & self.heads.is_none()
    }

    /// Checks that the shape is one, and gives the number of elements it reaches over.
    #[inline]
    pub(crate) fn span(self, what: &'static str, element_size: usize) -> Result<usize, Error> {
        let Self { rows, channels, stride, heads } = self;
        if channels == 0 {
            return Err(Error::NoChannels { what });
        }
        if let Some(Heads { count, token_stride }) = heads {
            let count = count.get();
            // Rows apart and no sum beyond memory, by `of_heads`; but for the sum of both.
            let last = (rows / count - 1) * token_stride;
            let span = last.checked_add((count - 1) * stride + channels);
            let bytes = span.and_then(|n| n.checked_mul(element_size));
            return match (span, bytes) {
                (Some(span), Some(bytes)) if bytes <= isize::MAX as usize => Ok(span),
                _ => Err(Error::TooLarge { what, rows: rows / count, stride: token_stride }),
            };
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

    /// An [`Error::Shape`] unless it has the shape of the input.
    pub(crate) fn check_shape(self, what: &'static str, input: Self) -> Result<(), Error> {
        if (self.rows, self.channels) == (input.rows, input.channels) {
            return Ok(());
        }
        Err(Error::Shape {
            what,
            given_rows: self.rows,
            given_channels: self.channels,
            rows: input.rows,
            channels: input.channels,
        })
    }

    /// The layout for a slice of `given` elements of `T`, which it must fill.
    pub(crate) fn dense<T>(
        what: &'static str,
        given: usize,
        rows: usize,
        channels: usize,
    ) -> Result<Self, Error> {
        let layout = Self::new(rows, channels, channels);
        let wanted = layout.span(what, size_of::<T>())?;
        if given == wanted { Ok(layout) } else { Err(Error::Length { what, given, wanted }) }
    }

    /// The same layout, if a slice of `given` elements of `T` has room for it.
    pub(crate) fn in_slice<T>(self, what: &'static str, given: usize) -> Result<Self, Error> {
        let wanted = self.span(what, size_of::<T>())?;
        if given >= wanted { Ok(self) } else { Err(Error::Length { what, given, wanted }) }
    }
}

/// The same memory, which need not hold anything.
///
/// # Safety
/// Nothing but values may be written to it.
pub(crate) unsafe fn as_uninit<T>(slice: &mut [T]) -> &mut [MaybeUninit<T>] {
    // SAFETY: every value of the one type is one of the other; the rest is the caller's.
    unsafe { &mut *(ptr::from_mut(slice) as *mut [MaybeUninit<T>]) }
}

/// The heads of tokens in a larger tensor, such as q or k in a packed qkv: row `token * heads + head`
/// begins `token * token_stride + head * head_stride` elements after the first.
///
/// ```
/// use dynorm::{HeadShape, Norm, RowsMut};
/// // Two tokens: two heads of q, one of k, one of v, four channels each. q is normalised in place.
/// let mut qkv = vec![2.0_f32; 2 * 16];
/// let q = HeadShape { tokens: 2, heads: 2, channels: 4, token_stride: 16, head_stride: 4 };
/// Norm::RmsNorm { eps: 0.0 }.forward_in_place(RowsMut::of_heads(&mut qkv, q)?).run()?;
/// assert_eq!(&qkv[..16], [1., 1., 1., 1., 1., 1., 1., 1., 2., 2., 2., 2., 2., 2., 2., 2.]);
/// # Ok::<(), dynorm::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadShape {
    /// Number of tokens.
    pub tokens: usize,
    /// Heads of a token.
    pub heads: usize,
    /// Channels of a head.
    pub channels: usize,
    /// Elements from one token to the next.
    pub token_stride: usize,
    /// Elements from one head to the next.
    pub head_stride: usize,
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
        let layout = Layout::dense::<T>("input", data.len(), rows, channels)?;
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
        let layout = Layout::new(rows, channels, stride).in_slice::<T>("input", data.len())?;
        Ok(Self::from_slice(data, layout))
    }

    /// A view of the heads of tokens in a larger tensor, token by token. What lies between them is
    /// not read.
    ///
    /// # Errors
    /// As [`with_stride`](Rows::with_stride); [`Error::HeadStride`] if rows overlap.
    ///
    /// ```
    /// use dynorm::{HeadShape, Rows};
    /// let qkv = [0.0_f32; 2 * 12]; // two tokens of 2 heads of q, 1 of k, 1 of v
    /// let q = HeadShape { tokens: 2, heads: 2, channels: 3, token_stride: 12, head_stride: 3 };
    /// assert_eq!(Rows::of_heads(&qkv, q)?.rows(), 4);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn of_heads<T: Element>(data: &'a [T], shape: HeadShape) -> Result<Self, Error> {
        let layout = Layout::of_heads("input", shape, size_of::<T>())?;
        Ok(Self::from_slice(data, layout.in_slice::<T>("input", data.len())?))
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
        let layout = Layout::dense::<T>("output", data.len(), rows, channels)?;
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
        let layout = Layout::new(rows, channels, stride).in_slice::<T>("output", data.len())?;
        Ok(Self::from_slice(data, layout))
    }

    /// A view of the heads of tokens in a larger tensor, token by token. What lies between them is
    /// neither read nor written.
    ///
    /// # Errors
    /// As [`Rows::of_heads`].
    ///
    /// ```
    /// use dynorm::{HeadShape, RowsMut};
    /// let mut qkv = [0.0_f32; 2 * 12]; // two tokens of 2 heads of q, 1 of k, 1 of v
    /// let q = HeadShape { tokens: 2, heads: 2, channels: 3, token_stride: 12, head_stride: 3 };
    /// assert_eq!(RowsMut::of_heads(&mut qkv, q)?.rows(), 4);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn of_heads<T: Element>(data: &'a mut [T], shape: HeadShape) -> Result<Self, Error> {
        let layout = Layout::of_heads("output", shape, size_of::<T>())?;
        Ok(Self::from_slice(data, layout.in_slice::<T>("output", data.len())?))
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
    pub(crate) len: usize,
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
