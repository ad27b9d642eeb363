"""Channels to a function that is called: the two ends of `mitogen.parent.Context.open_channel`.

The caller makes its end at once, and may send and wait at once. The other end is made in the called
context, by `serve`, which is what is really called there; its first message to the caller is its handle,
and what the caller sends waits until that has come. When the function ends, so does the channel: the
caller's waits end with what it raised, or the news that it returned.

Outside the bundle.
"""

from __future__ import annotations

import sys

from mitogen.core.channel import Channel
from mitogen.core.deadlines import deadline_of, left_until
from mitogen.core.errors import ChannelError, LatchError, TimeoutError, text_of
from mitogen.core.latch import Latch
from mitogen.core.message import Message
from mitogen.core.receiver import Receiver, Sender
from mitogen.core.targets import takes_router

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mitogen.core.context import Context
    from mitogen.core.router import Router


@takes_router
def serve(
    sender: Sender, module: str, class_name: str | None, name: str, args: Any, kwargs: Any, router: Router
) -> Any:
    """Call a function with a channel to `sender` in front of its arguments, and return its result."""
    channel = Channel(router, sender.context, sender.dst_handle)
    reason = "the function that had the other end returned"
    try:
        channel.send(channel.handle)
        __import__(module)
        obj: Any = sys.modules[module]
        for part in (class_name.split(".") if class_name else []) + [name]:
            obj = getattr(obj, part)
        return obj(channel, *args, **kwargs)
    except BaseException as e:
        reason = "the function that had the other end failed: %s: %s" % (type(e).__name__, text_of(e))
        raise
    finally:
        channel.close(reason)


class OpenedChannel(Channel):
    """The caller's end of a channel to a function that runs in another context. See `Channel`."""

    def __init__(self, router: Router, context: Context) -> None:
        # Closed, as that wakes all who wait: once the other end is known, and once the function ended.
        self._opened = Latch()
        self._ended = Latch()
        self._outcome: Any = None
        #: Why nothing more will come, once that is known.
        self._reason = ""
        #: What the other end is told as soon as it is known, if this one was closed before that.
        self._farewell: str | None = None
        self._is_called = False
        Channel.__init__(self, router, context, 0)

    def _on_receive(self, msg: Message) -> None:
        if self.dst_handle or msg.is_dead:
            Channel._on_receive(self, msg)
        else:
            self.dst_handle = int(msg.unpickle())
            if self._farewell is not None:
                self.close(self._farewell)
        if msg.is_dead:
            self._reason = str(msg.unpickle(throw=False))
        self._opened.close()

    def begin(self, call: Receiver) -> None:
        """Take notice of the end of `call`, which is that of the function."""
        self._is_called = True
        call.notify = self._on_ended
        if not call.empty():
            self._on_ended(call)

    def _on_ended(self, call: Receiver) -> None:
        try:
            self._outcome = call.get(block=False, throw_dead=False)
        except (ChannelError, TimeoutError):
            return  # Noticed twice.
        self._ended.close()
        if self._farewell is not None:
            Receiver.close(self)
        elif not self.dst_handle:
            # It was not even called, so nobody else will end this.
            here = self.router.context_id
            reason = "the function could not be called: %s" % self._outcome.unpickle(throw=False)
            msg = Message.dead(reason, src_id=here, auth_id=here, handle=self.handle)
            msg.router = self.router
            self._on_receive(msg)

    def send(self, data: object, timeout: float | None = None) -> None:
        """Send `data`, once the function has begun. See `Sender.send`.

        :raises ChannelError: the function has ended, or could not be called.
        """
        deadline = deadline_of(timeout)
        _wait(self._opened, timeout, "the function did not begin in time")
        if self._reason:
            raise ChannelError("%s", self._reason)
        Channel.send(self, data, left_until(deadline))

    def close(self, reason: str | None = None) -> None:
        """Close both directions. The function goes on, and finds its waits ended."""
        # Noted before the rest is looked at, as the broker thread does it the other way round.
        self._farewell = reason or ""
        if self._is_called and not self._ended.closed:
            # The handle is kept for the message that says whom to tell.
            self._end_waits()
        else:
            Receiver.close(self)
        if self.dst_handle:
            Channel.close(self, reason)

    def result(self, timeout: float | None = None) -> Any:
        """Wait until the function has ended, and return what it returned.

        :param timeout: seconds to wait at most.
        :raises CallError: it raised.
        :raises ChannelError: its context is gone.
        :raises TimeoutError: the time passed.
        """
        _wait(self._ended, timeout, "the function did not end in time")
        return self._outcome.unpickle()


def _wait(closed: Latch, timeout: float | None, text: str) -> None:
    try:
        closed.get(timeout)
    except LatchError:
        return
    except TimeoutError:
        raise TimeoutError("%s", text) from None
