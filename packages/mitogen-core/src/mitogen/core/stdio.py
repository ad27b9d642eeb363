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

from mitogen.core import logs
from mitogen.core.stream import BasicStream, Side

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mitogen.core.broker import Broker
    from mitogen.core.stream import Stream


class LineLogger(BasicStream):
    """Log what is written to the descriptor `fd` of this process.

    :param name: logger name of the lines.
    :param link: where the lines go; it is waited for while it is full, and who writes waits in turn.
    """

    def __init__(self, name: str, fd: int, link: Stream) -> None:
        self.name = name
        self._link = link
        self._rest = b""
        read_fd, write_fd = os.pipe()
        os.dup2(write_fd, fd)
        os.close(write_fd)
        # Not kept alive for: a daemon that user code started may hold the other end for ever.
        self.receive_side = Side(self, read_fd, keep_alive=False)

    def on_receive(self, broker: Broker) -> None:
        link = self._link
        if self._read() == b"":
            self.on_disconnect(broker)
        elif link.queued > link.router.high_water_mark and not link.closed:
            broker._stop_receive(self)
            link.held_back.append(lambda: broker._start_receive(self))

    def on_shutdown(self, broker: Broker) -> None:
        # What is there: a pipe holds 1 MiB at most. Somebody may go on writing for ever.
        for _ in range(8):
            self._read()
        self.on_disconnect(broker)

    def on_disconnect(self, broker: Broker) -> None:
        if self._rest:
            self._take(b"\n")
        BasicStream.on_disconnect(self, broker)

    def _read(self) -> bytes | None:
        data = self.receive_side.read()  # type: ignore[union-attr]
        if data:
            self._take(data)
        return data

    def _take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > logs.LINE_LIMIT:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            for start in range(0, len(line) or 1, logs.LINE_LIMIT):
                piece = line[start : start + logs.LINE_LIMIT]
                logs.sink(logs.INFO, self.name, piece.decode("utf-8", "replace"))


class StandardStreams:
    """Redirect descriptors 0, 1 and 2, and Python's objects for them. Main thread, once."""

    def __init__(self, broker: Broker, link: Stream) -> None:
        _redirect_to_null(0)
        for fd, name in ((1, "stdout"), (2, "stderr")):
            broker.start_receive(LineLogger(name, fd, link))
            # Python would buffer a pipe by the block: lines would show up late, or never.
            stream = open(fd, "w", 1, "utf-8", "backslashreplace", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, "__%s__" % name, stream)

    def close(self) -> None:
        """Send what user code wrote, and let nothing more come. Main thread.

        The broker logs the rest when it reads the end of the pipes, or shuts down.
        """
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:
                pass  # Replaced or closed by user code: its own affair.
        _redirect_to_null(1, 2)


def _redirect_to_null(*fds: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for fd in fds:
        os.dup2(null, fd)
    os.close(null)
