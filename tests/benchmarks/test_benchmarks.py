"""What the benchmarks make of figures; nothing is measured here."""

from __future__ import annotations

import argparse
import xml.etree.ElementTree
from pathlib import Path

import pytest

from tests.benchmarks import __main__ as command
from tests.benchmarks import charts, machine, measures, packages, peers, processes, runs, table, works
from tests.benchmarks.measures import Measure, Target

TITLES = {"this": "this library", "mitogen": "mitogen 0.3"}
FIGURES: measures.Figures = {
    "call": {"this": [20.0, 30.0, 40.0], "mitogen": [100.0, 120.0, 130.0]},
    "in-flight": {"this": [4000.0], "mitogen": [2000.0]},
    "idle": {"this": [0, 0], "mitogen": [0, 0]},
    "depth 10": {"this": [9.0, 8.0]},
    "depth 2": {"this": [2.0]},
}


@pytest.mark.parametrize(
    ("target", "more", "got", "met"),
    [
        (Target(0.33, "mitogen"), False, "0.25 x (0.2 .. 0.308)", True),
        (Target(0.2, "mitogen"), False, "0.25 x (0.2 .. 0.308)", False),
        (Target(0.2, "mitogen"), True, "0.25 x (0.2 .. 0.308)", True),
        (Target(1, "mitogen"), False, "0.25 x (0.2 .. 0.308)", True),
        (Target(-85, "mitogen", plus=True), False, "-90.0", True),
        (Target(-95, "mitogen", plus=True), False, "-90.0", False),
        (Target(30), False, "30", True),
        (Target(29.9), False, "30", False),
    ],
)
def test_targets_are_judged_by_medians(target: Target, more: bool, got: str, met: bool) -> None:
    verdict = target.judge(Measure("call", "", "us", more=more), FIGURES["call"])
    assert verdict is not None
    assert (verdict.got, verdict.met) == (got, met)


def test_what_was_not_measured_is_not_judged() -> None:
    measure = Measure("call", "", "us")
    assert Target(1, "execnet").judge(measure, FIGURES["call"]) is None
    assert Target(1, "mitogen").judge(measure, FIGURES["idle"]) is None, "there is no ratio to nothing"
    assert Target(1).judge(measure, {}) is None


def test_the_table_shows_medians_spread_ratios_and_targets() -> None:
    text = "\n".join(table.lines(FIGURES, TITLES))
    assert "this library" in text
    assert "20 .. 40" in text
    assert "0.25 x  (0.2 .. 0.308)" in text
    assert "at most 0.33 x mitogen's: 0.25 x (0.2 .. 0.308), met" in text
    assert "at least 4 x mitogen's: 2 x (2 .. 2), MISSED" in text
    assert text.endswith("2 of 3 targets met")


def test_the_table_of_the_documentation_has_a_cell_for_each_library() -> None:
    rows = table.document(FIGURES, TITLES).partition("   * - ")[2].split("\n   * - ")
    assert [row.count("\n     -") for row in rows] == [3, 3, 3, 3]
    assert "- 30 (20 .. 40)\n" in rows[1]
    assert "**missed**" in rows[2]


def test_numbers_have_three_digits() -> None:
    assert [measures.number(x) for x in (0, 0.12345, 12.345, 999, 1234.5)] == [
        "0",
        "0.123",
        "12.3",
        "999",
        "1,234",
    ]


def test_system_calls_are_read_from_the_summary_of_strace() -> None:
    head = "% time     seconds  usecs/call     calls    errors syscall\n"
    for line in (
        "100.00    0.013482           9      1426        21 total\n",
        "100.00    0.013482           9      1426           total\n",
        "100.00    0.013482                  1426           total\n",
    ):
        assert runs.strace_total(head + line) == 1426
    with pytest.raises(ValueError, match="not a summary"):
        runs.strace_total("strace: not total")


def test_every_measure_belongs_to_a_work_and_every_work_to_a_measure_or_chart() -> None:
    assert set(runs.NAMES) - {"system-calls", "program", "routes"} == set(works.WORKS) - {"exactly"}
    assert {*runs.SPECIAL, *runs.COUNTED} <= set(runs.NAMES)


def test_works_are_selected_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    found: argparse.Namespace = command.options(["call", "fork", "--quick", "--only", "raw"])
    assert (found.works, found.quick, found.only) == (["call", "fork"], True, ["raw"])
    with pytest.raises(SystemExit):
        command.options(["cal"])
    assert "no work is called cal: there are call, system-calls" in capsys.readouterr().err


def test_a_failed_run_costs_one_library_not_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(peer: peers.Peer, settings: runs.Settings) -> dict[str, float]:
        if peer.name == "rpyc":
            runs.run(["false"])
        return {"call": float(settings["calls"])} if peer.name != "execnet" else {}

    monkeypatch.setitem(runs.SPECIAL, "call", work)
    found = runs.measure("call", peers.PEERS, runs.FULL)
    assert found == {"call": {name: [1000.0] * 5 for name in ("this", "mitogen", "raw")}}


def test_charts_have_their_points_in_order() -> None:
    assert charts.series(FIGURES, "depth") == {"this": [(2, [2.0]), (10, [9.0, 8.0])]}
    assert charts.series(FIGURES, "call") == {}


def test_the_documentation_shows_the_charts_that_were_drawn() -> None:
    docs = peers.ROOT / "docs"
    drawn = [chart for chart in charts.CHARTS if (docs / "speed" / ("%s.svg" % chart.word)).exists()]
    assert (docs / "speed" / "charts.inc").read_text("utf-8") == charts.document(drawn)
    for chart in drawn:
        path = docs / "speed" / ("%s.svg" % chart.word)
        assert xml.etree.ElementTree.parse(path).getroot().tag.endswith("svg")
        assert path.stat().st_size < 50_000


def test_fields_are_found_in_what_the_system_says() -> None:
    assert processes.field("Name: x\nVmHWM:\t  1234 kB\n", "VmHWM") == 1234
    assert processes.field("Pss_Anon: 1 kB\nPss:  7 kB\n", "Pss") == 7
    assert machine.field("a : 1\nmodel name\t: Some: thing\n", "model name") == "Some: thing"
    assert machine.Load().others() >= 0


def test_the_written_package_has_modules_that_import_each_other() -> None:
    with packages.written(["bench_tested"], 4, functions=1) as load:
        folder = Path(load.__code__.co_filename).parent
        assert len(list(folder.glob("bench_tested/*.py"))) == 4
        text = (folder / "bench_tested" / "m1.py").read_text()
        assert text.startswith("from bench_tested import m3\n")
    assert not folder.exists()
