//! Every function × element type × shape beside a copy of the same bytes, in one run.
//!
//!     cargo bench --bench forward                    # everything, one thread
//!     cargo bench --bench forward -- 'L2/.*/bf16'    # a part of it
//!     DYNORM_ISA=avx2 cargo bench --bench forward    # a lesser instruction set
//!
//! Throughput is ideal traffic: each input element read once, each output element written
//! once; weights do not count. What matters is the ratio to the copy of the same group: the
//! better of `copy` (plain stores) and `copy-stream` (past the caches).

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use dynorm::{Element, Norm, Rows, RowsMut, bf16, cpu, f16};
use std::hint::black_box;

/// Level of the cache hierarchy that input and output of f32 fit in (32 KiB, 1 MiB and 32 MiB are
/// usual sizes), rows, channels.
const SHAPES: [(&str, usize, usize); 9] = [
    ("call", 1, 4096),
    ("L1", 4, 768),
    ("L2", 64, 768),
    ("L2", 16, 4096),
    ("L2", 16, 4099),
    ("L2", 4, 16384),
    ("L3", 512, 4096),
    ("DRAM", 16384, 768),
    ("DRAM", 4096, 4096),
];

fn benches(criterion: &mut Criterion) {
    for (level, rows, channels) in SHAPES {
        let mut group = criterion.benchmark_group(format!("{level}/{rows}x{channels}"));
        let x = random(rows * channels, 1);
        let mut y = random(rows * channels, 2);
        group.throughput(traffic::<f32>(x.len()));
        for (name, stream) in [("copy", false), ("copy-stream", true)] {
            group.bench_function(name, |bencher| {
                bencher.iter(|| cpu::copy(black_box(&x), &mut y, stream).expect("equal lengths"));
            });
        }
        functions::<f32>(&mut group, &x, channels, |v| v);
        functions::<f16>(&mut group, &x, channels, f16::from_f32);
        functions::<bf16>(&mut group, &x, channels, bf16::from_f32);
        group.finish();
    }
}

/// The five functions on `x` converted to `T`, with a weight of the same type.
fn functions<T: Element>(
    group: &mut BenchmarkGroup<WallTime>,
    x: &[f32],
    channels: usize,
    convert: fn(f32) -> T,
) {
    let x: Vec<T> = x.iter().copied().map(convert).collect();
    let weight: Vec<T> = random(channels, 3).into_iter().map(convert).collect();
    let mut y: Vec<T> = x.clone();
    let rows = x.len() / channels;
    group.throughput(traffic::<T>(x.len()));
    for norm in Norm::DEFAULTS {
        group.bench_function(format!("{}/{}", norm.name(), T::TYPE.name()), |bencher| {
            bencher.iter(|| {
                let x = Rows::new(black_box(&x), rows, channels).expect("the shape fits");
                let y = RowsMut::new(&mut y, rows, channels).expect("the shape fits");
                norm.forward(x, y).weight(&weight).run().expect("valid")
            });
        });
    }
}

/// Bytes read and written for `elements` elements.
fn traffic<T>(elements: usize) -> Throughput {
    Throughput::Bytes(2 * (elements * size_of::<T>()) as u64)
}

/// Numbers in -4..4 from a xorshift generator: memory of zeros would be copied faster than any
/// that holds data.
fn random(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 21) as f32 - 4.0
    };
    (0..len).map(|_| next()).collect()
}

criterion_group! {
    name = group;
    config = Criterion::default().sample_size(20).measurement_time(std::time::Duration::from_secs(1))
        .warm_up_time(std::time::Duration::from_millis(300));
    targets = benches
}
criterion_main!(group);
