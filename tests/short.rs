//! Short calls, which have kernels of their own, give the bits of all others, whatever the numbers.

mod common;

use common::call::Call;
use common::fused::{FusedCall, Numbers, Output, Residual};
use common::isas;
use common::tensor::Tensor;
use dynorm::{ElementType, Forward, Isa, Norm, RowsMut};

use ElementType::{Bf16, F16, F32};

/// Runs it as it is, and with a choice that short calls do not have.
fn same_as_others(call: FusedCall, numbers: &Numbers) {
    let other = FusedCall { stream: Some(false), ..call };
    assert!(call.run(numbers) == other.run(numbers), "{call:?}");
}

/// Every function on every instruction set from and to rows of every type, with and without what short calls may have.
fn everywhere(mut each: impl FnMut(FusedCall)) {
    for norm in Norm::DEFAULTS {
        for isa in isas() {
            for element in ElementType::ALL {
                for (weight, has_bias, weight_offset) in [
                    (F32, false, 0.0),
                    (F32, true, 0.0),
                    (F32, true, 1.0),
                    (element, false, 1.0),
                    (element, true, 0.0),
                ] {
                    for residual in [None, Some(Residual::InPlace), Some(Residual::Into)] {
                        each(FusedCall {
                            x_type: element,
                            output: Output::Element(element),
                            weight: Some(weight),
                            bias: has_bias.then_some(weight),
                            weight_offset,
                            residual: residual.map(|kind| (kind, element)),
                            ..FusedCall::new(norm, isa, 1, 1)
                        });
                    }
                }
            }
        }
    }
}

/// Around the vectors' widths and blocks.
fn lengths(isa: Isa) -> impl Iterator<Item = usize> {
    let lanes = if isa >= Isa::Avx512 { 16 } else { 8 };
    let long = [96, 127, 130, 191, 255, 256, 259, 511, 576, 1023, 1031];
    (1..=3 * lanes).chain(long)
}

#[test]
fn of_every_length() {
    everywhere(|call| {
        for channels in lengths(call.isa) {
            for rows in [1, 2, 3, 17] {
                if rows > 1 && rows * channels > 1100 {
                    continue;
                }
                let call = FusedCall { rows, channels, ..call };
                same_as_others(call, &call.numbers(channels as u64));
            }
        }
    });
}

/// Up to the longest that is short, and beyond.
#[test]
fn of_long_rows() {
    everywhere(|call| {
        if call.bias.is_some() && call.residual.is_some() {
            for channels in [4096, 4099, 16_384, 16_385] {
                let call = FusedCall { channels, ..call };
                same_as_others(call, &call.numbers(channels as u64));
            }
        }
    });
}

/// LayerNorm goes over such rows a second time.
#[test]
fn of_rows_far_from_zero() {
    everywhere(|call| {
        for channels in [5, 77, 640] {
            let call = FusedCall { rows: 2, channels, ..call };
            let numbers = call.numbers(8);
            let far: Vec<f32> =
                (0..numbers.x.len()).map(|i| 1000.0 + numbers.x.value(i) as f32).collect();
            let x = Tensor::new(call.x_type, &far);
            same_as_others(call, &Numbers { x, ..numbers });
        }
    });
}

/// The input is overwritten, as engines do it with a residual.
#[test]
fn in_place_with_a_residual() {
    for norm in Norm::DEFAULTS {
        for isa in isas() {
            for channels in [1, 31, 100, 1000] {
                let numbers = FusedCall::new(norm, isa, 2, channels).numbers(3);
                let run = |stream: Option<bool>| {
                    let [mut xy, mut sum] = [&numbers.x, &numbers.residual]
                        .map(|t| (0..t.len()).map(|i| t.value(i) as f32).collect::<Vec<_>>());
                    let weight = vec![0.75_f32; channels];
                    let call = norm
                        .forward_in_place(RowsMut::new(&mut xy, 2, channels).unwrap())
                        .residual(RowsMut::new(&mut sum, 2, channels).unwrap())
                        .weight(&weight)
                        .isa(isa);
                    stream.into_iter().fold(call, Forward::stream).run().unwrap();
                    [xy, sum].map(|v| v.into_iter().map(f32::to_bits).collect::<Vec<_>>())
                };
                assert_eq!(run(None), run(Some(false)), "{norm:?} {isa:?} {channels}");
            }
        }
    }
}

#[test]
fn of_special_numbers() {
    let specials = [f32::NAN, f32::INFINITY, f32::MAX, f32::MIN_POSITIVE, 1e-40, -0.0, -1e20];
    everywhere(|call| {
        for (rows, channels) in [(1, 300), (2, 77)] {
            let call = FusedCall { rows, channels, ..call };
            for (i, special) in specials.into_iter().enumerate() {
                for everywhere in [false, true] {
                    let numbers = call.numbers(i as u64);
                    let mut x: Vec<f32> =
                        (0..rows * channels).map(|j| numbers.x.value(j) as f32).collect();
                    if everywhere {
                        x.fill(special)
                    } else {
                        x[i + 3] = special
                    }
                    let x = Tensor::new(call.x_type, &x);
                    same_as_others(call, &Numbers { x, ..numbers });
                }
            }
        }
    });
}

/// Parameters other than the defaults, a scale among them.
#[test]
fn of_other_parameters() {
    let norms = [
        Norm::RmsNorm { eps: 0.0 },
        Norm::LayerNorm { eps: 3.0 },
        Norm::DyT { alpha: -7.5 },
        Norm::DyIsru { beta: 0.25, scale: 1.0 },
        Norm::DyIsru { beta: 2.0, scale: 16.0 },
        Norm::Derf { alpha: 0.3, shift: -1.5 },
    ];
    everywhere(|call| {
        for norm in norms {
            let call = FusedCall { norm, channels: 100, ..call };
            same_as_others(call, &call.numbers(9));
        }
    });
}

/// What differs from short calls in a type, or in what they do not have.
#[test]
fn beside_others() {
    everywhere(|call| {
        let call = FusedCall { rows: 2, channels: 33, ..call };
        let calls = [
            FusedCall { weight: Some(Bf16), ..call },
            FusedCall { weight: None, ..call },
            FusedCall { bias: Some(F16), ..call },
            FusedCall { output: Output::Element(F32), ..call },
            FusedCall { residual: Some((Residual::Into, F32)), ..call },
            FusedCall { gap: 3, ..call },
            FusedCall { gate: Some(F32), ..call },
        ];
        for call in calls {
            same_as_others(call, &call.numbers(4));
        }
    });
}

/// Short work is not divided: all of it is the first part, whichever is done first.
#[test]
fn in_parts() {
    for norm in Norm::DEFAULTS {
        for isa in isas() {
            for element in ElementType::ALL {
                for (rows, channels) in [(1, 1), (1, 33), (3, 700), (2, 2048), (2, 2049), (1, 9000)]
                {
                    let call = Call::new(norm, isa, rows, channels).types(element, element);
                    let call = Call { in_place: true, weight: Some(F32), ..call };
                    let numbers = call.numbers(6);
                    let (y, ()) = call.run_with(&numbers, |call| {
                        let parts: Vec<_> = call.parts(3).collect();
                        parts.into_iter().rev().for_each(|part| part.run().unwrap());
                    });
                    assert!(y.all_bits() == call.run(&numbers).all_bits(), "{call:?}");
                }
            }
        }
    }
}
