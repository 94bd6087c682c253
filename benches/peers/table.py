"""The results as text: who is ahead where, and every row."""

import statistics

from plan import FUNCTIONS, SHAPES


def pooled(rows):
    """One row for each case and peer, of those of several processes: medians of their values, and
    the least and largest quartile of their ratios."""
    groups = {}
    for row in rows:
        key = tuple(row[name] for name in ("threads", "type", "function", "rows", "channels", "peer"))
        groups.setdefault(key, []).append(row)
    for group in groups.values():
        good = [row for row in group if "error" not in row]
        if not good:
            yield group[0]
            continue
        result = dict(good[0])
        for name in ("us", "copy_us", "call_us", "faults_per_call"):
            result[name] = statistics.median(row[name] or 0 for row in good)
        result["processes"] = len(good)
        result["ours"] = {
            name: {
                "us": statistics.median(row["ours"][name]["us"] for row in good),
                "times_faster": [
                    min(row["ours"][name]["times_faster"][0] for row in good),
                    statistics.median(row["ours"][name]["times_faster"][1] for row in good),
                    max(row["ours"][name]["times_faster"][2] for row in good),
                ],
            }
            for name in good[0]["ours"]
        }
        yield result


def best_of_ours(row):
    """The name and figures of the faster of our ways to use several threads."""
    return min(row["ours"].items(), key=lambda item: item[1]["us"])


def markdown(rows, header):
    rows = list(pooled(rows))
    errors = [row for row in rows if "error" in row]
    rows = [row for row in rows if "error" not in row]
    where = lambda row: SHAPES.get((row["rows"], row["channels"]), "")
    key = lambda row: (row["threads"], row["type"], FUNCTIONS.index(row["function"]), row["rows"] * row["channels"],
                       -row["rows"], row["us"])  # fmt: skip
    rows.sort(key=key)
    lines = [header, "", "## Where a peer is ahead", ""]
    ahead = [row for row in rows if best_of_ours(row)[1]["times_faster"][1] < 1]
    lines += table(ahead, where) if ahead else ["Nowhere."]
    lines += ["", "## Where it is ahead but for the cost of calling it", "",
              "The peer's time less that of its call on 1 row of 64 channels, against ours in full.", ""]  # fmt: skip
    net = [row for row in rows if row not in ahead and row["us"] - row["call_us"] < best_of_ours(row)[1]["us"]]
    lines += table(net, where) if net else ["Nowhere."]
    lines += ["", "## All"]
    last = None
    block = []
    for row in [*rows, None]:
        title = row and (row["threads"], row["type"])
        if title != last:
            if block:
                lines += ["", f"### {last[1]}, {last[0]} thread{'s' if last[0] > 1 else ''}", "", *table(block, where)]
            block, last = [], title
        block.append(row)
    if errors:
        lines += ["", "## Failed", ""]
        named = {(row["peer"], row["function"], row["type"], row["error"]) for row in errors}
        lines += [f"* {peer}, {function}, {kind}: {error}" for peer, function, kind, error in sorted(named)]
    return "\n".join(lines) + "\n"


def table(rows, where):
    lines = ["| function | type | threads | shape | in | peer | peer µs | its call µs | dynorm µs | times faster (quartiles) | copy µs |",
             "|---|---|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for row in rows:
        name, ours = best_of_ours(row)
        low, middle, high = ours["times_faster"]
        with_threads = f" ({name.removeprefix('dynorm-')})" if row["threads"] > 1 else ""
        lines.append(
            f"| {row['function']} | {row['type']} | {row['threads']} | {row['rows']}x{row['channels']} | {where(row)} "
            f"| {row['peer']} | {row['us']:.4g} | {row['call_us']:.2g} | {ours['us']:.4g}{with_threads} "
            f"| {middle:.2f} ({low:.2f}-{high:.2f}) | {row['copy_us']:.4g} |"
        )
    return lines
