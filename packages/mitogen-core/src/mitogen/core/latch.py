"""A queue that threads sleep on: `Latch`.

Owns the waking of user threads. Any thread may put and get; the broker thread must only put.

A sleeping thread blocks in `read()` of a pipe, and is woken by one byte. A lock would seem simpler, but
measures worse: the thread that releases it keeps the interpreter lock, so the woken thread runs into
that and sleeps again, while `write()` lets the interpreter lock go. Pipes are kept for reuse, so there
are as many as threads ever slept at once, and `close_idle_pipes` closes them when the last broker of
the process is gone.

Each sleeper is woken for one value, and takes it from the queue itself. A sleeper that gives up
(time-out, KeyboardInterrupt) after it was chosen takes the value, or passes the wake-up on. Its byte may
then stay unread in the pipe: whoever sleeps on that pipe next wakes once for nothing and sleeps again.
That byte may even be written after the sleeper left, so a pipe is closed with the last reference to it:
closed any sooner, its number could belong to another file by then.
"""

from __future__ import annotations

import os
import select
from _thread import allocate_lock
from collections import deque
from time import monotonic

from mitogen.core.errors import FORKED, LatchError, TimeoutError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_WAKE = b"\0"
#: Idle pipes kept for reuse; beyond this they are closed.
_MAX_IDLE = 32


class _Pipe:
    """A pipe to sleep on, closed with the last reference to it."""

    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe()

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        close(self.read_fd)
        close(self.write_fd)


#: Pipes that no thread sleeps on. Who takes one gives it back to the same list.
_idle_pipes: list[_Pipe] = []


def close_idle_pipes() -> None:
    """Close the pipes that no thread sleeps on now, and the others as they are given back. Any thread."""
    global _idle_pipes
    _idle_pipes = []


#: Replaced in a forked process. A latch that was made in another era may be locked for ever: the thread
#: that held its lock when the process forked exists in the parent only.
_era = object()


def begin_era() -> None:
    """In a forked process: let every latch that was made before the fork raise an error."""
    global _era
    _era = object()


def wait_readable(fd: int, timeout: float) -> bool:
    """Sleep until `fd` is readable, `timeout` seconds or 11 days; return False if the time passed."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    # Rounded up, so that a wake-up is never early by the part of a millisecond; and no more than the
    # system takes.
    return bool(poller.poll(int(min(timeout, 1e6) * 1000) + 1))


def _take_pipe(idle: list[_Pipe]) -> _Pipe:
    try:
        return idle.pop()
    except IndexError:
        return _Pipe()


class Latch:
    """A queue with one or more threads sleeping on it. Every method may be called by any thread."""

    def __init__(self) -> None:
        self._era = _era
        self._lock = allocate_lock()
        self._queue: deque[Any] = deque()
        self._sleepers: list[_Pipe] = []
        self.closed = False

    def check_era(self) -> None:
        """Raise LatchError if this latch belongs to the process that this one was forked from."""
        if self._era is not _era:
            raise LatchError(FORKED)

    def put(self, obj: Any = None) -> None:
        """Append `obj`, and wake one sleeping thread. Never blocks.

        :raises LatchError: the latch was closed.
        """
        self.check_era()
        sleeper = None
        try:
            with self._lock:
                if self.closed:
                    raise LatchError("the latch is closed")
                self._queue.append(obj)
                if self._sleepers:
                    # In this order: an exception may come anywhere in the main thread, and one wake-up
                    # too many does no harm.
                    sleeper = self._sleepers[0]
                    del self._sleepers[0]
        finally:
            if sleeper is not None:
                os.write(sleeper.write_fd, _WAKE)

    def close(self) -> None:
        """Wake every sleeping thread with `LatchError`, now and for ever. Idempotent."""
        self.check_era()
        with self._lock:
            self.closed = True
            sleepers, self._sleepers = self._sleepers, []
        for sleeper in sleepers:
            os.write(sleeper.write_fd, _WAKE)

    def empty(self) -> bool:
        """Return True if `get` would block.

        Another thread may put or get in the next moment, so True and False are both already history.

        :raises LatchError: the latch was closed.
        """
        if self.closed:
            raise LatchError("the latch is closed")
        return not self._queue

    def get(self, timeout: float | None = None, block: bool = True) -> Any:
        """Return the next value, sleeping until there is one.

        :param timeout: seconds to wait at most; None waits for ever.
        :param block: False raises at once if there is no value.
        :raises TimeoutError: the time passed, or `block` is False and there is no value.
        :raises LatchError: the latch was closed, before the call or during it.
        """
        self.check_era()
        deadline = None if timeout is None else monotonic() + timeout
        pipe = None
        idle = _idle_pipes
        try:
            while True:
                with self._lock:
                    if pipe in self._sleepers:
                        # Not chosen: the time passed, or an earlier sleeper left its byte unread.
                        self._sleepers.remove(pipe)
                    if self.closed:
                        raise LatchError("the latch is closed")
                    if self._queue:
                        return self._queue.popleft()
                    if not block or (timeout is not None and timeout <= 0):
                        raise TimeoutError("nothing arrived in time")
                    if pipe is None:
                        pipe = _take_pipe(idle)
                    self._sleepers.append(pipe)
                found = self.sleep(pipe.read_fd, timeout)
                if found is not None:
                    self._pass_on(pipe)
                    return found
                if deadline is not None:
                    timeout = deadline - monotonic()
        except (LatchError, TimeoutError):
            raise
        except BaseException:
            self._pass_on(pipe)
            raise
        finally:
            if pipe is not None and len(idle) < _MAX_IDLE:
                idle.append(pipe)
            # Whoever keeps the exception keeps this frame, and would keep the pipe open.
            del pipe, idle

    @staticmethod
    def sleep(fd: int, timeout: float | None) -> Any:
        """Sleep until there is a byte to read from `fd`, and read it; or `timeout` seconds.

        May be replaced for a latch: by what returns the next value, or None if that is to be looked for.
        """
        if timeout is None or wait_readable(fd, timeout):
            os.read(fd, 1)

    def _pass_on(self, pipe: _Pipe | None) -> None:
        """Leave the sleepers, and let another one take what this one was woken for."""
        with self._lock:
            if pipe in self._sleepers:
                self._sleepers.remove(pipe)
            elif self._queue and self._sleepers:
                os.write(self._sleepers.pop(0).write_fd, _WAKE)
