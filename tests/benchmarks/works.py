"""The works: what is done with a library in one process, and what of it is measured.

Owns the loops around the clock, which are the same for every library. A work takes the library, by way of
a module ``use_NAME``, and settings; it returns figures in the units of `tests.benchmarks.measures`. Each
figure is the median of batches after a warm-up, where more than one fits into a process.

Every call runs `os.getpid`: what is measured is the way there and back.
"""

from __future__ import annotations

import importlib
import os
import resource
import statistics
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.benchmarks import packages, processes
from tests.benchmarks.processes import MIB

if TYPE_CHECKING:
    from collections.abc import Callable

    Figures = dict[str, float]

#: Messages of the work that is named after their size.
MESSAGE = 64 << 10
#: Seconds of a measurement that make another one needless: one library may take long for what another
#: does at once.
ENOUGH = 1.0


def timed(fn: Callable[..., object], *args: Any) -> float:
    """Return the seconds that one call of `fn` takes."""
    begin = time.perf_counter()
    fn(*args)
    return time.perf_counter() - begin


def median(count: int, fn: Callable[..., object], *args: Any) -> float:
    """Return the median of so many calls; of fewer, as soon as `ENOUGH` has passed."""
    times = [timed(fn, *args)]
    while len(times) < count and sum(times) < ENOUGH:
        times.append(timed(fn, *args))
    return statistics.median(times)


def opened(library: Any, start: Callable[..., Any], *args: Any) -> Any:
    """Start a context by `start`, and wait for its first answer."""
    context = start(*args)
    library.call(context)
    return context


def calls(library: Any, context: Any, count: int) -> None:
    """Make `count` calls, one after the other."""
    call = library.call
    for _ in range(count):
        call(context)


def round_trip(library: Any, context: Any, count: int) -> float:
    """Return the microseconds of one call."""
    batch = max(1, count // 10)
    calls(library, context, batch)
    return median(10, calls, library, context, batch) / batch * 1e6


def call(library: Any, settings: dict[str, Any]) -> Figures:
    """Call and answer."""
    context = opened(library, library.local)
    figures = {"call": round_trip(library, context, settings["calls"])}
    pids = [os.getpid(), library.call(context)]
    before = sum(map(processes.switches, pids))
    calls(library, context, 100)
    figures["switches"] = (sum(map(processes.switches, pids)) - before) / 100
    return figures


def exactly(library: Any, settings: dict[str, Any]) -> Figures:
    """So many calls, for one who counts from outside."""
    calls(library, opened(library, library.local), settings["calls"])
    return {}


def in_flight(library: Any, settings: dict[str, Any]) -> Figures:
    """Many calls at a time."""
    context = opened(library, library.local)
    count = settings["in flight"]
    library.in_flight([context], count // 5)
    return {"in-flight": count / median(3, library.in_flight, [context], count)}


def small(library: Any, settings: dict[str, Any]) -> Figures:
    """Numbers, from the child."""
    context = opened(library, library.local)
    count = settings["messages"]
    library.flood(context, count // 5, 0)
    return {"small-messages": count / median(3, library.flood, context, count, 0)}


def blocks(library: Any, settings: dict[str, Any]) -> Figures:
    """Messages of 64 KiB, from the child."""
    context = opened(library, library.local)
    pids = {"parent": os.getpid(), "child": library.call(context)}
    count = min(1024, getattr(library, "largest", 1 << 40) // MESSAGE)
    library.flood(context, count // 8, MESSAGE)
    before = {}
    for name, pid in pids.items():
        processes.forget_peak(pid)
        before[name] = processes.peak(pid)
    seconds = median(3, library.flood, context, count, MESSAGE)
    figures = {"64k-messages": count * MESSAGE / MIB / seconds}
    for name, pid in pids.items():
        figures["64k-messages: growth, " + name] = processes.peak(pid) - before[name]
    return figures


def argument(library: Any, settings: dict[str, Any]) -> Figures:
    """One large argument."""
    return _large(library, settings, "argument")


def result(library: Any, settings: dict[str, Any]) -> Figures:
    """One large result."""
    return _large(library, settings, "result")


def _large(library: Any, settings: dict[str, Any], kind: str) -> Figures:
    context = opened(library, library.local)
    pids = {"parent": os.getpid(), "child": library.call(context)}
    largest = getattr(library, "largest", settings["large"])
    size = min(settings["large"], largest)
    if kind == "argument":
        fn, what = library.size, b"x" * size
    else:
        fn, what = library.make, size
    for pid in pids.values():
        processes.forget_peak(pid)
    figures = {kind: size / MIB / median(3, fn, context, what)}
    if size == settings["large"]:
        for name, pid in pids.items():
            figures["%s: peak, %s" % (kind, name)] = processes.peak(pid) / (size / MIB)
    return figures


def local(library: Any, settings: dict[str, Any]) -> Figures:
    """Start of a child."""
    opened(library, library.local)
    return {"local": median(settings["starts"], opened, library, library.local) * 1e3}


def fork(library: Any, settings: dict[str, Any]) -> Figures:
    """Start of a fork."""
    opened(library, library.fork)
    return {"fork": median(settings["starts"], opened, library, library.fork) * 1e3}


def ssh(library: Any, settings: dict[str, Any]) -> Figures:
    """Start over a server on this machine."""
    config, python = settings["config"], settings["python"]
    opened(library, library.ssh, config, "near", python)
    times = median(settings["starts"], opened, library, library.ssh, config, "near", python)
    return {"ssh": times * 1e3}


def link(library: Any, settings: dict[str, Any]) -> Figures:
    """Round trips over a slow line: what a line with delay takes longer than one without, in delays."""
    config, python = settings["config"], settings["python"]
    # The least of some, since whatever else the machine does can only add to it.
    least: dict[tuple[str, str], float] = {}

    def note(name: str, host: str, fn: Callable[..., Any], *args: Any) -> None:
        least[name, host] = min(timed(fn, *args), least.get((name, host), 1e9))

    hosts, tries = ("line", "far"), range(3)
    for _ in tries:
        for host in hosts:
            note("link", host, opened, library, library.ssh, config, host, python)
    if hasattr(library, "fetch"):
        # Each time another one, since the parent keeps what it found out about a package. They are short,
        # for what counts is the line.
        names = ["%s_%s_%d" % (k, host, n) for k in ("cold", "warm") for host in hosts for n in tries]
        with packages.written(names, settings["modules"], functions=1) as load:
            contexts = {host: library.ssh(config, host, python) for host in hosts}
            for context in contexts.values():
                library.fetch(context, load, "")
            for name in names:
                kind, host, _ = name.split("_")
                if kind == "warm":
                    importlib.import_module(name)
                note("link: %s import" % kind, host, library.fetch, contexts[host], load, name)
    figures = {}
    for name in {name for name, _ in least}:
        trips = (least[name, "far"] - least[name, "line"]) / (2 * settings["delay"])
        # The call that imports is one, which is not counted.
        figures[name] = trips - (name != "link")
    return figures


def imports(library: Any, settings: dict[str, Any]) -> Figures:
    """A package that the child does not have; its parent has imported it, or just has it."""
    names = ["cold_one", "warm"]
    with packages.written(names, settings["modules"]) as load:
        context = opened(library, library.local)
        library.fetch(context, load, "")
        cold = timed(library.fetch, context, load, "cold_one")
        importlib.import_module("warm")
        times = []
        for _ in range(3):
            context = opened(library, library.local)
            library.fetch(context, load, "")
            times.append(timed(library.fetch, context, load, "warm"))
    return {"import: cold": cold * 1e3, "import": statistics.median(times) * 1e3}


def deep(library: Any, settings: dict[str, Any]) -> Figures:
    """Five contexts below each other."""
    context = chain(library, 5)
    figures = {"deep": round_trip(library, context, settings["calls"] // 2)}
    size = settings["large"] // 2
    figures["deep: throughput"] = size / MIB / median(3, library.size, context, b"x" * size)
    return figures


def chain(library: Any, depth: int) -> Any:
    """Return the last of a chain of contexts."""
    context = library.local()
    for _ in range(depth - 1):
        context = library.below(context)
    library.call(context)
    return context


def depth(library: Any, settings: dict[str, Any]) -> Figures:
    """What a call costs as the chain becomes longer."""
    figures = {}
    context = None
    for level in range(1, 11):
        context = library.below(context) if context else library.local()
        figures["depth %d" % level] = round_trip(library, context, settings["calls"] // 2)
    return figures


def sizes(library: Any, settings: dict[str, Any]) -> Figures:
    """Throughput from the child by the size of messages."""
    context = opened(library, library.local)
    figures = {}
    size = 64
    while size <= min(settings["large"], getattr(library, "largest", 1 << 40)):
        count = max(1, min(settings["messages"] // 4, settings["large"] // size))
        library.flood(context, max(1, count // 8), size)
        seconds = median(3, library.flood, context, count, size)
        figures["size %d" % size] = count * size / MIB / seconds
        size *= 4
    return figures


def children(library: Any, settings: dict[str, Any]) -> Figures:
    """Many children at once."""
    count = settings["children"]
    before = resource.getrusage(resource.RUSAGE_SELF)
    begin = time.perf_counter()
    contexts = library.many(count)
    pids = [library.call(context) for context in contexts]
    seconds = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_SELF)
    figures = {"children": seconds, "number %d" % count: seconds}
    figures["children: cpu"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    library.in_flight(contexts, 1)
    figures["children: round"] = median(5, library.in_flight, contexts, 1) * 1e3
    figures["children: pss"] = statistics.mean(map(processes.pss, pids))
    figures["children: master"] = figures["memory %d" % count] = processes.pss(os.getpid())
    return figures


def growth(library: Any, settings: dict[str, Any]) -> Figures:
    """What of this is in the charts, for another number of children."""
    return {
        name: value
        for name, value in children(library, settings).items()
        if not name.startswith("children")
    }


def idle(library: Any, settings: dict[str, Any]) -> Figures:
    """A child with nothing to do."""
    pid = library.call(opened(library, library.local))
    time.sleep(0.5)
    before = processes.switches(pid)
    time.sleep(settings["idle"])
    wakeups = processes.switches(pid) - before
    return {"idle": wakeups, "idle: threads": processes.threads(pid), "idle: pss": processes.pss(pid)}


class Work(NamedTuple):
    """One work, and what a library must be able to do for it."""

    run: Callable[[Any, dict[str, Any]], Figures]
    needs: tuple[str, ...] = ()


#: By name, in the order of the table.
WORKS = {
    "call": Work(call),
    "exactly": Work(exactly),
    "in-flight": Work(in_flight),
    "small-messages": Work(small),
    "argument": Work(argument),
    "result": Work(result),
    "64k-messages": Work(blocks),
    "local": Work(local),
    "fork": Work(fork, ("fork",)),
    "ssh": Work(ssh),
    "link": Work(link),
    "import": Work(imports, ("fetch",)),
    "deep": Work(deep, ("below",)),
    "children": Work(children),
    "idle": Work(idle),
    "depth": Work(depth, ("below",)),
    "sizes": Work(sizes),
    "growth": Work(growth),
}
