//! What it is worth to apply a function to the input of a matrix-vector product on load, inside the
//! product's own kernel (`gemv.cu`, which includes dynorm's installed header), instead of by a
//! kernel before it: `y = W (weight * norm(x))` in either form, in bf16, each in a captured graph.
//! Sees that the results are right, and writes one JSON line per measurement.
//!
//!     cargo run --release --example cuda

mod forms;
#[path = "../../tests/cuda_common/gpu.rs"]
mod gpu;
mod kernels;
mod problem;

use dynorm::Norm;
use dynorm_gpu_lab::Error;
use forms::{Form, Forms};
use gpu::Gpu;
use problem::Problem;

/// Rows and columns of W: projections and feed-forward layers of large models, and a router.
const SHAPES: [(usize, usize); 4] = [(4096, 4096), (14_336, 4096), (4096, 14_336), (128, 4096)];
/// To try the program: neither is a multiple of what a block takes.
const SMOKE: [(usize, usize); 1] = [(20, 1048)];
const NORMS: [Norm; 4] = [
    Norm::RmsNorm { eps: 1e-5 },
    Norm::DyT { alpha: 0.5 },
    Norm::DyIsru { beta: 4.0, scale: 1.0 },
    Norm::Derf { alpha: 0.5, shift: 0.125 },
];
/// Rounds, each with every form once; odd, so that there is one in the middle.
const ROUNDS: usize = 11;
/// Calls in a graph, at least.
const CALLS: usize = 24;

fn main() -> Result<(), Error> {
    let smoke = std::env::args().any(|argument| argument == "--smoke");
    let (shapes, rounds, calls) =
        if smoke { (&SMOKE[..], 1, 1) } else { (&SHAPES[..], ROUNDS, CALLS) };
    let Some(gpu) = Gpu::open() else { return Ok(()) };
    for &(rows, columns) in shapes {
        let problem = Problem::new(rows, columns);
        measure(&gpu, &problem, rounds, calls)?;
    }
    Ok(())
}

/// Checks and measures all forms of a problem.
fn measure(gpu: &Gpu, problem: &Problem, rounds: usize, calls: usize) -> Result<(), Error> {
    // When a copy's turn comes again, it has left the cache.
    let bytes = 2 * problem.w.len();
    let copies = (4 * gpu.lab.l2_bytes()?).div_ceil(bytes).max(2);
    let forms = Forms::new(gpu, problem, copies)?;
    let fused = NORMS.into_iter().flat_map(|norm| [Form::TwoSteps(norm), Form::OnLoad(norm)]);
    let all: Vec<_> = std::iter::once(Form::Alone).chain(fused).collect();
    let calls = calls.next_multiple_of(copies);
    let mut graphs = Vec::new();
    for &form in &all {
        forms.check(form)?;
        let work = || (0..calls).try_for_each(|call| forms.launch(form, call % copies));
        graphs.push(gpu.lab.capture(work)?);
    }
    let mut times = vec![Vec::new(); all.len()];
    // The round that comes first only warms up.
    for round in 0..=rounds {
        for (graph, times) in graphs.iter().zip(&mut times) {
            let us = gpu.lab.seconds(|| gpu.lab.replay(graph))? * 1e6 / calls as f64;
            if round > 0 {
                times.push(us);
            }
        }
    }
    for (form, mut times) in all.into_iter().zip(times) {
        times.sort_by(f64::total_cmp);
        let us = times[times.len() / 2];
        println!(
            "{{\"kind\":\"matvec\",\"function\":\"{}\",\"form\":\"{}\",\"outputs\":{},\"inputs\":{},\
             \"us\":{us:.3},\"gb_per_s\":{:.1}}}",
            form.norm().map_or("none", |norm| norm.name()),
            name(form),
            problem.rows,
            problem.columns,
            bytes as f64 / us / 1000.0,
        );
    }
    Ok(())
}

fn name(form: Form) -> &'static str {
    match form {
        Form::Alone => "alone",
        Form::TwoSteps(_) => "two steps",
        Form::OnLoad(_) => "on load",
    }
}
