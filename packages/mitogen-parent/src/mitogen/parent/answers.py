"""What masters wait on for the answer to a call: `Answer`, and `ask`, which sends the call.

Like a receiver for one message, with less to it: one thread waits for it, once, and reads the link itself
(see `mitogen.core.leading`). The usual call is made of this and of little else. Whatever is unusual about
a call or its link is left to `mitogen.parent.callchain` and a `Receiver`.
"""

from __future__ import annotations

from _thread import allocate_lock, get_ident
from collections import deque
from os import write
from time import monotonic

from mitogen.core import latch, receiving
from mitogen.core.errors import CallError, TimeoutError
from mitogen.core.handles import CANCEL_CALL, IS_DEAD
from mitogen.core.leading import lead
from mitogen.core.message import Message
from mitogen.core.receiver import Receiver
from mitogen.core.sending import send_at_once
from mitogen.core.serialization import RAW, loads

try:
    from _pickle import loads as plain_loads
except ImportError:
    from pickle import loads as plain_loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mitogen.core.context import Context
    from mitogen.core.router import Router
    from mitogen.core.stream import Stream

_WAKE = b"\0"
#: How pickles of protocol 4 begin and end, and how long they are if all they hold is one number (of 1, 2
#: or 4 bytes, or a float), None or a truth value, by the operation that makes that.
_PICKLED, _STOP = b"\x80\x04", b"."
_SIZES = {b"K": 5, b"M": 6, b"J": 8, b"G": 12, b"N": 4, b"\x88": 4, b"\x89": 4}
_new = Receiver.__new__


class Answer:
    """What one thread waits on for the one answer to a call: a `Receiver` with less to it.

    :ivar handle: the handle that the answer is sent to.
    """

    __slots__ = ("_link", "_msg", "_over", "_pipe", "_router", "handle")

    def __init__(self, router: Router, link: Stream, handle: int) -> None:
        self._router = router
        self._link = link
        self.handle = handle
        self._msg: Message | None = None
        self._pipe: Any = None

    def put(self, msg: Message) -> None:
        """Take the answer, and wake who waits for it. Any thread."""
        self._msg = msg
        pipe = self._pipe
        if pipe is not None:
            write(pipe.write_fd, _WAKE)

    def close(self) -> None:
        """Wait no longer."""
        self._router._handlers.pop(self.handle, None)

    def get_data(self, timeout: float | None = None) -> Any:
        """Wait for the answer, and return its value, as `Receiver.get_data` does."""
        router = self._router
        deadline = None if timeout is None else monotonic() + timeout
        idle = latch._idle_pipes
        pipe = latch._take_pipe(idle)
        try:
            self._pipe = pipe
            while True:
                # In this order: `put` looks for the pipe last.
                msg = self._msg
                if msg is not None:
                    break
                if timeout is not None and timeout <= 0:
                    raise TimeoutError("nothing arrived in time")
                msg = lead(router, self._link, self.handle, pipe.read_fd, timeout)
                if msg is not None:
                    break
                if deadline is not None:
                    timeout = deadline - monotonic()
        finally:
            self._pipe = None
            if len(idle) < latch._MAX_IDLE:
                idle.append(pipe)
            # Whoever keeps the exception keeps this frame, and would keep the pipe open.
            del pipe, idle
        if msg.reply_to == IS_DEAD:
            return msg.unpickle()
        body: Any = msg.body
        if type(body) is list:
            # Plain bytes, which were received apart from what says so; or an answer of this very context.
            return body[1] if body[0] == RAW else msg.unpickle()
        if _SIZES.get(body[2:3]) == len(body) and body[:2] == _PICKLED and body[-1:] == _STOP:
            # No other operation fits in, harmful or not.
            return plain_loads(body)
        value = loads(body, router)
        if type(value) is CallError:
            raise value
        return value


def _cancel(context: Context, reply_to: int) -> None:
    """Have a call not be run, or interrupted, that may have been sent just before a Ctrl-C."""
    context.send(Message(handle=CANCEL_CALL, data=b"%d" % reply_to))


def ask(context: Context, handle: int, body: Any) -> Answer | None:
    """Send a call, and return what waits for its answer; None where that takes more. Any thread."""
    router: Any = context.router
    link: Stream = router.table.links.get(context.context_id)
    if link is None or get_ident() == router.broker._thread_id:
        return None
    reply_to = router._next_handle()
    handlers = router._handlers
    if reply_to in handlers:
        return None
    answer = Answer(router, link, reply_to)
    try:
        handlers[reply_to] = answer.put, False, context, None
        # Registered too late to be told by whoever ended it, or just in time.
        if not (router._closed or context.reason) and send_at_once(
            router, link, context.context_id, handle, reply_to, body
        ):
            return answer
    except BaseException:
        answer.close()
        _cancel(context, reply_to)
        raise
    answer.close()
    return None


class _AnswerLatch(latch.Latch):
    """The latch of a receiver for what one context sends, whose link is read by the thread that waits."""

    closed = False

    def __init__(self, router: Router, respondent_id: int, handle: int) -> None:
        # What a latch has, with one function less on the way of a call.
        self._era = latch._era
        self._lock = allocate_lock()
        self._queue = deque()
        self._sleepers = []
        self._where = router, respondent_id, handle

    def sleep(self, fd: int, timeout: float | None) -> Any:  # type: ignore[override]
        router, respondent_id, handle = self._where
        return lead(router, router.table.link_to(respondent_id), handle, fd, timeout)


def ask_later(context: Context, handle: int, body: Any) -> Receiver | None:
    """Do as `ask`, but return a receiver for the answer."""
    router: Any = context.router
    link = router.table.links.get(context.context_id)
    reply_to = router._next_handle()
    handlers = router._handlers
    if reply_to in handlers:
        return None
    receiver = _new(Receiver)
    receiver.router = router
    receiver.context = context
    receiver.handle = reply_to
    receiver._is_once = True
    receiver._latch = _AnswerLatch(router, context.context_id, reply_to)
    try:
        handlers[reply_to] = receiver._on_receive, False, context, None
        # Registered too late to be told by whoever ended it, or just in time.
        if not (router._closed or context.reason) and send_at_once(
            router, link, context.context_id, handle, reply_to, body
        ):
            return receiver
    except BaseException:
        handlers.pop(reply_to, None)
        _cancel(context, reply_to)
        raise
    handlers.pop(reply_to, None)
    return None


def lead_to_answer(router: Router, respondent: Context, handle: int) -> Any:
    """Return how to sleep for an answer of `respondent` to a receiver's handle: `Router.lead`."""
    respondent_id = respondent.context_id
    return lambda fd, timeout: lead(router, router.table.link_to(respondent_id), handle, fd, timeout)


receiving.latch_of.update({Receiver._on_receive: "_latch", Answer.put: None})
