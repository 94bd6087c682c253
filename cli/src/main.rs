//! `dynorm`: what RMSNorm, LayerNorm and their element-wise counterparts give and cost on this
//! machine, on real activations.

#![deny(unsafe_code)]

mod buffer;
mod check;
mod compare;
mod fit;
#[cfg(feature = "cuda")]
mod gpu;
#[cfg(not(feature = "cuda"))]
#[path = "gpu_missing.rs"]
mod gpu;
mod info;
mod load;
mod measure;
mod number;
mod params;
mod place;
mod plot;
mod quantize;
mod report;
mod results;
mod table;
mod work;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// RMSNorm, LayerNorm, DyT, DyISRU and Derf: accuracy and speed on this machine.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What is asked for.
#[derive(Subcommand)]
enum Command {
    /// Checks every function on real activations against f64, and times it beside a copy of
    /// the same bytes. Exit status 1 if a result is wrong.
    Compare(compare::Args),
    /// Quantises every function's output to 8 bits on real activations: a scale computed for each row
    /// beside the static one. Exit status 1 if a result is wrong.
    Quantize(quantize::Args),
    /// Fits the element-wise functions to a norm on real activations, and says how near they come. Exit status 1
    /// if a fit is not the best.
    Fit(fit::Args),
    /// Says which processor and GPU this machine has, which implementation the library chooses on
    /// the one, and whether its kernels load on the other.
    Info,
}

/// 0: all is well; 1: a check failed; 2: the work could not be done.
fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Compare(args) => compare::run(&args),
        Command::Quantize(args) => quantize::run(&args),
        Command::Fit(args) => fit::run(&args),
        Command::Info => info::run().map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
