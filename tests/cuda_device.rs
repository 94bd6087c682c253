//! The CUDA kernels on a real device, compared with the f64 reference. Without one every test
//! passes with a word about it, unless `DYNORM_REQUIRE_GPU` is set. `DYNORM_TEST_SMALL` leaves out
//! wide rows: for the emulator, which `tests/cuda_host.rs` builds.

#[path = "cuda_device/backward.rs"]
mod backward;
mod common;
mod cuda_common;
#[path = "cuda_common/exhaustive.rs"]
mod exhaustive;
#[path = "cuda_device/fused.rs"]
mod fused;
#[path = "cuda_common/gpu.rs"]
mod gpu;

use cuda_common::case::{Case, Numbers, Tensors};
use cuda_common::far::check_neighbours;
use dynorm::cuda::{DeviceRows, Forward};
use dynorm::{ElementType, Error, Norm, bf16};
use exhaustive::{Inputs, Rounded};
use gpu::Gpu;

const TYPES: [ElementType; 3] = ElementType::ALL;

/// f32 arithmetic of a function, in ulp of its result (row functions: of the row's size).
const ULP: f64 = 4.0;

/// Runs `launch` with the case's call on copies of its tensors; checks the result and gives its
/// bits.
fn run_with(
    gpu: &Gpu,
    case: Case,
    value: impl FnMut(usize, usize) -> f64,
    ulp: f64,
    launch: impl FnOnce(Forward),
) -> Vec<u32> {
    let mut tensors = Tensors::new(case, value);
    let mut addresses = [0; 4];
    let copies: Vec<_> = tensors
        .buffers()
        .into_iter()
        .zip(&mut addresses)
        .map(|(buffer, address)| {
            let (bytes, start) = buffer?.with_guards();
            let copy = gpu.lab.upload(bytes).unwrap();
            *address = copy.address() + start as u64;
            Some(copy)
        })
        .collect();
    launch(tensors.forward_at(addresses));
    for (buffer, copy) in tensors.buffers().into_iter().zip(&copies) {
        if let (Some(buffer), Some(copy)) = (buffer, copy) {
            copy.read(0, buffer.with_guards().0).unwrap();
        }
    }
    tensors.check(ulp);
    tensors.bits()
}

fn run(gpu: &Gpu, case: Case) -> Vec<u32> {
    let mut numbers = Numbers::new(case.channels as u64);
    run_with(
        gpu,
        case,
        |_, _| 1.5 * numbers.normal() + 0.25,
        ULP,
        |call| {
            gpu.launch(&call);
            gpu.synchronize();
        },
    )
}

/// Whether this runs where much is too much.
fn small() -> bool {
    std::env::var_os("DYNORM_TEST_SMALL").is_some()
}

/// Those of `widths` that are not too much where this runs.
fn feasible(widths: &[usize]) -> impl Iterator<Item = usize> {
    let most = if small() { 600 } else { usize::MAX };
    widths.iter().copied().filter(move |&channels| channels <= most)
}

/// Every kernel that takes nothing else: little enough for a sanitizer.
#[test]
fn once_every_kernel() {
    let Some(gpu) = Gpu::open() else { return };
    for norm in Norm::DEFAULTS {
        for x in TYPES {
            for channels in feasible(&[40, 100, 1024, 1025, 16_384, 40_000, 262_144]) {
                let case = Case { weight: Some(TYPES[0]), ..Case::new(norm, x, x, 2, channels) };
                run(&gpu, case);
                let offset = [1, 0, 0, 0];
                run(&gpu, Case { offset, ..Case::new(norm, x, x, 2, channels) });
            }
        }
    }
}

#[test]
fn all_functions_types_and_widths() {
    let Some(gpu) = Gpu::open() else { return };
    let widths = [
        1, 7, 33, 64, 128, 257, 512, 768, 1000, 1024, 2049, 4096, 5120, 7168, 8192, 16_384, 16_391,
        20_000, 32_768, 65_536, 100_003, 131_072, 262_144,
    ];
    for norm in Norm::DEFAULTS {
        for (x, y) in TYPES.into_iter().flat_map(|x| TYPES.map(|y| (x, y))) {
            for channels in feasible(&widths) {
                let rows = if channels < 2000 { 67 } else { 3 };
                let plain = Case::new(norm, x, y, rows, channels);
                run(&gpu, plain);
                let operands = Case { weight: Some(y), bias: Some(TYPES[0]), ..plain };
                run(&gpu, Case { weight_offset: 1.0, ..operands });
            }
        }
    }
}

#[test]
fn the_same_bits_at_any_alignment_batch_and_in_place() {
    let Some(gpu) = Gpu::open() else { return };
    for norm in Norm::DEFAULTS {
        for x in TYPES {
            for channels in feasible(&[24, 136, 1024, 4096, 8192, 40_000, 131_072]) {
                let case = Case {
                    weight: Some(TYPES[0]),
                    bias: Some(TYPES[2]),
                    ..Case::new(norm, x, x, 2, channels)
                };
                let bits = run(&gpu, case);
                assert_eq!(run(&gpu, Case { in_place: true, ..case }), bits);
                for (which, offset) in [(0, 1), (1, 3), (2, 1), (3, 5)] {
                    let mut shifted = case;
                    shifted.offset[which] = offset;
                    shifted.padding = [offset, 0];
                    assert_eq!(run(&gpu, shifted), bits, "{shifted:?}");
                }
                let rows = if channels < 10_000 { 700 } else { 133 };
                let many = run(&gpu, Case { rows, ..case });
                let usual = Case { weight: Some(x), bias: Some(x), ..case };
                let usual_bits = run(&gpu, usual);
                let many_usual = run(&gpu, Case { rows, ..usual });
                assert_eq!(many_usual[..bits.len()], usual_bits, "{usual:?}");
                assert_eq!(many[..bits.len()], bits, "{case:?}");
            }
        }
    }
}

#[test]
fn once_rows_far_from_zero() {
    let Some(gpu) = Gpu::open() else { return };
    check_neighbours(|case, value| {
        run_with(&gpu, case, value, ULP, |call| {
            gpu.launch(&call);
            gpu.synchronize();
        })
    });
}

#[test]
fn captured_into_a_graph_and_replayed() {
    let Some(gpu) = Gpu::open() else { return };
    for norm in Norm::DEFAULTS {
        for channels in feasible(&[128, 4096, 100_000]) {
            let case =
                Case { weight: Some(TYPES[2]), ..Case::new(norm, TYPES[2], TYPES[2], 5, channels) };
            let eager = run(&gpu, case);
            for programmatic in [false, true] {
                let mut numbers = Numbers::new(case.channels as u64);
                let value = |_, _| 1.5 * numbers.normal() + 0.25;
                let replayed = run_with(&gpu, case, value, ULP, |call| {
                    let call = call.programmatic(programmatic);
                    let graph = gpu.capture(|| (0..4).for_each(|_| gpu.launch(&call)));
                    gpu.replay(&graph);
                    gpu.replay(&graph);
                    gpu.synchronize();
                });
                assert_eq!(replayed, eager, "{case:?}");
            }
        }
    }
}

#[test]
fn programmatic_launches_wait_for_one_another() {
    let Some(gpu) = Gpu::open() else { return };
    // Each call reads what the one before it wrote.
    for norm in Norm::DEFAULTS {
        let bytes: Vec<u8> = (0..64 << 10).map(|i| (i * 37 % 120) as u8).collect();
        let [plain, programmatic] = [false, true].map(|programmatic| {
            let memory = gpu.lab.upload(&bytes).unwrap();
            let rows = DeviceRows::new(memory.address(), TYPES[2], 8, 4096).unwrap();
            let call = Forward::new(norm, rows, rows).programmatic(programmatic);
            (0..50).for_each(|_| gpu.launch(&call));
            gpu.synchronize();
            let mut result = vec![0; bytes.len()];
            memory.read(0, &mut result).unwrap();
            result
        });
        assert_eq!(plain, programmatic, "{norm:?}");
    }
}

#[test]
fn fast_tanh_is_within_its_word() {
    let Some(gpu) = Gpu::open() else { return };
    let case = Case::new(Norm::DyT { alpha: 0.7 }, TYPES[0], TYPES[0], 3, 100_000);
    let mut numbers = Numbers::new(5);
    run_with(
        &gpu,
        case,
        |_, _| 2.0 * numbers.normal(),
        2.0_f64.powi(23 - 11) + ULP,
        |call| {
            gpu.launch(&call.fast_tanh(true));
            gpu.synchronize();
        },
    );
}

/// Prints what it finds, a line a function.
#[test]
#[ignore = "2^32 inputs a function: minutes, on a device"]
fn exhaustive_over_every_f32() {
    let Some(gpu) = Gpu::open() else { return };
    let (dyt, isru) = (|alpha| Norm::DyT { alpha }, |beta| Norm::DyIsru { beta, scale: 1.0 });
    // The function, whether its tanh is fast, and the most that it may err in f32, in ulp.
    let fast = 2.0_f64.powi(23 - 10);
    for (norm, fast_tanh, most) in [
        (dyt(1.0), false, 2.5),
        (dyt(0.2), false, 2.5),
        (Norm::Derf { alpha: 1.0, shift: 0.0 }, false, 2.5),
        (isru(1.0), false, 2.5),
        (isru(1e-6), false, 2.5),
        (dyt(1.0), true, fast),
        (dyt(0.2), true, fast),
    ] {
        let inputs = if small() { Inputs::FEW } else { Inputs::ALL };
        let found = exhaustive::run(&gpu, norm, fast_tanh, inputs);
        let rounded = |element: &str, Rounded { ulp, differing }: Rounded| {
            format!("\"{element}_ulp\":{ulp:.4},\"{element}_differing\":{differing}")
        };
        println!(
            "{{\"kind\":\"exhaustive\",\"norm\":\"{norm:?}\",\"fast_tanh\":{fast_tanh},\"inputs\":{},\
             \"f32_ulp\":{:.3},\"at\":\"{:e}\",\"relative\":{:e},{},{}}}",
            inputs.count,
            found.ulp,
            found.at,
            found.relative,
            rounded("f16", found.f16),
            rounded("bf16", found.bf16),
        );
        assert!(found.ulp <= most, "{norm:?}: {found:?}");
        // 2^-11 of the value is an eighth of bf16's ulp, and up to one of f16's; else 2^-16.
        let [f16, bf16] = if fast_tanh { [1.5, 0.625] } else { [0.532, 0.504] };
        assert!(found.f16.ulp <= f16 && found.bf16.ulp <= bf16, "{norm:?}: {found:?}");
    }
}

#[test]
fn more_than_two_to_the_32_elements() {
    let Some(gpu) = Gpu::open() else { return };
    let (rows, channels) = ((1 << 20) + 3, 4096);
    let bytes = rows * channels * 2;
    if gpu.lab.free_memory().unwrap() < bytes + (1 << 30) {
        eprintln!("skipped: {bytes} bytes of device memory are needed");
        return;
    }
    let memory = gpu.lab.memory(bytes).unwrap();
    for norm in Norm::DEFAULTS {
        memory.fill(0).unwrap();
        let row: Vec<u8> =
            (0..channels).flat_map(|i| bf16::from_f32(i as f32 / 512.0).to_le_bytes()).collect();
        let places = [0, 1, rows / 2, rows - 1];
        for place in places {
            memory.write(place * channels * 2, &row).unwrap();
        }
        let all = DeviceRows::new(memory.address(), TYPES[2], rows, channels).unwrap();
        gpu.launch(&Forward::new(norm, all, all));
        gpu.synchronize();
        let read = |place: usize| {
            let mut row = vec![0; row.len()];
            memory.read(place * channels * 2, &mut row).unwrap();
            row
        };
        let first = read(0);
        assert_ne!(first, row, "{norm:?}");
        for place in places {
            assert_eq!(read(place), first, "{norm:?}, row {place}");
        }
    }
}

#[test]
fn host_memory_is_refused() {
    let Some(gpu) = Gpu::open() else { return };
    let mut host = [0_f32; 64];
    let rows = DeviceRows::new(host.as_mut_ptr() as u64, TYPES[0], 1, 64).unwrap();
    // SAFETY: it is refused, or the device can read the host's memory.
    let launched = unsafe {
        Forward::new(Norm::DEFAULTS[0], rows, rows).launch(&gpu.device, gpu.lab.stream())
    };
    gpu.synchronize();
    assert!(matches!(launched, Ok(()) | Err(Error::NotDeviceMemory { what: "input", .. })));
}
