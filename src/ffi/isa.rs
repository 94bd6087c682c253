//! The choice of the CPU's instructions.

use super::boundary::guard;
use super::enums::{dynorm_isa, known};
use super::refusal::Refusal;
use super::status::dynorm_status;
use crate::Isa;
use core::ffi::c_char;
use core::mem::MaybeUninit;

/// Writes to `isa` the instructions that calls use unless they say otherwise. It is chosen at the
/// first call of any function that needs it; see DYNORM_ISA_CURRENT.
///
/// DYNORM_ERROR_NULL; DYNORM_ERROR_ISA if DYNORM_ISA in the environment names none, or one that
/// the processor lacks, and `isa` is left as it was. Any thread may call it.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn dynorm_isa_current(isa: *mut MaybeUninit<dynorm_isa>) -> dynorm_status {
    guard(|| {
        if isa.is_null() {
            return Err(Refusal::Null { what: "isa" });
        }
        let current = dynorm_isa::from(Isa::current()?);
        // SAFETY: not NULL, and the caller vouches that it is a place for one.
        unsafe { isa.write_unaligned(MaybeUninit::new(current)) };
        Ok(())
    })
}

/// Makes every later call of the process use `isa` unless it says otherwise. For tests and
/// benchmarks; the field `isa` of a call's struct chooses for that call alone.
///
/// DYNORM_ERROR_VALUE if `isa` is no instruction set; DYNORM_ERROR_ISA if the processor lacks it.
/// Any thread may call it.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub extern "C" fn dynorm_isa_set_current(isa: MaybeUninit<dynorm_isa>) -> dynorm_status {
    guard(|| match known("isa", isa)?.choice() {
        Some(isa) => Ok(isa.set_current()?),
        None => Err(Refusal::Unknown { what: "isa", given: 0, name: "instruction set" }),
    })
}

/// Whether this processor, and its operating system, have `isa`; false for numbers that are no
/// instruction set. Any thread may call it.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub extern "C" fn dynorm_isa_is_available(isa: MaybeUninit<dynorm_isa>) -> bool {
    known("isa", isa).is_ok_and(|isa| isa.choice().is_some_and(Isa::is_available))
}

/// The name of `isa` as DYNORM_ISA in the environment has it; NULL for numbers that are no
/// instruction set. The text is static. Any thread may call it.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub extern "C" fn dynorm_isa_name(isa: MaybeUninit<dynorm_isa>) -> *const c_char {
    let name = known("isa", isa).ok().and_then(dynorm_isa::choice).map(|isa| match isa {
        Isa::Portable => c"portable",
        Isa::Avx2 => c"avx2",
        Isa::Avx512 => c"avx512",
        Isa::Avx512Bf16 => c"avx512bf16",
    });
    name.map_or(core::ptr::null(), |name| name.as_ptr())
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ffi::CStr;

    #[test]
    fn names_are_those_of_the_crate() {
        for isa in Isa::ALL {
            let name = dynorm_isa_name(MaybeUninit::new(isa.into()));
            // SAFETY: it is static.
            assert_eq!(unsafe { CStr::from_ptr(name) }.to_str(), Ok(isa.name()));
        }
    }
}
