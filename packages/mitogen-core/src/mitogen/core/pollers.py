"""Pollers for systems without epoll: kqueue, poll and select. See `mitogen.core.poller`.

`select()` can't watch descriptors past 1,023, so it comes last: it is there for the platform that has
nothing else.
"""

from __future__ import annotations

import io
import select

from mitogen.core.poller import IN, OUT, Poller

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Ready descriptors that are reported at once; more are reported by the next call.
MAX_EVENTS = 256


class PollPoller(Poller):
    """Any UNIX. Shares all but the waiting with epoll, whose interface follows poll's."""

    def _make(self) -> Any:
        return _Poll()

    def _wait(self, timeout: float) -> list[tuple[int, int]]:
        # Milliseconds, rounded up: waking early would only mean polling again.
        return self._impl.poll(int(timeout * 1000 + 0.999))  # type: ignore[no-any-return]


class _Poll:
    """A poll object that can be closed, as the others can."""

    def __init__(self) -> None:
        impl = select.poll()
        self.register, self.modify, self.unregister = impl.register, impl.modify, impl.unregister
        self.poll = impl.poll

    def close(self) -> None:
        pass


class KqueuePoller(Poller):
    """The BSDs and macOS."""

    #: Descriptors and filters that the system was told of.
    _known: Any

    def _make(self) -> Any:
        return select.kqueue()  # type: ignore[attr-defined,unused-ignore]

    def _update(self, fd: int) -> None:
        sel: Any = select
        for table, kind in ((self._readers, sel.KQ_FILTER_READ), (self._writers, sel.KQ_FILTER_WRITE)):
            if (fd in table) != ((fd, kind) in self._known):
                flags = sel.KQ_EV_ADD if fd in table else sel.KQ_EV_DELETE
                self._known ^= {(fd, kind)}
                self._impl.control([sel.kevent(fd, kind, flags)], 0, 0)

    def _wait(self, timeout: float) -> list[tuple[int, int]]:
        read = select.KQ_FILTER_READ  # type: ignore[attr-defined,unused-ignore]
        events = self._impl.control(None, MAX_EVENTS, timeout)
        return [(e.ident, IN if e.filter == read else OUT) for e in events]


class SelectPoller(Poller):
    """Anything that has nothing better."""

    def _make(self) -> Any:
        return io.BytesIO()  # There is nothing to close.

    def _update(self, fd: int) -> None:
        pass

    def _wait(self, timeout: float) -> list[tuple[int, int]]:
        readable, writable, _ = select.select(list(self._readers), list(self._writers), [], timeout)
        return [(fd, IN) for fd in readable] + [(fd, OUT) for fd in writable]


def make_poller() -> Poller:
    """Return the best poller of a platform that has no epoll."""
    for name, cls in (("kqueue", KqueuePoller), ("poll", PollPoller)):
        if hasattr(select, name):
            return cls()
    return SelectPoller()
