//! Calls for gradients in all their detail, and their comparison with the definition.

use super::random::Random;
use super::tensor::{Guarded, Place, Sample, Tensor};
use super::tolerance::{self, UNIT};
use dynorm::reference::{self, Gradients};
use dynorm::{Backward, ElementType, Isa, Norm};

/// How exact the operations are that gradients are made of.
#[derive(Clone, Copy, Debug)]
pub struct Exactness {
    /// Units in the last place that a derivative's relative error has beside those of a CPU.
    units: f64,
    /// Below what slopes have no digits.
    least: f64,
    /// The relative error of a function's value where x is of 16 bits.
    short: f64,
}

/// Subnormal results are exact to their spacing, of each of a few factors.
pub const CPU: Exactness = Exactness { units: 0.0, least: 1e-43, short: 0.0 };
/// Results of its approximate instructions that would be subnormal are 0.
pub const GPU: Exactness = Exactness { units: 12.0, least: 5e-38, short: 1.0 / (1 << 16) as f64 };

/// Everything about a call but its numbers.
#[derive(Clone, Copy, Debug)]
pub struct BackwardCall {
    pub norm: Norm,
    pub isa: Isa,
    pub element: ElementType,
    pub weight: Option<ElementType>,
    pub weight_offset: f32,
    pub rows: usize,
    pub channels: usize,
    /// Elements between rows, and from a cache line's begin to the first; other numbers of them for every tensor.
    pub gap: usize,
    pub start: usize,
    pub in_place: bool,
    /// Whether anything but the input's gradient is wanted.
    pub sums: bool,
    pub exactness: Exactness,
}

/// The numbers of a call, rounded to its types; rows side by side.
#[derive(Clone, Debug)]
pub struct Numbers {
    pub x: Tensor,
    pub dy: Tensor,
    pub weight: Option<Tensor>,
}

/// What a call writes.
#[derive(Clone, Debug)]
pub struct Written {
    pub dx: Tensor,
    pub d_weight: Vec<f32>,
    pub d_bias: Vec<f32>,
    pub d_parameters: Vec<f32>,
}

impl Written {
    /// All of it, to the bit.
    pub fn bits(&self) -> Vec<u32> {
        let sums = [&self.d_weight, &self.d_bias, &self.d_parameters].into_iter().flatten();
        self.dx.all_bits().into_iter().chain(sums.map(|sum| sum.to_bits())).collect()
    }
}

/// Around what is written beside `dx`.
const GUARD: usize = 40;
const POISON: f32 = <f32 as Sample>::POISON;

/// `len` elements of poison with more of it around them.
fn guarded(len: usize) -> Vec<f32> {
    vec![POISON; len + 2 * GUARD]
}

/// The elements between the guards, which must be as they were.
fn between(mut guarded: Vec<f32>) -> Vec<f32> {
    let kept = |guard: &[f32]| guard.iter().all(|v| v.to_bits() == POISON.to_bits());
    let end = guarded.split_off(guarded.len() - GUARD);
    let content = guarded.split_off(GUARD);
    assert!(kept(&guarded) && kept(&end), "written outside");
    content
}

impl BackwardCall {
    /// Dense f32 rows without a weight, all gradients wanted.
    pub fn new(norm: Norm, isa: Isa, rows: usize, channels: usize) -> Self {
        Self {
            norm,
            isa,
            element: ElementType::F32,
            weight: None,
            weight_offset: 0.0,
            rows,
            channels,
            gap: 0,
            start: 0,
            in_place: false,
            sums: true,
            exactness: CPU,
        }
    }

    /// Numbers of ordinary size.
    pub fn numbers(&self, seed: u64) -> Numbers {
        let mut random = Random(seed);
        let mut rows = |mean, deviation| {
            Tensor::new(self.element, &random.normals(self.rows * self.channels, mean, deviation))
        };
        let (x, dy) = (rows(0.2, 1.5), rows(0.1, 1.0));
        let weight =
            self.weight.map(|of| Tensor::new(of, &random.normals(self.channels, 1.0, 1.0)));
        Numbers { x, dy, weight }
    }

    /// Builds the call over guarded memory, has `run` run it, and gives what it has written.
    ///
    /// # Panics
    /// If something was written that is not the call's.
    pub fn run_with(&self, numbers: &Numbers, run: impl FnOnce(&mut Backward<'_>)) -> Written {
        let place = |kind: usize| Place {
            rows: self.rows,
            channels: self.channels,
            gap: if self.gap == 0 { 0 } else { self.gap + kind },
            start: self.start * (kind + 1),
        };
        let x = Guarded::new(place(0), &numbers.x);
        let dy = Guarded::new(place(1), &numbers.dy);
        let mut dx = match self.in_place {
            true => Guarded::new(place(2), &numbers.dy),
            false => Guarded::poison(self.element, place(2)),
        };
        let (channels, parameters) = (self.channels, self.norm.parameter_count());
        let mut d_weight = guarded(channels);
        let mut d_bias = guarded(channels);
        let mut d_parameters = guarded(parameters);

        let mut call = match self.in_place {
            true => self.norm.backward_in_place(x.rows(), dx.rows_mut()),
            false => self.norm.backward(x.rows(), dy.rows(), dx.rows_mut()),
        };
        call = call.isa(self.isa).weight_offset(self.weight_offset);
        if let Some(weight) = &numbers.weight {
            call = weight.as_weight_of_backward(call);
        }
        if self.sums {
            call = call
                .d_weight(&mut d_weight[GUARD..][..channels])
                .d_bias(&mut d_bias[GUARD..][..channels])
                .d_parameters(&mut d_parameters[GUARD..][..parameters]);
        }
        let len = call.workspace_len();
        let mut workspace = guarded(len);
        call = call.workspace(&mut workspace[GUARD..][..len]);
        run(&mut call);
        between(workspace);
        Written {
            dx: dx.into_rows(),
            d_weight: between(d_weight),
            d_bias: between(d_bias),
            d_parameters: between(d_parameters),
        }
    }

    /// What [`Backward::run`] writes.
    pub fn run(&self, numbers: &Numbers) -> Written {
        self.run_with(numbers, |call| call.run().unwrap_or_else(|e| panic!("{e}: {self:?}")))
    }

    /// Runs with ordinary numbers and compares with the definition.
    pub fn check(&self) {
        let numbers = self.numbers((self.rows * 4096 + self.channels) as u64);
        self.compare(&numbers, &self.run(&numbers));
    }

    /// Compares what was written with the definition.
    ///
    /// # Panics
    /// If something is farther from it than the errors of its terms add up to.
    pub fn compare(&self, numbers: &Numbers, written: &Written) {
        let Numbers { x, dy, weight } = numbers;
        let (x, dy) = (x.values(), dy.values());
        let weight = weight.as_ref().map(Tensor::values);
        let offset = f64::from(self.weight_offset);
        let channels = self.channels;
        let wanted = reference::backward(self.norm, &x, &dy, weight.as_deref(), offset, channels);
        let allowed = self.allowed(&x, &dy, weight.as_deref());
        let given = &written.dx;
        for i in 0..x.len() {
            let of_store = tolerance::of_store(self.element, wanted.dx[i], allowed.dx[i]);
            self.within("dx", i, given.value(i), wanted.dx[i], allowed.dx[i] + of_store);
        }
        if !self.sums {
            let untouched = |sums: &[f32]| sums.iter().all(|v| v.to_bits() == POISON.to_bits());
            assert!(untouched(&written.d_weight) && untouched(&written.d_bias), "{self:?}");
            return;
        }
        for (what, given, wanted, allowed) in [
            ("d_weight", &written.d_weight, &wanted.d_weight, &allowed.d_weight),
            ("d_bias", &written.d_bias, &wanted.d_bias, &allowed.d_bias),
            ("d_parameters", &written.d_parameters, &wanted.d_parameters, &allowed.d_parameters),
        ] {
            assert_eq!(given.len(), wanted.len());
            for i in 0..wanted.len() {
                self.within(what, i, given[i].into(), wanted[i], allowed[i]);
            }
        }
    }

    fn within(&self, what: &str, i: usize, given: f64, wanted: f64, allowed: f64) {
        assert!(
            tolerance::is_within(given, wanted, allowed),
            "{what} {i}: {given:e} instead of {wanted:e} +- {allowed:e}, {self:?}"
        );
    }

    /// How far each gradient may be from its definition.
    fn allowed(&self, x: &[f64], dy: &[f64], weight: Option<&[f64]>) -> Gradients {
        let (norm, channels, exactness) = (self.norm, self.channels, self.exactness);
        let short = if self.element == ElementType::F32 { 0.0 } else { exactness.short };
        let f = reference::forward(norm, x, None, None, 0.0, channels);
        let mut allowed = Gradients {
            dx: vec![],
            d_weight: vec![0.0; channels],
            d_bias: vec![0.0; channels],
            d_parameters: vec![0.0; norm.parameter_count()],
        };
        // Each of so many additions rounds what has been added up.
        let additions = 8.0 + (self.rows as f64).min(64.0_f64.max(self.rows as f64 / 64.0 + 1.0));
        for row in 0..self.rows {
            let row = row * channels..(row + 1) * channels;
            let (x, dy, f) = (&x[row.clone()], &dy[row.clone()], &f[row]);
            let of_weight = |c: usize| weight.map_or(1.0, |w| w[c] + f64::from(self.weight_offset));
            let df: Vec<f64> = (0..channels).map(|c| of_weight(c) * dy[c]).collect();
            allowed.dx.extend(of_row(norm, exactness, x, f, &df));
            for c in 0..channels {
                let of_value = of_value(norm, exactness, x[c], f[c]) + short * f[c].abs();
                let of_product = dy[c].abs() * (of_value + additions * UNIT * f[c].abs());
                allowed.d_weight[c] += of_product + exactness.least;
                allowed.d_bias[c] += additions * UNIT * dy[c].abs();
                let by = of_parameters(norm, exactness, x[c], f[c]);
                for (sum, by) in allowed.d_parameters.iter_mut().zip(by) {
                    *sum += df[c].abs() * by;
                }
            }
        }
        allowed
    }
}

/// The error of the function.
fn of_value(norm: Norm, exactness: Exactness, x: f64, f: f64) -> f64 {
    let slope = one(norm, x).map_or(0.0, |of| of.dx[0].abs());
    match norm {
        Norm::Derf { alpha, shift } => {
            let alpha = f64::from(alpha);
            let argument = (alpha * x).abs().min(1e30) + f64::from(shift).abs();
            6.0 * UNIT * f.abs() + slope / alpha.abs().max(1e-30) * 2.0 * UNIT * argument
        }
        _ if norm.is_elementwise() => 6.0 * UNIT * f.abs() + exactness.least,
        _ => 6.0 * UNIT * f.abs().max(1.0),
    }
}

/// The gradients of a single element, of an element-wise function.
fn one(norm: Norm, x: f64) -> Option<Gradients> {
    norm.is_elementwise().then(|| reference::backward(norm, &[x], &[1.0], None, 0.0, 1))
}

/// The relative error of the derivatives of an element-wise function: of some operations, and where they fall off as
/// `exp` does, what the rounding of its argument makes of it.
fn relative(norm: Norm, exactness: Exactness, x: f64) -> f64 {
    let argument = match norm {
        Norm::DyT { alpha } => 4.0 * (f64::from(alpha) * x).abs(),
        Norm::Derf { alpha, shift } => {
            let (product, shift) = (f64::from(alpha) * x, f64::from(shift));
            let z = product + shift;
            z * z + 2.0 * z.abs() * (product.abs() + shift.abs())
        }
        _ => 0.0,
    };
    UNIT * (9.0 + exactness.units + argument.min(1e4))
}

/// The errors of the terms of the parameters' gradients, their addition included.
fn of_parameters(norm: Norm, exactness: Exactness, x: f64, f: f64) -> Vec<f64> {
    let Some(of) = one(norm, x) else { return vec![] };
    let mut errors: Vec<f64> = of
        .d_parameters
        .iter()
        .map(|by| {
            // Subnormal slopes are multiplied with `x`.
            let subnormal = exactness.least * x.abs().clamp(1.0, f64::from(f32::MAX));
            by.abs() * (relative(norm, exactness, x) + 64.0 * UNIT) + subnormal
        })
        .collect();
    if let Norm::DyIsru { .. } = norm {
        errors[1] = of_value(norm, exactness, x, f) + 64.0 * UNIT * of.d_parameters[1].abs();
    }
    errors
}

/// The errors of the input's gradients.
fn of_row(norm: Norm, exactness: Exactness, x: &[f64], f: &[f64], df: &[f64]) -> Vec<f64> {
    if norm.is_elementwise() {
        // What slopes are multiplied with before they are written.
        let scaled = match norm {
            Norm::DyT { alpha } | Norm::Derf { alpha, .. } => 4.0 * f64::from(alpha).abs().max(1.0),
            _ => 1.0,
        } * exactness.least;
        let of = |(&x, df): (&f64, &f64)| {
            let slope = one(norm, x).map_or(0.0, |of| of.dx[0].abs());
            df.abs() * (slope * relative(norm, exactness, x) + scaled) + scaled
        };
        return x.iter().zip(df).map(of).collect();
    }
    let channels = x.len() as f64;
    let mean = |values: &dyn Fn(usize) -> f64| (0..x.len()).map(values).sum::<f64>() / channels;
    let (eps, x_mean) = match norm {
        Norm::LayerNorm { eps } => (eps, mean(&|i| x[i])),
        Norm::RmsNorm { eps } => (eps, 0.0),
        _ => unreachable!("the others are element-wise"),
    };
    let variance = mean(&|i| (x[i] - x_mean) * (x[i] - x_mean));
    let rstd = 1.0 / (variance + f64::from(eps)).sqrt();
    let size = mean(&|i| df[i].abs()) + mean(&|i| (df[i] * f[i]).abs());
    let of = |(f, df): (&f64, &f64)| {
        (12.0 + exactness.units) * UNIT * rstd * (df.abs() + (1.0 + f.abs()) * size)
    };
    f.iter().zip(df).map(of).collect()
}
