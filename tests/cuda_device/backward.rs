//! Gradients on the device.

use crate::common::backward::BackwardCall;
use crate::cuda_common::backward::{call, check, run};
use crate::fused::{Runner, Way};
use crate::gpu::Gpu;
use crate::{TYPES, feasible, small};
use dynorm::{ElementType, Norm};

use ElementType::{Bf16, F16, F32};

fn gpu() -> Option<Gpu> {
    let mut gpu = Gpu::open()?;
    gpu.device.load_gradients(&Norm::DEFAULTS, &TYPES).unwrap();
    Some(gpu)
}

#[test]
fn gradients_of_all_functions_types_and_widths() {
    let Some(gpu) = gpu() else { return };
    let mut eager = Runner { gpu: &gpu, way: Way::Eager };
    for norm in Norm::DEFAULTS {
        for x in TYPES {
            for channels in feasible(&[
                2, 33, 64, 128, 515, 768, 1024, 3072, 4096, 4097, 5120, 6144, 7168, 8192, 12_288,
                16_384, 65_536,
            ]) {
                let rows = if channels < 1000 && !small() { 130 } else { 9 };
                for weight in [None, Some(F32)] {
                    check(&mut eager, &BackwardCall { weight, ..call(norm, x, rows, channels) });
                }
            }
        }
    }
}

/// Little enough for a sanitizer.
#[test]
fn once_gradients_in_every_form() {
    let Some(gpu) = gpu() else { return };
    let mut eager = Runner { gpu: &gpu, way: Way::Eager };
    for norm in Norm::DEFAULTS {
        for channels in feasible(&[24, 33, 515, 1024, 4096, 12_288, 16_384]) {
            check(&mut eager, &BackwardCall { weight: Some(F16), ..call(norm, Bf16, 9, channels) });
        }
    }
}

#[test]
fn gradients_of_many_rows() {
    let Some(gpu) = gpu() else { return };
    let mut eager = Runner { gpu: &gpu, way: Way::Eager };
    for norm in Norm::DEFAULTS {
        for channels in feasible(&[64, 1024, 4096]) {
            let rows = if small() { 100 } else { 3000 };
            check(
                &mut eager,
                &BackwardCall { weight: Some(Bf16), ..call(norm, Bf16, rows, channels) },
            );
        }
    }
}

#[test]
fn gradients_have_the_same_bits_at_any_alignment_in_place_and_from_a_graph() {
    let Some(gpu) = gpu() else { return };
    for norm in Norm::DEFAULTS {
        for (x, widths) in [(F32, [24, 1000]), (F16, [136, 2048]), (Bf16, [520, 4096])] {
            for channels in feasible(&widths) {
                let plain = BackwardCall { weight: Some(F32), ..call(norm, x, 13, channels) };
                let numbers = plain.numbers(5);
                let wanted = run(&mut Runner { gpu: &gpu, way: Way::Eager }, &plain, 0, &numbers);
                plain.compare(&numbers, &wanted);
                let captured =
                    run(&mut Runner { gpu: &gpu, way: Way::Captured }, &plain, 0, &numbers);
                assert_eq!(captured.bits(), wanted.bits(), "{plain:?}");
                for (gap, start) in [(3, 1), (8, 0)] {
                    for in_place in [false, true] {
                        let other = BackwardCall { gap, start, in_place, ..plain };
                        let given =
                            run(&mut Runner { gpu: &gpu, way: Way::Eager }, &other, 0, &numbers);
                        assert_eq!(given.dx.all_bits(), wanted.dx.all_bits(), "{other:?}");
                        assert_eq!(given.d_weight, wanted.d_weight, "{other:?}");
                        assert_eq!(given.d_bias, wanted.d_bias, "{other:?}");
                    }
                }
            }
        }
    }
}
