//! The program with a GPU, which is the library's stand-in for the CUDA driver, and without.

#![cfg(all(feature = "cuda", target_os = "linux"))]

#[path = "../../tests/cuda_host/library.rs"]
mod library;

use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Runs `dynorm` where the driver's library is this one.
fn run_on(driver: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dynorm"));
    command.args(args).env("LD_LIBRARY_PATH", driver.parent().unwrap()).output().unwrap()
}

/// What `dynorm` writes to standard output with a GPU, which must go well.
fn with_gpu(args: &[&str]) -> String {
    let output = run_on(&library::build(Path::new(ROOT)), args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// What it writes without a GPU; nothing where this machine has one.
fn without_gpu(args: &[&str]) -> Option<String> {
    // SAFETY: the driver's initialisers may run anywhere.
    if unsafe { libloading::Library::new("libcuda.so.1") }.is_ok() {
        eprintln!("skipped: there is a CUDA driver");
        return None;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_dynorm")).args(args).output().unwrap();
    assert!(output.status.success());
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Every function and type is checked on the GPU with and without weight, and measured in L2 and
/// beyond, beside copies.
#[test]
fn compare_includes_the_gpu() {
    let results: Value =
        serde_json::from_str(&with_gpu(&["compare", "--quick", "--json"])).unwrap();
    assert_eq!(
        (&results["ok"], &results["machine"]["gpu"]["name"]),
        (&true.into(), &"host".into())
    );
    let on_gpu = |list: &str| -> Vec<Value> {
        let all = results[list].as_array().unwrap();
        all.iter().filter(|one| one["threads"].is_null()).cloned().collect()
    };
    let checks = on_gpu("checks");
    assert_eq!(checks.len(), 5 * 3 * 2);
    for check in checks {
        assert!(check["worst_ulp"].as_f64().unwrap() > 0.0, "real activations round: {check}");
    }
    let speed = on_gpu("speed");
    assert_eq!(speed.len(), 5 * 3 * 2);
    let l2 = results["machine"]["gpu"]["l2"].as_u64().unwrap();
    for speed in speed {
        assert_eq!(
            (&speed["copy"], &speed["same_bits"]),
            (&"device to device".into(), &true.into())
        );
        let (bytes, resident) = (speed["bytes"].as_u64().unwrap(), speed["memory"] == "L2");
        assert!(if resident { bytes <= l2 / 2 } else { bytes > 4 * l2 }, "{speed}");
        for number in ["ps_per_element", "gb_per_s", "copy_gb_per_s"] {
            assert!(speed[number].as_f64().unwrap() > 0.0, "{number}: {speed}");
        }
    }
}

#[test]
fn the_gpu_is_in_the_same_table_and_can_be_left_out() {
    let some = ["compare", "--quick", "--types", "bf16", "--functions", "dyt"];
    let text = with_gpu(&some);
    assert!(
        text.contains("\nhost: compute capability 9.0, driver CUDA 13.0, L2 64 KiB\n"),
        "{text}"
    );
    let is_gpu = |line: &&str| line.split_whitespace().take(3).eq(["dyt", "bf16", "GPU"]);
    assert_eq!(text.lines().filter(is_gpu).count(), 1, "{text}");
    assert!(text.contains("\nGPU: L2 and DRAM are the device's own"));

    let text = with_gpu(&[&some[..], &["--no-gpu"]].concat());
    assert!(text.contains("\nno GPU: --no-gpu was given\n"), "{text}");
    assert!(!text.contains("GPU: L2"));
}

/// A GPU that errs is found out, in its results and in none of the processor's.
#[test]
fn a_wrong_result_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("dynorm")).unwrap();
    for part in ["", "dynorm"] {
        for entry in fs::read_dir(Path::new(ROOT).join("kernels").join(part)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let copy = folder.path().join(part).join(path.file_name().unwrap());
                fs::copy(&path, copy).unwrap();
            }
        }
    }
    let kernel = folder.path().join("rms_norm.cuh");
    let text = fs::read_to_string(&kernel).unwrap();
    let broken = text.replace("return x * rstd;", "return x * rstd * 1.000001f;");
    assert_ne!(broken, text);
    fs::write(&kernel, broken).unwrap();
    let driver = library::build_from(Path::new(ROOT), folder.path(), folder.path(), "");

    let some = ["compare", "--quick", "--types", "f32", "--functions", "rms_norm,dyt"];
    let output = run_on(&driver, &some);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr).unwrap();
    let wrong: Vec<_> = errors.lines().filter(|line| line.starts_with("wrong: ")).collect();
    assert_eq!(wrong.len(), 2, "with and without weight: {errors}");
    assert!(
        wrong.iter().all(|line| line.starts_with("wrong: rms_norm f32 on the GPU")),
        "{errors}"
    );
}

#[test]
fn info_says_whether_the_kernels_load() {
    let text = with_gpu(&["info"]);
    assert!(text.contains("\nGPU              driver CUDA 13.0\n"), "{text}");
    let device = "GPU              0: host, compute capability 9.0; kernels loaded in ";
    assert!(text.contains(device), "{text}");
}

#[test]
fn without_a_driver_one_line_says_so() {
    let Some(text) = without_gpu(&["info"]) else { return };
    let lines: Vec<_> = text.lines().filter(|line| line.contains("CUDA")).collect();
    assert!(
        matches!(lines[..], [line] if line.starts_with("GPU              none: no CUDA driver: "))
    );

    let some = ["compare", "--quick", "--types", "f32", "--functions", "dyisru"];
    let Some(text) = without_gpu(&some) else { return };
    let lines: Vec<_> = text.lines().filter(|line| line.contains("GPU")).collect();
    assert!(matches!(lines[..], [line] if line.starts_with("no GPU: no CUDA driver: ")));
}
