//! Accuracy against the definition in f64: element-wise functions over all exponents of f32,
//! special values and every value of the types of 16 bits; row functions relative to the row's
//! root mean square, also where the mean is far from zero or an outlier is among the channels.

mod common;

use common::call::{Call, Numbers};
use common::isas;
use common::random::{Random, stratified_f32};
use common::tensor::Tensor;
use dynorm::{ElementType, Isa, Norm};

use ElementType::{Bf16, F16, F32};

fn elementwise() -> impl Iterator<Item = Norm> {
    Norm::DEFAULTS.into_iter().filter(|norm| norm.is_elementwise())
}

/// Channels of a row that is one block at most.
const BLOCK: usize = 64;

/// Compares one row with the definition; and where that makes no difference, rows of a block each, since a
/// value that is not ordinary may have the others of its row computed otherwise, too. With gaps between them,
/// without which they would be taken for one row.
fn check(norm: Norm, isa: Isa, types: (ElementType, ElementType), x: Tensor) {
    let compare = |rows: usize, x: Tensor| {
        let gaps = if rows > 1 { (1, 1) } else { (0, 0) };
        let call = Call::new(norm, isa, rows, x.len() / rows).types(types.0, types.1);
        let call = Call { gaps, ..call };
        let numbers = Numbers { x, weight: None, bias: None };
        call.compare(&numbers, &call.run(&numbers));
    };
    let rows = x.len() / BLOCK;
    if norm.is_elementwise() && rows > 0 {
        compare(rows, x.part(0..rows * BLOCK));
    }
    compare(1, x);
}

/// Compares over all exponents and special values, into every type.
fn check_range(norms: impl IntoIterator<Item = Norm>) {
    let x = Tensor::new(F32, &stratified_f32(1000));
    for norm in norms {
        for isa in isas() {
            for y_type in ElementType::ALL {
                check(norm, isa, (F32, y_type), x.clone());
            }
        }
    }
}

#[test]
fn elementwise_functions_over_all_exponents() {
    check_range(elementwise());
}

#[test]
fn dyt_with_other_slopes() {
    let slopes =
        [1.0, 0.05, 0.2, 0.3, 0.8, 3.7, -0.7, 1e-20, 1e20, 1e-38, -1e38, f32::MAX, 1e-45, 0.0];
    check_range(slopes.map(|alpha| Norm::DyT { alpha }));
}

#[test]
fn dyisru_with_other_parameters() {
    let betas = [1.0, 0.3, 100.0, 301.05995, 1e-5, 1e-20, 1e20, 1e-38, 1e38, f32::MAX, 1e-45];
    check_range(betas.map(|beta| Norm::DyIsru { beta, scale: 1.0 }));
    check_range([10.0, -0.3].map(|scale| Norm::DyIsru { beta: 7.5, scale }));
}

#[test]
fn derf_with_other_parameters() {
    let slopes = [1.0, 0.0404998, 0.3, 3.7, -0.7, 1e-20, 1e20, 1e-38, -1e38, f32::MAX, 1e-45, 0.0];
    check_range(slopes.map(|alpha| Norm::Derf { alpha, shift: 0.0 }));
    let shifts = [1.0, -0.3, 4.0, 1e-20, -1e20];
    check_range(shifts.map(|shift| Norm::Derf { alpha: 0.7, shift }));
}

/// Every one of the 65,536 values, into every type: within half an ulp of it and the error of
/// the function.
#[test]
fn elementwise_functions_of_every_16_bit_value() {
    for norm in elementwise() {
        for isa in isas() {
            for x_type in [F16, Bf16] {
                for y_type in ElementType::ALL {
                    check(norm, isa, (x_type, y_type), Tensor::all_16_bit(x_type));
                }
            }
        }
    }
}

#[test]
fn every_16_bit_input_gives_the_bits_of_its_f32_value() {
    for norm in elementwise() {
        for isa in isas() {
            for x_type in [F16, Bf16] {
                let narrow = Tensor::all_16_bit(x_type);
                let finite: Vec<f32> = narrow.values().iter().map(|&v| v as f32).collect();
                let call = Call::new(norm, isa, 1, narrow.len()).types(x_type, F32);
                let of = |call: &Call, x| call.run(&Numbers { x, weight: None, bias: None });
                let (given, wanted) = (
                    of(&call, narrow),
                    of(&call.clone().types(F32, F32), Tensor::new(F32, &finite)),
                );
                for i in 0..finite.len() {
                    let both_nan = given.value(i).is_nan() && wanted.value(i).is_nan();
                    assert!(both_nan || given.bits(i) == wanted.bits(i), "{} {call:?}", finite[i]);
                }
            }
        }
    }
}

/// Row lengths of real models, and odd ones.
const CHANNELS: [usize; 6] = [64, 100, 769, 4096, 8192, 8211];

/// Compares the row functions of `make(channels)` in every input type.
fn check_rows(make: impl Fn(usize) -> Vec<f32>) {
    for channels in CHANNELS {
        let x = make(channels);
        for norm in Norm::DEFAULTS.into_iter().filter(|norm| !norm.is_elementwise()) {
            for isa in isas() {
                for x_type in ElementType::ALL {
                    for y_type in [F32, Bf16] {
                        check(norm, isa, (x_type, y_type), Tensor::new(x_type, &x));
                    }
                }
            }
        }
    }
}

#[test]
fn row_functions_of_normally_distributed_rows() {
    for (seed, deviation) in [1e-3, 1.0, 50.0, 1e4].into_iter().enumerate() {
        check_rows(|channels| Random(seed as u64).normals(channels, 0.1 * deviation, deviation));
    }
}

#[test]
fn row_functions_of_skewed_rows() {
    check_rows(|channels| (0..channels).map(|i| i as f32 / channels as f32).collect());
    check_rows(|channels| {
        (0..channels).map(|i| if i < channels / 2 { 1000.0 } else { 0.5 }).collect()
    });
    check_rows(|channels| {
        let mut random = Random(41);
        (0..channels).map(|_| (3.0 * random.normal()).exp() as f32).collect()
    });
}

#[test]
fn row_functions_with_outliers() {
    for outlier in [10.0, -1e3, 3e4] {
        for at in [0, 1, 63] {
            check_rows(|channels| {
                let mut x = Random(43).normals(channels, 0.3, 1.0);
                x[at] = outlier;
                x
            });
        }
        check_rows(|channels| {
            let mut x = Random(47).normals(channels, 0.3, 1.0);
            x[..channels.min(64)].fill(outlier);
            x
        });
    }
}

/// Rows so small that the squares of their elements are near what f32 holds, or less.
#[test]
fn row_functions_of_tiny_rows() {
    for exponent in [-50, -62, -63] {
        for channels in CHANNELS {
            let x = Random(53).normals(channels, 0.0, 2_f64.powi(exponent));
            for norm in [Norm::RmsNorm { eps: 0.0 }, Norm::LayerNorm { eps: 0.0 }] {
                for isa in isas() {
                    for x_type in [F32, Bf16] {
                        check(norm, isa, (x_type, Bf16), Tensor::new(x_type, &x));
                    }
                }
            }
        }
    }
}

/// Compares LayerNorm of rows in f32.
fn check_layer_norm(make: impl Fn(usize) -> Vec<f32>) {
    for channels in CHANNELS {
        let x = Tensor::new(F32, &make(channels));
        for eps in [0.0, 1e-5] {
            for isa in isas() {
                check(Norm::LayerNorm { eps }, isa, (F32, F32), x.clone());
            }
        }
    }
}

#[test]
fn layer_norm_with_a_mean_far_from_zero() {
    for ratio in [1e2, 1e3, 1e4, 1e5, 1e6] {
        for deviation in [1e-3, 1.0, 1e3] {
            check_layer_norm(|n| Random(53).normals(n, ratio * deviation, deviation));
            check_layer_norm(|n| Random(59).normals(n, -ratio * deviation, deviation));
        }
    }
}

#[test]
fn layer_norm_with_a_mean_far_from_zero_and_an_outlier_in_front() {
    for ratio in [1e2, 1e4, 1e6] {
        for outlier in [0.0, 10.0 * ratio as f32, -ratio as f32] {
            for outliers in [1, 32, 64] {
                check_layer_norm(|channels| {
                    let mut x = Random(61).normals(channels, ratio, 1.0);
                    x[..outliers].fill(outlier);
                    x
                });
            }
        }
    }
}

/// All 2^32 values of f32: `cargo test --release --test accuracy -- --ignored`.
#[test]
#[cfg(feature = "rayon")]
#[ignore = "takes minutes"]
fn elementwise_functions_of_every_f32() {
    use rayon::prelude::*;
    for norm in elementwise() {
        for isa in isas() {
            (0..1 << 16).into_par_iter().for_each(|high: u32| {
                let x: Vec<f32> =
                    (0..1 << 16).map(|low| f32::from_bits(high << 16 | low)).collect();
                check(norm, isa, (F32, F32), Tensor::F32(x));
            });
        }
    }
}
