//! The CPU: kernels, the choice of instructions, and the division of work.

mod cache;
mod copy;
mod derf;
mod dispatch;
mod dyisru;
mod dyt;
mod isa;
mod job;
mod layer_norm;
mod math;
mod operands;
mod pipeline;
mod rms_norm;
mod row_sum;
mod simd;
mod split;
mod threads;

pub use cache::{CacheSizes, cache_sizes};
pub use copy::copy;
pub use isa::Isa;

pub(crate) use job::{Job, Operand};
#[cfg(feature = "rayon")]
pub(crate) use threads::run_parallel;
pub(crate) use threads::{run_part, run_serial, stream_pays};
