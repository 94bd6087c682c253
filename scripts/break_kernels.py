#!/usr/bin/env python3
"""Breaks the CUDA kernels one line at a time and shows that tests/cuda_host.rs notices each.

    python3 scripts/break_kernels.py [--only WORD]

A copy of kernels/ is broken, not the folder itself. Fails if a broken kernel passes, or if a line
to be broken is no longer there.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent

# (what, file, text that is there once, what takes its place)
BREAKS = [
    ("wrong shuffle mask", "group.cuh", "(threads < LANES ? threads : LANES) / 2; mask > 0", "(threads < LANES ? threads : LANES) / 4; mask > 0"),
    ("no barrier in the sum", "group.cuh", "        block_barrier();\n", ""),
    ("shared memory reused too early", "group.cuh", "        half ^= 1;\n", ""),
    ("sum over one warp too few", "group.cuh", "from < threads / LANES", "from + 1 < threads / LANES"),
    ("one vector past the row", "rows.cuh", "load_bytes_if<16>(c < end, raw[k].word", "load_bytes_if<16>(c <= end, raw[k].word"),
    ("one element past the row", "rows.cuh", "load_bytes_if<X::size>(c + i < end,", "load_bytes_if<X::size>(c + i <= end,"),
    ("rows as if without gaps", "rows.cuh", "x(args.x + (place.row * args.x_stride + first)", "x(args.x + (place.row * args.channels + first)"),
    ("output at the input's stride", "rows.cuh", "(place.row * args.y_stride + first)", "(place.row * args.x_stride + first)"),
    ("output offset in 32 bits", "rows.cuh", "args.y + (place.row * args.y_stride + first) * size_of(args.y_type)", "args.y + u32((u32(place.row) * u32(args.y_stride) + first) * size_of(args.y_type))"),
    ("offset of an element in 32 bits", "elements.cuh", "return {row * args.x_stride + column,", "return {u32(row * args.x_stride + column),"),
    ("lane of the row", "rows.cuh", "thread_index() & (args.threads - 1)", "thread_index() & args.threads"),
    ("rows past the last one are written", "rows.cuh", "row < args.rows};", "true};"),
    ("x is read before the wait", "rows.cuh", "        wait_for_previous_grid();\n#pragma unroll", "#pragma unroll"),
    ("reread without the wait", "rows.cuh", "    wait_for_previous_grid();\n    Group", "    Group"),
    ("operands past the row are fetched", "rows.cuh", "            if (c >= end) break;\n            prefetch_operand", "            prefetch_operand"),
    ("steps of elements", "rows.cuh", "c += step / N", "c += step"),
    ("weights do not move on", "rows.cuh", "if (EARLY_WEIGHT) weight[k - turn] = weight[k];", ""),
    ("operands of the first segment", "rows.cuh", "finish<X, 1>(function, raw.word, weight, bias", "finish<X, 1>(function, raw.word, FromMemory<1>{args.weight, c, args.weight_type}, bias"),
    ("cluster does not wait for its peers", "rows.cuh", "    cluster_arrive();\n    cluster_wait();\n", "    cluster_arrive();\n"),
    ("a block leaves while it is read", "rows.cuh", "    cluster_wait();\n}", "}"),
    ("segments counted wrong", "rows.cuh", "return left < segment ? left : segment;", "return segment;"),
    ("segments merged without weight", "layer_norm.cu", "multiply_add(delta, share, into.rest)", "multiply_add(delta, 0.5f, into.rest)"),
    ("variance about the wrong mean", "layer_norm.cu", "multiply_add(-moments[0], rest, moments[1])", "moments[1]"),
    ("mean in one number", "layer_norm.cu", "bias = -row.rest * rstd;", "bias = 0.0f;"),
    ("eps missing", "rms_norm.cu", "args.parameter[1], args.parameter[0])", "args.parameter[1], 0.0f)"),
    ("chunk of f32 weights", "pipeline.cuh", "if (i > 0 && memory.type == F32) return memory.chunk(i);", ""),
    ("chunk of 16-bit weights", "pipeline.cuh", "const u32 from = i * CHUNK<N> / 2 + j;", "const u32 from = j;"),
    ("weight offset missing", "pipeline.cuh", "w[i] += args.weight_offset;", "w[i] += 0.0f;"),
    ("bias instead of weight type", "pipeline.cuh", "widen_operand(b, bias, args.bias_type)", "widen_operand(b, bias, args.weight_type)"),
    ("halves swapped", "vector.cuh", "pack_bf16(value[2 * i], high)", "pack_bf16(high, value[2 * i])"),
    ("upper half of bf16", "vector.cuh", "pair & 0xffff0000u", "pair"),
    ("one item too few", "elements.cuh", "u32(more) / u32(step) + 1", "u32(more) / u32(step)"),
    ("tail missing", "elements.cuh", "last < args.channels)", "last + 1 < args.channels)"),
    ("columns past the row", "elements.cuh", "column < args.channels ? items_left(row, rows, args.rows) : 0", "items_left(row, rows, args.rows)"),
    ("elements without the wait", "elements.cuh", "    wait_for_previous_grid();\n", ""),
    ("no clamp", "dyisru.cu", "max_nan(min_nan(x * prescale, 0x1p60f), -0x1p60f)", "x * prescale"),
    ("no Newton step", "dyisru.cu", "multiply_add(z, scaled, z * (scaled * 0.5f * fault))", "z * scaled"),
    ("sign of -0", "dyt.cu", "with_sign_of(magnitude < 1.0f ? small : large, z)", "magnitude < 1.0f ? small : with_sign_of(large, z)"),
    ("tanh without its small form", "dyt.cu", "magnitude < 1.0f ?", "magnitude < 0.1f ?"),
    ("erf's last coefficient", "derf.cu", "7.853861e-5f", "7.9e-5f"),
]


def test_program():
    """Builds the test program; gives its path."""
    done = subprocess.run(
        ["cargo", "test", "--features", "cuda", "--test", "cuda_host", "--no-run", "--message-format=json"],
        cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
    )
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "cuda_host":
            return message["executable"]
    sys.exit("cargo built no cuda_host")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="those whose description has this word")
    only = parser.parse_args().only
    program = test_program()
    passed = []
    chosen = [entry for entry in BREAKS if only in entry[0]]
    for what, name, old, new in chosen:
        with tempfile.TemporaryDirectory() as folder:
            kernels = pathlib.Path(folder) / "kernels"
            shutil.copytree(ROOT / "kernels", kernels, ignore=shutil.ignore_patterns("ptx"))
            text = (kernels / name).read_text()
            if text.count(old) != 1:
                sys.exit(f"{what}: {name} has {text.count(old)} times {old!r}")
            (kernels / name).write_text(text.replace(old, new))
            environment = {
                **os.environ,
                "DYNORM_HOST_KERNELS": str(kernels),
                # Broken code may leave names unused.
                "DYNORM_HOST_CXXFLAGS": "-Wno-error",
                "RUST_BACKTRACE": "0",
            }
            done = subprocess.run(
                [program, "--test-threads=1"], cwd=ROOT, env=environment, capture_output=True, text=True
            )
        failed = [line.split()[1] for line in done.stdout.splitlines() if line.endswith("... FAILED")]
        built = "c++ failed" not in done.stdout
        verdict = f"noticed by {len(failed)}: {failed[0]}" if failed and built else "NOT NOTICED"
        print(f"{what:42} {verdict}", flush=True)
        if not failed or not built:
            passed.append(what)
    print(f"{len(chosen) - len(passed)} of {len(chosen)} broken kernels noticed")
    if passed:
        sys.exit("not noticed: " + ", ".join(passed))


if __name__ == "__main__":
    main()
