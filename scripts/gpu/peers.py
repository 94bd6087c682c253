#!/usr/bin/env python3
"""Times other people's kernels on the shapes of benches/cuda.rs, the same way: calls captured into
a graph, median of the replays. One JSON line per measurement. Run by run.py.

PyTorch eager (`F.rms_norm`, `F.layer_norm`, the formulas) and torch.compile; Liger-Kernel.
"""

import argparse
import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F

LARGE = 256 << 20
REPLAYS = 11
EPS, ALPHA, BETA = 1e-5, 0.5, 4.0

FORMULAS = {
    "rms_norm": lambda x, w, b: F.rms_norm(x, x.shape[-1:], w, EPS),
    "layer_norm": lambda x, w, b: F.layer_norm(x, x.shape[-1:], w, b, EPS),
    "dyt": lambda x, w, b: torch.tanh(ALPHA * x) * w + b,
    "dyisru": lambda x, w, b: x * torch.rsqrt(BETA + x * x) * w + b,
    "derf": lambda x, w, b: torch.erf(ALPHA * x) * w + b,
}


def liger():
    """Liger-Kernel's functions of the same shape, as far as it has them."""
    try:
        from liger_kernel.ops.dyt import LigerDyTFunction
        from liger_kernel.ops.layer_norm import LigerLayerNormFunction
        from liger_kernel.ops.rms_norm import LigerRMSNormFunction
    except ImportError as error:
        print(f"no Liger-Kernel: {error}", file=sys.stderr)
        return {}
    alpha = torch.full((1,), ALPHA, device="cuda")
    return {
        "rms_norm": lambda x, w, b: LigerRMSNormFunction.apply(x, w, EPS),
        "layer_norm": lambda x, w, b: LigerLayerNormFunction.apply(x, w, b, EPS),
        "dyt": lambda x, w, b: LigerDyTFunction.apply(x, alpha.to(x.dtype), w, b),
    }


def peers():
    found = [("torch eager", name, call) for name, call in FORMULAS.items()]
    for name, call in FORMULAS.items():
        compiled = torch.compile(call, mode="max-autotune-no-cudagraphs", dynamic=False)
        found.append(("torch.compile", name, compiled))
    return found + [("Liger", name, call) for name, call in liger().items()]


def median_us(calls):
    """Of one of `calls`, replayed from a graph."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream), torch.no_grad():
        for call in calls[:2]:
            call()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            for call in calls:
                call()
        graph.replay()
        times = []
        for _ in range(REPLAYS):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record(stream)
            graph.replay()
            end.record(stream)
            end.synchronize()
            times.append(start.elapsed_time(end) * 1000)
    return statistics.median(times) / len(calls)


def report(kind, who, name, x, us):
    row = {
        "kind": kind, "who": who, "function": name,
        "operands": "weight" if name == "rms_norm" else "weight+bias",
        "type": {torch.bfloat16: "bf16", torch.float32: "f32"}[x.dtype],
        "rows": x.shape[0], "channels": x.shape[1], "us": round(us, 3),
        "gb_per_s": round(2 * x.numel() * x.element_size() / us / 1000, 1),
    }
    print(json.dumps(row), flush=True)


def attempt(kind, who, name, call, inputs):
    weight, bias = (torch.rand(inputs[0].shape[1], dtype=inputs[0].dtype, device="cuda") for _ in range(2))
    try:
        calls = [lambda x=x: call(x, weight, bias) for x in inputs]
        report(kind, who, name, inputs[0], median_us(calls))
    except Exception as error:  # a peer that cannot do a shape is left out, and named
        print(f"{who} {name} {tuple(inputs[0].shape)}: {type(error).__name__}: {error}"[:300], file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=float, default=480, help="start nothing new after so long")
    arguments = parser.parse_args()
    end = time.monotonic() + arguments.seconds
    widths = [128, 4096, 65536] if arguments.quick else [4096, 8192, 128, 1024, 16384, 65536, 262144]
    l2 = torch.cuda.get_device_properties(0).L2_cache_size
    who = peers()
    for channels in widths:
        for dtype in (torch.bfloat16, torch.float32):
            x = torch.randn(LARGE // (channels * dtype.itemsize), channels, dtype=dtype, device="cuda")
            for peer, name, call in who:
                if time.monotonic() < end:
                    attempt("bandwidth", peer, name, call, [x] * 4)
            del x
    for channels in [4096] if arguments.quick else [4096, 7168, 8192]:
        for rows in (1, 8, 64):
            count = min(4 * l2 // (4 * rows * channels) + 1, 4000)
            inputs = [torch.randn(rows, channels, dtype=torch.bfloat16, device="cuda") for _ in range(count)]
            for peer, name, call in who:
                if time.monotonic() < end:
                    attempt("latency", peer, name, call, inputs)


if __name__ == "__main__":
    main()
