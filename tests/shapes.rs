//! Every function on every instruction set agrees with the definition for every pair of element
//! types, at every length around vectors and blocks, with and without weight and bias, with
//! strides and unaligned starts, in place and out of place; and writes its rows and nothing else.

mod common;

use common::call::Call;
use common::{FEW_LENGTHS, isas, lengths, type_pairs};
use dynorm::{ElementType, Norm, Rows, RowsMut, cpu};

use ElementType::{Bf16, F16, F32};

/// Weight and bias, each there or not.
const AFFINE: [(Option<ElementType>, Option<ElementType>); 4] =
    [(None, None), (Some(F32), None), (None, Some(F32)), (Some(F32), Some(F32))];

#[test]
fn every_length_type_and_instruction_set_agrees_with_the_definition() {
    for norm in Norm::DEFAULTS {
        for isa in isas() {
            for (x_type, y_type) in type_pairs() {
                for channels in lengths() {
                    for (weight, bias) in AFFINE {
                        for stream in [false, true] {
                            let call = Call::new(norm, isa, 2, channels)
                                .types(x_type, y_type)
                                .affine(weight, bias);
                            Call { stream: Some(stream), ..call }.check();
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn every_length_agrees_in_place() {
    for norm in Norm::DEFAULTS {
        for isa in isas() {
            for element in ElementType::ALL {
                for channels in lengths() {
                    for (weight, bias) in AFFINE {
                        let call = Call::new(norm, isa, 3, channels)
                            .types(element, element)
                            .affine(weight, bias);
                        Call { in_place: true, ..call }.check();
                    }
                }
            }
        }
    }
}

#[test]
fn weight_and_bias_may_have_any_types() {
    for norm in Norm::DEFAULTS {
        for isa in isas() {
            for (weight, bias) in type_pairs() {
                for element in ElementType::ALL {
                    for channels in FEW_LENGTHS {
                        Call::new(norm, isa, 2, channels)
                            .types(element, F32)
                            .affine(Some(weight), Some(bias))
                            .check();
                    }
                }
            }
        }
    }
}

#[test]
fn an_offset_is_added_to_a_weight_and_ignored_without_one() {
    for norm in Norm::DEFAULTS {
        for isa in isas() {
            for weight in [None, Some(F32), Some(F16), Some(Bf16)] {
                for bias in [None, Some(F32)] {
                    for weight_offset in [1.0, -0.5, 0.1] {
                        for channels in FEW_LENGTHS {
                            let call = Call::new(norm, isa, 2, channels).affine(weight, bias);
                            Call { weight_offset, ..call }.check();
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn rows_may_be_apart_and_start_anywhere() {
    for norm in Norm::DEFAULTS {
        for isa in isas() {
            for (x_type, y_type) in type_pairs() {
                for channels in FEW_LENGTHS {
                    for (gaps, starts) in [
                        ((1, 0), (0, 1)),
                        ((0, 1), (1, 0)),
                        ((3, 5), (3, 13)),
                        ((64, 7), (15, 31)),
                        ((7, 64), (33, 2)),
                    ] {
                        for (stream, rows) in [(false, 1), (true, 2), (false, 5), (true, 9)] {
                            let call = Call::new(norm, isa, rows, channels)
                                .types(x_type, y_type)
                                .affine(Some(F32), None);
                            Call { gaps, starts, stream: Some(stream), ..call }.check();
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn rows_in_place_may_be_apart_and_start_anywhere() {
    for norm in Norm::DEFAULTS {
        for isa in isas() {
            for element in ElementType::ALL {
                for channels in FEW_LENGTHS {
                    for (gap, start) in [(1, 0), (0, 1), (5, 13), (64, 31)] {
                        for rows in [1, 2, 5] {
                            let call = Call::new(norm, isa, rows, channels)
                                .types(element, element)
                                .affine(None, Some(F32));
                            let (gaps, starts) = ((0, gap), (0, start));
                            Call { gaps, starts, in_place: true, ..call }.check();
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn no_rows_are_fine() {
    for norm in Norm::DEFAULTS {
        for isa in isas() {
            for (in_place, gap) in [(false, 0), (false, 9), (true, 0), (true, 9)] {
                let call = Call::new(norm, isa, 0, 17).affine(Some(F32), Some(F32));
                Call { in_place, gaps: (gap, gap), ..call }.check();
            }
        }
        let (x, mut y) = ([0.0_f32; 0], [0.0_f32; 0]);
        let (x, y) = (Rows::new(&x, 0, usize::MAX), RowsMut::new(&mut y, 0, usize::MAX));
        let mut call = norm.forward(x.unwrap(), y.unwrap());
        assert_eq!(call.run(), Ok(()));
        for part in call.parts(3) {
            assert_eq!(part.run(), Ok(()));
        }
    }
}

#[test]
fn views_tell_their_shape_and_type() {
    let x = Rows::with_stride(&[0.0_f32; 20], 2, 3, 10).unwrap();
    assert_eq!((x.rows(), x.channels(), x.element_type()), (2, 3, F32));
    let mut y = [dynorm::f16::ZERO; 6];
    let y = RowsMut::new(&mut y, 3, 2).unwrap();
    assert_eq!((y.rows(), y.channels(), y.element_type()), (3, 2, F16));
}

#[test]
fn copy_copies() {
    for length in (0..=200).chain([1023, 4096]) {
        for start in [0, 1, 15] {
            for stream in [false, true] {
                let source: Vec<f32> = (0..length).map(|i| i as f32 - 3.0).collect();
                let mut target = vec![-1.0; length + 32];
                cpu::copy(&source, &mut target[start..start + length], stream).unwrap();
                assert_eq!(target[start..start + length], source);
                assert!(
                    target[..start].iter().chain(&target[start + length..]).all(|&y| y == -1.0)
                );
            }
        }
    }
}
