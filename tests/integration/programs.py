"""Programs that tests run as processes of their own, to see how they end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

#: In front of every program. `tell` writes a line for the test to read.
PRELUDE = """\
import os, signal, sys, threading, time
sys.path[:0] = %r
import mitogen.core, mitogen.master, mitogen.parent, mitogen.select
from tests.integration import remote

def tell(*values):
    os.write(1, (" ".join(map(str, values)) + "\\n").encode())

"""


class Program:
    """A running program.

    :param folder: where its source is written.
    :param source: what follows `PRELUDE`.
    """

    def __init__(self, folder: Path, source: str, *args: str) -> None:
        path = folder / "program.py"
        sources = [ROOT] + [p for p in sys.path if p.endswith("src") and "packages" in p]
        path.write_text(PRELUDE % sources + source)
        self.process = subprocess.Popen(
            # From 3.12 on, forking a program with threads gives a warning.
            [sys.executable, "-W", "ignore::DeprecationWarning", str(path), *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def line(self) -> str:
        """Return the next line that it told."""
        assert self.process.stdout is not None
        text = self.process.stdout.readline()
        assert text, self.errors()
        return text.rstrip("\n")

    def pid(self) -> int:
        """Return the process id that it told of."""
        return int(self.line())

    def errors(self) -> str:
        """Wait for its end and return what it wrote to stderr."""
        assert self.process.stderr is not None
        return self.process.stderr.read()

    def exit_after(self, started: float, limit: float) -> int:
        """Wait for its end, at most `limit` seconds after `started`; return its status."""
        return self.process.wait(max(0.0, started + limit - time.monotonic()))


def alive(pid: int) -> bool:
    """Return whether a process exists, and not as a mere entry that nobody has read."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rpartition(") ")[2][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_gone(pid: int, limit: float) -> float:
    """Wait until a process is gone, and return how many seconds that took."""
    started = time.monotonic()
    while alive(pid):
        assert time.monotonic() - started < limit, "process %d is still there after %s s" % (pid, limit)
        time.sleep(0.005)
    return time.monotonic() - started


def wait_until(condition: Callable[[], object], limit: float = 20.0) -> None:
    """Look until something holds."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)


def wait_file(path: Path) -> str:
    """Wait until a file exists, and return its text."""
    wait_until(path.exists)
    return path.read_text()


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
