//! The operations against dynorm's f64 reference, and what they refuse.

use candle::{D, DType, Device, Module, Result, Tensor, Var};
use dynorm::{Norm, reference};
use dynorm_candle::{Derf, DyIsru, DyT, Layer, LayerNorm, RmsNorm};

const TYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

/// The CPU; with the feature `cuda`, which needs a GPU to test, that too.
fn devices() -> Vec<Device> {
    if cfg!(feature = "cuda") {
        vec![Device::Cpu, Device::new_cuda(0).expect("the feature `cuda` is tested on a GPU")]
    } else {
        vec![Device::Cpu]
    }
}

/// Distinct values from -3 to 3 on the CPU.
fn ramp(shape: &[usize], dtype: DType) -> Result<Tensor> {
    let count: usize = shape.iter().product();
    let values = (0..count).map(|i| ((i * 7919) % 1201) as f32 / 200.0 - 3.0).collect();
    Tensor::from_vec::<_, f32>(values, shape, &Device::Cpu)?.to_dtype(dtype)
}

fn f64s(x: &Tensor) -> Result<Vec<f64>> {
    x.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

/// Checks the result for `x` to the rounding of its type, and before it to some ulp of f32, or to
/// what dynorm makes do with for 16-bit results of element-wise functions, times a weight of up to 2.
#[track_caller]
fn check(norm: Norm, x: &Tensor, weight: Option<&Tensor>, bias: Option<&Tensor>) -> Result<()> {
    let given = |tensor: Option<&Tensor>| tensor.map(f64s).transpose();
    let (weights, biases) = (given(weight)?, given(bias)?);
    let channels = x.dim(D::Minus1)?;
    let expected =
        reference::forward(norm, &f64s(x)?, weights.as_deref(), biases.as_deref(), 0.5, channels);
    let (rounding, arithmetic) = match (x.dtype(), norm.is_elementwise()) {
        (DType::F16, true) => (2_f64.powi(-11), 2_f64.powi(-17)),
        (DType::F16, false) => (2_f64.powi(-11), 2_f64.powi(-19)),
        (DType::BF16, true) => (2_f64.powi(-8), 2_f64.powi(-12)),
        (DType::BF16, false) => (2_f64.powi(-8), 2_f64.powi(-14)),
        _ => (0.0, 2_f64.powi(-20)),
    };

    for device in devices() {
        let mut layer = Layer::new(norm).weight_offset(0.5);
        if let Some(weight) = weight {
            layer = layer.weight(weight.to_device(&device)?);
        }
        if let Some(bias) = bias {
            layer = layer.bias(bias.to_device(&device)?);
        }
        let y = layer.forward(&x.to_device(&device)?)?;
        assert_eq!((y.dims(), y.dtype()), (x.dims(), x.dtype()));
        assert!(y.is_contiguous());
        for (i, (y, &expected)) in f64s(&y)?.into_iter().zip(&expected).enumerate() {
            // Sums with the bias may cancel: the terms, not the result, say what is lost.
            let tolerance = rounding * expected.abs() + arithmetic * (1.0 + expected.abs());
            assert!(
                (y - expected).abs() <= tolerance,
                "{norm:?}, {:?}, {:?}: element {i} is {y}, not {expected}",
                x.dtype(),
                x.shape()
            );
        }
    }
    Ok(())
}

#[test]
fn every_function_type_and_shape() -> Result<()> {
    let shapes: [&[usize]; 6] = [&[5], &[1, 1], &[3, 7], &[2, 5, 33], &[1, 1, 576], &[4, 131]];
    for norm in Norm::DEFAULTS {
        for dtype in TYPES {
            for shape in shapes {
                let x = ramp(shape, dtype)?;
                let channels = &shape[shape.len() - 1..];
                let weight = ramp(channels, dtype)?;
                let bias = weight.affine(-0.5, 0.25)?;
                check(norm, &x, None, None)?;
                check(norm, &x, Some(&weight), None)?;
                check(norm, &x, None, Some(&bias))?;
                check(norm, &x, Some(&weight), Some(&bias))?;
            }
        }
    }
    Ok(())
}

#[test]
fn weights_have_a_type_of_their_own() -> Result<()> {
    let x = ramp(&[3, 65], DType::BF16)?;
    for (weight, bias) in [(DType::F32, DType::F16), (DType::F16, DType::F32)] {
        let (weight, bias) = (ramp(&[65], weight)?, ramp(&[65], bias)?);
        check(Norm::LayerNorm { eps: 1e-5 }, &x, Some(&weight), Some(&bias))?;
    }
    Ok(())
}

#[test]
fn work_large_enough_for_threads() -> Result<()> {
    let x = ramp(&[1024, 1031], DType::F32)?;
    for norm in Norm::DEFAULTS {
        check(norm, &x, Some(&ramp(&[1031], DType::F32)?), None)?;
    }
    Ok(())
}

#[test]
fn views_give_the_bits_of_their_copies() -> Result<()> {
    for device in devices() {
        let whole = ramp(&[4, 6, 50], DType::F16)?.to_device(&device)?;
        let weights = ramp(&[2, 100], DType::F16)?.to_device(&device)?;
        let from_an_offset = whole.narrow(0, 1, 2)?;
        let rows_with_gaps = whole.narrow(2, 3, 41)?;
        let both = from_an_offset.narrow(2, 7, 1)?;
        let every_sixth = whole.narrow(1, 2, 1)?;
        let part_of_a_row = every_sixth.narrow(0, 3, 1)?.narrow(2, 9, 20)?;
        for view in [from_an_offset, rows_with_gaps, both, every_sixth, part_of_a_row] {
            let copy = view.force_contiguous()?;
            let weight = weights.get(1)?.narrow(0, 5, view.dim(D::Minus1)?)?;
            for norm in Norm::DEFAULTS {
                let of_view = Layer::new(norm).weight(weight.clone()).forward(&view)?;
                let of_copy = Layer::new(norm).weight(weight.force_contiguous()?).forward(&copy)?;
                assert_eq!(f64s(&of_view)?, f64s(&of_copy)?);
            }
        }
    }
    Ok(())
}

/// A residual gives the bits of the two steps; the gate, those of f32 rounded once, to what is left of its exactness.
#[test]
fn a_residual_or_a_gate_in_one_operation() -> Result<()> {
    for device in devices() {
        for dtype in TYPES {
            let whole = ramp(&[2, 5, 70], dtype)?.to_device(&device)?;
            let x = whole.narrow(2, 3, 64)?;
            // Rows with other gaps.
            let other = ramp(&[2, 5, 81], dtype)?.affine(-0.7, 0.3)?.to_device(&device)?;
            let other = other.narrow(2, 11, 64)?;
            let weight = ramp(&[64], DType::F32)?.to_device(&device)?;
            let bias = ramp(&[64], DType::F16)?.to_device(&device)?;
            let plain = Norm::DEFAULTS.map(Layer::new);
            let with_weight = plain.clone().map(|layer| layer.weight(weight.clone()));
            let with_bias = plain.clone().map(|layer| layer.bias(bias.clone()));
            let with_both = with_weight.clone().map(|layer| layer.bias(bias.clone()));
            for layer in [plain, with_weight, with_bias, with_both].into_iter().flatten() {
                let (sum, y) = layer.add_forward(&x, &other)?;
                let wanted = (&x + &other)?;
                assert_eq!((sum.dims(), sum.dtype()), (x.dims(), dtype));
                assert_eq!(f64s(&sum)?, f64s(&wanted)?, "{layer:?}");
                assert_eq!(f64s(&y)?, f64s(&layer.forward(&wanted)?)?, "{layer:?}");

                let tolerance = match dtype {
                    DType::F32 => 1e-5,
                    DType::F16 => 1e-3,
                    _ => 8e-3,
                };
                for z in TYPES {
                    let z = other.to_dtype(z)?;
                    let gated = layer.gated_forward(&x, &z)?;
                    assert_eq!((gated.dims(), gated.dtype()), (x.dims(), dtype));
                    let (y, z) = (f64s(&layer.forward(&x.to_dtype(DType::F32)?)?)?, f64s(&z)?);
                    for ((gated, y), z) in f64s(&gated)?.into_iter().zip(y).zip(z) {
                        let wanted = y * z / (1.0 + (-z).exp());
                        let off = (gated - wanted).abs();
                        assert!(off <= tolerance * (1.0 + wanted.abs()), "{layer:?}: {off}");
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn named_layers_have_them_too() -> Result<()> {
    let (x, other) = (ramp(&[3, 20], DType::F32)?, ramp(&[3, 20], DType::F32)?.affine(0.3, 1.0)?);
    let weight = ramp(&[20], DType::F32)?;
    let layer = Layer::new(Norm::RmsNorm { eps: 1e-3 }).weight(weight.clone());
    let named = RmsNorm::new(weight, 1e-3);
    let (sum, y) = named.add_forward(&x, &other)?;
    assert_eq!((f64s(&sum)?, f64s(&y)?), {
        let (sum, y) = layer.add_forward(&x, &other)?;
        (f64s(&sum)?, f64s(&y)?)
    });
    assert_eq!(f64s(&named.gated_forward(&x, &x)?)?, f64s(&layer.gated_forward(&x, &x)?)?);
    Ok(())
}

#[test]
fn what_does_not_fit_beside_is_refused() -> Result<()> {
    let x = ramp(&[2, 3, 8], DType::F32)?;
    let rms = Layer::new(Norm::RmsNorm { eps: 1e-5 });
    let why = |other: &Tensor| rms.add_forward(&x, other).unwrap_err().to_string();
    assert!(why(&ramp(&[3, 2, 8], DType::F32)?).contains("shape mismatch in rms_norm"));
    assert!(why(&x.to_dtype(DType::F16)?).contains("F16"));
    let apart = ramp(&[3, 2, 8], DType::F32)?.transpose(0, 1)?;
    assert!(why(&apart).contains("rms_norm: rows do not lie at even distances"));
    assert!(rms.gated_forward(&x, &apart).unwrap_err().to_string().contains("even distances"));

    let (plain, variable) = (ramp(&[8], DType::F32)?, Var::from_tensor(&ramp(&[8], DType::F32)?)?);
    let tracked = variable.as_tensor();
    let trained = [
        (rms.clone(), Var::from_tensor(&x)?.as_tensor().clone()),
        (rms.clone().weight(tracked.clone()), x.clone()),
        (rms.clone().weight(plain.clone()).bias(tracked.clone()), x.clone()),
        (rms.weight(tracked.clone()).bias(plain), x.clone()),
    ];
    for (layer, given) in trained {
        let error = layer.gated_forward(&given, &x)?.sum_all()?.backward().unwrap_err().to_string();
        assert!(error.contains("backward is not supported for rms_norm"), "{error}");
    }
    Ok(())
}

#[test]
fn named_layers_are_the_functions() -> Result<()> {
    let x = ramp(&[3, 20], DType::F32)?;
    let (w, b) = (ramp(&[20], DType::F32)?, ramp(&[20], DType::F32)?.affine(0.5, 1.0)?);
    let norms = [
        Norm::RmsNorm { eps: 1e-3 },
        Norm::LayerNorm { eps: 1e-3 },
        Norm::LayerNorm { eps: 1e-2 },
        Norm::DyT { alpha: 0.7 },
        Norm::DyIsru { beta: 2.0, scale: 3.0 },
        Norm::Derf { alpha: 0.7, shift: 0.1 },
    ];
    let named: [(Box<dyn Module>, bool); 6] = [
        (Box::new(RmsNorm::new(w.clone(), 1e-3)), false),
        (Box::new(LayerNorm::new(w.clone(), b.clone(), 1e-3)), true),
        (Box::new(LayerNorm::new_no_bias(w.clone(), 1e-2)), false),
        (Box::new(DyT::new(0.7, w.clone(), b.clone())), true),
        (Box::new(DyIsru::new(2.0, 3.0, w.clone(), b.clone())), true),
        (Box::new(Derf::new(0.7, 0.1, w.clone(), b.clone())), true),
    ];
    for (norm, (named, has_bias)) in norms.into_iter().zip(named) {
        let layer = Layer::new(norm).weight(w.clone());
        let layer = if has_bias { layer.bias(b.clone()) } else { layer };
        assert_eq!(f64s(&named.forward(&x)?)?, f64s(&layer.forward(&x)?)?, "{norm:?}");
    }
    Ok(())
}

#[test]
fn they_stand_in_for_those_of_candle_nn() -> Result<()> {
    let x = ramp(&[2, 9, 64], DType::F32)?;
    let (w, b) = (ramp(&[64], DType::F32)?, ramp(&[64], DType::F32)?);
    let pairs: [[Box<dyn Module>; 2]; 2] = [
        [
            Box::new(RmsNorm::new(w.clone(), 1e-5)),
            Box::new(candle_nn::RmsNorm::new(w.clone(), 1e-5)),
        ],
        [
            Box::new(LayerNorm::new(w.clone(), b.clone(), 1e-5)),
            Box::new(candle_nn::LayerNorm::new(w.clone(), b.clone(), 1e-5)),
        ],
    ];
    for [ours, theirs] in pairs {
        let apart = (ours.forward(&x)? - theirs.forward(&x)?)?.abs()?.max_all()?;
        assert!(apart.to_scalar::<f32>()? < 1e-5, "{apart}");
    }
    Ok(())
}

#[test]
fn no_rows_are_no_work() -> Result<()> {
    let x = Tensor::zeros((2, 0, 7), DType::F32, &Device::Cpu)?;
    let layer = Layer::new(Norm::RmsNorm { eps: 1e-5 }).weight(ramp(&[7], DType::F32)?);
    assert_eq!(layer.forward(&x)?.dims(), [2, 0, 7]);
    Ok(())
}

#[track_caller]
fn refused(layer: &Layer, x: &Tensor, why: &str) {
    let error = layer.forward(x).unwrap_err().to_string();
    assert!(error.contains(why), "{error:?} says nothing of {why:?}");
}

#[test]
fn what_is_refused_is_named() -> Result<()> {
    let x = ramp(&[2, 3, 8], DType::F32)?;
    let rms = Layer::new(Norm::RmsNorm { eps: 1e-5 });
    refused(&rms, &x.transpose(0, 1)?, "rms_norm: rows do not lie at even distances");
    refused(&rms, &x.t()?, "rms_norm: channels do not lie side by side");
    refused(&rms, &x.narrow(0, 0, 1)?.expand((2, 3, 8))?, "call contiguous() first");
    refused(&rms, &x.get(0)?.get(0)?.expand((4, 8))?, "row stride of 0 elements");
    refused(&rms, &Tensor::new(1_f32, &Device::Cpu)?, "rms_norm: a scalar has no channels");
    refused(&rms, &Tensor::zeros((2, 0), DType::F32, &Device::Cpu)?, "0 channels");
    refused(&rms, &x.to_dtype(DType::F64)?, "unsupported dtype F64 for op rms_norm");

    let weight = ramp(&[16], DType::F32)?;
    refused(&rms.clone().weight(weight.clone()), &x, "weight has 16 elements; its shape needs 8");
    refused(&rms.clone().bias(weight), &x, "bias has 16 elements; its shape needs 8");
    let column = ramp(&[8, 2], DType::F32)?.narrow(1, 0, 1)?;
    refused(&rms.clone().weight(column), &x, "rms_norm only supports contiguous tensors");
    let integers = Tensor::zeros(8, DType::U32, &Device::Cpu)?;
    refused(&rms.weight(integers), &x, "unsupported dtype U32 for op rms_norm");

    let layer = Layer::new(Norm::DyIsru { beta: 0.0, scale: 1.0 });
    refused(&layer, &x, "beta is 0; it must be finite and above 0");
    Ok(())
}

/// Compares with the definition, which is of sums of terms of about 1.
#[track_caller]
fn check_gradient(what: &str, given: Option<&Tensor>, wanted: &[f64], of: &Tensor) -> Result<()> {
    let given = given.unwrap_or_else(|| panic!("no gradient of {what}"));
    assert_eq!((given.dims(), given.dtype()), (of.dims(), of.dtype()), "{what}");
    let tolerance = if of.dtype() == DType::F32 { 2e-5 } else { 2e-2 };
    for (i, (given, wanted)) in f64s(given)?.into_iter().zip(wanted).enumerate() {
        let off = (given - wanted).abs();
        assert!(off <= tolerance * (1.0 + wanted.abs()), "{what} {i}: {given}, not {wanted}");
    }
    Ok(())
}

#[test]
fn gradients_of_all_inputs() -> Result<()> {
    for norm in Norm::DEFAULTS {
        for dtype in [DType::F32, DType::BF16] {
            let (rows, channels) = (6, 40);
            let x = Var::from_tensor(&ramp(&[2, 3, channels], dtype)?)?;
            let weight = Var::from_tensor(&ramp(&[channels], DType::F32)?)?;
            let bias = Var::from_tensor(&ramp(&[channels], dtype)?)?;
            // What the loss multiplies the results with is the gradient of them.
            let dy = ramp(&[rows * channels], dtype)?.affine(0.3, 0.2)?;
            let wanted = |weight: Option<&Tensor>| -> Result<_> {
                let weight = weight.map(f64s).transpose()?;
                let (x, dy) = (f64s(&x)?, f64s(&dy)?);
                Ok(reference::backward(norm, &x, &dy, weight.as_deref(), 0.5, channels))
            };
            let found = |layer: Layer| {
                let y = layer.weight_offset(0.5).forward(&x)?;
                (y.flatten_all()? * &dy)?.sum_all()?.backward()
            };

            let layer = Layer::new(norm).weight(weight.as_tensor().clone());
            let found_all = found(layer.bias(bias.as_tensor().clone()))?;
            let all = wanted(Some(&weight))?;
            check_gradient("x", found_all.get(&x), &all.dx, &x)?;
            check_gradient("weight", found_all.get(&weight), &all.d_weight, &weight)?;
            check_gradient("bias", found_all.get(&bias), &all.d_bias, &bias)?;

            let of_bias = found(Layer::new(norm).bias(bias.as_tensor().clone()))?;
            let plain = wanted(None)?;
            check_gradient("x", of_bias.get(&x), &plain.dx, &x)?;
            check_gradient("bias", of_bias.get(&bias), &plain.d_bias, &bias)?;
            check_gradient("x", found(Layer::new(norm))?.get(&x), &plain.dx, &x)?;
        }
    }
    Ok(())
}

/// Of rows that lie apart, and of a sum, whose gradient is one number for all elements.
#[test]
fn gradients_of_a_narrowed_tensor() -> Result<()> {
    let norm = Norm::DyT { alpha: 0.5 };
    let x = Var::from_tensor(&ramp(&[4, 24], DType::F32)?)?;
    let part = x.narrow(1, 8, 8)?;
    let found = Layer::new(norm).forward(&part)?.sum_all()?.backward()?;
    let inner = reference::backward(norm, &f64s(&part)?, &[1.0; 32], None, 0.0, 8).dx;
    let wanted: Vec<f64> = (0..96)
        .map(|i| if (8..16).contains(&(i % 24)) { inner[i / 24 * 8 + i % 24 - 8] } else { 0.0 })
        .collect();
    check_gradient("x", found.get(&x), &wanted, &x)
}

#[test]
fn the_readme_shows_the_program() {
    let program = include_str!("../examples/minimal.rs");
    let program = program.split_once("\n\n").map_or(program, |(_comment, program)| program);
    assert!(include_str!("../README.md").contains(program));
}
