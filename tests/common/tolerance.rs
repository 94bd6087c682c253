//! How far a result may be from the definition in f64.

use dynorm::{ElementType, Isa, Norm};

/// The relative error of one rounding in f32.
pub const UNIT: f64 = 1.0 / (1u64 << 24) as f64;

/// The spacing of `element`'s numbers at `value`.
pub fn ulp(element: ElementType, value: f64) -> f64 {
    let (digits, least) = match element {
        ElementType::F32 => (23, -126),
        ElementType::F16 => (10, -14),
        ElementType::Bf16 => (7, -126),
    };
    let exponent = ((value.to_bits() >> 52 & 0x7ff) as i32 - 1023).max(least);
    2.0_f64.powi(exponent - digits)
}

/// The error in ulp of f32 that a function may have; of a row function relative to the larger
/// of the element and the row's root mean square.
pub fn ulps(norm: Norm) -> f64 {
    match norm {
        _ if norm.is_elementwise() => 2.0,
        _ => 4.0,
    }
}

/// The errors allowed to the f32 values of `norm` by `isa` for `x`, whose exact values are `f`.
pub fn of_function(
    norm: Norm,
    isa: Isa,
    y_type: ElementType,
    x: &[f64],
    f: &[f64],
    channels: usize,
) -> Vec<f64> {
    let mut errors = Vec::with_capacity(f.len());
    for (x, f) in x.chunks_exact(channels).zip(f.chunks_exact(channels)) {
        let rms = (f.iter().map(|f| f * f).sum::<f64>() / channels as f64).sqrt();
        let least = if norm.is_elementwise() { 0.0 } else { rms };
        errors.extend(x.iter().zip(f).map(|(&x, f)| {
            of_scaled(norm, f.abs().max(least))
                + of_argument(norm, x)
                + of_few_digits(norm, isa, y_type, f.abs())
        }));
    }
    errors
}

/// The error of what the element-wise functions make do with for results of 16 bits: DyISRU with an
/// estimate of the root, DyT and Derf with quotients of short polynomials, or with AVX-512, on some processors, with
/// polynomials.
fn of_few_digits(norm: Norm, isa: Isa, y_type: ElementType, size: f64) -> f64 {
    let may_be_polynomials = isa >= Isa::Avx512;
    match (norm, y_type) {
        (Norm::DyT { .. }, ElementType::F16) if may_be_polynomials => 0.016 * ulp(y_type, size),
        (Norm::Derf { .. }, ElementType::F16) if may_be_polynomials => 0.0065 * ulp(y_type, size),
        (Norm::DyIsru { .. }, ElementType::Bf16) => size / (1 << 14) as f64,
        (Norm::DyIsru { .. }, ElementType::F16) => 0.002 * ulp(y_type, size),
        (Norm::DyT { .. }, ElementType::Bf16) => 0.016 * ulp(y_type, size),
        (Norm::DyT { .. }, ElementType::F16) => 0.007 * ulp(y_type, size),
        (Norm::Derf { .. }, ElementType::Bf16) => 0.019 * ulp(y_type, size),
        (Norm::Derf { .. }, ElementType::F16) => 0.006 * ulp(y_type, size),
        _ => 0.0,
    }
}

/// The error of a value near `size`: the function's, or before DyISRU's scale its, and that of
/// the product.
fn of_scaled(norm: Norm, size: f64) -> f64 {
    match norm {
        Norm::DyIsru { scale, .. } if scale != 1.0 && scale != 0.0 => {
            let scale = f64::from(scale.abs());
            ulps(norm) * scale * ulp(ElementType::F32, size / scale)
                + 0.5 * ulp(ElementType::F32, size)
        }
        _ if norm.is_elementwise() => ulps(norm) * ulp(ElementType::F32, size),
        // Relative, since that is what a row's statistic gets wrong; 0 and subnormals are exact
        // to their spacing.
        _ => ulps(norm) * (2.0 * UNIT * size).max(ulp(ElementType::F32, 0.0)),
    }
}

/// The error that Derf inherits from its argument `alpha x + shift`, whose terms may cancel:
/// half an ulp each of the product and of the sum, where they are not exact.
fn of_argument(norm: Norm, x: f64) -> f64 {
    match norm {
        Norm::Derf { alpha, shift } if x.is_finite() => {
            let product = f64::from(alpha) * x;
            let sum = product + f64::from(shift);
            let half = |v: f64| match f64::from(v as f32) == v {
                true => 0.0,
                false => 0.5 * ulp(ElementType::F32, v),
            };
            let slope = core::f64::consts::FRAC_2_SQRT_PI * (-sum * sum).exp();
            slope * (half(product) + if shift == 0.0 { 0.0 } else { half(sum) })
        }
        _ => 0.0,
    }
}

/// The error of `weight * f + bias`, `f` having an error of `error`: one rounding each for
/// offset and weight, product, and sum, where they are made.
pub fn of_affine(f: f64, error: f64, weight: Option<f64>, bias: Option<f64>) -> f64 {
    let (product, error) = match weight {
        None => (f, error),
        Some(weight) => (weight * f, weight.abs() * error + 2.0 * UNIT * (weight * f).abs()),
    };
    error + bias.map_or(0.0, |bias| UNIT * (product + bias).abs())
}

/// The error of rounding to `element` a number that is within `error` of `value`.
pub fn of_store(element: ElementType, value: f64, error: f64) -> f64 {
    match element {
        // It has been counted: results are made in f32.
        ElementType::F32 => 0.0,
        _ => 0.5 * ulp(element, value.abs() + error),
    }
}

/// Whether `given` is what was wanted, up to an error of `allowed`.
pub fn is_within(given: f64, wanted: f64, allowed: f64) -> bool {
    given == wanted || (given - wanted).abs() <= allowed || given.is_nan() && wanted.is_nan()
}
