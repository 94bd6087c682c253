//! Outputs of 8 bits: their types, their scales, and views of them.

use crate::norm::require;
use crate::tensor::Layout;
use crate::{Element, Error, HeadShape, Norm};
use bytemuck::{Pod, Zeroable};
use core::{marker::PhantomData, ptr::NonNull};

/// An 8-bit type that results are quantised to: `q = round(y / scale)`, to nearest even, with what is
/// out of range replaced by the largest of its sign.
///
/// ```
/// use dynorm::QuantizedType;
/// assert_eq!((QuantizedType::I8.largest(), QuantizedType::F8E4M3.largest()), (127.0, 448.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QuantizedType {
    /// Two's complement, from -127 to 127. NaN becomes 0.
    I8,
    /// The OCP's float of 4 exponent and 3 significand bits, without infinities. NaN stays one.
    F8E4M3,
}

impl QuantizedType {
    /// Every one of them.
    pub const ALL: [Self; 2] = [Self::I8, Self::F8E4M3];

    /// The largest value.
    ///
    /// ```
    /// assert_eq!(dynorm::QuantizedType::I8.largest(), 127.0);
    /// ```
    pub const fn largest(self) -> f32 {
        match self {
            Self::I8 => 127.0,
            Self::F8E4M3 => 448.0,
        }
    }

    /// The type's usual short name: `int8` or `fp8_e4m3`.
    ///
    /// ```
    /// assert_eq!(dynorm::QuantizedType::F8E4M3.name(), "fp8_e4m3");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            Self::I8 => "int8",
            Self::F8E4M3 => "fp8_e4m3",
        }
    }

    /// The scale that makes `largest` of a magnitude up to it: `largest` over the type's own, at least
    /// [`f32::MIN_POSITIVE`], so that there is a reciprocal.
    ///
    /// ```
    /// use dynorm::QuantizedType;
    /// assert_eq!(QuantizedType::I8.scale_for(254.0), 2.0);
    /// ```
    pub fn scale_for(self, largest: f32) -> f32 {
        (largest / self.largest()).max(f32::MIN_POSITIVE)
    }
}

/// A float of 8 bits, E4M3 as the OCP defines it.
///
/// ```
/// use dynorm::F8E4M3;
/// assert_eq!(F8E4M3::from_bits(0x38).to_f32(), 1.0);
/// assert_eq!(F8E4M3::from_f32(1e9).to_f32(), 448.0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct F8E4M3(u8);

impl F8E4M3 {
    /// Of this pattern: a sign, 4 bits of exponent with a bias of 7, 3 of significand.
    ///
    /// ```
    /// assert!(dynorm::F8E4M3::from_bits(0x7f).to_f32().is_nan());
    /// ```
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// The pattern.
    ///
    /// ```
    /// assert_eq!(dynorm::F8E4M3::from_f32(-1.0).to_bits(), 0xb8);
    /// ```
    pub const fn to_bits(self) -> u8 {
        self.0
    }

    /// The value, exactly.
    ///
    /// ```
    /// assert_eq!(dynorm::F8E4M3::from_bits(0x01).to_f32(), 1.0 / 512.0);
    /// ```
    pub fn to_f32(self) -> f32 {
        let (exponent, significand) = (i32::from(self.0 >> 3 & 15), f32::from(self.0 & 7));
        let magnitude = match (exponent, self.0 & 7) {
            (15, 7) => f32::NAN,
            (0, _) => significand * 2f32.powi(-9),
            _ => (8.0 + significand) * 2f32.powi(exponent - 10),
        };
        if self.0 & 0x80 == 0 { magnitude } else { -magnitude }
    }

    /// Rounded to nearest even; what is out of range, infinities too, becomes the largest of its sign.
    ///
    /// ```
    /// use dynorm::F8E4M3;
    /// assert_eq!(F8E4M3::from_f32(17.0).to_f32(), 16.0); // half way to 18
    /// assert_eq!(F8E4M3::from_f32(f32::NEG_INFINITY).to_f32(), -448.0);
    /// ```
    pub fn from_f32(value: f32) -> Self {
        Self(e4m3(value.to_bits()) as u8)
    }
}

/// The pattern of [`F8E4M3`] for the f32 of this pattern, without a branch.
#[inline(always)]
pub(crate) fn e4m3(bits: u32) -> u32 {
    let (sign, magnitude) = (bits >> 24 & 0x80, bits & 0x7fff_ffff);
    // Exponents are 120 apart; 20 digits are rounded off.
    let odd = magnitude >> 20 & 1;
    let normal = magnitude.wrapping_sub(120 << 23).wrapping_add(0x7_ffff + odd) >> 20;
    // Numbers around 2^14 are as far apart as subnormal ones, so adding it rounds to them.
    let subnormal =
        (f32::from_bits(magnitude) + E4M3_ROUNDER).to_bits().wrapping_sub(E4M3_ROUNDER.to_bits());
    let finite = if magnitude < E4M3_NORMAL { subnormal } else { normal.min(0x7e) };
    sign | if magnitude > 0x7f80_0000 { 0x7f } else { finite }
}

/// 2^14.
pub(crate) const E4M3_ROUNDER: f32 = 16384.0;
/// The pattern of 2^-6, the smallest normal number.
pub(crate) const E4M3_NORMAL: u32 = 121 << 23;

mod sealed {
    pub trait Sealed {}
    impl Sealed for i8 {}
    impl Sealed for super::F8E4M3 {}
}

/// A type that results are quantised to: `i8` or [`F8E4M3`].
///
/// ```
/// use dynorm::{Quantized, QuantizedType};
/// assert_eq!(<i8 as Quantized>::TYPE, QuantizedType::I8);
/// ```
pub trait Quantized: sealed::Sealed + Copy + Send + Sync + 'static {
    /// Its run-time name.
    const TYPE: QuantizedType;
}

impl Quantized for i8 {
    const TYPE: QuantizedType = QuantizedType::I8;
}
impl Quantized for F8E4M3 {
    const TYPE: QuantizedType = QuantizedType::F8E4M3;
}

/// What quantised results are to be multiplied with to have the values back, about.
///
/// ```
/// use dynorm::{Norm, QuantizedRowsMut, Rows, Scale};
/// let x = [1.0_f32, -1.0, 1.0, 3.0];
/// let (mut y, mut scales) = ([0_i8; 4], [0.0_f32; 2]);
/// Norm::RmsNorm { eps: 0.0 }
///     .forward_quantized(Rows::new(&x, 2, 2)?, QuantizedRowsMut::new(&mut y, 2, 2)?, Scale::Computed(&mut scales))
///     .run()?;
/// assert_eq!(y, [127, -127, 42, 127]);
/// # Ok::<(), dynorm::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Scale<'a> {
    /// The same for all. Finite and at least [`f32::MIN_POSITIVE`]. Results are multiplied with its
    /// reciprocal, rounded.
    Given(f32),
    /// One for each row, as above.
    GivenPerRow(&'a [f32]),
    /// One for each row, computed from the largest magnitude of the row's results by
    /// [`QuantizedType::scale_for`] and written here. NaN does not count, infinity as [`f32::MAX`]. RMSNorm's
    /// without a bias or gate is that of the largest product of input and weight, times the row's factor: within a
    /// relative 2⁻²² of the largest result.
    Computed(&'a mut [f32]),
    /// One for each group of channels of each row, computed likewise, but of every function from the largest of the group's
    /// own results, and written here, row after row: `scales[row * channels.div_ceil(group_size) + channel / group_size]`.
    ///
    /// ```
    /// use dynorm::{Norm, QuantizedRowsMut, Rows, Scale};
    /// let (x, weight) = ([1.0_f32, -1.0, 1.0, -1.0], [2.0_f32, 2.0, 1.0, 4.0]);
    /// let (mut y, mut scales) = ([0_i8; 4], [0.0_f32; 2]);
    /// Norm::RmsNorm { eps: 0.0 }
    ///     .forward_quantized(
    ///         Rows::new(&x, 1, 4)?,
    ///         QuantizedRowsMut::new(&mut y, 1, 4)?,
    ///         Scale::ComputedPerGroup { scales: &mut scales, group_size: 2 },
    ///     )
    ///     .weight(&weight)
    ///     .run()?;
    /// assert_eq!((y, scales), ([127, -127, 32, -127], [2.0 / 127.0, 4.0 / 127.0]));
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    ComputedPerGroup {
        /// Where they are written.
        scales: &'a mut [f32],
        /// Channels of a group, the last of a row perhaps of fewer: 1 to [`Scale::MOST_GROUP_SIZE`].
        group_size: usize,
    },
}

impl Scale<'_> {
    /// The largest size of a group that has a scale of its own.
    ///
    /// ```
    /// assert_eq!(dynorm::Scale::MOST_GROUP_SIZE, 4096);
    /// ```
    pub const MOST_GROUP_SIZE: usize = 4096;
}

/// A borrowed output of 8 bits: `rows` rows of `channels` elements.
///
/// ```
/// use dynorm::QuantizedRowsMut;
/// let mut y = [0_i8; 6];
/// assert!(QuantizedRowsMut::new(&mut y, 2, 3).is_ok());
/// ```
#[derive(Debug)]
pub struct QuantizedRowsMut<'a> {
    pub(crate) data: NonNull<u8>,
    pub(crate) element: QuantizedType,
    pub(crate) layout: Layout,
    lifetime: PhantomData<&'a mut [u8]>,
}

// SAFETY: an exclusive borrow of a slice of plain numbers.
unsafe impl Send for QuantizedRowsMut<'_> {}
// SAFETY: a shared `QuantizedRowsMut` gives no access to the slice.
unsafe impl Sync for QuantizedRowsMut<'_> {}

impl<'a> QuantizedRowsMut<'a> {
    /// A view of `rows * channels` elements, row after row.
    ///
    /// # Errors
    /// As [`Rows::new`](crate::Rows::new).
    ///
    /// ```
    /// use dynorm::{F8E4M3, QuantizedRowsMut};
    /// assert!(QuantizedRowsMut::new(&mut [F8E4M3::default(); 6], 2, 4).is_err());
    /// ```
    pub fn new<T: Quantized>(
        data: &'a mut [T],
        rows: usize,
        channels: usize,
    ) -> Result<Self, Error> {
        let layout = Layout::dense::<T>("output", data.len(), rows, channels)?;
        Ok(Self::from_slice(data, layout))
    }

    /// A view of rows that start every `stride` elements. What lies between the rows is neither read
    /// nor written.
    ///
    /// # Errors
    /// As [`Rows::with_stride`](crate::Rows::with_stride).
    ///
    /// ```
    /// use dynorm::QuantizedRowsMut;
    /// assert!(QuantizedRowsMut::with_stride(&mut [0_i8; 7], 2, 3, 4).is_ok());
    /// ```
    pub fn with_stride<T: Quantized>(
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
    /// As [`Rows::of_heads`](crate::Rows::of_heads).
    ///
    /// ```
    /// use dynorm::{HeadShape, QuantizedRowsMut};
    /// let q = HeadShape { tokens: 2, heads: 2, channels: 3, token_stride: 12, head_stride: 3 };
    /// assert!(QuantizedRowsMut::of_heads(&mut [0_i8; 2 * 12], q).is_ok());
    /// ```
    pub fn of_heads<T: Quantized>(data: &'a mut [T], shape: HeadShape) -> Result<Self, Error> {
        let layout = Layout::of_heads("output", shape, size_of::<T>())?;
        Ok(Self::from_slice(data, layout.in_slice::<T>("output", data.len())?))
    }

    fn from_slice<T: Quantized>(data: &'a mut [T], layout: Layout) -> Self {
        Self { data: NonNull::from(data).cast(), element: T::TYPE, layout, lifetime: PhantomData }
    }

    /// A view of memory that is no slice, whose layout has been validated.
    ///
    /// # Safety
    /// For `'a`, `data` must be valid for reads and writes of the rows, and nobody else may use them.
    #[cfg(feature = "capi")]
    pub(crate) unsafe fn from_raw(
        data: NonNull<u8>,
        element: QuantizedType,
        layout: Layout,
    ) -> Self {
        Self { data, element, layout, lifetime: PhantomData }
    }
}

impl Norm {
    /// A bound of every result of DyT, DyISRU and Derf with these weights and biases, whatever the
    /// input: the largest of `|weight_offset + weight| * |scale| + |bias|` over the channels, rounded
    /// up. [`QuantizedType::scale_for`] makes it a scale that needs neither calibration nor a pass
    /// over the data. Compute it once.
    ///
    /// Results in f32 exceed the bound by no more than rounding does, 2 ulp. A gate is not in it. A
    /// weight or bias that is NaN is left out: its channel is NaN whatever the scale.
    ///
    /// # Errors
    /// [`Error::NoStaticScale`] for RMSNorm and LayerNorm, [`Error::Length`] if weight and bias differ in
    /// length, [`Error::Parameter`] for a `weight_offset` that is not finite, those of [`Norm::check`].
    ///
    /// ```
    /// use dynorm::{Norm, QuantizedType};
    /// let dyt = Norm::DyT { alpha: 0.5 };
    /// let bound = dyt.output_bound(Some(&[1.0_f32, -3.0]), 0.0, Some(&[0.5_f32, 0.25]))?;
    /// assert_eq!(bound, 3.25);
    /// assert_eq!(QuantizedType::I8.scale_for(bound), 3.25 / 127.0);
    /// # Ok::<(), dynorm::Error>(())
    /// ```
    pub fn output_bound<W: Element + Into<f32>, B: Element + Into<f32>>(
        self,
        weight: Option<&[W]>,
        weight_offset: f32,
        bias: Option<&[B]>,
    ) -> Result<f32, Error> {
        if let (Some(weight), Some(bias)) = (weight, bias)
            && weight.len() != bias.len()
        {
            return Err(Error::Length { what: "bias", given: bias.len(), wanted: weight.len() });
        }
        let channels = weight.map(<[W]>::len).or(bias.map(<[B]>::len)).unwrap_or(1);
        let weight = |c: usize| weight.map(|w| w[c].into());
        self.bound_over(channels, weight, weight_offset, |c| bias.map(|b| b[c].into()))
    }

    /// [`Norm::output_bound`] for operands whose types are known at run time, by channel.
    pub(crate) fn bound_over(
        self,
        channels: usize,
        weight: impl Fn(usize) -> Option<f32>,
        weight_offset: f32,
        bias: impl Fn(usize) -> Option<f32>,
    ) -> Result<f32, Error> {
        self.check()?;
        require("weight_offset", weight_offset, weight_offset.is_finite(), "finite")?;
        if !self.is_elementwise() {
            return Err(Error::NoStaticScale { name: self.name() });
        }
        let scale = f64::from(self.scale()).abs();
        let bound = (0..channels)
            .map(|c| {
                let factor = weight(c).map_or(1.0, |w| (weight_offset + w).abs());
                let summand = bias(c).map_or(0.0, f32::abs);
                f64::from(factor) * scale + f64::from(summand)
            })
            .fold(0.0, f64::max);
        let rounded = bound as f32;
        Ok(if f64::from(rounded) < bound { rounded.next_up() } else { rounded })
    }
}
