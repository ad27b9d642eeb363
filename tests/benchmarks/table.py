"""The table, as text for a terminal and as reStructuredText for the documentation."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from tests.benchmarks.measures import MEASURES, OURS, number, paired

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.benchmarks.measures import Figures, Measure, Verdict


def lines(figures: Figures, titles: dict[str, str]) -> Iterator[str]:
    """Yield the lines of the table: medians, their spread, ratios, and what became of the targets.

    :param titles: those of the libraries, by name, in their order.
    """
    for measure in MEASURES:
        found = figures.get(measure.name)
        if not found:
            continue
        yield ""
        yield "%-58s %-12s %s" % (measure.title, measure.unit, "spread, and this library's ratio to it")
        for name, title in titles.items():
            if name in found:
                yield _line(title, name, found)
        for verdict in measure.verdicts(figures):
            yield "    " + str(verdict)
    yield ""
    yield summary(figures)


def _line(title: str, name: str, found: dict[str, list[float]]) -> str:
    values = found[name]
    spread = "%s .. %s" % (number(min(values)), number(max(values)))
    line = "  %-46s %12s   %-19s" % (title, number(statistics.median(values)), spread)
    if name != OURS and OURS in found:
        ratios = paired(found[OURS], values) or [1.0]
        line += " %s x  (%s .. %s)" % tuple(
            map(number, (statistics.median(ratios), min(ratios), max(ratios)))
        )
    return line.rstrip()


def judged(figures: Figures) -> list[tuple[Measure, Verdict]]:
    """Return what became of all targets."""
    return [(measure, verdict) for measure in MEASURES for verdict in measure.verdicts(figures)]


def summary(figures: Figures) -> str:
    """Return how many targets are met."""
    verdicts = [verdict for _, verdict in judged(figures)]
    return "%d of %d targets met" % (sum(verdict.met for verdict in verdicts), len(verdicts))


def document(figures: Figures, titles: dict[str, str]) -> str:
    """Return the table as a part of a page."""
    text = [".. Made by `make bench`.", "", summary(figures) + ".", ""]
    text += [".. list-table::", "   :header-rows: 1", "   :widths: auto", ""]
    text += _row(["work", *titles.values(), "target"])
    for measure in MEASURES:
        found = figures.get(measure.name)
        if not found:
            continue
        unit = ", %s" % measure.unit if measure.unit else ""
        cells = [measure.title + unit, *(_cell(found.get(name)) for name in titles)]
        verdicts = [
            "%s: %s, %s" % (verdict.wanted, verdict.got, "met" if verdict.met else "**missed**")
            for verdict in measure.verdicts(figures)
        ]
        text += _row([*cells, "; ".join(verdicts)])
    return "\n".join(text) + "\n"


def _cell(values: list[float] | None) -> str:
    if not values:
        return ""
    low, median, high = map(number, (min(values), statistics.median(values), max(values)))
    return median if low == high else "%s (%s .. %s)" % (median, low, high)


def _row(cells: list[str]) -> list[str]:
    return [("   %s - %s" % ("*" if i == 0 else " ", cell)).rstrip() for i, cell in enumerate(cells)]
