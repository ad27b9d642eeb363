"""Draws the charts of the documentation: ``charts.py FIGURES FOLDER``, with matplotlib.

Run as a module by the one environment that has it. `FIGURES` is what `tests.benchmarks.__main__` kept.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tests.benchmarks.measures import Figures


class Chart(NamedTuple):
    """One chart: measures whose names are a word and a number."""

    word: str
    x: str
    y: str
    #: What the documentation says below it.
    caption: str
    #: Scales of both axes.
    scales: tuple[str, str] = ("linear", "linear")
    factor: float = 1


CHARTS = [
    Chart(
        "depth",
        "contexts below each other",
        "call and answer, ms",
        "A call, by the number of contexts on the way.",
        factor=1e-3,
    ),
    Chart(
        "number",
        "contexts started at once",
        "until all have answered, s",
        "The start of local children, by how many are started at once.",
    ),
    Chart(
        "memory", "contexts", "memory of the master (PSS), MiB", "What the master needs for its contexts."
    ),
    Chart(
        "size",
        "bytes of each message",
        "child to parent, MiB/s",
        "Messages from a child to its parent, by their size.",
        ("log", "log"),
    ),
    Chart(
        "routes",
        "contexts in the tree",
        "memory of all routing tables, MiB",
        "All routing tables of trees in which each context has ten children, together, in one process.",
        ("log", "log"),
    ),
]


def document(drawn: list[Chart]) -> str:
    """Return the part of a page that shows charts; paths are from that page."""
    figure = ".. figure:: speed/%s.svg\n   :alt: %s\n\n   %s\n"
    text = [figure % (chart.word, "%s, by %s" % (chart.y, chart.x), chart.caption) for chart in drawn]
    return "\n".join([".. Made by `make bench`.\n", *text])


def series(figures: Figures, word: str) -> dict[str, list[tuple[int, list[float]]]]:
    """Return the points of each library, in order: what it is measured at, and its values."""
    found: dict[str, list[tuple[int, list[float]]]] = {}
    for name, values in figures.items():
        first, _, number = name.partition(" ")
        if first == word and number.isdigit():
            for peer, rounds in values.items():
                found.setdefault(peer, []).append((int(number), rounds))
    return {peer: sorted(points) for peer, points in found.items()}


def draw(chart: Chart, figures: Figures, titles: dict[str, str], path: Path) -> None:
    """Write one chart: a line for the medians, an area for the spread."""
    from matplotlib import pyplot  # type: ignore[import-not-found,unused-ignore]

    figure, axes = pyplot.subplots(figsize=(6, 3.4), layout="constrained")
    found = series(figures, chart.word)
    for peer, title in titles.items():
        if peer not in found:
            continue
        x = [point for point, _ in found[peer]]
        rounds: list[Any] = [[chart.factor * value for value in values] for _, values in found[peer]]
        (line,) = axes.plot(x, [statistics.median(values) for values in rounds], marker=".", label=title)
        axes.fill_between(
            x,
            list(map(min, rounds)),
            list(map(max, rounds)),
            color=line.get_color(),
            alpha=0.2,
            linewidth=0,
        )
    axes.set(xlabel=chart.x, ylabel=chart.y, xscale=chart.scales[0], yscale=chart.scales[1])
    if chart.scales[1] == "linear":
        axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    axes.minorticks_off()
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    path.write_text(smaller(path.read_text("utf-8")), "utf-8")


def smaller(svg: str) -> str:
    """Return a drawing without comments, and with coordinates to a tenth of a point."""
    svg = re.sub(r"<!--.*?-->\s*|<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(
        r"\d+\.\d{2,}",
        lambda found: "%.4g" % float(found[0]) if float(found[0]) < 1 else "%.1f" % float(found[0]),
        svg,
    )
    return re.sub(r"\n\s*", "\n", svg)


def main(source: str, folder: str) -> None:
    """Draw all."""
    import matplotlib

    matplotlib.use("svg")
    # The same figures give the same file; text stays text, which is small.
    matplotlib.rcParams.update({"svg.hashsalt": "speed", "svg.fonttype": "none", "font.size": 9})
    kept = json.loads(Path(source).read_text())
    for chart in CHARTS:
        if series(kept["figures"], chart.word):
            draw(chart, kept["figures"], kept["titles"], Path(folder, "%s.svg" % chart.word))


if __name__ == "__main__":
    main(*sys.argv[1:])
