#!/usr/bin/env python3
"""Makes target/gpu-bundle: what a machine with a GPU, but without Rust and network, needs to test
and measure the CUDA kernels.

    python3 scripts/make_gpu_bundle.py
    # there:
    python3 gpu-bundle/run.py --output results

The programs are built for this machine's architecture and C library.
"""

import json
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUNDLE = ROOT / "target" / "gpu-bundle"
PEERS = ["liger-kernel==0.8.5"]


def build(kind, name):
    """Builds a test or bench program; gives its path."""
    done = subprocess.run(
        ["cargo", kind, "--features", "cuda", f"--{kind}", name, "--no-run", "--message-format=json"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == name:
            return message["executable"]
    sys.exit(f"cargo built no {name}")


def main():
    shutil.rmtree(BUNDLE, ignore_errors=True)
    BUNDLE.mkdir(parents=True)
    shutil.copy(build("test", "cuda_device"), BUNDLE / "cuda_device")
    shutil.copy(build("bench", "cuda"), BUNDLE / "cuda_bench")
    for script in (ROOT / "scripts" / "gpu").glob("*.py"):
        shutil.copy(script, BUNDLE)
    # Pure Python: what it imports is there with PyTorch.
    wheels = BUNDLE / "wheels"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", wheels, *PEERS]
    subprocess.run(command, check=True)
    size = sum(file.stat().st_size for file in BUNDLE.rglob("*") if file.is_file())
    print(f"{BUNDLE.relative_to(ROOT)}: {size / 1e6:.1f} MB; run: python3 run.py")


if __name__ == "__main__":
    main()
