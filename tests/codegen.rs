//! The kernels are inlined into the functions that enable their instructions: no intrinsic is
//! left as a call, which would be correct and many times slower.
#![cfg(target_arch = "x86_64")]

#[path = "common/library.rs"]
mod library;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;
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

fn rustc() -> Command {
    let mut command = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    // rustc makes temporary folders where it works, and a cargo that lists the package meanwhile,
    // as another test's does, fails when one disappears.
    command.current_dir(env!("CARGO_TARGET_TMPDIR"));
    command.args(["--edition=2024", "-Copt-level=3", "-Ccodegen-units=1"]);
    command
}

/// The library as assembly.
fn assembly_of_library() -> String {
    let mut units: Vec<(SystemTime, String, PathBuf)> = fs::read_dir(library::build().join("deps"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter_map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            let (build, unit) = name.split_once("-cgu.")?;
            let is_unit = build.starts_with("dynorm.") && unit.ends_with(".rcgu.s");
            let built = entry.metadata().unwrap().modified().unwrap();
            is_unit.then(|| (built, build.to_owned(), entry.path()))
        })
        .collect();
    units.sort();
    // Other compilers may have left theirs.
    let (_, build, _) = units.last().expect("the compiler leaves assembly").clone();
    let of_build = units.into_iter().filter(|(_, other, _)| *other == build);
    of_build.map(|(_, _, path)| fs::read_to_string(path).unwrap()).collect()
}

/// Whether an instruction of `assembly` begins with `mnemonic` and names `operand`.
fn has(assembly: &str, mnemonic: &str, operand: &str) -> bool {
    assembly.lines().any(|line| line.trim_start().starts_with(mnemonic) && line.contains(operand))
}

#[test]
fn no_intrinsic_is_left_as_a_call() {
    let assembly = assembly_of_library();
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

/// A crate that uses the library, in release mode as assembly.
fn other_crate(name: &str, crate_type: &str, source: &Path) -> String {
    let release = library::build();
    let assembly = scratch(name);
    succeed(
        rustc()
            .arg(format!("--crate-type={crate_type}"))
            .arg("--extern")
            .arg(format!("dynorm={}", release.join("libdynorm.rlib").display()))
            .arg("-L")
            .arg(format!("dependency={}", release.join("deps").display()))
            .arg(format!("--emit=asm={}", assembly.display()))
            .arg(source),
    );
    fs::read_to_string(assembly).unwrap()
}

#[test]
fn nor_in_kernels_of_another_crate() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/matvec/main.rs");
    let assembly = other_crate("matvec.s", "bin", &source);
    let left = intrinsics_left(&assembly);
    assert!(left.is_empty(), "{} mentions of intrinsics, first: {:?}", left.len(), left.first());

    // Products, and the functions between them: the table of tanh, the estimate of the root.
    for (mnemonic, operand) in [
        ("vfmadd", "%ymm"),
        ("vfmadd", "%zmm"),
        ("vrsqrtps", "%ymm"),
        ("vrsqrt14ps", "%zmm"),
        ("vpermps", "%zmm"),
        ("mulps", "%xmm"),
    ] {
        assert!(has(&assembly, mnemonic, operand), "no {mnemonic} of {operand}");
    }
}

#[test]
fn whole_vectors_are_stored_without_a_mask() {
    // A store with a mask is many times slower on some processors, and the mask of a whole vector
    // goes only where the compiler sees its bits from another crate too.
    const DOUBLE: &str = "
        use dynorm::{Error, Isa, cpu::lanes::{Kernel, Lanes, run}};
        struct Double<'a>(&'a mut [f32]);
        impl Kernel for Double<'_> {
            type Output = ();
            #[inline(always)]
            fn run<L: Lanes>(self, lanes: L) {
                for part in self.0.chunks_exact_mut(L::COUNT) {
                    let x = lanes.load(part);
                    lanes.store(lanes.add(x, x), part);
                }
            }
        }
        pub fn double(isa: Isa, x: &mut [f32]) -> Result<(), Error> {
            run(isa, Double(x))
        }
    ";
    let source = scratch("double.rs");
    fs::write(&source, DOUBLE).unwrap();
    let assembly = other_crate("double.s", "lib", &source);
    for operand in ["%ymm", "%zmm", "%xmm"] {
        assert!(has(&assembly, "vaddps", operand) || has(&assembly, "addps", operand), "{operand}");
    }
    for masked in ["vmaskmov", "{%k"] {
        assert!(!assembly.contains(masked), "{masked}");
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
            rustc()
                .arg("--crate-type=lib")
                .args(mangling)
                .arg(format!("--emit=asm={}", assembly.display()))
                .arg(&source),
        );
        let assembly = fs::read_to_string(assembly).unwrap();
        assert!(!intrinsics_left(&assembly).is_empty(), "{mangling:?}");
    }
}
