//! Tensors by address: what the borrow checker sees of slices, checked for memory that it does not
//! know.

use crate::tensor::{Heads, Layout};
use crate::{ElementType, Error};

/// Where a tensor is, as numbers. Its layout has been validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) address: u64,
    pub(crate) element: ElementType,
    pub(crate) layout: Layout,
}

/// Runs of elements, one every `stride`.
struct Row {
    elements: usize,
    stride: usize,
    count: usize,
}

impl Place {
    /// # Errors
    /// [`Error::NoChannels`], [`Error::Stride`] or [`Error::TooLarge`].
    pub(crate) fn new(
        what: &'static str,
        address: u64,
        element: ElementType,
        layout: Layout,
    ) -> Result<Self, Error> {
        layout.span(what, element.size())?;
        Ok(Self { address, element, layout })
    }

    /// One value per channel, a weight or a bias.
    pub(crate) fn of_channels(
        what: &'static str,
        address: u64,
        element: ElementType,
        channels: usize,
    ) -> Result<Self, Error> {
        Self::new(what, address, element, Layout::new(1, channels, channels))
    }

    /// Bytes from the first element to behind the last, of at least one row.
    fn bytes(&self) -> u64 {
        let Row { elements, stride, count } = self.row();
        (((count - 1) * stride + elements) * self.element.size()) as u64
    }

    /// The rows of the layout; for heads, from a token's first channel to its last, as far as the
    /// tokens do not interleave.
    fn row(&self) -> Row {
        let Layout { rows, channels, stride, heads } = self.layout;
        match heads {
            None => Row { elements: channels, stride, count: rows },
            Some(Heads { count, token_stride }) => {
                let elements = (count.get() - 1) * stride + channels;
                Row { elements, stride: token_stride, count: rows / count }
            }
        }
    }

    /// Whether `self` and `other` are the same memory, element by element.
    fn coincides(&self, other: &Self) -> bool {
        let strides = |place: &Self| (place.layout.stride, place.layout.heads);
        self.address == other.address
            && strides(self) == strides(other)
            && self.element.size() == other.element.size()
    }

    /// Whether an element of `self` may share memory with one of `other`. Heads that interleave
    /// with something are taken to share it.
    fn overlaps(&self, other: &Self) -> bool {
        if self.address >= other.address.saturating_add(other.bytes())
            || other.address >= self.address.saturating_add(self.bytes())
        {
            return false;
        }
        let row_bytes = |place: &Self| (place.row().elements * place.element.size()) as u64;
        let stride_bytes = |place: &Self| (place.row().stride * place.element.size()) as u64;
        // Columns side by side in rows of one length, such as the parts of a packed q, k, v.
        let stride = stride_bytes(self);
        let apart =
            (other.address.wrapping_sub(self.address) as i64).rem_euclid(stride as i64) as u64;
        let side_by_side = stride == stride_bytes(other)
            && apart >= row_bytes(self)
            && stride - apart >= row_bytes(other);
        !side_by_side
    }

    fn check_alignment(&self, what: &'static str) -> Result<(), Error> {
        let wanted = self.element.size();
        if self.address != 0 && self.address.is_multiple_of(wanted as u64) {
            Ok(())
        } else {
            Err(Error::Address { what, address: self.address, wanted })
        }
    }
}

/// Checks the addresses of a call's tensors, which have the same shape: [`Error::Address`] for one
/// that is null or not a multiple of its element's size, [`Error::Overlap`] if `y` shares memory
/// with an operand or, other than in place, with `x`. No rows need no memory.
pub(crate) fn check(
    x: Place,
    y: Place,
    weight: Option<Place>,
    bias: Option<Place>,
) -> Result<(), Error> {
    if x.layout.rows == 0 {
        return Ok(());
    }
    x.check_alignment("input")?;
    y.check_alignment("output")?;
    if !x.coincides(&y) && x.overlaps(&y) {
        return Err(Error::Overlap { what: "input" });
    }
    for (what, operand) in [("weight", weight), ("bias", bias)] {
        let Some(operand) = operand else { continue };
        operand.check_alignment(what)?;
        if operand.overlaps(&y) {
            return Err(Error::Overlap { what });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ElementType::{Bf16, F16, F32};

    fn rows(address: u64, element: ElementType, stride: usize) -> Place {
        Place { address, element, layout: Layout::new(4, 8, stride) }
    }

    #[test]
    fn overlaps_are_found() {
        let rows = |address, stride| rows(address, F32, stride);
        let x = rows(4096, 8);
        assert!(x.overlaps(&x));
        assert!(x.overlaps(&rows(4096 + 4, 8)));
        assert!(!x.overlaps(&rows(4096 + 128, 8)));
        assert!(!rows(4096 + 128, 8).overlaps(&x));
        // Two halves of rows of 16, either way round; then one column too far.
        assert!(!rows(4096, 16).overlaps(&rows(4096 + 32, 16)));
        assert!(!rows(4096 + 32, 16).overlaps(&rows(4096, 16)));
        assert!(rows(4096, 16).overlaps(&rows(4096 + 28, 16)));
        assert!(rows(4096 + 28, 16).overlaps(&rows(4096, 16)));
        assert!(rows(4096, 16).overlaps(&rows(4096 + 32, 17)));
    }

    #[test]
    fn addresses_are_checked() {
        let call = |x, y| check(rows(x, F32, 8), rows(y, F32, 8), None, None);
        assert_eq!(call(4096, 8192), Ok(()));
        assert_eq!(call(4096, 4096), Ok(()), "in place");
        assert!(matches!(call(4098, 8192), Err(Error::Address { what: "input", .. })));
        assert!(matches!(call(4096, 0), Err(Error::Address { what: "output", .. })));
        assert!(matches!(call(4096, 4100), Err(Error::Overlap { what: "input" })));

        let (x, y) = (rows(4096, F32, 8), rows(8192, F32, 8));
        let bf16 = |address| Some(Place::of_channels("operand", address, Bf16, 8).unwrap());
        let weighted = check(x, y, bf16(8193), None);
        assert!(matches!(weighted, Err(Error::Address { what: "weight", .. })));
        let biased = check(x, y, None, bf16(8192));
        assert!(matches!(biased, Err(Error::Overlap { what: "bias" })));
    }

    #[test]
    fn in_place_needs_elements_of_one_size_and_rows_of_one_stride() {
        let call = |x, y| check(x, y, None, None);
        assert_eq!(call(rows(4096, F16, 8), rows(4096, Bf16, 8)), Ok(()));
        let narrower = call(rows(4096, F32, 8), rows(4096, Bf16, 8));
        assert!(matches!(narrower, Err(Error::Overlap { what: "input" })));
        let denser = call(rows(4096, F32, 16), rows(4096, F32, 8));
        assert!(matches!(denser, Err(Error::Overlap { what: "input" })));
    }

    #[test]
    fn shapes_are_checked() {
        let place = |channels| Place::of_channels("weight", 4096, F32, channels);
        assert!(matches!(place(0), Err(Error::NoChannels { what: "weight" })));
        assert!(matches!(place(usize::MAX / 2), Err(Error::TooLarge { .. })));
    }

    #[test]
    fn no_rows_need_no_memory() {
        let none = Layout::new(0, 8, 8);
        let place = Place::new("input", 0, F32, none).unwrap();
        let weight = Place::of_channels("weight", 0, F32, 8).unwrap();
        assert_eq!(check(place, place, Some(weight), None), Ok(()));
    }
}
