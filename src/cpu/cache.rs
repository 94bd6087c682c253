//! Sizes of the processor's caches.

use std::sync::OnceLock;

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// Sizes of the data caches that one core sees, in bytes; 0 where unknown or absent.
///
/// ```
/// let sizes = dynorm::cpu::CacheSizes { l1d: 32 << 10, l2: 1 << 20, l3: 0 };
/// assert_eq!(sizes.last_level(), 1 << 20);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheSizes {
    /// Level 1, data.
    pub l1d: usize,
    /// Level 2.
    pub l2: usize,
    /// Level 3, shared by several cores as a rule.
    pub l3: usize,
}

impl CacheSizes {
    /// The size of the largest cache.
    ///
    /// ```
    /// let unknown = dynorm::cpu::CacheSizes::default();
    /// assert_eq!(unknown.last_level(), 0);
    /// ```
    pub fn last_level(&self) -> usize {
        [self.l3, self.l2, self.l1d].into_iter().find(|&size| size > 0).unwrap_or(0)
    }
}

/// The cache sizes of this processor, asked for once.
///
/// On x86 they come from CPUID; elsewhere they are unknown.
///
/// ```
/// let sizes = dynorm::cpu::cache_sizes();
/// println!("the last level has {} bytes", sizes.last_level());
/// ```
pub fn cache_sizes() -> CacheSizes {
    static SIZES: OnceLock<CacheSizes> = OnceLock::new();
    *SIZES.get_or_init(detect)
}

#[cfg(target_arch = "x86_64")]
fn detect() -> CacheSizes {
    use raw_cpuid::{CacheType, CpuId};
    let mut sizes = CacheSizes::default();
    for cache in CpuId::new().get_cache_parameters().into_iter().flatten() {
        let bytes = cache.associativity()
            * cache.physical_line_partitions()
            * cache.coherency_line_size()
            * cache.sets();
        match (cache.level(), cache.cache_type()) {
            (1, CacheType::Data) => sizes.l1d = bytes,
            (2, CacheType::Data | CacheType::Unified) => sizes.l2 = bytes,
            (3, CacheType::Data | CacheType::Unified) => sizes.l3 = bytes,
            _ => {}
        }
    }
    sizes
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> CacheSizes {
    CacheSizes::default()
}
