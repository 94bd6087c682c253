//! Loads are exact and stores round once, to nearest even, keeping subnormals and NaN: for
//! every value of the types of 16 bits, around each of them, and against the crate `half`.
//!
//! RMSNorm of ones is exactly one, so that a weight goes through a call unchanged: it is loaded,
//! multiplied with 1, and stored.

mod common;

use common::call::{Call, Numbers};
use common::isas;
use common::random::{Random, stratified_f32};
use common::tensor::Tensor;
use dynorm::{ElementType, Isa, Norm, bf16, f16};

use ElementType::{Bf16, F16, F32};

/// `values` through a call, in rows of `channels`; a rest is left out.
fn through(isa: Isa, y_type: ElementType, values: &Tensor, stream: bool) -> Vec<u32> {
    let norm = Norm::RmsNorm { eps: 0.0 };
    let call = Call::new(norm, isa, 1, values.len()).types(F32, y_type);
    let call = Call { stream: Some(stream), ..call };
    let x = Tensor::new(F32, &vec![1.0; values.len()]);
    call.run(&Numbers { x, weight: Some(values.clone()), bias: None }).all_bits()
}

/// Compares bit by bit; of a NaN it is asked only that it stays a quiet one.
fn assert_same(y_type: ElementType, given: &[u32], wanted: &Tensor, context: &str) {
    assert_eq!(given.len(), wanted.len());
    let (infinity, quiet) = match y_type {
        F32 => (0x7f80_0000, 0x0040_0000),
        F16 => (0x7c00, 0x0200),
        Bf16 => (0x7f80, 0x0040),
    };
    for (i, &given) in given.iter().enumerate() {
        if wanted.value(i).is_nan() {
            let nan = given & (infinity | quiet) == infinity | quiet;
            assert!(nan, "element {i}: {given:#x} instead of a quiet NaN, {context}");
        } else {
            let wanted = wanted.bits(i);
            assert_eq!(given, wanted, "element {i}: {given:#x} instead of {wanted:#x}, {context}");
        }
    }
}

#[test]
fn every_16_bit_value_is_loaded_exactly() {
    for isa in isas() {
        for element in [F16, Bf16] {
            let all = Tensor::all_16_bit(element);
            let widened: Vec<f32> = all.values().into_iter().map(|v| v as f32).collect();
            let given = through(isa, F32, &all, false);
            assert_same(F32, &given, &Tensor::new(F32, &widened), isa.name());
        }
    }
}

#[test]
fn every_16_bit_value_is_stored_as_it_was_loaded() {
    for isa in isas() {
        for element in [F16, Bf16] {
            let all = Tensor::all_16_bit(element);
            assert_same(element, &through(isa, element, &all, true), &all, isa.name());
        }
    }
}

/// Every 16-bit value, the ties between them, and the f32 values next to both.
fn neighbourhoods(element: ElementType) -> Vec<f32> {
    let mut values = Vec::new();
    for bits in 0..=u16::MAX {
        let (value, next) = match element {
            F16 => (f16::from_bits(bits).to_f32(), f16::from_bits(bits.wrapping_add(1)).to_f32()),
            _ => (bf16::from_bits(bits).to_f32(), bf16::from_bits(bits.wrapping_add(1)).to_f32()),
        };
        // The tie is exact: both have at least two bits less than f32. Above the largest finite
        // value it lies where the next power of two would be the next value.
        let tie = match next.is_infinite() {
            true => value + (value - below(element, bits)) / 2.0,
            false => value / 2.0 + next / 2.0,
        };
        for centre in [value, tie] {
            let centre = centre.to_bits();
            values.extend(
                [centre.wrapping_sub(1), centre, centre.wrapping_add(1)].map(f32::from_bits),
            );
        }
    }
    values
}

fn below(element: ElementType, bits: u16) -> f32 {
    match element {
        F16 => f16::from_bits(bits - 1).to_f32(),
        _ => bf16::from_bits(bits - 1).to_f32(),
    }
}

/// Stores `values` as `element`, in blocks, streamed, and in parts of vectors.
fn assert_stored(element: ElementType, values: &[f32]) {
    for isa in isas() {
        let wanted = Tensor::new(element, values);
        for stream in [false, true] {
            let given = through(isa, element, &Tensor::new(F32, values), stream);
            assert_same(element, &given, &wanted, isa.name());
        }
        for channels in [1, 7, 15] {
            for part in values.chunks(channels) {
                let given = through_part(isa, element, part);
                assert_same(element, &given, &Tensor::new(element, part), isa.name());
            }
        }
    }
}

/// A row shorter than a vector, without the guards that would take most of the time.
fn through_part(isa: Isa, element: ElementType, values: &[f32]) -> Vec<u32> {
    let x = Tensor::new(F32, &vec![1.0; values.len()]);
    let mut y = Tensor::poison(element, values.len());
    Norm::RmsNorm { eps: 0.0 }
        .forward(x.rows(values.len()), y.rows_mut(values.len()))
        .weight(values)
        .isa(isa)
        .run()
        .unwrap();
    y.all_bits()
}

#[test]
fn stores_round_to_nearest_even_around_every_16_bit_value() {
    for element in [F16, Bf16] {
        assert_stored(element, &neighbourhoods(element));
    }
}

#[test]
fn stores_round_to_nearest_even_over_all_exponents_in_any_mixture() {
    let mut values = stratified_f32(40);
    let mut random = Random(23);
    for i in (1..values.len()).rev() {
        values.swap(i, random.below(i + 1));
    }
    for element in ElementType::ALL {
        assert_stored(element, &values);
    }
}

#[test]
fn a_16_bit_output_is_the_f32_output_rounded_once_unless_less_will_do() {
    // Element-wise functions make do with less for 16 bits, but for DyISRU where no root is estimated;
    // `accuracy` has the bounds.
    let exact = |norm: Norm, isa| match norm {
        // On aarch64 the baseline has an estimate of the root, too.
        Norm::DyIsru { .. } => isa == Isa::Portable && cfg!(not(target_arch = "aarch64")),
        _ => !norm.is_elementwise(),
    };
    for norm in Norm::DEFAULTS {
        for isa in isas().into_iter().filter(|&isa| exact(norm, isa)) {
            for x_type in ElementType::ALL {
                let values = stratified_f32(40);
                for row in [values.as_slice(), &Random(29).normals(1003, 0.0, 2.0)] {
                    let wide = Call::new(norm, isa, 1, row.len()).types(x_type, F32);
                    let affine = wide.clone().affine(Some(F32), Some(F32));
                    for wide in [wide, affine] {
                        let x = Tensor::new(x_type, row);
                        let numbers = Numbers { x, ..wide.numbers(31) };
                        let Tensor::F32(exact) = wide.run(&numbers) else {
                            unreachable!("asked for f32")
                        };
                        for y_type in [F16, Bf16] {
                            let call = wide.clone().types(x_type, y_type);
                            let given = call.run(&numbers).all_bits();
                            assert_same(
                                y_type,
                                &given,
                                &Tensor::new(y_type, &exact),
                                &format!("{call:?}"),
                            );
                        }
                    }
                }
            }
        }
    }
}
