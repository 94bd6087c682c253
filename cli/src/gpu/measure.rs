//! Times a function on the GPU beside copies of the same bytes on the device.

use super::{Gpu, Tensors};
use crate::{
    measure::{Call, Effort, Round, repeats, summary},
    number::Number,
    results::Speed,
};
use anyhow::Result;
use dynorm_gpu_lab::Graph;

/// The most calls of a graph.
const MAX_CALLS: usize = 1024;

impl Gpu {
    /// Measures `call` with results as in [`crate::measure::speed`]: in each round a graph of
    /// copies and a graph of calls, timed between events. Tensors that do not fit in L2 rotate, so
    /// that none is still there when it is read again.
    pub fn speed<T: Number>(
        &self,
        call: &Call<T>,
        y: &mut [T],
        checked: &[T],
        effort: Effort,
        memory: &'static str,
    ) -> Result<Speed> {
        let traffic = 2 * size_of_val(call.x);
        let fits = traffic <= self.info.l2 / 2;
        let sets = if fits { 1 } else { (4 * self.info.l2).div_ceil(traffic).max(2) };
        let tensors = Tensors::new(self, call, sets)?;

        let launch = |i: usize| tensors.launch(self, call, i % sets);
        let once = self.graph(sets, launch)?;
        let seconds = self.seconds(&once)?.max(1e-9);
        let turns = (effort.seconds / seconds).ceil() as usize;
        let calls = sets * turns.clamp(1, (MAX_CALLS / sets).max(1));
        let called = self.graph(calls, launch)?;
        let copied = self.graph(calls, |i| {
            let part = |start| tensors.memory.part(start..start + tensors.bytes);
            let set = i % sets;
            Ok(self.lab.copy(part(tensors.input(set)), part(tensors.output(set)))?)
        })?;
        let mut rounds = Vec::with_capacity(effort.rounds);
        for _ in 0..effort.rounds {
            let copy = self.seconds(&copied)? / calls as f64;
            let call = self.seconds(&called)? / calls as f64;
            rounds.push(Round { call, copy, best: 0 });
        }

        y.fill(T::from_f32(f32::NAN));
        tensors.memory.write(tensors.output(0), bytemuck::cast_slice(y))?;
        launch(0)?;
        tensors.read(self, 0, y)?;
        Ok(summary(call, &rounds, &["device to device"], None, memory, repeats(y, checked)))
    }

    /// `count` pieces of work as a graph.
    fn graph(&self, count: usize, work: impl Fn(usize) -> Result<()>) -> Result<Graph<'_>> {
        self.lab.capture(|| (0..count).try_for_each(&work))
    }

    /// The time of a replay, after one that warms up.
    fn seconds(&self, graph: &Graph) -> Result<f64> {
        self.lab.replay(graph)?;
        Ok(self.lab.seconds(|| self.lab.replay(graph))?)
    }
}
