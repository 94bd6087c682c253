//! The libraries, and programs compiled against them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs};

const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

const SANITIZERS: [&str; 2] = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

/// How a program finds the library.
#[derive(Clone, Copy, Debug)]
pub enum Linking {
    Shared,
    Static,
}

/// What watches a program.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Check {
    None,
    Sanitizers,
    Valgrind,
}

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("capi");
    fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

/// Runs a command to success; gives what it printed.
pub fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (printed, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{printed}{errors}", output.status);
    printed
}

pub fn header() -> String {
    fs::read_to_string(in_repository("include/dynorm.h")).unwrap()
}

/// A file of the library.
pub fn library(name: &str) -> PathBuf {
    crate::library::build().join(name)
}

/// The compiler of a source file, for its language's usual standard.
fn compiler(standard: &str) -> Command {
    let mut command = Command::new(if standard.starts_with("c++") { "g++" } else { "gcc" });
    command.arg(format!("-std={standard}")).args(WARNINGS);
    command.arg("-I").arg(in_repository("include"));
    command
}

fn language(standard: &str) -> [&str; 2] {
    ["-x", if standard.starts_with("c++") { "c++" } else { "c" }]
}

/// Compiles a file of `tests/c` in the given standard, whatever its name says.
pub fn compile(source: &str, standard: &str, options: &[&str]) {
    let source = in_repository("tests/c").join(source);
    succeed(compiler(standard).args(options).args(language(standard)).arg(source));
}

/// Compiles a file of `tests/c`, links it and runs it to success.
pub fn program(source: &str, linking: Linking, check: Check, isa: Option<&str>) {
    if !is_there(check) {
        return;
    }
    let (stem, extension) = source.split_once('.').unwrap();
    let standard = if extension == "cpp" { "c++17" } else { "c11" };
    let executable = scratch(&format!("{stem}-{linking:?}-{check:?}"));
    build(&in_repository("tests/c").join(source), standard, linking, check, &executable);

    let mut command = match check {
        Check::Valgrind => {
            let mut valgrind = Command::new("valgrind");
            // Threads of the pool live to the end, and their stacks are "possibly lost".
            valgrind.args(["--quiet", "--error-exitcode=99", "--leak-check=full"]);
            valgrind.args(["--show-leak-kinds=definite", "--errors-for-leak-kinds=definite"]);
            valgrind.arg(&executable);
            valgrind
        }
        Check::None | Check::Sanitizers => Command::new(&executable),
    };
    // valgrind knows instructions up to AVX2.
    if let Some(isa) = isa.or((check == Check::Valgrind).then_some("avx2")) {
        command.env("DYNORM_ISA", isa);
    }
    succeed(&mut command);
}

pub fn build(source: &Path, standard: &str, linking: Linking, check: Check, executable: &Path) {
    let mut command = compiler(standard);
    command.args(["-g", "-O1", "-D_POSIX_C_SOURCE=200809L"]);
    command.arg("-DDYNORM_HAS_CUDA=1");
    if check == Check::Sanitizers {
        command.args(SANITIZERS);
    }
    command.arg(source).arg("-o").arg(executable);
    match linking {
        Linking::Shared => {
            let folder = library("libdynorm.so").parent().unwrap().to_owned();
            command.arg(library("libdynorm.so"));
            command.arg(format!("-Wl,-rpath,{}", folder.display()));
        }
        Linking::Static => {
            command.arg(library("libdynorm.a")).arg("-ldl");
        }
    }
    succeed(command.args(["-lpthread", "-lm"]));
    if check == Check::Sanitizers {
        assert!(symbols(&[], executable).contains("__asan_init"), "built without the sanitizer");
    }
}

/// Whether this machine has a check. Its absence is an error where the environment says that it must be there.
fn is_there(check: Check) -> bool {
    static THERE: [OnceLock<bool>; 2] = [OnceLock::new(), OnceLock::new()];
    let (there, find): (_, fn() -> bool) = match check {
        Check::None => return true,
        Check::Sanitizers => (&THERE[0], sanitizers_are_there),
        Check::Valgrind => {
            (&THERE[1], || Command::new("valgrind").arg("--version").output().is_ok())
        }
    };
    *there.get_or_init(|| {
        let there = find();
        let wanted = env::var_os("DYNORM_REQUIRE_CHECKS").is_some();
        assert!(there || !wanted, "not installed: {check:?}");
        if !there {
            eprintln!("not installed, so nothing was run with it: {check:?}");
        }
        there
    })
}

/// Whether a program with them can be linked: some distributions have their libraries apart.
fn sanitizers_are_there() -> bool {
    let (source, executable) = (scratch("empty.c"), scratch("empty"));
    fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    let mut gcc = Command::new("gcc");
    gcc.args(SANITIZERS).arg(source).arg("-o").arg(executable);
    gcc.output().unwrap_or_else(|e| panic!("{gcc:?}: {e}")).status.success()
}

/// The names of the symbols of a library or program, as `nm` lists them.
pub fn symbols(options: &[&str], file: &Path) -> BTreeSet<String> {
    let listed = succeed(Command::new("nm").args(options).arg(file));
    let names = listed.lines().filter_map(|line| line.split_whitespace().last());
    // A static library's object files are listed with a colon.
    names.filter(|name| !name.ends_with(':')).map(str::to_owned).collect()
}
