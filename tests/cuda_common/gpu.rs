//! A real device with all kernels, for tests and benches.

#![allow(dead_code, reason = "each program uses its part")]

use dynorm::cuda::{Device, Forward};
use dynorm::{ElementType, Error, Norm};
use dynorm_gpu_lab::{Graph, Lab};
use std::env;

/// The first device, and a stream of its primary context, which is current on this thread.
pub struct Gpu {
    pub lab: Lab,
    pub device: Device,
}

impl Gpu {
    /// Without a device: nothing, and a word about it, or a panic where `DYNORM_REQUIRE_GPU` is
    /// set.
    pub fn open() -> Option<Self> {
        Self::open_with(&Norm::DEFAULTS)
    }

    /// The same with the kernels of `norms` alone.
    pub fn open_with(norms: &[Norm]) -> Option<Self> {
        let device = match Device::primary(0, norms, &ElementType::ALL) {
            Ok(device) => device,
            Err(error) => {
                let missing = matches!(error, Error::DriverMissing { .. } | Error::Driver { .. });
                assert!(missing && env::var_os("DYNORM_REQUIRE_GPU").is_none(), "{error}");
                eprintln!("skipped: {error}");
                return None;
            }
        };
        // SAFETY: the device keeps its context, and is dropped after the lab.
        let lab = unsafe { Lab::new(device.context()) }.unwrap();
        Some(Self { lab, device })
    }

    /// Puts `call` on the stream.
    pub fn launch(&self, call: &Forward) {
        // SAFETY: tests keep their memory until they have synchronised.
        unsafe { call.launch(&self.device, self.lab.stream()) }.unwrap();
    }

    pub fn synchronize(&self) {
        self.lab.synchronize().unwrap();
    }

    /// What `work` puts on the stream, as a graph.
    pub fn capture(&self, work: impl FnOnce()) -> Graph<'_> {
        let captured = self.lab.capture(|| {
            work();
            Ok::<(), dynorm_gpu_lab::Error>(())
        });
        captured.unwrap()
    }

    pub fn replay(&self, graph: &Graph) {
        self.lab.replay(graph).unwrap();
    }
}
