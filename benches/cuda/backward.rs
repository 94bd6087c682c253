//! Gradients of large tensors, beside a copy.

use super::{Extent, Shape, fill, median, report};
use crate::gpu::Gpu;
use dynorm::cuda::{Backward, DeviceRows};
use dynorm::{ElementType, Norm};

/// The types that are measured.
pub const TYPES: [ElementType; 2] = [ElementType::Bf16, ElementType::F32];

/// That of the input alone, or all of them.
#[derive(Clone, Copy)]
enum Wanted {
    Dx,
    All,
}

/// Bytes for weight, its gradients and theirs by parameters, and partial sums.
const SMALL: usize = 64 << 20;

/// The call on tensors one behind the other from `address` on, and behind them what is small.
fn call(norm: Norm, wanted: Wanted, shape: Shape, address: u64) -> Backward {
    let Shape { element, rows, channels } = shape;
    let at = |tensor: usize| address + (tensor * shape.bytes()) as u64;
    let view = |tensor| DeviceRows::new(at(tensor), element, rows, channels).unwrap();
    let vector = |i: usize| at(3) + (i * 4 * channels).next_multiple_of(256) as u64;
    let mut call = Backward::new(norm, view(0), view(1), view(2)).weight(vector(0), element);
    if let Wanted::All = wanted {
        call = call.d_weight(vector(1)).d_parameters(vector(3));
        if !matches!(norm, Norm::RmsNorm { .. }) {
            call = call.d_bias(vector(2));
        }
    }
    let len = call.workspace_len();
    assert!(vector(4) + 4 * len as u64 <= at(3) + SMALL as u64, "{len} f32 are too many");
    call.workspace(vector(4), len)
}

pub fn run(gpu: &Gpu, extent: Extent) {
    let bytes = extent.large();
    let widths: &[usize] =
        if extent == Extent::Smoke { &[128] } else { &[128, 1024, 4096, 8192, 16_384, 65_536] };
    let memory = gpu.lab.memory(3 * bytes + SMALL).unwrap();
    fill(&memory);
    for element in TYPES {
        for &channels in widths {
            let shape = Shape { element, rows: bytes / (channels * element.size()), channels };
            let part = |start| memory.part(start..start + shape.bytes());
            let copied = median(gpu, extent, 4, |_| gpu.lab.copy(part(0), part(bytes)).unwrap());
            report("backward", "copy", "", shape, copied, 2 * shape.bytes());
            for norm in Norm::DEFAULTS {
                for (wanted, name) in [(Wanted::Dx, "dx"), (Wanted::All, "all")] {
                    let call = call(norm, wanted, shape, memory.address());
                    let us = median(gpu, extent, 4, |_| {
                        // SAFETY: the memory is there until the stream has come this far.
                        unsafe { call.launch(&gpu.device, gpu.lab.stream()) }.unwrap();
                    });
                    report("backward", norm.name(), name, shape, us, 3 * shape.bytes());
                }
            }
        }
    }
}
