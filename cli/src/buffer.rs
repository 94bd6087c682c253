//! Memory to measure in.

use crate::number::Number;

/// Bytes of a cache line, and of the widest vector.
const LINE: usize = 64;

/// Elements that start on a cache line and whose pages are present.
pub struct Buffer<T> {
    memory: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Number> Buffer<T> {
    /// `len` elements that repeat `pattern`, which is not empty.
    pub fn tiled(pattern: &[T], len: usize) -> Self {
        let mut buffer = Self::reserve(len);
        for tile in buffer.slice_mut().chunks_mut(pattern.len()) {
            tile.copy_from_slice(&pattern[..tile.len()]);
        }
        buffer
    }

    /// `len` elements that no function may leave behind: NaN.
    pub fn poisoned(len: usize) -> Self {
        let mut buffer = Self::reserve(len);
        buffer.slice_mut().fill(T::from_f32(f32::NAN));
        buffer
    }

    fn reserve(len: usize) -> Self {
        let memory = vec![T::from_f32(0.0); len + LINE / size_of::<T>()];
        let start = memory.as_ptr().align_offset(LINE);
        Self { memory, start, len }
    }

    /// The elements.
    pub fn slice(&self) -> &[T] {
        &self.memory[self.start..][..self.len]
    }

    /// The elements.
    pub fn slice_mut(&mut self) -> &mut [T] {
        &mut self.memory[self.start..][..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_repeat_and_start_on_a_line() {
        let buffer = Buffer::tiled(&[1.0_f32, 2.0, 3.0], 7);
        assert_eq!(buffer.slice(), [1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 1.0]);
        assert_eq!(buffer.slice().as_ptr().addr() % LINE, 0);
        assert!(Buffer::<f32>::poisoned(9).slice().iter().all(|x| x.is_nan()));
    }
}
