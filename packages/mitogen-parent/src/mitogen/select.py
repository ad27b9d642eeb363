"""Wait on many receivers at once: `Select`.

Owns the wiring between receivers and one latch. Knows receivers only by `notify`, `get` and `empty`;
nothing here touches a router or a stream. `get` and the other methods are for user threads, any number
of them; `_on_ready` runs on the broker thread, and never blocks: the locks are held for a few
statements.

How it works. A receiver that may have a message stands in a line, the latch, at most once. `get` takes
the first in line, reads one message from it, and puts it back at the end if it has more. So a receiver
that is flooded does not starve the others, the line is never longer than the number of receivers, and
those that held messages when they were added need no special case.

From being put in line until the read is over, a receiver is in `_busy`; what it is notified of meanwhile
is noticed by the look that follows every read. That look and the end of being busy are one step under
the lock. Were they two, a message could arrive between them, and nobody would come for it.

A select can itself be added to another: it has the same three parts. Locks are taken from the outer
select to the inner one; `_on_ready`, which goes outwards, holds none while it notifies.

Rejected: one entry in line a message (never ends for a receiver that somebody else drains, and gives
nothing to those that held messages before); a thread a receiver.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from time import monotonic

from mitogen.core import errors
from mitogen.core.errors import ChannelError, LatchError, TimeoutError
from mitogen.core.latch import Latch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType
    from typing import Any, Union

    from mitogen.core.message import Message
    from mitogen.core.receiver import Receiver

    Source = Union[Receiver, "Select"]

#: Held while receivers are added or removed, whatever the select: whether a receiver has a notifier,
#: and whether selects form a loop, must not change between look and act.
_wiring = allocate_lock()


def _after_fork_in_child() -> None:
    # A thread of the parent process may have held it when the process forked.
    global _wiring
    _wiring = allocate_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


class Error(errors.Error):
    """A select was used in a way that can't work; the text says what was wrong."""


class _EmptyError(Error):
    """There is nothing to wait for."""


class Select:
    """Wait for the next message of any of several receivers.

    ::

        receivers = [context.call_async(work) for context in contexts]
        for msg in Select(receivers):
            print(msg.receiver.context, msg.unpickle())

    Messages of one receiver come in their order; receivers take turns. Dead messages are returned like
    any other, so that `msg.receiver` tells who is gone; their `unpickle` raises.

    :param receivers: what to add at first: receivers, channels and selects.
    :param oneshot: remove each receiver once it gave a message, so that iteration ends. A select that
        was added is removed when it has no receivers left; one that keeps its receivers, like a
        receiver, with its first message.
    :raises Error: see `add`.
    """

    #: Part of what makes a select look like a receiver: called when a message may be there.
    notify: Callable[[Any], None] | None = None

    def __init__(self, receivers: Iterable[Source] = (), oneshot: bool = True) -> None:
        self._oneshot = oneshot
        self._latch = Latch()
        self._lock = allocate_lock()
        #: By identity, since receivers may compare equal: {id: receiver}.
        self._receivers: dict[int, Source] = {}
        #: Ids of receivers that are in line, or being read.
        self._busy: set[int] = set()
        #: Ids of receivers that are in line. The latch may also hold calls to wake up, which are None.
        self._in_line: set[int] = set()
        #: Messages that receivers in line had when they were removed: {id: message}.
        self._kept: dict[int, Message] = {}
        #: Threads in `get`, which must wake up when nothing is left to wait for.
        self._waiters = 0
        try:
            for recv in receivers:
                self.add(recv)
        except BaseException:
            # Nobody will have this object to close.
            self.close()
            raise

    @classmethod
    def all(cls, it: Iterable[Source]) -> list[Any]:
        """Take a message from each receiver; return the unpickled values in order of arrival.

        :raises CallError: a message holds the error of a call; the others are left unread.
        :raises ChannelError: a sender is gone, or closed the channel.
        """
        with cls(it) as select:
            return [msg.unpickle() for msg in select]

    def __bool__(self) -> bool:
        """Return True if there are any receivers."""
        return bool(self._receivers)

    def __enter__(self) -> Select:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Message]:
        """Yield messages until no receivers are left.

        :raises LatchError: the select was closed meanwhile.
        """
        while self:
            try:
                msg = self.get()
            except _EmptyError:
                # Another thread took the last one.
                return
            yield msg

    def add(self, recv: Source) -> None:
        """Add a receiver, channel or select. Messages that it already holds count.

        :raises Error: it belongs to a select already, or is this one, or has this one within it.
        :raises LatchError: this select or `recv` is closed.
        """
        self._latch.check_era()
        with _wiring:
            if self._latch.closed:
                raise LatchError("the select is closed")
            if recv is self or (isinstance(recv, Select) and recv._contains(self)):
                raise Error("a select can't be added to itself, nor to one that is within it")
            if recv.notify is not None:
                raise Error("%r belongs to a select already; remove it there first", recv)
            # Raises for a closed one, before anything changes.
            recv.empty()
            with self._lock:
                self._receivers[id(recv)] = recv
            recv.notify = self._on_ready
        # In this order: a message that arrives before the notifier is set is seen by the look, one
        # that arrives later is notified of.
        if _has_message(recv) or (isinstance(recv, Select) and not recv):
            self._on_ready(recv)

    def _contains(self, other: Select) -> bool:
        with self._lock:
            inner = [r for r in self._receivers.values() if isinstance(r, Select)]
        return any(r is other or r._contains(other) for r in inner)

    def remove(self, recv: Source) -> None:
        """Remove a receiver, channel or select.

        If it had a message by then, a later `get` still returns that one.

        :raises Error: it is not in this select.
        """
        if not self._discard(recv):
            raise Error("%r is not in this select", recv)

    def _discard(self, recv: Source) -> bool:
        self._latch.check_era()
        with _wiring, self._lock:
            if self._receivers.pop(id(recv), None) is None:
                return False
            recv.notify = None
            if id(recv) in self._in_line and not isinstance(recv, Select):
                # Taken now, so that what arrives later is the receiver's own.
                self._keep(recv)
            is_last = not self._receivers
            waiters = self._waiters if is_last else 0
        if is_last:
            for _ in range(waiters):
                self._put(None)
            self._notify()
        return True

    def _keep(self, recv: Receiver) -> None:
        try:
            msg = recv.get(block=False, throw_dead=False)
        except (TimeoutError, ChannelError):
            return
        msg.receiver = recv
        self._kept[id(recv)] = msg

    def close(self) -> None:
        """Remove all receivers, and end every wait in `get` with `LatchError`. Idempotent.

        Without it, receivers that live on would keep this object. ``with`` calls it.
        """
        self._latch.check_era()
        with _wiring, self._lock:
            for recv in self._receivers.values():
                recv.notify = None
            self._receivers.clear()
            self._kept.clear()
            self._latch.close()
        self._notify()

    def empty(self) -> bool:
        """Return True if `get` would block; a message may arrive in the next moment.

        False may be wrong as well, if another thread reads from a receiver directly.

        :raises LatchError: the select was closed.
        """
        self._latch.empty()
        with self._lock:
            return not any(i in self._receivers or i in self._kept for i in self._in_line)

    def get(self, timeout: float | None = None, block: bool = True) -> Message:
        """Return the next message of any receiver; its `receiver` is the one that received it.

        :param timeout: seconds to wait at most; None waits for ever.
        :param block: False raises at once if there is no message.
        :raises Error: there is no receiver to wait for, or the last one was removed during the wait.
        :raises TimeoutError: the time passed, or `block` is False and there is no message.
        :raises LatchError: the select was closed, before the call or during it.
        :raises ChannelError: the broker that all receivers depend on has ended.
        """
        self._latch.check_era()
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            recv = self._next(timeout, block)
            msg = self._read(recv) if recv is not None else None
            if msg is not None:
                return msg
            if deadline is not None:
                timeout = max(0.0, deadline - monotonic())

    def _next(self, timeout: float | None, block: bool) -> Source | None:
        """Wait for the first in line; None if there is reason to look again."""
        with self._lock:
            if not self._receivers and not self._in_line and not self._latch.closed:
                raise _EmptyError("the select has no receivers, so nothing can arrive")
            self._waiters += 1
        try:
            # A broker that ends gives its receivers a last message; one that had ended does not.
            reason = self._dead_reason() if block and not self._in_line else None
            if reason:
                raise ChannelError("%s", reason)
            recv: Source | None = self._latch.get(timeout, block)
        except TimeoutError:
            raise TimeoutError("no receiver of the select got a message in time") from None
        finally:
            with self._lock:
                self._waiters -= 1
        if recv is not None:
            with self._lock:
                self._in_line.discard(id(recv))
        return recv

    def _dead_reason(self) -> str | None:
        """Return why no receiver can get a message any more; None if one can."""
        reason: str | None = None
        for recv in list(self._receivers.values()):
            if isinstance(recv, Select):
                reason = recv._dead_reason()
            else:
                reason = recv.router.broker.dead_reason
                if reason is None and recv._spent and recv._last is not None:
                    reason = str(recv._last.unpickle(throw=False))
            if reason is None:
                break
        return reason

    def _read(self, recv: Source) -> Message | None:
        """Take one message from a receiver that was in line; None if it has none."""
        with self._lock:
            msg = self._kept.pop(id(recv), None)
            is_ours = id(recv) in self._receivers
        if msg is None and is_ours:
            msg = self._take(recv)
        with self._lock:
            self._busy.discard(id(recv))
            has_more = id(recv) in self._receivers and _has_message(recv)
        if has_more:
            self._on_ready(recv)
        return msg

    def _take(self, recv: Source) -> Message | None:
        """Take a message from a receiver, and remove the receiver if it has done its part."""
        msg: Message | None = None
        is_done = False
        try:
            if isinstance(recv, Select):
                msg = recv.get(block=False)
                is_done = not (recv._oneshot and (recv or recv._in_line))
            else:
                msg = recv.get(block=False, throw_dead=False)
                msg.receiver = recv
                is_done = True
        except TimeoutError:
            # Somebody else was faster.
            pass
        except _EmptyError:
            is_done = True
        except (ChannelError, LatchError):
            # It was closed in this process: nothing will ever come of it.
            self._discard(recv)
        if is_done and self._oneshot:
            # Before it stops being busy, so that it gives one message and no more.
            self._discard(recv)
        return msg

    def _on_ready(self, recv: Any) -> None:
        """Put a receiver in line. Called by receivers on the broker thread, and by `add`."""
        with self._lock:
            if id(recv) in self._busy or id(recv) not in self._receivers:
                return
            self._busy.add(id(recv))
            self._in_line.add(id(recv))
        self._put(recv)
        self._notify()

    def _put(self, recv: Source | None) -> None:
        try:
            self._latch.put(recv)
        except LatchError:
            # Closed in this moment.
            pass

    def _notify(self) -> None:
        """Tell the select that this one is in, if any, to look."""
        notify = self.notify
        if notify is not None:
            notify(self)


def _has_message(recv: Source) -> bool:
    try:
        return not recv.empty() and (isinstance(recv, Select) or not recv._spent)
    except LatchError:
        return False
