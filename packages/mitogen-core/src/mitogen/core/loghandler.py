"""What sends the log records of a child's user code to its parent: `install`.

Outside the bundle: imported when a child imports `logging`.
"""

from __future__ import annotations

import logging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class ForwardHandler(logging.Handler):
    """Hand every record to `sink`, as (level, logger name, text)."""

    def __init__(self, sink: Callable[[int, str, str], None]) -> None:
        logging.Handler.__init__(self)
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record. Any thread; can't loop, since sending logs nothing."""
        try:
            self._sink(record.levelno, record.name, self.format(record))
        except Exception:
            self.handleError(record)


def install(sink: Callable[[int, str, str], None], level: int | None) -> None:
    """Send what the root logger gets, from `level` up."""
    root = logging.getLogger()
    root.addHandler(ForwardHandler(sink))
    root.setLevel(level or 0)
