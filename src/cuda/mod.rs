//! The same functions on NVIDIA GPUs, from Ampere (compute capability 8.0) on.
//!
//! [`Device`] is a CUDA context with the kernels loaded, made once; [`Forward`] is a call on
//! device addresses, put on a stream of the caller's. The driver is looked for when the first
//! device is opened: without one the crate builds and runs, and opening is an
//! [`Error::DriverMissing`](crate::Error::DriverMissing).
//!
//! The kernels are embedded as PTX, compiled from `kernels/*.cu`, and the driver compiles them for
//! the device at hand; it must be R535 or newer. The functions in them, of one element in a
//! register, are also there for CUDA kernels outside the crate: `kernels/dynorm/functions.cuh`,
//! which `cargo cinstall` puts beside `dynorm.h`.

mod args;
mod call;
mod device;
mod driver;
mod forward;
mod kernel;
mod launch;
mod module;
mod ptx;
mod rows;
mod statistics;

pub use device::Device;
pub use forward::Forward;
pub use rows::{DeviceQuantizedRows, DeviceRows, DeviceScale};
pub use statistics::Statistics;
