//! Asking for CUDA is an answer, never a panic, also on a machine without a driver.

use dynorm::cuda::Device;
use dynorm::{ElementType, Error, Norm};

#[test]
fn without_a_driver_there_is_an_error() {
    // SAFETY: the driver's initialisers may run anywhere.
    let there = unsafe { libloading::Library::new("libcuda.so.1") }.is_ok();
    // SAFETY: this thread has no context.
    let answers = [
        Device::count().err(),
        Device::driver_version().err(),
        Device::primary(0, &Norm::DEFAULTS, &ElementType::ALL).err(),
        unsafe { Device::current(&Norm::DEFAULTS, &ElementType::ALL) }.err(),
    ];
    if there {
        eprintln!("there is a CUDA driver; it answered {answers:?}");
        return;
    }
    for answer in answers {
        let error = answer.expect("there is no driver");
        assert!(matches!(error, Error::DriverMissing { .. }), "{error}");
        assert!(error.to_string().starts_with("no CUDA driver: "), "{error}");
    }
}
