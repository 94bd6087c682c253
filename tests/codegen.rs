//! The kernels are inlined into the functions that enable their instructions: no intrinsic is
//! left as a call, which would be correct and many times slower.
#![cfg(target_arch = "x86_64")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// How `core::core_arch`, the module of the intrinsics, is written in a symbol: names with their
/// lengths before them, in the legacy mangling as in v0.
const INTRINSIC: &str = "9core_arch";

/// The lines that mention an intrinsic as a symbol: a call, or a copy to be called.
fn intrinsics_left(assembly: &str) -> Vec<&str> {
    assembly.lines().filter(|line| line.contains(INTRINSIC)).collect()
}

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The library in release mode as assembly.
fn library() -> String {
    let target = scratch("codegen");
    let assembly = target.join("dynorm.s");
    succeed(
        Command::new(env!("CARGO"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["rustc", "-p", "dynorm", "--lib", "--release", "--crate-type", "rlib"])
            .arg("--target-dir")
            .arg(&target)
            .args(["--", "-C", "codegen-units=1", "--emit"])
            .arg(format!("asm={}", assembly.display())),
    );
    fs::read_to_string(assembly).unwrap()
}

/// Whether an instruction of `assembly` begins with `mnemonic` and names `operand`.
fn has(assembly: &str, mnemonic: &str, operand: &str) -> bool {
    assembly.lines().any(|line| line.trim_start().starts_with(mnemonic) && line.contains(operand))
}

#[test]
fn no_intrinsic_is_left_as_a_call() {
    let assembly = library();
    let left = intrinsics_left(&assembly);
    assert!(left.is_empty(), "{} mentions of intrinsics, first: {:?}", left.len(), left.first());

    // What was read is the kernels of every instruction set.
    for (mnemonic, operand) in [
        ("vfmadd", "%ymm"),
        ("vfmadd", "%zmm"),
        ("vcvtps2ph", "%ymm"),
        ("vcvtps2ph", "%zmm"),
        ("vcvtne2ps2bf16", "%zmm"),
        ("vmovntps", "%ymm"),
        ("vmovntps", "%zmm"),
        ("mulps", "%xmm"),
    ] {
        assert!(has(&assembly, mnemonic, operand), "no {mnemonic} of {operand}");
    }
}

#[test]
fn an_intrinsic_left_as_a_call_would_be_found() {
    // A function that is not inlined between the one with the feature and the intrinsic.
    const PROBE: &str = "
        use core::arch::x86_64::*;
        #[inline(never)]
        unsafe fn between(a: __m256) -> __m256 {
            unsafe { _mm256_fmadd_ps(a, a, a) }
        }
        #[target_feature(enable = \"avx2,fma\")]
        pub unsafe fn enter(a: &mut __m256) {
            unsafe { *a = between(*a) }
        }
    ";
    let source = scratch("probe.rs");
    fs::write(&source, PROBE).unwrap();
    for mangling in [None, Some("-Csymbol-mangling-version=v0")] {
        let assembly = scratch("probe.s");
        succeed(
            Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
                // rustc makes temporary folders where it works, and a cargo that lists the
                // package meanwhile, as the other test's does, fails when one disappears.
                .current_dir(env!("CARGO_TARGET_TMPDIR"))
                .args(["--crate-type=lib", "--edition=2024", "-Copt-level=3", "-Ccodegen-units=1"])
                .args(mangling)
                .arg(format!("--emit=asm={}", assembly.display()))
                .arg(&source),
        );
        let assembly = fs::read_to_string(assembly).unwrap();
        assert!(!intrinsics_left(&assembly).is_empty(), "{mangling:?}");
    }
}
