//! What a comparison found: what `--json` prints and the tables and the report are made of.

use crate::{info, table};
use dynorm::{Isa, cpu::CacheSizes};
use serde::Serialize;

/// Everything that one run of `compare` found.
#[derive(Serialize)]
pub struct Results {
    /// The program's version.
    pub version: &'static str,
    /// Whether `--quick` was given: the numbers then only show that everything runs.
    pub quick: bool,
    /// Whether every check held.
    pub ok: bool,
    /// Where it ran.
    pub machine: Machine,
    /// What it ran on.
    pub input: Input,
    /// Each function's parameters on each layer, and on all layers together (for the speed).
    pub parameters: Vec<Parameters>,
    /// Comparisons with the f64 reference.
    pub checks: Vec<Check>,
    /// Speed in L2 and in DRAM.
    pub speed: Vec<Speed>,
    /// Speed from L1 to DRAM, for the report; else empty.
    pub sweep: Vec<Speed>,
}

impl Results {
    /// Everything that is wrong, in words.
    pub fn failures(&self) -> Vec<String> {
        let inaccurate = self.checks.iter().filter(|check| !check.ok).map(|check| {
            let weighted = if check.weighted { " with weight" } else { "" };
            format!(
                "{} {} on {}{weighted}: {:.3} ulp, {:.3} allowed, at {}",
                check.function,
                check.element,
                place(check.threads),
                check.worst_ulp,
                check.limit_ulp,
                check.place
            )
        });
        let measured = self.speed.iter().chain(&self.sweep);
        let differing = measured.filter(|speed| !speed.same_bits).map(|speed| {
            format!(
                "{} {} on {}, {} rows: other bits than the same rows in a small call",
                speed.function,
                speed.element,
                place(speed.threads),
                speed.rows
            )
        });
        inaccurate.chain(differing).collect()
    }
}

/// Where it ran, in words.
fn place(threads: Option<usize>) -> String {
    threads.map_or_else(|| "the GPU".to_owned(), |threads| format!("{threads} thread(s)"))
}

/// The machine and the implementation.
#[derive(Serialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// The library's instruction set that was used.
    pub isa: &'static str,
    /// Threads of the parallel runs.
    pub threads: usize,
    /// Bytes of the L1 data cache of a core; 0 if unknown.
    pub l1d: usize,
    /// Bytes of the L2 cache of a core; 0 if unknown.
    pub l2: usize,
    /// Bytes of the L3 cache; 0 if unknown.
    pub l3: usize,
    /// The GPU; `null` without one.
    pub gpu: Option<GpuInfo>,
    /// Why there is no GPU; `null` with one.
    pub no_gpu: Option<String>,
}

/// A GPU.
#[derive(Clone, Serialize)]
pub struct GpuInfo {
    /// Its name.
    pub name: String,
    /// Its compute capability.
    pub capability: String,
    /// The driver and the CUDA version that it supports.
    pub driver: String,
    /// Bytes of its L2 cache.
    pub l2: usize,
}

impl Machine {
    /// This machine, with its GPU or why there is none.
    pub fn new(isa: Isa, caches: CacheSizes, threads: usize, gpu: Result<GpuInfo, String>) -> Self {
        let CacheSizes { l1d, l2, l3, .. } = caches;
        let (gpu, no_gpu) = match gpu {
            Ok(gpu) => (Some(gpu), None),
            Err(why) => (None, Some(why)),
        };
        Self { processor: info::processor(), isa: isa.name(), threads, l1d, l2, l3, gpu, no_gpu }
    }

    /// A line for the processor and one for the GPU.
    pub fn in_words(&self) -> [String; 2] {
        let Self { processor, isa, threads, l1d, l2, l3, .. } = self;
        let caches = table::caches([*l1d, *l2, *l3]);
        let gpu = match &self.gpu {
            Some(GpuInfo { name, capability, driver, l2 }) => {
                let l2 = table::bytes(*l2);
                format!("{name}: compute capability {capability}, driver {driver}, L2 {l2}")
            }
            None => format!("no GPU: {}", self.no_gpu.as_deref().unwrap_or_default()),
        };
        [format!("{processor}: {isa}, {threads} threads, {caches}"), gpu]
    }
}

/// The activations.
#[derive(Serialize)]
pub struct Input {
    /// Where they are from.
    pub source: String,
    /// Channels of a row.
    pub channels: usize,
    /// Rows of all layers.
    pub rows: usize,
    /// Each layer.
    pub layers: Vec<LayerInfo>,
}

impl Input {
    /// One line.
    pub fn in_words(&self) -> String {
        format!("{}: {} rows of {} channels", self.source, self.rows, self.channels)
    }
}

/// One layer's input.
#[derive(Serialize)]
pub struct LayerInfo {
    /// The tensor's name.
    pub name: String,
    /// The element type in the file.
    pub stored: String,
    /// Its rows.
    pub rows: usize,
    /// Root mean square of the median row.
    pub median_rms: f64,
    /// The largest magnitude.
    pub max: f32,
    /// Whether the file had the norm's weight; else ones are used.
    pub has_weight: bool,
}

/// A function's parameters on one layer.
#[derive(Serialize)]
pub struct Parameters {
    /// The function.
    pub function: &'static str,
    /// The layer's name, or `all`.
    pub layer: String,
    /// The parameters by name.
    pub values: String,
}

/// One function, element type and number of threads against the reference, on every layer.
#[derive(Serialize)]
pub struct Check {
    /// The function.
    pub function: &'static str,
    /// The element type of input, weight and output.
    #[serde(rename = "type")]
    pub element: &'static str,
    /// 1, or the number of the parallel runs; `null` on the GPU.
    pub threads: Option<usize>,
    /// Whether the layer's weight was applied; else it is the function alone.
    pub weighted: bool,
    /// The largest error in ulps of the element type; for RMSNorm and LayerNorm, elements
    /// smaller than their row's root mean square count in ulps of that. `null` if infinite.
    pub worst_ulp: f64,
    /// What is allowed.
    pub limit_ulp: f64,
    /// The layer, row and channel of the largest error.
    pub place: String,
    /// Whether the largest error is within the limit.
    pub ok: bool,
}

/// One function's speed at one size.
#[derive(Serialize)]
pub struct Speed {
    /// The function.
    pub function: &'static str,
    /// The element type of input, weight and output.
    #[serde(rename = "type")]
    pub element: &'static str,
    /// 1, or the number of the parallel runs; `null` on the GPU.
    pub threads: Option<usize>,
    /// What the size is meant to fit: `L2` or `DRAM`; empty in the sweep.
    pub memory: &'static str,
    /// Rows of the call.
    pub rows: usize,
    /// Ideal traffic of a call: each input byte read once, each output byte written once.
    pub bytes: usize,
    /// Picoseconds an element, median of the rounds.
    pub ps_per_element: f64,
    /// Ideal traffic by time, 1e9 bytes a second, median of the rounds.
    pub gb_per_s: f64,
    /// The same of the best copy of the same bytes.
    pub copy_gb_per_s: f64,
    /// Which copy was the best in most rounds.
    pub copy: &'static str,
    /// The kernel's speed as a share of the best copy's of the same round.
    pub copy_share: Spread,
    /// Whether every row of the output, which was poisoned before, has the bits that the same
    /// row has among the activations alone, on one thread, checked against the reference.
    pub same_bits: bool,
}

/// The middle and the quartiles of the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// A quarter of the rounds is below.
    pub low: f64,
    /// Half of the rounds is below.
    pub median: f64,
    /// A quarter of the rounds is above.
    pub high: f64,
}

impl Spread {
    /// Of at least one round.
    pub fn of(mut rounds: Vec<f64>) -> Self {
        rounds.sort_by(f64::total_cmp);
        let at = |quarters: usize| rounds[(rounds.len() - 1) * quarters / 4];
        Self { low: at(1), median: at(2), high: at(3) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One wrong result of each kind is found and named.
    #[test]
    fn failures_are_said() {
        let check = |ok| Check {
            function: "dyt",
            element: "f32",
            threads: Some(1),
            weighted: true,
            worst_ulp: 9.0,
            limit_ulp: 7.0,
            place: "here".to_owned(),
            ok,
        };
        let speed = |same_bits| Speed {
            function: "derf",
            element: "bf16",
            threads: None,
            memory: "L2",
            rows: 5,
            bytes: 1,
            ps_per_element: 1.0,
            gb_per_s: 1.0,
            copy_gb_per_s: 1.0,
            copy: "memcpy",
            copy_share: Spread::of(vec![1.0]),
            same_bits,
        };
        let caches = CacheSizes::default();
        let mut results = Results {
            version: "",
            quick: true,
            ok: true,
            machine: Machine::new(Isa::Portable, caches, 1, Err(String::new())),
            input: Input { source: String::new(), channels: 1, rows: 1, layers: Vec::new() },
            parameters: Vec::new(),
            checks: vec![check(true)],
            speed: vec![speed(true)],
            sweep: vec![speed(true)],
        };
        assert_eq!(results.failures(), Vec::<String>::new());
        results.checks.push(check(false));
        results.sweep.push(speed(false));
        let failures = results.failures();
        assert_eq!(failures.len(), 2);
        assert!(
            failures[0].contains("dyt f32 on 1 thread(s) with weight: 9.000 ulp, 7.000 allowed")
        );
        assert!(failures[1].contains("derf bf16 on the GPU, 5 rows"));
    }

    #[test]
    fn quartiles() {
        let spread = Spread::of(vec![5.0, 1.0, 3.0, 2.0, 4.0]);
        assert_eq!(spread, Spread { low: 2.0, median: 3.0, high: 4.0 });
        assert_eq!(Spread::of(vec![7.0]), Spread { low: 7.0, median: 7.0, high: 7.0 });
    }
}
