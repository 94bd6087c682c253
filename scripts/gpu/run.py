#!/usr/bin/env python3
"""Tests and measures dynorm's CUDA kernels on this machine, with what is in this folder.

    python3 run.py [--output FOLDER] [--quick] [--steps correctness,sanitizer,bench,peers]

Correctness against the f64 reference first; then compute-sanitizer, if there is one; then time
beside copies and peers. Writes FOLDER/results.json and FOLDER/results.md. Fails if a step fails.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
STEPS = ["correctness", "sanitizer", "bench", "peers"]
# What the sanitizer slows down a hundredfold is tested without it.
SANITIZED = ["captured", "programmatic", "fast_tanh", "alignment"]


def local(name):
    """A program of this folder, executable wherever the folder came from."""
    copy = pathlib.Path(tempfile.mkdtemp()) / name
    shutil.copy(HERE / name, copy)
    copy.chmod(0o755)
    return str(copy)


def run(command, log, **variables):
    """Runs a command, its output to a file; gives whether it went well."""
    started = time.monotonic()
    with open(log, "w") as output:
        environment = {**os.environ, "DYNORM_REQUIRE_GPU": "1", **variables}
        code = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=environment).returncode
    print(f"{log.stem:24} {'ok' if code == 0 else f'FAILED ({code})':12} {time.monotonic() - started:6.1f} s", flush=True)
    return code == 0


def sanitize(output):
    sanitizer = shutil.which("compute-sanitizer") or shutil.which("/usr/local/cuda/bin/compute-sanitizer")
    if not sanitizer:
        print("sanitizer                not installed")
        return {"sanitizer": "not installed"}
    program, passed = local("cuda_device"), {}
    for tool in ["memcheck", "racecheck", "initcheck", "synccheck"]:
        command = [sanitizer, "--tool", tool, "--error-exitcode", "9", program, "--test-threads=1", *SANITIZED]
        passed[tool] = run(command, output / f"{tool}.log")
    return passed


def measured(log):
    """The measurements among the lines of a log."""
    lines = (line for line in log.read_text().splitlines() if line.startswith("{"))
    return [json.loads(line) for line in lines]


def table(rows):
    """Per kind, function, type and shape: everybody's time, and GB/s beside the copy's."""
    copies = {
        (row["type"], row["channels"]): row["us"]
        for row in rows
        if row.get("function") == "copy"
    }
    text = ["| kind | function | operands | type | rows | channels | who | us | GB/s | of copy |", "|---" * 10 + "|"]
    order = lambda row: (row["kind"], row["function"], row["operands"], row["type"], row["channels"], row["rows"], row["us"])
    for row in sorted((row for row in rows if "us" in row), key=order):
        copy = copies.get((row["type"], row["channels"])) if row["kind"] == "bandwidth" else None
        share = f"{copy / row['us']:.3f}" if copy else ""
        cells = [row[key] for key in ("kind", "function", "operands", "type", "rows", "channels", "who")]
        text.append("| " + " | ".join(map(str, [*cells, f"{row['us']:.2f}", f"{row['gb_per_s']:.0f}", share])) + " |")
    return "\n".join(text) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("results"))
    parser.add_argument("--quick", action="store_true", help="three widths")
    parser.add_argument("--steps", default=",".join(STEPS))
    arguments = parser.parse_args()
    steps, output = arguments.steps.split(","), arguments.output
    output.mkdir(parents=True, exist_ok=True)
    quick = ["--quick"] if arguments.quick else []
    passed, rows = {}, []
    if "correctness" in steps:
        passed["correctness"] = run([local("cuda_device"), "--test-threads=1"], output / "correctness.log")
    if "sanitizer" in steps:
        passed |= sanitize(output)
    if "bench" in steps:
        log = output / "bench.log"
        passed["bench"] = run([local("cuda_bench"), *quick], log)
        rows += measured(log)
    if "peers" in steps:
        log = output / "peers.log"
        wheels = os.pathsep.join(map(str, (HERE / "wheels").glob("*.whl")))
        passed["peers"] = run([sys.executable, str(HERE / "peers.py"), *quick], log, PYTHONPATH=wheels)
        rows += measured(log)
    (output / "results.json").write_text(json.dumps({"passed": passed, "measured": rows}, indent=1))
    (output / "results.md").write_text(table(rows))
    print(f"{output}/results.json, {output}/results.md")
    if any(result is False for result in passed.values()):
        sys.exit("a step failed")


if __name__ == "__main__":
    main()
