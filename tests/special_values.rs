//! NaN, infinities, signed zeros, subnormals and huge values, on every instruction set, in whole
//! blocks and in parts of vectors, for every element type.

mod common;

use common::call::{Call, Numbers};
use common::random::Random;
use common::tensor::Tensor;
use common::{isas, type_pairs};
use dynorm::{ElementType, Isa, Norm};

use ElementType::F32;

/// A row shorter than any vector, and one of several blocks and a rest.
const LENGTHS: [usize; 2] = [5, 203];

fn elementwise() -> impl Iterator<Item = Norm> {
    Norm::DEFAULTS.into_iter().filter(|norm| norm.is_elementwise())
}

fn row_functions() -> impl Iterator<Item = Norm> {
    Norm::DEFAULTS.into_iter().filter(|norm| !norm.is_elementwise())
}

/// The output of a call without weight and bias.
fn outputs(
    norm: Norm,
    isa: Isa,
    types: (ElementType, ElementType),
    rows: usize,
    x: &[f32],
) -> Vec<f64> {
    let call = Call::new(norm, isa, rows, x.len() / rows).types(types.0, types.1);
    call.run(&Numbers { x: Tensor::new(types.0, x), weight: None, bias: None }).values()
}

/// Calls `each` with every instruction set, pair of types, length and a position in the row.
fn everywhere(mut each: impl FnMut(Isa, (ElementType, ElementType), usize, usize)) {
    for isa in isas() {
        for types in type_pairs() {
            for channels in LENGTHS {
                for at in [0, channels / 2, channels - 1] {
                    each(isa, types, channels, at);
                }
            }
        }
    }
}

#[test]
fn nan_stays_nan_and_spoils_no_other_element() {
    for norm in elementwise() {
        everywhere(|isa, types, channels, at| {
            let clean = Random(1).normals(channels, 0.0, 1.0);
            let mut x = clean.clone();
            for nan in [f32::NAN, -f32::NAN, f32::from_bits(0x7fff_ffff)] {
                x[at] = nan;
                let (y, wanted) =
                    (outputs(norm, isa, types, 1, &x), outputs(norm, isa, types, 1, &clean));
                for i in 0..channels {
                    assert!(
                        if i == at { y[i].is_nan() } else { y[i] == wanted[i] },
                        "{i} {norm:?} {isa:?}"
                    );
                }
            }
        });
    }
}

#[test]
fn nan_makes_its_row_nan_and_no_other() {
    for norm in row_functions() {
        everywhere(|isa, types, channels, at| {
            let clean = Random(2).normals(3 * channels, 0.0, 1.0);
            let mut x = clean.clone();
            x[channels + at] = f32::NAN;
            let (y, wanted) =
                (outputs(norm, isa, types, 3, &x), outputs(norm, isa, types, 3, &clean));
            for i in 0..3 * channels {
                let ok = if i / channels == 1 { y[i].is_nan() } else { y[i] == wanted[i] };
                assert!(ok, "{i} {norm:?} {isa:?} {types:?}");
            }
        });
    }
}

#[test]
fn infinities_and_huge_values_give_the_limits() {
    for norm in elementwise() {
        everywhere(|isa, types, channels, at| {
            for huge in [f32::INFINITY, f32::MAX, 1.9e19, 6e4] {
                let mut x = vec![0.25; channels];
                x[at] = huge;
                assert_eq!(outputs(norm, isa, types, 1, &x)[at], 1.0, "{norm:?} of {huge} {isa:?}");
                x[at] = -huge;
                assert_eq!(
                    outputs(norm, isa, types, 1, &x)[at],
                    -1.0,
                    "{norm:?} of -{huge} {isa:?}"
                );
            }
        });
    }
}

#[test]
fn infinities_times_scale_weight_and_bias() {
    for isa in isas() {
        for norm in [
            Norm::DyIsru { beta: 4.0, scale: 3.0 },
            Norm::DyIsru { beta: f32::MAX, scale: 3.0 },
            Norm::DyIsru { beta: f32::from_bits(1), scale: 3.0 },
        ] {
            let call = Call::new(norm, isa, 1, 2).affine(Some(F32), Some(F32));
            let tensor = |values: &[f32]| Tensor::new(F32, values);
            let x = tensor(&[f32::INFINITY, f32::NEG_INFINITY]);
            let (weight, bias) = (Some(tensor(&[2.0, 0.5])), Some(tensor(&[1.0, 1.0])));
            assert_eq!(call.run(&Numbers { x, weight, bias }).values(), [7.0, -0.5], "{call:?}");
        }
        for alpha in [1e-38, 1e-3, 1e38, f32::from_bits(1)] {
            for norm in [Norm::DyT { alpha }, Norm::Derf { alpha, shift: -0.5 }] {
                let y = outputs(norm, isa, (F32, F32), 1, &[f32::INFINITY, f32::NEG_INFINITY]);
                assert_eq!(y, [1.0, -1.0], "{norm:?} {isa:?}");
            }
        }
    }
}

#[test]
fn zeros_keep_their_sign() {
    for norm in Norm::DEFAULTS {
        // LayerNorm takes the mean away, so that its zeros have no sign of their own.
        if matches!(norm, Norm::LayerNorm { .. }) {
            continue;
        }
        everywhere(|isa, types, channels, at| {
            let mut x = vec![0.0; channels];
            x[at] = -0.0;
            let y = outputs(norm, isa, types, 1, &x);
            for i in 0..channels {
                let sign = if i == at { -1.0 } else { 1.0 };
                assert_eq!((y[i], y[i].signum()), (0.0, sign), "{norm:?} {isa:?} {types:?}");
            }
        });
    }
}

#[test]
fn a_negative_zero_keeps_its_sign_under_a_weight() {
    for norm in elementwise() {
        for isa in isas() {
            for channels in LENGTHS {
                let call = Call::new(norm, isa, 1, channels).affine(Some(F32), None);
                let x = Tensor::new(F32, &vec![-0.0; channels]);
                let weight = Some(Tensor::new(F32, &vec![2.0; channels]));
                let y = call.run(&Numbers { x, weight, bias: None });
                assert!(y.all_bits().iter().all(|&bits| bits == 1 << 31), "{call:?}");
            }
        }
    }
}

#[test]
fn rows_of_one_value() {
    for isa in isas() {
        for types in type_pairs() {
            for channels in [1, 5, 203] {
                for norm in row_functions() {
                    let zeros = outputs(norm, isa, types, 1, &vec![0.0; channels]);
                    assert!(zeros.iter().all(|&y| y == 0.0), "{norm:?} {isa:?} {types:?}");
                }
                let equal = Norm::LayerNorm { eps: 1e-5 };
                let y = outputs(equal, isa, types, 1, &vec![3.0; channels]);
                assert!(y.iter().all(|&y| y == 0.0), "{isa:?} {types:?} {channels}");
                let y = outputs(Norm::RmsNorm { eps: 0.0 }, isa, types, 1, &vec![-3.0; channels]);
                assert!(y.iter().all(|&y| (y + 1.0).abs() < 1e-6), "{isa:?} {types:?} {channels}");
            }
        }
    }
}

#[test]
fn a_row_of_zeros_without_eps_is_nan_as_in_ieee() {
    for isa in isas() {
        for norm in [Norm::RmsNorm { eps: 0.0 }, Norm::LayerNorm { eps: 0.0 }] {
            for channels in LENGTHS {
                let y = outputs(norm, isa, (F32, F32), 1, &vec![0.0; channels]);
                assert!(y.iter().all(|y| y.is_nan()), "{norm:?} {isa:?} {channels}");
            }
        }
    }
}

#[test]
fn a_sum_of_squares_beyond_f32_gives_zeros() {
    let norm = Norm::RmsNorm { eps: 1e-5 };
    for isa in isas() {
        for channels in LENGTHS {
            for huge in [1.9e19, -3e38] {
                let mut x = vec![1.0; channels];
                x[channels / 2] = huge;
                let y = outputs(norm, isa, (F32, F32), 1, &x);
                assert!(y.iter().all(|&y| y == 0.0), "{isa:?} {channels}");
            }
            // Infinity times the rstd of 0 is what IEEE makes of it.
            let mut x = vec![1.0; channels];
            x[0] = f32::INFINITY;
            let y = outputs(norm, isa, (F32, F32), 1, &x);
            assert!(y[0].is_nan() && y[1..].iter().all(|&y| y == 0.0), "{isa:?} {channels}");
        }
    }
}

#[test]
fn an_infinity_makes_a_layer_norm_row_nan() {
    for isa in isas() {
        for channels in LENGTHS {
            for at in [0, channels - 1] {
                let mut x = vec![1.0; channels];
                x[at] = f32::NEG_INFINITY;
                let y = outputs(Norm::LayerNorm { eps: 1e-5 }, isa, (F32, F32), 1, &x);
                assert!(y.iter().all(|y| y.is_nan()), "{isa:?} {channels} {at}");
            }
        }
    }
}

#[test]
fn subnormal_inputs_are_not_flushed() {
    let tiny: Vec<f32> = (0..203).map(|i| f32::from_bits(1 + 41_000 * i)).collect();
    for norm in Norm::DEFAULTS {
        // A mean of subnormals has the spacing of subnormals, however exact the sum.
        if matches!(norm, Norm::LayerNorm { .. }) {
            continue;
        }
        for isa in isas() {
            for x_type in ElementType::ALL {
                for channels in [1, 7, 29, 203] {
                    let call = Call::new(norm, isa, 203 / channels, channels).types(x_type, F32);
                    let x = Tensor::new(x_type, &tiny);
                    let numbers = Numbers { x, weight: None, bias: None };
                    call.compare(&numbers, &call.run(&numbers));
                }
            }
        }
    }
}
