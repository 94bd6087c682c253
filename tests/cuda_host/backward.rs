//! Gradients on the emulated device.

use crate::common::backward::{BackwardCall, Numbers};
use crate::common::random::stratified_f32;
use crate::common::tensor::Tensor;
use crate::cuda_common::backward::{call, check, run};
use crate::cuda_common::buffer::Buffer;
use crate::cuda_common::fused::{Access, Call, Machine};
use crate::emulator::{self, Emulator, Range, Settings};
use crate::fused::Host;
use crate::{PARAMETERS, TYPES, device};
use dynorm::cuda::{Backward, Device, DeviceRows};
use dynorm::{ElementType, Error, Norm, reference};
use std::ptr;

use ElementType::{Bf16, F16, F32};

fn device_with_gradients() -> Device {
    let mut device = device();
    device.load_gradients(&Norm::DEFAULTS, &TYPES).unwrap();
    device
}

fn host(emulator: &mut Emulator) -> Host<'_> {
    Host::with(emulator, device_with_gradients())
}

#[test]
fn all_functions_types_and_widths() {
    let mut emulator = emulator::lock();
    let mut host = host(&mut emulator);
    for norm in Norm::DEFAULTS {
        for x in TYPES {
            // LayerNorm without a deviation has no gradient that is worth the name.
            for (rows, channels) in [(3, 2), (5, 33), (9, 64), (34, 128), (3, 768), (1, 1000)] {
                for weight in [None, Some(F32)] {
                    check(&mut host, &BackwardCall { weight, ..call(norm, x, rows, channels) });
                }
            }
        }
    }
}

/// The functions that read rows first.
const OF_ROWS: [Norm; 2] = [Norm::DEFAULTS[0], Norm::DEFAULTS[1]];

/// Rows of each number of vectors, and of more than are kept.
#[test]
fn rows_in_every_form() {
    let mut emulator = emulator::lock();
    let mut host = host(&mut emulator);
    for norm in OF_ROWS {
        for (x, rows, vectors) in [
            (F16, 9, 40),
            (F32, 5, 384),
            (Bf16, 5, 385),
            (F32, 2, 1000),
            (F32, 5, 1030),
            (Bf16, 2, 1030),
            (F32, 2, 1540),
        ] {
            let channels = vectors * 16 / x.size();
            check(&mut host, &BackwardCall { weight: Some(x), ..call(norm, x, rows, channels) });
        }
        check(&mut host, &BackwardCall { weight: Some(F16), ..call(norm, F32, 2, 6145) });
    }
}

#[test]
fn weights_of_all_types_and_offsets() {
    let mut emulator = emulator::lock();
    let mut host = host(&mut emulator);
    let run = |host: &mut _, norm, x, weight, (rows, channels)| {
        let plain = call(norm, x, rows, channels);
        check(host, &BackwardCall { weight: Some(weight), weight_offset: 1.0, ..plain });
    };
    for norm in Norm::DEFAULTS {
        for (x, weight) in TYPES.into_iter().flat_map(|x| TYPES.map(|weight| (x, weight))) {
            run(&mut host, norm, x, weight, (6, 40));
            run(&mut host, norm, x, weight, (6, 515));
        }
    }
    // Those that are not kept in registers beside a row.
    for weight in TYPES {
        run(&mut host, Norm::DEFAULTS[0], F32, weight, (2, 4100));
    }
}

#[test]
fn many_rows_in_every_number_of_groups() {
    let mut emulator = emulator::lock();
    let mut host = host(&mut emulator);
    for norm in Norm::DEFAULTS {
        for (rows, channels) in [(0, 64), (1, 64), (40, 1000), (300, 64), (1600, 8), (130, 1032)] {
            check(
                &mut host,
                &BackwardCall { weight: Some(F32), ..call(norm, Bf16, rows, channels) },
            );
        }
    }
}

/// More blocks with sums of parameters than there are threads to add them up.
#[test]
fn parameters_of_many_blocks() {
    let mut emulator = emulator::lock();
    let mut host = host(&mut emulator);
    check(&mut host, &call(Norm::DEFAULTS[2], F32, 2400, 132));
}

#[test]
fn the_same_bits_at_any_alignment_and_in_place() {
    let mut emulator = emulator::lock();
    let mut host = host(&mut emulator);
    for norm in Norm::DEFAULTS {
        for (x, channels) in [(F32, 24), (F16, 136), (F32, 1600)] {
            let plain = BackwardCall { weight: Some(F32), ..call(norm, x, 13, channels) };
            let wanted = check(&mut host, &plain);
            for (gap, start) in [(3, 1), (8, 0)] {
                for in_place in [false, true] {
                    let other = BackwardCall { gap, start, in_place, ..plain };
                    let given = check(&mut host, &other);
                    assert_eq!(given.dx.all_bits(), wanted.dx.all_bits(), "{other:?}");
                    assert_eq!(given.d_weight, wanted.d_weight, "{other:?}");
                    assert_eq!(given.d_bias, wanted.d_bias, "{other:?}");
                }
            }
        }
    }
}

#[test]
fn heads_of_tokens() {
    let mut emulator = emulator::lock();
    let mut host = host(&mut emulator);
    for norm in Norm::DEFAULTS {
        for (x, channels) in [(F32, 33), (Bf16, 128)] {
            for gap in [0, 8] {
                let plain = BackwardCall { weight: Some(x), ..call(norm, x, 28, channels) };
                let numbers = plain.numbers(3);
                let wanted = run(&mut host, &plain, 0, &numbers);
                for heads in [1, 4, 7] {
                    let given = run(&mut host, &BackwardCall { gap, ..plain }, heads, &numbers);
                    assert_eq!(given.dx.all_bits(), wanted.dx.all_bits(), "{heads} {plain:?}");
                    assert_eq!(given.d_weight, wanted.d_weight);
                }
            }
        }
    }
}

/// Whatever the device's approximate instructions may err.
#[test]
fn other_parameters() {
    let mut emulator = emulator::lock();
    let device = device_with_gradients();
    let extreme = [Norm::RmsNorm { eps: 1.0 }, Norm::LayerNorm { eps: 0.0 }];
    for norm in PARAMETERS.into_iter().chain(extreme) {
        for error in [-1, 1] {
            emulator.configure(Settings { error, ..Settings::default() });
            let call = BackwardCall { weight: Some(F32), ..call(norm, F32, 5, 96) };
            let numbers = call.numbers(11);
            let mut steady = Steady { emulator: &emulator, device: &device };
            call.compare(&numbers, &run(&mut steady, &call, 0, &numbers));
        }
    }
}

/// Runs with the settings that the emulator has.
struct Steady<'a> {
    emulator: &'a Emulator,
    device: &'a Device,
}

impl Machine for Steady<'_> {
    fn run(&mut self, tensors: &mut [(&mut Buffer, Access)], call: &dyn Fn(&[u64]) -> Call) {
        let addresses: Vec<_> = tensors.iter().map(|(buffer, _)| buffer.address()).collect();
        let ranges: Vec<_> =
            tensors.iter().map(|(buffer, _)| Range::new(buffer, true, true)).collect();
        self.emulator.set_ranges(&ranges);
        let Call::Backward(call) = call(&addresses) else { panic!("a call for gradients") };
        // SAFETY: the emulator looks at every access, and is done when it returns.
        let launched = unsafe { call.launch(self.device, ptr::null_mut()) };
        assert_eq!(launched, Ok(()), "{}", self.emulator.fault());
    }
}

#[test]
fn elements_of_every_size() {
    let mut emulator = emulator::lock();
    let mut host = host(&mut emulator);
    let x: Vec<f32> = stratified_f32(8).into_iter().filter(|x| !x.is_nan()).collect();
    for norm in PARAMETERS {
        // The gradient by so small a beta is too large for f32.
        let sums = !matches!(norm, Norm::DyIsru { beta, .. } if beta < 1e-37);
        let call = BackwardCall { sums, ..call(norm, F32, 1, x.len()) };
        let numbers = Numbers { x: Tensor::new(F32, &x), ..call.numbers(1) };
        call.compare(&numbers, &run(&mut host, &call, 0, &numbers));
    }
}

#[test]
fn rows_far_from_zero_of_zeros_and_whose_squares_overflow() {
    let mut emulator = emulator::lock();
    let mut host = host(&mut emulator);
    let mut compare = |norm, channels, of: &dyn Fn(f32) -> f32| {
        let call = call(norm, F32, 5, channels);
        let mut numbers = call.numbers(9);
        let x: Vec<f32> = numbers.x.values().iter().map(|&x| of(x as f32)).collect();
        numbers.x = Tensor::new(F32, &x);
        call.compare(&numbers, &run(&mut host, &call, 0, &numbers));
    };
    for channels in [3, 64, 515, 4100] {
        let [rms, layer_norm] = OF_ROWS;
        compare(layer_norm, channels, &|x| x + 100.0);
        compare(layer_norm, channels, &|x| x - 3e4);
        compare(rms, channels, &|_| 0.0);
    }
    for channels in [5, 300] {
        let call = BackwardCall { sums: false, ..call(OF_ROWS[0], F32, 1, channels) };
        let numbers = Numbers { x: Tensor::new(F32, &vec![3e38; channels]), ..call.numbers(1) };
        let dx = run(&mut host, &call, 0, &numbers).dx;
        assert_eq!(dx.values(), vec![0.0; channels]);
    }
}

#[test]
fn a_nan_is_passed_on_to_what_depends_on_it() {
    let mut emulator = emulator::lock();
    let mut host = host(&mut emulator);
    for norm in Norm::DEFAULTS {
        for of_x in [true, false] {
            let call = call(norm, F32, 6, 40);
            let mut numbers = call.numbers(2);
            let tensor = if of_x { &mut numbers.x } else { &mut numbers.dy };
            let mut values: Vec<f32> = tensor.values().iter().map(|&v| v as f32).collect();
            values[40 + 17] = f32::NAN;
            *tensor = Tensor::new(F32, &values);
            let written = run(&mut host, &call, 0, &numbers);
            for i in 0..240 {
                let touched = if norm.is_elementwise() { i == 57 } else { i / 40 == 1 };
                assert_eq!(written.dx.value(i).is_nan(), touched, "{i} {call:?}");
            }
            for c in 0..40 {
                let of_row = of_x && !norm.is_elementwise();
                assert_eq!(written.d_weight[c].is_nan(), c == 17 || of_row, "{c} {call:?}");
                assert_eq!(written.d_bias[c].is_nan(), c == 17 && !of_x, "{c} {call:?}");
            }
            assert!(written.d_parameters.iter().all(|v| v.is_nan()), "{call:?}");
        }
    }
}

#[test]
fn an_infinite_gradient_makes_sums_infinite_and_not_nan() {
    let mut emulator = emulator::lock();
    let mut host = host(&mut emulator);
    for norm in Norm::DEFAULTS.into_iter().filter(|norm| norm.is_elementwise()) {
        let call = call(norm, F32, 2, 40);
        let mut numbers = call.numbers(2);
        let mut dy: Vec<f32> = numbers.dy.values().iter().map(|&v| v as f32).collect();
        dy[50] = f32::INFINITY;
        numbers.dy = Tensor::new(F32, &dy);
        let (x, dy) = (numbers.x.values(), numbers.dy.values());
        let wanted = reference::backward(norm, &x, &dy, None, 0.0, 40).d_parameters;
        let given = run(&mut host, &call, 0, &numbers).d_parameters;
        assert!(wanted.iter().all(|v| v.is_infinite()));
        assert_eq!(given.into_iter().map(f64::from).collect::<Vec<_>>(), wanted, "{norm:?}");
    }
}

#[test]
fn only_the_gradient_of_the_input() {
    let mut emulator = emulator::lock();
    let mut host = host(&mut emulator);
    for norm in Norm::DEFAULTS {
        for channels in [37, 1024] {
            let plain = call(norm, F32, 9, channels);
            let numbers = plain.numbers(2);
            let wanted = run(&mut host, &plain, 0, &numbers).dx.all_bits();
            let alone = BackwardCall { sums: false, ..plain };
            assert_eq!(run(&mut host, &alone, 0, &numbers).dx.all_bits(), wanted, "{norm:?}");
        }
    }
}

#[test]
fn one_kernel_where_rows_are_kept_and_nothing_is_summed_up() {
    let mut emulator = emulator::lock();
    let mut host = host(&mut emulator);
    let launches = |host: &mut Host<'_>, norm, channels, sums| {
        let call = BackwardCall { sums, ..call(norm, Bf16, 4, channels) };
        run(host, &call, 0, &call.numbers(1));
        host.emulator.counts().launches
    };
    let (rms, dyt) = (Norm::DEFAULTS[0], Norm::DEFAULTS[2]);
    for (norm, channels, wanted) in
        [(rms, 4096, 1), (rms, 4095, 2), (rms, 16_384, 2), (dyt, 4095, 1)]
    {
        assert_eq!(launches(&mut host, norm, channels, false), wanted, "{norm:?} {channels}");
        assert_eq!(launches(&mut host, norm, channels, true), wanted + 1, "{norm:?} {channels}");
    }
}

#[test]
fn what_a_device_does_not_have_is_refused() {
    let emulator = emulator::lock();
    let (norm, name) = (Norm::DEFAULTS[2], "dyt");
    let mut device = Device::primary(0, &[norm], &[Bf16]).unwrap();
    assert_eq!(emulator.counts().modules, 1);
    let memory = [0_u64; 3 * 32];
    let rows =
        |index: u64| DeviceRows::new(memory.as_ptr() as u64 + 256 * index, Bf16, 1, 64).unwrap();
    let call = Backward::new(norm, rows(0), rows(1), rows(2));
    let launch = |device: &Device| {
        // SAFETY: the emulator knows no memory, so nothing is launched.
        unsafe { call.launch(device, ptr::null_mut()) }
    };
    emulator.set_ranges(&[]);
    assert_eq!(launch(&device), Err(Error::GradientNotLoaded { name, element: Bf16 }));
    device.load_gradients(&[norm], &[Bf16]).unwrap();
    device.load_gradients(&[norm], &[Bf16]).unwrap();
    assert_eq!(emulator.counts().modules, 2);
    assert!(matches!(launch(&device), Err(Error::NotDeviceMemory { what: "input", .. })));
    drop(device);
    assert_eq!(emulator.counts().modules, 0);
}
