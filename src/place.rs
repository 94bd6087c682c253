//! Tensors by address: what the borrow checker sees of slices, checked for memory that it does not
//! know.

use crate::Error;
use crate::tensor::{Heads, Layout};
use core::ptr;

/// Where a tensor is, as numbers. Its layout has been validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) address: u64,
    /// Bytes of an element.
    pub(crate) element_size: usize,
    pub(crate) layout: Layout,
}

/// What a call does with a tensor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    /// Its name.
    pub(crate) what: &'static str,
    pub(crate) place: Place,
    pub(crate) is_written: bool,
    /// What it may be written over, element by element.
    pub(crate) in_place_of: Option<&'static str>,
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
    #[inline]
    pub(crate) fn new(
        what: &'static str,
        address: u64,
        element_size: usize,
        layout: Layout,
    ) -> Result<Self, Error> {
        layout.span(what, element_size)?;
        Ok(Self { address, element_size, layout })
    }

    /// Whether a call may write `self` where it has read `other`, element by element.
    #[inline]
    fn coincides(&self, other: &Self) -> bool {
        let strides = |place: &Self| (place.layout.stride, place.layout.heads);
        self.address == other.address
            && strides(self) == strides(other)
            && self.element_size == other.element_size
    }

    /// Bytes from the first element to behind the last, of at least one row.
    #[inline]
    fn bytes(&self) -> u64 {
        let Row { elements, stride, count } = self.row();
        (((count - 1) * stride + elements) * self.element_size) as u64
    }

    /// The rows of the layout; for heads, from a token's first channel to its last, as far as the
    /// tokens do not interleave.
    #[inline]
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

    /// Whether an element of `self` may share memory with one of `other`. Heads that interleave
    /// with something are taken to share it.
    #[inline]
    fn overlaps(&self, other: &Self) -> bool {
        if self.address >= other.address.saturating_add(other.bytes())
            || other.address >= self.address.saturating_add(self.bytes())
        {
            return false;
        }
        let row_bytes = |place: &Self| (place.row().elements * place.element_size) as u64;
        let stride_bytes = |place: &Self| (place.row().stride * place.element_size) as u64;
        // Columns side by side in rows of one length, such as the parts of a packed q, k, v.
        let stride = stride_bytes(self);
        let apart =
            (other.address.wrapping_sub(self.address) as i64).rem_euclid(stride as i64) as u64;
        let side_by_side = stride == stride_bytes(other)
            && apart >= row_bytes(self)
            && stride - apart >= row_bytes(other);
        !side_by_side
    }
}

impl Access {
    #[inline]
    pub(crate) fn read(what: &'static str, place: Place) -> Self {
        Self { what, place, is_written: false, in_place_of: None }
    }

    /// One value per channel that is read, a weight or a bias.
    ///
    /// # Errors
    /// As [`Place::new`].
    #[inline]
    pub(crate) fn of_channels(
        what: &'static str,
        address: u64,
        element_size: usize,
        channels: usize,
    ) -> Result<Self, Error> {
        let layout = Layout::new(1, channels, channels);
        Ok(Self::read(what, Place::new(what, address, element_size, layout)?))
    }

    /// `count` f32 for each of `rows` rows, which are read.
    ///
    /// # Errors
    /// As [`Place::new`].
    #[inline]
    pub(crate) fn per_row(
        what: &'static str,
        address: u64,
        rows: usize,
        count: usize,
    ) -> Result<Self, Error> {
        let layout = Layout::new(rows, count, count);
        Ok(Self::read(what, Place::new(what, address, size_of::<f32>(), layout)?))
    }

    /// `len` f32 that are written, if there is an address and any of them.
    ///
    /// # Errors
    /// As [`Place::new`].
    pub(crate) fn sums(
        what: &'static str,
        address: Option<u64>,
        len: usize,
    ) -> Result<Option<Self>, Error> {
        let access = |address| {
            let access = Self::of_channels(what, address, size_of::<f32>(), len)?;
            Ok(Self { is_written: true, ..access })
        };
        address.filter(|_| len > 0).map(access).transpose()
    }

    /// A residual, and its sum if that goes elsewhere, which may be written over it.
    #[inline]
    pub(crate) fn residual(residual: Self, sum: Option<Self>) -> (Self, Option<Self>) {
        let written = |access, in_place_of| Self { is_written: true, in_place_of, ..access };
        match sum {
            None => (written(residual, None), None),
            Some(sum) => (residual, Some(written(sum, Some(residual.what)))),
        }
    }

    /// The output, which may be written over the input.
    #[inline]
    pub(crate) fn output(place: Place) -> Self {
        Self { what: "output", place, is_written: true, in_place_of: Some("input") }
    }

    /// # Errors
    /// [`Error::Address`] if the address is null or not a multiple of the element's size.
    #[inline]
    pub(crate) fn check_alignment(&self) -> Result<(), Error> {
        let (what, Place { address, element_size: wanted, .. }) = (self.what, self.place);
        if address != 0 && address.is_multiple_of(wanted as u64) {
            Ok(())
        } else {
            Err(Error::Address { what, address, wanted })
        }
    }

    /// Whether `self` may be written while `other` is used.
    #[inline]
    fn goes_with(&self, other: &Self) -> bool {
        let in_place = self.in_place_of == Some(other.what) && self.place.coincides(&other.place);
        in_place || !self.place.overlaps(&other.place)
    }
}

/// Checks the addresses of a call's tensors, whose shapes agree: [`Error::Address`] for one that is
/// null or not a multiple of its element's size, [`Error::Overlap`] if something that is written
/// shares memory with something else, other than in place. No rows need no memory.
#[inline]
pub(crate) fn check(rows: usize, tensors: &[Option<Access>]) -> Result<(), Error> {
    if rows == 0 {
        return Ok(());
    }
    let tensors = || tensors.iter().flatten();
    for tensor in tensors() {
        tensor.check_alignment()?;
    }
    for written in tensors().filter(|tensor| tensor.is_written) {
        for other in tensors().filter(|other| !ptr::eq(*other, written)) {
            if !written.goes_with(other) {
                return Err(Error::Overlap { written: written.what, what: other.what });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of their elements.
    const F32: usize = 4;
    const BF16: usize = 2;

    fn rows(address: u64, element_size: usize, stride: usize) -> Place {
        Place { address, element_size, layout: Layout::new(4, 8, stride) }
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

    /// A call of an input and an output, and perhaps more.
    fn call(x: Place, y: Place, more: &[Access]) -> Result<(), Error> {
        let mut tensors = vec![Some(Access::read("input", x)), Some(Access::output(y)), None];
        tensors.extend(more.iter().copied().map(Some));
        check(x.layout.rows, &tensors)
    }

    #[test]
    fn addresses_are_checked() {
        let plain = |x, y| call(rows(x, F32, 8), rows(y, F32, 8), &[]);
        assert_eq!(plain(4096, 8192), Ok(()));
        assert_eq!(plain(4096, 4096), Ok(()), "in place");
        assert!(matches!(plain(4098, 8192), Err(Error::Address { what: "input", .. })));
        assert!(matches!(plain(4096, 0), Err(Error::Address { what: "output", .. })));
        assert!(matches!(plain(4096, 4100), Err(Error::Overlap { what: "input", .. })));

        let weighted = |address| {
            let weight = Access::of_channels("weight", address, BF16, 8).unwrap();
            call(rows(4096, F32, 8), rows(8192, F32, 8), &[weight])
        };
        assert_eq!(weighted(4096), Ok(()), "shared with the input");
        assert!(matches!(weighted(8193), Err(Error::Address { what: "weight", .. })));
        assert!(matches!(weighted(8192), Err(Error::Overlap { what: "weight", .. })));
    }

    #[test]
    fn what_is_written_is_apart_from_everything_else() {
        let (x, y, free) = (4096, 8192, 16384);
        let summed = |residual, sum| {
            let residual = Access::read("residual", rows(residual, F32, 8));
            let place = rows(sum, F32, 8);
            let sum =
                Access { what: "sum", place, is_written: true, in_place_of: Some("residual") };
            call(rows(x, F32, 8), rows(y, F32, 8), &[residual, sum])
        };
        let overlap = |written, what| Err(Error::Overlap { written, what });
        assert_eq!(summed(x, free), Ok(()));
        assert_eq!(summed(y, free), overlap("output", "residual"));
        assert_eq!(summed(free, x), overlap("sum", "input"));
        assert_eq!(summed(free, y), overlap("output", "sum"));
        assert_eq!(summed(free, free), Ok(()), "in place");
        assert_eq!(summed(free, free + 124), overlap("sum", "residual"));
        assert_eq!(summed(free, free + 128), Ok(()));
    }

    #[test]
    fn in_place_needs_elements_of_one_size_and_rows_of_one_stride() {
        assert_eq!(call(rows(4096, BF16, 8), rows(4096, BF16, 8), &[]), Ok(()));
        let narrower = call(rows(4096, F32, 8), rows(4096, BF16, 8), &[]);
        assert!(matches!(narrower, Err(Error::Overlap { what: "input", .. })));
        let denser = call(rows(4096, F32, 16), rows(4096, F32, 8), &[]);
        assert!(matches!(denser, Err(Error::Overlap { what: "input", .. })));
    }

    #[test]
    fn shapes_are_checked() {
        let place = |channels| Access::of_channels("weight", 4096, F32, channels);
        assert!(matches!(place(0), Err(Error::NoChannels { what: "weight" })));
        assert!(matches!(place(usize::MAX / 2), Err(Error::TooLarge { .. })));
    }

    #[test]
    fn no_rows_need_no_memory() {
        let none = Layout::new(0, 8, 8);
        let place = Place::new("input", 0, F32, none).unwrap();
        let weight = Access::of_channels("weight", 0, F32, 8).unwrap();
        assert_eq!(call(place, place, &[weight]), Ok(()));
    }
}
