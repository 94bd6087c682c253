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
