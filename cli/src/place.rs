//! Where calls run: on one thread, on all, on the GPU.

use crate::{
    gpu::Gpu,
    measure::{self, Call, Effort},
    number::Number,
    results::Speed,
};
use anyhow::Result;
use rayon::ThreadPool;

/// Where a call runs.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// The calling thread.
    Thread,
    /// All threads of a pool.
    Pool(&'a ThreadPool),
    /// The GPU.
    Gpu(&'a Gpu),
}

impl Place<'_> {
    /// The number of threads; none on the GPU.
    pub fn threads(self) -> Option<usize> {
        match self {
            Self::Thread => Some(1),
            Self::Pool(pool) => Some(pool.current_num_threads()),
            Self::Gpu(_) => None,
        }
    }

    /// Writes all rows of `call` to `y`.
    pub fn run<T: Number>(self, call: &Call<T>, y: &mut [T]) -> Result<()> {
        match self {
            Self::Thread => Ok(call.run(y, false)?),
            Self::Pool(pool) => Ok(pool.install(|| call.run(y, true))?),
            Self::Gpu(gpu) => gpu.run(call, y),
        }
    }

    /// Measures `call` with the output in `y`. `checked` is what the input's rows give; the input
    /// repeats it. `memory` names the size for the reader.
    pub fn speed<T: Number>(
        self,
        call: &Call<T>,
        y: &mut [T],
        checked: &[T],
        effort: Effort,
        memory: &'static str,
    ) -> Result<Speed> {
        match self {
            Self::Thread => measure::speed(call, y, checked, None, effort, memory),
            Self::Pool(pool) => measure::speed(call, y, checked, Some(pool), effort, memory),
            Self::Gpu(gpu) => gpu.speed(call, y, checked, effort, memory),
        }
    }
}
