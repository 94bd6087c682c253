//! `y = norm(x) silu(z)` against f64.

mod common;

use common::fused::{FusedCall, LENGTHS, Output, Residual, ScaleKind};
use common::tensor::Tensor;
use common::{isas, tolerance};
use dynorm::{ElementType, Norm, QuantizedType, Rows, RowsMut, reference};

use ElementType::{Bf16, F16, F32};

fn check(call: FusedCall, y_type: ElementType) {
    let numbers = call.numbers(call.channels as u64 + 3);
    // The function's own error is the business of other tests: f32 results are taken as they are.
    let f = call.plain(&numbers, F32);
    let written = call.run(&numbers);
    let y = Tensor::from_bits(y_type, &written.y);
    for i in 0..f.len() {
        let gate = reference::silu(numbers.z.value(i));
        let wanted = f.value(i) * gate;
        // What silu makes do with for results of 16 bits, and in what is left of it below -87.
        let (few_digits, rest) = match y_type {
            F32 => (0.0, 1e-43),
            F16 => (0.01, 1e-36),
            Bf16 => (0.017, 1e-36),
        };
        let of_silu = few_digits * tolerance::ulp(y_type, gate) + rest;
        // What the function makes do with for those in bfloat16, before the bias.
        let bias = numbers.bias.as_ref().map_or(0.0, |bias| bias.value(i % call.channels));
        let rough = call.norm.is_elementwise() && y_type == Bf16;
        let of_function = if rough { 1.5e-4 * (f.value(i) - bias).abs() } else { 0.0 };
        let error = 3.0 * tolerance::ulp(F32, wanted)
            + of_silu * f.value(i).abs()
            + of_function * gate.abs();
        let allowed = error + tolerance::of_store(y_type, wanted, error);
        assert!(
            tolerance::is_within(y.value(i), wanted, allowed),
            "element {i}: {:e} instead of {wanted:e} +- {allowed:e}, z = {:e}, {call:?}",
            y.value(i),
            numbers.z.value(i),
        );
    }
}

#[test]
fn every_length() {
    for norm in Norm::DEFAULTS {
        for isa in isas() {
            for channels in LENGTHS {
                let call = FusedCall {
                    gate: Some(F32),
                    weight: Some(F32),
                    gap: 2,
                    stream: (channels % 2 == 1).then_some(true),
                    ..FusedCall::new(norm, isa, 3, channels)
                };
                check(call, F32);
            }
        }
    }
}

/// Past the caches the gate may be applied while results are stored, and has the same bits.
#[test]
fn streamed_or_not() {
    let quantized = |element| Output::Quantized(element, ScaleKind::GivenPerRow);
    let outputs = ElementType::ALL.map(Output::Element).into_iter();
    let outputs = outputs.chain(QuantizedType::ALL.map(quantized));
    for (norm, isa) in
        Norm::DEFAULTS.into_iter().flat_map(|norm| isas().into_iter().map(move |isa| (norm, isa)))
    {
        for output in outputs.clone() {
            for z_type in ElementType::ALL {
                for channels in [64, 200, 5000] {
                    let call = FusedCall {
                        x_type: Bf16,
                        gate: Some(z_type),
                        output,
                        weight: Some(F32),
                        ..FusedCall::new(norm, isa, 3, channels)
                    };
                    let numbers = call.numbers(5);
                    let streamed = FusedCall { stream: Some(true), ..call }.run(&numbers);
                    assert!(streamed == call.run(&numbers), "{call:?}");
                }
            }
        }
    }
}

#[test]
fn every_type() {
    for norm in Norm::DEFAULTS {
        for isa in isas() {
            for z_type in ElementType::ALL {
                for y_type in ElementType::ALL {
                    let call = FusedCall {
                        x_type: Bf16,
                        gate: Some(z_type),
                        output: Output::Element(y_type),
                        residual: Some((Residual::InPlace, F16)),
                        bias: Some(Bf16),
                        ..FusedCall::new(norm, isa, 17, 200)
                    };
                    check(call, y_type);
                }
            }
        }
    }
}

/// The gate alone: DyT of infinity is 1.
#[test]
fn silu_of_special_values() {
    let z = [
        0.0,
        -0.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        -200.0,
        200.0,
        f32::MIN_POSITIVE,
        f32::MAX,
    ];
    for isa in isas() {
        let x = [f32::INFINITY; 9];
        let mut y = [0.0_f32; 9];
        Norm::DyT { alpha: 1.0 }
            .forward(Rows::new(&x, 1, 9).unwrap(), RowsMut::new(&mut y, 1, 9).unwrap())
            .gate(Rows::new(&z, 1, 9).unwrap())
            .isa(isa)
            .run()
            .unwrap();
        assert_eq!(y[..4], [0.0, 0.0, f32::INFINITY, 0.0], "{isa:?}");
        assert!(y[1].is_sign_negative() && y[3].is_sign_negative(), "{isa:?}");
        assert!(y[4].is_nan(), "{isa:?}");
        assert_eq!(y[5..], [0.0, 200.0, f32::MIN_POSITIVE / 2.0, f32::MAX], "{isa:?}");
    }
}
