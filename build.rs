//! Embeds the PTX of the CUDA kernels: the committed files, or those of the folder that the
//! environment variable `DYNORM_PTX_DIR` names, with the same names.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CUDA").is_some() {
        embed_ptx();
    }
}

/// Writes `ptx.rs`: `(file name, PTX ended by a 0 byte)` for each file. The driver takes a C
/// string.
fn embed_ptx() {
    println!("cargo::rerun-if-env-changed=DYNORM_PTX_DIR");
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let folder = env::var_os("DYNORM_PTX_DIR")
        .map_or_else(|| manifest.join("kernels").join("ptx"), PathBuf::from);
    println!("cargo::rerun-if-changed={}", folder.display());

    let mut list = String::from("&[\n");
    for file in ptx_files(&folder) {
        let name = file.file_stem().expect("it has an extension").to_string_lossy().into_owned();
        let mut text = fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        text.push(0);
        let copy = out.join(format!("{name}.ptx0"));
        fs::write(&copy, text).unwrap_or_else(|e| panic!("{}: {e}", copy.display()));
        writeln!(list, "({name:?}, include_bytes!({copy:?}).as_slice()),").expect("memory");
    }
    list.push(']');
    fs::write(out.join("ptx.rs"), list).expect("OUT_DIR can be written to");
}

fn ptx_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("a folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "ptx"))
        .collect();
    assert!(!files.is_empty(), "no .ptx in {}", folder.display());
    files.sort();
    files
}
