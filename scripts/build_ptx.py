#!/usr/bin/env python3
"""Compiles kernels/*.cu to kernels/ptx/*.ptx, and the example's kernel beside it, with NVRTC, and
checks the result with ptxas.

    python3 -m venv .venv && .venv/bin/pip install -r scripts/ptx-requirements.txt
    .venv/bin/python scripts/build_ptx.py           # rewrite the files
    .venv/bin/python scripts/build_ptx.py --check   # fail if the committed files differ
    .venv/bin/python scripts/build_ptx.py --ptxas   # assemble the committed files, print registers

No GPU and no CUDA installation is needed: compilers come from PyPI. NVRTC is pinned to CUDA 12.2,
so that the PTX is version 8.2, which drivers from R535 on load; ptxas is 13.0, which knows every
architecture up to sm_120.
"""

import argparse
import fnmatch
import pathlib
import re
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

from cuda_compilers import Nvrtc, ptxas

ROOT = pathlib.Path(__file__).resolve().parent.parent
KERNELS = ROOT / "kernels"
PTX = KERNELS / "ptx"
# The PTX's architecture, and what it is assembled for: one file of the oldest serves up to the
# next; sm_90 has clusters and programmatic dependent launch.
TARGETS = {80: ["sm_80"], 90: ["sm_90", "sm_100", "sm_120"]}
# A kernel of somebody else's; it has no use for what sm_90 brought.
EXAMPLE = ROOT / "examples" / "cuda" / "gemv.cu"
EXAMPLE_PTX = EXAMPLE.with_suffix(".sm_80.ptx")
# Nor have these.
FOR_ALL = "*_backward"
# A file for each type of x, so that a program loads those that it has.
TYPES = ["f32", "f16", "bf16"]
COLUMNS = [target for targets in TARGETS.values() for target in targets]


def compile_kernels(source, arch):
    # The kernels say themselves where they fuse: bits must not depend on the compiler.
    options = {80: ["--fmad=false"], 90: ["--fmad=false", "-DDYNORM_CLUSTERS"]}
    return Nvrtc().compile(source, arch, KERNELS, *options[arch])


def build():
    built = {EXAMPLE_PTX: Nvrtc().compile(EXAMPLE, 80, KERNELS)}
    sources = sorted(KERNELS.glob("*.cu"))
    jobs = [(source, arch) for source in sources for arch in TARGETS if arch == 80 or not serves_all(source)]
    # Processes: within one NVRTC compiles one file at a time.
    with ProcessPoolExecutor() as pool:
        for (source, arch), ptx in zip(jobs, pool.map(compile_kernels, *zip(*jobs))):
            for element, part in by_type(ptx).items():
                built[PTX / f"{source.stem}.{element}.sm_{arch}.ptx"] = part
    return built


def serves_all(path):
    return fnmatch.fnmatch(path.name.split(".")[0], FOR_ALL)


def by_type(ptx):
    """The kernels for each type of x, which their names say, after what they share."""
    shared, *kernels = re.split(r"(?m)^(?=\.entry )", ptx.replace(".visible .entry ", ".entry "))
    parts = {element: shared for element in TYPES}
    for kernel in kernels:
        (element,) = set(re.match(r"\.entry (\w+)", kernel)[1].split("_")) & set(TYPES)
        parts[element] += ".visible " + kernel
    return parts


def check_drift(built):
    committed = {path: path.read_text() for path in [*PTX.glob("*.ptx"), EXAMPLE_PTX]}
    stale = sorted(
        path.name
        for path in built.keys() | committed.keys()
        if built.get(path) != committed.get(path)
    )
    if stale:
        sys.exit("not what the sources give; run scripts/build_ptx.py: " + ", ".join(stale))
    print(f"{len(built)} PTX files are what the sources give")


def assemble(path, arch):
    """Assembles one file; gives (kernel, registers) pairs and a list of faults."""
    done = ptxas(path, arch)
    if done.returncode != 0:
        return [], [f"{path.name} for {arch}: {done.stderr.strip()}"]
    kernels, faults = [], []
    name = ""
    for line in done.stderr.splitlines():
        if found := re.search(r"Compiling entry function '(\w+)'", line):
            name = found[1]
        elif found := re.search(
            r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line
        ):
            if any(int(bytes) for bytes in found.groups()):
                faults.append(f"{name} for {arch}: {line.strip()}")
        elif found := re.search(r"Used (\d+) registers", line):
            kernels.append((name, int(found[1])))
    return kernels, faults


def check_ptxas():
    faults, registers = [], {}
    files = [
        (path, COLUMNS if serves_all(path) else targets)
        for arch, targets in TARGETS.items()
        for path in sorted(PTX.glob(f"*.sm_{arch}.ptx"))
    ]
    jobs = [(path, target) for path, targets in [*files, (EXAMPLE_PTX, COLUMNS)] for target in targets]
    with ThreadPoolExecutor() as pool:
        for (_, target), (kernels, found) in zip(jobs, pool.map(lambda job: assemble(*job), jobs)):
            faults += found
            for name, count in kernels:
                registers.setdefault(name, {})[target] = count
    print(f"{'registers':32}" + "".join(f"{column:>8}" for column in COLUMNS))
    for name, counts in sorted(registers.items()):
        print(f"{name:32}" + "".join(f"{counts.get(column, '-'):>8}" for column in COLUMNS))
    if faults:
        sys.exit("\n".join(faults))
    print(f"{sum(map(len, registers.values()))} kernels assembled, no spill, no stack frame")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed files")
    parser.add_argument("--ptxas", action="store_true", help="assemble the committed files")
    arguments = parser.parse_args()
    if arguments.check:
        check_drift(build())
    if arguments.ptxas:
        check_ptxas()
    if not arguments.check and not arguments.ptxas:
        PTX.mkdir(exist_ok=True)
        built = build()
        for path in set(PTX.glob("*.ptx")) - built.keys():
            path.unlink()
        for path, text in built.items():
            path.write_text(text)
            print(f"{path.relative_to(ROOT)}: {len(text) // 1024} KiB")


if __name__ == "__main__":
    main()
