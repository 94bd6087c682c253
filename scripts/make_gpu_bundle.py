#!/usr/bin/env python3
"""Makes target/gpu-bundle: what a machine with a GPU, but without Rust and network, needs to test
and measure the CUDA kernels.

    python3 scripts/make_gpu_bundle.py [--package NAME==VERSION]
    # there, with PyTorch for the peers:
    python3 gpu-bundle/run.py --output results

The programs are built for this machine's architecture and C library. Peers that are small and pure
Python come along; others are measured where that machine has them, or with --package.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUNDLE = ROOT / "target" / "gpu-bundle"
# What they import is there with PyTorch; quack's nvidia-cutlass-dsl may not be.
PACKAGES = ["liger-kernel==0.8.5", "quack-kernels==0.6.5"]


def run(*command):
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def executable(name, *command):
    """Builds a program; gives its path."""
    built = run("cargo", *command, name, "--locked", "--message-format=json")
    for line in built.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == name:
            return message["executable"]
    sys.exit(f"cargo built no {name}")


def library():
    """Builds the shared library; gives its path."""
    # As tests/common/library.rs does, so that what the tests have built is taken. Elsewhere than the programs: it
    # would take the place of the library that they are linked with.
    target = ROOT / "target" / "tmp" / "library"
    run("cargo", "rustc", "-p", "dynorm", "--lib", "--release", "--locked", "--features", "capi,cuda",
        "--crate-type", "rlib,cdylib,staticlib", "--target-dir", target,
        "--", "-C", "codegen-units=8", "--emit", "asm")  # fmt: skip
    return target / "release" / "libdynorm.so"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--package", action="append", default=[], help="another wheel, without what it needs")
    parser.add_argument("--no-packages", action="store_true", help="no peers: only what is built here")
    parser.add_argument("--profile", default="release", help="of the programs: `test` takes what the tests have built")
    arguments = parser.parse_args()
    shutil.rmtree(BUNDLE, ignore_errors=True)
    BUNDLE.mkdir(parents=True)
    profile = ("--profile", arguments.profile)
    shutil.copy(executable("cuda_device", "test", "--no-run", "--test"), BUNDLE / "cuda_device")
    shutil.copy(executable("cuda", "bench", *profile, "--no-run", "--bench"), BUNDLE / "cuda_bench")
    shutil.copy(executable("cuda", "build", *profile, "--example"), BUNDLE / "cuda_matvec")
    shutil.copy(library(), BUNDLE)
    source = ROOT / "scripts" / "gpu" / "c_call.c"
    run("cc", "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-I", ROOT / "include", source, "-o", BUNDLE / "c_call",
        "-L", BUNDLE, "-ldynorm", "-ldl")  # fmt: skip
    for script in [*(ROOT / "scripts" / "gpu").glob("*.py"), ROOT / "examples" / "python" / "dynorm.py"]:
        shutil.copy(script, BUNDLE)
    packages = [] if arguments.no_packages else [*PACKAGES, *arguments.package]
    if packages:
        # Unpacked: some read their own files.
        run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--target", BUNDLE / "packages", *packages)
    for program in ("cuda_device", "cuda_bench", "cuda_matvec", "libdynorm.so", "c_call"):
        run("strip", "--strip-debug", BUNDLE / program)
    size = sum(file.stat().st_size for file in BUNDLE.rglob("*") if file.is_file())
    print(f"{BUNDLE.relative_to(ROOT)}: {size / 1e6:.1f} MB; run: python3 run.py")


if __name__ == "__main__":
    main()
