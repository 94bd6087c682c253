#!/usr/bin/env python3
"""Breaks the CUDA kernels one line at a time and shows that tests/cuda_host.rs notices each.

    python3 scripts/break_kernels.py [--only WORD] [--check]

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

FUNCTIONS = "dynorm/functions.cuh"

# (what, file, text that is there once, what takes its place)
BREAKS = [
    ("wrong shuffle mask", "group.cuh", "(threads < LANES ? threads : LANES) / 2; mask > 0", "(threads < LANES ? threads : LANES) / 4; mask > 0"),
    ("no barrier in the sum", "group.cuh", "        block_barrier();\n", ""),
    ("shared memory reused too early", "group.cuh", "        half ^= 1;\n", ""),
    ("sum over one warp too few", "group.cuh", "from < threads / LANES", "from + 1 < threads / LANES"),
    ("one vector past the row", "row_access.cuh", "load_bytes_if<16>(c < part.end, raw[k].word", "load_bytes_if<16>(c <= part.end, raw[k].word"),
    ("one element past the row", "row_access.cuh", "load_bytes_if<X::size>(c + i < end,", "load_bytes_if<X::size>(c + i <= end,"),
    ("one element past the row is written", "row_access.cuh", "load_bytes_if<X::size>(c < end, raw[i].word", "load_bytes_if<X::size>(c <= end, raw[i].word"),
    ("an aligned vector before the row", "row_access.cuh", "return c >= skew && c +", "return c +"),
    ("an aligned vector past the row", "row_access.cuh", "(skew > 0 ? 2 * N : N) <= end + skew", "N <= end + skew"),
    ("vectors of the row's edge are not loaded", "row_access.cuh", "if (!is_inside(c)) load_elements(c, two[j].word);\n                else pick", "pick"),
    ("elements past the row are measured", "row_access.cuh", "                    if (c + i < end) visit(", "                    visit("),
    ("skew by 8 bytes", "vector.cuh", "bytes & 8 ? word[i + 2] : word[i]", "word[i]"),
    ("skew by 4 bytes", "vector.cuh", "bytes & 4 ? word[i + 1] : word[i]", "word[i]"),
    ("skew by 2 bytes", "vector.cuh", "8 * (bytes & 2)", "8 * (bytes & 1)"),
    ("rows as if without gaps", "row_access.cuh", "x(args.x + (place.row * args.x_stride + first)", "x(args.x + (place.row * args.channels + first)"),
    ("output at the input's stride", "rows.cuh", "(place.row * args.y_stride + first)", "(place.row * args.x_stride + first)"),
    ("output offset in 32 bits", "rows.cuh", "args.y + (place.row * args.y_stride + first) * size_of(args.y_type)", "args.y + u32((u32(place.row) * u32(args.y_stride) + first) * size_of(args.y_type))"),
    ("offset of an element in 32 bits", "elements.cuh", "return {row * args.x_stride + column,", "return {u32(row * args.x_stride + column),"),
    ("lane of the row", "row_access.cuh", "thread_index() & (args.threads - 1)", "thread_index() & args.threads"),
    ("rows past the last one are written", "row_access.cuh", "row < args.rows};", "true};"),
    ("x is read before the wait", "row_access.cuh", "        wait_for_previous_grid();\n        row.load", "        row.load"),
    ("reread without the wait", "rows.cuh", "    wait_for_previous_grid();\n    Group", "    Group"),
    ("operands past the row are fetched", "row_access.cuh", "c < part.end; c += part.step)", "c < part.end + part.step; c += part.step)"),
    ("weights past the row are loaded", "row_access.cuh", "load_weight(args, first + c, c < end);", "load_weight(args, first + c, true);"),
    ("biases past the row are loaded", "row_access.cuh", "load_bias(args, first + c, c < end);", "load_bias(args, first + c, true);"),
    ("steps of elements", "row_access.cuh", "from += ELEMENTS * threads", "from += threads"),
    ("elements do not move on", "row_access.cuh", "raw[i - TURN] = raw[i];", ";"),
    ("vectors do not move on", "row_access.cuh", "raw[k - TURN] = raw[k];", ";"),
    ("unrolled vectors do not move on", "row_access.cuh", "raw[k - UNROLLED] = raw[k];", ";"),
    ("the bias of an unrolled vector is left out", "row_access.cuh", "if constexpr (EARLY != Early::BOTH) operands", "if constexpr (EARLY == Early::NOTHING) operands"),
    ("operands of the first segment", "row_access.cuh", "const OperandsInMemory<1> operands{first + c};", "const OperandsInMemory<1> operands{c};"),
    ("cluster does not wait for its peers", "rows.cuh", "    cluster_arrive();\n    cluster_wait();\n", "    cluster_arrive();\n"),
    ("a block leaves while it is read", "rows.cuh", "    cluster_wait();\n}", "}"),
    ("segments counted wrong", "rows.cuh", "return left < segment ? left : segment;", "return segment;"),
    ("segments merged without weight", "layer_norm.cuh", "multiply_add(delta, share, into.rest)", "multiply_add(delta, 0.5f, into.rest)"),
    ("variance about the wrong mean", "layer_norm.cuh", "multiply_add(-moments[0], rest, moments[1])", "moments[1]"),
    ("mean in one number", "layer_norm.cuh", "bias = -row.rest * rstd;", "bias = 0.0f;"),
    ("eps missing", "rms_norm.cuh", "multiply_add(row.squares, per_channel, args.parameter[0])", "multiply_add(row.squares, per_channel, 0.0f)"),
    ("chunk of operands", "pipeline.cuh", "part.load(args, channel + i);", "part.load(args, channel);"),
    ("a usual bias has the weight's presence", "pipeline.cuh", "args.bias_type == ABSENT ? ABSENT : X::type", "args.weight_type == ABSENT ? ABSENT : X::type"),
    ("weight offset missing", "pipeline.cuh", "as_bits(as_float(weight[i]) + args.weight_offset)", "as_bits(as_float(weight[i]))"),
    ("bias of the weight's type", "pipeline.cuh", "widen_operand(bias, args.bias_type, -0.0f)", "widen_operand(bias, args.weight_type, -0.0f)"),
    ("operands overwritten before they are read", "pipeline.cuh", "for (u32 i = N; i-- > 0;) {", "for (u32 i = 0; i < N; ++i) {"),
    ("halves swapped", "vector.cuh", "pack_bf16(value[2 * i], high)", "pack_bf16(high, value[2 * i])"),
    ("upper half of bf16", "vector.cuh", "pair & 0xffff0000u", "pair"),
    ("one item too few", "elements.cuh", "if (first + i * at.step >= at.left) break;", "if (first + i * at.step + 1 >= at.left) break;"),
    ("one item too many", "elements.cuh", "load_bytes_if<N * X::size>(i * at.step < at.left,", "load_bytes_if<N * X::size>(i * at.step <= at.left,"),
    ("items do not move on", "elements.cuh", "raw[i - TURN<N>] = raw[i];", ";"),
    ("block of the wrong column", "elements.cuh", "block - row_block * args.column_blocks", "block - row_block"),
    ("tail missing", "elements.cuh", "last < args.channels)", "last + 1 < args.channels)"),
    ("columns past the row", "elements.cuh", "column < args.channels ? args.rows : 0", "args.rows"),
    ("elements without the wait", "elements.cuh", "    wait_for_previous_grid();\n", ""),
    ("DyISRU without its clamp", FUNCTIONS, "0x1p60f);\n        const float square", "0x1p60f) + (x * prescale - max_nan(min_nan(x * prescale, 0x1p60f), -0x1p60f));\n        const float square"),
    ("short DyISRU without its scale", FUNCTIONS, "prescaled_beta)) * scale);", "prescaled_beta)));"),
    ("short tanh without its small form", FUNCTIONS, "return absolute(z) < 0.0625f ? small : large;\n}\n\n// erf z, for results", "return large;\n}\n\n// erf z, for results"),
    ("short erf's last coefficient", FUNCTIONS, "1.0230075e-4f", "1.5e-4f"),
    ("elements are not spread", "elements.cuh", "(block & (apart - 1))", "block"),
    ("a sum by the way leaves its memory too early", "group.cuh", "        if (!in_warp()) block_barrier();\n", ""),
    ("deviations from far away", "layer_norm.cuh", "if (group.any(!is_near(found, channels))) {", "if (false) {"),
    ("a row measured again for another's sake", "layer_norm.cuh", "is_near(found, channels) ? 0.0f : found.rest", "found.rest"),
    ("rows of a warp that do not wait for each other", "group.cuh", "return in_warp() ? any_in_warp(so) : so;", "return so;"),
    ("only the first segment is gathered", "rows.cuh", "read_shared_of(given + i, thread)", "read_shared_of(given + i, 0)"),
    ("no Newton step", FUNCTIONS, "multiply_add(z, scaled, z * (scaled * 0.5f * fault))", "z * scaled"),
    ("sign of -0", FUNCTIONS, "small` loses.\n    return with_sign_of(magnitude < 1.0f ? small : large, z)", "\n    return magnitude < 1.0f ? small : with_sign_of(large, z)"),
    ("tanh without its small form", FUNCTIONS, "small` loses.\n    return with_sign_of(magnitude < 1.0f ?", "\n    return with_sign_of(magnitude < 0.1f ?"),
    ("erf's last coefficient", FUNCTIONS, "7.853861e-5f", "7.9e-5f"),
    ("silu without the digits that its exponent loses", FUNCTIONS, "low * -0.69314718f", "0.0f"),
    ("silu without its Newton step", FUNCTIONS, "multiply_add(share, low * -0.69314718f, rest)", "share * (low * -0.69314718f)"),
    ("silu without its lower clamp", FUNCTIONS, "max_nan(z, -88.0f), clamped", "z, clamped"),
    ("silu without its upper clamp", FUNCTIONS, "min_nan(a, 88.0f)", "a"),
    ("DyISRU's beta is not prescaled", FUNCTIONS, "beta * prescale * prescale", "beta * prescale"),
    ("fused: a row's head", "fused.cuh", "u32(row - token * args.heads)", "u32(row - token)"),
    ("fused: heads at the tokens' stride", "fused.cuh", "at.token * token_stride + at.head * stride", "at.token * token_stride + at.head * token_stride"),
    ("fused: heads in dense rows", "fused.cuh", "    if (args.heads == 1) return {row, 0};\n", "    return {row, 0};\n"),
    ("fused: the addend's type", "fused.cuh", "addend.widen(args.addend.type, 0.0f);", "addend.widen(args.sum.type, 0.0f);"),
    ("fused: the sum is kept in f32", "fused.cuh", "            round_to<X>(word, value);\n            if (count > 0) store", "            if (count > 0) store"),
    ("fused: the sum is stored past the row", "fused.cuh", "if (count > 0) store_bytes", "store_bytes"),
    ("fused: elements of the sum past the row", "fused.cuh", "if (i < count) store_bytes", "store_bytes"),
    ("fused: elements past the row are loaded", "fused.cuh", "load_bytes_if<SIZE>(i < count,", "load_bytes_if<SIZE>(true,"),
    ("fused: elements past the row are written", "fused.cuh", "if (i < count) store_some", "store_some"),
    ("fused: the gate's second half", "fused.cuh", "address + first * size_of(args.gate.type)", "address"),
    ("fused: a gate without silu", "fused.cuh", "? dynorm::silu_short(z[i]) : dynorm::silu(z[i])", "? z[i] : z[i]"),
    ("fused: one scale for all rows", "fused.cuh", "args.scale == SCALE_READ ? 0 : 4 * at.row(args)", "0"),
    ("fused: the scale itself", "fused.cuh", "return reciprocal_exact(as_float(scale[0]));", "return as_float(scale[0]);"),
    ("fused: the largest is signed", "fused.cuh", "max_number(largest, absolute(value[i]))", "max_number(largest, value[i])"),
    ("fused: the largest past the row", "fused.cuh", "if (WHOLE || i < count) largest", "largest"),
    ("fused: not multiplied with the factor", "fused.cuh", "value[i] *= factor;", ";"),
    ("fused: int8 does not saturate", "quantize.cuh", "max_nan(min_nan(value, 127.0f), -127.0f)", "value"),
    ("fused: e4m3 beyond its largest", "quantize.cuh", "normal < 0x7e ? normal : 0x7e", "normal"),
    ("fused: e4m3 rounds halves up", "quantize.cuh", "0x7ffffu + odd", "0x80000u"),
    ("fused: e4m3 has no subnormal numbers", "quantize.cuh", "as_float(magnitude) + 0x1p14f) - as_bits(0x1p14f)", "0x1p14f) - as_bits(0x1p14f)"),
    ("fused: upper bytes of a word", "quantize.cuh", "pack_low_halves(word[i / 4], pack", "pack_low_halves(0, pack"),
    ("fused: a scale of 0", "quantize.cuh", "scale < 0x1p-126f ? 0x1p-126f : scale", "scale"),
    ("fused: elements of the row are left out", "fused_row_access.cuh", "if (WHOLE || i < this->count(c)) visit(i, some[i]);", "if (i + 1 < LANES) visit(i, some[i]);"),
    ("fused: vectors do not move on", "fused_row_access.cuh", "row[to] = row[to + 1];", ";"),
    ("fused: the first vector does not come back", "fused_row_access.cuh", "row[V - 1] = first;", ""),
    ("fused: x is read again instead of the sum", "fused_row_access.cuh", "if (args.addend.type != ABSENT) this->x = address_in(args.sum, at, this->first);", ""),
    ("fused: the residual is added in every pass", "fused_row_access.cuh", "        adds = false;\n", ""),
    ("fused: operands of the first segment", "fused_row_access.cuh", "const u64 channel = first + c;", "const u64 channel = c;"),
    ("fused: a scale from each thread alone", "fused_rows.cuh", "Group(group).largest(output.largest)", "output.largest"),
    ("fused: an infinite scale", "fused_rows.cuh", "min_nan(Group(group).largest(output.largest), 0x1.fffffep127f)", "group.largest(output.largest)"),
    ("fused: statistics of the wrong row", "fused_rows.cuh", "args.statistics_address + 16 * at.row(args)", "args.statistics_address + 16 * at.token"),
    ("fused: the shard's channels", "fused_rows.cuh", "per_channel = reciprocal_exact(known.count);", ""),
    ("fused: rows without the wait", "fused_rows.cuh", "wait_for_previous_grid();\n    Segments segments(args, place, at);\n    Group group(args.threads);\n    typename", "Segments segments(args, place, at);\n    Group group(args.threads);\n    typename"),
    ("fused: elements without the wait", "fused_elements.cuh", "    wait_for_previous_grid();\n", ""),
    ("fused: one row too many", "fused_elements.cuh", "if (row >= items.left) break;", ""),
    ("fused: the first row for all", "fused_elements.cuh", "            if (row >= items.left) break;\n            const RowIndex at = index_of(args, items.row + row);", "            if (row >= items.left) break;\n            const RowIndex at = index_of(args, items.row);"),
    ("statistics: a mean without its second part", "layer_norm.cuh", "return {channels, mean, low,", "return {channels, mean, 0.0f,"),
    ("a shift of 0 takes the sign of -0", FUNCTIONS, "shift(shift == 0.0f ? -0.0f : shift)", "shift(shift)"),
    # Every name says "gradients", for --only.
    ("gradients: a row's neighbour", "backward.cuh", "if (args.heads == 0) return row * stride;", "if (args.heads == 0) return (row ^ 1) * stride;"),
    ("gradients: heads without their stride", "backward.cuh", "(row - token * args.heads) * stride", "(row - token * args.heads)"),
    ("gradients: every tensor at the stride of dy", "backward.cuh", "row_offset(args, row, tensor.stride,", "row_offset(args, row, args.dy.stride,"),
    ("gradients: weights without their offset", "backward.cuh", "word[i] = as_bits(as_float(word[i]) + args.weight_offset);", ";"),
    ("gradients: the weight left out", "backward.cuh", "function.at(widen<X>(at.x.word, i), dy * weight[i]);", "function.at(widen<X>(at.x.word, i), dy);"),
    ("gradients: the weight in its own gradient", "backward.cuh", "multiply_add(dy, slope.value, weight_sums[i])", "multiply_add(dy * weight[i], slope.value, weight_sums[i])"),
    ("gradients: slots read before they are written", "backward.cuh", "sums[i];\n    block_barrier();\n    if (seat.slot", "sums[i];\n    if (seat.slot"),
    ("gradients: slots written before they are read", "backward.cuh", "SHARED(float, all, COLUMN_THREADS * N);\n    block_barrier();", "SHARED(float, all, COLUMN_THREADS * N);"),
    ("gradients: a slot too few", "backward.cuh", "slot < args.slots; ++slot", "slot + 1 < args.slots; ++slot"),
    ("gradients: the bias over the weight", "backward.cuh", "        to += 4 * u64(args.channels);\n", ""),
    ("gradients: half of a block's sum", "backward.cuh", "n = SUM_THREADS / 2; n > 0", "n = SUM_THREADS / 4; n > 0"),
    ("gradients: a block's sum without a barrier", "backward.cuh", "sums[thread + n];\n        block_barrier();", "sums[thread + n];"),
    ("gradients: the next row is not taken", "backward_columns.cuh", "        now = next;\n", ""),
    ("gradients: a row too many", "backward_columns.cuh", "after < end);", "true);"),
    ("gradients: parameters of the last row alone", "backward_columns.cuh", "by[p] += by_row[p];", "by[p] = by_row[p];"),
    ("gradients: parameters in f32 alone", "backward_columns.cuh", "? float(sum - high) : 0.0f", "? high : 0.0f"),
    ("gradients: infinity less itself", "backward_columns.cuh", "finite(high) == high ? float(sum - high) : 0.0f", "float(sum - high)"),
    ("gradients: what is known of the first row", "backward_columns.cuh", "        function = next_function;\n", ""),
    ("gradients: a slice of the groups alone", "backward_columns.cuh", "for (u32 i = 1; i < SLICES; ++i) sum += sums[i * WIDTH + lane];", ""),
    ("gradients: the weight's channels for the bias", "backward_columns.cuh", "column : column - args.channels;", "column : column;"),
    ("gradients: sums of parameters without their factor", "backward_columns.cuh", "float(total * args.factor[p])", "float(total)"),
    ("gradients: a kept row past its end", "backward_rows.cuh", "to[k].load(args, row, channel(k), channel(k) < channels);", "to[k].load(args, row, channel(k), true);"),
    ("gradients: a kept row past the last", "backward_rows.cuh", "row < args.rows ? args.channels : 0;\n#pragma", "args.channels;\n#pragma"),
    ("gradients: kept rows do not move on", "backward_rows.cuh", "row.at[k] = next[k];", ";"),
    ("gradients: long kept rows do not move on", "backward_rows.cuh", "            row.load(row.at, index + step);\n", ""),
    ("gradients: the first vector's weights", "backward_rows.cuh", "return Weights<N>(args, channel(k), true);", "return Weights<N>(args, channel(0), true);"),
    ("gradients: rows past the last are written", "backward_rows.cuh", "row.end = index < args.rows ? args.channels : 0;", "row.end = args.channels;"),
    ("gradients: rows past the last are measured", "backward_rows.cuh", "index < args.rows ? args.channels : 0};", "args.channels};"),
    ("gradients: a measured row's order", "backward_rows.cuh", "part(first + done, done);", "part(first + done, 0);"),
    ("gradients: rows measured without the wait", "backward_rows.cuh", "    wait_for_previous_grid();\n    ReadPair", "    ReadPair"),
    ("gradients: RMSNorm as if its root did not depend on x", "rms_norm_backward.cu", "multiply_add(-value, product, df)", "df"),
    ("gradients: LayerNorm as if its mean did not depend on x", "layer_norm_backward.cu", "df - mean)", "df)"),
    ("gradients: LayerNorm's products before the mean is known", "layer_norm_backward.cu", "products.add_product(i, norm(x), df);", "products.add_product(i, x * norm.rstd, df);"),
    ("gradients: 1 - tanh^2", "dyt_backward.cu", "df * (root * (1.0f - root))", "df * 0.25f * (1.0f - value * value)"),
    ("gradients: an infinite x times 0", "backward.cuh", "return max_nan(min_nan(x, 0x1.fffffep127f), -0x1.fffffep127f);", "return x;"),
    ("gradients: DyISRU's prescale", "dyisru_backward.cu", "min_nan(x * prescale, 0x1p60f)", "min_nan(x, 0x1p60f)"),
    ("gradients: Derf's alpha in its slope", "derf_backward.cu", "by_shift * by_x,", "by_shift,"),
]


def test_program():
    """Builds the test program; gives its path."""
    done = subprocess.run(
        ["cargo", "test", "--test", "cuda_host", "--no-run", "--message-format=json"],
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
    parser.add_argument("--check", action="store_true", help="only see whether the lines are there")
    arguments = parser.parse_args()
    chosen = [entry for entry in BREAKS if arguments.only in entry[0]]
    for what, name, old, _ in chosen:
        count = (ROOT / "kernels" / name).read_text().count(old)
        if count != 1:
            sys.exit(f"{what}: {name} has {count} times {old!r}")
    if arguments.check:
        return print(f"all {len(chosen)} lines to be broken are there")
    program = test_program()
    passed = []
    for what, name, old, new in chosen:
        with tempfile.TemporaryDirectory() as folder:
            kernels = pathlib.Path(folder) / "kernels"
            shutil.copytree(ROOT / "kernels", kernels, ignore=shutil.ignore_patterns("ptx"))
            text = (kernels / name).read_text()
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
