//! The README and the pages of `docs` say what is so: their programs are files of the repository, to the letter, each of
//! which `.ci/run` runs, and their links lead somewhere.

use std::fs;
use std::path::{Path, PathBuf};

const MARK: &str = "<!-- program: ";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The README, and every page of `docs` and of the results.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md")];
    for folder in ["docs", "benches/results"] {
        let files = fs::read_dir(root().join(folder)).unwrap().map(|file| file.unwrap().path());
        pages.extend(files.filter(|path| path.extension().is_some_and(|end| end == "md")));
    }
    pages.sort();
    pages
}

/// The programs that a page shows: path and text.
fn programs(page: &str) -> Vec<(String, String)> {
    let shown = page.split(MARK).skip(1).map(|rest| {
        let (path, rest) = rest.split_once(" -->\n```").expect("a code block follows the mark");
        let (_, rest) = rest.split_once('\n').expect("the block has lines");
        let (text, _) = rest.split_once("```\n").expect("the block ends");
        (path.to_owned(), text.to_owned())
    });
    shown.collect()
}

#[test]
fn programs_are_the_files_that_are_run() {
    let mut shown: Vec<_> =
        pages().iter().flat_map(|page| programs(&fs::read_to_string(page).unwrap())).collect();
    shown.sort();
    let paths: Vec<_> = shown.iter().map(|(path, _)| path.as_str()).collect();
    let wanted = [
        "examples/candle/examples/minimal.rs",
        "examples/ggml/minimal.c",
        "examples/gradients.rs",
        "examples/minimal.rs",
        "examples/python/minimal.py",
        "tests/c/minimal.c",
        "tests/c/minimal_cuda.c",
    ];
    assert_eq!(paths, wanted);
    for (path, text) in shown {
        assert_eq!(text, fs::read_to_string(root().join(&path)).unwrap(), "{path}");
    }
}

/// What the links of a page lead to, but for other sites.
fn links(page: &str) -> Vec<&str> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target).filter(|target| !target.contains("://")).collect()
}

/// The names by which the headings of a page are linked.
fn anchors(page: &str) -> Vec<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let name = |heading: &str| -> String {
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        text.chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(name).collect()
}

#[test]
fn links_lead_somewhere() {
    for path in pages() {
        let page = fs::read_to_string(&path).unwrap();
        for link in links(&page) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            assert!(target.exists(), "{link} in {}", path.display());
            let found = anchor.is_empty()
                || anchors(&fs::read_to_string(&target).unwrap()).iter().any(|a| a == anchor);
            assert!(found, "{link} in {}", path.display());
        }
    }
}

#[test]
fn anchors_are_named_as_they_are_linked() {
    let page = "# Outputs of 8 bits: a scale, or none\n\n## C and C++\ntext\n";
    assert_eq!(anchors(page), ["outputs-of-8-bits-a-scale-or-none", "c-and-c"]);
    assert_eq!(links("[a](b.md#c) and [d](https://e) and ![f](g.png)"), ["b.md#c", "g.png"]);
}
