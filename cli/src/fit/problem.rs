//! A function to be fitted to what a norm gives: least squares, by the library's own gradients.

use crate::params;
use anyhow::{Result, bail};
use dynorm::{Norm, Rows, RowsMut, reference};

/// What stands behind the function.
#[derive(Clone)]
pub enum Affine {
    /// A weight for each channel, the same whatever the parameters.
    Given(Vec<f32>),
    /// A weight and a bias for each channel, themselves by least squares.
    Free,
}

/// Rows and what is wanted of them.
pub struct Problem {
    /// Row after row.
    pub x: Vec<f32>,
    /// As many.
    pub target: Vec<f64>,
    /// Channels of a row.
    pub channels: usize,
    /// What stands behind the function.
    pub affine: Affine,
}

/// A function with its parameters, and what stands behind it.
pub struct Fitted {
    /// The function.
    pub norm: Norm,
    /// One for each channel.
    pub weight: Vec<f32>,
    /// One for each channel.
    pub bias: Vec<f32>,
    /// Sum of the squared residuals over that of the squared targets.
    pub loss: f64,
}

impl Fitted {
    /// What it gives for rows of `channels` channels.
    ///
    /// # Errors
    /// If a parameter is out of the library's range.
    pub fn results(&self, x: &[f32], channels: usize) -> Result<Vec<f32>> {
        let (rows, mut y) = (x.len() / channels, vec![0.0_f32; x.len()]);
        let (x, to) = (Rows::new(x, rows, channels)?, RowsMut::new(&mut y, rows, channels)?);
        self.norm.forward(x, to).weight(&self.weight).bias(&self.bias).run_parallel()?;
        Ok(y)
    }
}

/// A parameter that is fitted: how it is set, and how its gradient follows from the library's.
#[derive(Clone, Copy)]
enum Parameter {
    /// alpha or beta: by its logarithm.
    Scale,
    /// Derf's shift, by itself.
    Shift,
}

/// Octaves to either side of the usual scale that are looked at.
const OCTAVES: i32 = 14;
/// Octaves within which the loss is taken to have one minimum.
const NEAR: f64 = 0.05;
/// Of the mean square of a channel's values, what its variance is at least if they are not one number in f32.
const SAME: f64 = 1e-13;
/// Halvings of an interval: until f32 has no numbers in between.
const HALVINGS: usize = 22;
/// How often Derf's two parameters take turns at most, and the relative gain for which they go on.
const TURNS: usize = 100;
const GAIN: f64 = 1e-7;

impl Problem {
    /// The function of `usual`'s kind that is nearest to the target. Its parameters are looked for around `usual`'s,
    /// but for DyISRU's scale, which stays as it is.
    ///
    /// # Errors
    /// If `usual` is not element-wise.
    pub fn fit(&self, usual: Norm) -> Result<Fitted> {
        let mut found = self.fit_scale(usual)?;
        if let Norm::Derf { .. } = usual {
            for _ in 0..TURNS {
                let before = found.loss;
                for (parameter, within) in [(Parameter::Shift, 0.5), (Parameter::Scale, 0.25)] {
                    let norm = found.norm;
                    found = self.halve(norm, parameter, [-within, within], found)?;
                }
                if found.loss > before * (1.0 - GAIN) {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// The same with Derf's shift as it is.
    ///
    /// # Errors
    /// If `usual` is not element-wise.
    pub fn fit_scale(&self, usual: Norm) -> Result<Fitted> {
        let mut best = self.evaluate(usual)?;
        let mut middle = 0.0;
        // There may be several places where the gradient is 0: first the surroundings of the best, by the loss.
        let (mut places, mut step) = (-OCTAVES..=OCTAVES, 1.0);
        while step > NEAR {
            let around = middle;
            for octave in places.map(|place| around + f64::from(place) * step) {
                let here = self.evaluate(moved(usual, Parameter::Scale, octave)?)?;
                if here.loss < best.loss {
                    (best, middle) = (here, octave);
                }
            }
            (places, step) = (-1..=1, step / 2.0);
        }
        self.halve(usual, Parameter::Scale, [middle - 2.0 * step, middle + 2.0 * step], best)
    }

    /// The straight line nearest to the target, by way of DyISRU far from its limit.
    pub fn straight(&self) -> Result<Fitted> {
        let largest = self.x.iter().fold(1.0_f32, |largest, x| largest.max(x.abs()));
        self.evaluate(Norm::DyIsru { beta: (largest * largest).max(1.0) * 1e9, scale: 1.0 })
    }

    /// The better of `best` and where the gradient is 0 between two places from `norm` on.
    fn halve(
        &self,
        norm: Norm,
        parameter: Parameter,
        mut ends: [f64; 2],
        mut best: Fitted,
    ) -> Result<Fitted> {
        for _ in 0..HALVINGS {
            let middle = (ends[0] + ends[1]) / 2.0;
            let here = self.evaluate(moved(norm, parameter, middle)?)?;
            ends[usize::from(self.slope(&here, parameter)? > 0.0)] = middle;
            if here.loss <= best.loss {
                best = here;
            }
        }
        Ok(best)
    }

    /// The function with given parameters, and the affine that suits it.
    fn evaluate(&self, norm: Norm) -> Result<Fitted> {
        let (rows, channels) = (self.x.len() / self.channels, self.channels);
        let mut f = vec![0.0_f32; self.x.len()];
        let x = Rows::new(&self.x, rows, channels)?;
        norm.forward(x, RowsMut::new(&mut f, rows, channels)?).run_parallel()?;
        let f: Vec<f64> = f.into_iter().map(f64::from).collect();
        Ok(self.with_affine(norm, &f))
    }

    /// The function whose values are `f`, and the affine that suits it.
    fn with_affine(&self, norm: Norm, f: &[f64]) -> Fitted {
        let (weight, bias) = match &self.affine {
            Affine::Given(weight) => (weight.clone(), vec![0.0; self.channels]),
            Affine::Free => (0..self.channels).map(|c| self.line(f, c)).unzip(),
        };
        let mut fitted = Fitted { norm, weight, bias, loss: 0.0 };
        let residuals = self.residuals(&fitted, f);
        fitted.loss = residuals.map(|r| r * r).sum::<f64>() / self.power();
        fitted
    }

    /// Weight and bias of a channel by least squares; the function's values are `f`.
    fn line(&self, f: &[f64], channel: usize) -> (f32, f32) {
        let of_channel = || {
            f.iter().zip(&self.target).skip(channel).step_by(self.channels).map(|(f, t)| (*f, *t))
        };
        let n = of_channel().count() as f64;
        let (sum_f, sum_t) = of_channel().fold((0.0, 0.0), |(a, b), (f, t)| (a + f, b + t));
        let (mean_f, mean_t) = (sum_f / n, sum_t / n);
        let (mut ff, mut ft) = (0.0, 0.0);
        for (f, t) in of_channel() {
            ff += (f - mean_f) * (f - mean_f);
            ft += (f - mean_f) * (t - mean_t);
        }
        // A channel at the function's limit in all rows is a constant, but for what f32 does not show.
        let varies = ff > n * mean_f * mean_f * SAME;
        let weight = if varies { ft / ff } else { 0.0 };
        (weight as f32, (mean_t - weight * mean_f) as f32)
    }

    /// What is given less what is wanted; the function's values are `f`.
    fn residuals<'a>(&'a self, fitted: &'a Fitted, f: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
        let affine = fitted.weight.iter().zip(&fitted.bias).cycle();
        let given = f.iter().zip(affine).map(|(f, (&w, &b))| f64::from(w) * f + f64::from(b));
        given.zip(&self.target).map(|(given, wanted)| given - wanted)
    }

    /// The sum of the squared targets.
    fn power(&self) -> f64 {
        self.target.iter().map(|t| t * t).sum()
    }

    /// How the loss changes with a parameter. The affine need not be moved with it: where it is free, the loss is
    /// at its least in that.
    fn slope(&self, fitted: &Fitted, parameter: Parameter) -> Result<f64> {
        let (rows, channels) = (self.x.len() / self.channels, self.channels);
        let x = Rows::new(&self.x, rows, channels)?;
        let power = self.power();
        let d_loss = |(y, t): (f32, &f64)| (2.0 * (f64::from(y) - t) / power) as f32;
        let y = fitted.results(&self.x, channels)?;
        let mut dy: Vec<f32> = y.into_iter().zip(&self.target).map(d_loss).collect();
        let mut d_parameters = vec![0.0; fitted.norm.parameter_count()];
        let dy = RowsMut::new(&mut dy, rows, channels)?;
        let call = fitted.norm.backward_in_place(x, dy).weight(&fitted.weight);
        let call = call.d_parameters(&mut d_parameters);
        let mut workspace = vec![0.0; call.workspace_len()];
        call.workspace(&mut workspace).run_parallel()?;
        // By the logarithm where the parameter is moved by that.
        let slope = |index: usize| f64::from(d_parameters[index]);
        match (fitted.norm, parameter) {
            (Norm::DyT { alpha } | Norm::Derf { alpha, .. }, Parameter::Scale) => {
                Ok(slope(0) * f64::from(alpha))
            }
            (Norm::DyIsru { beta, .. }, Parameter::Scale) => Ok(slope(0) * f64::from(beta)),
            (Norm::Derf { .. }, Parameter::Shift) => Ok(slope(1)),
            (norm, _) => bail!("{} has no such parameter", norm.name()),
        }
    }

    /// Whether no neighbour is better: by the definition in f64, with each parameter moved by a hundredth.
    ///
    /// # Errors
    /// If the function has no such parameters.
    pub fn is_least(&self, fitted: &Fitted) -> Result<bool> {
        let x: Vec<f64> = self.x.iter().map(|&x| x.into()).collect();
        let loss = |norm: Norm| {
            let f = reference::forward(norm, &x, None, None, 0.0, self.channels);
            self.with_affine(norm, &f).loss
        };
        // What rounding to f32 may hide.
        let least = loss(fitted.norm) * (1.0 - 1e-5) - 1e-12;
        let mut better = false;
        for step in [-0.01, 0.01] {
            better |= loss(moved(fitted.norm, Parameter::Scale, step)?) < least;
            if let Norm::Derf { .. } = fitted.norm {
                better |= loss(moved(fitted.norm, Parameter::Shift, step)?) < least;
            }
        }
        Ok(!better)
    }
}

/// The largest result that `target` has, whatever the row, before its weight.
pub fn limit(target: Norm, channels: usize) -> f32 {
    let is_layer_norm = matches!(target, Norm::LayerNorm { .. });
    // What is left of a row's square when its mean has been taken from it.
    ((channels - usize::from(is_layer_norm)) as f32).sqrt()
}

/// `norm`'s function of the limit 1, with parameters near those that will be found for rows of these values.
pub fn usual(norm: Norm, values: &[f32], channels: usize) -> Norm {
    match params::fitted(norm, values, channels) {
        Norm::DyIsru { beta, .. } => Norm::DyIsru { beta, scale: 1.0 },
        other => other,
    }
}

/// `norm` with a parameter moved: alpha and the root of beta by octaves, the shift by itself.
fn moved(norm: Norm, parameter: Parameter, by: f64) -> Result<Norm> {
    let times = |value: f32, octaves: f64| (f64::from(value) * octaves.exp2()) as f32;
    Ok(match (norm, parameter) {
        (Norm::DyT { alpha }, Parameter::Scale) => Norm::DyT { alpha: times(alpha, by) },
        (Norm::DyIsru { beta, scale }, Parameter::Scale) => {
            Norm::DyIsru { beta: times(beta, 2.0 * by), scale }
        }
        (Norm::Derf { alpha, shift }, Parameter::Scale) => {
            Norm::Derf { alpha: times(alpha, by), shift }
        }
        (Norm::Derf { alpha, shift }, Parameter::Shift) => {
            Norm::Derf { alpha, shift: (f64::from(shift) + by) as f32 }
        }
        (norm, _) => bail!("{} has no such parameter", norm.name()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNELS: usize = 24;

    /// What `norm`'s function gives, with `affine` to be fitted behind it.
    fn problem(norm: Norm, affine: Affine) -> Problem {
        let x: Vec<f32> = (0..40 * CHANNELS).map(|i| (i as f32 * 0.737).sin() * 4.0).collect();
        let exact: Vec<f64> = x.iter().map(|&x| x.into()).collect();
        let weight: Vec<f64> = (0..CHANNELS).map(|c| 1.0 + c as f64 / 10.0).collect();
        let bias: Vec<f64> = weight.iter().map(|w| w.sin()).collect();
        let operands = match affine {
            Affine::Given(_) => (None, None),
            Affine::Free => (Some(weight.as_slice()), Some(bias.as_slice())),
        };
        let target = reference::forward(norm, &exact, operands.0, operands.1, 0.0, CHANNELS);
        Problem { x, target, channels: CHANNELS, affine }
    }

    /// Parameters far from those that the search begins with.
    const NORMS: [Norm; 3] = [
        Norm::DyT { alpha: 0.7 },
        Norm::DyIsru { beta: 3.0, scale: 1.0 },
        Norm::Derf { alpha: 0.4, shift: 0.2 },
    ];

    #[test]
    fn parameters_are_found_again() {
        for norm in NORMS {
            for affine in [Affine::Given(vec![1.0; CHANNELS]), Affine::Free] {
                let problem = problem(norm, affine);
                let fitted = problem.fit(usual(norm, &problem.x, CHANNELS)).unwrap();
                assert!(fitted.loss < 1e-9, "{norm:?}: {}", fitted.loss);
                assert!(problem.is_least(&fitted).unwrap(), "{norm:?}");
                let (wanted, found) = match (norm, fitted.norm) {
                    (Norm::DyT { alpha: a }, Norm::DyT { alpha: b }) => (vec![a], vec![b]),
                    (Norm::DyIsru { beta: a, .. }, Norm::DyIsru { beta: b, .. }) => {
                        (vec![a], vec![b])
                    }
                    (Norm::Derf { alpha: a, shift: c }, Norm::Derf { alpha: b, shift: d }) => {
                        (vec![a, c], vec![b, d])
                    }
                    other => panic!("{other:?}"),
                };
                for (wanted, found) in wanted.iter().zip(found) {
                    assert!((found / wanted - 1.0).abs() < 2e-3, "{norm:?}: {found}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_the_best_is_noticed() {
        let problem = problem(NORMS[0], Affine::Free);
        let near = problem.evaluate(Norm::DyT { alpha: 0.72 }).unwrap();
        assert!(!problem.is_least(&near).unwrap());
        assert!(problem.fit(Norm::RmsNorm { eps: 0.0 }).is_err());
    }

    /// The best of straight lines through points that lie on some.
    #[test]
    fn straight_lines_are_found() {
        let x: Vec<f32> = (0..60).map(|i| (i * i % 17) as f32 - 8.0).collect();
        let of_channel = |c: usize| (c as f64 - 1.5, 0.25 * c as f64);
        let line =
            |(i, &x): (usize, &f32)| of_channel(i % 3).0 * f64::from(x) + of_channel(i % 3).1;
        let target = x.iter().enumerate().map(line).collect();
        let problem = Problem { x, target, channels: 3, affine: Affine::Free };
        assert!(problem.straight().unwrap().loss < 1e-12);
    }
}
