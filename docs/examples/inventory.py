#!/usr/bin/env python3
# ruff: noqa: I002 - contexts import the first half as it is, and Python 3.6 knows no such `__future__`
"""Take an inventory of machines, all at once: ``python inventory.py [TARGET ...]``.

A target is one of

    local           a context on this machine, with the Python that runs this
    local:/PATH     the same with another Python, 3.6 or newer

Without targets, four contexts on this machine show what it looks like. Nothing is installed there:
each context is sent a small core, and then the first half of this file, when `facts` is called in it.
The rows of the table come in the order of the answers. The exit status is 1 if a target failed.
"""

import os
import sys

# First half: what runs in the contexts. It needs the standard library only, as of Python 3.6.


def facts() -> "dict[str, object]":
    """Return all facts of the machine that this runs on, as plain values."""
    return {
        "python": "%s %d.%d.%d" % ((sys.implementation.name,) + sys.version_info[:3]),
        "kernel": "%s %s" % (os.uname().sysname, os.uname().release),
        "system": distribution(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "memory": memory(),
        "disk": disk("/"),
        "mounts": mounts(),
        "packages": packages(),
        "uptime": float((read("/proc/uptime") or "0").split()[0]),
    }


def read(path: str) -> str:
    """Return a text file, or nothing where there is no such file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def distribution() -> str:
    """Return the name and version of the operating system."""
    lines = [line.partition("=") for line in read("/etc/os-release").splitlines()]
    fields = {key: value.strip("\"'") for key, _, value in lines}
    return ("%s %s" % (fields.get("ID", sys.platform), fields.get("VERSION_ID", ""))).strip()


def memory() -> "tuple[int, int]":
    """Return the bytes used and there are."""
    lines = [line.split() for line in read("/proc/meminfo").splitlines()]
    fields = {words[0]: int(words[1]) * 1024 for words in lines}
    total = fields.get("MemTotal:", 0)
    return total - fields.get("MemAvailable:", 0), total


def disk(path: str) -> "tuple[int, int]":
    """Return the bytes used, and there are, on the file system that holds `path`."""
    found = os.statvfs(path)
    return (found.f_blocks - found.f_bfree) * found.f_frsize, found.f_blocks * found.f_frsize


def mounts() -> "list[str]":
    """Return the kind of each mounted file system that holds files: no proc, no tmpfs."""
    found = {}
    for line in read("/proc/self/mounts").splitlines():
        device, folder, kind = line.split()[:3]
        if device.startswith("/") or ":" in device or kind in ("overlay", "zfs", "9p", "virtiofs"):
            found[device if device != kind else folder] = kind
    return sorted(found.values())


def packages() -> "dict[str, int] | None":
    """Return the number of installed Debian packages by section; None where there is no dpkg."""
    found: dict[str, int] = {}
    for entry in read("/var/lib/dpkg/status").split("\n\n"):
        fields = dict(line.partition(": ")[::2] for line in entry.splitlines() if line[:1] != " ")
        if fields.get("Status", "").endswith(" installed"):
            section = fields.get("Section", "unknown").rpartition("/")[2]
            found[section] = found.get(section, 0) + 1
    return found or None


# Second half: what runs here. Contexts are sent this file up to the line that follows.

if __name__ == "__main__":
    import argparse
    import time
    from collections.abc import Callable
    from concurrent.futures import ThreadPoolExecutor
    from typing import Any

    from mitogen.core import Error
    from mitogen.master import Router
    from mitogen.parent import Context
    from mitogen.select import Select

    try:
        from rich import box, live, markup, table
    except ImportError:
        live = None  # type: ignore[assignment]

#: How to start a context, by kind of target: fn(router, what follows the colon).
KINDS: dict[str, Callable[[Router, str], Context]] = {
    "local": lambda router, path: router.local(python_path=path or None),
}

#: The columns, and their widths in plain text; those of numbers are aligned to the right.
COLUMNS = {
    "TARGET": "%-12s",  # As wide as needed.
    "PYTHON": "%-15s",
    "KERNEL": "%-20s",
    "SYSTEM": "%-12s",
    "CPUS": "%4s",
    "LOAD": "%5s",
    "MEMORY": "%15s",
    "DISK": "%12s",
    "MOUNTS": "%-12s",
    "PACKAGES": "%8s",
    "UP": "%9s",
    "ANSWER": "%7s",
}


class PlainTable:
    """Rows of aligned text, for anything but a terminal with `rich`."""

    def __enter__(self) -> "PlainTable":
        self.row(list(COLUMNS))
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def row(self, texts: list[str]) -> None:
        """Show a row."""
        print("  ".join(COLUMNS.values()) % tuple(texts), flush=True)

    def failed(self, target: str, error: str) -> None:
        """Show the row of a target that failed."""
        print(COLUMNS["TARGET"] % target, " FAILED:", error, flush=True)


class RichTable(PlainTable):
    """A table that grows in place."""

    def __enter__(self) -> "RichTable":
        self._table = table.Table(box=box.ROUNDED, header_style="bold")
        for name, form in COLUMNS.items():
            self._table.add_column(name, justify="left" if "-" in form else "right")
        self._live = live.Live(self._table, auto_refresh=False)
        self._live.__enter__()
        self._errors: list[str] = []
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._live.__exit__(None, None, None)
        for text in self._errors:
            self._live.console.print(text, highlight=False)

    def row(self, texts: list[str]) -> None:
        self._table.add_row("[green]%s[/]" % markup.escape(texts[0]), *map(markup.escape, texts[1:]))
        self._live.refresh()

    def failed(self, target: str, error: str) -> None:
        self._table.add_row("[bold red]%s[/]" % markup.escape(target), "[red]failed[/]")
        self._errors.append("[bold red]%s[/]: %s" % (markup.escape(target), markup.escape(error)))
        self._live.refresh()


def texts_of(found: dict[str, Any]) -> list[str]:
    """Return facts as the texts of a row."""
    minutes = int(found["uptime"]) // 60
    sections = found["packages"]
    return [
        found["python"],
        found["kernel"],
        found["system"],
        str(found["cpus"]),
        "%.2f" % found["load"],
        "%.1f/%.1f GiB" % tuple(value / 2**30 for value in found["memory"]),
        "%.0f/%.0f GiB" % tuple(value / 2**30 for value in found["disk"]),
        "%d: %s" % (len(found["mounts"]), ",".join(sorted(set(found["mounts"])))),
        str(sum(sections.values())) if sections else "no dpkg",
        "%d d %02d:%02d" % (minutes // 1440, minutes // 60 % 24, minutes % 60),
    ]


def print_sections(counts: dict[str, dict[str, int] | None]) -> None:
    """Print the packages by section, once for all targets that have the same ones."""
    names: dict[tuple[tuple[str, int], ...], list[str]] = {}
    for name, sections in counts.items():
        largest_first = sorted((sections or {}).items(), key=lambda item: (-item[1], item[0]))
        names.setdefault(tuple(largest_first), []).append(name)
    for found, targets in names.items():
        where = "all" if len(targets) == len(counts) > 1 else ", ".join(sorted(targets))
        print("\nDebian packages on %s:%s" % (where, "" if found else " there is no dpkg"))
        for section, count in found:
            bar = "#" * round(40 * count / found[0][1])
            print("  %-16s %5d  %s" % (section, count, bar or "."))


def take_inventory(targets: dict[str, tuple[str, str]], router: Router) -> int:
    """Ask all `targets`, {label: (kind, rest)}, and print what they answer; return how many failed."""
    begin = time.perf_counter()

    def since() -> str:
        return "%.0f ms" % (1000 * (time.perf_counter() - begin))

    def start(label: str) -> Context | Error:
        kind, rest = targets[label]
        try:
            return KINDS[kind](router, rest)
        except Error as e:
            return e

    counts: dict[str, dict[str, int] | None] = {}
    times = {}
    labels: dict[Any, str] = {}  # By the receiver of the answer.
    received = 0
    with RichTable() if live and sys.stdout.isatty() else PlainTable() as rows:
        # A thread for each, since starting one waits for it to come up.
        with ThreadPoolExecutor(len(targets)) as pool:
            for label, context in zip(targets, pool.map(start, targets)):
                if isinstance(context, Error):
                    rows.failed(label, str(context))
                else:
                    labels[context.call_async(facts)] = label
        times["contexts started"] = since()
        for msg in Select(labels):
            label = labels[msg.receiver]
            times.setdefault("first answer", since())
            received += msg.size()
            try:
                found = msg.unpickle()
            except Error as e:
                rows.failed(label, str(e).splitlines()[0])
                continue
            counts[label] = found["packages"]
            rows.row([label, *texts_of(found), since()])
        times["all answers"] = since()
    if counts:
        print_sections(counts)
    failed = len(targets) - len(counts)
    print("\n%d of %d targets answered, %d bytes" % (len(counts), len(targets), received), end="")
    print("".join("; %s after %s" % item for item in times.items()))
    return failed


def main() -> int:
    """Read the command line, do the work, and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", nargs="*")
    targets = {}
    for number, target in enumerate(parser.parse_args().target or ["local"] * 4, 1):
        kind, _, rest = target.partition(":")
        if kind not in KINDS:
            parser.error("unknown kind of target in %r; there is: %s" % (target, ", ".join(KINDS)))
        targets["%d %s" % (number, target)] = kind, rest
    COLUMNS["TARGET"] = "%%-%ds" % max(map(len, targets))
    with Router() as router:
        return 1 if take_inventory(targets, router) else 0


if __name__ == "__main__":
    sys.exit(main())
