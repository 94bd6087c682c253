//! The library's version.

/// The version as one number, as the header's macro `DYNORM_VERSION` has it.
const VERSION: u32 = 1_000_000 * number(env!("CARGO_PKG_VERSION_MAJOR"))
    + 1000 * number(env!("CARGO_PKG_VERSION_MINOR"))
    + number(env!("CARGO_PKG_VERSION_PATCH"));

const fn number(digits: &str) -> u32 {
    match u32::from_str_radix(digits, 10) {
        Ok(number) => number,
        Err(_) => panic!("a version is made of numbers"),
    }
}

/// The version of the library that is linked, in the form of `DYNORM_VERSION`, which is that of
/// the header. Up to version 1 they must have the same major and minor number; the library's file
/// name sees to it where it is shared. Never fails; any thread may call it.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub extern "C" fn dynorm_version() -> u32 {
    VERSION
}
