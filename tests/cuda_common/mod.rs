//! What the tests of the CUDA kernels share: on the host and on a device.

#![allow(dead_code, reason = "each test program uses its part")]

pub mod backward;
pub mod buffer;
pub mod case;
pub mod far;
pub mod fused;
