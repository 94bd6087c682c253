//! What the results of fused calls have to be.

use super::{Access, Call, Case, Kind, Machine, Output, Scaling, Shape, Written};
use crate::cuda_common::buffer::Buffer;
use crate::cuda_common::case::{Numbers, half_ulp};
use dynorm::cuda::{Forward, Statistics};
use dynorm::{ElementType, Norm, QuantizedType, RowStatistics, reference};

const TYPES: [ElementType; 3] = ElementType::ALL;
const F32: ElementType = ElementType::F32;

/// The input of every case.
fn input(row: usize, channel: usize) -> f64 {
    1.5 * Numbers::new((row as u64) << 24 | channel as u64).normal() + 0.25
}

/// The relative error of functions and of the gate where the output is not of f32.
const SHORT: f64 = 1.0 / (1 << 15) as f64;

/// Checks a call against the same in steps: the sum, bit for bit; the function over the sum, by a call
/// with nothing fused; the gate against f64; rounding and quantising. The last bit for bit where the
/// f32 result is what is rounded, else within [`SHORT`].
pub fn check(machine: &mut dyn Machine, case: &Case) {
    check_over(machine, case, &input);
}

/// Checks that a computed scale is of the row alone, where what a 0 beside it gives is far larger than
/// anything in it; and that of infinite results it is finite.
pub fn check_computed_scales(machine: &mut dyn Machine) {
    let far = |row: usize, channel: usize| 100.0 + ((row + 3 * channel) % 7) as f64 / 8.0;
    for norm in [Norm::LayerNorm { eps: 1e-5 }, Norm::Derf { alpha: -0.01, shift: 1.0 }] {
        for (channels, skew) in [(5, 0), (5, 1), (45, 1), (513, 0), (513, 1)] {
            let shape = Shape { tokens: 3, heads: 1, channels, skew };
            let output = Output::Quantized(QuantizedType::I8, Scaling::Computed);
            check_over(machine, &Case { output, ..Case::new(norm, F32, shape) }, &far);
        }
    }
    for element in QuantizedType::ALL {
        let shape = Shape { tokens: 3, heads: 1, channels: 100, skew: 0 };
        let huge = Case {
            output: Output::Quantized(element, Scaling::Computed),
            weight: Some(F32),
            ..Case::new(Norm::DyIsru { beta: 1.0, scale: 3e38 }, F32, shape)
        };
        check_over(machine, &huge, &far);
    }
}

/// [`check`] over other values.
fn check_over(machine: &mut dyn Machine, case: &Case, input: &dyn Fn(usize, usize) -> f64) {
    let Written { y, sum, scales } = case.run(machine, input);
    let channels = case.shape.channels;
    let source = case.residual.map_or(case.x, |(element, _)| element);
    let x_kind = Kind::from(case.x);
    let source_value = |i: usize| {
        let x = x_kind.value(x_kind.round(input(i / channels, i % channels)));
        let Some((element, _)) = case.residual else { return x };
        let residual = Kind::from(element);
        let residual = residual.value(residual.round(Case::value(4, i)));
        // In f32, then in the residual's type.
        let sum = x as f32 + residual as f32;
        Kind::from(element).value(Kind::from(element).round(sum.into()))
    };
    let source_at = |row, channel| source_value(row * channels + channel);
    for (i, &bits) in sum.iter().flatten().enumerate() {
        let wanted = Kind::from(source).round(source_value(i));
        assert_eq!(bits, wanted, "{case:?}: sum of row {}, {}", i / channels, i % channels);
    }

    let operands = Case {
        weight: case.weight,
        bias: case.bias,
        weight_offset: case.weight_offset,
        fast_tanh: case.fast_tanh,
        ..Case::new(case.norm, source, case.shape.dense())
    };
    let plain = operands.run(machine, &source_at);
    let gated = Case { gate: case.gate, ..operands }.run(machine, &source_at);
    let value = |bits: u32| f64::from(f32::from_bits(bits));
    for (i, (&plain, &gated)) in plain.y.iter().zip(&gated.y).enumerate() {
        let Some(element) = case.gate else {
            assert_eq!(plain, gated, "{case:?}: {i}");
            continue;
        };
        let z = Kind::from(element).value(Kind::from(element).round(Case::value(6, i)));
        let wanted = value(plain) * reference::silu(z);
        // silu, and the product's rounding.
        let allowed = 4.0 * 2.0_f64.powi(-23) * wanted.abs() + half_ulp(F32, 0.0);
        let given = value(gated);
        assert!((given - wanted).abs() <= allowed, "{case:?}: {i}: {given}, not {wanted}");
    }

    let (elementwise, gated_by) = (case.norm.is_elementwise(), case.gate);
    let short = case.output != Output::Element(F32) && (elementwise || gated_by.is_some());
    if let (true, Output::Element(_), None) = (short, case.output, gated_by) {
        let same = Case { output: case.output, ..operands }.run(machine, &source_at);
        assert_eq!(y, same.y, "{case:?}");
        return;
    }
    // What the function, of its share in the result, and the gate may err.
    let errors: Option<Vec<_>> = short.then(|| {
        let share = Case { bias: None, gate: gated_by, ..operands }.run(machine, &source_at);
        let of_function = |i: usize| if elementwise { value(share.y[i]).abs() } else { 0.0 };
        let of_gate = |i: usize| if gated_by.is_some() { value(gated.y[i]).abs() } else { 0.0 };
        (0..y.len()).map(|i| SHORT * (of_function(i) + of_gate(i))).collect()
    });
    let factors = factors(case, &gated.y, errors.as_deref(), &scales);
    let kind = case.output.kind();
    for (i, (&given, &gated)) in y.iter().zip(&gated.y).enumerate() {
        let factor = factors.as_ref().map_or(1.0, |of| of[i / channels]);
        let result = f32::from_bits(gated) * factor;
        let error = errors.as_ref().map_or(0.0, |of| of[i] * f64::from(factor));
        // Rounding is monotonous.
        let bound = |error: f64| kind.value(kind.round(f64::from(result) + error));
        let same = given == kind.round(result.into());
        let near = || (bound(-error)..=bound(error)).contains(&kind.value(given));
        assert!(
            same || (error.is_finite() && error > 0.0 && near()),
            "{case:?}: row {}, {}: of {result}",
            i / channels,
            i % channels
        );
    }
}

/// What each row is multiplied with before it is quantised; checks scales that were computed from
/// results that may have these errors.
fn factors(
    case: &Case,
    results: &[u32],
    errors: Option<&[f64]>,
    scales: &[f32],
) -> Option<Vec<f32>> {
    let Output::Quantized(element, scaling) = case.output else { return None };
    let channels = case.shape.channels;
    let rows = results.chunks(channels).enumerate();
    let scale = |(row, results): (usize, &[u32])| {
        if scaling != Scaling::Computed {
            return scaling.scale(row);
        }
        let scale_of = |sign: f64| {
            let magnitudes = results.iter().enumerate().map(|(i, &bits)| {
                let error = errors.map_or(0.0, |errors| sign * errors[row * channels + i]);
                (f64::from(f32::from_bits(bits)).abs() + error) as f32
            });
            element.scale_for(magnitudes.fold(0.0, f32::max).min(f32::MAX))
        };
        let (least, most) = (scale_of(-1.0), scale_of(1.0));
        assert!((least..=most).contains(&scales[row]), "{case:?}: the scale of row {row}");
        scales[row]
    };
    Some(rows.map(|row| 1.0 / scale(row)).collect())
}

/// Case number `i` of `norm`, of rows of so many channels: everything fused in one or another way.
pub fn sample(norm: Norm, i: usize, channels: usize) -> Case {
    let mut numbers = Numbers::new(i as u64 + 1000 * channels as u64);
    let element = |numbers: &mut Numbers| TYPES[numbers.below(3)];
    let maybe = |numbers: &mut Numbers| {
        let element = element(numbers);
        (numbers.below(3) > 0).then_some(element)
    };
    let x = element(&mut numbers);
    let scaling = [Scaling::Given, Scaling::GivenAt, Scaling::GivenPerRow, Scaling::Computed];
    let output = match numbers.below(3) {
        0 => Output::Element(element(&mut numbers)),
        _ => Output::Quantized(QuantizedType::ALL[numbers.below(2)], scaling[numbers.below(4)]),
    };
    let in_place = matches!(output, Output::Element(y) if y == x) && numbers.below(2) == 0;
    let small = channels < 1000;
    let shape = Shape {
        tokens: if small { 1 + numbers.below(20) } else { 1 + numbers.below(2) },
        heads: 1 + numbers.below(3),
        channels,
        skew: [0, 8, 1, 2, 3][numbers.below(5)],
    };
    Case {
        output,
        weight: maybe(&mut numbers),
        bias: maybe(&mut numbers),
        weight_offset: numbers.below(2) as f32,
        residual: maybe(&mut numbers).map(|element| (element, numbers.below(2) == 0)),
        gate: maybe(&mut numbers),
        in_place,
        fast_tanh: numbers.below(3) == 0,
        ..Case::new(norm, x, shape)
    }
}

/// The statistics of `rows` rows whose elements `value` gives.
fn statistics_of(
    machine: &mut dyn Machine,
    norm: Norm,
    element: ElementType,
    shape: Shape,
    value: &dyn Fn(usize, usize) -> f64,
) -> Vec<RowStatistics> {
    let mut x = super::Tensor::new(element, shape, 0, value);
    let mut found = Buffer::new(F32, 4 * shape.row_count(), 1);
    let mut lent = [(&mut x.buffer, Access::Read), (&mut found, Access::Written)];
    machine.run(&mut lent, &|at| {
        Call::Statistics(Statistics::new(norm, shape.rows(at[0], element, 0), at[1]))
    });
    assert!(found.guards_are_whole() && x.surroundings_are_whole());
    let number = |i: usize| f32::from_bits(found.bits(i));
    let row = |row: usize| RowStatistics {
        count: number(4 * row),
        mean: number(4 * row + 1),
        mean_low: number(4 * row + 2),
        m2: number(4 * row + 3),
    };
    (0..shape.row_count()).map(row).collect()
}

/// `norm` over rows of `element` of which `statistics` are known, to f32.
fn forward_with(
    machine: &mut dyn Machine,
    norm: Norm,
    element: ElementType,
    shape: Shape,
    value: &dyn Fn(usize, usize) -> f64,
    statistics: &[RowStatistics],
) -> Vec<f64> {
    let mut x = super::Tensor::new(element, shape, 0, value);
    let mut y = super::Tensor::empty(F32.into(), shape, 1);
    let mut known = Buffer::new(F32, 4 * statistics.len(), 2);
    for (row, of) in statistics.iter().enumerate() {
        for (i, number) in [of.count, of.mean, of.mean_low, of.m2].into_iter().enumerate() {
            known.set(4 * row + i, number.into());
        }
    }
    let mut lent = [
        (&mut x.buffer, Access::Read),
        (&mut y.buffer, Access::Written),
        (&mut known, Access::Read),
    ];
    machine.run(&mut lent, &|at| {
        let (x, y) = (shape.rows(at[0], element, 0), shape.rows(at[1], F32, 1));
        Call::Forward(Forward::new(norm, x, y).statistics(at[2]))
    });
    assert!(y.surroundings_are_whole());
    y.bits().iter().map(|&bits| f32::from_bits(bits).into()).collect()
}

/// Checks what is found of rows, near 0 and far from it, against f64.
pub fn check_statistics(machine: &mut dyn Machine, norm: Norm, element: ElementType, shape: Shape) {
    for distance in [0.0, 300.0] {
        check_statistics_of(machine, norm, element, shape, &|row, c| input(row, c) + distance);
    }
}

fn check_statistics_of(
    machine: &mut dyn Machine,
    norm: Norm,
    element: ElementType,
    shape: Shape,
    value: &dyn Fn(usize, usize) -> f64,
) {
    let kind = Kind::from(element);
    let found = statistics_of(machine, norm, element, shape, value);
    for (row, found) in found.into_iter().enumerate() {
        let n = shape.channels as f64;
        let x: Vec<f64> =
            (0..shape.channels).map(|c| kind.value(kind.round(value(row, c)))).collect();
        let mean = if let Norm::RmsNorm { .. } = norm { 0.0 } else { x.iter().sum::<f64>() / n };
        let m2: f64 = x.iter().map(|x| (x - mean).powi(2)).sum();
        let given = f64::from(found.mean) + f64::from(found.mean_low);
        // Of sums in f32; the mean's error counts in standard deviations.
        let (mean_error, m2_error) = ((given - mean).abs(), (f64::from(found.m2) - m2).abs());
        let near = 2.0_f64.powi(-21);
        assert_eq!(found.count, shape.channels as f32);
        assert!(mean_error <= near * (m2 / n).sqrt(), "{norm:?} {shape:?}: {given}, not {mean}");
        assert!(m2_error <= near * m2, "{norm:?} {shape:?}: {found:?}, not {m2}");
        let rounded = f64::from(found.mean_low).abs() <= half_ulp(F32, f64::from(found.mean).abs());
        assert!(rounded, "{norm:?} {shape:?}: {found:?}");
    }
}

/// Splits rows into `shards` shards, brings their statistics together, and compares the shards' results
/// with those of whole rows.
pub fn check_shards(
    machine: &mut dyn Machine,
    norm: Norm,
    element: ElementType,
    shape: Shape,
    shards: usize,
) {
    let part = Shape { channels: shape.channels / shards, ..shape };
    let of_shard = |shard: usize| move |row, c| input(row, shard * part.channels + c);
    let mut whole = vec![RowStatistics::EMPTY; shape.row_count()];
    for shard in 0..shards {
        let found = statistics_of(machine, norm, element, part, &of_shard(shard));
        for (whole, found) in whole.iter_mut().zip(found) {
            *whole = whole.merge(found);
        }
    }
    let wanted = Case::new(norm, element, shape).run(machine, &input).y;
    for shard in 0..shards {
        let given = forward_with(machine, norm, element, part, &of_shard(shard), &whole);
        for (i, given) in given.into_iter().enumerate() {
            let (row, c) = (i / part.channels, i % part.channels);
            let wanted = wanted[row * shape.channels + shard * part.channels + c];
            let wanted = f64::from(f32::from_bits(wanted));
            // 4 ulp of each; rows are of size 1.
            let allowed = 8.0 * 2.0_f64.powi(-23) * wanted.abs().max(1.0);
            let error = (given - wanted).abs();
            assert!(error <= allowed, "{norm:?} {shape:?}, {shards}: {given}, not {wanted}");
        }
    }
}
