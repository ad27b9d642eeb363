"""How each work is run: in processes of its own, one library after the other, round by round.

Owns the order. In a round of a work every library has its turn, so that whatever else the machine does
hits all of them alike, and a ratio within a round means something. A first, shorter round warms up caches
and does not count; what a library can't do, it says there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from tests.benchmarks import measures
from tests.benchmarks.peers import FOLDER, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.benchmarks.measures import Figures
    from tests.benchmarks.peers import Peer

    Settings = dict[str, Any]

PINNED = ["taskset", "-c", "0"]
#: Seconds for one process to measure what it should.
LIMIT = 300
FULL: Settings = {
    "rounds": 5,
    "calls": 1000,
    "in flight": 5000,
    "messages": 20000,
    "large": 64 << 20,
    "starts": 3,
    "modules": 60,
    "children": 200,
    "idle": 2,
    "delay": 0.05,
}
QUICK: Settings = dict(
    FULL, rounds=2, calls=300, messages=4000, large=16 << 20, starts=2, children=20, idle=0.5
)
QUICK["in flight"] = 1000
#: For the round that does not count.
WARM_UP: Settings = dict(QUICK, calls=100, starts=1, children=4, modules=4, delay=0, large=1 << 20)
#: Contexts of simulated trees, for the chart of routes.
TREES = (1000, 10_000, 100_000)
#: Contexts started at once, for the charts, besides those of `children`.
NUMBERS = (1, 50, 100)


def environment() -> dict[str, str]:
    """Return the environment of all that is run."""
    # Byte code is cached as in any installation, but not in the source tree; whatever else the
    # caller's environment asks of Python would be measured too.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return dict(kept, PYTHONPYCACHEPREFIX=str(FOLDER / "pycache"))


def run(argv: list[str]) -> bytes:
    """Run a command to its end, at the top of the workspace, and return its output."""
    return subprocess.check_output(
        argv, stdin=subprocess.DEVNULL, env=environment(), cwd=ROOT, timeout=LIMIT
    )


def drive(peer: Peer, work: str, settings: Settings, *prefix: str) -> dict[str, float]:
    """Have the driver do one work, and return what it found."""
    argv = [*prefix, peer.python, "-m", "tests.benchmarks.driver", peer.use, work, json.dumps(settings)]
    found: dict[str, float] = json.loads(run(argv))
    return found


def timed_run(argv: list[str]) -> float:
    """Return the milliseconds that a command takes."""
    begin = time.perf_counter()
    run(argv)
    return (time.perf_counter() - begin) * 1e3


def call(peer: Peer, settings: Settings) -> dict[str, float]:
    """Free, and pinned to one processor."""
    free = drive(peer, "call", settings)
    found = {"call": free["call"], "call: switches": free["switches"]}
    if shutil.which(PINNED[0]):
        pinned = drive(peer, "call", settings, *PINNED)
        found.update({"call: pinned": pinned["call"], "call: switches, pinned": pinned["switches"]})
    return found


def system_calls(peer: Peer, settings: Settings) -> dict[str, float]:
    """Those of many calls, less those of fewer."""
    if not shutil.which("strace"):
        return {}
    totals = []
    report = FOLDER / "strace"
    for count in (100, 100 + settings["calls"]):
        prefix = ["strace", "-f", "-c", "-o", str(report)]
        drive(peer, "exactly", dict(settings, calls=count), *prefix)
        totals.append(strace_total(report.read_text()))
        report.unlink()
    # What is called is one itself.
    return {"system-calls": (totals[1] - totals[0]) / settings["calls"] - 1}


def strace_total(report: str) -> int:
    """Return the number of system calls in the summary of `strace -c`."""
    lines = report.splitlines()
    # Columns may be empty, and are known by where they end.
    end = lines[0].find(" calls ") + len(" calls") if lines else 0
    total = [line[:end].split()[-1] for line in lines if line.endswith(" total")]
    if not total or not total[0].isdigit():
        raise ValueError("not a summary of strace -c: %.100r" % report)
    return int(total[0])


def program(peer: Peer, settings: Settings) -> dict[str, float]:
    """From its start to its end."""
    return {"program": timed_run([peer.python, "-c", peer.program])}


def ssh(peer: Peer, settings: Settings) -> dict[str, float]:
    """With what the connection alone takes."""
    if not settings.get("config"):
        return {}
    found = drive(peer, "ssh", settings)
    if peer.name == "raw":
        found["ssh: true"] = timed_run(["ssh", "-F", settings["config"], "near", "true"])
    return found


def link(peer: Peer, settings: Settings) -> dict[str, float]:
    """Over a line with delay."""
    return drive(peer, "link", settings) if settings.get("config") and settings["delay"] else {}


def growth(peer: Peer, settings: Settings) -> dict[str, float]:
    """For each number of children."""
    found = {}
    for count in NUMBERS:
        if count < settings["children"]:
            found.update(drive(peer, "growth", dict(settings, children=count)))
    return found


def routes(peer: Peer, settings: Settings) -> dict[str, float]:
    """The tables of whole trees, in the simulator of the tests; this library's only."""
    if peer.name != measures.OURS:
        return {}
    code = "from tests.properties import simulator; print(simulator.measure(%d, 10).memory)"
    return {
        "routes %d" % count: int(run([peer.python, "-c", code % count])) / (1 << 20) for count in TREES
    }


#: Works that are more than a run of the driver.
SPECIAL: dict[str, Callable[[Peer, Settings], dict[str, float]]] = {
    "call": call,
    "system-calls": system_calls,
    "program": program,
    "ssh": ssh,
    "link": link,
    "growth": growth,
    "routes": routes,
}
#: For the charts, which show how cost grows, by what no number of the table depends on.
CHARTED = {"depth": 3, "sizes": 3, "growth": 2, "routes": 3}
#: Their figures are counts, which repeat; each takes long.
COUNTED = {"system-calls": 2, "link": 2}
#: All works by name, in the order of the table.
NAMES = [*dict.fromkeys(measure.work for measure in measures.MEASURES), *CHARTED]


def rounds_of(work: str, settings: Settings) -> int:
    """Return how many rounds a work has."""
    return min(int(settings["rounds"]), {**CHARTED, **COUNTED}.get(work, 1000))


def measure(work: str, peers: list[Peer], settings: Settings) -> Figures:
    """Do one work with all libraries in turn, round by round."""
    figures: Figures = {}
    # Where a run would be as long as any, and warm up no more than the others' did.
    warms_up = work not in ("link", "system-calls", "routes")
    taking_part = list(peers)
    for number in range(-warms_up, rounds_of(work, settings)):
        print("%s: %s" % (work, "round %d" % (number + 1) if number >= 0 else "warm-up"), file=sys.stderr)
        for peer in list(taking_part):
            now = settings if number >= 0 else {**settings, **WARM_UP}
            try:
                found = SPECIAL[work](peer, now) if work in SPECIAL else drive(peer, work, now)
            except subprocess.SubprocessError as e:
                # The others' figures are not lost with it.
                print("%s: %s failed: %s" % (work, peer.name, e), file=sys.stderr)
                found = {}
            if not found:
                taking_part.remove(peer)
            elif number >= 0:
                for name, value in found.items():
                    figures.setdefault(name, {}).setdefault(peer.name, []).append(value)
    return figures
