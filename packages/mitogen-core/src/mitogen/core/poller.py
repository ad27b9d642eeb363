"""Wait for file descriptors: `Poller`, which uses epoll.

Owns the map from descriptors to what is called when they are ready. Broker thread only. Level-triggered:
a callback that leaves bytes unread is called again. What other systems have is in `mitogen.core.pollers`,
which is sent to children there only.
"""

from __future__ import annotations

import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Callback = Callable[[], object]

# EPOLLIN and POLLIN, EPOLLOUT and POLLOUT have the same values wherever both exist.
IN = 1
OUT = 4


class Poller:
    """The tables, and epoll. The pollers of other systems replace `_make`, `_update` or `_wait`."""

    def __init__(self) -> None:
        self._readers: dict[int, Callback] = {}
        self._writers: dict[int, Callback] = {}
        #: Descriptors that the system was told of.
        self._known: set[int] = set()
        self._impl: Any = self._make()

    def start_receive(self, fd: int, callback: Callback) -> None:
        """Call `callback` whenever `fd` is readable, at its end, or broken. Replaces an earlier one."""
        self._readers[fd] = callback
        self._update(fd)

    def stop_receive(self, fd: int) -> None:
        """Watch `fd` for reading no longer. Must come before the fd is closed. Idempotent."""
        if self._readers.pop(fd, None):
            self._update(fd)

    def start_transmit(self, fd: int, callback: Callback) -> None:
        """Call `callback` whenever `fd` is writable or broken. Replaces an earlier one."""
        self._writers[fd] = callback
        self._update(fd)

    def stop_transmit(self, fd: int) -> None:
        """Watch `fd` for writing no longer. Must come before the fd is closed. Idempotent."""
        if self._writers.pop(fd, None):
            self._update(fd)

    def poll(self, timeout: float) -> list[Callback]:
        """Wait at most `timeout` seconds, or 11 days; return the callbacks that are due.

        A callback of this list may stop another one that is still in it: callbacks must cope with
        nothing being there.
        """
        due = []
        # Systems refuse a time of a month or more; waking early costs no more than asking again.
        for fd, event in self._wait(min(timeout, 1e6)):
            # An error or hang-up wakes both sides: the next read or write says what it is.
            if event != OUT and fd in self._readers:
                due.append(self._readers[fd])
            if event != IN and fd in self._writers:
                due.append(self._writers[fd])
        return due

    def close(self) -> None:
        """Release the system's object."""
        self._impl.close()

    def _make(self) -> Any:
        """Return an object that can be closed, and has what `_update` and `_wait` call."""
        return select.epoll()

    def _update(self, fd: int) -> None:
        """Tell the system what `fd` is watched for now."""
        events = IN * (fd in self._readers) + OUT * (fd in self._writers)
        if fd not in self._known:
            if events:
                # May fail: epoll takes no regular files.
                self._impl.register(fd, events)
                self._known.add(fd)
        elif events:
            self._impl.modify(fd, events)
        else:
            self._known.discard(fd)
            self._impl.unregister(fd)

    def _wait(self, timeout: float) -> list[tuple[int, int]]:
        """Return descriptors with a mask of `IN`, `OUT` and others."""
        return self._impl.poll(timeout)  # type: ignore[no-any-return]
