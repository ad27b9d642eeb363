"""The library's own log lines, and where log records of a child go.

Owns one decision: which sink takes a line. In a master lines go to `logging`; in a child they go to the
parent as FORWARD_LOG messages, and so does everything user code logs once it imports `logging`.

`logging` costs milliseconds to import and most children never use it, so nothing here imports it before
there is something to say. A child watches for its import instead: a finder ahead of the others notices
it, and installs the forwarding handler as soon as the module is loaded.

Any thread may log. Lines are cut to `LINE_LIMIT`, and never hold message bodies.
"""

from __future__ import annotations

import sys

from mitogen.core import handles
from mitogen.core.errors import cut
from mitogen.core.message import make

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from mitogen.core.router import Router

DEBUG, INFO, WARNING, ERROR = 10, 20, 30, 40
LINE_LIMIT = 65536


#: Level below which a child does not send; None in a master, where `logging` decides.
child_level: int | None = None


def sink(level: int, name: str, text: str) -> None:
    """Take a line: to `logging`, unless `forward_to` replaced this."""
    # Outside the bundle: for masters.
    from mitogen.core.locallog import write

    write(level, name, text)


def enabled(level: int) -> bool:
    """Return True if a line of `level` would be seen. Cheap: ask before composing one."""
    if child_level is None:
        from mitogen.core.locallog import is_shown

        return is_shown(level)
    return level >= child_level


def log(level: int, fmt: str, *args: object) -> None:
    """Write a line of the library's own, under the logger `mitogen`."""
    if enabled(level):
        sink(level, "mitogen", cut(fmt % args, LINE_LIMIT))


def log_exception(fmt: str, *args: object) -> None:
    """Write the exception being handled, with its traceback, as an error."""
    if enabled(ERROR):
        import traceback

        log(ERROR, "%s\n%s", fmt % args, cut(traceback.format_exc(), LINE_LIMIT))


def attempt(what: object, func: Callable[..., object], *args: object) -> object:
    """Return ``func(*args)``; write what it raises, as the failure of `what`, and return None then."""
    try:
        return func(*args)
    except Exception:
        log_exception("%s failed", what)
        return None


def forward_to(router: Router, context_id: int, level: int) -> None:
    """Send every line of this process to the context `context_id`, from now on. For children.

    :param level: lowest level that is sent: what the parent's root logger shows.
    """
    global sink, child_level

    def send(level: int, name: str, text: str) -> None:
        data = "%s\0%d\0%s" % (name, level, cut(text, LINE_LIMIT))
        here = router.context_id
        body = data.encode("utf-8", "replace")
        router.route(make(context_id, here, here, handles.FORWARD_LOG, 0, body))

    sink = send
    child_level = level
    watcher = _LoggingWatcher()
    if "logging" in sys.modules:
        watcher.find_spec("logging")
    else:
        sys.meta_path.insert(0, watcher)


class _LoggingWatcher:
    """A finder that finds nothing, but has the handler installed once `logging` is imported.

    It also notices `multiprocessing`, which needs some preparation: see `mitogen.core.spawning`.
    """

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname in ("logging", "multiprocessing"):
            # Outside the bundle: only children that import one of these need it.
            from mitogen.core.loghandler import install

            return install(self, sink, child_level, fullname)
        return None
