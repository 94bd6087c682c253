#!/usr/bin/env python3
"""Tests and measures dynorm's CUDA kernels on this machine, with what is in this folder.

    python3 run.py [--output FOLDER] [--quick] [--steps correctness,exhaustive,…]

How long loading takes; correctness against the f64 reference, then tanh, erf and DyISRU over all
2^32 inputs; then compute-sanitizer, if there is one; then time beside copies, inside a matrix-vector product, from C,
and beside peers. Writes FOLDER/results.json and FOLDER/results.md. Fails if a step fails.
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
from concurrent.futures import ThreadPoolExecutor

from tables import (
    backward_table, bandwidth_table, exhaustive_table, fused_table, matvec_table, small_table, training_table,
)  # fmt: skip

HERE = pathlib.Path(__file__).resolve().parent
# The tests that are little enough for the sanitizer.
SANITIZED = "once_"
# Seconds after which a step has failed, and a tool of the sanitizer.
LIMIT, SANITIZER_LIMIT = 600, 300


class Runner:
    def __init__(self, arguments):
        self.output, self.smoke = arguments.output, arguments.smoke
        self.extent = [flag for flag in ("--smoke", "--quick") if getattr(arguments, flag[2:])]
        self.passed, self.rows = {}, []
        self.output.mkdir(parents=True, exist_ok=True)
        self.programs = pathlib.Path(tempfile.mkdtemp())

    def program(self, name):
        """A program of this folder, executable wherever the folder came from."""
        copy = self.programs / name
        shutil.copy(HERE / name, copy)
        copy.chmod(0o755)
        return str(copy)

    def run(self, step, command, limit=LIMIT, **variables):
        """Runs a command, its output to a file; the measurements among its lines are kept."""
        log, started = self.output / f"{step}.log", time.monotonic()
        small = {"DYNORM_TEST_SMALL": "1"} if self.smoke else {}
        environment = {**os.environ, "DYNORM_REQUIRE_GPU": "1", **small, **variables}
        with open(log, "w") as output:
            running = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
            try:
                code = running.wait(limit)
            except subprocess.TimeoutExpired:
                running.kill()
                code = f"after {limit} s"
        self.passed[step] = code == 0
        verdict = "ok" if code == 0 else f"FAILED ({code})"
        print(f"{step:24} {verdict:12} {time.monotonic() - started:6.1f} s", flush=True)
        self.rows += [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]

    def run_side_by_side(self, steps, limit=LIMIT):
        """Runs commands that do not measure time, as many at once as there are two processors for."""
        with ThreadPoolExecutor(max_workers=max(1, len(os.sched_getaffinity(0)) // 2)) as pool:
            for done in [pool.submit(self.run, step, command, limit) for step, command in steps.items()]:
                done.result()

    def loading(self):
        self.run("loading", [self.program("cuda_bench"), "--loading"], CUDA_CACHE_DISABLE="1")

    def correctness(self):
        program = self.program("cuda_device")
        names = sorted(self.listed(program) - self.listed(program, "--ignored"))
        self.run_side_by_side({name.replace("::", "."): [program, "--exact", name] for name in names})

    @staticmethod
    def listed(program, *flags):
        """The names of a program's tests."""
        command = [program, "--list", "--format=terse", *flags]
        listed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        return {line.removesuffix(": test") for line in listed.splitlines() if line.endswith(": test")}

    def exhaustive(self):
        self.run("exhaustive", [self.program("cuda_device"), "--ignored", "--nocapture", "exhaustive"])

    def sanitizer(self):
        sanitizer = shutil.which("compute-sanitizer") or shutil.which("/usr/local/cuda/bin/compute-sanitizer")
        if not sanitizer:
            self.passed["sanitizer"] = "not installed"
            return print("sanitizer                not installed")
        program, tools = self.program("cuda_device"), ["memcheck", "racecheck", "initcheck", "synccheck"]
        self.run_side_by_side({
            tool: [sanitizer, "--tool", tool, "--error-exitcode", "9", program, "--test-threads=1", SANITIZED]
            for tool in tools
        }, SANITIZER_LIMIT)  # fmt: skip

    def bench(self):
        self.run("bench", [self.program("cuda_bench"), *self.extent])

    def matvec(self):
        smoke = ["--smoke"] if self.smoke else []
        self.run("matvec", [self.program("cuda_matvec"), *smoke])

    def c_call(self):
        smoke = ["--smoke"] if self.smoke else []
        self.run("c_call", [self.program("c_call"), *smoke], LD_LIBRARY_PATH=joined(HERE, "LD_LIBRARY_PATH"))

    def peers(self):
        path = joined(HERE / "packages", "PYTHONPATH")
        command = [sys.executable, str(HERE / "peers.py"), *self.extent]
        self.run("peers", command, PYTHONPATH=path, DYNORM_LIBRARY=str(HERE / "libdynorm.so"))


STEPS = ["loading", "correctness", "exhaustive", "sanitizer", "bench", "matvec", "c_call", "peers"]


def joined(folder, variable):
    """The folders that a variable of the environment names, and then this one."""
    return os.pathsep.join([*filter(None, [os.environ.get(variable)]), str(folder)])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("results"))
    parser.add_argument("--quick", action="store_true", help="few widths")
    parser.add_argument("--smoke", action="store_true", help="next to nothing, to try this folder")
    parser.add_argument("--steps", default=",".join(STEPS))
    arguments = parser.parse_args()
    runner = Runner(arguments)
    for step in arguments.steps.split(","):
        getattr(runner, step)()
    results = {"smoke": arguments.smoke, "passed": runner.passed, "measured": runner.rows}
    (arguments.output / "results.json").write_text(json.dumps(results, indent=1))
    makers = [
        exhaustive_table, small_table, bandwidth_table, fused_table, backward_table, training_table, matvec_table,
    ]  # fmt: skip
    tables = [make(runner.rows) for make in makers]
    warning = "**Made with --smoke: the figures mean nothing.**\n\n" if arguments.smoke else ""
    (arguments.output / "results.md").write_text(warning + "\n".join(tables))
    print(f"{arguments.output}/results.json, {arguments.output}/results.md")
    if any(result is False for result in runner.passed.values()):
        sys.exit("a step failed")


if __name__ == "__main__":
    main()
