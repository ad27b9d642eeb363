"""Compares this library with others: ``python -m tests.benchmarks [--quick] [--json]``, or `make bench`.

Owns the order of the runs and the table. Each round runs every library once, one after the other, in a
process of its own (`tests.benchmarks.driver`), so that whatever else the machine does hits all of
them alike; what is reported are medians over the rounds, and ratios within a round. Free figures
depend on where the scheduler puts the processes; pinned to one processor they repeat within some
per cent, so decide by those.

Nothing is left: a run that leaves a process behind says so, kills it and fails.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests import leaks
from tests.benchmarks.peers import FOLDER, peers

if TYPE_CHECKING:
    from tests.benchmarks.peers import Peer

    #: Figures by measure and peer, a value a round.
    Figures = dict[str, dict[str, list[float]]]

DRIVER = Path(__file__).with_name("driver.py")
PINNED = ["taskset", "-c", "0"]
#: Seconds for one process to measure what it should.
LIMIT = 120


class Measure(NamedTuple):
    """What is measured, and how it is shown."""

    title: str
    unit: str
    #: From seconds to what is shown.
    scale: float = 0
    #: A rate: shown as one over the time.
    rate: bool = False

    def shown(self, seconds: float) -> float:
        """Return the figure as it is shown."""
        return 1 / seconds if self.rate else seconds * self.scale


MEASURES = {
    "call pinned": Measure("call and answer, pinned to one processor", "us", 1e6),
    "call": Measure("call and answer, free", "us", 1e6),
    "pipelined pinned": Measure("calls in flight together, pinned", "calls/s", rate=True),
    "pipelined": Measure("calls in flight together, free", "calls/s", rate=True),
    "start": Measure("start of a local context, up to its first answer", "ms", 1e3),
    "import": Measure("import of 60 modules, 12,000 lines, that the parent has imported", "ms", 1e3),
    "cold import": Measure("the same, of which the parent has imported none", "ms", 1e3),
    "program": Measure("whole program: import, start, one call, end", "ms", 1e3),
}


def environment(peer: Peer) -> dict[str, str]:
    """Return the environment of everything that is run for `peer`."""
    # Byte code is cached as in any installation, but not in the source tree; whatever else the
    # caller's environment asks of Python would be measured too.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    if peer.python == sys.executable and "PYTHONPATH" in os.environ:
        kept["PYTHONPATH"] = os.environ["PYTHONPATH"]
    return dict(kept, PYTHONPYCACHEPREFIX=str(FOLDER / "pycache"))


def drive(peer: Peer, settings: dict[str, int], prefix: list[str]) -> dict[str, float]:
    """Run the driver for `peer` once and return its figures."""
    argv = [*prefix, peer.python, str(DRIVER), peer.name, json.dumps(settings)]
    found: dict[str, float] = json.loads(run(argv, peer))
    return found


def run_program(peer: Peer) -> float:
    """Return the seconds that the whole program of `peer` takes."""
    begin = time.perf_counter()
    run([peer.python, "-c", peer.program or ""], peer)
    return time.perf_counter() - begin


def run(argv: list[str], peer: Peer) -> bytes:
    """Run a command to its end, and return its output."""
    env = environment(peer)
    return subprocess.check_output(argv, stdin=subprocess.DEVNULL, env=env, timeout=LIMIT)


def run_rounds(compared: list[Peer], rounds: int, settings: dict[str, int]) -> Figures:
    """Measure all `compared` in turn, `rounds` times."""
    figures: Figures = {name: {} for name in MEASURES}

    def note(measure: str, peer: Peer, value: float) -> None:
        figures[measure].setdefault(peer.name, []).append(value)

    for peer in compared:
        # So that the first round finds byte code and files in memory like any other.
        drive(peer, {}, [])
        run_program(peer)
    with_calls = {name: settings[name] for name in ("calls", "in_flight")}
    for number in range(rounds):
        print("round %d of %d ..." % (number + 1, rounds), file=sys.stderr)
        for peer in compared:
            for name, value in drive(peer, settings, []).items():
                note(name, peer, value)
        for peer in compared if shutil.which(PINNED[0]) else ():
            for name, value in drive(peer, with_calls, PINNED).items():
                note(name + " pinned", peer, value)
        for peer in compared:
            if peer.program:
                note("program", peer, run_program(peer))
    return figures


def count_system_calls(peer: Peer, calls: int) -> float | None:
    """Return the system calls that one call takes in both processes; None without strace."""
    if not shutil.which("strace"):
        return None
    totals = []
    for count in (calls, 3 * calls):
        report = FOLDER / ("strace.%s" % peer.name)
        drive(peer, {"exactly": count}, ["strace", "-f", "-c", "-o", str(report)])
        total = re.search(r"(\d+)\s+(?:\d+\s+)?total$", report.read_text(), re.M)
        report.unlink()
        totals.append(int(total[1]) if total else 0)
    return (totals[1] - totals[0]) / (2 * calls)


def print_table(compared: list[Peer], figures: Figures) -> None:
    """Print medians, their spread, and how much slower than this library the others are."""
    for name, measure in MEASURES.items():
        found = figures[name]
        if not found:
            continue
        print(
            "\n%-48s %12s   %-19s %s"
            % (measure.title, measure.unit, "spread", "slower than this library")
        )
        ours = found[compared[0].name]
        for peer in compared:
            if peer.name not in found:
                continue
            shown = sorted(map(measure.shown, found[peer.name]))
            spread = "%s .. %s" % (number(shown[0]), number(shown[-1]))
            line = "  %-46s %12s   %-19s" % (peer.title, number(statistics.median(shown)), spread)
            if peer is not compared[0]:
                ratios = sorted(theirs / our for theirs, our in zip(found[peer.name], ours))
                line += " %5.2f x  (%.2f .. %.2f)" % (statistics.median(ratios), ratios[0], ratios[-1])
            print(line)


def number(value: float) -> str:
    """Return three digits or more."""
    return "%.1f" % value if value < 100 else format(round(value), ",")


def main() -> int:
    """Read the command line, measure, print; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="fewer calls and rounds: a first impression")
    parser.add_argument("--rounds", type=int, help="rounds (default: 7, or 3 with --quick)")
    parser.add_argument("--json", action="store_true", help="print all figures, in seconds, as JSON")
    parser.add_argument(
        "--only", action="append", metavar="PEER", help="compare with this peer; repeatable"
    )
    options = parser.parse_args()
    rounds = options.rounds or (3 if options.quick else 7)
    settings = {"starts": 5, "calls": 2000, "in_flight": 5000, "modules": 60}
    if options.quick:
        settings = {"starts": 3, "calls": 500, "in_flight": 1000, "modules": 60}

    leaks.mark_this_run()
    before = leaks.Resources()
    compared = [peer for peer in peers() if not options.only or peer.name in ("this", *options.only)]
    figures = run_rounds(compared, rounds, settings)
    system_calls = {peer.name: count_system_calls(peer, settings["calls"] // 4) for peer in compared}
    left = leaks.wait_for_none(before)

    if options.json:
        print(json.dumps({"settings": settings, "figures": figures, "system calls": system_calls}))
    else:
        interpreter = "%s %s" % (platform.python_implementation(), platform.python_version())
        print("%s, %d processors, medians of %d rounds" % (interpreter, os.cpu_count() or 1, rounds))
        print_table(compared, figures)
        print("\nsystem calls for one call, both processes together")
        for peer in compared:
            count = system_calls[peer.name]
            print("  %-46s %12s" % (peer.title, "no strace" if count is None else "%.1f" % count))
    for line in left:
        print("left behind: %s" % line, file=sys.stderr)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
