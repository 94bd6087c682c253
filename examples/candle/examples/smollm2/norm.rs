//! RMSNorm by candle and by dynorm, with the residual that is added before it, and the time that they take.

use candle::{Module, Result, Tensor};
use std::time::{Duration, Instant};

/// Whose RMSNorm a pass uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// `candle_nn::RmsNorm`.
    Candle,
    /// `dynorm_candle::RmsNorm`.
    Dynorm,
    /// The same, which adds the residual, too.
    Fused,
}

impl Library {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Candle, Self::Dynorm, Self::Fused];

    /// The name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Candle => "candle_nn::RmsNorm",
            Self::Dynorm => "dynorm_candle::RmsNorm",
            Self::Fused => "  its add_forward",
        }
    }
}

/// Which RMSNorm to call, and the time spent in its calls and the additions before them since the last [`take`](Self::take).
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

    fn time<R>(&mut self, call: impl FnOnce(Library) -> R) -> R {
        let start = Instant::now();
        let result = call(self.library);
        self.spent += start.elapsed();
        result
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
        watch.time(|library| self.norm(library, x))
    }

    /// `x + residual`, and RMSNorm of it.
    pub fn add_forward(
        &self,
        x: &Tensor,
        residual: &Tensor,
        watch: &mut Stopwatch,
    ) -> Result<(Tensor, Tensor)> {
        watch.time(|library| match library {
            Library::Fused => self.dynorm.add_forward(x, residual),
            Library::Candle | Library::Dynorm => {
                let sum = (residual + x)?;
                let y = self.norm(library, &sum)?;
                Ok((sum, y))
            }
        })
    }

    fn norm(&self, library: Library, x: &Tensor) -> Result<Tensor> {
        match library {
            Library::Candle => self.candle.forward(x),
            Library::Dynorm | Library::Fused => self.dynorm.forward(x),
        }
    }
}
