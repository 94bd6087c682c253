//! Statuses, and the text of the last error.

use super::enums::{Enum, known, numbered};
use core::cell::Cell;
use core::ffi::{CStr, c_char};
use core::fmt::{Display, Write};
use core::mem::MaybeUninit;
use dynorm_status::*;

/// What a function returns. A number keeps its meaning; later versions may add some.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum dynorm_status {
    /// Done.
    DYNORM_OK = 0,
    /// A pointer is NULL that must not be.
    DYNORM_ERROR_NULL = 1,
    /// An address is not a multiple of the element's size, or a struct is not aligned.
    DYNORM_ERROR_ALIGNMENT = 2,
    /// The field `size` of a struct is not what `sizeof` gives in any known version of the header.
    DYNORM_ERROR_STRUCT_SIZE = 3,
    /// A number that stands for none of the values of its enum, flags that exclude each other, or
    /// something that the function, or the type of y, does not go with.
    DYNORM_ERROR_VALUE = 4,
    /// No channels, a stride that makes rows overlap, rows that are no whole tokens, or more than
    /// memory can hold.
    DYNORM_ERROR_SHAPE = 5,
    /// A parameter is outside its range.
    DYNORM_ERROR_PARAMETER = 6,
    /// What is written shares memory with something else, other than exactly in place.
    DYNORM_ERROR_OVERLAP = 7,
    /// A part whose index is not below the count.
    DYNORM_ERROR_PART = 8,
    /// The processor lacks the instruction set, or `DYNORM_ISA` names none.
    DYNORM_ERROR_ISA = 9,
    /// The library was built without what was asked for, or is older than a field that is used.
    DYNORM_ERROR_UNSUPPORTED = 10,
    /// No CUDA driver, or a driver or device that is too old.
    DYNORM_ERROR_CUDA_MISSING = 11,
    /// The CUDA driver refused a call; it may report the failure of earlier work.
    DYNORM_ERROR_CUDA_DRIVER = 12,
    /// No CUDA context is current on this thread.
    DYNORM_ERROR_CUDA_CONTEXT = 13,
    /// The device was opened without the kernels of this function.
    DYNORM_ERROR_CUDA_NOT_LOADED = 14,
    /// An address that the device cannot reach, or that belongs to another context.
    DYNORM_ERROR_CUDA_MEMORY = 15,
    /// An error of the library itself. The output may be partly written.
    DYNORM_ERROR_INTERNAL = 16,
}

numbered!(
    dynorm_status,
    DYNORM_OK,
    DYNORM_ERROR_NULL,
    DYNORM_ERROR_ALIGNMENT,
    DYNORM_ERROR_STRUCT_SIZE,
    DYNORM_ERROR_VALUE,
    DYNORM_ERROR_SHAPE,
    DYNORM_ERROR_PARAMETER,
    DYNORM_ERROR_OVERLAP,
    DYNORM_ERROR_PART,
    DYNORM_ERROR_ISA,
    DYNORM_ERROR_UNSUPPORTED,
    DYNORM_ERROR_CUDA_MISSING,
    DYNORM_ERROR_CUDA_DRIVER,
    DYNORM_ERROR_CUDA_CONTEXT,
    DYNORM_ERROR_CUDA_NOT_LOADED,
    DYNORM_ERROR_CUDA_MEMORY,
    DYNORM_ERROR_INTERNAL
);

impl dynorm_status {
    fn text(self) -> &'static CStr {
        match self {
            DYNORM_OK => c"done",
            DYNORM_ERROR_NULL => c"a pointer is NULL",
            DYNORM_ERROR_ALIGNMENT => c"an address is misaligned",
            DYNORM_ERROR_STRUCT_SIZE => c"a struct's size is of no known version",
            DYNORM_ERROR_VALUE => c"a value is unknown or contradicts another",
            DYNORM_ERROR_SHAPE => c"a shape is impossible",
            DYNORM_ERROR_PARAMETER => c"a parameter is outside its range",
            DYNORM_ERROR_OVERLAP => c"what is written overlaps something else",
            DYNORM_ERROR_PART => c"a part does not exist",
            DYNORM_ERROR_ISA => c"the instruction set is missing or unknown",
            DYNORM_ERROR_UNSUPPORTED => c"this build of the library lacks it",
            DYNORM_ERROR_CUDA_MISSING => c"no CUDA driver or device that will do",
            DYNORM_ERROR_CUDA_DRIVER => c"the CUDA driver reports an error",
            DYNORM_ERROR_CUDA_CONTEXT => c"no CUDA context is current",
            DYNORM_ERROR_CUDA_NOT_LOADED => c"the function's kernels are not loaded",
            DYNORM_ERROR_CUDA_MEMORY => c"an address is not the device's memory",
            DYNORM_ERROR_INTERNAL => c"an error of the library itself",
        }
    }
}

/// A status in a few words. The text is static; an unknown number gets one, too. Any thread may
/// call it.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub extern "C" fn dynorm_status_string(status: MaybeUninit<dynorm_status>) -> *const c_char {
    known("status", status).map_or(c"an unknown status", dynorm_status::text).as_ptr()
}

/// Bytes of the longest text, with the 0 at its end.
const CAPACITY: usize = 1024;

thread_local! {
    // Without a destructor, so that a library may be unloaded and a thread may end at any time.
    static LAST: Cell<[u8; CAPACITY]> = const { Cell::new([0; CAPACITY]) };
}

/// What was wrong with the last call on the calling thread that returned an error: what was given
/// and what was wanted, in UTF-8; empty if there was none. The text belongs to the library and is
/// overwritten by the next error on the same thread; another thread must not read it.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub extern "C" fn dynorm_last_error() -> *const c_char {
    LAST.with(Cell::as_ptr).cast()
}

/// Keeps the text of an error for [`dynorm_last_error`].
pub(super) fn keep(error: &impl Display) {
    let mut text = Text { bytes: [0; CAPACITY], len: 0 };
    // It is cut off where it is too long.
    let _ = write!(text, "{error}");
    LAST.with(|last| last.set(text.bytes));
}

struct Text {
    bytes: [u8; CAPACITY],
    len: usize,
}

impl Write for Text {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        let mut end = s.len().min(CAPACITY - 1 - self.len);
        while !s.is_char_boundary(end) {
            end -= 1;
        }
        let part = &s[..end];
        self.bytes[self.len..][..part.len()].copy_from_slice(part.as_bytes());
        self.len += part.len();
        if part.len() == s.len() { Ok(()) } else { Err(core::fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last() -> String {
        // SAFETY: a C string of this thread's.
        unsafe { CStr::from_ptr(dynorm_last_error()) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_long_text_is_cut_off_between_characters() {
        keep(&"é".repeat(CAPACITY));
        assert_eq!(last(), "é".repeat((CAPACITY - 1) / 2));
        keep(&"short");
        assert_eq!(last(), "short");
    }

    #[test]
    fn every_status_has_a_text_of_its_own() {
        let mut texts: Vec<_> = dynorm_status::ALL.iter().map(|status| status.text()).collect();
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), dynorm_status::ALL.len());
    }
}
