"""What is measured, in the order of the table: units, and what is to be reached.

A target is met or missed by medians: those of the ratios within each round, where it names another
library.
"""

from __future__ import annotations

import statistics
from typing import NamedTuple

#: Figures by measure and library, a value a round.
Figures = dict[str, dict[str, list[float]]]

OURS = "this"


class Verdict(NamedTuple):
    """What became of a target."""

    wanted: str
    got: str
    met: bool

    def __str__(self) -> str:
        return "%s: %s, %s" % (self.wanted, self.got, "met" if self.met else "MISSED")


class Target(NamedTuple):
    """What is to be reached: a share of what another library has, a difference to it, or a figure."""

    limit: float
    #: The library; without one, `limit` is in the measure's unit.
    of: str | None = None
    #: `limit` is a difference in the measure's unit, not a factor.
    plus: bool = False

    def judge(self, measure: Measure, found: dict[str, list[float]]) -> Verdict | None:
        """Compare; None if one side was not measured."""
        ours = found.get(OURS)
        theirs = found.get(self.of or OURS)
        if not ours or not theirs:
            return None
        bound = "at least" if measure.more else "at most"
        if self.of is None:
            value = statistics.median(ours)
            wanted = ("%s %s %s" % (bound, number(self.limit), measure.unit)).strip()
            got = number(value)
        elif self.plus:
            value = statistics.median(a - b for a, b in zip(ours, theirs))
            wanted = "%s that of %s + %s %s" % (bound, self.of, number(self.limit), measure.unit)
            got = "%+.1f" % value
        else:
            ratios = paired(ours, theirs)
            if not ratios:
                return None
            value = statistics.median(ratios)
            name = "mitogen's" if self.of == "mitogen" else "that of %s" % self.of
            if self.limit == 1:
                wanted = "%s %s" % ("above" if measure.more else "below", name)
            else:
                wanted = "%s %s x %s" % (bound, number(self.limit), name)
            got = "%s x (%s .. %s)" % tuple(map(number, (value, min(ratios), max(ratios))))
        met = value >= self.limit if measure.more else value <= self.limit
        return Verdict(wanted, got, met)


class Measure(NamedTuple):
    """One row of the table."""

    name: str
    title: str
    unit: str
    targets: tuple[Target, ...] = ()
    #: More is better.
    more: bool = False

    @property
    def work(self) -> str:
        """The work that finds it, as it is selected."""
        return self.name.partition(":")[0]

    def verdicts(self, figures: Figures) -> list[Verdict]:
        """Return what became of all targets that can be judged."""
        found = figures.get(self.name, {})
        return [verdict for target in self.targets if (verdict := target.judge(self, found))]


def paired(ours: list[float], theirs: list[float]) -> list[float]:
    """Return the ratios within each round; rounds in which they had nothing don't count."""
    return [a / b for a, b in zip(ours, theirs) if b]


def number(value: float) -> str:
    """Return about three digits; no more behind the point than needed."""
    if abs(value) >= 1000:
        return format(round(value), ",")
    return "%.3g" % value


def _faster(factor: float, *others: str) -> tuple[Target, ...]:
    return (Target(factor, "mitogen"), *(Target(1, other) for other in others))


_PEAK = (Target(2.2),)
#: Of 64 MiB that pass in messages; more means that a queue grows.
_STEADY = (Target(4),)

MEASURES = [
    Measure(
        "call: pinned", "call and answer, pinned to one processor", "us", _faster(0.33, "execnet", "rpyc")
    ),
    Measure("call", "call and answer, free", "us", _faster(0.33, "execnet", "rpyc")),
    Measure("call: switches, pinned", "threads that go to sleep for a call, both processes, pinned", ""),
    Measure("call: switches", "the same, free", ""),
    Measure("system-calls", "system calls for a call, both processes", "", (Target(10),)),
    Measure("in-flight", "calls in flight together", "calls/s", _faster(4, "execnet"), more=True),
    Measure(
        "small-messages", "small messages, child to parent", "msgs/s", _faster(4, "execnet"), more=True
    ),
    Measure("argument", "64 MiB as one argument", "MiB/s", _faster(5, "execnet"), more=True),
    Measure("argument: peak, parent", "its peak memory in the parent", "payloads", _PEAK),
    Measure("argument: peak, child", "its peak memory in the child", "payloads", _PEAK),
    Measure("result", "64 MiB as one result", "MiB/s", _faster(1.6, "execnet"), more=True),
    Measure("result: peak, parent", "its peak memory in the parent", "payloads", _PEAK),
    Measure("result: peak, child", "its peak memory in the child", "payloads", _PEAK),
    Measure(
        "64k-messages",
        "1,024 messages of 64 KiB, child to parent",
        "MiB/s",
        _faster(4, "execnet"),
        more=True,
    ),
    Measure("64k-messages: growth, parent", "growth of the parent by them", "MiB", _STEADY),
    Measure("64k-messages: growth, child", "growth of the child by them", "MiB", _STEADY),
    Measure("local", "local child, to its first answer", "ms", _faster(0.32, "execnet")),
    Measure("fork", "fork, to its first answer", "ms", _faster(0.5)),
    Measure("ssh", "ssh to this machine, to the first answer", "ms", (Target(15, "raw", plus=True),)),
    Measure("ssh: true", "`ssh true` on this machine", "ms"),
    Measure(
        "link",
        "round trips to the first answer by ssh, 50 ms each way",
        "round trips",
        (Target(1.4, "raw", plus=True),),
    ),
    Measure("program", "whole program: import, start, one call, end", "ms", _faster(0.32)),
    Measure("import", "60 modules, 12,000 lines, that the parent has imported", "ms", _faster(0.4)),
    Measure("import: cold", "the same, of which the parent has imported none", "ms", _faster(0.4)),
    Measure("link: warm import", "round trips for the modules, imported", "round trips", (Target(1.4),)),
    Measure(
        "link: cold import", "round trips for the modules, not imported", "round trips", (Target(1.4),)
    ),
    Measure("deep", "call and answer, five contexts deep", "us", _faster(0.33)),
    Measure("deep: throughput", "32 MiB as one argument, five deep", "MiB/s", _faster(4), more=True),
    Measure("children", "200 local children at once, to all first answers", "s", _faster(0.35)),
    Measure("children: round", "one call of each of them, all together", "ms", _faster(0.35)),
    Measure("children: cpu", "processor time of the master for their start", "s", _faster(0.35)),
    Measure("children: pss", "memory of each of them (PSS)", "MiB", _faster(0.6)),
    Measure("children: master", "memory of the master with them (PSS)", "MiB"),
    Measure("idle", "wake-ups of an idle child in 2 s", "", (Target(0),)),
    Measure("idle: threads", "its threads", "", (Target(2),)),
    Measure("idle: pss", "its memory (PSS)", "MiB", _faster(0.6)),
]
