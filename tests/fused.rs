//! Everything fused at once: the same bits for every split, and refusals before anything is
//! written.

mod common;

use common::fused::{FusedCall, Numbers, Output, Residual, ScaleKind, Written};
use common::isas;
use dynorm::{ElementType, Error, Norm, QuantizedRowsMut, QuantizedType, Rows, RowsMut, Scale};

use ElementType::{Bf16, F16, F32};

/// Shapes with fewer rows than parts, long rows and short ones, and work for several threads.
const SHAPES: [(usize, usize); 5] = [(1, 1), (5, 259), (2, 9001), (601, 100), (3, 400_003)];

fn calls() -> Vec<FusedCall> {
    let plain = FusedCall::new(Norm::DEFAULTS[0], isas()[0], 0, 1);
    let full = FusedCall {
        x_type: Bf16,
        weight: Some(F32),
        bias: Some(F16),
        residual: Some((Residual::InPlace, F16)),
        gate: Some(Bf16),
        gap: 3,
        ..plain
    };
    let quantized = |element, kind| Output::Quantized(element, kind);
    vec![
        FusedCall { residual: Some((Residual::Into, F32)), ..plain },
        FusedCall { gate: Some(F32), stream: Some(true), ..plain },
        FusedCall { output: quantized(QuantizedType::I8, ScaleKind::Given), ..plain },
        FusedCall { output: quantized(QuantizedType::I8, ScaleKind::Computed), ..full },
        FusedCall { output: quantized(QuantizedType::F8E4M3, ScaleKind::GivenPerRow), ..full },
        FusedCall {
            output: quantized(QuantizedType::I8, ScaleKind::ComputedPerGroup(128)),
            ..plain
        },
        FusedCall {
            output: quantized(QuantizedType::F8E4M3, ScaleKind::ComputedPerGroup(24)),
            ..full
        },
        FusedCall { output: Output::Element(Bf16), ..full },
    ]
}

/// Runs every call in one piece and as `run` does, and compares.
fn same_as_serial(run: impl Fn(&FusedCall, &Numbers) -> Written) {
    for (rows, channels) in SHAPES {
        for norm in Norm::DEFAULTS {
            for isa in isas() {
                for call in calls() {
                    let call = FusedCall { norm, isa, rows, channels, ..call };
                    let numbers = call.numbers(2);
                    assert!(call.run(&numbers) == run(&call, &numbers), "{call:?}");
                }
            }
        }
    }
}

#[test]
fn any_number_of_parts() {
    same_as_serial(|call, numbers| {
        call.run_with(numbers, |forward| {
            for part in forward.parts(if call.rows % 2 == 1 { 3 } else { 16 }) {
                part.run().unwrap();
            }
        })
    });
}

#[test]
#[cfg(feature = "rayon")]
fn threads_of_rayon() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    same_as_serial(|call, numbers| {
        pool.install(|| call.run_with(numbers, |forward| forward.run_parallel().unwrap()))
    });
}

/// The same row gives the same bits in any batch and at any place.
#[test]
fn any_batch() {
    for norm in Norm::DEFAULTS {
        for isa in isas() {
            for call in calls() {
                for channels in [70, 5001] {
                    let call = FusedCall { norm, isa, rows: 6, channels, ..call };
                    if matches!(call.output, Output::Quantized(_, ScaleKind::GivenPerRow)) {
                        continue;
                    }
                    let numbers = call.numbers(4);
                    let whole = call.run(&numbers);
                    let one = FusedCall { rows: 1, gap: call.gap + 1, ..call };
                    for row in 0..6 {
                        let alone = one.run(&numbers.of_row(row, channels));
                        let at = row * channels..(row + 1) * channels;
                        assert!(alone.y == whole.y[at.clone()], "{call:?}");
                        assert!(alone.sum == whole.sum[at], "{call:?}");
                        let groups = row * call.groups()..(row + 1) * call.groups();
                        assert!(alone.scales == whole.scales[groups], "{call:?}");
                    }
                }
            }
        }
    }
}

/// Runs a call with 2 rows of 4 channels and something wrong, and expects it to have written nothing.
fn refused(wrong: impl FnOnce(Wrong<'_>) -> Result<(), Error>) -> Error {
    let mut wrong_call = Tensors::default();
    let error = wrong(Wrong {
        x: &wrong_call.x,
        y: &mut wrong_call.y,
        sum: &mut wrong_call.sum,
        q: &mut wrong_call.q,
        scales: &mut wrong_call.scales,
    })
    .expect_err("something is wrong");
    assert_eq!((wrong_call.y, wrong_call.sum), ([7.0; 8], [7.0; 8]), "{error}");
    assert_eq!((wrong_call.q, wrong_call.scales), ([7; 8], [7.0; 2]), "{error}");
    error
}

struct Tensors {
    x: [f32; 8],
    y: [f32; 8],
    sum: [f32; 8],
    q: [i8; 8],
    scales: [f32; 2],
}

impl Default for Tensors {
    fn default() -> Self {
        Self { x: [1.0; 8], y: [7.0; 8], sum: [7.0; 8], q: [7; 8], scales: [7.0; 2] }
    }
}

struct Wrong<'a> {
    x: &'a [f32; 8],
    y: &'a mut [f32; 8],
    sum: &'a mut [f32; 8],
    q: &'a mut [i8; 8],
    scales: &'a mut [f32; 2],
}

impl<'a> Wrong<'a> {
    fn plain(x: &'a [f32; 8], y: &'a mut [f32; 8]) -> dynorm::Forward<'a> {
        Norm::DyT { alpha: 1.0 }
            .forward(Rows::new(x, 2, 4).unwrap(), RowsMut::new(y, 2, 4).unwrap())
    }
}

#[test]
fn refusals() {
    let shape = |what, given_rows, given_channels| Error::Shape {
        what,
        given_rows,
        given_channels,
        rows: 2,
        channels: 4,
    };
    let error = refused(|Wrong { x, y, sum, .. }| {
        Wrong::plain(x, y).residual(RowsMut::new(sum, 4, 2).unwrap()).run()
    });
    assert_eq!(error, shape("residual's sum", 4, 2));

    let error = refused(|Wrong { x, y, sum, .. }| {
        let residual = Rows::new(&x[..4], 1, 4).unwrap();
        Wrong::plain(x, y).residual_into(residual, RowsMut::new(sum, 2, 4).unwrap()).run()
    });
    assert_eq!(error, shape("residual", 1, 4));

    let error = refused(|Wrong { x, y, sum, .. }| {
        let half = [dynorm::f16::ZERO; 8];
        let residual = Rows::new(&half, 2, 4).unwrap();
        Wrong::plain(x, y).residual_into(residual, RowsMut::new(sum, 2, 4).unwrap()).run()
    });
    assert_eq!(error, Error::SumType { given: F32, wanted: F16 });
    assert_eq!(error.to_string(), "the residual's sum is of f32; the residual is of f16");

    let error = refused(|Wrong { x, y, .. }| {
        Wrong::plain(x, y).gate(Rows::new(&x[..6], 2, 3).unwrap()).run()
    });
    assert_eq!(error, shape("gate", 2, 3));

    let quantized = |wanted: &dyn Fn(&mut [f32; 2]) -> Scale<'_>| {
        refused(|Wrong { x, q, scales, .. }| {
            let y = QuantizedRowsMut::new(q, 2, 4).unwrap();
            let x = Rows::new(x, 2, 4).unwrap();
            Norm::DyT { alpha: 1.0 }.forward_quantized(x, y, wanted(scales)).run()
        })
    };
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-40] {
        let error = quantized(&|_| Scale::Given(scale));
        assert!(matches!(error, Error::Parameter { name: "scale", .. }), "{error}");
    }
    let error = quantized(&|_| Scale::GivenPerRow(&[1.0, 0.0]));
    assert!(matches!(error, Error::Parameter { name: "scale", given: 0.0, .. }), "{error}");
    let error = quantized(&|_| Scale::GivenPerRow(&[1.0]));
    assert_eq!(error, Error::Length { what: "scale", given: 1, wanted: 2 });
    let error = quantized(&|scales| Scale::Computed(&mut scales[..1]));
    assert_eq!(error, Error::Length { what: "scale", given: 1, wanted: 2 });

    for (given, group_size, wanted) in [(1, 4, 2), (2, 2, 4), (2, 3, 4), (1, 4096, 2)] {
        let error = quantized(&|scales| Scale::ComputedPerGroup {
            scales: &mut scales[..given],
            group_size,
        });
        assert_eq!(error, Error::Length { what: "scale", given, wanted });
    }
    for given in [0, 4097, usize::MAX] {
        let error = quantized(&|scales| Scale::ComputedPerGroup { scales, group_size: given });
        let Error::GroupSize { given: said, most: 4096 } = error else { panic!("{error}") };
        assert_eq!(said, given.min(u32::MAX as usize));
    }

    let error = refused(|Wrong { x, q, .. }| {
        let y = QuantizedRowsMut::new(&mut q[..6], 2, 3).unwrap();
        let x = Rows::new(x, 2, 4).unwrap();
        Norm::DyT { alpha: 1.0 }.forward_quantized(x, y, Scale::Given(1.0)).run()
    });
    assert_eq!(error, shape("output", 2, 3));
}

#[test]
fn bounds_are_refused_where_there_are_none() {
    let none = None::<&[f32]>;
    for norm in Norm::DEFAULTS {
        let bound = norm.output_bound(none, 0.0, none);
        match norm.is_elementwise() {
            true => assert!(bound.is_ok()),
            false => assert_eq!(bound, Err(Error::NoStaticScale { name: norm.name() })),
        }
    }
    let error =
        Norm::DyT { alpha: 1.0 }.output_bound(Some(&[1.0_f32; 3]), 0.0, Some(&[1.0_f32; 4]));
    assert_eq!(error, Err(Error::Length { what: "bias", given: 4, wanted: 3 }));
}
