//! `dynorm fit`: the element-wise functions fitted to a norm on real activations, by the library's gradients.

mod paper;
mod problem;
mod quality;

use crate::{
    load::{self, Layer},
    params,
    table::Table,
};
use anstream::{print, println};
use anyhow::{Result, ensure};
use dynorm::{Norm, reference};
use problem::{Affine, Problem, limit, usual};
use quality::{Decibels, OUTLIERS, Quality};
use serde::Serialize;
use std::collections::BTreeMap;

/// What is fitted, and how the outcome is shown.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    source: load::Source,
    /// The norm that the functions are fitted to
    #[arg(long, value_enum, default_value_t = Target::RmsNorm)]
    target: Target,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
}

/// A row function.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Target {
    /// RMSNorm
    RmsNorm,
    /// LayerNorm
    LayerNorm,
}

impl Target {
    fn norm(self) -> Norm {
        match self {
            Self::RmsNorm => Norm::RmsNorm { eps: 1e-5 },
            Self::LayerNorm => Norm::LayerNorm { eps: 1e-5 },
        }
    }
}

/// What is fitted besides the function's parameters.
#[derive(Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Form {
    /// Nothing: the function's limit is the norm's own, and the weight the norm's.
    Parameters,
    /// Weight and bias of each channel.
    Channels,
}

/// A function fitted to one layer.
#[derive(Serialize)]
struct Fit {
    tensor: String,
    function: &'static str,
    form: Form,
    /// Fitted to all rows; none of a straight line.
    parameters: BTreeMap<&'static str, f32>,
    /// The same for people.
    #[serde(skip)]
    in_words: String,
    /// Those of the channels, where they are fitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    weight_and_bias: Option<[Vec<f32>; 2]>,
    /// Of rows that were not fitted to: each half by a fit to the other.
    snr_db: Decibels,
    /// Whether no neighbouring parameters are better, by the definition in f64.
    least: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Results {
    source: String,
    target: &'static str,
    fits: Vec<Fit>,
    paper: Vec<paper::Outlier>,
}

/// Fits everything and shows it; whether every fit is the best near it.
pub fn run(args: &Args) -> Result<bool> {
    let activations = args.source.load()?;
    let target = args.target.norm();
    let mut fits = Vec::new();
    for layer in &activations.layers {
        fits.push(fit(layer, activations.channels, target, None, Form::Channels)?);
        for form in [Form::Parameters, Form::Channels] {
            for norm in Norm::DEFAULTS.into_iter().filter(|norm| norm.is_elementwise()) {
                fits.push(fit(layer, activations.channels, target, Some(norm), form)?);
            }
        }
    }
    let results = Results {
        source: activations.source,
        target: target.name(),
        fits,
        paper: paper::outliers()?,
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&results)?);
    } else {
        show(&results);
    }
    Ok(results.fits.iter().all(|fit| fit.least) && results.paper.iter().all(|one| one.least))
}

/// Fits `norm`'s function, or without one a straight line for each channel, to `target` on the rows of a layer.
fn fit(
    layer: &Layer,
    channels: usize,
    target: Norm,
    norm: Option<Norm>,
    form: Form,
) -> Result<Fit> {
    let rows = layer.values.len() / channels;
    ensure!(rows > 1, "tensor {} has one row: one is fitted to and another judged by", layer.name);
    let usual = norm.map(|norm| usual(norm, &layer.values, channels));
    let nearest =
        |problem: &Problem| usual.map_or_else(|| problem.straight(), |usual| problem.fit(usual));
    let problem = |wanted: fn(usize) -> bool| problem(layer, channels, target, form, wanted);
    let (whole, even, odd) =
        (problem(|_| true), problem(|row| row % 2 == 0), problem(|row| row % 2 == 1));
    let found = nearest(&whole)?;
    let mut quality = Quality::new(&layer.values);
    quality.add(&odd, &nearest(&even)?)?;
    quality.add(&even, &nearest(&odd)?)?;
    Ok(Fit {
        tensor: layer.name.clone(),
        function: norm.map_or("straight line", Norm::name),
        form,
        parameters: norm.map(|_| params::named(found.norm)).unwrap_or_default(),
        in_words: norm.map(|_| params::describe(found.norm)).unwrap_or_default(),
        snr_db: quality.decibels(),
        least: norm.is_none() || whole.is_least(&found)?,
        weight_and_bias: (form == Form::Channels).then_some([found.weight, found.bias]),
    })
}

/// Some of a layer's rows, and what `target` makes of them.
fn problem(
    layer: &Layer,
    channels: usize,
    target: Norm,
    form: Form,
    wanted: fn(usize) -> bool,
) -> Problem {
    let rows = layer.values.chunks_exact(channels).enumerate();
    let x: Vec<f32> = rows.filter(|(i, _)| wanted(*i)).flat_map(|(_, row)| row).copied().collect();
    let exact: Vec<f64> = x.iter().map(|&x| x.into()).collect();
    let weight = layer.weight.clone().unwrap_or_else(|| vec![1.0; channels]);
    let exact_weight: Vec<f64> = weight.iter().map(|&w| w.into()).collect();
    let target_values =
        reference::forward(target, &exact, Some(&exact_weight), None, 0.0, channels);
    let affine = match form {
        Form::Parameters => {
            let limit = limit(target, channels);
            Affine::Given(weight.iter().map(|w| w * limit).collect())
        }
        Form::Channels => Affine::Free,
    };
    Problem { x, target: target_values, channels, affine }
}

/// Prints both tables.
fn show(results: &Results) {
    println!("activations: {}", results.source);
    println!("fitted to: {}, eps 1e-5, with each layer's weight\n", results.target);
    let decibels = |value: f64| if value.is_nan() { "-".to_owned() } else { format!("{value:.1}") };
    let check = |least: bool| if least { "ok" } else { "WRONG" }.to_owned();
    let head = [
        "tensor",
        "function",
        "fitted",
        "parameters",
        "SNR, dB",
        "outliers",
        "median row",
        "worst row",
        "check",
    ];
    let rows = results.fits.iter().map(|fit| {
        vec![
            fit.tensor.clone(),
            fit.function.to_owned(),
            match fit.form {
                Form::Parameters => "parameters",
                Form::Channels => "channels",
            }
            .to_owned(),
            fit.in_words.clone(),
            decibels(fit.snr_db.all),
            decibels(fit.snr_db.outliers),
            decibels(fit.snr_db.median_row),
            decibels(fit.snr_db.worst_row),
            check(fit.least),
        ]
    });
    let table = Table { head: head.map(str::to_owned).to_vec(), rows: rows.collect() };
    print!("{}", table.to_text());
    println!(
        "\nfitted: the parameters alone, the weight being the norm's own times the largest value that it can have \
         (sqrt(C); LayerNorm sqrt(C - 1));\nor weight and bias of each channel, too."
    );
    println!(
        "SNR: of rows that were not fitted to (each half of the rows by a fit to the other half): squared results"
    );
    println!(
        "of the norm over squared differences, of all elements, of the {OUTLIERS}th of largest magnitude, and of single rows."
    );
    println!(
        "parameters: fitted to all rows. check: no neighbours are better, by the definitions in f64.\n"
    );
    let head = ["norm", "function", "parameters", "mean residual", "largest", "check"];
    let rows = results.paper.iter().map(|one| {
        vec![
            one.target.to_owned(),
            one.function.to_owned(),
            one.in_words.clone(),
            format!("{:.6}", one.mean_residual),
            format!("{:.6}", one.largest_residual),
            check(one.least),
        ]
    });
    println!(
        "The paper's experiment: one channel of 100 raised in nine steps, the functions fitted to what the norm makes of it.\n"
    );
    let table = Table { head: head.map(str::to_owned).to_vec(), rows: rows.collect() };
    print!("{}", table.to_text());
}
