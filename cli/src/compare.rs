//! `dynorm compare`: checks every function on real activations, times it, and shows both.

use crate::{
    gpu::Gpu,
    load::{self, Activations, Layer},
    params, report,
    results::{Input, LayerInfo, Machine, Parameters, Results},
    table,
    work::{Plan, Work},
};
use anstream::{print, println};
use anyhow::{Context, Result, bail};
use dynorm::{ElementType, Isa, Norm};
use std::{fs, path::PathBuf};

/// What is compared, and how the outcome is shown.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    source: load::Source,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Also write a page with the table and plots, which needs nothing beside it; measures more
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Element types, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "f32,f16,bf16", value_parser = element_type)]
    types: Vec<ElementType>,
    /// Functions, separated by commas. Default: all
    #[arg(long, value_delimiter = ',', value_parser = function)]
    functions: Vec<Norm>,
    /// Measure for a moment only: shows that everything runs, the speeds mean little
    #[arg(long)]
    quick: bool,
    /// Instruction set. Default: the one that `dynorm info` shows
    #[arg(long, value_name = "NAME", value_parser = isa)]
    isa: Option<Isa>,
    /// Leave the GPU out. Without this, the first that the CUDA driver shows is compared too
    #[arg(long)]
    no_gpu: bool,
}

fn element_type(name: &str) -> Result<ElementType> {
    let found = ElementType::ALL.into_iter().find(|element| element.name() == name);
    found.with_context(|| {
        format!("it must be one of {}", ElementType::ALL.map(ElementType::name).join(", "))
    })
}

fn function(name: &str) -> Result<Norm> {
    let plain = |name: &str| name.replace(['_', '-'], "").to_ascii_lowercase();
    let found = Norm::DEFAULTS.into_iter().find(|norm| plain(norm.name()) == plain(name));
    found
        .with_context(|| format!("it must be one of {}", Norm::DEFAULTS.map(Norm::name).join(", ")))
}

fn isa(name: &str) -> Result<Isa> {
    let Some(isa) = Isa::available().find(|isa| isa.name() == name) else {
        let available: Vec<_> = Isa::available().map(Isa::name).collect();
        bail!("this processor has {}", available.join(", "));
    };
    Ok(isa)
}

/// Runs the comparison and shows it; whether every check held.
pub fn run(args: &Args) -> Result<bool> {
    let activations = args.source.load()?;
    let norms = if args.functions.is_empty() { &Norm::DEFAULTS[..] } else { &args.functions };
    let results = compare(args, norms, &activations)?;
    if let Some(path) = &args.report {
        let page = report::page(&results, norms, &activations)?;
        fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&results)?);
    } else {
        println!("{}", results.machine.in_words().join("\n"));
        println!("{}\n", results.input.in_words());
        print!("{}", table::comparison(&results).to_text());
        println!();
        table::legend(&results).for_each(|line| println!("{line}"));
        if results.quick {
            println!("--quick: the speeds mean little.");
        }
    }
    let failures = results.failures();
    for failure in &failures {
        eprintln!("wrong: {failure}");
    }
    Ok(failures.is_empty())
}

fn compare(args: &Args, norms: &[Norm], activations: &Activations) -> Result<Results> {
    let caches = dynorm::cpu::cache_sizes();
    let isa = args.isa.map_or_else(Isa::current, Ok)?;
    let gpu = if args.no_gpu { Err("--no-gpu was given".to_owned()) } else { Gpu::open() };
    let plan = Plan {
        isa,
        caches,
        gpu: gpu.as_ref().ok(),
        norms,
        types: &args.types,
        quick: args.quick,
        sweep: args.report.is_some(),
    };
    let work = Work::run(plan, activations)?;
    let mut results = Results {
        version: env!("CARGO_PKG_VERSION"),
        quick: args.quick,
        ok: false,
        machine: Machine::new(isa, caches, work.threads, gpu.map(|gpu| gpu.info().clone())),
        input: input(activations),
        parameters: parameters(norms, activations),
        checks: work.checks,
        speed: work.speed,
        sweep: work.sweep,
    };
    results.ok = results.failures().is_empty();
    Ok(results)
}

/// The activations in numbers.
fn input(activations: &Activations) -> Input {
    let channels = activations.channels;
    let layer = |layer: &Layer| {
        let max = layer.values.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
        LayerInfo {
            name: layer.name.clone(),
            stored: layer.stored.clone(),
            rows: layer.values.len() / channels,
            median_rms: params::median_mean_square(&layer.values, channels).sqrt(),
            max,
            has_weight: layer.weight.is_some(),
        }
    };
    let layers: Vec<LayerInfo> = activations.layers.iter().map(layer).collect();
    Input { source: activations.source.clone(), channels, rows: activations.rows(), layers }
}

/// Each function's parameters on each layer and on all.
fn parameters(norms: &[Norm], activations: &Activations) -> Vec<Parameters> {
    let all = activations.all_values();
    let layers =
        activations.layers.iter().map(|layer| (layer.name.as_str(), layer.values.as_slice()));
    let places: Vec<_> = layers.chain([("all", all.as_slice())]).collect();
    let of = |norm: Norm| {
        places.iter().map(move |(place, values)| Parameters {
            function: norm.name(),
            layer: (*place).to_owned(),
            values: params::describe(params::fitted(norm, values, activations.channels)),
        })
    };
    norms.iter().flat_map(|&norm| of(norm).collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_forgiving_and_errors_name_the_choices() {
        assert_eq!(function("RMSNorm").unwrap().name(), "rms_norm");
        assert_eq!(function("layer_norm").unwrap().name(), "layer_norm");
        assert!(function("softmax").unwrap_err().to_string().contains("dyisru"));
        assert!(element_type("f64").unwrap_err().to_string().contains("bf16"));
        assert!(isa("mmx").unwrap_err().to_string().contains("portable"));
    }
}
