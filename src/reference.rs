//! The definition: every function in plain f64, one element after the other. The oracle of
//! every test, bench and check; not for use where speed matters.

use crate::{F8E4M3, Norm, QuantizedType};

/// `norm` over rows of `channels` elements that lie side by side in `x`, then
/// `(weight_offset + weight) * f + bias`. Without a weight the offset has no effect.
///
/// # Panics
/// If `channels` is 0 or does not divide `x.len()`, or `weight` or `bias` is shorter than it.
///
/// ```
/// use dynorm::{Norm, reference};
/// let y = reference::forward(Norm::DyT { alpha: 1.0 }, &[0.5], Some(&[2.0]), None, 0.0, 1);
/// assert_eq!(y, [2.0 * 0.5_f64.tanh()]);
/// ```
pub fn forward(
    norm: Norm,
    x: &[f64],
    weight: Option<&[f64]>,
    bias: Option<&[f64]>,
    weight_offset: f64,
    channels: usize,
) -> Vec<f64> {
    assert!(x.len().is_multiple_of(channels), "{} elements in rows of {channels}", x.len());
    let mut y = Vec::with_capacity(x.len());
    for row in x.chunks_exact(channels) {
        for (channel, f) in function(norm, row).into_iter().enumerate() {
            let weighted = weight.map_or(f, |w| (weight_offset + w[channel]) * f);
            y.push(bias.map_or(weighted, |b| weighted + b[channel]));
        }
    }
    y
}

/// `norm` over one row, before weight and bias.
fn function(norm: Norm, row: &[f64]) -> Vec<f64> {
    let channels = row.len() as f64;
    match norm {
        Norm::RmsNorm { eps } => {
            let mean_square = row.iter().map(|x| x * x).sum::<f64>() / channels;
            let rstd = 1.0 / (mean_square + f64::from(eps)).sqrt();
            row.iter().map(|x| x * rstd).collect()
        }
        Norm::LayerNorm { eps } => {
            let mean = row.iter().sum::<f64>() / channels;
            let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / channels;
            let rstd = 1.0 / (variance + f64::from(eps)).sqrt();
            row.iter().map(|x| (x - mean) * rstd).collect()
        }
        Norm::DyT { alpha } => row.iter().map(|x| (f64::from(alpha) * x).tanh()).collect(),
        Norm::DyIsru { beta, scale } => {
            let (beta, scale) = (f64::from(beta), f64::from(scale));
            row.iter().map(|&x| scale * isru(x, beta)).collect()
        }
        Norm::Derf { alpha, shift } => {
            row.iter().map(|x| libm::erf(f64::from(alpha) * x + f64::from(shift))).collect()
        }
    }
}

/// What [`backward`] gives.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// By the input, rows side by side.
    pub dx: Vec<f64>,
    /// By the weight, one for each channel.
    pub d_weight: Vec<f64>,
    /// By the bias, one for each channel.
    pub d_bias: Vec<f64>,
    /// By the function's parameters, as many as [`Norm::parameter_count`] says.
    pub d_parameters: Vec<f64>,
}

/// The gradients of what [`forward`] gives, for `dy`, those of each element of it.
///
/// # Panics
/// As [`forward`]; if `dy` is not as long as `x`.
///
/// ```
/// use dynorm::{Norm, reference};
/// let gradients = reference::backward(Norm::DyT { alpha: 0.5 }, &[0.0], &[3.0], Some(&[2.0]), 0.0, 1);
/// assert_eq!((gradients.dx, gradients.d_bias), (vec![3.0], vec![3.0]));
/// ```
pub fn backward(
    norm: Norm,
    x: &[f64],
    dy: &[f64],
    weight: Option<&[f64]>,
    weight_offset: f64,
    channels: usize,
) -> Gradients {
    assert_eq!(x.len(), dy.len(), "elements and gradients of elements");
    let mut gradients = Gradients {
        dx: Vec::with_capacity(x.len()),
        d_weight: vec![0.0; channels],
        d_bias: vec![0.0; channels],
        d_parameters: vec![0.0; norm.parameter_count()],
    };
    for (x, dy) in x.chunks_exact(channels).zip(dy.chunks_exact(channels)) {
        let f = function(norm, x);
        let weight = |channel| weight.map_or(1.0, |w| weight_offset + w[channel]);
        let df: Vec<f64> = dy.iter().enumerate().map(|(i, dy)| weight(i) * dy).collect();
        for channel in 0..channels {
            gradients.d_weight[channel] += dy[channel] * f[channel];
            gradients.d_bias[channel] += dy[channel];
            let by = derivatives_by_parameters(norm, x[channel]);
            for (sum, by) in gradients.d_parameters.iter_mut().zip(by) {
                *sum += df[channel] * by;
            }
        }
        gradients.dx.extend(derivatives_by_row(norm, x, &f, &df));
    }
    gradients
}

/// The gradients by one row of the input, where `f` is the function of it and `df` the gradients by that.
fn derivatives_by_row(norm: Norm, x: &[f64], f: &[f64], df: &[f64]) -> Vec<f64> {
    let channels = x.len() as f64;
    let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / channels;
    let rstd = |x: &mut dyn Iterator<Item = f64>, eps: f32| {
        1.0 / (mean(&mut x.map(|x| x * x)) + f64::from(eps)).sqrt()
    };
    let product = mean(&mut f.iter().zip(df).map(|(f, df)| f * df));
    let (rstd, df_mean) = match norm {
        Norm::RmsNorm { eps } => (rstd(&mut x.iter().copied(), eps), 0.0),
        Norm::LayerNorm { eps } => {
            let x_mean = mean(&mut x.iter().copied());
            (rstd(&mut x.iter().map(|x| x - x_mean), eps), mean(&mut df.iter().copied()))
        }
        _ => return x.iter().zip(df).map(|(&x, df)| df * derivative(norm, x)).collect(),
    };
    f.iter().zip(df).map(|(f, df)| rstd * (df - df_mean - f * product)).collect()
}

/// The derivative of an element-wise function, which is 0 at ±infinity.
fn derivative(norm: Norm, x: f64) -> f64 {
    match norm {
        Norm::DyT { alpha } => f64::from(alpha) * tanh_slope(f64::from(alpha) * x),
        Norm::Derf { alpha, shift } => {
            f64::from(alpha) * erf_slope(f64::from(alpha) * x + f64::from(shift))
        }
        Norm::DyIsru { beta, scale } => {
            let beta = f64::from(beta);
            f64::from(scale) * beta * (beta + x * x).powf(-1.5)
        }
        Norm::RmsNorm { .. } | Norm::LayerNorm { .. } => unreachable!("they are of rows"),
    }
}

/// The function's derivatives by its parameters, at an element, with their limits at ±infinity.
fn derivatives_by_parameters(norm: Norm, x: f64) -> Vec<f64> {
    // Where the slope is 0 no number makes it anything else.
    let near = x.clamp(f64::MIN, f64::MAX);
    match norm {
        Norm::RmsNorm { .. } | Norm::LayerNorm { .. } => vec![],
        Norm::DyT { alpha } => vec![near * tanh_slope(f64::from(alpha) * x)],
        Norm::Derf { alpha, shift } => {
            let slope = erf_slope(f64::from(alpha) * x + f64::from(shift));
            vec![near * slope, slope]
        }
        Norm::DyIsru { beta, scale } => {
            let beta = f64::from(beta);
            let u = isru(x, beta);
            vec![-0.5 * f64::from(scale) * u / (beta + x * x), u]
        }
    }
}

/// `1 - tanh(z)^2`, also where that is small.
fn tanh_slope(z: f64) -> f64 {
    z.cosh().powi(-2)
}

/// The derivative of erf.
fn erf_slope(z: f64) -> f64 {
    core::f64::consts::FRAC_2_SQRT_PI * (-z * z).exp()
}

/// `x / sqrt(beta + x^2)`, and its limit of ±1 at ±infinity.
fn isru(x: f64, beta: f64) -> f64 {
    if x.is_infinite() { x.signum() } else { x / (beta + x * x).sqrt() }
}

/// `z / (1 + exp(-z))`, and its limit of -0 at -infinity.
///
/// ```
/// assert_eq!(dynorm::reference::silu(0.0), 0.0);
/// ```
pub fn silu(z: f64) -> f64 {
    if z == f64::NEG_INFINITY { -0.0 } else { z / (1.0 + (-z).exp()) }
}

/// The number of `element` that is nearest to `value`, of two the one with an even last digit, and the
/// largest for what is out of range. NaN becomes 0 where there is none.
///
/// ```
/// use dynorm::{QuantizedType, reference};
/// assert_eq!(reference::quantized(2.5, QuantizedType::I8), 2.0);
/// assert_eq!(reference::quantized(-2.45, QuantizedType::F8E4M3), -2.5);
/// ```
pub fn quantized(value: f64, element: QuantizedType) -> f64 {
    let largest = f64::from(element.largest());
    match element {
        QuantizedType::I8 if value.is_nan() => 0.0,
        QuantizedType::I8 => value.clamp(-largest, largest).round_ties_even(),
        QuantizedType::F8E4M3 if value.is_nan() => f64::NAN,
        QuantizedType::F8E4M3 => {
            let magnitude = value.abs().min(largest);
            // By looking through all: neighbours have patterns of different parity.
            let all = (0..=0x7e_u8).map(|bits| (f64::from(F8E4M3::from_bits(bits).to_f32()), bits));
            let nearest = all.min_by(|(a, a_bits), (b, b_bits)| {
                let distance = |v: f64| (v - magnitude).abs();
                distance(*a).total_cmp(&distance(*b)).then((a_bits & 1).cmp(&(b_bits & 1)))
            });
            nearest.map_or(0.0, |(v, _)| v).copysign(value)
        }
    }
}
