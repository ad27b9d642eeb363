"""The interpreters that tests start children on.

`MITOGEN_TEST_PYTHONS`, a colon-separated list of paths, says where they are; without it they are looked
for where pyenv and Debian put them. Under CI each of `ALL` and `TOO_OLD` must be there: a test that is
skipped for want of an interpreter proves nothing.
"""

from __future__ import annotations

import glob
import os
import re

import pytest

#: Every version that a child may run on, by the name that tests show.
ALL = ["3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "pypy3"]

#: Those that tests go through. CI takes all; for whoever waits, the oldest, the newest and PyPy, which
#: differ most.
SUPPORTED = ALL if os.environ.get("CI") else [ALL[0], ALL[-2], ALL[-1]]

#: A version below the floor.
TOO_OLD = "2.7"


def paths() -> list[str]:
    """Return the interpreters of this machine."""
    listed = os.environ.get("MITOGEN_TEST_PYTHONS")
    if listed:
        return listed.split(":")
    root = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    found = sorted(glob.glob(os.path.join(root, "versions/*/bin/python"))) + ["/usr/bin/pypy3"]
    return [path for path in found if os.access(path, os.X_OK)]


def name_of(path: str) -> str:
    """Return the name in `SUPPORTED` that a path stands for, judged by the path alone."""
    if "pypy" in os.path.basename(path):
        return "pypy3"
    versions = re.findall(r"(?<![\d.])([23]\.\d+)(?!\d)", path)
    return versions[-1] if versions else path


def find(name: str) -> str:
    """Return the path of an interpreter; skip the test if there is none, or fail it under CI."""
    for path in paths():
        if name_of(path) == name:
            return path
    message = "no Python %s on this machine (see tests/interpreters.py)" % name
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
