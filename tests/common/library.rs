//! The library in release mode with every feature, compiled once for all tests that look at what is compiled.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Builds `libdynorm.so`, `.a` and `.rlib`; gives the folder that they are in. In `deps` beside them is the
/// assembly, in several units: a build of one would take twice as long. `scripts/make_gpu_bundle.py` builds it with the
/// same command.
pub fn build() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("library");
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["rustc", "-p", "dynorm", "--lib", "--release", "--locked"])
            .args(["--features", "capi,cuda", "--crate-type", "rlib,cdylib,staticlib"])
            .arg("--target-dir")
            .arg(&target)
            .args(["--", "-C", "codegen-units=8", "--emit", "asm"]);
        let output = cargo.output().unwrap_or_else(|e| panic!("{cargo:?}: {e}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        target.join("release")
    })
}
