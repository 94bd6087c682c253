//! The functions' parameters for given activations.

use dynorm::Norm;
use std::collections::BTreeMap;

/// Added under RMSNorm's and LayerNorm's root.
const EPS: f32 = 1e-5;

/// `norm`'s function with parameters that suit rows of `channels` activations.
///
/// DyISRU gets `scale = sqrt(C)` and `beta = C (m + eps)` with m the mean square of the median
/// row: on that row it is RMSNorm but for each element's own share of the mean. (The median and
/// not the mean, because one token that is an attention sink outweighs all the others in a
/// mean.) DyT and Derf get DyISRU's slope at 0 up to the factor sqrt(C), which belongs to their
/// weight.
pub fn fitted(norm: Norm, values: &[f32], channels: usize) -> Norm {
    let c = channels as f64;
    let beta = c * (median_mean_square(values, channels) + f64::from(EPS));
    let alpha = 1.0 / beta.sqrt();
    match norm {
        Norm::RmsNorm { .. } => Norm::RmsNorm { eps: EPS },
        Norm::LayerNorm { .. } => Norm::LayerNorm { eps: EPS },
        Norm::DyT { .. } => Norm::DyT { alpha: alpha as f32 },
        Norm::DyIsru { .. } => Norm::DyIsru { beta: beta as f32, scale: c.sqrt() as f32 },
        // erf's own slope at 0 is 2/sqrt(pi).
        Norm::Derf { .. } => {
            Norm::Derf { alpha: (alpha * std::f64::consts::PI.sqrt() / 2.0) as f32, shift: 0.0 }
        }
        // A function that has no rule here yet keeps the library's parameters.
        other => other,
    }
}

/// The factor that takes a function fitted by [`fitted`] to RMSNorm's slope at 0.
pub fn gain(norm: Norm, channels: usize) -> f64 {
    match norm {
        Norm::DyT { .. } | Norm::Derf { .. } => (channels as f64).sqrt(),
        _ => 1.0,
    }
}

/// The parameters by name.
pub fn named(norm: Norm) -> BTreeMap<&'static str, f32> {
    match norm {
        Norm::RmsNorm { eps } | Norm::LayerNorm { eps } => [("eps", eps)].into(),
        Norm::DyT { alpha } => [("alpha", alpha)].into(),
        Norm::DyIsru { beta, scale } => [("beta", beta), ("scale", scale)].into(),
        Norm::Derf { alpha, shift } => [("alpha", alpha), ("shift", shift)].into(),
        // A function that has no names here yet.
        _ => BTreeMap::new(),
    }
}

/// The parameters by name, for people.
pub fn describe(norm: Norm) -> String {
    match norm {
        Norm::RmsNorm { eps } | Norm::LayerNorm { eps } => format!("eps {eps:e}"),
        Norm::DyT { alpha } => format!("alpha {alpha:.4e}"),
        Norm::DyIsru { beta, scale } => format!("beta {beta:.4e}, scale {scale}"),
        Norm::Derf { alpha, shift } => {
            format!("alpha {alpha:.4e}, shift {}", (shift * 1e4).round() / 1e4 + 0.0)
        }
        other => format!("{other:?}"),
    }
}

/// The mean square of the row that has as many rows above it as below.
pub fn median_mean_square(values: &[f32], channels: usize) -> f64 {
    let mean_square = |row: &[f32]| {
        row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / channels as f64
    };
    let mut rows: Vec<f64> = values.chunks_exact(channels).map(mean_square).collect();
    rows.sort_by(f64::total_cmp);
    rows[rows.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;
    use dynorm::reference;

    /// On a row like the median one, all functions have RMSNorm's slope at small x.
    #[test]
    fn slopes_at_zero_are_equal() {
        let channels = 64;
        let row: Vec<f32> = (0..channels).map(|i| (i as f32 * 0.7).sin() * 3.0).collect();
        let rms = median_mean_square(&row, channels).sqrt();
        for norm in Norm::DEFAULTS.into_iter().filter(|norm| norm.is_elementwise()) {
            let norm = fitted(norm, &row, channels);
            let y = reference::forward(norm, &[1e-4], None, None, 0.0, 1)[0];
            let slope = gain(norm, channels) * y / 1e-4;
            assert!(
                (slope * rms - 1.0).abs() < 1e-4,
                "{}: {slope} against {}",
                norm.name(),
                1.0 / rms
            );
        }
    }

    /// One row far above the others does not move the parameters.
    #[test]
    fn an_attention_sink_does_not_count() {
        let mut values = vec![1.0_f32; 5 * 8];
        values[..8].fill(1000.0);
        assert_eq!(median_mean_square(&values, 8), 1.0);
    }
}
