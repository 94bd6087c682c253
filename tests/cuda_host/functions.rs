//! The functions that are installed for other kernels, by themselves: kernels/dynorm.

use crate::cuda_common::case::{Case, Tensors, half_ulp};
use crate::emulator::{self, Settings};
use crate::{PARAMETERS, TYPES, device, stratified};
use dynorm::Norm;

/// The exact value.
fn silu(z: f32) -> f64 {
    let z = f64::from(z);
    // At -infinity its limit; the quotient would be NaN.
    if z == f64::NEG_INFINITY { -0.0 } else { z / (1.0 + (-z).exp()) }
}

#[test]
fn parameters_as_they_are_give_the_bits_of_the_kernels() {
    let emulator = emulator::lock();
    let device = device();
    let x = stratified();
    for norm in PARAMETERS {
        let (name, parameters) = match norm {
            Norm::DyT { alpha } => ("host_dyt", [alpha, f32::NAN]),
            Norm::DyIsru { beta, scale } => ("host_dyisru", [beta, scale]),
            Norm::Derf { alpha, shift } => ("host_derf", [alpha, shift]),
            _ => unreachable!("the functions of an element"),
        };
        let tensors =
            Tensors::new(Case::new(norm, TYPES[0], TYPES[0], 1, x.len()), |_, i| x[i].into());
        emulator.run(&tensors, &device, &tensors.forward());
        let alone = emulator.apply(name, parameters, &x);
        for (i, (x, alone)) in x.iter().zip(alone).enumerate() {
            let kernel = f32::from_bits(tensors.y.bits(i));
            let same = alone.to_bits() == kernel.to_bits() || (alone.is_nan() && kernel.is_nan());
            assert!(same, "{norm:?} of {x}: {alone}, in a kernel {kernel}");
        }
    }
}

#[test]
fn silu_is_accurate_from_minus_87_on() {
    let mut emulator = emulator::lock();
    let x = stratified();
    // Where e^-z has most digits before the point.
    let far = (0..100_000).map(|i| -87.0 + i as f32 * 1.75e-3);
    let x: Vec<f32> = x.into_iter().chain(far).collect();
    for error in [-1, 0, 1] {
        emulator.configure(Settings { error, ..Settings::default() });
        // Relative, in units of 2^-23; and in ulp of the result, which may be half as much.
        let (mut relative, mut ulp) = ((0.0, 0.0), (0.0, 0.0));
        for (&z, given) in x.iter().zip(emulator.apply("host_silu", [f32::NAN; 2], &x)) {
            let wanted = silu(z);
            if wanted.is_nan() || f64::from(given) == wanted {
                assert_eq!(given.is_nan(), wanted.is_nan(), "{z}");
                assert_eq!(given.is_sign_negative() && z == 0.0, z.to_bits() == 1 << 31, "{z}");
                continue;
            }
            if z < -87.0 {
                assert!(
                    given <= 0.0 && (f64::from(given) - wanted).abs() < 1.5e-36,
                    "{z}: {given}"
                );
                continue;
            }
            let error = (f64::from(given) - wanted).abs();
            assert!(error.is_finite(), "silu of {z}: {given}, not {wanted}");
            let in_ulp = error / (2.0 * half_ulp(TYPES[0], wanted.abs()));
            if in_ulp > ulp.0 {
                ulp = (in_ulp, z);
            }
            let normal = wanted.abs() >= f32::MIN_POSITIVE.into();
            if normal && error / wanted.abs() * 2.0_f64.powi(23) > relative.0 {
                relative = (error / wanted.abs() * 2.0_f64.powi(23), z);
            }
        }
        println!("silu, approximations {error:+}: {relative:.2?} 2^-23, {ulp:.2?} ulp");
        let most = if error == 0 { (1.4, 2.3) } else { (3.3, 5.8) };
        assert!(relative.0 <= most.0 && ulp.0 <= most.1, "{error:+}: {relative:?}, {ulp:?}");
    }
}

/// The largest relative error of each short form where the result is normal, as a power of 2.
#[test]
fn short_forms_are_accurate() {
    let mut emulator = emulator::lock();
    let far = (0..100_000).map(|i| -87.0 + i as f32 * 1.75e-3);
    let x: Vec<f32> = stratified().into_iter().chain(far).collect();
    let of = |norm: Norm| {
        let wide: Vec<f64> = x.iter().map(|&x| x.into()).collect();
        dynorm::reference::forward(norm, &wide, None, None, 0.0, wide.len())
    };
    let silu: Vec<f64> = x.iter().map(|&z| silu(z)).collect();
    let forms = [
        ("host_dyt_short", [1.0, 0.0], of(Norm::DyT { alpha: 1.0 }), -17.0),
        ("host_dyisru_short", [1.0, 1.0], of(Norm::DyIsru { beta: 1.0, scale: 1.0 }), -21.0),
        ("host_derf_short", [1.0, 0.0], of(Norm::Derf { alpha: 1.0, shift: 0.0 }), -16.0),
        ("host_silu_short", [f32::NAN; 2], silu, -16.0),
    ];
    for (name, parameters, wanted, most) in forms {
        for error in [-1, 0, 1] {
            emulator.configure(Settings { error, ..Settings::default() });
            let mut worst = (0.0_f64, 0.0);
            for ((&x, &wanted), given) in
                x.iter().zip(&wanted).zip(emulator.apply(name, parameters, &x))
            {
                let given = f64::from(given);
                assert_eq!(given.is_nan(), wanted.is_nan(), "{name} of {x}: {given}");
                let same = given.is_nan() || given == wanted;
                assert!(
                    given.is_nan() || x != 0.0 || given.is_sign_negative() == x.is_sign_negative()
                );
                if name == "host_silu_short" && x < -87.0 {
                    assert!((given - wanted).abs() < 1.5e-36, "{name} of {x}: {given}");
                } else if !same && wanted.abs() >= f32::MIN_POSITIVE.into() {
                    let relative = (given / wanted - 1.0).abs();
                    worst = if relative > worst.0 { (relative, x) } else { worst };
                }
            }
            println!("{name}, approximations {error:+}: 2^{:.2} at {}", worst.0.log2(), worst.1);
            assert!(worst.0.log2() <= most, "{name} {error:+}: {worst:?}");
        }
    }
}

#[test]
fn silu_at_its_ends() {
    let emulator = emulator::lock();
    let x = [f32::NEG_INFINITY, -f32::MAX, -1e3, -0.0, 0.0, 1e3, f32::MAX, f32::INFINITY];
    let wanted = [-0.0, -0.0, -0.0, -0.0, 0.0, 1e3, f32::MAX, f32::INFINITY];
    for name in ["host_silu", "host_silu_short"] {
        let given = emulator.apply(name, [f32::NAN; 2], &x);
        assert_eq!(given.iter().map(|y| y.to_bits()).collect::<Vec<_>>(), wanted.map(f32::to_bits));
        let nan = emulator.apply(name, [0.0; 2], &[f32::NAN, -f32::NAN]);
        assert!(nan.iter().all(|y| y.is_nan()), "{name}");
    }
}
