#!/usr/bin/env python3
"""Tries all that scripts/make_gpu_bundle.py makes, without a GPU: programs, library and the emulated
driver are those of `cargo test`, and there is a stand-in for PyTorch and the peers.
The figures mean nothing; that there are any shows that the scripts run.

    python3 tests/gpu_scripts/try_bundle.py     # needs numpy and ml_dtypes
"""

import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUNDLE = ROOT / "target" / "gpu-bundle"
RESULTS = ROOT / "target" / "gpu-bundle-tried"
FUNCTIONS = {"rms_norm", "layer_norm", "dyt", "dyisru", "derf"}
# What each peer has.
WHO = {
    "dynorm": FUNCTIONS | {"copy", "empty kernel", "dyt fast"},
    "dynorm, C": FUNCTIONS,
    "dynorm, C, programmatic": FUNCTIONS,
    "torch eager": FUNCTIONS,
    "torch.compile": FUNCTIONS,
    "Liger": {"rms_norm", "layer_norm", "dyt"},
    "FlashInfer": {"rms_norm", "layer_norm"},
    "quack": {"rms_norm", "layer_norm"},
}
# Who has calls with a residual, and with one in fp8.
WHO_RESIDUAL = {**WHO, "dynorm": FUNCTIONS, "Liger": {"rms_norm"}, "FlashInfer": {"rms_norm"}, "quack": {"rms_norm"}}
# Who has gradients.
WHO_TRAINING = {
    "dynorm, C": FUNCTIONS,
    "torch eager": FUNCTIONS,
    "torch.compile": FUNCTIONS,
    "Liger": WHO["Liger"],
    "quack": {"rms_norm"},
}
WHO_FP8 = {"dynorm", "dynorm, C", "dynorm, C, programmatic", "torch.compile", "FlashInfer"}
KINDS = {
    "machine", "loading", "exhaustive", "bandwidth", "latency", "latency, programmatic", "latency, warm",
    "host time of a call", "host time of a call, C", "fused", "fused, small", "fused, small, programmatic",
    "backward", "training",
    "matvec",
}  # fmt: skip


def main():
    make = [ROOT / "scripts" / "make_gpu_bundle.py", "--no-packages", "--profile", "test"]
    subprocess.run([sys.executable, *make], check=True)
    stand_in = pathlib.Path(__file__).resolve().parent / "stand_in"
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(ROOT / "target" / "tmp" / "cuda_host"),
        "PYTHONPATH": str(stand_in),
    }
    tried = subprocess.run([sys.executable, BUNDLE / "run.py", "--smoke", "--output", RESULTS], env=environment)
    if tried.returncode != 0:
        for log in RESULTS.glob("*.log"):
            print(f"== {log.name}\n{log.read_text()[-2000:]}")
        sys.exit("the bundle failed")
    rows = json.loads((RESULTS / "results.json").read_text())["measured"]
    kinds = {row["kind"] for row in rows}
    assert kinds == KINDS, kinds ^ KINDS
    def who(kinds, operands=None):
        found = {}
        for row in rows:
            if "who" in row and row["kind"].startswith(kinds) and row["operands"] == (operands or row["operands"]):
                found.setdefault(row["who"], set()).add(row["function"])
        return found

    plain = who(("bandwidth", "latency", "host"))
    assert plain == WHO, plain
    residual = who("fused", "residual")
    assert residual == WHO_RESIDUAL, residual
    fp8 = who("fused", "residual, fp8_e4m3, scale given")
    assert fp8.keys() == WHO_FP8, fp8
    training = who("training")
    assert training == WHO_TRAINING, training
    tables = (RESULTS / "results.md").read_text()
    lines = [line for line in tables.splitlines() if line.startswith("| ")]
    assert len(lines) > sum(row["kind"] == "bandwidth" for row in rows), tables
    assert "FlashInfer" in tables and "An empty kernel in such a graph" in tables, tables
    assert sum("| 1048 | 20 |" in line for line in lines) == 4, tables
    print(f"the bundle runs: {len(rows)} measurements")
    environment["PYTHONPATH"] += os.pathsep + str(BUNDLE)
    gradients = pathlib.Path(__file__).resolve().parent / "try_gradients.py"
    subprocess.run([sys.executable, gradients], env={**environment, "DYNORM_LIBRARY": str(BUNDLE / "libdynorm.so")}, check=True)


if __name__ == "__main__":
    main()
