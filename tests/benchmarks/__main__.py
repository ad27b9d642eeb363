"""Compares this library with others: ``python -m tests.benchmarks [--quick] [WORK ...]``, `make bench`.

Owns the command line, and what is kept. A run of all works against all libraries that is not `--quick`
writes the table and the charts of the documentation (`docs/speed`).

Nothing is left: a run that leaves a process behind says so, kills it and fails.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import Any

from tests import leaks
from tests.benchmarks import charts, machine, peers, runs, server, table
from tests.benchmarks.measures import OURS, Figures

KEPT = peers.FOLDER / "figures.json"
DOCS = peers.ROOT / "docs" / "speed"


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "works", nargs="*", metavar="WORK", help="by default all: " + ", ".join(runs.NAMES)
    )
    parser.add_argument("--quick", action="store_true", help="smaller works and two rounds")
    parser.add_argument("--rounds", type=int, help="rounds of each work (default: 5, or 2 with --quick)")
    parser.add_argument("--only", action="append", metavar="LIBRARY", help="this one besides; repeatable")
    parser.add_argument("--write", action="store_true", help="write the docs from what was kept last")
    found = parser.parse_args(arguments)
    names = [peer.name for peer in peers.PEERS]
    for what, given, known in (("work", found.works, runs.NAMES), ("library", found.only or [], names)):
        for name in given:
            if name not in known:
                parser.error("no %s is called %s: there are %s" % (what, name, ", ".join(known)))
    return found


def measure(found: argparse.Namespace) -> dict[str, Any]:
    """Do all works that were asked for."""
    settings = dict(runs.QUICK if found.quick else runs.FULL)
    settings["rounds"] = found.rounds or settings["rounds"]
    settings["python"] = peers.python("bare")
    compared = [peer for peer in peers.PEERS if not found.only or peer.name in (OURS, *found.only)]
    peers.prepare(compared)
    figures: Figures = {}
    load, begin = machine.Load(), time.monotonic()
    with server.serving(settings["delay"]) as config:
        settings["config"] = config
        for work in found.works or runs.NAMES:
            begun = time.monotonic()
            for name, values in runs.measure(work, compared, settings).items():
                figures.setdefault(name, {}).update(values)
            print("%s: %d s" % (work, time.monotonic() - begun), file=sys.stderr)
            (peers.FOLDER / "so-far.json").write_text(json.dumps(figures))
    return {
        "machine": machine.described(),
        "load": load.in_words(),
        "day": time.strftime("%Y-%m-%d"),
        "minutes": (time.monotonic() - begin) / 60,
        "rounds": settings["rounds"],
        "titles": {
            peer.name: "this library"
            if peer.name == OURS
            else "raw: the limit"
            if peer.name == "raw"
            else peer.title
            for peer in compared
        },
        "figures": figures,
    }


def write(kept: dict[str, Any]) -> None:
    """Write what the documentation includes."""
    DOCS.mkdir(exist_ok=True)
    (DOCS / "table.inc").write_text(table.document(kept["figures"], kept["titles"]), "utf-8")
    text = (
        "%s. Measured on %s in %d minutes; medians of %d rounds, and the least and the most of them. %s\n"
    )
    words = (kept["machine"], kept["day"], round(kept["minutes"]), kept["rounds"], kept["load"])
    (DOCS / "machine.inc").write_text(text % words, "utf-8")
    python = peers.environment("charts", peers.DRAWING)
    subprocess.run(
        [python, "-m", "tests.benchmarks.charts", str(KEPT), str(DOCS)], cwd=peers.ROOT, check=True
    )
    drawn = [chart for chart in charts.CHARTS if charts.series(kept["figures"], chart.word)]
    (DOCS / "charts.inc").write_text(charts.document(drawn), "utf-8")


def main() -> int:
    """Measure, print, write; return the exit status."""
    found = options()
    if found.write:
        write(json.loads(KEPT.read_text()))
        return 0
    leaks.mark_this_run()
    before = leaks.Resources()
    kept = measure(found)
    left = leaks.wait_for_none(before)
    print("%s\n%s" % (kept["machine"], kept["load"]))
    print("\n".join(table.lines(kept["figures"], kept["titles"])))
    if not (found.works or found.quick or found.only or found.rounds):
        KEPT.write_text(json.dumps(kept))
        write(kept)
        print("written: %s" % DOCS)
    for line in left:
        print("left behind: %s" % line, file=sys.stderr)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
