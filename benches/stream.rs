//! From which size of output on it pays to write past the caches: time with plain stores over
//! time with streamed ones, for calls that repeat over the same input and output.
//! `Forward::stream` tells by what calls decide that; this is where it comes from.
//!
//!     cargo bench --bench stream

use dynorm::{Norm, Rows, RowsMut, cpu};
use std::time::Instant;

const CHANNELS: usize = 768;

fn main() {
    println!("caches: {:?}", cpu::cache_sizes());
    println!(
        "plain time / streamed time, f32, rows of {CHANNELS} channels, one thread, median of 9"
    );
    // Cargo passes `--test` to see whether benches run at all.
    let test = std::env::args().any(|arg| arg == "--test");
    for offset in [0, 4] {
        println!("output {} bytes behind the begin of a cache line", 4 * offset);
        table(offset, test);
    }
}

/// The table for outputs `offset` elements behind the begin of a cache line.
fn table(offset: usize, test: bool) {
    print!("{:>12}", "output MiB");
    for norm in Norm::DEFAULTS {
        print!("{:>12}", norm.name());
    }
    println!();
    for mebibytes in if test { vec![1] } else { vec![4, 8, 16, 32, 48, 64, 128] } {
        let rows = (mebibytes << 20) / 4 / CHANNELS;
        let x: Vec<f32> = (0..rows * CHANNELS).map(|i| (i % 1009) as f32 * 0.01 - 5.0).collect();
        let mut y = vec![0.0; x.len() + 32];
        let start = y.as_ptr().align_offset(64) + offset;
        let y = &mut y[start..start + x.len()];
        y.fill(f32::NAN);
        print!("{mebibytes:>12}");
        for norm in Norm::DEFAULTS {
            let mut ratios: Vec<f64> =
                (0..9).map(|_| seconds(norm, &x, y, false) / seconds(norm, &x, y, true)).collect();
            ratios.sort_by(f64::total_cmp);
            print!("{:>12.2}", ratios[ratios.len() / 2]);
        }
        println!();
    }
}

/// Seconds of a call with or without streamed stores.
fn seconds(norm: Norm, x: &[f32], y: &mut [f32], stream: bool) -> f64 {
    let rows = x.len() / CHANNELS;
    let repeats = (16 << 20) / x.len() + 1;
    let start = Instant::now();
    for _ in 0..repeats {
        let x = Rows::new(x, rows, CHANNELS).expect("the shape fits");
        let y = RowsMut::new(y, rows, CHANNELS).expect("the shape fits");
        norm.forward(x, y).stream(stream).run().expect("valid");
    }
    start.elapsed().as_secs_f64() / repeats as f64
}
