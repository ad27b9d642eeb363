"""Functions that tests of transports call in other contexts."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def describe() -> dict[str, Any]:
    """Return what a process sees of itself."""
    spaces = os.listdir("/proc/self/ns")
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "ids": [os.getuid(), os.geteuid(), os.getgid(), os.getegid()],
        "groups": sorted(os.getgroups()),
        "environ": dict(os.environ),
        "folder": os.getcwd(),
        "host": os.uname()[1],
        "init": os.path.exists("/sbin/idle"),
        "version": sys.version_info[:3],
        "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd")),
        "namespaces": {name: os.readlink("/proc/self/ns/" + name) for name in spaces},
    }
