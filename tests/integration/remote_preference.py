# ruff: noqa: I002 - Python 3.6 has no `annotations` in `__future__`, and this module runs there as it is.
# mypy: allow-untyped-defs
"""What the tests of preferences call in contexts; on any supported Python."""

import sys

import mitogen.core


def add_path(folder):
    """The package is installed there."""
    sys.path.insert(0, folder)


@mitogen.core.takes_router
def find_on_broker_thread(name, router):
    """Return what the finder of preferred packages finds there."""
    [preferred] = [finder for finder in sys.meta_path if type(finder).__name__ == "Preferred"]
    return router.broker.defer_sync(lambda: preferred.find_spec(name, None))


def whose(name):
    """Import a module, and tell whose it is; None if there is no such module."""
    try:
        module = __import__(name, None, None, ["WHOSE"])
    except ModuleNotFoundError:
        return None
    return module.WHOSE
