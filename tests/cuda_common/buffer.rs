//! Elements in memory of the host, laid out as a kernel is to find them.

use dynorm::{ElementType, F8E4M3, QuantizedType, bf16, f16};
use std::ops::Range;

/// A type of elements of any tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Element(ElementType),
    Quantized(QuantizedType),
}

impl Kind {
    pub fn size(self) -> usize {
        match self {
            Self::Element(element) => element.size(),
            Self::Quantized(_) => 1,
        }
    }

    /// An f32 rounded to the type, to nearest even; 8 bits saturate. Other values are rounded to f32
    /// first: `half` does not look at all digits of an f64.
    pub fn round(self, value: f64) -> u32 {
        let value = value as f32;
        match self {
            Self::Element(ElementType::F32) => value.to_bits(),
            Self::Element(ElementType::F16) => f16::from_f32(value).to_bits().into(),
            Self::Element(ElementType::Bf16) => bf16::from_f32(value).to_bits().into(),
            // What is converted is clamped; NaN becomes 0.
            Self::Quantized(QuantizedType::I8) => {
                u32::from(value.round_ties_even().clamp(-127.0, 127.0) as i8 as u8)
            }
            Self::Quantized(QuantizedType::F8E4M3) => u32::from(F8E4M3::from_f32(value).to_bits()),
        }
    }

    pub fn value(self, bits: u32) -> f64 {
        match self {
            Self::Element(ElementType::F32) => f32::from_bits(bits).into(),
            Self::Element(ElementType::F16) => f16::from_bits(bits as u16).into(),
            Self::Element(ElementType::Bf16) => bf16::from_bits(bits as u16).into(),
            Self::Quantized(QuantizedType::I8) => f64::from(bits as u8 as i8),
            Self::Quantized(QuantizedType::F8E4M3) => F8E4M3::from_bits(bits as u8).to_f32().into(),
        }
    }
}

impl From<ElementType> for Kind {
    fn from(element: ElementType) -> Self {
        Self::Element(element)
    }
}

impl From<QuantizedType> for Kind {
    fn from(element: QuantizedType) -> Self {
        Self::Quantized(element)
    }
}

/// Elements of one type in memory that starts at a multiple of 256 bytes, with guards around.
#[derive(Clone)]
pub struct Buffer {
    memory: Vec<u8>,
    /// Of the first element in `memory`.
    start: usize,
    kind: Kind,
    len: usize,
}

const GUARD: usize = 512;
const GUARD_BYTE: u8 = 0xa5;

impl Buffer {
    /// `len` elements, `offset` elements past a multiple of 256 bytes, all of them guard bytes.
    pub fn new(kind: impl Into<Kind>, len: usize, offset: usize) -> Self {
        let kind = kind.into();
        let memory = vec![GUARD_BYTE; len * kind.size() + 2 * GUARD + offset * kind.size()];
        let start = memory.as_ptr().align_offset(256) + 256 + offset * kind.size();
        Self { memory, start, kind, len }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn address(&self) -> u64 {
        self.memory.as_ptr() as u64 + self.start as u64
    }

    /// The addresses of the elements.
    pub fn range(&self) -> Range<u64> {
        self.address()..self.address() + (self.len * self.kind.size()) as u64
    }

    /// All of the memory, guards and all, from a multiple of 256 bytes on; and where in it the
    /// elements start.
    pub fn with_guards(&mut self) -> (&mut [u8], usize) {
        let first = self.memory.as_ptr().align_offset(256);
        (&mut self.memory[first..], self.start - first)
    }

    fn bytes(&self, i: usize) -> &[u8] {
        let size = self.kind.size();
        &self.memory[self.start + i * size..][..size]
    }

    /// The bits of element `i`.
    pub fn bits(&self, i: usize) -> u32 {
        match *self.bytes(i) {
            [a] => a.into(),
            [a, b] => u16::from_le_bytes([a, b]).into(),
            [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
            _ => unreachable!("elements are 1, 2 or 4 bytes"),
        }
    }

    pub fn get(&self, i: usize) -> f64 {
        self.kind.value(self.bits(i))
    }

    pub fn set_bits(&mut self, i: usize, bits: u32) {
        let size = self.kind.size();
        self.memory[self.start + i * size..][..size].copy_from_slice(&bits.to_le_bytes()[..size]);
    }

    pub fn set(&mut self, i: usize, value: f64) {
        self.set_bits(i, self.kind.round(value));
    }

    /// Whether element `i` is as `new` left it.
    pub fn is_guard(&self, i: usize) -> bool {
        self.bytes(i).iter().all(|&byte| byte == GUARD_BYTE)
    }

    /// Whether nothing but the elements was written.
    pub fn guards_are_whole(&self) -> bool {
        let end = self.start + self.len * self.kind.size();
        let around = self.memory[..self.start].iter().chain(&self.memory[end..]);
        around.into_iter().all(|&byte| byte == GUARD_BYTE)
    }
}
