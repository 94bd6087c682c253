//! Outputs of 8 bits: the f32 results of the plain call over the scale, rounded once, or of the element-wise functions
//! results that are as exact as 8 bits need.

mod common;

use common::fused::{FusedCall, LENGTHS, Numbers, Output, Residual, ScaleKind};
use common::isas;
use common::random::stratified_f32;
use dynorm::{
    ElementType, F8E4M3, Isa, Norm, QuantizedRowsMut, QuantizedType, Rows, RowsMut, Scale,
    reference,
};

use ElementType::{Bf16, F16, F32};

/// The pattern that `value` becomes, by the definition.
fn quantized(value: f32, element: QuantizedType, scale: f32) -> u8 {
    // What is defined is a product with the reciprocal, both rounded.
    let value = value * (1.0 / scale);
    let wanted = reference::quantized(value.into(), element);
    match element {
        QuantizedType::I8 => wanted as i8 as u8,
        // Every number has one pattern, but for the sign of 0 and NaN.
        QuantizedType::F8E4M3 => (0..=255)
            .find(|&bits| {
                let given = f64::from(F8E4M3::from_bits(bits).to_f32());
                let same_sign = (bits & 0x80 != 0) == value.is_sign_negative();
                same_sign && (given == wanted || given.is_nan() && wanted.is_nan())
            })
            .expect("the reference gives a value of the type"),
    }
}

/// Results in f32 that a call rounds, and how far each may be off before that: see `Norm::forward_quantized`.
fn values(call: &FusedCall, numbers: &Numbers) -> Vec<[f32; 2]> {
    let of_function = if call.norm.is_elementwise() { 1.5e-4 } else { 0.0 };
    // An error however small may make the sum with a bias round the other way.
    let of_sum = if call.norm.is_elementwise() && call.bias.is_some() { f32::EPSILON } else { 0.0 };
    let (of_gate, of_product) = if call.gate.is_some() { (7e-5, 2e-7) } else { (0.0, 0.0) };
    let f = call.plain(numbers, F32);
    let value = |i: usize| {
        let bias = numbers.bias.as_ref().map_or(0.0, |bias| bias.value(i % call.channels));
        let gate = call.gate.map_or(1.0, |_| reference::silu(numbers.z.value(i)));
        let value = f.value(i) * gate;
        let slack = of_function * (f.value(i) - bias) * gate;
        [value, slack.abs() + (of_gate + of_product + f64::from(of_sum)) * value.abs()]
            .map(|v| v as f32)
    };
    (0..f.len()).map(value).collect()
}

/// The place of a pattern among all of its type; -0 is below 0, NaN beyond all of its sign.
fn order(bits: u8, element: QuantizedType) -> i16 {
    match element {
        QuantizedType::I8 => (bits as i8).into(),
        QuantizedType::F8E4M3 if bits & 0x80 != 0 => -1 - i16::from(bits & 0x7f),
        QuantizedType::F8E4M3 => bits.into(),
    }
}

fn check(call: FusedCall) {
    let numbers = call.numbers(call.channels as u64 + 1);
    let Output::Quantized(element, kind) = call.output else { panic!("{call:?}") };
    let values = values(&call, &numbers);
    let written = call.run(&numbers);
    assert_eq!(written.y.len(), values.len());
    if call.residual.is_some() {
        assert_eq!(written.sum, call.sum(&numbers).all_bits(), "{call:?}");
    }
    // RMSNorm's largest result is made otherwise than the results, of as many factors.
    let by_product = matches!(call.norm, Norm::RmsNorm { .. }) && call.bias.is_none();
    let by_product = by_product && call.gate.is_none() && kind == ScaleKind::Computed;
    let of_scale = if by_product { (-22_f32).exp2() } else { 0.0 };
    // Without slack least and most are the same, everywhere.
    let size = call.group_size();
    let groups_of = |row: usize| {
        let row = row * call.channels..(row + 1) * call.channels;
        values[row.clone()].chunks(size).zip(written.y[row].chunks(size))
    };
    let groups = (0..call.rows).flat_map(|row| groups_of(row).map(move |group| (row, group)));
    for (group, (row, (values, given))) in groups.enumerate() {
        let scale = match kind {
            ScaleKind::Given => numbers.scales[0],
            ScaleKind::GivenPerRow => numbers.scales[row],
            ScaleKind::Computed | ScaleKind::ComputedPerGroup(_) => {
                let scale = f32::from_bits(written.scales[group]);
                let [least, most] = [-1.0, 1.0].map(|sign| {
                    let largest =
                        values.iter().fold(0.0, |a: f32, v| a.max(v[0].abs() + sign * v[1]));
                    let largest = largest * (1.0 + sign * of_scale);
                    (largest.min(f32::MAX) / element.largest()).max(f32::MIN_POSITIVE)
                });
                assert!(
                    (least..=most).contains(&scale),
                    "{call:?}: {scale}, not {least} to {most}"
                );
                scale
            }
        };
        for (channel, (&[value, slack], &given)) in values.iter().zip(given).enumerate() {
            let given = order(given as u8, element);
            let [least, most] = [value - slack, value + slack]
                .map(|value| order(quantized(value, element, scale), element));
            assert!(
                (least..=most).contains(&given),
                "{call:?}: {group}, {channel}: {given} and not {least} to {most}"
            );
        }
    }
}

const KINDS: [ScaleKind; 4] = [
    ScaleKind::Given,
    ScaleKind::GivenPerRow,
    ScaleKind::Computed,
    ScaleKind::ComputedPerGroup(32),
];

#[test]
fn every_length_and_scale() {
    for norm in Norm::DEFAULTS {
        for isa in isas() {
            for element in QuantizedType::ALL {
                for kind in KINDS {
                    for channels in LENGTHS {
                        check(FusedCall {
                            output: Output::Quantized(element, kind),
                            weight: Some(F32),
                            gap: 3,
                            stream: (channels % 2 == 0).then_some(true),
                            ..FusedCall::new(norm, isa, 3, channels)
                        });
                    }
                }
            }
        }
    }
}

/// Groups shorter and longer than vectors, blocks, rows and pieces of rows, and such as divide none of them.
#[test]
fn every_size_of_a_group() {
    for norm in Norm::DEFAULTS {
        for isa in isas() {
            for (i, size) in
                [1, 7, 8, 16, 24, 32, 48, 64, 128, 300, 4095, 4096].into_iter().enumerate()
            {
                for (j, channels) in [1, 64, 65, 520, 4100, 9001].into_iter().enumerate() {
                    let element = QuantizedType::ALL[(i + j) % 2];
                    check(FusedCall {
                        output: Output::Quantized(element, ScaleKind::ComputedPerGroup(size)),
                        bias: (j % 3 == 0).then_some(F32),
                        stream: (i % 3 == 0).then_some(true),
                        ..FusedCall::new(norm, isa, 2, channels)
                    });
                }
            }
        }
    }
}

/// Calls of every function, instruction set, type of x, and form and scale of the output.
fn every_type(rows: usize, channels: usize) -> impl Iterator<Item = FusedCall> {
    let outputs = || QuantizedType::ALL.into_iter().flat_map(|e| KINDS.map(|k| (e, k)));
    Norm::DEFAULTS.into_iter().flat_map(isas_of).flat_map(move |(norm, isa)| {
        ElementType::ALL.into_iter().flat_map(move |x_type| {
            outputs().map(move |(element, kind)| FusedCall {
                x_type,
                output: Output::Quantized(element, kind),
                ..FusedCall::new(norm, isa, rows, channels)
            })
        })
    })
}

fn isas_of(norm: Norm) -> impl Iterator<Item = (Norm, Isa)> {
    isas().into_iter().map(move |isa| (norm, isa))
}

#[test]
fn every_type_with_weight_bias_and_residual() {
    for call in every_type(20, 131) {
        let call = FusedCall { weight: Some(Bf16), bias: Some(F16), ..call };
        check(call);
        check(FusedCall { residual: Some((Residual::Into, call.x_type)), ..call });
        check(FusedCall { gate: Some(call.x_type), ..call });
        check(FusedCall { residual: Some((Residual::InPlace, F32)), gap: 1, ..call });
    }
}

/// Streamed rows without gaps share blocks, which take the scales of both rows.
#[test]
fn streamed_rows_of_different_scales() {
    for norm in Norm::DEFAULTS {
        for isa in isas() {
            for element in QuantizedType::ALL {
                for kind in KINDS {
                    for channels in [63, 64, 65, 127, 200, 577] {
                        check(FusedCall {
                            output: Output::Quantized(element, kind),
                            weight: Some(F32),
                            stream: Some(true),
                            ..FusedCall::new(norm, isa, 7, channels)
                        });
                    }
                }
            }
        }
    }
}

/// Over a residual of the input's type streamed rows are quantised while the sums of the next ones are made.
#[test]
fn streamed_rows_over_a_residual() {
    for call in [5, 64, 200, 577].into_iter().flat_map(|channels| every_type(9, channels)) {
        for kind in [Residual::InPlace, Residual::Into] {
            let residual = Some((kind, call.x_type));
            check(FusedCall { weight: Some(F32), residual, stream: Some(true), ..call });
        }
    }
}

/// A call that only rounds: of a norm that is made to give its input back.
fn rounded<T: dynorm::Quantized + Default>(isa: dynorm::Isa, values: &[f32]) -> Vec<T> {
    // erf(2^-140 x + 0) is so small that the bias is all that is left.
    let zeros = vec![0.0_f32; values.len()];
    let mut y = vec![T::default(); values.len()];
    Norm::DyT { alpha: 1.0 }
        .forward_quantized(
            Rows::new(&zeros, 1, values.len()).unwrap(),
            QuantizedRowsMut::new(&mut y, 1, values.len()).unwrap(),
            Scale::Given(1.0),
        )
        .bias(values)
        .isa(isa)
        .run()
        .unwrap();
    y
}

/// Every f32 of many strata, NaN and infinities among them, and every value half way between two of
/// the type's, with its neighbours.
#[test]
fn rounding() {
    let mut values = stratified_f32(40);
    let all: Vec<f32> = (0..=255).map(|bits| F8E4M3::from_bits(bits).to_f32()).collect();
    for (i, &a) in all.iter().enumerate() {
        for &b in &all[..i] {
            if (a - b).abs() <= 64.0 {
                let middle = (a + b) / 2.0;
                values.extend([middle, middle.next_up(), middle.next_down()]);
            }
        }
    }
    for i in -260..=260 {
        let half = i as f32 / 2.0;
        values.extend([half, half.next_up(), half.next_down()]);
    }
    // A sum with 0 loses the sign of -0.
    values.retain(|v| v.to_bits() != 1 << 31);
    for isa in isas() {
        for (&v, q) in values.iter().zip(rounded::<i8>(isa, &values)) {
            assert_eq!(q as u8, quantized(v, QuantizedType::I8, 1.0), "{isa:?} {v:e}");
        }
        for (&v, q) in values.iter().zip(rounded::<F8E4M3>(isa, &values)) {
            let (given, sign) = (q.to_bits(), v.is_nan() as u8 * 0x80);
            let wanted = quantized(v, QuantizedType::F8E4M3, 1.0);
            assert_eq!(given | sign, wanted | sign, "{isa:?} {v:e}");
            assert_eq!(F8E4M3::from_f32(v).to_bits() | sign, wanted | sign, "{v:e}");
        }
    }
}

/// Rows of zeros, of subnormal numbers and with infinities have a scale that can be divided by.
#[test]
fn extreme_rows() {
    let rows: [[f32; 4]; 5] = [
        [0.0; 4],
        [1e-44, 0.0, -1e-44, 0.0],
        [f32::INFINITY, 1.0, f32::NEG_INFINITY, -1.0],
        [f32::NAN, 3.0, -1.0, 0.0],
        [f32::MAX, -f32::MAX, 1.0, 0.0],
    ];
    // Short ones, and ones of whole blocks of vectors.
    let mut rows: Vec<_> = rows.iter().flat_map(|row| [row.to_vec(), row.repeat(80)]).collect();
    // A NaN in the lane of the largest, some blocks behind it.
    let mut row = vec![1.0; 320];
    (row[5], row[5 + 64]) = (9.0, f32::NAN);
    rows.push(row);
    // Of 0, both functions make 0, one of them by way of f32.
    let norms = [Norm::DyT { alpha: 1.0 }, Norm::RmsNorm { eps: 1.0 }];
    let cases = rows.iter().flat_map(|row| norms.map(|norm| (row, norm)));
    for (row, norm) in cases {
        for isa in isas() {
            let n = row.len();
            let mut y = vec![55_i8; n];
            let mut scales = [f32::NAN];
            // Only the bias is left, and infinity comes through it.
            norm.forward_quantized(
                Rows::new(&vec![0.0_f32; n], 1, n).unwrap(),
                QuantizedRowsMut::new(&mut y, 1, n).unwrap(),
                Scale::Computed(&mut scales),
            )
            .bias(row)
            .isa(isa)
            .run()
            .unwrap();
            let scale = scales[0];
            let largest = row.iter().fold(0.0_f32, |a, v| a.max(v.abs())).min(f32::MAX);
            assert_eq!(scale, QuantizedType::I8.scale_for(largest), "{row:?} {isa:?}");
            for (q, &v) in y.iter().zip(row) {
                assert_eq!(*q as u8, quantized(v, QuantizedType::I8, scale), "{row:?} {isa:?}");
            }

            // The same of groups, shorter than a vector and longer.
            for group_size in [4, 8, 16, 32, 128] {
                let mut scales = vec![f32::NAN; n.div_ceil(group_size)];
                norm.forward_quantized(
                    Rows::new(&vec![0.0_f32; n], 1, n).unwrap(),
                    QuantizedRowsMut::new(&mut y, 1, n).unwrap(),
                    Scale::ComputedPerGroup { scales: &mut scales, group_size },
                )
                .bias(row)
                .isa(isa)
                .run()
                .unwrap();
                for ((group, y), scale) in
                    row.chunks(group_size).zip(y.chunks(group_size)).zip(scales)
                {
                    let largest = group.iter().fold(0.0_f32, |a, v| a.max(v.abs())).min(f32::MAX);
                    assert_eq!(scale, QuantizedType::I8.scale_for(largest), "{group:?} {isa:?}");
                    for (q, &v) in y.iter().zip(group) {
                        let wanted = quantized(v, QuantizedType::I8, scale);
                        assert_eq!(*q as u8, wanted, "{group:?} {isa:?}");
                    }
                }
            }
        }
    }
}

/// RMSNorm finds the largest product with the weight, before the row's factor is known, unless those overflow or
/// lose digits where results do not.
#[test]
fn products_out_of_range() {
    let norm = Norm::RmsNorm { eps: 0.0 };
    let rows = [(1e18, 1e25), (1e-30, 1e-12), (1e-36, 1e-36), (1.0, f32::INFINITY), (0.0, 1.0)];
    for ((of_x, of_weight), isa) in
        rows.into_iter().flat_map(|row| isas().into_iter().map(move |isa| (row, isa)))
    {
        for n in [3, 64, 200] {
            let x: Vec<f32> = (0..n).map(|i| of_x * ((i % 7) as f32 - 3.5)).collect();
            let mut weight = vec![of_weight; n];
            weight[0] = f32::NAN;
            let (mut y, mut q) = (vec![f32::NAN; n], vec![F8E4M3::from_f32(55.0); n]);
            let mut scales = [f32::NAN];
            let x = Rows::new(&x, 1, n).unwrap();
            let plain = norm.forward(x, RowsMut::new(&mut y, 1, n).unwrap());
            plain.weight(&weight).isa(isa).run().unwrap();
            let rows = QuantizedRowsMut::new(&mut q, 1, n).unwrap();
            let call = norm.forward_quantized(x, rows, Scale::Computed(&mut scales));
            call.weight(&weight).isa(isa).run().unwrap();
            let largest = y.iter().fold(0.0_f32, |a, v| a.max(v.abs())).min(f32::MAX);
            let scale = QuantizedType::F8E4M3.scale_for(largest);
            assert_eq!(scales[0], scale, "{isa:?} {n} {of_x:e} {of_weight:e}");
        }
    }
}

/// The scales do not depend on the order in which rows are read, written and their sums with a residual made.
#[test]
fn the_same_scale_in_any_batch() {
    for call in [70, 1024, 4100].into_iter().flat_map(|channels| every_type(9, channels)) {
        let Output::Quantized(_, ScaleKind::Computed | ScaleKind::ComputedPerGroup(_)) =
            call.output
        else {
            continue;
        };
        for weight in [None, Some(F32), Some(call.x_type)] {
            let residual = Some((Residual::InPlace, call.x_type));
            for (residual, stream) in [(None, None), (residual, None), (residual, Some(true))] {
                let call = FusedCall { weight, residual, stream, ..call };
                let numbers = call.numbers(3);
                let scales = call.run(&numbers).scales;
                let one = FusedCall { rows: 1, gap: 1, stream: None, ..call };
                for (row, scales) in scales.chunks_exact(call.groups()).enumerate() {
                    let alone = one.run(&numbers.of_row(row, call.channels));
                    assert_eq!(alone.scales, scales, "{call:?}");
                }
            }
        }
    }
}

/// Of a row far from 0, LayerNorm of 0, as which what lies behind the row is read, is larger than all results.
#[test]
fn what_lies_behind_a_row_does_not_count() {
    let norm = Norm::LayerNorm { eps: 1e-5 };
    for isa in isas() {
        for n in 2..=70 {
            let x: Vec<f32> = (0..n).map(|i| 1000.0 + (i * i % 7) as f32).collect();
            let (mut y, mut q) = (vec![f32::NAN; n], vec![55_i8; n]);
            let mut scales = [f32::NAN];
            let x = Rows::new(&x, 1, n).unwrap();
            norm.forward(x, RowsMut::new(&mut y, 1, n).unwrap()).isa(isa).run().unwrap();
            let rows = QuantizedRowsMut::new(&mut q, 1, n).unwrap();
            let call = norm.forward_quantized(x, rows, Scale::Computed(&mut scales));
            call.isa(isa).run().unwrap();
            let largest = y.iter().fold(0.0_f32, |a, v| a.max(v.abs()));
            assert_eq!(scales[0], QuantizedType::I8.scale_for(largest), "{isa:?} {n}");
        }
    }
}

/// The static scale: nothing that any input gives is out of range by more than rounding.
#[test]
fn no_result_exceeds_the_bound() {
    let weight: Vec<f32> = [1.0, -2.5, 0.0, 1e-30, 3.25, 0.7].into();
    let bias: Vec<f32> = [0.5, -1.0, 2.0, 0.0, -0.125, 1e-8].into();
    let x: Vec<f32> = stratified_f32(20).into_iter().filter(|x| !x.is_nan()).collect();
    let x = &x[..x.len() / 6 * 6];
    assert!(x.contains(&f32::MAX));
    let more = [Norm::DyIsru { beta: 0.01, scale: -27.0 }, Norm::Derf { alpha: -9.0, shift: 2.0 }];
    for norm in Norm::DEFAULTS.into_iter().chain(more) {
        if !norm.is_elementwise() {
            continue;
        }
        let none = None::<&[f32]>;
        for (w, b) in
            [(none, none), (Some(&weight[..]), none), (Some(&weight[..]), Some(&bias[..]))]
        {
            let bound = norm.output_bound(w, 0.75, b).unwrap();
            let slack = bound * (1.0 + 2.0 * f32::EPSILON);
            for isa in isas() {
                let mut y = vec![f32::NAN; x.len()];
                let (rows, channels) = (x.len() / 6, 6);
                let into = RowsMut::new(&mut y, rows, channels).unwrap();
                let mut call = norm
                    .forward(Rows::new(x, rows, channels).unwrap(), into)
                    .weight_offset(0.75)
                    .isa(isa);
                if let Some(w) = w {
                    call = call.weight(w);
                }
                if let Some(b) = b {
                    call = call.bias(b);
                }
                call.run().unwrap();
                let largest = y.iter().fold(0.0_f32, |a, v| a.max(v.abs()));
                assert!(y.iter().all(|v| v.is_finite()), "{norm:?}");
                assert!(largest <= slack, "{norm:?}: {largest} above {bound}");
                // And it is not far off, where one channel decides.
                assert!(largest >= 0.999 * bound, "{norm:?}: {largest} far below {bound}");
            }
        }
    }
}
