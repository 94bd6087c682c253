//! Hand-tuned kernels for row normalisation and its reduction-free counterparts, to be linked
//! into inference engines: RMSNorm and LayerNorm, which read a whole row before they can write
//! it, and DyT, DyISRU and Derf, which do not.
//!
//! ```
//! use dynorm::{Norm, Rows, RowsMut};
//!
//! let x = [1.0_f32, -2.0, 3.0, -4.0, 2.0, 2.0, 2.0, 2.0]; // 2 rows of 4 channels
//! let weight = [1.0_f32, 1.0, 0.5, 0.5]; // one per channel
//! let mut y = [0.0_f32; 8];
//!
//! Norm::RmsNorm { eps: 1e-5 }
//!     .forward(Rows::new(&x, 2, 4)?, RowsMut::new(&mut y, 2, 4)?)
//!     .weight(&weight)
//!     .run()?;
//!
//! assert!((y[4] - 1.0).abs() < 1e-5 && (y[6] - 0.5).abs() < 1e-5);
//! # Ok::<(), dynorm::Error>(())
//! ```
//!
//! # Calling it
//! [`Norm`] names the function and its parameters. [`Norm::forward`] takes the input and the
//! output as views ([`Rows`], [`RowsMut`]: rows of channels, with a row stride), or
//! [`Norm::forward_in_place`] one view for both. The [`Forward`] that they give takes a weight, a
//! bias and options, and is then run:
//!
//! * [`run`](Forward::run) on the calling thread, from which nothing else is woken;
//! * [`run_parallel`](Forward::run_parallel) on the threads of rayon's current pool, where the
//!   work is large enough to pay for waking them (feature `rayon`, on by default);
//! * [`parts`](Forward::parts) or [`run_part`](Forward::run_part), one call from each of the
//!   host's own threads with its index and their number, as ggml's threads do.
//!
//! # What is fused around it
//! Before the function a residual may be added ([`Forward::residual`]), after it a gate applied
//! ([`Forward::gate`]) and the result quantised to 8 bits ([`Norm::forward_quantized`], with scales
//! given, computed for each row or group of channels, or static from [`Norm::output_bound`]). Views may be heads of tokens
//! in a larger tensor ([`HeadShape`]). A row that several devices have shards of is normalised by its
//! [`RowStatistics`].
//!
//! # Gradients
//! [`Norm::backward`] makes a [`Backward`] call, which writes the gradients of the input, and on request those of
//! weight, bias and parameters; `cuda::Backward` does the same on a GPU.
//!
//! # Kernels of your own
//! [`cpu::lanes`] has the functions on vectors, for kernels of your own that apply them to what
//! they load or store.
//!
//! # What is promised
//! * Arithmetic is in f32 whatever the element types; each result is rounded once, to nearest
//!   even, also to bf16, whose NaNs and subnormals are kept.
//! * On one processor and instruction set the same row gives the same bits in any batch, at any place,
//!   under any split, at any alignment, in place or not. Between instruction sets, and of DyT, DyISRU, Derf
//!   and gates between processors of different makers, results differ within the errors that `docs/accuracy.md` states.
//! * A NaN among the inputs of an element gives a NaN; in an output of i8, which has none, 0. The element-wise functions have their
//!   limits at ±infinity. RMSNorm and LayerNorm give what IEEE arithmetic gives: where a sum of
//!   squares overflows (from about 1.8e19 / sqrt(C) on), finite elements become 0 times weight.
//! * No call allocates, takes a lock or wakes a thread, but for what rayon does in `run_parallel`; the first
//!   one in a process asks which processor it is on. A call takes at most 64 KiB of stack. The
//!   floating-point environment is neither read nor set: kernels follow the rounding and
//!   denormal modes of the thread they run on, which are expected to be the default ones.
//! * A refused call returns an [`Error`] that names what was given and what was wanted, and has
//!   written nothing. No input makes the library panic.
//!
//! # Choice of instructions
//! Once per process the best of [`Isa`] that the processor has is chosen. The environment
//! variable `DYNORM_ISA`, [`Isa::set_current`] or, for one call, [`Forward::isa`] choose a
//! lesser one.

mod backward;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod element;
mod error;
#[cfg(feature = "capi")]
#[doc(hidden)]
pub mod ffi;
mod forward;
mod norm;
#[cfg(any(feature = "cuda", feature = "capi"))]
mod place;
mod quantized;
pub mod reference;
mod statistics;
mod tensor;

pub use backward::Backward;
pub use cpu::Isa;
pub use element::{Element, ElementType};
pub use error::Error;
pub use forward::{Forward, Part};
pub use half::{bf16, f16};
pub use norm::Norm;
pub use quantized::{F8E4M3, Quantized, QuantizedRowsMut, QuantizedType, Scale};
pub use statistics::RowStatistics;
pub use tensor::{HeadShape, Rows, RowsMut};
