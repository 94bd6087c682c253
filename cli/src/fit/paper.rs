//! The experiment of the paper that DyISRU is from (Stollenwerk, [arXiv 2503.21708](https://arxiv.org/abs/2503.21708)),
//! redone: how near an element-wise function of one parameter comes to a norm of an outlier.
//!
//! A row of 100 normal numbers; its largest channel is raised in nine steps, and what the norm gives for that
//! channel is the target, mirrored too.

use super::problem::{Affine, Fitted, Problem, limit, usual};
use crate::params;
use anyhow::Result;
use dynorm::Norm;
use serde::Serialize;
use std::collections::BTreeMap;

const CHANNELS: usize = 100;
/// Of the paper's row, `2 * randn(100)` of numpy's `RandomState(1)`: its largest element, and sum and sum of squares
/// of the others.
const LARGEST: f64 = 4.371150813066323;
const SUM: f64 = 12.116570415139735 - LARGEST;
const SQUARES: f64 = 295.7617625095467;

/// A function fitted to a norm of an outlier.
#[derive(Serialize)]
pub struct Outlier {
    pub target: &'static str,
    pub function: &'static str,
    pub parameters: BTreeMap<&'static str, f32>,
    #[serde(skip)]
    pub in_words: String,
    pub mean_residual: f64,
    pub largest_residual: f64,
    pub least: bool,
}

/// All of the functions, each fitted to LayerNorm and RMSNorm.
pub fn outliers() -> Result<Vec<Outlier>> {
    let mut found = Vec::new();
    for target in Norm::DEFAULTS.into_iter().filter(|norm| !norm.is_elementwise()) {
        let problem = problem(target);
        for norm in Norm::DEFAULTS.into_iter().filter(|norm| norm.is_elementwise()) {
            let fitted = problem.fit_scale(usual(norm, &problem.x, problem.channels))?;
            let (mean_residual, largest_residual) = residuals(&problem, &fitted)?;
            found.push(Outlier {
                target: target.name(),
                function: norm.name(),
                parameters: params::named(fitted.norm),
                in_words: params::describe(fitted.norm),
                mean_residual,
                largest_residual,
                least: problem.is_least(&fitted)?,
            });
        }
    }
    Ok(found)
}

/// The largest channel and its mirror image in nine steps, and what `target` makes of it.
fn problem(target: Norm) -> Problem {
    let c = CHANNELS as f64;
    let is_layer_norm = matches!(target, Norm::LayerNorm { .. });
    let (mut x, mut wanted) = (Vec::new(), Vec::new());
    for step in 1..=9 {
        let largest = LARGEST + 5.0 * f64::from(step);
        let mean = if is_layer_norm { (SUM + largest) / c } else { 0.0 };
        let variance = (SQUARES + largest * largest) / c - mean * mean;
        for sign in [1.0, -1.0] {
            x.push((sign * largest) as f32);
            wanted.push(sign * (largest - mean) / variance.sqrt());
        }
    }
    let affine = Affine::Given(vec![limit(target, CHANNELS); x.len()]);
    Problem { channels: x.len(), x, target: wanted, affine }
}

/// Mean and largest magnitude of the residuals.
fn residuals(problem: &Problem, fitted: &Fitted) -> Result<(f64, f64)> {
    let y = fitted.results(&problem.x, problem.channels)?;
    let residuals = y.iter().zip(&problem.target).map(|(&y, t)| (f64::from(y) - t).abs());
    let n = y.len() as f64;
    Ok((residuals.clone().sum::<f64>() / n, residuals.fold(0.0, f64::max)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What numpy and scipy gave for the paper's notebook.
    #[test]
    fn the_papers_numbers_come_out() {
        let wanted = [
            ("rms_norm", "dyt", 0.0490116, 0.333823, 0.48972),
            ("rms_norm", "dyisru", 295.76176, 0.0, 0.0),
            ("layer_norm", "dyt", 0.0486101, 0.327877, 0.47247),
            ("layer_norm", "dyisru", 301.05995, 0.0048142, 0.012826),
            ("layer_norm", "derf", 0.0404998, 0.465413, 0.65044),
        ];
        let found = outliers().unwrap();
        assert_eq!(found.len(), 6);
        for (target, function, parameter, mean, largest) in wanted {
            let one = found.iter().find(|o| (o.target, o.function) == (target, function)).unwrap();
            let name = if function == "dyisru" { "beta" } else { "alpha" };
            let value = f64::from(one.parameters[name]);
            assert!((value / parameter - 1.0).abs() < 1e-4, "{target} {function}: {value}");
            assert!((one.mean_residual - mean).abs() < 2e-5, "{}", one.mean_residual);
            assert!((one.largest_residual - largest).abs() < 1e-4, "{}", one.largest_residual);
            assert!(one.least, "{target} {function}");
        }
    }
}
