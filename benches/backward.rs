//! What gradients cost: the speed of a backward call with all of them, and of one with that of the input alone, as a
//! share of a copy of as many bytes as `x` and `dy` that are read and `dx` that is written. The copy is the best of
//! three ways, measured in the same round.
//!
//!     cargo bench --bench backward

mod common;

use common::{SLACK, aligned, median_and_quartiles, seconds};
use dynorm::{Element, Norm, Rows, RowsMut, bf16, cpu};

/// Tensors of one type and size.
struct Buffers<T> {
    rows: usize,
    channels: usize,
    x: Vec<T>,
    dy: Vec<T>,
    dx: Vec<T>,
    weight: Vec<f32>,
    d_weight: Vec<f32>,
    d_bias: Vec<f32>,
    workspace: Vec<f32>,
}

impl<T: Element + bytemuck::Pod> Buffers<T> {
    fn new(rows: usize, channels: usize, round: fn(f32) -> T) -> Self {
        let wave = |step: f32| -> Vec<T> {
            let n = rows * channels + SLACK;
            (0..n).map(|i| round((i as f32 * step).sin() * 3.0 - 0.2)).collect()
        };
        let (x, dy, dx) = (wave(0.37), wave(0.11), wave(0.53));
        let weight: Vec<f32> = (0..channels).map(|i| (i as f32 * 0.23).sin()).collect();
        let [d_weight, d_bias] = [weight.clone(), weight.clone()];
        Self { rows, channels, x, dy, dx, weight, d_weight, d_bias, workspace: vec![] }
    }

    fn backward(&mut self, norm: Norm, sums: bool) {
        let Self { rows, channels, x, dy, dx, weight, d_weight, d_bias, workspace } = self;
        let (rows, channels) = (*rows, *channels);
        let view = |data| Rows::new::<T>(data, rows, channels).expect("the shape fits");
        let dx = RowsMut::new(aligned(dx), rows, channels).expect("the shape fits");
        let mut call = norm.backward(view(aligned(x)), view(aligned(dy)), dx).weight(weight);
        let mut by = [0.0; 2];
        if sums {
            let by = &mut by[..norm.parameter_count()];
            call = call.d_weight(d_weight).d_bias(d_bias).d_parameters(by);
            // Once for all calls, as a training loop would have it.
            workspace.resize(workspace.len().max(call.workspace_len()), 0.0);
            call = call.workspace(workspace);
        }
        call.run().expect("valid");
    }

    /// Seconds of the best copy of one tensor.
    fn copy_seconds(&mut self, repeats: usize) -> f64 {
        let (from, to) = (aligned(&mut self.x), aligned(&mut self.dx));
        let (from, to): (&[f32], &mut [f32]) =
            (bytemuck::cast_slice(from), bytemuck::cast_slice_mut(to));
        let mut time_of = |copy: fn(&[f32], &mut [f32])| seconds(repeats, || copy(from, to));
        time_of(|from, to| cpu::copy(from, to, false).expect("of one length"))
            .min(time_of(|from, to| cpu::copy(from, to, true).expect("of one length")))
            .min(time_of(|from, to| to.copy_from_slice(from)))
    }
}

fn measure<T: Element + bytemuck::Pod>(round: fn(f32) -> T, sizes: &[Size]) {
    for &(memory, rows, channels, rounds, repeats) in sizes {
        let mut buffers = Buffers::new(rows, channels, round);
        for sums in [true, false] {
            let which = if sums { "all" } else { "dx" };
            let shape = format!("{rows}x{channels}");
            print!("{:<5}{memory:<6}{shape:<12}{which:<4}", T::TYPE.name());
            for norm in Norm::DEFAULTS {
                let mut shares = Vec::new();
                let mut times = Vec::new();
                for _ in 0..rounds {
                    let copy = buffers.copy_seconds(repeats);
                    let time = seconds(repeats, || buffers.backward(norm, sums));
                    // Two tensors are read and one is written; a copy is of one each.
                    shares.push(copy * 1.5 / time);
                    times.push(time);
                }
                times.sort_by(f64::total_cmp);
                let ps = times[times.len() / 2] * 1e12 / (rows * channels) as f64;
                print!("  {} {ps:>5.0}", median_and_quartiles(shares));
            }
            println!();
        }
    }
}

/// Where the tensors are, rows, channels, rounds, and calls in one.
type Size = (&'static str, usize, usize, usize, usize);

fn main() {
    // Cargo passes `--test` to see whether benches run at all.
    let sizes: &[Size] = match std::env::args().any(|arg| arg == "--test") {
        true => &[("L2", 2, 96, 1, 1)],
        false => &[
            ("L2", 16, 4096, 15, 20),
            ("L2", 128, 576, 15, 20),
            ("DRAM", 4096, 4096, 7, 1),
            ("DRAM", 16384, 768, 7, 1),
        ],
    };
    let isa = dynorm::Isa::current().expect("there is one");
    println!(
        "{}, one thread, with weight: share of a copy of as many bytes, median of the rounds (quartiles), and ps \
         per element",
        isa.name()
    );
    print!("{:<27}", "");
    for norm in Norm::DEFAULTS {
        print!("{:>27}", norm.name());
    }
    println!();
    measure::<f32>(|v| v, sizes);
    measure::<bf16>(bf16::from_f32, sizes);
}
