//! The README's programs are files of the repository, to the letter; `.ci/run` runs each of them.

use std::fs;
use std::path::Path;

const MARK: &str = "<!-- program: ";

/// The programs that the README shows: path and text.
fn programs(readme: &str) -> Vec<(&str, &str)> {
    let shown = readme.split(MARK).skip(1).map(|rest| {
        let (path, rest) = rest.split_once(" -->\n```").expect("a code block follows the mark");
        let (_, rest) = rest.split_once('\n').expect("the block has lines");
        let (text, _) = rest.split_once("```\n").expect("the block ends");
        (path, text)
    });
    shown.collect()
}

#[test]
fn programs_are_the_files_that_are_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let programs = programs(&readme);
    let paths: Vec<_> = programs.iter().map(|(path, _)| *path).collect();
    let wanted = [
        "examples/minimal.rs",
        "examples/gradients.rs",
        "tests/c/minimal.c",
        "examples/python/minimal.py",
        "examples/candle/examples/minimal.rs",
        "examples/ggml/minimal.c",
    ];
    assert_eq!(paths, wanted);
    for (path, text) in programs {
        assert_eq!(text, fs::read_to_string(root.join(path)).unwrap(), "{path}");
    }
}
