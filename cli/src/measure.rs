//! Times a function beside copies of the same bytes.
//!
//! A number of calls a second says little on a machine whose memory is shared; so every round
//! times each way to copy and then the function, on the same buffers and threads, and the share
//! is taken within the round.

use crate::{
    number::Number,
    results::{Speed, Spread},
};
use anyhow::Result;
use dynorm::{Isa, Norm, Rows, RowsMut};
use rayon::{ThreadPool, prelude::*};
use std::{hint::black_box, time::Instant};

/// A way to copy bytes.
struct Copy {
    name: &'static str,
    copy: fn(&[u8], &mut [u8]) -> Result<(), dynorm::Error>,
    /// Whether every thread copies its part, where there are several; else one copies all.
    split: bool,
}

/// The ways to copy; the best one is the yardstick. The last is for sizes that are not worth
/// waking a second thread for.
const COPIES: [Copy; 4] = [
    Copy { name: "memcpy", copy: memcpy, split: true },
    Copy { name: "vectors", copy: |from, to| vectors(from, to, false), split: true },
    Copy { name: "streaming", copy: |from, to| vectors(from, to, true), split: true },
    Copy { name: "memcpy, 1 thread", copy: memcpy, split: false },
];

fn memcpy(from: &[u8], to: &mut [u8]) -> Result<(), dynorm::Error> {
    to.copy_from_slice(from);
    Ok(())
}

/// The library's own copy, with the loads and stores that its kernels use. Both slices start on
/// a multiple of 4 bytes.
fn vectors(from: &[u8], to: &mut [u8], stream: bool) -> Result<(), dynorm::Error> {
    let (from, rest) = from.as_chunks::<4>();
    let (to, to_rest) = to.as_chunks_mut::<4>();
    to_rest.copy_from_slice(rest);
    dynorm::cpu::copy(bytemuck::cast_slice(from), bytemuck::cast_slice_mut(to), stream)
}

impl Copy {
    fn run(&self, from: &[u8], to: &mut [u8], threads: usize) -> Result<()> {
        if self.split && threads > 1 {
            let part = from.len().div_ceil(threads).next_multiple_of(4096);
            let parts = to.par_chunks_mut(part).zip(from.par_chunks(part));
            parts.try_for_each(|(to, from)| (self.copy)(from, to))?;
        } else {
            (self.copy)(from, to)?;
        }
        black_box(to);
        Ok(())
    }
}

/// How long to measure.
#[derive(Clone, Copy)]
pub struct Effort {
    /// Rounds; at least one.
    pub rounds: usize,
    /// Seconds that the calls of one round take, at least.
    pub seconds: f64,
}

/// A function with all that a call needs but its output.
pub struct Call<'a, T> {
    /// The function.
    pub norm: Norm,
    /// The instruction set.
    pub isa: Isa,
    /// Rows of `channels`.
    pub x: &'a [T],
    /// One a channel.
    pub weight: Option<&'a [T]>,
    /// Channels of a row.
    pub channels: usize,
}

impl<T: Number> Call<'_, T> {
    /// Writes all rows to `y`, on this thread or on the current pool.
    pub fn run(&self, y: &mut [T], parallel: bool) -> Result<(), dynorm::Error> {
        let rows = self.x.len() / self.channels;
        let x = Rows::new(self.x, rows, self.channels)?;
        let mut call = self.norm.forward(x, RowsMut::new(y, rows, self.channels)?).isa(self.isa);
        if let Some(weight) = self.weight {
            call = call.weight(weight);
        }
        if parallel { call.run_parallel() } else { call.run() }
    }
}

/// Measures `call` on one thread, or on all of `pool`'s, with the output in `y`. `checked` is
/// what the input's rows give; the input repeats it. `memory` names the size for the reader.
pub fn speed<T: Number>(
    call: &Call<T>,
    y: &mut [T],
    checked: &[T],
    pool: Option<&ThreadPool>,
    effort: Effort,
    memory: &'static str,
) -> Result<Speed> {
    let threads = pool.map_or(1, ThreadPool::current_num_threads);
    let rounds = match pool {
        Some(pool) => pool.install(|| rounds(call, y, threads, effort))?,
        None => rounds(call, y, threads, effort)?,
    };

    y.fill(T::from_f32(f32::NAN));
    match pool {
        Some(pool) => pool.install(|| call.run(y, true))?,
        None => call.run(y, false)?,
    }
    let copies = COPIES.each_ref().map(|copy| copy.name);
    Ok(summary(call, &rounds, &copies, Some(threads), memory, repeats(y, checked)))
}

/// Whether every row of `y` has the bits that `checked`, which the input repeats, has there.
pub fn repeats<T: Number>(y: &[T], checked: &[T]) -> bool {
    let same =
        |a: &[T], b: &[T]| bytemuck::cast_slice::<T, u8>(a) == bytemuck::cast_slice::<T, u8>(b);
    y.chunks(checked.len()).all(|tile| same(tile, &checked[..tile.len()]))
}

/// What the rounds of `call` say; `copies` are the names of the ways to copy.
pub fn summary<T: Number>(
    call: &Call<T>,
    rounds: &[Round],
    copies: &[&'static str],
    threads: Option<usize>,
    memory: &'static str,
    same_bits: bool,
) -> Speed {
    let traffic = 2 * size_of_val(call.x);
    let median =
        |value: &dyn Fn(&Round) -> f64| Spread::of(rounds.iter().map(value).collect()).median;
    let seconds = median(&|round| round.call);
    let most_often = copies
        .iter()
        .enumerate()
        .max_by_key(|(i, _)| rounds.iter().filter(|round| round.best == *i).count());
    Speed {
        function: call.norm.name(),
        element: T::TYPE.name(),
        threads,
        memory,
        rows: call.x.len() / call.channels,
        bytes: traffic,
        ps_per_element: seconds * 1e12 / call.x.len() as f64,
        gb_per_s: traffic as f64 / seconds / 1e9,
        copy_gb_per_s: traffic as f64 / median(&|round| round.copy) / 1e9,
        copy: most_often.map_or("", |(_, copy)| copy),
        copy_share: Spread::of(rounds.iter().map(|round| round.copy / round.call).collect()),
        same_bits,
    }
}

/// One round.
pub struct Round {
    /// Seconds of a call.
    pub call: f64,
    /// Seconds of the best copy.
    pub copy: f64,
    /// Which copy that was.
    pub best: usize,
}

fn rounds<T: Number>(
    call: &Call<T>,
    y: &mut [T],
    threads: usize,
    effort: Effort,
) -> Result<Vec<Round>> {
    let from: &[u8] = bytemuck::cast_slice(call.x);
    let copies = if threads > 1 { &COPIES[..] } else { &COPIES[..COPIES.len() - 1] };
    let mut measured = Vec::with_capacity(effort.rounds);
    for _ in 0..effort.rounds {
        let mut round = Round { call: 0.0, copy: f64::INFINITY, best: 0 };
        for (i, copy) in copies.iter().enumerate() {
            let to: &mut [u8] = bytemuck::cast_slice_mut(y);
            let seconds = seconds_a_call(effort.seconds, || copy.run(from, to, threads))?;
            if seconds < round.copy {
                (round.copy, round.best) = (seconds, i);
            }
        }
        round.call = seconds_a_call(effort.seconds, || Ok(call.run(y, threads > 1)?))?;
        measured.push(round);
    }
    Ok(measured)
}

/// The mean time of as many calls of `f` as take `seconds`, after one that warms the caches.
fn seconds_a_call(seconds: f64, mut f: impl FnMut() -> Result<()>) -> Result<f64> {
    f()?;
    let mut time = |calls: u32| -> Result<f64> {
        let start = Instant::now();
        for _ in 0..calls {
            f()?;
        }
        Ok(start.elapsed().as_secs_f64() / f64::from(calls))
    };
    let once = time(1)?.max(1e-9);
    // One call that takes long enough needs no others beside it.
    if once >= seconds { Ok(once) } else { time((seconds / once).ceil() as u32) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Buffer;
    use dynorm::f16;

    /// Every way to copy copies everything, whole or in parts.
    #[test]
    fn copies_copy() {
        let from: Vec<f16> = (0..9_999).map(|i| f16::from_f32(i as f32)).collect();
        let from = Buffer::tiled(&from, from.len());
        for copy in &COPIES {
            for threads in [1, 3] {
                let mut to = Buffer::<f16>::poisoned(from.slice().len());
                let bytes = bytemuck::cast_slice_mut(to.slice_mut());
                copy.run(bytemuck::cast_slice(from.slice()), bytes, threads).unwrap();
                assert!(to.slice() == from.slice(), "{} on {threads}", copy.name);
            }
        }
    }
}
