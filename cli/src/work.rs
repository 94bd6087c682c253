//! The work of a comparison: every function on every element type, checked and then timed.

use crate::{
    buffer::Buffer,
    check::{self, Expected},
    gpu::Gpu,
    load::Activations,
    measure::{Call, Effort},
    number::Number,
    params,
    place::Place,
    results::{Check, Speed},
};
use anyhow::{Context, Result, ensure};
use dynorm::{ElementType, Isa, Norm, bf16, cpu::CacheSizes, f16};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::ThreadPoolBuilder;

/// What is to be done.
#[derive(Clone, Copy)]
pub struct Plan<'a> {
    /// The instruction set.
    pub isa: Isa,
    /// The machine's caches, which the sizes follow.
    pub caches: CacheSizes,
    /// The GPU, where there is one.
    pub gpu: Option<&'a Gpu>,
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
    /// Every size to time at on `place`: what the table calls it (nothing in the sweep), bytes of
    /// the input, and how long.
    fn sizes(&self, place: Place) -> Vec<(&'static str, usize, Effort)> {
        let effort = |rounds, seconds| match self.quick {
            true => Effort { rounds: 1, seconds: 1e-5 },
            false => Effort { rounds, seconds },
        };
        let (l2, dram) = match place {
            Place::Gpu(gpu) => gpu.sizes(),
            // Input and output fill half of L2 (or of 1 MiB where its size is unknown); and far
            // more than L3.
            Place::Thread | Place::Pool(_) => (
                if self.caches.l2 > 0 { self.caches.l2 / 4 } else { 1 << 18 },
                (2 * self.caches.l3).clamp(64 << 20, 256 << 20),
            ),
        };
        let table = [("L2", l2), ("DRAM", dram)];
        let mut sizes = table.map(|(memory, bytes)| (memory, bytes, effort(15, 2e-3))).to_vec();
        if self.sweep && place.threads().is_some() {
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
        let pool = (threads > 1).then_some(Place::Pool(&pool));
        let places: Vec<_> =
            [Some(Place::Thread), pool, plan.gpu.map(Place::Gpu)].into_iter().flatten().collect();
        let steps: usize = places.iter().map(|&place| 2 + plan.sizes(place).len()).sum();
        let steps = steps * plan.types.len() * plan.norms.len();
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} ({elapsed})")?;
        let progress = ProgressBar::new(steps as u64).with_style(style);
        let mut worker =
            Worker { plan, activations, places, progress, checks: Vec::new(), speed: Vec::new() };
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
    /// Where every function is checked and timed; the first is the one thread.
    places: Vec<Place<'a>>,
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
        let sizes: Vec<_> =
            self.places.iter().map(|&place| (place, self.plan.sizes(place))).collect();
        let bytes = sizes.iter().flat_map(|(_, sizes)| sizes).map(|&(_, bytes, _)| bytes);
        let largest = bytes.map(elements).max().unwrap_or(0);
        let values: Vec<T> = self.activations.all_values().into_iter().map(T::from_f32).collect();
        let x = Buffer::tiled(&values, largest);
        let mut y = Buffer::poisoned(largest);

        for &norm in self.plan.norms {
            self.progress.set_message(format!("{} {name}: checking", norm.name()));
            let cases = self.cases::<T>(norm);
            let checked = self.check(&cases)?;
            self.progress.set_message(format!("{} {name}: measuring", norm.name()));
            let Some(all) = cases.last() else { continue };
            for ((place, sizes), own) in sizes.iter().zip(&checked) {
                // All threads together give the bits that one gives.
                let checked = if let Place::Pool(_) = place { &checked[0] } else { own };
                for &(memory, bytes, effort) in sizes {
                    let len = elements(bytes);
                    let call = Call {
                        norm: all.norm,
                        isa: self.plan.isa,
                        x: &x.slice()[..len],
                        weight: Some(&all.weight),
                        channels,
                    };
                    let y = &mut y.slice_mut()[..len];
                    self.speed.push(place.speed(&call, y, checked, effort, memory)?);
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

    /// Compares `cases` with the reference, with and without the weight, in every place; gives
    /// the last case's result with weight, by place.
    fn check<T: Number>(&mut self, cases: &[Case<T>]) -> Result<Vec<Vec<T>>> {
        let channels = self.activations.channels;
        let mut last = vec![Vec::new(); self.places.len()];
        for weighted in [false, true] {
            let mut worst = vec![(0.0, String::new()); self.places.len()];
            for Case { name, norm, x, weight } in cases {
                let weight = weighted.then_some(weight.as_slice());
                let expected = Expected::new(*norm, x, weight, channels);
                let call = Call { norm: *norm, isa: self.plan.isa, x, weight, channels };
                for ((place, worst), last) in self.places.iter().zip(&mut worst).zip(&mut last) {
                    let mut y = Buffer::poisoned(x.len());
                    place.run(&call, y.slice_mut())?;
                    let (error, row, channel) = expected.worst_error(y.slice());
                    if error >= worst.0 {
                        *worst = (error, format!("{name}, row {row}, channel {channel}"));
                    }
                    *last = y.slice().to_vec();
                }
            }
            for (place, (worst_ulp, found)) in self.places.iter().zip(worst) {
                let norm = cases[0].norm;
                let limit_ulp = check::limit::<T>(norm, weighted, place.threads().is_none());
                self.checks.push(Check {
                    function: norm.name(),
                    element: T::TYPE.name(),
                    threads: place.threads(),
                    weighted,
                    worst_ulp,
                    limit_ulp,
                    place: found,
                    ok: worst_ulp <= limit_ulp,
                });
                self.progress.inc(1);
            }
        }
        Ok(last)
    }
}
