//! What a call through the C interface costs beyond the same call from Rust; and what it costs where nothing of it is in
//! the core's caches, neither memory nor instructions, as between two norms of a model; and what short calls gain by
//! kernels of their own.
//!
//!     cargo bench --bench capi

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, criterion_group, criterion_main};
use dynorm::ffi::{
    dynorm_element, dynorm_forward, dynorm_forward_args, dynorm_function, dynorm_norm,
    dynorm_status,
};
use dynorm::{Element, Forward, Norm, Rows, RowsMut, bf16};
use std::hint::black_box;
use std::mem::MaybeUninit;

const EPS: f32 = 1e-5;
/// Bytes that are read before a cold call: more than the caches of a core have.
const BETWEEN: usize = 64 << 20;

fn benches(criterion: &mut Criterion) {
    let between: Vec<usize> = (0..BETWEEN / size_of::<usize>()).collect();
    for channels in [64, 4096] {
        let x = vec![0.5_f32; channels];
        let weight = vec![1.0_f32; channels];
        let mut y = vec![0.0_f32; channels];
        // To which an x is added that rounding takes away, so that it stays what it is.
        let (small, mut residual) = (vec![1e-9_f32; channels], vec![0.5_f32; channels]);

        let mut group = criterion.benchmark_group(format!("rms_norm/1x{channels}/f32"));
        group.bench_function("rust", |bencher| {
            bencher.iter(|| {
                let x = Rows::new(black_box(&x), 1, channels).expect("the shape fits");
                let y = RowsMut::new(&mut y, 1, channels).expect("the shape fits");
                Norm::RmsNorm { eps: EPS }.forward(x, y).weight(&weight).run().expect("valid");
            });
        });
        call_from_c(&mut group, &arguments(&x, &weight, &mut y), &between);
        group.finish();

        let mut group = criterion.benchmark_group(format!("residual/rms_norm/1x{channels}/f32"));
        group.bench_function("rust", |bencher| {
            bencher.iter(|| {
                let x = Rows::new(black_box(&small), 1, channels).expect("the shape fits");
                let y = RowsMut::new(&mut y, 1, channels).expect("the shape fits");
                let residual = RowsMut::new(&mut residual, 1, channels).expect("the shape fits");
                let mut call =
                    Norm::RmsNorm { eps: EPS }.forward(x, y).residual(residual).weight(&weight);
                call.run().expect("valid");
            });
        });
        let args = dynorm_forward_args {
            residual: residual.as_mut_ptr().cast(),
            residual_element: MaybeUninit::new(dynorm_element::DYNORM_F32),
            ..arguments(&small, &weight, &mut y)
        };
        call_from_c(&mut group, &args, &between);
        group.finish();
    }
}

/// Calls on either side of what short calls are, with a weight of f32 and of the rows' type.
fn short(criterion: &mut Criterion) {
    let shapes = [(1, 64), (8, 64), (8, 128), (32, 64), (1, 576), (4, 576), (8, 576), (4, 4096)];
    for (rows, channels) in shapes {
        let mut group = criterion.benchmark_group(format!("short/rms_norm/{rows}x{channels}/bf16"));
        short_or_not(&mut group, "f32", rows, &vec![1.0_f32; channels]);
        short_or_not(&mut group, "bf16", rows, &vec![bf16::ONE; channels]);
        group.finish();
    }
}

/// A call as it is, beside the same call with a choice that leaves it to the other kernels.
fn short_or_not<W: Element>(
    group: &mut BenchmarkGroup<WallTime>,
    weight_type: &str,
    rows: usize,
    weight: &[W],
) {
    let channels = weight.len();
    let x = vec![bf16::from_f32(0.5); rows * channels];
    let mut y = vec![bf16::ZERO; rows * channels];
    for (name, stream) in [("as it is", None), ("others", Some(false))] {
        group.bench_function(format!("weight {weight_type}/{name}"), |bencher| {
            bencher.iter(|| {
                let x = Rows::new(black_box(&x), rows, channels).expect("the shape fits");
                let y = RowsMut::new(&mut y, rows, channels).expect("the shape fits");
                let call = Norm::RmsNorm { eps: EPS }.forward(x, y).weight(weight);
                let mut call = stream.into_iter().fold(call, Forward::stream);
                call.run().expect("valid");
            });
        });
    }
}

fn call_from_c(
    group: &mut BenchmarkGroup<WallTime>,
    args: &dynorm_forward_args,
    between: &[usize],
) {
    let call = || {
        // SAFETY: `args` describes vectors that live as long as the group is measured.
        let status = unsafe { dynorm_forward(black_box(args)) };
        assert_eq!(status, dynorm_status::DYNORM_OK);
    };
    group.bench_function("c", |bencher| bencher.iter(call));
    group.bench_function("c, cold", |bencher| {
        let read = || black_box(between.iter().fold(0, |sum: usize, &x| sum.wrapping_add(x)));
        bencher.iter_batched(read, |_| call(), BatchSize::PerIteration);
    });
}

fn arguments(x: &[f32], weight: &[f32], y: &mut [f32]) -> dynorm_forward_args {
    let f32 = MaybeUninit::new(dynorm_element::DYNORM_F32);
    // SAFETY: zeros are every field's default.
    let defaults: dynorm_forward_args = unsafe { std::mem::zeroed() };
    dynorm_forward_args {
        size: size_of::<dynorm_forward_args>(),
        norm: dynorm_norm {
            function: MaybeUninit::new(dynorm_function::DYNORM_RMS_NORM),
            eps: EPS,
            ..defaults.norm
        },
        rows: 1,
        channels: x.len(),
        x: x.as_ptr().cast(),
        y: y.as_mut_ptr().cast(),
        weight: weight.as_ptr().cast(),
        x_element: f32,
        y_element: f32,
        weight_element: f32,
        ..defaults
    }
}

criterion_group!(all, benches, short);
criterion_main!(all);
