"""What all kinds of containers have in common for tests."""

from __future__ import annotations

import signal
from typing import NamedTuple

from tests import leaks
from tests.integration.targets import place


class Container(NamedTuple):
    """A running container."""

    #: What its program calls it.
    name: str
    #: Of its first process, as seen from here; 0 if it has none.
    pid: int


def running(name: str, pid: int) -> Container:
    """Return a container whose processes are looked after as those of this run from now on."""
    place.wait_for(lambda: _reaps(pid), "start of %s" % name)
    leaks.watch_container(pid)
    return Container(name, pid)


def _reaps(pid: int) -> bool:
    """Tell whether a process ignores the end of its children, so that none becomes a zombie."""
    with open("/proc/%d/status" % pid) as f:
        ignored = next(line.split()[1] for line in f if line.startswith("SigIgn:"))
    return bool(int(ignored, 16) & 1 << signal.SIGCHLD - 1)
