//! How near a fitted function comes to a norm.

use super::problem::{Fitted, Problem};
use anyhow::Result;
use serde::Serialize;

/// Of how many elements one is an outlier: those of the largest magnitude.
pub const OUTLIERS: usize = 100;

/// Squared targets and squared residuals, summed up.
#[derive(Clone, Copy, Default)]
struct Powers {
    signal: f64,
    noise: f64,
}

impl Powers {
    fn add(&mut self, wanted: f64, given: f64) {
        self.signal += wanted * wanted;
        self.noise += (given - wanted) * (given - wanted);
    }

    /// Their ratio in decibels.
    fn ratio(self) -> f64 {
        10.0 * (self.signal / self.noise).log10()
    }
}

/// What is found of a function over all rows.
pub struct Quality {
    all: Powers,
    outliers: Powers,
    /// Of each row.
    rows: Vec<f64>,
    /// Above this magnitude an element is an outlier.
    least_outlier: f32,
}

/// Ratios of signal to noise, in decibels; NaN where there is no signal.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Decibels {
    pub all: f64,
    pub outliers: f64,
    pub median_row: f64,
    pub worst_row: f64,
}

impl Quality {
    /// Nothing yet of rows with these elements.
    pub fn new(x: &[f32]) -> Self {
        let mut magnitudes: Vec<f32> = x.iter().map(|x| x.abs()).collect();
        let place = magnitudes.len() - 1 - magnitudes.len() / OUTLIERS;
        let (_, &mut least_outlier, _) = magnitudes.select_nth_unstable_by(place, f32::total_cmp);
        let nothing = Powers::default();
        Self { all: nothing, outliers: nothing, rows: Vec::new(), least_outlier }
    }

    /// Adds the rows of `problem`, of which `fitted` gives the results.
    pub fn add(&mut self, problem: &Problem, fitted: &Fitted) -> Result<()> {
        let (rows, channels) = (problem.x.len() / problem.channels, problem.channels);
        let y = fitted.results(&problem.x, channels)?;
        let row = |i: usize| i * channels..(i + 1) * channels;
        for i in (0..rows).map(row) {
            let mut of_row = Powers::default();
            let elements = problem.x[i.clone()].iter().zip(&problem.target[i.clone()]).zip(&y[i]);
            for ((x, &wanted), &given) in elements {
                of_row.add(wanted, given.into());
                if x.abs() > self.least_outlier {
                    self.outliers.add(wanted, given.into());
                }
            }
            self.all.signal += of_row.signal;
            self.all.noise += of_row.noise;
            if of_row.signal > 0.0 {
                self.rows.push(of_row.ratio());
            }
        }
        Ok(())
    }

    /// What has been found.
    pub fn decibels(mut self) -> Decibels {
        self.rows.sort_by(f64::total_cmp);
        let row = |place: usize| self.rows.get(place).copied().unwrap_or(f64::NAN);
        Decibels {
            all: self.all.ratio(),
            outliers: self.outliers.ratio(),
            median_row: row(self.rows.len() / 2),
            worst_row: row(0),
        }
    }
}
