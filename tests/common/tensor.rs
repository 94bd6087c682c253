//! Tensors of any element type, in memory that is guarded by poison.

use dynorm::{Backward, Element, ElementType, Forward, Rows, RowsMut, bf16, f16};

/// What the tests need of an element type.
pub trait Sample: Element {
    /// A NaN that no computation gives: unwritten memory, and memory not to be read.
    const POISON: Self;
    /// Rounded to nearest even, by the crate `half`.
    fn round(value: f32) -> Self;
    fn value(self) -> f64;
    fn bits(self) -> u32;
}

impl Sample for f32 {
    const POISON: Self = f32::from_bits(0x7fc5_a5a5);
    fn round(value: f32) -> Self {
        value
    }
    fn value(self) -> f64 {
        f64::from(self)
    }
    fn bits(self) -> u32 {
        self.to_bits()
    }
}

impl Sample for f16 {
    const POISON: Self = f16::from_bits(0x7e5a);
    fn round(value: f32) -> Self {
        f16::from_f32(value)
    }
    fn value(self) -> f64 {
        self.to_f64()
    }
    fn bits(self) -> u32 {
        self.to_bits().into()
    }
}

impl Sample for bf16 {
    const POISON: Self = bf16::from_bits(0x7fda);
    fn round(value: f32) -> Self {
        bf16::from_f32(value)
    }
    fn value(self) -> f64 {
        self.to_f64()
    }
    fn bits(self) -> u32 {
        self.to_bits().into()
    }
}

/// A slice of one of the element types.
#[derive(Clone, Debug)]
pub enum Tensor {
    F32(Vec<f32>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
}

/// `$body` with `$v` the vector in `$tensor`.
macro_rules! each {
    ($tensor:expr, $v:ident => $body:expr) => {
        match $tensor {
            Tensor::F32($v) => $body,
            Tensor::F16($v) => $body,
            Tensor::Bf16($v) => $body,
        }
    };
}

impl Tensor {
    /// The elements in `range`.
    pub fn part(&self, range: core::ops::Range<usize>) -> Self {
        match self {
            Self::F32(v) => Self::F32(v[range].to_vec()),
            Self::F16(v) => Self::F16(v[range].to_vec()),
            Self::Bf16(v) => Self::Bf16(v[range].to_vec()),
        }
    }

    /// `values`, rounded to `element`.
    pub fn new(element: ElementType, values: &[f32]) -> Self {
        fn rounded<T: Sample>(values: &[f32]) -> Vec<T> {
            values.iter().map(|&value| T::round(value)).collect()
        }
        match element {
            ElementType::F32 => Self::F32(rounded(values)),
            ElementType::F16 => Self::F16(rounded(values)),
            ElementType::Bf16 => Self::Bf16(rounded(values)),
        }
    }

    /// Every bit pattern of a type of 16 bits, in order.
    pub fn all_16_bit(element: ElementType) -> Self {
        match element {
            ElementType::F32 => panic!("f32 has 32 bits"),
            ElementType::F16 => Self::F16((0..=u16::MAX).map(f16::from_bits).collect()),
            ElementType::Bf16 => Self::Bf16((0..=u16::MAX).map(bf16::from_bits).collect()),
        }
    }

    /// Elements of these patterns.
    pub fn from_bits(element: ElementType, bits: &[u32]) -> Self {
        let bits = bits.iter().copied();
        match element {
            ElementType::F32 => Self::F32(bits.map(f32::from_bits).collect()),
            ElementType::F16 => Self::F16(bits.map(|bits| f16::from_bits(bits as u16)).collect()),
            ElementType::Bf16 => {
                Self::Bf16(bits.map(|bits| bf16::from_bits(bits as u16)).collect())
            }
        }
    }

    pub fn poison(element: ElementType, len: usize) -> Self {
        match element {
            ElementType::F32 => Self::F32(vec![f32::POISON; len]),
            ElementType::F16 => Self::F16(vec![f16::POISON; len]),
            ElementType::Bf16 => Self::Bf16(vec![bf16::POISON; len]),
        }
    }

    pub fn len(&self) -> usize {
        each!(self, v => v.len())
    }

    /// Row `row`.
    pub fn row(&self, row: usize, channels: usize) -> Self {
        let at = row * channels..(row + 1) * channels;
        match self {
            Self::F32(v) => Self::F32(v[at].to_vec()),
            Self::F16(v) => Self::F16(v[at].to_vec()),
            Self::Bf16(v) => Self::Bf16(v[at].to_vec()),
        }
    }

    pub fn value(&self, i: usize) -> f64 {
        each!(self, v => v[i].value())
    }

    pub fn values(&self) -> Vec<f64> {
        (0..self.len()).map(|i| self.value(i)).collect()
    }

    pub fn bits(&self, i: usize) -> u32 {
        each!(self, v => v[i].bits())
    }

    pub fn all_bits(&self) -> Vec<u32> {
        (0..self.len()).map(|i| self.bits(i)).collect()
    }

    /// The elements as rows side by side.
    pub fn rows(&self, channels: usize) -> Rows<'_> {
        each!(self, v => Rows::new(v, v.len() / channels, channels)).unwrap()
    }

    /// The elements as rows side by side.
    pub fn rows_mut(&mut self, channels: usize) -> RowsMut<'_> {
        each!(self, v => { let rows = v.len() / channels; RowsMut::new(v, rows, channels) })
            .unwrap()
    }

    pub fn as_weight<'a>(&'a self, call: Forward<'a>) -> Forward<'a> {
        each!(self, v => call.weight(v))
    }

    pub fn as_bias<'a>(&'a self, call: Forward<'a>) -> Forward<'a> {
        each!(self, v => call.bias(v))
    }

    pub fn as_weight_of_backward<'a>(&'a self, call: Backward<'a>) -> Backward<'a> {
        each!(self, v => call.weight(v))
    }
}

/// Where rows are in memory.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub rows: usize,
    pub channels: usize,
    /// Elements between one row and the next.
    pub gap: usize,
    /// Elements from a cache line's begin to the first row.
    pub start: usize,
}

/// Rows with poison before, between and after them.
pub struct Guarded {
    tensor: Tensor,
    place: Place,
    first: usize,
}

/// Poisoned elements on either side: more than any kernel's block.
const GUARD: usize = 80;
/// Bytes of a cache line, the largest alignment that a kernel asks for.
const LINE: usize = 64;

impl Guarded {
    /// Nothing but poison.
    pub fn poison(element: ElementType, place: Place) -> Self {
        let span = place.rows * (place.channels + place.gap);
        let tensor = Tensor::poison(element, span + place.start + 2 * GUARD + LINE);
        let aligned = each!(&tensor, v => v[GUARD..].as_ptr().align_offset(LINE));
        Self { tensor, place, first: GUARD + aligned + place.start }
    }

    /// Rows of `values`, which lie side by side in it.
    pub fn new(place: Place, values: &Tensor) -> Self {
        match values {
            Tensor::F32(v) => Self::filled(place, v, ElementType::F32),
            Tensor::F16(v) => Self::filled(place, v, ElementType::F16),
            Tensor::Bf16(v) => Self::filled(place, v, ElementType::Bf16),
        }
    }

    fn filled<T: Sample>(place: Place, values: &[T], element: ElementType) -> Self {
        let mut guarded = Self::poison(element, place);
        let stride = place.channels + place.gap;
        for (row, values) in values.chunks_exact(place.channels).enumerate() {
            let at = guarded.first + row * stride;
            let to: &mut dyn core::any::Any = each!(&mut guarded.tensor, v => v);
            let to: &mut Vec<T> = to.downcast_mut().expect("the same element type");
            to[at..at + place.channels].copy_from_slice(values);
        }
        guarded
    }

    /// From the first row's begin to the last row's end.
    fn span(&self) -> core::ops::Range<usize> {
        let Place { rows, channels, gap, .. } = self.place;
        let span = if rows == 0 { 0 } else { rows * (channels + gap) - gap };
        self.first..self.first + span
    }

    pub fn rows(&self) -> Rows<'_> {
        let (Place { rows, channels, gap, .. }, span) = (self.place, self.span());
        each!(&self.tensor, v => Rows::with_stride(&v[span], rows, channels, channels + gap))
            .unwrap()
    }

    pub fn rows_mut(&mut self) -> RowsMut<'_> {
        let (Place { rows, channels, gap, .. }, span) = (self.place, self.span());
        each!(&mut self.tensor, v => RowsMut::with_stride(&mut v[span], rows, channels, channels + gap))
            .unwrap()
    }

    pub fn as_weight<'a>(&'a self, call: Forward<'a>) -> Forward<'a> {
        let span = self.span();
        each!(&self.tensor, v => call.weight(&v[span]))
    }

    pub fn as_bias<'a>(&'a self, call: Forward<'a>) -> Forward<'a> {
        let span = self.span();
        each!(&self.tensor, v => call.bias(&v[span]))
    }

    /// The rows, side by side.
    ///
    /// # Panics
    /// If something outside the rows is no longer poison.
    pub fn into_rows(self) -> Tensor {
        let (place, first) = (self.place, self.first);
        match self.tensor {
            Tensor::F32(v) => Tensor::F32(rows_of(&v, place, first)),
            Tensor::F16(v) => Tensor::F16(rows_of(&v, place, first)),
            Tensor::Bf16(v) => Tensor::Bf16(rows_of(&v, place, first)),
        }
    }
}

/// The rows that start at `first` in `v`, whose other elements must be poison.
fn rows_of<T: Sample>(v: &[T], place: Place, first: usize) -> Vec<T> {
    let mut rows = Vec::with_capacity(place.rows * place.channels);
    let mut begin = 0;
    for row in 0..=place.rows {
        // The last guard reaches to the end.
        let end =
            if row < place.rows { first + row * (place.channels + place.gap) } else { v.len() };
        for (i, element) in v[begin..end].iter().enumerate() {
            let at = (begin + i) as isize - first as isize;
            let kept = element.bits() == T::POISON.bits();
            assert!(kept, "written outside the rows, {at} elements after their begin: {place:?}");
        }
        if row < place.rows {
            rows.extend_from_slice(&v[end..end + place.channels]);
            begin = end + place.channels;
        }
    }
    rows
}
