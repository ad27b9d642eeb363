"""What sends the log records of a child's user code to its parent: `install`.

Outside the bundle: imported when a child imports `logging`; or `multiprocessing`, for which `install`
knows where to turn.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def install(watcher: Any, sink: Callable[[int, str, str], None], level: int | None, name: str) -> Any:
    """Do what is to be done about a module that a child imports.

    For `logging`: send what the root logger gets, from `level` up: at once if there is one, else when
    there is. For `multiprocessing`: see `mitogen.core.spawning`.

    :param watcher: the finder that noticed that the module is being imported. It goes when it has noticed
        both.
    :returns: the spec of the module if it is not loaded yet. Its loader does the rest.
    """
    done = watcher.__dict__.setdefault("done", set())
    if name in done:
        return None

    def then(logging: Any) -> None:
        _add_handler(logging, sink, level)

    if name == "multiprocessing":
        from mitogen.core import spawning

        spawning.prepare()
        then = spawning.register  # type: ignore[assignment]
    elif name in sys.modules:
        done.add(name)
        if watcher not in sys.meta_path:
            sys.meta_path.insert(0, watcher)
        return then(sys.modules[name])
    spec: Any = None
    for finder in sys.meta_path:
        if finder is not watcher:
            spec = spec or finder.find_spec(name, None)
    if spec is None:
        return None
    loader = spec.loader
    execute = loader.exec_module

    def exec_module(module: Any) -> None:
        del loader.exec_module
        # Not before: some only look where a module is.
        done.add(name)
        if len(done) > 1:
            sys.meta_path.remove(watcher)
        execute(module)
        then(module)

    loader.exec_module = exec_module
    return spec


def make_handler(logging: Any, sink: Callable[[int, str, str], None]) -> Any:
    """Return a handler that calls ``sink(level, logger name, text)``.

    :param logging: the module, which this one does not import: it may be loaded just now.
    """

    class ForwardHandler(logging.Handler):  # type: ignore[misc]
        """Hand every record to `sink`, as (level, logger name, text)."""

        def emit(self, record: Any) -> None:
            """Send one record. Any thread; can't loop, since sending logs nothing."""
            try:
                sink(record.levelno, record.name, self.format(record))
            except Exception:
                self.handleError(record)

    return ForwardHandler()


def _add_handler(logging: Any, sink: Callable[[int, str, str], None], level: int | None) -> None:
    root = logging.getLogger()
    root.addHandler(make_handler(logging, sink))
    root.setLevel(level or 0)
