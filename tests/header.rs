//! `include/dynorm.h` is what `src/ffi` says. To write it anew:
//! `DYNORM_WRITE_HEADER=1 cargo test --test header`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// The files of `src/ffi` that declare something for C, in the header's order.
const SOURCES: [&str; 10] = [
    "version.rs",
    "status.rs",
    "enums.rs",
    "args.rs",
    "forward.rs",
    "backward.rs",
    "bound.rs",
    "statistics.rs",
    "isa.rs",
    "cuda/mod.rs",
];

/// What stands above the declarations.
const INTRODUCTION: &str = include_str!("header/introduction.h");
/// The inline functions.
const INLINE: &str = include_str!("header/inline.h");

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// How the functions are exported, and how cbindgen, which looks into no `cfg_attr`, sees that they are.
const EXPORTED: [&str; 2] = ["#[cfg_attr(not(test), unsafe(no_mangle))]", "#[unsafe(no_mangle)]"];

/// A copy of `src/ffi` as cbindgen can read it, which also looks at the modules that a file names.
fn readable() -> PathBuf {
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("header");
    let [exported, seen] = EXPORTED;
    for folder in ["", "cuda"] {
        fs::create_dir_all(copy.join(folder)).unwrap();
        for file in files(folder) {
            let source = fs::read_to_string(in_repository("src/ffi").join(&file)).unwrap();
            fs::write(copy.join(&file), source.replace(exported, seen)).unwrap();
        }
    }
    copy
}

/// The files in a folder of `src/ffi`, as paths in `src/ffi`.
fn files(folder: &str) -> Vec<String> {
    let root = in_repository("src/ffi");
    let paths = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let files = paths.filter(|path| path.is_file());
    files.map(|path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned()).collect()
}

fn generate() -> String {
    let versions = [
        ("MAJOR", env!("CARGO_PKG_VERSION_MAJOR")),
        ("MINOR", env!("CARGO_PKG_VERSION_MINOR")),
        ("PATCH", env!("CARGO_PKG_VERSION_PATCH")),
    ];
    let mut macros = String::from("\n// The version of this header.\n");
    for (part, number) in versions {
        macros += &format!("#define DYNORM_VERSION_{part} {number}\n");
    }
    macros += "\
// The version of this header as one number: 1000000 major + 1000 minor + patch.
#define DYNORM_VERSION \\
  (1000000 * DYNORM_VERSION_MAJOR + 1000 * DYNORM_VERSION_MINOR + DYNORM_VERSION_PATCH)";

    let mut config = cbindgen::Config {
        language: cbindgen::Language::C,
        cpp_compat: true,
        header: Some(INTRODUCTION.trim_end().into()),
        after_includes: Some(macros),
        trailer: Some(INLINE.trim_end().into()),
        no_includes: true,
        sys_includes: ["stdbool.h", "stddef.h", "stdint.h", "string.h"].map(Into::into).into(),
        usize_is_size_t: true,
        documentation_style: cbindgen::DocumentationStyle::C99,
        line_length: 100,
        ..Default::default()
    };
    // No function and no struct names it, so it would be left out.
    config.export.include = vec!["dynorm_flag".into()];
    config.function.sort_by = Some(cbindgen::SortKey::None);
    let builder = cbindgen::Builder::new().with_config(config);
    let readable = readable();
    let sources = SOURCES.iter().map(|file| readable.join(file));
    let bindings = sources.fold(builder, |builder, file| builder.with_src(file)).generate();
    let mut header = Vec::new();
    bindings.expect("src/ffi can be parsed").write(&mut header);
    String::from_utf8(header).unwrap()
}

#[test]
fn the_header_is_up_to_date() {
    let (path, wanted) = (in_repository("include/dynorm.h"), generate());
    if env::var_os("DYNORM_WRITE_HEADER").is_some() {
        fs::write(&path, wanted).unwrap();
        return;
    }
    let committed = fs::read_to_string(&path).unwrap();
    let line = committed.lines().zip(wanted.lines()).position(|(given, wanted)| given != wanted);
    assert!(
        committed == wanted,
        "include/dynorm.h is not what src/ffi says, from line {} on; \
         DYNORM_WRITE_HEADER=1 cargo test --test header writes it",
        line.map_or(committed.lines().count().min(wanted.lines().count()), |line| line) + 1
    );
}

/// Every exported function of `src/ffi` stands in a file that the header is made from.
#[test]
fn no_file_is_forgotten() {
    let mut exporting = BTreeSet::new();
    for file in ["", "cuda"].into_iter().flat_map(files) {
        let source = fs::read_to_string(in_repository("src/ffi").join(&file)).unwrap();
        let exports = source.matches("no_mangle").count();
        assert_eq!(exports, source.matches(EXPORTED[0]).count(), "{file}");
        if exports > 0 {
            exporting.insert(file);
        }
    }
    let known = BTreeSet::from(SOURCES.map(str::to_owned));
    assert!(exporting.is_subset(&known), "{exporting:?}");
}
