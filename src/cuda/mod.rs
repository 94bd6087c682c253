//! The same functions on NVIDIA GPUs, from Ampere (compute capability 8.0) on.
//!
//! [`Device`] is a CUDA context with the kernels loaded, made once; [`Forward`] is a call on
//! device addresses, put on a stream of the caller's. The driver is looked for when the first
//! device is opened: without one the crate builds and runs, and opening is an
//! [`Error::DriverMissing`](crate::Error::DriverMissing).
//!
//! A decode step's calls, each one kernel:
//!
//! ```no_run
//! use dynorm::{ElementType::Bf16, HeadShape, Norm, QuantizedType::F8E4M3};
//! use dynorm::cuda::{Device, DeviceQuantizedRows, DeviceRows, DeviceScale, Forward};
//! # let (x, residual, y8, scales, qkv, weight, q_weight, stream) = (0, 0, 0, 0, 0, 0, 0, core::ptr::null_mut());
//! let norm = Norm::RmsNorm { eps: 1e-6 };
//! let device = Device::primary(0, &[norm], &[Bf16])?; // once
//! let (tokens, channels) = (8, 4096);
//! let x = DeviceRows::new(x, Bf16, tokens, channels)?;
//! let residual = DeviceRows::new(residual, Bf16, tokens, channels)?;
//! let y8 = DeviceQuantizedRows::new(y8, F8E4M3, tokens, channels)?;
//! // 32 heads of q, of 48 in a packed q, k, v.
//! let (token_stride, head_stride) = (48 * 128, 128);
//! let q = HeadShape { tokens, heads: 32, channels: 128, token_stride, head_stride };
//! let q = DeviceRows::of_heads(qkv, Bf16, q)?;
//! // SAFETY: the tensors live until the stream has come this far.
//! unsafe {
//!     // residual += x; x = norm(residual)
//!     Forward::new(norm, x, x).residual(residual).weight(weight, Bf16).launch(&device, stream)?;
//!     // residual += x; y8 = norm(residual) in fp8, and a scale for each row
//!     Forward::quantized(norm, x, y8, DeviceScale::Computed(scales))
//!         .residual(residual)
//!         .weight(weight, Bf16)
//!         .launch(&device, stream)?;
//!     // The heads of q in place, with a weight of 128 channels.
//!     Forward::new(norm, q, q).weight(q_weight, Bf16).launch(&device, stream)?;
//! }
//! # Ok::<(), dynorm::Error>(())
//! ```
//!
//! The kernels are embedded as PTX, compiled from `kernels/*.cu`, and the driver compiles them for
//! the device at hand; it must be R535 or newer. The functions in them, of one element in a
//! register, are also there for CUDA kernels outside the crate: `kernels/dynorm/functions.cuh`,
//! which `cargo cinstall` puts beside `dynorm.h`.

mod args;
mod backward;
mod call;
mod device;
mod driver;
mod forward;
mod geometry;
mod kernel;
mod launch;
mod module;
mod ptx;
mod rows;
mod statistics;

pub use backward::Backward;
pub use device::Device;
pub use forward::Forward;
pub use rows::{DeviceQuantizedRows, DeviceRows, DeviceScale};
pub use statistics::Statistics;
