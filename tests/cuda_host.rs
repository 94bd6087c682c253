//! The CUDA kernels, compiled for the host and run by the crate's own launch code over a twin of
//! the driver; compared with the f64 reference. No GPU is needed.

#![cfg(target_os = "linux")]

#[path = "cuda_host/allocations.rs"]
mod allocations;
#[path = "cuda_host/backward.rs"]
mod backward;
#[cfg(feature = "capi")]
#[path = "cuda_host/capi.rs"]
mod capi;
mod common;
mod cuda_common;
#[path = "cuda_host/emulator.rs"]
mod emulator;
#[path = "../examples/cuda/forms.rs"]
mod forms;
#[path = "cuda_host/functions.rs"]
mod functions;
#[path = "cuda_host/fused.rs"]
mod fused;
#[path = "cuda_common/gpu.rs"]
mod gpu;
#[path = "../examples/cuda/kernels.rs"]
mod kernels;
#[path = "cuda_host/launch.rs"]
mod launch;
#[path = "cuda_host/library.rs"]
mod library;
#[path = "cuda_host/matvec.rs"]
mod matvec;
#[path = "../examples/cuda/problem.rs"]
mod problem;

use cuda_common::case::{Case, Numbers, SHORT, Tensors, half_ulp};
use cuda_common::far::check_neighbours;
use dynorm::cuda::{Device, DeviceRows, Forward};
use dynorm::{ElementType, Norm, bf16};
use emulator::{Range, Settings};
use std::ptr;

const TYPES: [ElementType; 3] = ElementType::ALL;

/// f32 arithmetic of a function, in ulp of its result (row functions: of the row's size).
const ULP: f64 = 4.0;

/// A device whose clusters have at most so many blocks; 0 for one without clusters.
fn device_with(emulator: &mut emulator::Emulator, max_cluster: i32) -> Device {
    let capability = if max_cluster == 0 { [8, 0] } else { [9, 0] };
    emulator.configure(Settings { max_cluster, capability, ..Settings::default() });
    Device::primary(0, &Norm::DEFAULTS, &ElementType::ALL).unwrap()
}

fn device() -> Device {
    Device::primary(0, &Norm::DEFAULTS, &ElementType::ALL).unwrap()
}

/// Runs a case in both orders of threads; gives its bits.
fn run(emulator: &mut emulator::Emulator, device: &Device, case: Case) -> Vec<u32> {
    let [forwards, backwards] = [0, 1].map(|reversed| {
        emulator.configure(Settings { reversed, ..Settings::default() });
        let mut numbers = Numbers::new(case.channels as u64);
        let tensors = Tensors::new(case, |_, _| 1.5 * numbers.normal() + 0.25);
        emulator.run(&tensors, device, &tensors.forward());
        tensors.check(ULP);
        tensors.bits()
    });
    assert_eq!(forwards, backwards, "{case:?}: depends on the order of threads");
    forwards
}

#[test]
fn all_functions_and_types() {
    let mut emulator = emulator::lock();
    let device = device();
    for norm in Norm::DEFAULTS {
        for (x, y) in TYPES.into_iter().flat_map(|x| TYPES.map(|y| (x, y))) {
            for (rows, channels) in [(3, 1), (5, 33), (2, 64), (3, 768), (1, 1000), (2, 2048)] {
                run(&mut emulator, &device, Case::new(norm, x, y, rows, channels));
            }
        }
    }
}

#[test]
fn weights_and_biases_of_all_types() {
    let mut emulator = emulator::lock();
    let device = device();
    let operands = [None, Some(TYPES[0]), Some(TYPES[1]), Some(TYPES[2])];
    for norm in Norm::DEFAULTS {
        for x in TYPES {
            for (weight, bias) in operands.into_iter().flat_map(|w| operands.map(|b| (w, b))) {
                for channels in [40, 520, 515] {
                    let case = Case {
                        weight,
                        bias,
                        weight_offset: if channels == 40 { 1.0 } else { 0.0 },
                        ..Case::new(norm, x, x, 6, channels)
                    };
                    run(&mut emulator, &device, case);
                }
            }
        }
    }
}

/// Of the types that have kernels of their own: rows of each number of vectors, of few threads, of many,
/// and of few in many blocks; in a cluster.
#[test]
fn usual_operands_in_every_form() {
    let mut emulator = emulator::lock();
    let device = device();
    for norm in Norm::DEFAULTS {
        for x in TYPES {
            let lanes = 16 / x.size();
            for (rows, vectors) in
                [(3, 60), (3, 100), (2, 1500), (2, 1600), (300, 132), (2, 2500), (2, 8000)]
            {
                for bias in [Some(x), None] {
                    let case = Case::new(norm, x, x, rows, vectors * lanes);
                    run(&mut emulator, &device, Case { weight: Some(x), bias, ..case });
                }
            }
        }
    }
}

#[test]
fn odd_and_wide_rows() {
    let mut emulator = emulator::lock();
    let device = device();
    for norm in Norm::DEFAULTS {
        for (x, y) in [(TYPES[0], TYPES[0]), (TYPES[2], TYPES[2]), (TYPES[1], TYPES[0])] {
            for channels in [
                2, 7, 9, 31, 127, 257, 513, 769, 1023, 1025, 2049, 4097, 5120, 8200, 16_384,
                16_391, 20_000, 32_768,
            ] {
                let rows = if channels < 1000 { 131 } else { 2 };
                let rows = if channels > 8000 { 1 } else { rows };
                let case = Case { weight: Some(x), ..Case::new(norm, x, y, rows, channels) };
                run(&mut emulator, &device, case);
            }
        }
    }
}

#[test]
fn the_same_bits_at_any_alignment_and_stride() {
    let mut emulator = emulator::lock();
    let device = device();
    for norm in Norm::DEFAULTS {
        for (x, y) in [(TYPES[0], TYPES[2]), (TYPES[1], TYPES[1]), (TYPES[2], TYPES[0])] {
            for channels in [24, 33, 136, 1001, 1024, 3000] {
                let aligned = Case {
                    weight: Some(TYPES[0]),
                    bias: Some(TYPES[2]),
                    ..Case::new(norm, x, y, 3, channels)
                };
                let bits = run(&mut emulator, &device, aligned);
                for offset in 1..8 {
                    for which in 0..4 {
                        let mut case = aligned;
                        case.offset[which] = offset;
                        if which < 2 {
                            case.padding[which] = offset;
                        }
                        assert_eq!(run(&mut emulator, &device, case), bits, "{case:?}");
                    }
                }
                // Rows that are each aligned in another way, and rows that are all aligned.
                let padded = Case { padding: [3, 16], ..aligned };
                assert_eq!(run(&mut emulator, &device, padded), bits, "{padded:?}");
                let padded = Case { padding: [8, 16], ..aligned };
                assert_eq!(run(&mut emulator, &device, padded), bits, "{padded:?}");
            }
        }
    }
}

#[test]
fn the_same_bits_in_clusters_and_without() {
    let mut emulator = emulator::lock();
    let devices = [0, 1, 16].map(|max_cluster| device_with(&mut emulator, max_cluster));
    for norm in [Norm::DEFAULTS[0], Norm::DEFAULTS[1]] {
        let wide = [(0, 16_388), (0, 65_536), (2, 40_008), (1, 98_304), (0, 131_076)];
        for (x, channels) in wide.map(|(x, channels)| (TYPES[x], channels)) {
            let case = Case { weight: Some(TYPES[0]), ..Case::new(norm, x, x, 2, channels) };
            let bits = devices.each_ref().map(|device| {
                let bits = run(&mut emulator, device, case);
                (bits, emulator.counts())
            });
            assert!(bits[0].1.kernel().ends_with("_reread") && bits[0].1.cluster == 1);
            assert!(bits[1].1.kernel().ends_with("_reread") && bits[1].1.cluster == 1);
            assert!(bits[2].1.kernel().ends_with("_cluster") && bits[2].1.cluster > 1);
            assert_eq!(bits[0].0, bits[1].0, "{case:?}");
            assert_eq!(bits[0].0, bits[2].0, "{case:?}");
            let shifted = Case { offset: [1, 0, 0, 0], ..case };
            assert_eq!(bits[0].0, run(&mut emulator, &devices[2], shifted), "{shifted:?}");
        }
    }
}

#[test]
fn the_same_bits_in_any_batch_and_in_place() {
    let mut emulator = emulator::lock();
    let device = device();
    for norm in Norm::DEFAULTS {
        for (x, channels) in [(TYPES[0], 64), (TYPES[2], 130), (TYPES[1], 2048), (TYPES[2], 40_000)]
        {
            let row = |tensors: &Tensors, row: usize| {
                tensors.bits()[row * channels..][..channels].to_vec()
            };
            let value = |_: usize, channel: usize| Numbers::new(channel as u64).normal();
            let case = Case { bias: Some(x), ..Case::new(norm, x, x, 1, channels) };
            let alone = Tensors::new(case, value);
            emulator.run(&alone, &device, &alone.forward());
            let batch = if channels < 1000 { 200 } else { 3 };
            for in_place in [false, true] {
                let many = Tensors::new(Case { rows: batch, in_place, ..case }, value);
                emulator.run(&many, &device, &many.forward());
                many.check(ULP);
                for i in [0, 1, batch - 1] {
                    assert_eq!(
                        row(&many, i),
                        row(&alone, 0),
                        "{norm:?} {x:?} {channels} {in_place}"
                    );
                }
            }
        }
        emulator.configure(Settings::default());
    }
}

#[test]
fn layer_norm_keeps_its_digits_far_from_zero() {
    let mut emulator = emulator::lock();
    for (channels, max_cluster) in [(100, 1), (4096, 1), (16_384, 1), (65_536, 1), (65_536, 16)] {
        let device = device_with(&mut emulator, max_cluster);
        // A deviation away it decides whether to measure the row again.
        for mean in [-0.9, 1.0, 1.1, 3e5] {
            let mut numbers = Numbers::new(7);
            let case = Case::new(Norm::DEFAULTS[1], TYPES[0], TYPES[0], 1, channels);
            let tensors = Tensors::new(case, |_, _| mean + numbers.normal());
            emulator.run(&tensors, &device, &tensors.forward());
            tensors.check(ULP);
        }
    }
}

#[test]
fn a_row_far_from_zero_leaves_its_neighbours_alone() {
    let mut emulator = emulator::lock();
    let device = device_with(&mut emulator, 1);
    check_neighbours(|case, value| {
        let tensors = Tensors::new(case, value);
        emulator.run(&tensors, &device, &tensors.forward());
        tensors.check(ULP);
        tensors.bits()
    });
}

/// Every exponent of x, several significands each, both signs.
fn stratified() -> Vec<f32> {
    let mut numbers = Numbers::new(3);
    let mut all = vec![0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    for exponent in 0..255_u32 {
        for _ in 0..64 {
            let bits =
                exponent << 23 | numbers.below(1 << 23) as u32 | (numbers.below(2) as u32) << 31;
            all.push(f32::from_bits(bits));
        }
    }
    // Where the functions bend.
    all.extend((0..40_000).map(|i| (i as f32 - 20_000.0) * 5e-4));
    all
}

const PARAMETERS: [Norm; 12] = [
    Norm::DyT { alpha: 1.0 },
    Norm::DyT { alpha: 0.5 },
    Norm::DyT { alpha: -3e-20 },
    Norm::DyIsru { beta: 1.0, scale: 1.0 },
    Norm::DyIsru { beta: 4.0, scale: 8.0 },
    Norm::DyIsru { beta: 1e-45, scale: 1.0 },
    Norm::DyIsru { beta: 3e-30, scale: 1.0 },
    Norm::DyIsru { beta: 3e38, scale: 1.0 },
    Norm::DyIsru { beta: 1e25, scale: 1.0 },
    Norm::Derf { alpha: 1.0, shift: 0.0 },
    Norm::Derf { alpha: 0.5, shift: -0.25 },
    Norm::Derf { alpha: 1e20, shift: 0.5 },
];

#[test]
fn elementwise_functions_are_accurate_over_the_whole_range() {
    let mut emulator = emulator::lock();
    let device = device();
    let x = stratified();
    for norm in PARAMETERS {
        for error in [-1, 0, 1] {
            emulator.configure(Settings { error, ..Settings::default() });
            let case = Case::new(norm, TYPES[0], TYPES[0], 1, x.len());
            let tensors = Tensors::new(case, |_, channel| x[channel].into());
            emulator.run(&tensors, &device, &tensors.forward());
            let wanted = dynorm::reference::forward(
                norm,
                &x.iter().map(|&x| x.into()).collect::<Vec<_>>(),
                None,
                None,
                0.0,
                x.len(),
            );
            let mut worst = (0.0, 0.0, 0.0, 0.0);
            for (i, (&x, &wanted)) in x.iter().zip(&wanted).enumerate() {
                let given = tensors.y.get(i);
                if wanted.is_nan() {
                    assert!(given.is_nan(), "{norm:?} of {x}: {given}");
                    continue;
                }
                if x == 0.0 && !matches!(norm, Norm::Derf { shift, .. } if shift != 0.0) {
                    let alpha = if let Norm::DyT { alpha } = norm { alpha } else { 1.0 };
                    assert_eq!(given, 0.0);
                    assert_eq!(
                        given.is_sign_negative(),
                        (x * alpha).is_sign_negative(),
                        "{norm:?}"
                    );
                    continue;
                }
                let ulp = (given - wanted).abs() / (2.0 * half_ulp(TYPES[0], wanted.abs()));
                assert!(ulp.is_finite(), "{norm:?} of {x}: {given}, not {wanted}");
                if ulp > worst.0 {
                    worst = (ulp, f64::from(x), given, wanted);
                }
            }
            println!("{norm:?}, approximations {error:+}: {:.2} ulp at {}", worst.0, worst.1);
            // At worst: what the device's functions may err is most of it.
            let most = if error == 0 { 2.0 } else { 2.5 };
            assert!(worst.0 <= most, "{norm:?}: {worst:?}");
        }
    }
}

#[test]
fn every_16_bit_input() {
    let mut emulator = emulator::lock();
    let device = device();
    emulator.configure(Settings { error: 1, ..Settings::default() });
    for norm in PARAMETERS {
        for element in [TYPES[1], TYPES[2]] {
            let case = Case::new(norm, element, element, 1, 1 << 16);
            let mut tensors = Tensors::new(case, |_, _| 0.0);
            (0..1 << 16).for_each(|i| tensors.x.set_bits(i, i as u32));
            emulator.run(&tensors, &device, &tensors.forward());
            for i in 0..1 << 16 {
                let x = tensors.x.get(i);
                let wanted = dynorm::reference::forward(norm, &[x], None, None, 0.0, 1)[0];
                let given = tensors.y.get(i);
                let allowed = half_ulp(element, wanted.abs())
                    + SHORT * wanted.abs()
                    + 6.0 * half_ulp(TYPES[0], wanted.abs());
                let same = (given.is_nan() && wanted.is_nan()) || given == wanted;
                assert!(
                    same || (given - wanted).abs() <= allowed,
                    "{norm:?} {element:?} {x}: {given}, not {wanted}"
                );
            }
        }
    }
}

#[test]
fn specials_of_row_functions() {
    let emulator = emulator::lock();
    let device = device();
    for norm in [Norm::DEFAULTS[0], Norm::DEFAULTS[1]] {
        for (channels, special) in [(64, f64::NAN), (4096, f64::INFINITY), (100, 0.0)] {
            let case = Case::new(norm, TYPES[0], TYPES[0], 3, channels);
            // Row 1 is special; its neighbours must not notice.
            let tensors = Tensors::new(case, |row, channel| match (row, special) {
                (1, special) if special == 0.0 || channel == 5 => special,
                _ => channel as f64 / 8.0,
            });
            emulator.run(&tensors, &device, &tensors.forward());
            let row = |r: usize| (0..channels).map(move |c| r * channels + c);
            assert!(row(0).chain(row(2)).all(|i| tensors.y.get(i).is_finite()));
            if special == 0.0 {
                assert!(row(1).all(|i| tensors.y.get(i) == 0.0));
            } else {
                assert!(tensors.y.get(channels + 5).is_nan());
            }
        }
    }
}

#[test]
fn fast_tanh_is_within_its_word() {
    let mut emulator = emulator::lock();
    let device = device();
    let case = Case::new(Norm::DyT { alpha: 0.7 }, TYPES[0], TYPES[0], 3, 1000);
    for weight in [None, Some(TYPES[2])] {
        emulator.configure(Settings { error: 1, ..Settings::default() });
        let mut numbers = Numbers::new(5);
        let tensors = Tensors::new(Case { weight, ..case }, |_, _| 2.0 * numbers.normal());
        emulator.run(&tensors, &device, &tensors.forward().fast_tanh(true));
        assert!(emulator.counts().kernel().starts_with("dyt_fast_f32_"));
        assert!(
            tensors.check(2.0_f64.powi(23 - 11) + ULP) > 0.9,
            "the emulator errs as far as it may"
        );
    }
}

#[test]
fn rows_are_reached_beyond_32_bits() {
    let emulator = emulator::lock();
    let device = device();
    // Two rows 2^32 elements apart: the system gives only the pages that are touched.
    let (stride, channels) = (1_usize << 32, 64);
    let mut memory = vec![0_u16; stride + channels];
    let begin = memory.as_mut_ptr() as u64;
    let end = begin + 2 * memory.len() as u64;
    emulator.set_ranges(&[Range { begin, end, writable: 1, constant: 0, foreign: 0 }]);
    let rows = DeviceRows::with_stride(begin, TYPES[2], 2, channels, stride).unwrap();
    let input: Vec<u16> = (0..channels).map(|c| bf16::from_f32(c as f32 / 8.0).to_bits()).collect();
    for norm in Norm::DEFAULTS {
        for row in [0, stride] {
            memory[row..][..channels].copy_from_slice(&input);
        }
        // SAFETY: the emulator looks at every access, and is done when it returns.
        let launched = unsafe { Forward::new(norm, rows, rows).launch(&device, ptr::null_mut()) };
        assert_eq!(launched, Ok(()), "{norm:?}: {}", emulator.fault());
        assert_ne!(memory[..channels], input, "{norm:?}");
        assert_eq!(memory[..channels], memory[stride..], "{norm:?}");
    }
}
