//! Builds the kernels and the driver's twin for the host, as a library of the driver's name.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Compiles the library, from the repository at `root`, unless it is newer than all its sources;
/// gives its path.
///
/// `DYNORM_HOST_CXXFLAGS` adds flags, such as `-fsanitize=address,undefined`; then preload the
/// sanitizer. `DYNORM_HOST_KERNELS` names another folder of kernels, and the library goes there:
/// `scripts/break_kernels.py` uses both.
pub fn build(root: &Path) -> PathBuf {
    let flags = env::var("DYNORM_HOST_CXXFLAGS").unwrap_or_default();
    let other = env::var("DYNORM_HOST_KERNELS").unwrap_or_default();
    if !other.is_empty() {
        return build_from(root, Path::new(&other), Path::new(&other), &flags);
    }
    let variant = format!("cuda_host{flags}").replace(|c: char| !c.is_alphanumeric(), "_");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(variant);
    build_from(root, &root.join("kernels"), &folder, &flags)
}

/// The same from the kernels in one folder to another folder.
pub fn build_from(root: &Path, kernels: &Path, folder: &Path, flags: &str) -> PathBuf {
    let here = root.join("tests/cuda_host");
    let mut sources = files(kernels, "cu");
    sources.extend(files(&here, "cpp"));
    let mut inputs = sources.clone();
    inputs.extend(files(kernels, "cuh"));
    inputs.extend(files(&kernels.join("dynorm"), "cuh"));
    inputs.extend(files(&here, "h"));
    inputs.extend(files(&root.join("examples/cuda"), "cu"));

    fs::create_dir_all(folder).unwrap();
    let library = folder.join("libcuda.so.1");
    let modified = |path: &PathBuf| fs::metadata(path).and_then(|data| data.modified()).ok();
    let newest = inputs.iter().map(modified).max().unwrap();
    if modified(&library) > newest {
        return library;
    }
    // Under another name first: test programs may build at the same time.
    let unfinished = folder.join(format!("{}.so", std::process::id()));
    let compiler = env::var("CXX").unwrap_or_else(|_| String::from("c++"));
    let status = Command::new(&compiler)
        .args(["-std=c++17", "-O1", "-ffp-contract=off", "-fPIC", "-shared"])
        .args(["-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-Wno-maybe-uninitialized"])
        .args(["-DDYNORM_HOST", "-DDYNORM_CLUSTERS", "-Wl,-soname,libcuda.so.1"])
        .args(flags.split_whitespace())
        .arg(format!("-I{}", here.display()))
        .arg(format!("-I{}", kernels.display()))
        .arg("-o")
        .arg(&unfinished)
        .args(["-x", "c++"])
        .args(&sources)
        .status()
        .unwrap_or_else(|e| panic!("{compiler}: {e}; a C++ compiler is needed"));
    assert!(status.success(), "{compiler} failed");
    fs::rename(&unfinished, &library).unwrap();
    // The other name by which programs look for it.
    #[cfg(unix)]
    let _ = std::os::unix::fs::symlink("libcuda.so.1", folder.join("libcuda.so"));
    library
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    files.sort();
    files
}
