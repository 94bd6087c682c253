#!/usr/bin/env python3
"""Times other people's kernels on the shapes of benches/cuda.rs, the same way: calls captured into
a graph, median of the replays; and dynorm through its C interface among them. One JSON line per
measurement. Run by run.py; peer_calls.py, fused_peer_calls.py and training_peer_calls.py have the peers.

A call whose result is not the function, computed by PyTorch in f64, is not timed.
"""

import argparse
import json
import statistics
import sys
import time

import torch

from fused_peer_calls import QUANTIZED, fused_peers
from peer_calls import peers
from training_peer_calls import training_peers

TYPES = {"bf16": torch.bfloat16, "f32": torch.float32}
# What a result may differ from the exact one, relative to the larger of it and 1: some peers round
# more than once.
TOLERANCE = {"bf16": 2.0**-5, "f32": 2.0**-12}
# Of results in fp8, which have three digits.
TOLERANCE_FP8 = 2.0**-3


class Extent:
    """How much is measured."""

    def __init__(self, quick, smoke):
        self.bytes = 64 << 10 if smoke else 256 << 20
        self.replays = 2 if smoke else 11
        self.wide = [128] if smoke else [128, 4096, 65536]
        self.fused = [128] if smoke else [4096, 8192]
        self.narrow = [128] if smoke else [4096]
        self.rows = [1, 8] if smoke else [1, 8, 64]
        if not quick and not smoke:
            self.wide = [4096, 8192, 128, 1024, 16384, 65536, 262144]
            self.narrow = [4096, 7168, 8192]


def median_us(calls, replays):
    """Of one of `calls`, replayed from a graph."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream), torch.no_grad():
        for call in calls[:2]:
            call()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            # Kept, so that each has memory of its own, as dynorm's in the bench.
            results = [call() for call in calls]
        graph.replay()
        times = []
        for _ in range(replays):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record(stream)
            graph.replay()
            end.record(stream)
            end.synchronize()
            times.append(start.elapsed_time(end) * 1000)
    return statistics.median(times) / len(results)


def error_of(peer, call, tensors, weight, bias):
    """The largest error of the first rows, as TOLERANCE counts."""
    some = [tensor[:4].clone() for tensor in tensors]
    want = peer.formula(*(tensor.double() for tensor in some), weight.double(), bias.double())
    # A call may write to its tensors.
    got = call(*some).double() * peer.scale
    return ((got - want).abs() / want.abs().clamp(min=1.0)).max().item()


def measure(kind, peer, element, inputs, extent):
    """Of a peer whose call takes each of `inputs`, tuples of tensors, in turns."""
    x = inputs[0][0]
    rows, channels = x.shape
    weight, bias = (torch.rand(channels, dtype=TYPES[element], device="cuda") for _ in range(2))
    tolerance = TOLERANCE_FP8 if peer.operands == QUANTIZED else TOLERANCE[element]
    try:
        call = peer.prepare(weight, bias)
        with torch.no_grad():
            error = error_of(peer, call, inputs[0], weight, bias)
        if not error <= tolerance:
            raise ValueError(f"wrong by {error}")
        us = median_us([lambda tensors=tensors: call(*tensors) for tensors in inputs], extent.replays)
    except Exception as failure:  # a peer that cannot do a shape is left out, and named
        text = f"{peer.who} {peer.function} {peer.operands} {element} {rows}x{channels}: "
        text += f"{type(failure).__name__}: {failure}"
        print(text[:300], file=sys.stderr)
        return
    row = {
        "kind": kind, "who": peer.who, "function": peer.function, "operands": peer.operands,
        "type": element, "rows": rows, "channels": channels, "us": round(us, 3),
        "gb_per_s": round(peer.moved * x.numel() * x.element_size() / us / 1000, 1),
        "error": error,
    }
    print(json.dumps(row), flush=True)


def tensors(count, rows, channels, element):
    return tuple(torch.randn(rows, channels, dtype=TYPES[element], device="cuda") for _ in range(count))


def shapes(extent):
    """(kind, element type, inputs), the inputs more than the cache holds together."""
    for channels in extent.wide:
        for element, dtype in TYPES.items():
            rows = extent.bytes // (channels * dtype.itemsize)
            yield "bandwidth", element, [tensors(1, rows, channels, element)] * 4
    for channels in extent.narrow:
        for rows in extent.rows:
            yield "latency", "bf16", small_tensors(1, rows, channels)


def fused_shapes(extent):
    """The same for calls with a residual."""
    for channels in extent.fused:
        rows = extent.bytes // (channels * TYPES["bf16"].itemsize)
        yield "fused", "bf16", [tensors(2, rows, channels, "bf16")] * 4
    for channels in extent.narrow:
        for rows in extent.rows:
            yield "fused, small", "bf16", small_tensors(2, rows, channels)


def training_shapes(extent):
    """Large ones of x and dy."""
    for channels in extent.fused:
        for element, dtype in TYPES.items():
            rows = extent.bytes // (channels * dtype.itemsize)
            yield "training", element, [tensors(2, rows, channels, element)] * 4


def small_tensors(count, rows, channels):
    l2 = torch.cuda.get_device_properties(0).L2_cache_size
    sets = 4 * l2 // ((2 + 2 * count) * rows * channels) + 1
    return [tensors(count, rows, channels, "bf16") for _ in range(sets)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few widths")
    parser.add_argument("--smoke", action="store_true", help="next to nothing, to try the script")
    parser.add_argument("--seconds", type=float, default=480, help="start nothing new after so long")
    arguments = parser.parse_args()
    end = time.monotonic() + arguments.seconds
    extent = Extent(arguments.quick, arguments.smoke)
    everything = [(peers(), shapes), (fused_peers(), fused_shapes), (training_peers(), training_shapes)]
    for everybody, of_extent in everything:
        for kind, element, inputs in of_extent(extent):
            for peer in everybody:
                if time.monotonic() < end:
                    measure(kind, peer, element, inputs, extent)


if __name__ == "__main__":
    main()
