//! The work of a comparison: every function on every element type, checked and then timed.

use crate::{
    buffer::Buffer,
    check::{self, Expected},
    load::Activations,
    measure::{self, Call, Effort},
    number::Number,
    params,
    results::{Check, Speed},
};
use anyhow::{Context, Result, ensure};
use dynorm::{ElementType, Isa, Norm, bf16, cpu::CacheSizes, f16};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// What is to be done.
#[derive(Clone, Copy)]
pub struct Plan<'a> {
    /// The instruction set.
    pub isa: Isa,
    /// The machine's caches, which the sizes follow.
    pub caches: CacheSizes,
    /// The functions; their parameters are chosen from the activations.
    pub norms: &'a [Norm],
    /// The element types of input, weight and output.
    pub types: &'a [ElementType],
    /// Whether to measure for a moment only.
    pub quick: bool,
    /// Whether to time at all sizes from L1 to DRAM too.
    pub sweep: bool,
}

impl Plan<'_> {
    /// Every size to time at: what the table calls it (nothing in the sweep), bytes of the
    /// input, and how long.
    fn sizes(&self) -> Vec<(&'static str, usize, Effort)> {
        let effort = |rounds, seconds| match self.quick {
            true => Effort { rounds: 1, seconds: 1e-5 },
            false => Effort { rounds, seconds },
        };
        // Input and output fill half of L2 (or of 1 MiB where its size is unknown); and far
        // more than L3.
        let l2 = if self.caches.l2 > 0 { self.caches.l2 } else { 1 << 20 };
        let dram = (2 * self.caches.l3).clamp(64 << 20, 256 << 20);
        let table = [("L2", l2 / 4), ("DRAM", dram)];
        let mut sizes = table.map(|(memory, bytes)| (memory, bytes, effort(15, 2e-3))).to_vec();
        if self.sweep {
            let doubled = std::iter::successors(Some(8 << 10), |bytes| Some(2 * bytes));
            sizes.extend(
                doubled
                    .take_while(|&bytes| bytes <= dram)
                    .map(|bytes| ("", bytes, effort(5, 1e-3))),
            );
        }
        sizes
    }
}

/// What was found.
pub struct Work {
    /// Threads of the parallel runs.
    pub threads: usize,
    /// Function by function.
    pub checks: Vec<Check>,
    /// Function by function, at the table's sizes.
    pub speed: Vec<Speed>,
    /// At the sweep's sizes.
    pub sweep: Vec<Speed>,
}

impl Work {
    /// Does what `plan` says, with a progress bar where standard error is a terminal.
    pub fn run(plan: Plan, activations: &Activations) -> Result<Self> {
        let pool = ThreadPoolBuilder::new().build().context("cannot start threads")?;
        let threads = pool.current_num_threads();
        let pools = if threads > 1 { vec![None, Some(&pool)] } else { vec![None] };
        let steps = plan.types.len() * plan.norms.len() * pools.len() * (2 + plan.sizes().len());
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} ({elapsed})")?;
        let progress = ProgressBar::new(steps as u64).with_style(style);
        let mut worker =
            Worker { plan, activations, pools, progress, checks: Vec::new(), speed: Vec::new() };
        for element in plan.types {
            match element {
                ElementType::F32 => worker.element_type::<f32>()?,
                ElementType::F16 => worker.element_type::<f16>()?,
                ElementType::Bf16 => worker.element_type::<bf16>()?,
            }
        }
        worker.progress.finish_and_clear();
        let Worker { mut checks, mut speed, .. } = worker;
        // Done type by type, because the buffers are; read function by function.
        let place = |name: &str| plan.norms.iter().position(|norm| norm.name() == name);
        checks.sort_by_key(|check| place(check.function));
        speed.sort_by_key(|speed| place(speed.function));
        let (sweep, speed) = speed.into_iter().partition(|speed| speed.memory.is_empty());
        Ok(Self { threads, checks, speed, sweep })
    }
}

/// A function's input as elements of type `T`.
struct Case<T> {
    /// The layer's name, or `all`.
    name: String,
    /// The function with its parameters for this input.
    norm: Norm,
    x: Vec<T>,
    /// The layer's weight, or ones.
    weight: Vec<T>,
}

/// Work under way.
struct Worker<'a> {
    plan: Plan<'a>,
    activations: &'a Activations,
    /// `None` is the one thread; then the pool, if there is more than one.
    pools: Vec<Option<&'a ThreadPool>>,
    progress: ProgressBar,
    checks: Vec<Check>,
    speed: Vec<Speed>,
}

impl Worker<'_> {
    /// Every function on elements of type `T`.
    fn element_type<T: Number>(&mut self) -> Result<()> {
        let name = T::TYPE.name();
        let max = self.activations.max_magnitude();
        ensure!(
            f64::from(max) <= T::MAX,
            "{name} cannot hold {max}, the largest |x|: leave it out of --types"
        );

        let channels = self.activations.channels;
        let elements = |bytes: usize| (bytes / size_of::<T>() / channels).max(1) * channels;
        let sizes = self.plan.sizes();
        let largest = sizes.iter().map(|&(_, bytes, _)| elements(bytes)).max().unwrap_or(0);
        let values: Vec<T> = self.activations.all_values().into_iter().map(T::from_f32).collect();
        let x = Buffer::tiled(&values, largest);
        let mut y = Buffer::poisoned(largest);

        for &norm in self.plan.norms {
            self.progress.set_message(format!("{} {name}: checking", norm.name()));
            let cases = self.cases::<T>(norm);
            let checked = self.check(&cases)?;
            self.progress.set_message(format!("{} {name}: measuring", norm.name()));
            let Some(all) = cases.last() else { continue };
            for &(memory, bytes, effort) in &sizes {
                let len = elements(bytes);
                let x = &x.slice()[..len];
                let call = Call {
                    norm: all.norm,
                    isa: self.plan.isa,
                    x,
                    weight: Some(&all.weight),
                    channels,
                };
                for &pool in &self.pools {
                    let y = &mut y.slice_mut()[..len];
                    self.speed.push(measure::speed(&call, y, &checked, pool, effort, memory)?);
                    self.progress.inc(1);
                }
            }
        }
        Ok(())
    }

    /// `norm` on each layer; the last case is all layers' rows together, with the first layer's
    /// weight: the one that is timed.
    fn cases<T: Number>(&self, norm: Norm) -> Vec<Case<T>> {
        let channels = self.activations.channels;
        let convert = |values: &[f32]| values.iter().map(|&x| T::from_f32(x)).collect();
        let case = |name: &str, values: &[f32], weight: Option<&[f32]>| Case {
            name: name.to_owned(),
            norm: params::fitted(norm, values, channels),
            x: convert(values),
            weight: weight.map_or_else(|| vec![T::from_f32(1.0); channels], convert),
        };
        let layers = &self.activations.layers;
        let mut cases: Vec<_> = layers
            .iter()
            .map(|layer| case(&layer.name, &layer.values, layer.weight.as_deref()))
            .collect();
        cases.push(case("all", &self.activations.all_values(), layers[0].weight.as_deref()));
        cases
    }

    /// Compares `cases` with the reference, with and without the weight, on one thread and on
    /// all; gives the last case's result with weight on one thread.
    fn check<T: Number>(&mut self, cases: &[Case<T>]) -> Result<Vec<T>> {
        let channels = self.activations.channels;
        let mut last = Vec::new();
        for weighted in [false, true] {
            let mut worst = vec![(0.0, String::new()); self.pools.len()];
            for Case { name, norm, x, weight } in cases {
                let weight = weighted.then_some(weight.as_slice());
                let expected = Expected::new(*norm, x, weight, channels);
                let call = Call { norm: *norm, isa: self.plan.isa, x, weight, channels };
                for (pool, worst) in self.pools.iter().zip(&mut worst) {
                    let mut y = Buffer::poisoned(x.len());
                    match pool {
                        Some(pool) => pool.install(|| call.run(y.slice_mut(), true))?,
                        None => call.run(y.slice_mut(), false)?,
                    }
                    let (error, row, channel) = expected.worst_error(y.slice());
                    if error >= worst.0 {
                        *worst = (error, format!("{name}, row {row}, channel {channel}"));
                    }
                    if pool.is_none() {
                        last = y.slice().to_vec();
                    }
                }
            }
            for (pool, (worst_ulp, place)) in self.pools.iter().zip(worst) {
                let norm = cases[0].norm;
                let limit_ulp = check::limit::<T>(norm, weighted);
                self.checks.push(Check {
                    function: norm.name(),
                    element: T::TYPE.name(),
                    threads: pool.map_or(1, ThreadPool::current_num_threads),
                    weighted,
                    worst_ulp,
                    limit_ulp,
                    place,
                    ok: worst_ulp <= limit_ulp,
                });
                self.progress.inc(1);
            }
        }
        Ok(last)
    }
}
