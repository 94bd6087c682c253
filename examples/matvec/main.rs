//! What it is worth to apply a norm to the input of a matrix-vector product on load, inside the
//! product's own kernel, instead of in a call before it: `y = W (weight * norm(x))` in either form,
//! measured in turns, on one thread.
//!
//! LayerNorm is not among them: with its mean, `W (weight * x)` would need a correction by a
//! multiple of `W weight`, which cancels where the mean is large.
//!
//!     cargo run --release --example matvec

mod forms;
mod kernel;
mod prologue;
mod source;

use dynorm::{Element, Error, Isa, bf16};
use forms::{Form, Forms};
use kernel::Matrix;
use prologue::{DyIsru, DyT, Function, RmsNorm};
use std::time::Instant;

/// Channels in and out: a projection and a feed-forward layer of a large model, a projection of a
/// small one, whose matrix fits in L2, and a router that chooses among eight experts.
const SHAPES: [(usize, usize); 4] = [(4096, 4096), (4096, 11008), (576, 192), (4096, 8)];
/// Rounds that are kept, each with every form once; odd, so that there is one in the middle.
const ROUNDS: usize = 31;

fn main() -> Result<(), Error> {
    let isa = Isa::current()?;
    // As for benches: whether it runs at all.
    let test = std::env::args().any(|arg| arg == "--test");
    let (shapes, rounds) = if test { (&SHAPES[2..], 1) } else { (&SHAPES[..], ROUNDS) };
    println!("{}, one thread, median of {rounds} rounds", isa.name());
    println!("alone: time of the product, its input ready; the others over it: median (quartiles)");
    let forms = ["alone", "two calls", "on load, kept", "on load, each block"];
    print!("{:<14}{:<6}{:<10}{:>11}", "channels", "W", "norm", forms[0]);
    println!("  {:<21}{:<21}{}", forms[1], forms[2], forms[3]);
    for &(columns, rows) in shapes {
        let stride = padded(columns);
        let wide = values(rows * stride);
        let narrow: Vec<_> = wide.iter().map(|&w| bf16::from_f32(w)).collect();
        compare_all(isa, rounds, Matrix { elements: &wide, stride }, columns)?;
        compare_all(isa, rounds, Matrix { elements: &narrow, stride }, columns)?;
    }
    Ok(())
}

/// The distance between rows: some cache lines more than their length, since rows that are
/// multiples of 4 KiB apart compete for the same places in L1.
fn padded(columns: usize) -> usize {
    columns + 64
}

/// Numbers between -1 and 1, without a period that a sum would show.
fn values(n: usize) -> Vec<f32> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state as i32 as f32 / (1_u32 << 31) as f32
    };
    core::iter::repeat_with(next).take(n).collect()
}

fn compare_all<W: Element>(
    isa: Isa,
    rounds: usize,
    matrix: Matrix<W>,
    columns: usize,
) -> Result<(), Error> {
    compare(isa, rounds, RmsNorm { eps: 1e-5 }, matrix, columns)?;
    compare(isa, rounds, DyT { alpha: 0.5 }, matrix, columns)?;
    compare(isa, rounds, DyIsru { beta: 4.0 }, matrix, columns)
}

/// Measures a norm in all forms, sees that their results agree, and prints a line.
fn compare<F: Function, W: Element>(
    isa: Isa,
    rounds: usize,
    function: F,
    matrix: Matrix<W>,
    columns: usize,
) -> Result<(), Error> {
    let (x, weight) = (values(columns), values(columns));
    let mut forms = Forms::new(isa, function, matrix, &weight, &x);
    // Some 4 million products of two elements, or what a single call has.
    let repeats = (1 << 22) / matrix.elements.len() + 1;
    let mut times = [const { Vec::new() }; Form::ALL.len()];
    // The round that comes first only warms up.
    for round in 0..=rounds {
        for (form, times) in Form::ALL.into_iter().zip(&mut times) {
            let start = Instant::now();
            for _ in 0..repeats {
                forms.run(form)?;
            }
            if round > 0 {
                times.push(start.elapsed().as_secs_f64() / repeats as f64);
            }
        }
    }
    forms.check();

    let alone = quartiles(times[0].clone())[1] * 1e6;
    let shape = format!("{columns} -> {}", matrix.elements.len() / matrix.stride);
    print!("{shape:<14}{:<6}{:<10}{alone:>8.2} us", W::TYPE.name(), function.norm().name());
    for others in &times[1..] {
        let ratios = others.iter().zip(&times[0]).map(|(other, alone)| other / alone).collect();
        let [low, median, high] = quartiles(ratios);
        print!("  {median:.3} ({low:.3}-{high:.3})");
    }
    println!();
    Ok(())
}

/// Lower quartile, median and upper quartile.
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}
