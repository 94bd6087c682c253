//! The CPU: kernels, the choice of instructions, and the division of work.

mod access;
mod affine;
mod ahead;
mod backward;
mod cache;
mod copy;
mod derf;
mod dispatch;
mod dyisru;
mod dyt;
mod finish;
mod function;
mod fused;
mod groups;
mod isa;
mod job;
mod known;
pub mod lanes;
mod layer_norm;
mod lead;
mod math;
mod operands;
mod piece;
mod pipeline;
mod processor;
mod residual;
mod results;
mod rms_norm;
mod row_sum;
mod seam;
mod short;
mod simd;
mod split;
mod statistics;
mod threads;

pub use cache::{CacheSizes, cache_sizes};
pub use copy::copy;
pub use isa::Isa;

#[cfg(feature = "rayon")]
pub(crate) use backward::run_backward_parallel;
pub(crate) use backward::{BackwardJob, Gradients, Wanted, Weight, add_up, run_backward};
pub(crate) use dispatch::stores_at_once;
pub(crate) use fused::Fused;
pub(crate) use job::{Job, Operand, Places, Stored, Tensor};
#[cfg(feature = "cuda")]
pub(crate) use math::MOST_PARAMETERS;
pub(crate) use piece::{Form, GroupScales, Output, Scale};
pub(crate) use residual::Residual;
#[cfg(feature = "capi")]
pub(crate) use short::Kind;
pub(crate) use short::{Named, ShortCall, ShortRows, are_few, prefetch};
pub(crate) use statistics::row_statistics;
pub(crate) use threads::{exceeds_caches, is_large, run_part, run_serial, stream_pays};
#[cfg(feature = "rayon")]
pub(crate) use threads::{run_parallel, useful_threads};
