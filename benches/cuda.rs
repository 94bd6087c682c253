//! The CUDA kernels on a real device: time per call, beside a copy of the same bytes and an empty
//! kernel in the same run. Writes one JSON line per measurement to standard output.
//!
//!     cargo bench --bench cuda [-- --quick | --loading] > ours.jsonl
//!
//! Large tensors are 256 MiB each, small ones rotate over more than four times the L2 cache, so
//! that every call finds its data in memory. Calls are replayed from a graph and timed with
//! events; the time is the median of the replays.

#[path = "cuda/backward.rs"]
mod backward;
#[path = "cuda/fused.rs"]
mod fused;
#[path = "../tests/cuda_common/gpu.rs"]
mod gpu;

use dynorm::cuda::{Device, DeviceRows, Forward};
use dynorm::{ElementType, Norm, bf16};
use dynorm_gpu_lab::Memory;
use gpu::Gpu;
use std::env;
use std::time::Instant;

/// How much is measured.
#[derive(Clone, Copy, PartialEq)]
enum Extent {
    Full,
    /// Fewer widths.
    Quick,
    /// So little that it says nothing, to try the program.
    Smoke,
}

impl Extent {
    /// Bytes of x where bandwidth is measured.
    fn large(self) -> usize {
        if self == Self::Smoke { 64 << 10 } else { 256 << 20 }
    }

    /// Replays of a graph, of which the middle one counts.
    fn replays(self) -> usize {
        if self == Self::Smoke { 1 } else { 11 }
    }

    /// Calls where as many as one likes may be made.
    fn calls(self) -> usize {
        if self == Self::Smoke { 2 } else { 1000 }
    }

    fn wide(self) -> &'static [usize] {
        const ALL: [usize; 13] =
            [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072, 262_144];
        match self {
            Self::Full => &ALL,
            Self::Quick => &[64, 128, 1024, 4096, 16_384, 65_536, 262_144],
            Self::Smoke => &[128],
        }
    }

    fn narrow(self) -> &'static [usize] {
        match self {
            Self::Full => &[4096, 7168, 8192],
            Self::Quick => &[4096],
            Self::Smoke => &[128],
        }
    }
}

/// Which operands a call has, as the function's models have them.
#[derive(Clone, Copy, PartialEq)]
enum Operands {
    None,
    Weight,
    WeightAndBias,
}

impl Operands {
    fn of(norm: Norm) -> [Self; 2] {
        let usual = match norm {
            Norm::RmsNorm { .. } => Self::Weight,
            _ => Self::WeightAndBias,
        };
        [usual, Self::None]
    }

    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Weight => "weight",
            Self::WeightAndBias => "weight+bias",
        }
    }
}

/// One tensor shape and where its tensors are.
#[derive(Clone, Copy)]
struct Shape {
    element: ElementType,
    rows: usize,
    channels: usize,
}

impl Shape {
    fn bytes(self) -> usize {
        self.rows * self.channels * self.element.size()
    }

    fn row_bytes(self) -> usize {
        self.channels * self.element.size()
    }

    /// The call on tensors that lie one behind the other from `address` on.
    fn call(self, norm: Norm, operands: Operands, address: u64) -> Forward {
        let Self { element, rows, channels } = self;
        let at = |offset: usize| address + offset as u64;
        let view = |address| DeviceRows::new(address, element, rows, channels).unwrap();
        let mut call = Forward::new(norm, view(at(0)), view(at(self.bytes())));
        if operands != Operands::None {
            call = call.weight(at(2 * self.bytes()), element);
        }
        if operands == Operands::WeightAndBias {
            call = call.bias(at(2 * self.bytes() + self.row_bytes()), element);
        }
        call
    }

    /// Bytes of all tensors of a call.
    fn footprint(self) -> usize {
        (2 * self.bytes() + 2 * self.row_bytes()).next_multiple_of(256)
    }
}

/// Median microseconds of one of `count` pieces of work, replayed from a graph.
fn median(gpu: &Gpu, extent: Extent, count: usize, work: impl Fn(usize)) -> f64 {
    let graph = gpu.capture(|| (0..count).for_each(&work));
    gpu.replay(&graph);
    gpu.synchronize();
    let replay = |_| gpu.lab.seconds(|| gpu.lab.replay(&graph)).unwrap() * 1e6;
    let mut times: Vec<_> = (0..extent.replays()).map(replay).collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2] / count as f64
}

/// Fills `memory` with numbers that look random, of about the size that activations have: as bf16,
/// and as f32, of which each two bf16 are the upper and the lower half.
fn fill(memory: &Memory) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut number = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bf16::from_f32((state >> 40) as f32 / (1 << 22) as f32 - 2.0)
    };
    let piece: Vec<u8> = (0..2 << 20).flat_map(|_| number().to_le_bytes()).collect();
    for start in (0..memory.bytes()).step_by(piece.len()) {
        let left = (memory.bytes() - start).min(piece.len());
        memory.write(start, &piece[..left]).unwrap();
    }
}

/// Milliseconds that opening a device takes with the kernels of each function; the driver's cache
/// decides whether they are compiled.
fn loading() {
    // The context alone takes a while, too.
    let Some(first) = Gpu::open_with(&[]) else { return };
    for norm in Norm::DEFAULTS {
        for element in ElementType::ALL {
            let start = Instant::now();
            let opened = Device::primary(0, &[norm], &[element]).unwrap();
            let ms = start.elapsed().as_secs_f64() * 1e3;
            drop(opened);
            println!(
                "{{\"kind\":\"loading\",\"function\":\"{}\",\"type\":\"{}\",\"ms\":{ms:.1}}}",
                norm.name(),
                element.name()
            );
        }
    }
    drop(first);
}

/// One line of results. `bytes` are those that have to be moved.
fn report(kind: &str, name: &str, operands: &str, shape: Shape, us: f64, bytes: usize) {
    println!(
        "{{\"kind\":\"{kind}\",\"who\":\"dynorm\",\"function\":\"{name}\",\"operands\":\"{operands}\",\
         \"type\":\"{}\",\"rows\":{},\"channels\":{},\"us\":{us:.3},\"gb_per_s\":{:.1}}}",
        shape.element.name(),
        shape.rows,
        shape.channels,
        bytes as f64 / us / 1000.0,
    );
}

fn bandwidth(gpu: &Gpu, extent: Extent) {
    let large = extent.large();
    let memory = gpu.lab.memory(2 * large + (4 << 20)).unwrap();
    fill(&memory);
    for element in [ElementType::Bf16, ElementType::F32] {
        for &channels in extent.wide() {
            let shape = Shape { element, rows: large / (channels * element.size()), channels };
            let moved = 2 * shape.bytes();
            let part = |start| memory.part(start..start + shape.bytes());
            let copied = median(gpu, extent, 4, |_| gpu.lab.copy(part(0), part(large)).unwrap());
            report("bandwidth", "copy", "none", shape, copied, moved);
            for norm in Norm::DEFAULTS {
                for operands in Operands::of(norm) {
                    let call = shape.call(norm, operands, memory.address());
                    let us = median(gpu, extent, 4, |_| gpu.launch(&call));
                    report("bandwidth", norm.name(), operands.name(), shape, us, moved);
                }
            }
            let dyt = Norm::DEFAULTS[2];
            let call = shape.call(dyt, Operands::WeightAndBias, memory.address()).fast_tanh(true);
            let us = median(gpu, extent, 4, |_| gpu.launch(&call));
            report("bandwidth", "dyt fast", "weight+bias", shape, us, moved);
        }
    }
}

fn latency(gpu: &Gpu, extent: Extent) {
    let arena = gpu.lab.memory(5 * gpu.lab.l2_bytes().unwrap()).unwrap();
    fill(&arena);
    let empty = gpu.lab.empty_kernel().unwrap();
    let nothing = Shape { element: ElementType::Bf16, rows: 0, channels: 0 };
    let us = median(gpu, extent, extent.calls(), |_| empty.launch().unwrap());
    report("latency", "empty kernel", "none", nothing, us, 0);
    let shapes =
        extent.narrow().iter().flat_map(|channels| [1, 8, 64].map(|rows| (*channels, rows)));
    for (channels, rows) in shapes {
        let shape = Shape { element: ElementType::Bf16, rows, channels };
        // As many calls as it takes to come back to the first one's memory.
        let places = arena.bytes() / shape.footprint();
        let at = |i: usize| arena.address() + (i % places * shape.footprint()) as u64;
        for norm in Norm::DEFAULTS {
            let operands = Operands::of(norm)[0];
            for (kind, count, programmatic) in [
                ("latency", places, false),
                ("latency, programmatic", places, true),
                ("latency, warm", extent.calls(), false),
            ] {
                let us = median(gpu, extent, count, |i| {
                    let place = if kind.ends_with("warm") { arena.address() } else { at(i) };
                    gpu.launch(&shape.call(norm, operands, place).programmatic(programmatic));
                });
                report(kind, norm.name(), operands.name(), shape, us, 2 * shape.bytes());
            }
            let call = shape.call(norm, operands, arena.address());
            // The queue of a stream holds about a thousand.
            let calls = extent.calls() / 5 + 1;
            gpu.synchronize();
            let start = Instant::now();
            (0..calls).for_each(|_| gpu.launch(&call));
            let host = start.elapsed().as_secs_f64() * 1e6 / calls as f64;
            gpu.synchronize();
            report("host time of a call", norm.name(), operands.name(), shape, host, 0);
        }
    }
}

fn main() {
    let asked = |wanted: &str| env::args().any(|argument| argument == wanted);
    let extent = match (asked("--smoke"), asked("--quick")) {
        (true, _) => Extent::Smoke,
        (false, true) => Extent::Quick,
        (false, false) => Extent::Full,
    };
    // `cargo bench -- --test` and `cargo test --benches` only want to know that it runs.
    if asked("--test") {
        return;
    }
    if asked("--loading") {
        return loading();
    }
    let Some(mut gpu) = Gpu::open() else { return };
    gpu.device.load_gradients(&Norm::DEFAULTS, &backward::TYPES).unwrap();
    let (major, minor) = gpu.device.capability();
    let (driver_major, driver_minor) = dynorm::cuda::Device::driver_version().unwrap();
    println!(
        "{{\"kind\":\"machine\",\"device\":\"{}\",\"capability\":\"{major}.{minor}\",\"driver\":\"{driver_major}.{driver_minor}\"}}",
        gpu.device.name().unwrap(),
    );
    bandwidth(&gpu, extent);
    latency(&gpu, extent);
    fused::run(&gpu, extent);
    backward::run(&gpu, extent);
}
