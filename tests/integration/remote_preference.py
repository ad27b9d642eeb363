# ruff: noqa: I002 - Python 3.6 has no `annotations` in `__future__`, and this module runs there as it is.
# mypy: allow-untyped-defs
"""What the tests of preferences call in contexts; on any supported Python."""

import sys


def add_path(folder):
    """The package is installed there."""
    sys.path.insert(0, folder)


def whose(name):
    """Import a module, and tell whose it is; None if there is no such module."""
    try:
        module = __import__(name, None, None, ["WHOSE"])
    except ModuleNotFoundError:
        return None
    return module.WHOSE
