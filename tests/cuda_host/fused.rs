//! Everything that can be fused around the functions, on the emulated device.

use crate::cuda_common::buffer::Buffer;
use crate::cuda_common::fused::{
    Access, Call, Case, Machine, Output, Scaling, Shape, check, check_computed_scales,
    check_shards, check_statistics, sample,
};
use crate::emulator::{self, Emulator, Range, Settings};
use crate::{TYPES, device};
use dynorm::cuda::Device;
use dynorm::{Norm, QuantizedType};
use std::ptr;

/// The emulator with a device of it.
pub struct Host<'a> {
    pub emulator: &'a mut Emulator,
    device: Device,
    /// Whether kernels may start early; the emulator looks at what they read before they wait.
    programmatic: bool,
}

impl<'a> Host<'a> {
    fn new(emulator: &'a mut Emulator) -> Self {
        Self::with(emulator, device())
    }

    pub fn with(emulator: &'a mut Emulator, device: Device) -> Self {
        Self { emulator, device, programmatic: false }
    }
}

impl Machine for Host<'_> {
    /// In both orders of threads, the second time over what the first left in what is written.
    fn run(&mut self, tensors: &mut [(&mut Buffer, Access)], call: &dyn Fn(&[u64]) -> Call) {
        let ranges: Vec<_> = tensors
            .iter()
            .map(|(buffer, access)| {
                Range::new(buffer, *access == Access::Written, *access == Access::Operand)
            })
            .collect();
        let addresses: Vec<_> = tensors.iter().map(|(buffer, _)| buffer.address()).collect();
        let before: Vec<_> =
            tensors.iter_mut().map(|(buffer, _)| buffer.with_guards().0.to_vec()).collect();
        let mut after = vec![];
        for reversed in [1, 0] {
            for ((buffer, _), before) in tensors.iter_mut().zip(&before) {
                buffer.with_guards().0.copy_from_slice(before);
            }
            self.emulator.configure(Settings { reversed, ..Settings::default() });
            self.emulator.set_ranges(&ranges);
            let stream = ptr::null_mut();
            // SAFETY: the emulator looks at every access, and is done when it returns.
            let launched = unsafe {
                match call(&addresses) {
                    Call::Forward(call) => {
                        call.programmatic(self.programmatic).launch(&self.device, stream)
                    }
                    Call::Statistics(call) => {
                        call.programmatic(self.programmatic).launch(&self.device, stream)
                    }
                    Call::Backward(call) => call.launch(&self.device, stream),
                }
            };
            assert_eq!(launched, Ok(()), "{}", self.emulator.fault());
            let left: Vec<_> =
                tensors.iter_mut().map(|(buffer, _)| buffer.with_guards().0.to_vec()).collect();
            assert!(reversed == 1 || left == after, "depends on the order of threads");
            after = left;
        }
    }
}

fn shape(tokens: usize, channels: usize) -> Shape {
    Shape { tokens, heads: 1, channels, skew: 0 }
}

#[test]
fn residuals_of_all_types() {
    let mut emulator = emulator::lock();
    let mut host = Host::new(&mut emulator);
    for norm in Norm::DEFAULTS {
        for (x, residual) in TYPES.into_iter().flat_map(|x| TYPES.map(|residual| (x, residual))) {
            for (into, skew, channels) in [(false, 0, 520), (true, 0, 24), (false, 3, 37)] {
                let residual = Some((residual, into));
                let shape = Shape { skew, ..shape(3, channels) };
                check(&mut host, &Case { residual, ..Case::new(norm, x, shape) });
            }
        }
    }
}

#[test]
fn gates_of_all_types() {
    let mut emulator = emulator::lock();
    let mut host = Host::new(&mut emulator);
    for norm in Norm::DEFAULTS {
        for (x, gate) in TYPES.into_iter().flat_map(|x| TYPES.map(|gate| (x, gate))) {
            for (skew, channels) in [(0, 520), (2, 37)] {
                let shape = Shape { skew, ..shape(3, channels) };
                let gate = Some(gate);
                let output = Output::Element(x);
                check(&mut host, &Case { gate, output, ..Case::new(norm, x, shape) });
            }
        }
    }
}

#[test]
fn both_quantised_types_with_every_scale() {
    let mut emulator = emulator::lock();
    let mut host = Host::new(&mut emulator);
    for norm in Norm::DEFAULTS {
        for x in TYPES {
            for element in QuantizedType::ALL {
                for scaling in
                    [Scaling::Given, Scaling::GivenAt, Scaling::GivenPerRow, Scaling::Computed]
                {
                    for (skew, tokens, channels) in [(0, 5, 64), (0, 2, 1032), (1, 3, 45)] {
                        let case = Case {
                            output: Output::Quantized(element, scaling),
                            weight: Some(x),
                            bias: Some(TYPES[0]),
                            ..Case::new(norm, x, Shape { skew, ..shape(tokens, channels) })
                        };
                        check(&mut host, &case);
                        // All of the type of x, for which there are kernels.
                        let usual = Case { bias: Some(x), ..case };
                        check(&mut host, &usual);
                        check(&mut host, &Case { residual: Some((x, false)), ..usual });
                    }
                }
            }
        }
    }
}

#[test]
fn heads_of_tokens() {
    let mut emulator = emulator::lock();
    let mut host = Host::new(&mut emulator);
    for norm in Norm::DEFAULTS {
        for (heads, channels) in [(2, 64), (3, 128), (7, 8), (40, 16), (2, 2056)] {
            for skew in [0, 8, 3] {
                let tokens = if channels > 1000 { 2 } else { 5 };
                let shape = Shape { heads, skew, ..shape(tokens, channels) };
                let case = Case { weight: Some(TYPES[0]), ..Case::new(norm, TYPES[2], shape) };
                check(&mut host, &case);
                let in_place = Case { in_place: true, output: Output::Element(TYPES[2]), ..case };
                check(&mut host, &in_place);
            }
        }
    }
}

#[test]
fn everything_at_once() {
    let mut emulator = emulator::lock();
    let mut host = Host::new(&mut emulator);
    let widths = [1, 7, 8, 33, 64, 100, 128, 256, 513, 768, 1024, 2048, 4104, 8200];
    for norm in Norm::DEFAULTS {
        for channels in widths {
            for i in 0..6 {
                host.programmatic = i % 2 == 1;
                check(&mut host, &sample(norm, i, channels));
            }
        }
    }
}

#[test]
fn rows_beyond_the_registers() {
    let mut emulator = emulator::lock();
    let mut host = Host::new(&mut emulator);
    for norm in Norm::DEFAULTS {
        for (i, channels) in [16_384, 16_391, 20_000, 40_008].into_iter().enumerate() {
            let sample = sample(norm, i, channels);
            let everything = Case {
                residual: Some((TYPES[i % 3], i % 2 == 0)),
                output: Output::Quantized(QuantizedType::I8, Scaling::Computed),
                in_place: false,
                shape: Shape { tokens: 1, ..sample.shape },
                ..sample
            };
            check(&mut host, &everything);
        }
    }
}

#[test]
fn statistics_of_rows() {
    let mut emulator = emulator::lock();
    let mut host = Host::new(&mut emulator);
    for norm in [Norm::DEFAULTS[0], Norm::DEFAULTS[1]] {
        for element in TYPES {
            for (tokens, channels) in [(5, 1), (9, 64), (3, 1000), (2, 4096), (1, 20_000)] {
                for (skew, heads) in [(0, 1), (1, 3)] {
                    host.programmatic = skew == 1;
                    let shape = Shape { skew, heads, ..shape(tokens, channels) };
                    check_statistics(&mut host, norm, element, shape);
                }
            }
            for shards in [2, 4, 8] {
                check_shards(&mut host, norm, element, shape(3, 1024), shards);
                let heads = Shape { heads: 3, ..shape(2, 8 * 45) };
                check_shards(&mut host, norm, element, heads, shards);
            }
        }
    }
}

#[test]
fn computed_scales_far_from_zero_and_of_infinite_results() {
    let mut emulator = emulator::lock();
    let mut host = Host::new(&mut emulator);
    check_computed_scales(&mut host);
}

#[test]
fn special_values_reach_an_output_of_8_bits() {
    let mut emulator = emulator::lock();
    let mut host = Host::new(&mut emulator);
    let specials = [0.0, -0.0, 1e30, -1e30, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e-40];
    for norm in [Norm::DyT { alpha: 1.0 }, Norm::DyIsru { beta: 1.0, scale: 448.0 }] {
        for element in QuantizedType::ALL {
            for scaling in [Scaling::Given, Scaling::Computed] {
                let case = Case {
                    output: Output::Quantized(element, scaling),
                    ..Case::new(norm, TYPES[0], shape(1, specials.len()))
                };
                let written = case.run(&mut host, &|_, c| specials[c]);
                let value = |i: usize| match element {
                    QuantizedType::I8 => f64::from(written.y[i] as u8 as i8),
                    QuantizedType::F8E4M3 => {
                        dynorm::F8E4M3::from_bits(written.y[i] as u8).to_f32().into()
                    }
                };
                let largest = f64::from(element.largest());
                let values: Vec<f64> = (0..specials.len()).map(value).collect();
                assert_eq!(values[..2], [0.0, 0.0]);
                // The largest result is 1 or 448: of it a computed scale makes the largest value.
                let most = match (norm, scaling) {
                    (Norm::DyT { .. }, Scaling::Given) if element == QuantizedType::I8 => 59.0,
                    (Norm::DyT { .. }, Scaling::Given) => 60.0,
                    _ => largest,
                };
                assert_eq!(values[2..6], [most, -most, most, -most], "{case:?}");
                assert_eq!(values[6].is_nan(), element == QuantizedType::F8E4M3);
                assert_eq!(values[7], 0.0);
                if scaling == Scaling::Computed {
                    let size = if let Norm::DyT { .. } = norm { 1.0 } else { 448.0 };
                    assert_eq!(written.scales, [size / element.largest()]);
                }
            }
        }
    }
}
