//! Rows as heads of tokens in memory of the host.

use crate::cuda_common::buffer::{Buffer, Kind};
use dynorm::cuda::{DeviceQuantizedRows, DeviceRows};
use dynorm::{ElementType, HeadShape, QuantizedType};

/// Where the rows of a call's tensors are.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub tokens: usize,
    /// Of a token; 1 for none.
    pub heads: usize,
    pub channels: usize,
    /// 0 for tensors that are dense, 8 for gaps that leave all rows aligned; others put each tensor's
    /// rows at other addresses and strides.
    pub skew: usize,
}

impl Shape {
    pub fn row_count(self) -> usize {
        self.tokens * self.heads
    }

    /// The same rows without heads and gaps.
    pub fn dense(self) -> Self {
        Self { tokens: self.row_count(), heads: 1, skew: 0, ..self }
    }

    /// Elements between rows, and before the first, of tensor `which`.
    fn gap(self, which: usize) -> usize {
        if self.skew.is_multiple_of(8) { self.skew } else { (which + self.skew) % 7 }
    }

    fn stride(self, which: usize) -> usize {
        self.channels + self.gap(which)
    }

    fn token_stride(self, which: usize) -> usize {
        let row = self.stride(which);
        // Heads that are one stride apart all the way would be none.
        if self.heads == 1 { row } else { self.heads * row + 8 + self.gap(which) }
    }

    fn heads(self, which: usize) -> HeadShape {
        HeadShape {
            tokens: self.tokens,
            heads: self.heads,
            channels: self.channels,
            token_stride: self.token_stride(which),
            head_stride: self.stride(which),
        }
    }

    pub fn rows(self, address: u64, element: ElementType, which: usize) -> DeviceRows {
        DeviceRows::of_heads(address, element, self.heads(which)).unwrap()
    }

    pub fn quantized_rows(
        self,
        address: u64,
        element: QuantizedType,
        which: usize,
    ) -> DeviceQuantizedRows {
        DeviceQuantizedRows::of_heads(address, element, self.heads(which)).unwrap()
    }

    /// The place of an element in tensor `which`.
    fn place(self, which: usize, row: usize, channel: usize) -> usize {
        let (token, head) = (row / self.heads, row % self.heads);
        token * self.token_stride(which) + head * self.stride(which) + channel
    }
}

/// A tensor of a call.
pub struct Tensor {
    pub buffer: Buffer,
    shape: Shape,
    which: usize,
}

impl Tensor {
    pub fn empty(kind: Kind, shape: Shape, which: usize) -> Self {
        let len = shape.place(which, shape.row_count() - 1, shape.channels);
        Self { buffer: Buffer::new(kind, len, shape.gap(which) % 8), shape, which }
    }

    pub fn new(
        element: ElementType,
        shape: Shape,
        which: usize,
        value: &dyn Fn(usize, usize) -> f64,
    ) -> Self {
        let mut tensor = Self::empty(element.into(), shape, which);
        for row in 0..shape.row_count() {
            for channel in 0..shape.channels {
                let place = shape.place(which, row, channel);
                tensor.buffer.set(place, value(row, channel));
            }
        }
        tensor
    }

    /// The elements' bits, row after row.
    pub fn bits(&self) -> Vec<u32> {
        let Shape { channels, .. } = self.shape;
        let place = |i: usize| self.shape.place(self.which, i / channels, i % channels);
        (0..self.shape.row_count() * channels).map(|i| self.buffer.bits(place(i))).collect()
    }

    /// Whether nothing but the rows was written.
    pub fn surroundings_are_whole(&self) -> bool {
        let mut is_row = vec![false; self.buffer.len()];
        for row in 0..self.shape.row_count() {
            let first = self.shape.place(self.which, row, 0);
            is_row[first..first + self.shape.channels].fill(true);
        }
        let gap_is_whole = |i: usize| is_row[i] || self.buffer.is_guard(i);
        self.buffer.guards_are_whole() && (0..is_row.len()).all(gap_is_whole)
    }
}
