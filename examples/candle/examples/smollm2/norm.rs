//! RMSNorm by candle and by dynorm, and the time that each takes.

use candle::{Module, Result, Tensor};
use std::time::{Duration, Instant};

/// Whose RMSNorm a pass uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// `candle_nn::RmsNorm`.
    Candle,
    /// `dynorm_candle::RmsNorm`.
    Dynorm,
}

/// Which RMSNorm to call, and the time spent in its calls since the last [`take`](Self::take).
#[derive(Debug)]
pub struct Stopwatch {
    library: Library,
    spent: Duration,
}

impl Stopwatch {
    /// A stopwatch at 0.
    pub fn new(library: Library) -> Self {
        Self { library, spent: Duration::ZERO }
    }

    /// The time spent, which starts again from 0.
    pub fn take(&mut self) -> Duration {
        std::mem::take(&mut self.spent)
    }
}

/// One RMSNorm of the model, in both libraries.
#[derive(Debug)]
pub struct RmsNorm {
    candle: candle_nn::RmsNorm,
    dynorm: dynorm_candle::RmsNorm,
}

impl RmsNorm {
    /// A layer with one `weight` per channel.
    pub fn new(weight: Tensor, eps: f64) -> Self {
        Self {
            candle: candle_nn::RmsNorm::new(weight.clone(), eps),
            dynorm: dynorm_candle::RmsNorm::new(weight, eps),
        }
    }

    /// RMSNorm over the last dimension of `x`.
    pub fn forward(&self, x: &Tensor, watch: &mut Stopwatch) -> Result<Tensor> {
        let start = Instant::now();
        let y = match watch.library {
            Library::Candle => self.candle.forward(x),
            Library::Dynorm => self.dynorm.forward(x),
        };
        watch.spent += start.elapsed();
        y
    }
}
