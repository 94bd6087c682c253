//! Where a tensor's bytes are, for calls that are looked at in a glance.

use core::ffi::c_void;

/// Memory of a tensor, from its first byte to behind its last.
#[derive(Clone, Copy)]
pub(super) struct Memory {
    pub(super) start: usize,
    end: usize,
}

impl Memory {
    /// Of what there is not: apart from everything.
    pub(super) const NONE: Self = Self { start: 0, end: 0 };

    /// That of `count` elements of `size` bytes; unless there are too many, or the address is NULL or no multiple of
    /// `alignment`, a power of two.
    #[inline(always)]
    pub(super) fn of(
        data: *const c_void,
        [size, alignment]: [usize; 2],
        count: usize,
    ) -> Option<Self> {
        let (start, bytes) = (data.addr(), count.checked_mul(size)?);
        let end = start.checked_add(bytes)?;
        let fits = start != 0 && start & (alignment - 1) == 0 && bytes <= isize::MAX as usize;
        fits.then_some(Self { start, end })
    }

    #[inline(always)]
    pub(super) fn is_apart_from(self, other: Self) -> bool {
        self.end <= other.start || other.end <= self.start
    }

    #[inline(always)]
    pub(super) fn is_apart_from_all<const N: usize>(self, others: [Self; N]) -> bool {
        let mut apart = true;
        for other in others {
            apart &= self.is_apart_from(other);
        }
        apart
    }
}
