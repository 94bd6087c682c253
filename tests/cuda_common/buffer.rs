//! Elements in memory of the host, laid out as a kernel is to find them.

use dynorm::{ElementType, bf16, f16};
use std::ops::Range;

/// Elements of one type in memory that starts at a multiple of 256 bytes, with guards around.
pub struct Buffer {
    memory: Vec<u8>,
    /// Of the first element in `memory`.
    start: usize,
    element: ElementType,
    len: usize,
}

const GUARD: usize = 512;
const GUARD_BYTE: u8 = 0xa5;

impl Buffer {
    /// `len` elements, `offset` elements past a multiple of 256 bytes, all of them guard bytes.
    pub fn new(element: ElementType, len: usize, offset: usize) -> Self {
        let memory = vec![GUARD_BYTE; len * element.size() + 2 * GUARD + offset * element.size()];
        let start = memory.as_ptr().align_offset(256) + 256 + offset * element.size();
        Self { memory, start, element, len }
    }

    pub fn address(&self) -> u64 {
        self.memory.as_ptr() as u64 + self.start as u64
    }

    /// The addresses of the elements.
    pub fn range(&self) -> Range<u64> {
        self.address()..self.address() + (self.len * self.element.size()) as u64
    }

    /// All of the memory, guards and all, from a multiple of 256 bytes on; and where in it the
    /// elements start.
    pub fn with_guards(&mut self) -> (&mut [u8], usize) {
        let first = self.memory.as_ptr().align_offset(256);
        (&mut self.memory[first..], self.start - first)
    }

    fn bytes(&self, i: usize) -> &[u8] {
        let size = self.element.size();
        &self.memory[self.start + i * size..][..size]
    }

    /// The bits of element `i`.
    pub fn bits(&self, i: usize) -> u32 {
        match *self.bytes(i) {
            [a, b] => u16::from_le_bytes([a, b]).into(),
            [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
            _ => unreachable!("elements are 2 or 4 bytes"),
        }
    }

    pub fn get(&self, i: usize) -> f64 {
        let bits = self.bits(i);
        match self.element {
            ElementType::F32 => f32::from_bits(bits).into(),
            ElementType::F16 => f16::from_bits(bits as u16).into(),
            ElementType::Bf16 => bf16::from_bits(bits as u16).into(),
        }
    }

    pub fn set_bits(&mut self, i: usize, bits: u32) {
        let size = self.element.size();
        self.memory[self.start + i * size..][..size].copy_from_slice(&bits.to_le_bytes()[..size]);
    }

    pub fn set(&mut self, i: usize, value: f64) {
        let bits = match self.element {
            ElementType::F32 => (value as f32).to_bits(),
            ElementType::F16 => f16::from_f64(value).to_bits().into(),
            ElementType::Bf16 => bf16::from_f64(value).to_bits().into(),
        };
        self.set_bits(i, bits);
    }

    /// Whether element `i` is as `new` left it.
    pub fn is_guard(&self, i: usize) -> bool {
        self.bytes(i).iter().all(|&byte| byte == GUARD_BYTE)
    }

    /// Whether nothing but the elements was written.
    pub fn guards_are_whole(&self) -> bool {
        let end = self.start + self.len * self.element.size();
        let around = self.memory[..self.start].iter().chain(&self.memory[end..]);
        around.into_iter().all(|&byte| byte == GUARD_BYTE)
    }
}
