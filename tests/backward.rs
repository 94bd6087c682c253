//! The gradients of every function agree with their definition, and that with the slope of the function's.

mod common;

use common::backward::BackwardCall;
use common::random::{Random, stratified_f32};
use common::tensor::Tensor;
use common::{FEW_LENGTHS, isas, lengths};
use dynorm::{ElementType, Error, HeadShape, Isa, Norm, Rows, RowsMut, reference};

use ElementType::{Bf16, F16, F32};

/// The functions with other parameters.
const OTHERS: [Norm; 9] = [
    Norm::RmsNorm { eps: 1.0 },
    Norm::LayerNorm { eps: 0.0 },
    Norm::DyT { alpha: -1.3 },
    Norm::DyIsru { beta: 100.0, scale: -8.0 },
    Norm::DyIsru { beta: 0.01, scale: 3.0 },
    Norm::DyIsru { beta: 1e-37, scale: 1.0 },
    Norm::DyIsru { beta: 1e33, scale: 2.0 },
    Norm::Derf { alpha: 0.9, shift: 0.3 },
    Norm::Derf { alpha: -0.4, shift: -1.1 },
];

fn norms() -> impl Iterator<Item = Norm> {
    Norm::DEFAULTS.into_iter().chain(OTHERS)
}

#[test]
fn the_definition_is_the_slope_of_the_function() {
    const STEP: f64 = 1e-5;
    let (rows, channels) = (3, 5);
    let mut random = Random(3);
    let mut numbers = |n| -> Vec<f64> { (0..n).map(|_| random.normal()).collect() };
    let (x, dy) = (numbers(rows * channels), numbers(rows * channels));
    let (weight, bias) = (numbers(channels), numbers(channels));
    // What a step of an extreme beta changes has no digits.
    let extreme = |norm| matches!(norm, Norm::DyIsru { beta, .. } if !(1e-3..1e3).contains(&beta));
    for norm in norms().filter(|&norm| !extreme(norm)) {
        // The loss is the sum of dy times y.
        let loss = |norm: Norm, x: &[f64], weight: &[f64], bias: &[f64]| -> f64 {
            let y = reference::forward(norm, x, Some(weight), Some(bias), 0.25, channels);
            y.iter().zip(&dy).map(|(y, dy)| y * dy).sum()
        };
        let slope = |loss: &dyn Fn(f64) -> f64| (loss(STEP) - loss(-STEP)) / (2.0 * STEP);
        let moved = |values: &[f64], i: usize, by: f64| {
            let mut values = values.to_vec();
            values[i] += by;
            values
        };
        let found = reference::backward(norm, &x, &dy, Some(&weight), 0.25, channels);
        let close = |what: &str, i: usize, given: f64, wanted: f64| {
            let off = (given - wanted).abs();
            assert!(off < 1e-6 * (1.0 + wanted.abs()), "{what} {i} {given} {wanted} {norm:?}");
        };
        for i in 0..x.len() {
            let wanted = slope(&|by| loss(norm, &moved(&x, i, by), &weight, &bias));
            close("dx", i, found.dx[i], wanted);
        }
        for i in 0..channels {
            let wanted = slope(&|by| loss(norm, &x, &moved(&weight, i, by), &bias));
            close("d_weight", i, found.d_weight[i], wanted);
            let wanted = slope(&|by| loss(norm, &x, &weight, &moved(&bias, i, by)));
            close("d_bias", i, found.d_bias[i], wanted);
        }
        assert_eq!(found.d_parameters.len(), norm.parameter_count());
        for i in 0..norm.parameter_count() {
            // Parameters are f32: a larger step, as far as f32 has it.
            let step = 1.0 / 128.0;
            let (more, less) = (with_parameter(norm, i, step), with_parameter(norm, i, -step));
            let wanted = (loss(more.0, &x, &weight, &bias) - loss(less.0, &x, &weight, &bias))
                / (more.1 - less.1);
            let off = (found.d_parameters[i] - wanted).abs();
            // The third derivative times the step's square.
            assert!(off < 0.02 * (1.0 + wanted.abs()), "parameter {i} {off} {norm:?}");
        }
    }
}

/// `norm` with parameter `index` larger by a fraction of itself, and what it has become; a shift by as much of 1.
fn with_parameter(norm: Norm, index: usize, by: f32) -> (Norm, f64) {
    let moved = |value: f32| value + by * value.abs();
    match (norm, index) {
        (Norm::DyT { alpha }, 0) => (Norm::DyT { alpha: moved(alpha) }, moved(alpha).into()),
        (Norm::DyIsru { beta, scale }, 0) => {
            (Norm::DyIsru { beta: moved(beta), scale }, moved(beta).into())
        }
        (Norm::DyIsru { beta, scale }, 1) => {
            (Norm::DyIsru { beta, scale: moved(scale) }, moved(scale).into())
        }
        (Norm::Derf { alpha, shift }, 0) => {
            (Norm::Derf { alpha: moved(alpha), shift }, moved(alpha).into())
        }
        (Norm::Derf { alpha, shift }, 1) => {
            let shift = shift + by;
            (Norm::Derf { alpha, shift }, shift.into())
        }
        _ => panic!("{norm:?} has no parameter {index}"),
    }
}

#[test]
fn the_derivatives_have_their_known_values() {
    // alpha 0.5, beta 4, scale 1, in 40-digit arithmetic: x, slope of DyT, of DyISRU, and DyISRU's by beta.
    for (x, dyt, dyisru, by_beta) in [
        (-50.0, 3.85749969593e-22, 3.19233533138e-5, 0.000199520958211),
        (-3.0, 0.0903533194618, 0.085338491727, 0.0320019343976),
        (0.001, 0.499999875, 0.4999998125, -6.24999765625e-5),
        (2.5, 0.14020743309, 0.121891716596, -0.0380911614362),
        (10.0, 9.07916154719e-5, 0.00377146413727, -0.00471433017159),
    ] {
        let slope = |norm| reference::backward(norm, &[x], &[1.0], None, 0.0, 1);
        let close = |given: f64, wanted: f64| {
            assert!((given / wanted - 1.0).abs() < 1e-9, "{x}: {given} {wanted}");
        };
        close(slope(Norm::DyT { alpha: 0.5 }).dx[0], dyt);
        let of = slope(Norm::DyIsru { beta: 4.0, scale: 1.0 });
        close(of.dx[0], dyisru);
        close(of.d_parameters[0], by_beta);
    }
}

#[test]
fn every_length_type_and_instruction_set_agrees_with_the_definition() {
    for norm in Norm::DEFAULTS {
        for isa in isas() {
            for element in ElementType::ALL {
                for channels in lengths() {
                    for weight in [None, Some(F32)] {
                        let call = BackwardCall::new(norm, isa, 6, channels);
                        BackwardCall { element, weight, ..call }.check();
                    }
                }
            }
        }
    }
}

#[test]
fn other_parameters_weights_and_offsets_do() {
    for norm in OTHERS {
        for isa in isas() {
            for (element, weight) in [(F32, F16), (F16, Bf16), (Bf16, F32), (F32, Bf16)] {
                for weight_offset in [0.0, 1.0] {
                    for channels in FEW_LENGTHS {
                        // LayerNorm without eps has no gradient of a row of one element.
                        let channels = channels + 2;
                        let weight = Some(weight);
                        let call = BackwardCall::new(norm, isa, 5, channels);
                        BackwardCall { element, weight, weight_offset, ..call }.check();
                    }
                }
            }
        }
    }
}

#[test]
fn any_number_of_rows_does() {
    for norm in Norm::DEFAULTS {
        for rows in [0, 1, 2, 3, 4, 5, 31, 32, 33, 64, 65, 100, 2048, 2300] {
            for sums in [false, true] {
                let call = BackwardCall::new(norm, Isa::current().unwrap(), rows, 37);
                BackwardCall { sums, weight: Some(F32), ..call }.check();
            }
        }
    }
}

#[test]
fn rows_of_which_several_are_worked_on_at_once_do() {
    for norm in Norm::DEFAULTS {
        for isa in isas() {
            for element in ElementType::ALL {
                for (rows, channels) in [(17, 1030), (11, 2049), (3, 20_000)] {
                    let call = BackwardCall::new(norm, isa, rows, channels);
                    BackwardCall { element, weight: Some(F32), ..call }.check();
                }
            }
        }
    }
}

#[test]
fn rows_may_be_apart_start_anywhere_and_be_written_over() {
    for norm in Norm::DEFAULTS {
        for isa in isas() {
            for element in ElementType::ALL {
                for channels in FEW_LENGTHS {
                    let plain = BackwardCall {
                        element,
                        weight: Some(F32),
                        ..BackwardCall::new(norm, isa, 7, channels)
                    };
                    let numbers = plain.numbers(5);
                    let wanted = plain.run(&numbers).bits();
                    for (gap, start) in [(0, 0), (0, 1), (3, 0), (64, 13)] {
                        for in_place in [false, true] {
                            let call = BackwardCall { gap, start, in_place, ..plain };
                            assert_eq!(call.run(&numbers).bits(), wanted, "{call:?}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn rows_far_from_zero_agree() {
    for isa in isas() {
        for offset in [100.0, -3e4] {
            for channels in [3, 64, 515, 4100] {
                let call = BackwardCall::new(Norm::LayerNorm { eps: 1e-5 }, isa, 5, channels);
                let mut numbers = call.numbers(9);
                let x: Vec<f32> = numbers.x.values().iter().map(|&x| x as f32 + offset).collect();
                numbers.x = Tensor::new(F32, &x);
                call.compare(&numbers, &call.run(&numbers));
            }
        }
    }
}

#[test]
fn elements_of_every_size_have_their_gradients() {
    let x = stratified_f32(12);
    let ordinary: Vec<f32> = x.iter().copied().filter(|x| !x.is_nan()).collect();
    // The gradient by so small a beta is too large for f32.
    let subnormal = Norm::DyIsru { beta: 1e-40, scale: 1.0 };
    for norm in norms().filter(|norm| norm.is_elementwise()).chain([subnormal]) {
        for isa in isas() {
            let sums = norm != subnormal;
            let call = BackwardCall { sums, ..BackwardCall::new(norm, isa, 1, ordinary.len()) };
            let mut numbers = call.numbers(1);
            numbers.x = Tensor::new(F32, &ordinary);
            call.compare(&numbers, &call.run(&numbers));
        }
    }
}

#[test]
fn a_nan_is_passed_on_to_what_depends_on_it() {
    for norm in Norm::DEFAULTS {
        for isa in isas() {
            for of_x in [true, false] {
                for channel in [0, 17, 39] {
                    let call = BackwardCall::new(norm, isa, 6, 40);
                    let mut numbers = call.numbers(2);
                    let tensor = if of_x { &mut numbers.x } else { &mut numbers.dy };
                    let mut values: Vec<f32> = tensor.values().iter().map(|&v| v as f32).collect();
                    values[40 + channel] = f32::NAN;
                    *tensor = Tensor::new(F32, &values);
                    let written = call.run(&numbers);
                    for i in 0..240 {
                        let touched = match norm.is_elementwise() {
                            true => i == 40 + channel,
                            false => i / 40 == 1,
                        };
                        assert_eq!(written.dx.value(i).is_nan(), touched, "{i} {call:?}");
                    }
                    for c in 0..40 {
                        let of_row = of_x && !norm.is_elementwise();
                        let touched = c == channel || of_row;
                        assert_eq!(written.d_weight[c].is_nan(), touched, "{c} {call:?}");
                        assert_eq!(
                            written.d_bias[c].is_nan(),
                            c == channel && !of_x,
                            "{c} {call:?}"
                        );
                    }
                    assert!(written.d_parameters.iter().all(|v| v.is_nan()), "{call:?}");
                }
            }
        }
    }
}

#[test]
fn a_row_of_zeros_has_gradients_and_one_without_a_scale_none() {
    for isa in isas() {
        for channels in [1, 5, 40] {
            for (eps, finite) in [(1e-5, true), (0.0, false)] {
                let call = BackwardCall::new(Norm::RmsNorm { eps }, isa, 5, channels);
                let mut numbers = call.numbers(4);
                numbers.x = Tensor::new(F32, &vec![0.0; 5 * channels]);
                let written = call.run(&numbers);
                assert_eq!(written.dx.values().iter().all(|v| v.is_finite()), finite, "{call:?}");
                if finite {
                    call.compare(&numbers, &written);
                }
            }
        }
    }
}

#[test]
fn a_row_whose_squares_overflow_is_0_and_so_are_its_gradients() {
    for isa in isas() {
        for channels in [1, 5, 300] {
            let (x, dy) = (vec![3e38_f32; channels], vec![100.0_f32; channels]);
            let mut dx = vec![f32::NAN; channels];
            Norm::RmsNorm { eps: 1e-5 }
                .backward(
                    Rows::new(&x, 1, channels).unwrap(),
                    Rows::new(&dy, 1, channels).unwrap(),
                    RowsMut::new(&mut dx, 1, channels).unwrap(),
                )
                .isa(isa)
                .run()
                .unwrap();
            assert_eq!(dx, vec![0.0; channels], "{isa:?}");
        }
    }
}

#[test]
#[cfg(feature = "rayon")]
fn large_calls_and_threads_give_the_same_bits() {
    // Enough to be streamed and fetched ahead, and to wake threads.
    let (rows, channels) = (1500, 4096);
    for norm in Norm::DEFAULTS {
        for element in [F32, Bf16] {
            let isa = Isa::current().unwrap();
            let call = BackwardCall::new(norm, isa, rows, channels);
            let call = BackwardCall { element, weight: Some(F32), ..call };
            let numbers = call.numbers(6);
            let serial = call.run(&numbers);
            for threads in [2, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let parallel = call.run_with(&numbers, |call| {
                    pool.install(|| call.run_parallel()).unwrap();
                });
                assert!(parallel.bits() == serial.bits(), "{threads} {call:?}");
            }
            // Streamed or not.
            let elsewhere = BackwardCall { start: 1, ..call };
            assert!(elsewhere.run(&numbers).bits() == serial.bits(), "{elsewhere:?}");
            // A row has its gradients whatever the batch.
            for row in [0, 701, rows - 1] {
                let alone = BackwardCall { rows: 1, ..call };
                let mut few = numbers.clone();
                (few.x, few.dy) = (few.x.row(row, channels), few.dy.row(row, channels));
                let dx = alone.run(&few).dx.all_bits();
                assert!(dx == serial.dx.row(row, channels).all_bits(), "{row} {call:?}");
            }
        }
    }
}

#[test]
fn heads_of_tokens_have_their_gradients() {
    for norm in Norm::DEFAULTS {
        let call = BackwardCall::new(norm, Isa::current().unwrap(), 6 * 3, 16);
        let numbers = call.numbers(8);
        let wanted = call.run(&numbers);
        // 3 heads of 16 in tokens of 60, of x and of the gradient that is written over.
        let shape =
            HeadShape { tokens: 6, heads: 3, channels: 16, token_stride: 60, head_stride: 18 };
        let spread = |tensor: &Tensor| {
            let mut values = vec![f32::NAN; 6 * 60];
            for (i, value) in tensor.values().into_iter().enumerate() {
                let (row, channel) = (i / 16, i % 16);
                values[row / 3 * 60 + row % 3 * 18 + channel] = value as f32;
            }
            values
        };
        let (x, mut gradient) = (spread(&numbers.x), spread(&numbers.dy));
        let (x, into) = (Rows::of_heads(&x, shape), RowsMut::of_heads(&mut gradient, shape));
        norm.backward_in_place(x.unwrap(), into.unwrap()).run().unwrap();
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&gradient), bits(&spread(&wanted.dx)), "{norm:?}");
    }
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_written() {
    let (x, dy, other) = ([0.0_f32; 6], [1.0_f32; 6], [dynorm::f16::ZERO; 6]);
    let (x, dy) = (Rows::new(&x, 2, 3).unwrap(), Rows::new(&dy, 2, 3).unwrap());
    let untouched = [7.0_f32; 6];
    let (mut dx, mut sums, mut workspace) = (untouched, untouched, [0.0; 64]);
    let norm = Norm::DyT { alpha: 0.5 };
    let length = |what, given, wanted| Error::Length { what, given, wanted };

    let what = "gradient of the output";
    let typed = Error::GradientType { what, given: F16, wanted: F32 };
    assert_eq!(typed.to_string(), "the gradient of the output is of f16; the input is of f32");
    let shaped = Error::Shape { what, given_rows: 3, given_channels: 2, rows: 2, channels: 3 };
    for (dy, error) in [(Rows::new(&other, 2, 3), typed), (Rows::new(&[1.0_f32; 6], 3, 2), shaped)]
    {
        let result = norm.backward(x, dy.unwrap(), RowsMut::new(&mut dx, 2, 3).unwrap()).run();
        assert_eq!(result, Err(error));
    }

    macro_rules! refused {
        ($norm:expr, $error:expr, |$call:ident| $with:expr) => {
            let $call = $norm.backward(x, dy, RowsMut::new(&mut dx, 2, 3).unwrap());
            assert_eq!($with.run(), Err($error));
        };
    }
    let (name, wanted) = ("beta", "finite and above 0");
    let invalid = Norm::DyIsru { beta: -1.0, scale: 1.0 };
    refused!(invalid, Error::Parameter { name, given: -1.0, wanted }, |call| call
        .weight_offset(0.0));
    refused!(norm, length("weight", 2, 3), |call| call.weight(&[1.0_f32; 2]));
    refused!(norm, length("gradient of the weight", 2, 3), |call| call
        .d_weight(&mut sums[..2])
        .workspace(&mut workspace));
    refused!(norm, length("gradient of the bias", 4, 3), |call| call
        .d_bias(&mut sums[..4])
        .workspace(&mut workspace));
    refused!(norm, length("gradient of the parameters", 2, 1), |call| call
        .d_parameters(&mut sums[..2])
        .workspace(&mut workspace));
    let rms = Norm::RmsNorm { eps: 1e-5 };
    refused!(rms, length("gradient of the parameters", 1, 0), |call| call
        .d_parameters(&mut sums[..1])
        .workspace(&mut workspace));
    // One group: three channels, and two numbers for each of two parameters.
    refused!(norm, length("workspace", 6, 7), |call| call
        .d_weight(&mut sums[..3])
        .d_parameters(&mut [0.0])
        .workspace(&mut workspace[..6]));
    assert_eq!((dx, sums), (untouched, untouched));
}
