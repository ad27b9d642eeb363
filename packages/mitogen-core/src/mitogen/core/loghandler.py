"""What sends the log records of a child's user code to its parent: `install`.

Outside the bundle: imported when a child imports `logging`.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def install(watcher: object, sink: Callable[[int, str, str], None], level: int | None) -> Any:
    """Send what the root logger gets, from `level` up: at once if there is one, else when there is.

    :param watcher: the finder that noticed that `logging` is being imported; it has done its part.
    :returns: the spec of `logging` if it is not loaded yet. Its loader adds the handler.
    """
    if "logging" in sys.modules:
        return _add_handler(sys.modules["logging"], sink, level)
    sys.meta_path.remove(watcher)  # type: ignore[arg-type]
    spec: Any = None
    for finder in sys.meta_path:
        spec = spec or finder.find_spec("logging", None)
    loader = spec.loader
    execute = loader.exec_module

    def exec_module(module: Any) -> None:
        del loader.exec_module
        execute(module)
        _add_handler(module, sink, level)

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
