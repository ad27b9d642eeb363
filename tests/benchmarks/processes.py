"""What the system knows of processes, from `/proc`: memory, threads, switches. Memory is in MiB."""

from __future__ import annotations

import os
import re

MIB = 1 << 20


def field(text: str, name: str) -> int:
    """Return the number of a line such as ``VmHWM:   1234 kB``; 0 if there is none."""
    found = re.search(r"^%s:\s*(\d+)" % re.escape(name), text, re.M)
    return int(found[1]) if found else 0


def read(pid: int, name: str) -> str:
    """Return what a file of a process says."""
    with open("/proc/%d/%s" % (pid, name)) as f:
        return f.read()


def pss(pid: int) -> float:
    """Return the memory of a process, where shared pages count in equal parts for all that share them."""
    return field(read(pid, "smaps_rollup"), "Pss") / 1024


def forget_peak(pid: int) -> None:
    """Have the peak begin with what is used now."""
    with open("/proc/%d/clear_refs" % pid, "w") as f:
        f.write("5")


def peak(pid: int) -> float:
    """Return the most that was resident since `forget_peak`."""
    return field(read(pid, "status"), "VmHWM") / 1024


def threads(pid: int) -> int:
    """Return the number of threads."""
    return len(os.listdir("/proc/%d/task" % pid))


def switches(pid: int) -> int:
    """Return how often threads of a process went to sleep: each of them is a wake-up later."""
    total = 0
    for task in os.listdir("/proc/%d/task" % pid):
        try:
            total += field(read(pid, "task/%s/status" % task), "voluntary_ctxt_switches")
        except OSError:
            pass  # It ended.
    return total
