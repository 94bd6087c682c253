//! Compares results of the library with its f64 reference.

use crate::number::{Number, error_ulps};
use dynorm::{Isa, Norm, reference};

/// The largest error allowed of `norm` without a weight, in f32, in ulps as
/// [`worst_error`](Expected::worst_error) counts.
fn limit_f32(norm: Norm) -> f64 {
    match norm {
        Norm::RmsNorm { .. } | Norm::LayerNorm { .. } => 4.0,
        // In CUDA and in erf the product with alpha is rounded, which moves their argument by half an ulp
        // and so their value by no more than one. CUDA's tanh is within 2.2.
        Norm::DyT { .. } => 2.2 + 1.0,
        Norm::Derf { .. } => 2.0 + 1.0,
        // The product with the scale is rounded too.
        Norm::DyIsru { scale, .. } if scale != 1.0 => 2.0 + 1.0,
        _ => 2.0,
    }
}

/// The largest error allowed in ulps of `T`, of the function alone or with a weight, on the CPU or
/// the GPU.
pub fn limit<T: Number>(norm: Norm, weighted: bool, on_gpu: bool) -> f64 {
    // The product with the weight may lie low in its binade where the function's value lay
    // high, which doubles the error in ulps; and it is rounded.
    let in_f32 = if weighted { 2.0 * limit_f32(norm) + 0.5 } else { limit_f32(norm) };
    match f32::FRACTION_BITS - T::FRACTION_BITS {
        0 => in_f32,
        // Rounded once more, to T.
        bits => 0.5 + in_f32 * 2.0_f64.powi(-bits) + few_digits::<T>(norm, weighted, on_gpu),
    }
}

/// What the element-wise functions make do with for results of 16 bits may add, in ulps of those:
/// DyISRU's estimate of the root, the short quotients of DyT and Derf; on the GPU a relative error of
/// 2^-16.
fn few_digits<T: Number>(norm: Norm, weighted: bool, on_gpu: bool) -> f64 {
    let ulps = match (norm, T::FRACTION_BITS) {
        (_, bits) if on_gpu && norm.is_elementwise() => 2.0_f64.powi(bits + 1 - 16),
        (Norm::DyIsru { .. }, 7) => 2.0_f64.powi(8 - 14),
        (Norm::DyIsru { .. }, 10) => 0.002,
        (Norm::DyT { .. }, 10) if may_be_polynomials() => 0.016,
        (Norm::Derf { .. }, 10) if may_be_polynomials() => 0.0065,
        (Norm::DyT { .. }, 7) => 0.016,
        (Norm::DyT { .. }, 10) => 0.007,
        (Norm::Derf { .. }, 7) => 0.019,
        (Norm::Derf { .. }, 10) => 0.006,
        _ => 0.0,
    };
    if weighted { 2.0 * ulps } else { ulps }
}

/// Whether DyT and Derf may be made of polynomials, and not of quotients: on some processors with AVX-512 they are.
fn may_be_polynomials() -> bool {
    Isa::current().is_ok_and(|isa| isa >= Isa::Avx512)
}

/// One input as the reference wants it, and what it gives.
pub struct Expected {
    channels: usize,
    /// The exact results.
    values: Vec<f64>,
    /// Per element, the magnitude below which an ulp is not made smaller: 0 for element-wise
    /// functions; for the others the row's root mean square (times the weight), because an
    /// element that is small by cancellation carries the row's rounding.
    floors: Vec<f64>,
}

impl Expected {
    /// The reference's results for `x`, rows of `channels`.
    pub fn new<T: Number>(norm: Norm, x: &[T], weight: Option<&[T]>, channels: usize) -> Self {
        let x: Vec<f64> = x.iter().map(|x| x.to_f64()).collect();
        let weight: Option<Vec<f64>> = weight.map(|w| w.iter().map(|w| w.to_f64()).collect());
        let values = reference::forward(norm, &x, weight.as_deref(), None, 0.0, channels);
        let floors = if norm.is_elementwise() {
            vec![0.0; x.len()]
        } else {
            let plain = reference::forward(norm, &x, None, None, 0.0, channels);
            let magnitude = |channel: usize| weight.as_ref().map_or(1.0, |w| w[channel].abs());
            plain
                .chunks_exact(channels)
                .flat_map(|row| {
                    let rms = (row.iter().map(|y| y * y).sum::<f64>() / channels as f64).sqrt();
                    (0..channels).map(move |channel| rms * magnitude(channel))
                })
                .collect()
        };
        Self { channels, values, floors }
    }

    /// The largest error of `y`, in ulps of `T`, and its row and channel.
    pub fn worst_error<T: Number>(&self, y: &[T]) -> (f64, usize, usize) {
        assert_eq!(y.len(), self.values.len(), "as many results as the reference has");
        let errors = y.iter().zip(&self.values).zip(&self.floors);
        let worst = errors
            .map(|((&y, &want), &floor)| error_ulps(y, want, floor))
            .enumerate()
            .fold((0, 0.0), |worst, error| if error.1 > worst.1 { error } else { worst });
        (worst.1, worst.0 / self.channels, worst.0 % self.channels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::number::ulp;
    use dynorm::bf16;

    #[test]
    fn a_wrong_element_is_found_where_it_is() {
        let x: Vec<f32> = (1..=12).map(|i| i as f32 * 0.25).collect();
        for norm in Norm::DEFAULTS {
            let expected = Expected::new(norm, &x, None, 4);
            let mut y: Vec<f32> = expected.values.iter().map(|&y| y as f32).collect();
            assert!(expected.worst_error(&y).0 <= 0.5, "{}: rounded once", norm.name());
            y[6] *= 1.001;
            let (error, row, channel) = expected.worst_error(&y);
            assert!(error > limit::<f32>(norm, true, false), "{}: {error}", norm.name());
            assert_eq!((row, channel), (1, 2));
        }
    }

    /// An element that is 0 by cancellation is measured against its row.
    #[test]
    fn a_row_functions_unit_is_the_rows() {
        let norm = Norm::LayerNorm { eps: 0.0 };
        let expected = Expected::new(norm, &[1.0_f32, 2.0, 3.0], Some(&[1.5; 3]), 3);
        let high = expected.values[2] as f32;
        assert_eq!(expected.worst_error(&[-high, ulp::<f32>(1.5) as f32, high]).0, 1.0);
    }

    #[test]
    fn a_narrow_type_is_rounded_once() {
        let norm = Norm::DyT { alpha: 0.5 };
        assert!(limit::<bf16>(Norm::RmsNorm { eps: 0.0 }, true, true) < 0.501);
        assert!((0.532..0.533).contains(&limit::<bf16>(norm, true, false)));
        assert_eq!(limit::<f32>(norm, false, true), 3.2);
    }
}
