"""Descriptors of this process as the standard streams of a program that runs elsewhere: `Streams`.

The descriptors belong to others as well, so they are never made non-blocking; yet no thread may wait for
ever on one. So what is written to a socket says so with each call, and pipes and terminals are opened
anew, or are written to in parts that never wait once there is room.

The thread that calls `connect` writes what the program says; another one, which it starts, reads what the
program is to read.
"""

from __future__ import annotations

import os
import select
import socket
import stat
import threading

from mitogen.core.errors import ChannelError
from mitogen.parent.programs import PIECE
from mitogen.parent.running import NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mitogen.parent.running import RunningProgram


class Streams:
    """Three descriptors, which are closed in the end.

    :param fds: to read from, to write to, and for errors.
    :param lifeline: a connected socket; when it is hung up, by either side, all that waits here ends.
    """

    def __init__(self, fds: list[int], lifeline: socket.socket) -> None:
        self._fds = fds
        self._lifeline = lifeline
        self._outputs: dict[str, _Output] = {}
        self._feeder: threading.Thread | None = None
        for name, number in zip(NAMES.values(), (1, 2)):
            self._outputs[name] = _Output(fds[number], lifeline)

    def connect(self, program: RunningProgram, with_input: bool) -> int:
        """Connect a program until it has exited; return its `returncode`.

        :raises ChannelError: its context is gone, or it was closed.
        """
        if with_input:
            self._feeder = threading.Thread(target=self._feed, args=(program,), daemon=True)
            self._feeder.start()
        while True:
            piece = program.read()
            if piece is None:
                return program.returncode or 0
            name, data = piece
            if not data:
                self._outputs[name].close()
            elif not self.put(name, data):
                program.close_output(name)

    def put(self, name: str, data: bytes) -> bool:
        """Write all of `data`; return False if nobody reads it."""
        return self._outputs[name].put(data)

    def _feed(self, program: RunningProgram) -> None:
        """Be the thread that reads."""
        fd = self._fds[0]
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        poller.register(self._lifeline, 0)
        lifeline = self._lifeline.fileno()
        try:
            while lifeline not in dict(poller.poll()):
                try:
                    data = os.read(fd, PIECE)
                except OSError:
                    data = b""  # What ssh makes of it.
                if not data:
                    program.close_stdin()
                    break
                program.write(data)
        except ChannelError:
            pass  # The program reads no more.
        # Whoever writes there is to know.
        os.close(fd)

    def close(self) -> None:
        """Close the descriptors. The lifeline must be hung up, or the program have exited."""
        for output in self._outputs.values():
            output.close()

    def join(self) -> None:
        """Wait for the thread that reads. The lifeline must be hung up."""
        if self._feeder is not None:
            self._feeder.join()
        else:
            os.close(self._fds[0])


class _Output:
    """A descriptor to write to."""

    _limit = PIECE

    def __init__(self, fd: int, lifeline: socket.socket) -> None:
        mode = os.fstat(fd).st_mode
        self._socket: socket.socket | None = None
        if stat.S_ISSOCK(mode):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fd)
        elif not stat.S_ISREG(mode):
            try:
                new = os.open("/proc/self/fd/%d" % fd, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
                os.close(fd)
                fd = new
            except OSError:
                self._limit = select.PIPE_BUF
        self._fd = fd
        self._lifeline = lifeline.fileno()
        self._poller = select.poll()
        self._poller.register(fd, select.POLLOUT)
        self._poller.register(lifeline, 0)

    def put(self, data: bytes) -> bool:
        """Write all of `data`; return False if nobody reads it."""
        view = memoryview(data)
        while view:
            if self._fd < 0 or self._lifeline in dict(self._poller.poll()):
                return False
            try:
                if self._socket is not None:
                    count = self._socket.send(view, socket.MSG_DONTWAIT)
                else:
                    count = os.write(self._fd, view[: self._limit])
                view = view[count:]
            except BlockingIOError:
                pass
            except OSError:
                self.close()
        return True

    def close(self) -> None:
        """Close it, if it is open."""
        if self._socket is not None:
            self._socket.close()
        elif self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
