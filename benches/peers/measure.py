"""Times one peer beside dynorm and a copy of the same bytes: run by run.py, once for each peer and
number of threads, in the peer's own environment. One JSON line per case."""

import argparse
import fcntl
import importlib
import json
import os
import resource
import statistics
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("--peer", required=True)
parser.add_argument("--threads", type=int, required=True)
parser.add_argument("--libraries", required=True, help="JSON: name to [file, prefix]")
parser.add_argument("--functions", nargs="+", required=True)
parser.add_argument("--types", nargs="+", required=True)
parser.add_argument("--shapes", nargs="+", required=True)
parser.add_argument("--rounds", type=int, required=True)
parser.add_argument("--lock")
arguments = parser.parse_args()

# Before a peer counts the processors. The first one is left to the system if there is a choice.
processors = sorted(os.sched_getaffinity(0))
os.sched_setaffinity(0, processors[-arguments.threads :])

from cases import SMALLEST, Buffers, Case  # noqa: E402
from native import Copy, Native, Timer  # noqa: E402
from plan import shape  # noqa: E402


def main():
    lock = Lock(arguments.lock)
    libraries = json.loads(arguments.libraries)
    timer = Timer(libraries["timer"][0])
    ours = ["dynorm"] if arguments.threads == 1 else ["dynorm-rayon", "dynorm-openmp"]
    ours = [Native(timer, name, *libraries[name]) for name in ours]
    if arguments.peer in libraries:
        peer = Native(timer, arguments.peer, *libraries[arguments.peer])
    else:
        peer = importlib.import_module(f"frameworks.{arguments.peer.replace('-', '_')}_peer").Peer()
    shapes = [shape(text) for text in arguments.shapes]
    buffers = Buffers(max(rows * channels for rows, channels in shapes) * 4)
    for function in arguments.functions:
        for element in arguments.types:
            cost = None
            for size in [SMALLEST, *shapes]:
                case = Case(function, element, *size, arguments.threads)
                row = measure(timer, case, buffers, ours, peer, lock)
                if row is None:
                    break  # not offered: no other shape is
                if size == SMALLEST:
                    cost = row.get("us")
                    continue
                row |= {"peer": arguments.peer, "version": peer.version, "call_us": cost}
                print(json.dumps(row), flush=True)


def measure(timer, case, buffers, ours, peer, lock):
    data = buffers.data(case)
    row = {"function": case.function, "type": case.element, "rows": case.rows,
           "channels": case.channels, "threads": case.threads}  # fmt: skip
    try:
        theirs = peer.open(data)
        if theirs is None:
            return None
        theirs.seconds(1)
        data.check(theirs.result())
    except Exception as error:  # a peer that cannot do a case is left out, and named
        return row | {"error": f"{type(error).__name__}: {error}"[:300]}
    contenders = {peer_name.name: peer_name.open(data) for peer_name in ours}
    for call in contenders.values():
        data.y[...] = 0
        call.seconds(1)
        data.check(call.result())
    contenders["peer"] = theirs
    contenders["copy"] = Copy(timer, False, data)
    if data.x.nbytes > 1 << 20:  # in the caches it loses
        contenders["copy, streamed"] = Copy(timer, True, data)
    lock.take()
    times, faults = rounds(contenders, arguments.rounds)
    for name in [*(o.name for o in ours), "peer"]:
        contenders[name].close()
    copies = [times[name] for name in times if name.startswith("copy")]
    row |= {
        "us": statistics.median(times["peer"]) * 1e6,
        "best_us": min(times["peer"]) * 1e6,
        "copy_us": statistics.median(map(min, zip(*copies))) * 1e6,
        "faults_per_call": faults,
        "ours": {},
    }
    for o in ours:
        ratios = [theirs / mine for theirs, mine in zip(times["peer"], times[o.name])]
        row["ours"][o.name] = {
            "us": statistics.median(times[o.name]) * 1e6,
            "best_us": min(times[o.name]) * 1e6,
            "times_faster": statistics.quantiles(ratios, n=4, method="inclusive"),
        }
    return row


def rounds(contenders, count):
    """Seconds of a call by contender, one value a round; and page faults of a call of the peer.
    In a round each contender runs for a millisecond or more; who begins changes."""
    names = list(contenders)
    calls = {name: number_of_calls(contenders[name]) for name in names}
    times = {name: [] for name in names}
    faults = 0
    if contenders["peer"].seconds(1) > 0.05:
        count = min(count, 3)  # far behind: no need to know it well
    for i in range(count):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            times[name].append(undisturbed(contenders[name], calls[name]))
            if name == "peer":
                faults += resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return times, round(faults / (count * calls["peer"]), 3)


def undisturbed(contender, calls, tries=20, patience=0.25):
    """Seconds of a call, from a run in which the system gave the processor to nobody else, if
    there is one. In one of a second there always is somebody else: `patience` is in seconds."""
    best = float("inf")
    until = time.monotonic() + patience
    for _ in range(tries):
        if calls > 1:
            contender.seconds(calls // 8 + 1)  # caches; threads of the one before fall asleep
        before = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        best = min(best, contender.seconds(calls) / calls)
        if resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw == before or time.monotonic() > until:
            break
    return best


def number_of_calls(contender, seconds=1e-3):
    calls = 1
    while (taken := contender.seconds(calls)) < seconds / 2:
        calls = max(2 * calls, int(calls * seconds / max(taken, 1e-7) / 4))
    return max(1, round(calls * seconds / taken))


class Lock:
    """Alone on the machine, as far as others take the same lock; let go every 45 s, for them."""

    def __init__(self, path):
        self.file, self.since = path and open(path, "a"), None

    def take(self):
        if not self.file:
            return
        if self.since and time.monotonic() - self.since > 45:
            fcntl.flock(self.file, fcntl.LOCK_UN)
            self.since = None
            time.sleep(1)
        if not self.since:
            fcntl.flock(self.file, fcntl.LOCK_EX)
            self.since = time.monotonic()


if __name__ == "__main__":
    sys.exit(main())
