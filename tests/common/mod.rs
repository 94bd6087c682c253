//! What the test files share: the tables of lengths, types and instruction sets, tensors in
//! guarded memory, calls in all their detail, and the errors that are allowed.
#![allow(dead_code, reason = "each test file uses a share of it")]

pub mod backward;
pub mod call;
pub mod fused;
pub mod random;
pub mod tensor;
pub mod tolerance;

use dynorm::{ElementType, Isa};

/// Every instruction set of this processor.
pub fn isas() -> Vec<Isa> {
    Isa::available().collect()
}

/// Every pair of an input type and an output type.
pub fn type_pairs() -> impl Iterator<Item = (ElementType, ElementType)> {
    ElementType::ALL.into_iter().flat_map(|x| ElementType::ALL.into_iter().map(move |y| (x, y)))
}

/// Row lengths: all up to three of the widest vectors (16 lanes) and a bit, and those around
/// multiples of every block that a kernel may work in.
pub fn lengths() -> impl Iterator<Item = usize> {
    (1..=50).chain(63..=66).chain(127..=130).chain(255..=260).chain(511..=515).chain(1023..=1025)
}

/// A choice of those, for tests with many other dimensions: below, at and above a vector and a
/// block, and a row of several blocks and a rest.
pub const FEW_LENGTHS: [usize; 9] = [1, 7, 16, 33, 63, 128, 259, 514, 1025];
