//! `residual += x; y = norm(residual)` gives the bits of the two steps.

mod common;

use common::fused::{FusedCall, LENGTHS, Output, Residual};
use common::{isas, type_pairs};
use dynorm::{ElementType, Norm, RowsMut};

use ElementType::{Bf16, F16, F32};

fn check(call: FusedCall, y_type: ElementType) {
    let numbers = call.numbers(call.channels as u64);
    let written = call.run(&numbers);
    let sum = call.sum(&numbers);
    assert_eq!(written.sum, sum.all_bits(), "{call:?}");
    assert_eq!(written.y, call.plain(&numbers, y_type).all_bits(), "{call:?}");
}

#[test]
fn both_steps_in_one() {
    for norm in Norm::DEFAULTS {
        for isa in isas() {
            for channels in LENGTHS {
                for (kind, stream) in [(Residual::InPlace, None), (Residual::Into, Some(true))] {
                    let call = FusedCall {
                        residual: Some((kind, F32)),
                        weight: Some(F32),
                        gap: 3,
                        stream,
                        ..FusedCall::new(norm, isa, 3, channels)
                    };
                    check(call, F32);
                }
            }
        }
    }
}

/// Sums are made while rows are written.
#[test]
fn without_gaps_past_the_caches() {
    for norm in Norm::DEFAULTS {
        for isa in isas() {
            for element in ElementType::ALL {
                for channels in LENGTHS {
                    for (kind, rows) in [(Residual::InPlace, 5), (Residual::Into, 9)] {
                        let call = FusedCall {
                            x_type: element,
                            residual: Some((kind, element)),
                            output: Output::Element(element),
                            weight: Some(F32),
                            stream: Some(true),
                            ..FusedCall::new(norm, isa, rows, channels)
                        };
                        check(call, element);
                    }
                }
            }
        }
    }
}

#[test]
fn every_type() {
    for norm in Norm::DEFAULTS {
        for isa in isas() {
            for (x_type, residual) in type_pairs() {
                for y_type in ElementType::ALL {
                    let call = FusedCall {
                        x_type,
                        residual: Some((Residual::InPlace, residual)),
                        output: Output::Element(y_type),
                        weight: Some(Bf16),
                        bias: Some(F16),
                        ..FusedCall::new(norm, isa, 9, 131)
                    };
                    check(call, y_type);
                }
            }
        }
    }
}

/// As vLLM's `fused_add_rms_norm` does it: the output overwrites the input.
#[test]
fn input_overwritten() {
    for norm in Norm::DEFAULTS {
        let call = FusedCall {
            residual: Some((Residual::InPlace, F32)),
            ..FusedCall::new(norm, isas()[0], 37, 300)
        };
        let numbers = call.numbers(1);
        let (mut xy, mut sum) = (numbers.x.clone(), numbers.residual.clone());
        norm.forward_in_place(xy.rows_mut(300))
            .isa(call.isa)
            .residual(sum.rows_mut(300))
            .run()
            .unwrap();
        let wanted = call.run(&numbers);
        assert_eq!((xy.all_bits(), sum.all_bits()), (wanted.y, wanted.sum), "{norm:?}");
    }
}

#[test]
fn no_rows() {
    let mut call = Norm::DEFAULTS[0]
        .forward_in_place(RowsMut::new::<f32>(&mut [], 0, 8).unwrap())
        .residual(RowsMut::new::<f32>(&mut [], 0, 8).unwrap());
    assert_eq!(call.run(), Ok(()));
}
