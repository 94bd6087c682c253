//! Embeds the PTX of the CUDA kernels, packed: the committed files, or those of the folder that the
//! environment variable `DYNORM_PTX_DIR` names, with the same names.

#[cfg(feature = "cuda")]
mod embed {
    use std::fmt::Write as _;
    use std::path::{Path, PathBuf};
    use std::{env, fs};

    /// Writes `ptx.rs`, a `File` for each: its name and, packed, its text ended by a 0 byte, since the
    /// driver takes a C string.
    pub fn ptx() {
        println!("cargo::rerun-if-env-changed=DYNORM_PTX_DIR");
        let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
        let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
        let folder = env::var_os("DYNORM_PTX_DIR")
            .map_or_else(|| manifest.join("kernels").join("ptx"), PathBuf::from);
        println!("cargo::rerun-if-changed={}", folder.display());

        let mut list = String::from("&[\n");
        for file in ptx_files(&folder) {
            let name =
                file.file_stem().expect("it has an extension").to_string_lossy().into_owned();
            let mut text = fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            text.push(0);
            let copy = out.join(format!("{name}.packed"));
            let packed = miniz_oxide::deflate::compress_to_vec(&text, 9);
            fs::write(&copy, packed).unwrap_or_else(|e| panic!("{}: {e}", copy.display()));
            writeln!(list, "File {{ name: {name:?}, packed: include_bytes!({copy:?}) }},")
                .expect("memory");
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
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "cuda")]
    embed::ptx();
}
