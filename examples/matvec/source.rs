//! Where a product takes the elements of its vector from.

use crate::prologue::Prologue;
use dynorm::cpu::lanes::Lanes;

/// A pass over a vector.
pub trait Source<L: Lanes> {
    /// `length` elements from `i` on, in `U` vectors: all of them, or part of a single one.
    fn load<const U: usize>(&mut self, lanes: L, i: usize, length: usize) -> [L::Vector; U];
}

/// Elements as they are.
#[derive(Clone, Copy)]
pub struct AsItIs<'a>(pub &'a [f32]);

impl<L: Lanes> Source<L> for AsItIs<'_> {
    #[inline(always)]
    fn load<const U: usize>(&mut self, lanes: L, i: usize, length: usize) -> [L::Vector; U] {
        vectors(lanes, &self.0[i..i + length])
    }
}

/// Elements with the function applied.
pub struct Applied<'a, P> {
    pub prologue: P,
    pub x: &'a [f32],
    pub weight: &'a [f32],
}

impl<L: Lanes, P: Prologue<L>> Source<L> for Applied<'_, P> {
    #[inline(always)]
    fn load<const U: usize>(&mut self, lanes: L, i: usize, length: usize) -> [L::Vector; U] {
        let x = vectors(lanes, &self.x[i..i + length]);
        let weight = vectors(lanes, &self.weight[i..i + length]);
        self.prologue.apply(lanes, x, weight)
    }
}

/// Elements with the function applied, and written down for later passes.
pub struct Kept<'a, P> {
    pub applied: Applied<'a, P>,
    pub kept: &'a mut [f32],
}

impl<L: Lanes, P: Prologue<L>> Source<L> for Kept<'_, P> {
    #[inline(always)]
    fn load<const U: usize>(&mut self, lanes: L, i: usize, length: usize) -> [L::Vector; U] {
        let x: [L::Vector; U] = self.applied.load(lanes, i, length);
        let kept = &mut self.kept[i..i + length];
        for j in 0..U {
            lanes.store(x[j], &mut kept[j * L::COUNT..]);
        }
        x
    }
}

/// `from` as `U` vectors.
#[inline(always)]
fn vectors<L: Lanes, const U: usize>(lanes: L, from: &[f32]) -> [L::Vector; U] {
    let mut v = [lanes.splat(0.0); U];
    for j in 0..U {
        v[j] = lanes.load(&from[j * L::COUNT..]);
    }
    v
}
