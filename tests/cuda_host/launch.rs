//! What a launch and a device ask of the driver, and what becomes of its refusals.

use crate::cuda_common::case::{Case, Numbers, Tensors};
use crate::emulator::{self, Range, Settings};
use crate::{TYPES, ULP, allocations, device, device_with};
use dynorm::cuda::{Device, DeviceRows, Forward};
use dynorm::{ElementType, Error, Norm};
use std::process::Command;
use std::{env, ptr};

#[test]
fn programmatic_launch_where_the_device_has_it() {
    let mut emulator = emulator::lock();
    let devices = [0, 16].map(|max_cluster| device_with(&mut emulator, max_cluster));
    emulator.configure(Settings::default());
    for norm in Norm::DEFAULTS {
        for channels in [64, 4096, 70_000] {
            let case =
                Case { weight: Some(TYPES[2]), ..Case::new(norm, TYPES[2], TYPES[2], 2, channels) };
            let mut numbers = Numbers::new(9);
            let tensors = Tensors::new(case, |_, _| numbers.normal());
            let before = emulator.counts().programmatic;
            // The emulator sees to it that nothing but operands is read before the wait.
            emulator.run(&tensors, &devices[1], &tensors.forward().programmatic(true));
            tensors.check(ULP);
            assert_eq!(emulator.counts().programmatic, before + 1);
            emulator.run(&tensors, &devices[1], &tensors.forward());
            emulator.run(&tensors, &devices[0], &tensors.forward().programmatic(true));
            assert_eq!(emulator.counts().programmatic, before + 1);
        }
    }
}

#[test]
fn no_rows_launch_nothing() {
    let emulator = emulator::lock();
    let device = device();
    for norm in Norm::DEFAULTS {
        let none = DeviceRows::new(0, TYPES[0], 0, 8).unwrap();
        let before = emulator.counts().launches;
        // SAFETY: there is no memory.
        let launched = unsafe { Forward::new(norm, none, none).launch(&device, ptr::null_mut()) };
        assert_eq!(launched, Ok(()));
        assert_eq!(emulator.counts().launches, before);
    }
}

#[test]
fn a_launch_allocates_nothing_and_leaves_the_thread_as_it_was() {
    let emulator = emulator::lock();
    let device = device();
    let case =
        Case { weight: Some(TYPES[0]), ..Case::new(Norm::DEFAULTS[1], TYPES[2], TYPES[0], 4, 256) };
    let tensors = Tensors::new(case, |_, channel| channel as f64);
    emulator.expose(&tensors);
    let call = tensors.forward();
    // cudarc looks functions up when they are first called.
    // SAFETY: the tensors live on.
    unsafe { call.launch(&device, ptr::null_mut()) }.unwrap();
    for current in [ptr::null_mut(), ptr::dangling_mut::<u64>().cast(), device.context()] {
        emulator.make_current(current);
        let contexts = emulator.contexts();
        let before = allocations::count();
        // SAFETY: the tensors live on.
        let launched = unsafe { call.launch(&device, ptr::null_mut()) };
        assert_eq!(allocations::count(), before);
        assert_eq!((launched, emulator.contexts()), (Ok(()), contexts));
    }
}

#[test]
fn memory_that_the_driver_does_not_know_is_refused() {
    let emulator = emulator::lock();
    let device = device();
    let case =
        Case { weight: Some(TYPES[0]), ..Case::new(Norm::DEFAULTS[0], TYPES[0], TYPES[0], 4, 256) };
    let tensors = Tensors::new(case, |_, _| 1.0);
    let launch = |ranges: &[Range]| {
        emulator.set_ranges(ranges);
        // SAFETY: the emulator looks at every access.
        unsafe { tensors.forward().launch(&device, ptr::null_mut()) }
    };
    let (x, y) = (Range::new(&tensors.x, false, false), Range::new(&tensors.y, true, false));
    let weight = Range::new(tensors.weight.as_ref().unwrap(), false, true);
    assert_eq!(launch(&[x, y, weight]), Ok(()));
    assert!(matches!(launch(&[x, weight]), Err(Error::NotDeviceMemory { what: "output", .. })));
    assert!(matches!(launch(&[x, y]), Err(Error::NotDeviceMemory { what: "weight", .. })));
    let foreign = Range { foreign: 1, ..x };
    let refused = launch(&[foreign, y, weight]).unwrap_err();
    assert!(matches!(refused, Error::OtherContext { what: "input", .. }), "{refused}");
}

#[test]
fn functions_that_were_not_asked_for_are_not_loaded() {
    let emulator = emulator::lock();
    let types = [ElementType::F16, ElementType::Bf16];
    let device = Device::primary(0, &Norm::DEFAULTS[2..4], &types).unwrap();
    assert_eq!(emulator.counts().modules, 4);
    for (norm, name, element) in [
        (Norm::DEFAULTS[0], "rms_norm", ElementType::Bf16),
        (Norm::DEFAULTS[2], "dyt", ElementType::F32),
    ] {
        let tensors = Tensors::new(Case::new(norm, element, element, 1, 8), |_, _| 1.0);
        emulator.expose(&tensors);
        // SAFETY: nothing is launched.
        let refused = unsafe { tensors.forward().launch(&device, ptr::null_mut()) };
        assert_eq!(refused, Err(Error::NotLoaded { name, element }));
    }
}

#[test]
fn a_device_gives_back_what_it_took() {
    let emulator = emulator::lock();
    let device = device();
    assert_eq!((emulator.counts().modules, emulator.counts().retained), (15, 1));
    assert_eq!(device.name().unwrap(), "host");
    assert_eq!(device.capability(), (9, 0));
    // SAFETY: `device` keeps the context, and is dropped after.
    let second =
        unsafe { Device::from_context(device.context(), &Norm::DEFAULTS, &ElementType::ALL) }
            .unwrap();
    assert_eq!((emulator.counts().modules, emulator.counts().retained), (30, 1));
    drop(second);
    drop(device);
    assert_eq!((emulator.counts().modules, emulator.counts().retained), (0, 0));
    assert_eq!(emulator.contexts(), 0);
}

#[test]
fn what_the_driver_refuses_is_an_error_that_says_so() {
    let mut emulator = emulator::lock();
    assert_eq!(Device::count(), Ok(1));
    assert_eq!(Device::driver_version(), Ok((12, 2)));
    // SAFETY: there is no context.
    let none = unsafe { Device::current(&Norm::DEFAULTS, &ElementType::ALL) };
    assert_eq!(none.unwrap_err(), Error::NoContext);
    assert!(matches!(Device::primary(1, &[], &[]), Err(Error::Driver { call: "cuDeviceGet", .. })));

    emulator.configure(Settings { capability: [7, 5], ..Settings::default() });
    let old = Device::primary(0, &Norm::DEFAULTS, &ElementType::ALL).unwrap_err();
    assert_eq!(old.to_string(), "the device has compute capability 7.5; 8.0 is needed");

    emulator.fail("cuModuleLoadDataEx", 218);
    let refused = Device::primary(0, &Norm::DEFAULTS, &ElementType::ALL).unwrap_err();
    let text = "cuModuleLoadDataEx failed: CUDA_ERROR_INVALID_PTX (218): what ptxas says";
    assert_eq!(refused.to_string(), text);

    for function in ["cuDevicePrimaryCtxRetain", "cuDeviceGetAttribute", "cuModuleGetFunction"] {
        emulator.fail(function, 999);
        let refused = Device::primary(0, &Norm::DEFAULTS, &ElementType::ALL).unwrap_err();
        assert!(matches!(refused, Error::Driver { call, code: 999, .. } if call == function));
        assert_eq!((emulator.counts().modules, emulator.contexts()), (0, 0), "{function}");
    }

    emulator.configure(Settings::default());
    let device = device();
    let tensors = Tensors::new(Case::new(Norm::DEFAULTS[2], TYPES[0], TYPES[0], 1, 8), |_, _| 1.0);
    emulator.fail("cuLaunchKernelEx", 719);
    emulator.expose(&tensors);
    // SAFETY: nothing is launched.
    let refused = unsafe { tensors.forward().launch(&device, ptr::null_mut()) }.unwrap_err();
    assert_eq!(refused.to_string(), "cuLaunchKernelEx failed: CUDA_ERROR_LAUNCH_FAILED (719)");
}

/// The version is looked at once a process, so this one runs itself again.
#[test]
fn an_old_driver_is_refused() {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--ignored", "launch::in_a_process_with_an_old_driver"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
#[ignore = "run by an_old_driver_is_refused"]
fn in_a_process_with_an_old_driver() {
    let mut emulator = emulator::lock();
    emulator.configure(Settings { driver_version: 11_080, ..Settings::default() });
    let text = "the CUDA driver supports CUDA 11.8; 12.2 (driver R535) is needed";
    assert_eq!(
        Device::primary(0, &Norm::DEFAULTS, &ElementType::ALL).unwrap_err().to_string(),
        text
    );
    assert_eq!(Device::count().unwrap_err().to_string(), text);
}
