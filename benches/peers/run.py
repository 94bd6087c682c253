#!/usr/bin/env python3
"""Times dynorm's CPU kernels beside those of other libraries, in the same process and in turns, and
prints one table. README.md beside this file says how and against whom.

    python3 benches/peers/run.py
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from install import Install
from plan import FUNCTIONS, SHAPES, TYPES
from table import markdown

HERE = Path(__file__).resolve().parent
# Peers allocate their results; with these they get the same memory back each time instead of new
# pages, and all memory is in huge pages where the system has them.
MALLOC = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TOP_PAD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=HERE.parent.parent / "target/peers", help="where peers are kept")
    parser.add_argument("--output", type=Path, help="folder for peers.json and peers.md (default: the work folder)")
    parser.add_argument("--torch", action="store_true", help="PyTorch too: 5 GB")
    parser.add_argument("--onednn-source", type=Path, help="oneDNN's source, 3.9 or newer, for its RMSNorm")
    parser.add_argument("--peers", nargs="+", help="only these")
    parser.add_argument("--functions", nargs="+", choices=FUNCTIONS, default=FUNCTIONS)
    parser.add_argument("--types", nargs="+", choices=TYPES, default=TYPES)
    parser.add_argument("--shapes", nargs="+", default=["%dx%d" % shape for shape in SHAPES])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--processes", type=int, default=3, help="that repeat everything, each with memory of its own")
    parser.add_argument("--lock", help="file to lock while timing, for machines on which others take the same lock")
    arguments = parser.parse_args()

    installed = Install(arguments.work, arguments.torch, arguments.onednn_source)
    names = [name for name in installed.libraries if not name.startswith("dynorm") and name != "timer"]
    names += installed.interpreters
    rows = []
    for _ in range(arguments.processes):
        for threads in arguments.threads:
            for name in names:
                if not arguments.peers or name in arguments.peers:
                    rows += measure(arguments, installed, name, threads)
                    write(arguments, installed, rows)  # what there is, should the rest be interrupted
    print(write(arguments, installed, rows))


def measure(arguments, installed, peer, threads):
    """The rows of one process."""
    command = [
        installed.interpreters.get(peer, installed.venv / "bin/python"), HERE / "measure.py", "--peer", peer,
        "--threads", threads, "--libraries", json.dumps(installed.libraries), "--rounds", arguments.rounds,
        "--functions", *arguments.functions, "--types", *arguments.types, "--shapes", *arguments.shapes,
    ]  # fmt: skip
    if arguments.lock:
        command += ["--lock", arguments.lock]
    counts = {"OMP_NUM_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads)}
    environment = {**os.environ, **MALLOC, **counts}
    rows = []
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True, env=environment, cwd=HERE) as run:
        for line in run.stdout:
            rows.append(json.loads(line))
            row = rows[-1]
            print(f"{peer}, {threads}: {row['function']} {row['type']} {row['rows']}x{row['channels']}", file=sys.stderr)
    if run.returncode:
        installed.missing[peer] = f"measure.py ended with {run.returncode}"
    return rows


def write(arguments, installed, rows):
    versions = {row["peer"]: row["version"] for row in rows if "version" in row}
    device = processor()
    when = datetime.date.today().isoformat()
    command = "python3 benches/peers/run.py " + " ".join(sys.argv[1:])
    header = "\n".join([
        "# dynorm beside other libraries on the CPU", "",
        f"{device}, {when}. `{command.strip()}`", "",
        *(f"* {name}: {version}" for name, version in sorted(versions.items())),
        *(f"* not measured: {name} ({why})" for name, why in sorted(installed.missing.items())),
    ])  # fmt: skip
    text = markdown(rows, header)
    output = arguments.output or arguments.work
    output.mkdir(parents=True, exist_ok=True)
    record = {"device": device, "date": when, "command": command, "versions": versions, "rows": rows}
    (output / "peers.json").write_text(json.dumps(record, indent=1) + "\n")
    (output / "peers.md").write_text(text)
    return text


def processor():
    try:
        lines = subprocess.run(["lscpu"], capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return platform.processor()
    fields = dict(map(str.strip, line.split(":", 1)) for line in lines if ":" in line)
    caches = ", ".join(f"{name} {fields[f'{name} cache']}" for name in ("L1d", "L2", "L3") if f"{name} cache" in fields)
    return (f"{fields.get('Model name', '?')} (family {fields.get('CPU family')}, model {fields.get('Model')}), "
            f"{fields.get('CPU(s)')} processors, {caches}")  # fmt: skip


if __name__ == "__main__":
    main()
