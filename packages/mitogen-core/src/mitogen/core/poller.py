"""Wait for file descriptors: one interface over epoll, kqueue, poll and select.

Owns the map from descriptors to what is called when they are ready. Broker thread only.

`select()` can't watch descriptors past 1,023, so it comes last: it is there for the platform that has
nothing else. Level-triggered throughout: a callback that leaves bytes unread is called again.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Callback = Callable[[], None]

#: Ready descriptors that are reported at once; more are reported by the next call.
_MAX_EVENTS = 256


class Poller:
    """Common part: the tables. Subclasses tell the system, in `_update`, and wait, in `_wait`."""

    def __init__(self) -> None:
        self._readers: dict[int, Callback] = {}
        self._writers: dict[int, Callback] = {}

    def start_receive(self, fd: int, callback: Callback) -> None:
        """Call `callback` whenever `fd` is readable, at its end, or broken. Replaces an earlier one."""
        self._readers[fd] = callback
        self._update(fd)

    def stop_receive(self, fd: int) -> None:
        """Watch `fd` for reading no longer. Must come before the fd is closed. Idempotent."""
        if self._readers.pop(fd, None):
            self._update(fd)

    def start_transmit(self, fd: int, callback: Callback) -> None:
        """Call `callback` whenever `fd` is writable or broken."""
        self._writers[fd] = callback
        self._update(fd)

    def stop_transmit(self, fd: int) -> None:
        """Watch `fd` for writing no longer. Must come before the fd is closed. Idempotent."""
        if self._writers.pop(fd, None):
            self._update(fd)

    def poll(self, timeout: float | None) -> list[Callback]:
        """Wait at most `timeout` seconds (None: for ever); return the callbacks that are due.

        A callback of this list may stop another one that is still in it: callbacks must cope with
        nothing being there.
        """
        due = []
        for fd, readable, writable in self._wait(timeout):
            if readable and fd in self._readers:
                due.append(self._readers[fd])
            if writable and fd in self._writers:
                due.append(self._writers[fd])
        return due

    def close(self) -> None:
        """Release the system's object, if there is one."""

    def _update(self, fd: int) -> None:
        """Tell the system what `fd` is watched for now."""

    def _wait(self, timeout: float | None) -> list[tuple[int, Any, Any]]:
        readable, writable, _ = select.select(list(self._readers), list(self._writers), [], timeout)
        return [(fd, True, False) for fd in readable] + [(fd, False, True) for fd in writable]


class _MaskPoller(Poller):
    """Common part of poll and epoll, which share constants for masks and an interface."""

    _impl: Any
    _IN = 1  # POLLIN == EPOLLIN, and likewise below, wherever both exist.
    _OUT = 4

    def __init__(self) -> None:
        Poller.__init__(self)
        self._known: set[int] = set()

    def _update(self, fd: int) -> None:
        mask = self._IN * (fd in self._readers) + self._OUT * (fd in self._writers)
        if not mask:
            self._known.discard(fd)
            self._impl.unregister(fd)
        elif fd in self._known:
            self._impl.modify(fd, mask)
        else:
            self._known.add(fd)
            self._impl.register(fd, mask)

    def _report(self, events: list[tuple[int, int]]) -> list[tuple[int, Any, Any]]:
        # An error or hang-up wakes both sides: the next read or write says what it is.
        return [(fd, event & ~self._OUT, event & ~self._IN) for fd, event in events]


class EpollPoller(_MaskPoller):
    """Linux."""

    def __init__(self) -> None:
        _MaskPoller.__init__(self)
        self._impl = select.epoll()

    def close(self) -> None:
        self._impl.close()

    def _wait(self, timeout: float | None) -> list[tuple[int, Any, Any]]:
        return self._report(self._impl.poll(-1 if timeout is None else timeout, _MAX_EVENTS))


class PollPoller(_MaskPoller):
    """Any other UNIX."""

    def __init__(self) -> None:
        _MaskPoller.__init__(self)
        self._impl = select.poll()

    def _wait(self, timeout: float | None) -> list[tuple[int, Any, Any]]:
        # Milliseconds, rounded up: waking early would only mean polling again.
        return self._report(self._impl.poll(None if timeout is None else int(timeout * 1000) + 1))


class KqueuePoller(Poller):
    """The BSDs and macOS."""

    def __init__(self) -> None:
        Poller.__init__(self)
        self._impl: Any = select.kqueue()  # type: ignore[attr-defined,unused-ignore]
        self._known: set[tuple[int, int]] = set()

    def close(self) -> None:
        self._impl.close()

    def _update(self, fd: int) -> None:
        sel: Any = select
        for table, kind in ((self._readers, sel.KQ_FILTER_READ), (self._writers, sel.KQ_FILTER_WRITE)):
            if (fd in table) != ((fd, kind) in self._known):
                flags = sel.KQ_EV_ADD if fd in table else sel.KQ_EV_DELETE
                self._known ^= {(fd, kind)}
                self._impl.control([sel.kevent(fd, kind, flags)], 0, 0)

    def _wait(self, timeout: float | None) -> list[tuple[int, Any, Any]]:
        sel: Any = select
        return [
            (e.ident, e.filter == sel.KQ_FILTER_READ, e.filter == sel.KQ_FILTER_WRITE)
            for e in self._impl.control(None, _MAX_EVENTS, timeout)
        ]


def make_poller() -> Poller:
    """Return the best poller that this platform has."""
    for name, cls in (("epoll", EpollPoller), ("kqueue", KqueuePoller), ("poll", PollPoller)):
        if hasattr(select, name):
            return cls()  # type: ignore[no-any-return,unused-ignore]
    return Poller()
