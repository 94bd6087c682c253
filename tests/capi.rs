//! The C interface as C and C++ see it: programs of `tests/c`, compiled against the shared and the
//! static library, plain, with sanitizers and under valgrind.
//! It takes gcc and g++.

#![cfg(target_os = "linux")]

#[path = "capi/build.rs"]
mod build;
#[path = "capi/layout.rs"]
mod layout;
#[path = "common/library.rs"]
mod library;

use build::{Check, Linking, compile, header, library, program, symbols};
use dynorm::ffi::{
    Enum, dynorm_element, dynorm_flag, dynorm_function, dynorm_isa, dynorm_scale, dynorm_status,
};
use std::collections::BTreeSet;

/// The programs, and what `DYNORM_ISA` says in their environment.
const PROGRAMS: [(&str, Option<&str>); 14] = [
    ("values.c", None),
    ("fused.c", None),
    ("heads.c", None),
    ("quantized.c", None),
    ("statistics.c", None),
    ("backward.c", None),
    ("errors.c", None),
    ("fused_errors.c", None),
    ("environment.c", Some("nonsense")),
    ("cuda.c", None),
    ("threads.c", None),
    ("usage.cpp", None),
    ("minimal.c", None),
    ("minimal_cuda.c", None),
];

/// Runs every program, the halves of the list side by side: under valgrind each takes seconds.
fn run_all(linking: Linking, check: Check) {
    std::thread::scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || {
                for &(source, isa) in PROGRAMS.iter().skip(half).step_by(2) {
                    program(source, linking, check, isa);
                }
            });
        }
    });
}

#[test]
fn programs_pass() {
    run_all(Linking::Shared, Check::None);
    run_all(Linking::Static, Check::None);
}

#[test]
fn programs_pass_with_sanitizers() {
    run_all(Linking::Shared, Check::Sanitizers);
    run_all(Linking::Static, Check::Sanitizers);
}

/// How the library is linked makes no difference to what valgrind sees.
#[test]
fn programs_pass_under_valgrind() {
    run_all(Linking::Shared, Check::Valgrind);
}

#[test]
fn the_header_is_clean_in_every_standard() {
    for standard in ["c99", "c11", "c17", "c++11", "c++17", "c++20"] {
        compile("minimal.c", standard, &["-fsyntax-only", "-Wconversion", "-Wshadow", "-Wundef"]);
    }
}

/// The functions that the header declares, by name.
fn declared() -> BTreeSet<String> {
    let header = header();
    let declarations = header.split("static inline").next().unwrap();
    declarations
        .lines()
        .filter(|line| !line.starts_with([' ', '/', '#']))
        .filter_map(|line| line.split_once('('))
        .map(|(before, _)| before.rsplit([' ', '*']).next().unwrap().to_owned())
        .collect()
}

#[test]
fn the_libraries_export_what_the_header_declares() {
    let declared = declared();
    assert!(declared.contains("dynorm_cuda_close") && declared.len() > 10, "{declared:?}");
    assert_eq!(symbols(&["-D", "--defined-only"], &library("libdynorm.so")), declared);
    // The static library has Rust's standard library in it, too.
    let ours = symbols(&["-g", "--defined-only"], &library("libdynorm.a"))
        .into_iter()
        .filter(|name| name.starts_with("dynorm"));
    assert_eq!(ours.collect::<BTreeSet<_>>(), declared);
}

#[test]
fn structs_are_laid_out_as_in_rust() {
    let (c, rust) = (layout::in_c(), layout::in_rust());
    assert_eq!(c, rust);
}

#[test]
fn enumerators_have_the_same_numbers_as_in_rust() {
    fn lines<E: Enum + std::fmt::Debug>() -> impl Iterator<Item = String> {
        E::ALL.iter().map(|value| format!("  {value:?} = {},", value.number()))
    }
    let rust: BTreeSet<_> = lines::<dynorm_status>()
        .chain(lines::<dynorm_function>())
        .chain(lines::<dynorm_element>())
        .chain(lines::<dynorm_scale>())
        .chain(lines::<dynorm_isa>())
        .chain(lines::<dynorm_flag>())
        .collect();
    let header = header();
    let is_enumerator = |line: &&str| line.starts_with("  DYNORM_") && line.ends_with(',');
    let c: BTreeSet<_> = header.lines().filter(is_enumerator).map(str::to_owned).collect();
    assert_eq!(c, rust);
}
