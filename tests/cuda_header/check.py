#!/usr/bin/env python3
"""Compiles a kernel that is not dynorm's with dynorm's installed header for CUDA, and counts what
each function costs.

    .venv/bin/pip install -r scripts/ptx-requirements.txt
    .venv/bin/python tests/cuda_header/check.py PREFIX/include

It needs a C++ compiler besides, which tells what macros the header defines.
"""

import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent.parent / "scripts"))

from cuda_compilers import Nvrtc, ptxas  # noqa: E402

SPECIAL = r"(ex2|rcp|rsqrt|tanh)\.approx"
# What a function costs is arithmetic: not where its operands come from, nor jumps.
OTHER = r"(@%p\d+ )?(bra|cvta|ld|mov|mul\.wide|ret|st)\b"


def instructions(ptx):
    """The instructions of each kernel by its name. Where the compiler may not fuse it says so by .rn."""
    ptx = re.sub(r"\b(add|mul|sub)\.rn\.f32", r"\1.f32", ptx)
    bodies = re.findall(r"\.entry (\w+)\(.*?\n\{\n(.*?)\n\}\n", ptx, flags=re.DOTALL)
    lines = {name: body.splitlines() for name, body in bodies}
    return {name: [line for line in body if line.endswith(";") and line[0] != "."] for name, body in lines.items()}


def count(body):
    """Instructions of the special-function unit, and all other arithmetic."""
    special = sum(bool(re.search(SPECIAL, line)) for line in body)
    return special, sum(not re.match(OTHER, line) for line in body) - special


def check_macros(include):
    def macros(source):
        command = ["c++", "-x", "c++", "-dM", "-E", f"-I{include}", "-"]
        done = subprocess.run(command, input=source, check=True, capture_output=True, text=True)
        return set(done.stdout.splitlines())

    defined = macros("#include <dynorm/functions.cuh>\n") - macros("")
    names = {line.split()[1].split("(")[0] for line in defined}
    assert names and all(name.startswith("DYNORM_") for name in names), names


def main():
    include = pathlib.Path(sys.argv[1])
    check_macros(include)
    nvrtc, source = Nvrtc(), HERE / "foreign.cu"
    ptx = nvrtc.compile(source, 80, include)
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "foreign.ptx"
        file.write_text(ptx)
        for arch in ("sm_80", "sm_90", "sm_100", "sm_120"):
            done = ptxas(file, arch)
            assert done.returncode == 0 and " 0 bytes spill stores" in done.stderr, done.stderr
    kernels = instructions(ptx)
    assert len(kernels) == 11, kernels.keys()
    # Bits must not depend on whether a program lets the compiler fuse multiplications and sums.
    unfused = instructions(nvrtc.compile(source, 80, include, "--fmad=false"))
    epilogue = kernels.pop("epilogue"), unfused.pop("epilogue")
    assert epilogue[0] != epilogue[1], "the compiler was to fuse what is outside of the functions"
    assert kernels == unfused, "the compiler fuses within a function"
    copied = count(kernels.pop("copy"))
    print(f"{'':14}{'special-function unit':>24}{'other instructions':>20}")
    for name, body in kernels.items():
        special, other = (all_ - base for all_, base in zip(count(body), copied))
        print(f"{name:14}{special:>24}{other:>20}")


if __name__ == "__main__":
    main()
