//! The definition: every function in plain f64, one element after the other. The oracle of
//! every test, bench and check; not for use where speed matters.

use crate::Norm;

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
