"""The tables of run.py, as Markdown, from the measurements' rows."""


def table(head, rows):
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    lines += [f"| {' | '.join(map(str, row))} |" for row in rows]
    return "\n".join(lines) + "\n"


def bandwidth_table(rows):
    """Per function, type and width: everybody's time, GB/s, and share of the copy's speed."""
    rows = [row for row in rows if row["kind"] == "bandwidth"]
    copies = {(row["type"], row["channels"]): row["us"] for row in rows if row["function"] == "copy"}
    order = lambda row: (row["function"], row["operands"], row["type"], row["channels"], row["us"])
    cells = []
    for row in sorted(rows, key=order):
        copy = copies.get((row["type"], row["channels"]))
        share = f"{copy / row['us']:.3f}" if copy else ""
        shape = [row[key] for key in ("function", "operands", "type", "rows", "channels", "who")]
        cells.append([*shape, f"{row['us']:.2f}", f"{row['gb_per_s']:.0f}", share])
    head = ["function", "operands", "type", "rows", "channels", "who", "us", "GB/s", "of copy"]
    return "Large tensors, time of a call in a captured graph.\n\n" + table(head, cells)


# The columns of the table of small batches: kind, who.
SMALL = {
    "cold": ("latency", "dynorm"),
    "programmatic": ("latency, programmatic", "dynorm"),
    "warm": ("latency, warm", "dynorm"),
    "host, Rust": ("host time of a call", "dynorm"),
    "host, C": ("host time of a call, C", "dynorm"),
}


def small_table(rows):
    """Per function and small shape: microseconds of a call, dynorm's and the peers'."""
    of_small = ("latency", "host time")
    small = [row for row in rows if row["kind"].startswith(of_small) and row["channels"] > 0]
    empty = [row["us"] for row in rows if row.get("function") == "empty kernel"]
    peers = sorted({row["who"] for row in small if row["kind"] == "latency" and row["who"] != "dynorm"})
    columns = {**SMALL, **{who: ("latency", who) for who in peers}}
    times = {(row["function"], row["channels"], row["rows"], row["kind"], row["who"]): row["us"] for row in small}
    cells = []
    for shape in sorted({key[:3] for key in times}):
        line = [times.get((*shape, *column)) for column in columns.values()]
        cells.append([*shape, *(f"{us:.2f}" if us is not None else "" for us in line)])
    title = (
        "Small batches in bf16, microseconds of a call: in a captured graph (cold: tensors rotate over more "
        "than four times L2; programmatic: the same with programmatic launch; warm: the same tensors again), "
        "and of the calling thread (host). Peers: captured, cold.\n"
    )
    for us in empty:
        title += f"An empty kernel in such a graph: {us:.2f}.\n"
    return title + "\n" + table(["function", "channels", "rows", *columns], cells)


def fused_table(rows):
    """Per form and shape of what is fused: time, GB/s of what has to be moved, share of the copy's."""
    rows = [row for row in rows if row["kind"].startswith("fused")]
    copies = {row["channels"]: row["gb_per_s"] for row in rows if row["function"] == "copy"}
    order = lambda row: (row["kind"], row["channels"], row["rows"], row["operands"], row["function"], row["us"])
    cells = []
    for row in sorted(rows, key=order):
        copy = copies.get(row["channels"]) if row["kind"] == "fused" else None
        share = f"{row['gb_per_s'] / copy:.3f}" if copy else ""
        launch = "programmatic" if row["kind"].endswith("programmatic") else ""
        shape = [row[key] for key in ("operands", "function", "rows", "channels", "who")]
        cells.append([*shape, launch, f"{row['us']:.2f}", f"{row['gb_per_s']:.0f}", share])
    head = ["fused", "function", "rows", "channels", "who", "launch", "us", "GB/s", "of copy"]
    title = (
        "Calls in bf16 with more fused around the function, in a captured graph. A given scale takes no pass "
        "over the row, which the element-wise functions can do without; small batches rotate over more than "
        "four times L2.\n\n"
    )
    return title + table(head, cells)


def backward_table(rows):
    """Per function, type and width of gradients: time, GB/s of what has to be moved, share of the copy's."""
    rows = [row for row in rows if row["kind"] == "backward"]
    copies = {(row["type"], row["channels"]): row["gb_per_s"] for row in rows if row["function"] == "copy"}
    order = lambda row: (row["function"], row["operands"], row["type"], row["channels"], row["us"])
    cells = []
    for row in sorted(rows, key=order):
        share = f"{row['gb_per_s'] / copies[row['type'], row['channels']]:.3f}"
        shape = [row[key] for key in ("function", "operands", "type", "rows", "channels", "who")]
        cells.append([*shape, f"{row['us']:.2f}", f"{row['gb_per_s']:.0f}", share])
    head = ["function", "gradients", "type", "rows", "channels", "who", "us", "GB/s", "of copy"]
    title = (
        "Gradients of large tensors, in a captured graph: dx alone, and with those of weight, bias (not of RMSNorm) "
        "and parameters. Moved are x, dy and dx.\n\n"
    )
    return title + table(head, cells)


def training_table(rows):
    """Per function, type and width: everybody's time of a call and its gradients, and GB/s of what has to be moved."""
    rows = [row for row in rows if row["kind"] == "training"]
    order = lambda row: (row["function"], row["type"], row["channels"], row["us"])
    keys = ["function", "type", "rows", "channels", "who"]
    cells = [[*(row[key] for key in keys), f"{row['us']:.2f}", f"{row['gb_per_s']:.0f}"] for row in sorted(rows, key=order)]
    title = (
        "A call on large tensors and its gradients, of x, weight and (not of RMSNorm) bias, in a captured graph. Moved are x and y, "
        "and x, dy and dx.\n\n"
    )
    return title + table([*keys, "us", "GB/s"], cells)


def matvec_table(rows):
    """Per shape and function: time over that of the product alone, with the function before it and inside."""
    times = {(row["outputs"], row["inputs"], row["function"], row["form"]): row for row in rows if row["kind"] == "matvec"}
    cells = []
    for outputs, inputs, _, _ in [key for key in times if key[3] == "alone"]:
        alone = times[outputs, inputs, "none", "alone"]
        for function in [key[2] for key in times if key[:2] == (outputs, inputs) and key[3] == "on load"]:
            shares = [times[outputs, inputs, function, form]["us"] / alone["us"] for form in ("two steps", "on load")]
            speed = [f"{alone['us']:.2f}", f"{alone['gb_per_s']:.0f}"]
            cells.append([inputs, outputs, *speed, function, *(f"{share:.3f}" for share in shares)])
    head = ["inputs", "outputs", "product alone, us", "GB/s of W", "function", "two steps", "on load"]
    title = "A matrix-vector product in bf16, in a captured graph; the forms' times over that of the product alone.\n\n"
    return title + table(head, cells)


def exhaustive_table(rows):
    """What was found over all inputs."""
    head = ["function", "fast_tanh", "inputs", "f32, ulp", "relative", "f16, ulp", "not the nearest f16",
            "bf16, ulp", "not the nearest bf16"]  # fmt: skip
    keys = ["norm", "fast_tanh", "inputs", "f32_ulp", "relative", "f16_ulp", "f16_differing", "bf16_ulp",
            "bf16_differing"]  # fmt: skip
    found = [{**row, "relative": f"{row['relative']:.3g}"} for row in rows if row["kind"] == "exhaustive"]
    found = [[row[key] for key in keys] for row in found]
    return "Largest errors over all f32 inputs, weightless.\n\n" + table(head, found)
