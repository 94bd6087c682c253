//! `dynorm info`: the processor, and the implementation that is chosen on it.

use crate::{gpu, table};
use anstream::println;
use anyhow::Result;
use dynorm::{Isa, cpu::CacheSizes};
use std::{env, thread};

/// Prints what the library sees and chooses.
pub fn run() -> Result<()> {
    let chosen = Isa::current()?;
    let why = match env::var("DYNORM_ISA") {
        Ok(name) => format!("forced by DYNORM_ISA={name}; detected: {}", Isa::detected().name()),
        Err(_) => "detected; the environment variable DYNORM_ISA overrides it".to_owned(),
    };
    let available: Vec<&str> = Isa::available().map(Isa::name).collect();
    let CacheSizes { l1d, l2, l3, .. } = dynorm::cpu::cache_sizes();
    println!("processor        {}", processor());
    println!("features         {}", features().join(" "));
    println!("implementation   {} ({why})", chosen.name());
    println!("available        {}", available.join(" "));
    println!("caches           {}", table::caches([l1d, l2, l3]));
    println!("threads          {}", thread::available_parallelism().map_or(1, usize::from));
    for line in gpu::describe() {
        println!("GPU              {line}");
    }
    Ok(())
}

/// The processor's name as it gives it itself, or else the architecture's.
pub fn processor() -> String {
    #[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
    if let Some(name) = raw_cpuid::CpuId::new().get_processor_brand_string() {
        return name.as_str().trim().to_owned();
    }
    env::consts::ARCH.to_owned()
}

/// Those of the processor's features that matter to the library or to its peers.
#[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
fn features() -> Vec<&'static str> {
    macro_rules! present {
        ($($name:tt),*) => {
            [$(($name, std::arch::is_x86_feature_detected!($name))),*]
        };
    }
    let all = present!(
        "sse4.1",
        "avx",
        "avx2",
        "fma",
        "f16c",
        "avx512f",
        "avx512bw",
        "avx512dq",
        "avx512vl",
        "avx512vnni",
        "avx512bf16",
        "avx512fp16"
    );
    all.into_iter().filter_map(|(name, present)| present.then_some(name)).collect()
}

/// Those of the processor's features that matter to the library or to its peers.
#[cfg(not(any(target_arch = "x86_64", target_arch = "x86")))]
fn features() -> Vec<&'static str> {
    if cfg!(target_feature = "neon") { vec!["neon"] } else { Vec::new() }
}
