//! Everything that can be fused around the functions, on the device.

use crate::cuda_common::buffer::Buffer;
use crate::cuda_common::fused::{
    Access, Call, Case, Machine, Output, Scaling, Shape, check, check_computed_scales,
    check_shards, check_statistics, sample,
};
use crate::gpu::Gpu;
use crate::{TYPES, feasible};
use dynorm::cuda::{Forward, Statistics};
use dynorm::{Norm, QuantizedType};

/// How a call comes to the device.
#[derive(Clone, Copy)]
pub enum Way {
    Eager,
    Programmatic,
    /// From a graph: a residual in place is added as often as it is replayed, here once.
    Captured,
}

pub struct Runner<'a> {
    pub gpu: &'a Gpu,
    pub way: Way,
}

impl Machine for Runner<'_> {
    fn run(&mut self, tensors: &mut [(&mut Buffer, Access)], call: &dyn Fn(&[u64]) -> Call) {
        let copies: Vec<_> = tensors
            .iter_mut()
            .map(|(buffer, _)| {
                let (bytes, start) = buffer.with_guards();
                (self.gpu.lab.upload(bytes).unwrap(), start as u64)
            })
            .collect();
        let addresses: Vec<_> = copies.iter().map(|(copy, start)| copy.address() + start).collect();
        let call = call(&addresses);
        match self.way {
            Way::Eager => self.launch(&call, false),
            Way::Programmatic => self.launch(&call, true),
            Way::Captured => {
                let graph = self.gpu.capture(|| self.launch(&call, false));
                self.gpu.replay(&graph);
            }
        }
        self.gpu.synchronize();
        for ((buffer, _), (copy, _)) in tensors.iter_mut().zip(&copies) {
            copy.read(0, buffer.with_guards().0).unwrap();
        }
    }
}

impl Runner<'_> {
    fn launch(&self, call: &Call, programmatic: bool) {
        let (device, stream) = (&self.gpu.device, self.gpu.lab.stream());
        let launched = match call {
            // SAFETY: `run` keeps the memory until the device is done.
            Call::Forward(call) => unsafe {
                Forward::programmatic(*call, programmatic).launch(device, stream)
            },
            // SAFETY: as above.
            Call::Statistics(call) => unsafe {
                Statistics::programmatic(*call, programmatic).launch(device, stream)
            },
            // SAFETY: as above.
            Call::Backward(call) => unsafe { call.launch(device, stream) },
        };
        assert_eq!(launched, Ok(()));
    }
}

/// Little enough for a sanitizer.
#[test]
fn once_fused() {
    let Some(gpu) = Gpu::open() else { return };
    for norm in Norm::DEFAULTS {
        for channels in feasible(&[64, 513, 4096, 16_384]) {
            for i in 0..12 {
                let mut runner = Runner { gpu: &gpu, way: Way::Eager };
                check(&mut runner, &sample(norm, i, channels));
            }
        }
    }
}

/// A function a test: they take long, and run side by side.
macro_rules! fused_in_every_way {
    ($($name:ident = $norm:expr;)*) => {$(
        #[test]
        fn $name() {
            fused_in_every_way($norm);
        }
    )*};
}
fused_in_every_way! {
    fused_rms_norm_in_every_way = Norm::DEFAULTS[0];
    fused_layer_norm_in_every_way = Norm::DEFAULTS[1];
    fused_dyt_in_every_way = Norm::DEFAULTS[2];
    fused_dyisru_in_every_way = Norm::DEFAULTS[3];
    fused_derf_in_every_way = Norm::DEFAULTS[4];
}

fn fused_in_every_way(norm: Norm) {
    let Some(gpu) = Gpu::open() else { return };
    let widths = [
        1, 7, 8, 33, 64, 100, 128, 256, 513, 768, 1024, 2048, 4096, 4104, 7168, 8192, 8200, 16_384,
        16_391, 32_768, 40_008, 131_072,
    ];
    for channels in feasible(&widths) {
        let samples = if crate::small() { 6 } else { 40 };
        for i in 0..samples {
            let way = [Way::Eager, Way::Programmatic, Way::Captured][i % 3];
            check(&mut Runner { gpu: &gpu, way }, &sample(norm, i, channels));
        }
    }
}

#[test]
fn statistics_of_rows() {
    let Some(gpu) = Gpu::open() else { return };
    for norm in [Norm::DEFAULTS[0], Norm::DEFAULTS[1]] {
        for element in TYPES {
            for way in [Way::Eager, Way::Programmatic, Way::Captured] {
                let mut runner = Runner { gpu: &gpu, way };
                for channels in feasible(&[1, 64, 100, 1000, 4096, 8192, 20_000, 131_072]) {
                    for (skew, heads) in [(0, 1), (1, 3)] {
                        let shape = Shape { tokens: 9, heads, channels, skew };
                        check_statistics(&mut runner, norm, element, shape);
                    }
                }
                for channels in feasible(&[360, 512, 4096, 16_384]) {
                    for shards in [2, 4, 8] {
                        let shape = Shape { tokens: 5, heads: 1, channels, skew: 0 };
                        check_shards(&mut runner, norm, element, shape, shards);
                    }
                }
            }
        }
    }
}

#[test]
fn computed_scales_far_from_zero_and_of_infinite_results() {
    let Some(gpu) = Gpu::open() else { return };
    check_computed_scales(&mut Runner { gpu: &gpu, way: Way::Eager });
}

/// A batch that fills the device: blocks of many rows at once, heads among them.
#[test]
fn large_batches() {
    let Some(gpu) = Gpu::open() else { return };
    let tokens = if crate::small() { 40 } else { 5000 };
    for norm in Norm::DEFAULTS {
        for (heads, channels, scaling) in [
            (1, 512, Scaling::Computed),
            (5, 64, Scaling::GivenPerRow),
            (3, 128, Scaling::Computed),
        ] {
            let shape = Shape { tokens, heads, channels, skew: 8 };
            let case = Case {
                output: Output::Quantized(QuantizedType::F8E4M3, scaling),
                weight: Some(TYPES[2]),
                residual: Some((TYPES[2], false)),
                gate: Some(TYPES[2]),
                ..Case::new(norm, TYPES[2], shape)
            };
            check(&mut Runner { gpu: &gpu, way: Way::Eager }, &case);
        }
    }
}
