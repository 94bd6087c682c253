//! What launches are planned with: sizes of the machine, alignment, division by multiplication.

use super::rows::DeviceChannels;
use crate::ElementType;
use crate::place::Place;
use crate::tensor::Layout;

/// Bytes of the widest access.
pub(crate) const VECTOR: usize = 16;
/// Threads of a warp.
pub(crate) const WARP: usize = 32;
/// Threads of a block that works on several rows, and the least of an element-wise one's.
pub(crate) const SMALL_BLOCK: usize = 128;
/// The most blocks of a grid.
pub(crate) const MAX_GRID: usize = i32::MAX as usize;
/// The most channels of a row whose kernel counts them in 32 bits.
pub(crate) const MAX_CHANNELS: usize = i32::MAX as usize;

/// Elements of the widest access.
pub(crate) fn lanes_of(element: ElementType) -> usize {
    VECTOR / element.size()
}

/// A factor and a shift for which `n / divisor` is `n * factor >> shift` for all n below 2^31
/// (Granlund & Montgomery 1994): a device has no division.
pub(crate) fn magic(divisor: u32) -> (u32, u32) {
    let digits = divisor.next_power_of_two().ilog2();
    let shift = 31 + digits;
    // Below 2^32: the divisor is more than half of 2^digits, or 1.
    let factor = (1_u64 << shift).div_ceil(divisor.into());
    (factor as u32, shift)
}

pub(crate) fn grid(blocks: usize) -> Option<u32> {
    (blocks <= MAX_GRID).then_some(blocks as u32)
}

/// Whether every row of `channels` channels of `tensors`, and `operands`, are whole vectors of `lanes` elements that lie
/// at multiples of their size, or of 16 bytes.
pub(crate) fn whole_vectors(
    channels: usize,
    tensors: impl IntoIterator<Item = Place>,
    operands: [Option<DeviceChannels>; 2],
    lanes: usize,
) -> bool {
    let strided = |place: Place| {
        let whole = |stride: usize| {
            (stride * place.element_size).is_multiple_of(vector_bytes(place.element_size, lanes))
        };
        let layout = place.layout;
        is_aligned(place, lanes)
            && (layout.rows == 1 || whole(layout.stride))
            && layout.heads.is_none_or(|heads| whole(heads.token_stride))
    };
    let operand = |operand: Option<DeviceChannels>| {
        operand.is_none_or(|given| {
            given.address.is_multiple_of(vector_bytes(given.element.size(), lanes) as u64)
        })
    };
    channels.is_multiple_of(lanes)
        && tensors.into_iter().all(strided)
        && operands.into_iter().all(operand)
}

pub(crate) fn is_aligned(place: Place, lanes: usize) -> bool {
    place.address.is_multiple_of(vector_bytes(place.element_size, lanes) as u64)
}

pub(crate) fn vector_bytes(element_size: usize, lanes: usize) -> usize {
    (element_size * lanes).min(VECTOR)
}

/// Elements from one token of `heads` rows to the next; in a tensor without heads they follow one
/// another like all rows.
pub(crate) fn token_stride(layout: Layout, heads: usize) -> u64 {
    let dense = || (heads as u64).wrapping_mul(layout.stride as u64);
    layout.heads.map_or_else(dense, |heads| heads.token_stride as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn division_by_a_factor_is_exact() {
        let divisors = (1..2000).chain([4095, 4097, 65_535, 1 << 20, MAX_GRID as u32 - 1]);
        for divisor in divisors {
            let (factor, shift) = magic(divisor);
            let last = MAX_GRID as u32;
            let multiples = [1, 2, 1000, last / divisor].map(|m| m.min(last / divisor) * divisor);
            for n in multiples.into_iter().flat_map(|n| [n - 1, n, n + 1]).chain([0, last]) {
                let quotient = (u64::from(n) * u64::from(factor)) >> shift;
                assert_eq!(quotient, u64::from(n / divisor), "{n} / {divisor}");
            }
        }
    }
}
