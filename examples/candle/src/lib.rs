//! dynorm's functions as operations on candle tensors: [`RmsNorm`], [`LayerNorm`], [`DyT`],
//! [`DyIsru`] and [`Derf`], each a [`candle::Module`], and [`Layer`], which takes any
//! [`dynorm::Norm`].
//!
//! ```
//! use candle::{Device, Module, Tensor};
//! use dynorm_candle::RmsNorm;
//!
//! let x = Tensor::new(&[[3_f32, -4., 0., 0.]], &Device::Cpu)?;
//! let norm = RmsNorm::new(Tensor::new(&[1_f32, 1., 1., 1.], &Device::Cpu)?, 0.0);
//! assert_eq!(norm.forward(&x)?.to_vec2::<f32>()?, [[1.2, -1.6, 0., 0.]]);
//! # Ok::<(), candle::Error>(())
//! ```
//!
//! Tensors are f32, f16 or bf16; the output has the type of the input, weight and bias may each
//! have another. The last dimension holds the channels. Arithmetic is in f32, each result is
//! rounded once. On the CPU large tensors are split over rayon's threads, as candle's own
//! operations are; with the feature `cuda` tensors on a GPU stay there, and the work goes on
//! candle's stream. **No GPU has run that path yet.**
//!
//! [`Layer::add_forward`] adds a residual before the function, and [`Layer::gated_forward`] applies a gate behind it, in
//! one operation; both are methods of the others, too.
//!
//! Rows must lie at even distances, as they do in contiguous tensors, at any offset, and in those
//! narrowed in their first or last dimension. Other layouts are refused. On the CPU the operations have gradients, by
//! dynorm's own kernels: of `x`, weight and bias, not of the functions' parameters, which are no tensors, and not
//! with a residual or a gate.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod functions;
mod fused;
mod gradients;
mod layer;
mod op;
mod row_layout;

pub use functions::{Derf, DyIsru, DyT, LayerNorm, RmsNorm};
pub use layer::Layer;
