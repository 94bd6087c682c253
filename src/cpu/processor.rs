//! What is best differs between processors that have the same instructions.

use std::sync::OnceLock;

/// Whether the processor is one of Intel's. There (measured on Golden Cove, in an Emerald Rapids), and not on AMD's
/// (Zen 4):
///
/// * What waits for memory, be it read or streamed, holds one of the 16 fill buffers of the first level of the caches.
///   What is fetched into the second holds none for long; so it is fetched there first, and from there into the first.
///   To look up pages beforehand, or to pause, makes nothing faster.
/// * What is streamed should leave little by little: a gate is applied while it is, and not before. (In the caches
///   that takes as long. On Zen 4 it has not been measured from memory.)
/// * The last level is the one of all cores, and not of eight.
/// * A lookup in 32 entries takes much less time than a division.
pub(crate) fn is_intel() -> bool {
    static INTEL: OnceLock<bool> = OnceLock::new();
    *INTEL.get_or_init(detect)
}

#[cfg(target_arch = "x86_64")]
fn detect() -> bool {
    raw_cpuid::CpuId::new()
        .get_vendor_info()
        .is_some_and(|vendor| vendor.as_str() == "GenuineIntel")
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> bool {
    false
}
