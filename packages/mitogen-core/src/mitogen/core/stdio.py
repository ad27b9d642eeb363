"""A child's standard streams: `StandardStreams`.

The connection to the parent arrives on descriptors 0 and 1. A stray `print` there would corrupt it, so it
is moved away: stdin becomes /dev/null, and stdout and stderr become pipes that the broker reads, line by
line, into log records named `stdout` and `stderr`. User code and the programs it starts see ordinary,
blocking descriptors.

Lines are cut into pieces of `LINE_LIMIT`: output without a newline must not grow anything without bound.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from mitogen.core import logs
from mitogen.core.stream import BasicStream, Side

if TYPE_CHECKING:
    from mitogen.core.broker import Broker


class LineLogger(BasicStream):
    """Log what is written to the descriptor `fd` of this process.

    :param name: logger name of the lines.
    """

    def __init__(self, name: str, fd: int) -> None:
        self._name = name
        self._rest = b""
        read_fd, write_fd = os.pipe()
        os.dup2(write_fd, fd)
        os.close(write_fd)
        # Not kept alive for: a daemon that user code started may hold the other end for ever.
        self.receive_side = Side(self, read_fd, keep_alive=False)

    def __repr__(self) -> str:
        return "LineLogger(%s)" % self._name

    def on_receive(self, broker: Broker) -> None:
        data = self.receive_side.read() if self.receive_side else None
        if data:
            self._take(data)
        elif data is not None:
            self.on_disconnect(broker)

    def on_shutdown(self, broker: Broker) -> None:
        self.drain()
        self.on_disconnect(broker)

    def on_disconnect(self, broker: Broker) -> None:
        if self._rest:
            self._log(self._rest)
            self._rest = b""
        BasicStream.on_disconnect(self, broker)

    def drain(self) -> None:
        """Log what was written so far. Broker thread only."""
        while self.receive_side is not None:
            data = self.receive_side.read()
            if not data:
                return
            self._take(data)

    def _take(self, data: bytes) -> None:
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        while len(self._rest) > logs.LINE_LIMIT:
            lines.append(self._rest[: logs.LINE_LIMIT])
            self._rest = self._rest[logs.LINE_LIMIT :]
        for line in lines:
            self._log(line)

    def _log(self, line: bytes) -> None:
        logs.sink(logs.INFO, self._name, line.decode("utf-8", "replace"))


class StandardStreams:
    """Redirect descriptors 0, 1 and 2, and Python's objects for them. Main thread, once."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.close(null)
        self._loggers = [LineLogger("stdout", 1), LineLogger("stderr", 2)]
        # Python would buffer a pipe by the block: lines would show up late, or never.
        for fd, name in ((1, "stdout"), (2, "stderr")):
            stream = open(fd, "w", 1, "utf-8", "backslashreplace", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, "__%s__" % name, stream)
        for logger in self._loggers:
            broker.start_receive(logger)

    def close(self) -> None:
        """Send what user code wrote, and let nothing more come. Main thread."""
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:
                pass  # Replaced or closed by user code: its own affair.
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.close(null)
        for logger in self._loggers:
            self._broker.defer_sync(logger.drain)
