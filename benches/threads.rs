//! From how many elements on it pays to wake rayon's threads: serial time over parallel time, for
//! calls back to back from a thread outside the pool. `Forward::run_parallel` stays on the calling
//! thread below a number of elements; this is where it comes from.
//!
//!     cargo bench --bench threads

use dynorm::{Norm, Rows, RowsMut};
use rayon::prelude::*;
use std::time::Instant;

const CHANNELS: usize = 4096;

fn main() {
    let threads = rayon::current_num_threads();
    println!(
        "serial time / time with {threads} threads, f32, rows of {CHANNELS} channels, median of 15"
    );
    print!("{:>10}", "elements");
    for norm in Norm::DEFAULTS {
        print!("{:>12}", norm.name());
    }
    println!();
    // Cargo passes `--test` to see whether benches run at all.
    let largest = if std::env::args().any(|arg| arg == "--test") { 14 } else { 21 };
    for exponent in 14..=largest {
        let elements = 1 << exponent;
        let x: Vec<f32> = (0..elements).map(|i| (i % 1009) as f32 * 0.01 - 5.0).collect();
        let mut y = x.clone();
        print!("{elements:>10}");
        for norm in Norm::DEFAULTS {
            let mut ratios: Vec<f64> = (0..15)
                .map(|_| seconds(norm, &x, &mut y, 1) / seconds(norm, &x, &mut y, threads))
                .collect();
            ratios.sort_by(f64::total_cmp);
            print!("{:>12.2}", ratios[ratios.len() / 2]);
        }
        println!();
    }
}

/// Seconds of a call in `parts` parts, each for a thread of rayon's if there are several.
fn seconds(norm: Norm, x: &[f32], y: &mut [f32], parts: usize) -> f64 {
    let rows = x.len() / CHANNELS;
    let repeats = (1 << 22) / x.len() + 1;
    let start = Instant::now();
    for _ in 0..repeats {
        let x = Rows::new(x, rows, CHANNELS).expect("the shape fits");
        let y = RowsMut::new(y, rows, CHANNELS).expect("the shape fits");
        let mut call = norm.forward(x, y);
        if parts == 1 {
            call.run().expect("valid");
        } else {
            let parts: Vec<_> = call.parts(parts).collect();
            parts.into_par_iter().with_max_len(1).for_each(|part| part.run().expect("valid"));
        }
    }
    start.elapsed().as_secs_f64() / repeats as f64
}
