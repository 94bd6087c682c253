//! Calls with more fused around the function: large ones beside a copy, and small ones as decoding
//! makes them.

use super::{Extent, Shape, fill, median, report};
use crate::gpu::Gpu;
use dynorm::cuda::{DeviceQuantizedRows, DeviceRows, DeviceScale, Forward};
use dynorm::{ElementType, HeadShape, Norm, QuantizedType};

const BF16: ElementType = ElementType::Bf16;
/// Scales need not suit the results for their time to be measured.
const SCALE: f32 = 0.05;

/// What is fused.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Plain,
    Residual,
    Gate,
    /// Of a type, with a scale that is given or computed from each row.
    Quantized(QuantizedType, bool),
    ResidualAndFp8,
    /// q of packed q, k, v, in place: heads of 128 channels.
    Heads,
}

const HEAD: usize = 128;

impl Form {
    const ALL: [Self; 9] = [
        Self::Plain,
        Self::Residual,
        Self::Gate,
        Self::Quantized(QuantizedType::I8, false),
        Self::Quantized(QuantizedType::I8, true),
        Self::Quantized(QuantizedType::F8E4M3, false),
        Self::Quantized(QuantizedType::F8E4M3, true),
        Self::ResidualAndFp8,
        Self::Heads,
    ];

    fn name(self) -> String {
        match self {
            Self::Plain => String::from("plain"),
            Self::Residual => String::from("residual"),
            Self::Gate => String::from("gate"),
            Self::Quantized(element, computed) => {
                format!("{}, scale {}", element.name(), if computed { "computed" } else { "given" })
            }
            Self::ResidualAndFp8 => String::from("residual, fp8_e4m3, scale given"),
            Self::Heads => String::from("heads of 128, in place"),
        }
    }

    /// Bytes that have to be read and written, in units of x.
    fn traffic(self) -> f64 {
        match self {
            Self::Plain | Self::Heads => 2.0,
            Self::Residual => 4.0,
            Self::Gate => 3.0,
            Self::Quantized(..) => 1.5,
            Self::ResidualAndFp8 => 3.5,
        }
    }

    /// The call on tensors one behind the other from `address` on.
    fn call(self, norm: Norm, shape: Shape, address: u64) -> Forward {
        let Shape { rows, channels, .. } = shape;
        let at = |tensor: usize| address + (tensor * shape.bytes()) as u64;
        let view = |tensor| DeviceRows::new(at(tensor), BF16, rows, channels).unwrap();
        let quantized = |element, scale| {
            let y = DeviceQuantizedRows::new(at(1), element, rows, channels).unwrap();
            Forward::quantized(norm, view(0), y, scale)
        };
        let call = match self {
            Self::Plain => Forward::new(norm, view(0), view(1)),
            Self::Residual => Forward::new(norm, view(0), view(1)).residual(view(2)),
            Self::Gate => Forward::new(norm, view(0), view(1)).gate(view(2)),
            Self::Quantized(element, false) => quantized(element, DeviceScale::Given(SCALE)),
            Self::Quantized(element, true) => quantized(element, DeviceScale::Computed(at(3))),
            Self::ResidualAndFp8 => {
                quantized(QuantizedType::F8E4M3, DeviceScale::Given(SCALE)).residual(view(2))
            }
            Self::Heads => {
                // k and v are the other two thirds of a token.
                let heads = channels / HEAD;
                let q = HeadShape {
                    tokens: rows,
                    heads,
                    channels: HEAD,
                    token_stride: 3 * channels,
                    head_stride: HEAD,
                };
                let q = DeviceRows::of_heads(at(0), BF16, q).unwrap();
                Forward::new(norm, q, q)
            }
        };
        let channels = if self == Self::Heads { HEAD } else { channels };
        let call = call.weight(at(4), BF16);
        match norm {
            Norm::RmsNorm { .. } => call,
            _ => call.bias(at(4) + 2 * channels as u64, BF16),
        }
    }

    /// Bytes of all tensors of a call.
    fn footprint(shape: Shape) -> usize {
        (4 * shape.bytes() + 2 * shape.row_bytes()).next_multiple_of(256)
    }
}

pub fn run(gpu: &Gpu, extent: Extent) {
    large(gpu, extent);
    small(gpu, extent);
}

fn large(gpu: &Gpu, extent: Extent) {
    let bytes = extent.large();
    let widths: &[usize] =
        if extent == Extent::Smoke { &[128] } else { &[1024, 4096, 8192, 16_384] };
    let memory = gpu.lab.memory(4 * bytes + (4 << 20)).unwrap();
    fill(&memory);
    for &channels in widths {
        let shape = Shape { element: BF16, rows: bytes / (2 * channels), channels };
        let part = |start| memory.part(start..start + shape.bytes());
        let copied = median(gpu, extent, 4, |_| gpu.lab.copy(part(0), part(bytes)).unwrap());
        report("fused", "copy", "plain", shape, copied, 2 * shape.bytes());
        for norm in Norm::DEFAULTS {
            for form in Form::ALL {
                let call = form.call(norm, shape, memory.address());
                let us = median(gpu, extent, 4, |_| gpu.launch(&call));
                let moved = (form.traffic() * shape.bytes() as f64) as usize;
                report("fused", norm.name(), &form.name(), shape, us, moved);
            }
        }
    }
}

fn small(gpu: &Gpu, extent: Extent) {
    let arena = gpu.lab.memory(9 * gpu.lab.l2_bytes().unwrap()).unwrap();
    fill(&arena);
    for &channels in extent.narrow() {
        for rows in [1, 8, 64] {
            let shape = Shape { element: BF16, rows, channels };
            let places = arena.bytes() / Form::footprint(shape);
            let at = |i: usize| arena.address() + (i % places * Form::footprint(shape)) as u64;
            for norm in Norm::DEFAULTS {
                for form in [Form::Residual, Form::ResidualAndFp8] {
                    for programmatic in [false, true] {
                        let us = median(gpu, extent, places, |i| {
                            gpu.launch(&form.call(norm, shape, at(i)).programmatic(programmatic));
                        });
                        let kind = if programmatic {
                            "fused, small, programmatic"
                        } else {
                            "fused, small"
                        };
                        let moved = (form.traffic() * shape.bytes() as f64) as usize;
                        report(kind, norm.name(), &form.name(), shape, us, moved);
                    }
                }
            }
        }
    }
}
