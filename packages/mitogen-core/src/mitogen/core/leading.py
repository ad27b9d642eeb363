"""Reading a link on the very thread that waits for its next message: `lead`.

Otherwise an answer wakes the broker thread, which reads it and wakes the thread that waits: two switches
between threads and four system calls for one message. A thread that is about to sleep takes the link over
instead (`Stream.reader`), sleeps on it as well as on its own pipe, and reads once:

* If that is just the message that it waits for, whole and nothing besides, it goes on with it.
* Answers to others, and calls, it puts into their queues, up to the first message that is anything else.
* That, and all that comes behind it, it hands to the broker thread along with the link, and sleeps on as
  usual. The link is left alone for the next waits then, for more of them each time: where two threads
  take turns, that would cost more than it saves.

So messages are handled in the order in which they came, handlers run on the broker thread alone, and the
decoder never meets two threads. The link is given back before a message is returned: what a call does can
be interrupted, and whatever else comes is handled, by the broker thread as ever.

There is epoll only: other systems do not let a thread change what another one waits for.

Outside the bundle: masters have it, and children on the same machine; the way to others takes longer than
all that this saves.
"""

from __future__ import annotations

import select
from _thread import get_ident
from collections import deque
from itertools import starmap
from os import read, write
from time import monotonic

from mitogen.core.errors import ChannelError
from mitogen.core.framing import HEADER, HEADER_SIZE, LARGE_BODY, MAGIC
from mitogen.core.handles import IS_DEAD
from mitogen.core.latch import Latch
from mitogen.core.message import Message, make
from mitogen.core.receiving import (
    LONG_REST,
    MANY,
    SHORT_REST,
    latch_of,
    receive,
    rest,
    watch,
    watch_again,
)
from mitogen.core.router import has_parent_authority
from mitogen.core.routing import DELIVER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mitogen.core.broker import Broker
    from mitogen.core.router import Router
    from mitogen.core.stream import Stream

#: Most waits for which a link is left alone.
_MOST_LEFT_ALONE = 255
#: Most bytes of the one read.
_MOST_READ = 65536

sleep = Latch.sleep
_unpack_from = HEADER.unpack_from
#: For what is to be called once, without arguments.
_ONCE = ((),)
_WAKE = b"\0"


class _Turn:
    """What a thread took over, and read: the value of `Stream.reader` meanwhile. One thread at a time.

    :ivar left: the messages that were decoded and not delivered yet, None before anything is decoded;
        and the bytes that come behind them. One value, so that it changes in one step.
    :ivar told: a receiver that is about to get a message, or may not know yet that it has; its handle,
        whether it keeps that, and the message.
    :ivar thread: whose turn it is.
    :ivar poll: what sleeps on the thread's pipe and the link.
    """

    __slots__ = ("left", "link", "poll", "thread", "told")

    def __init__(self, link: Stream, pipe_fd: int, fd: int) -> None:
        self.link = link
        self.left: tuple[deque[Message] | None, list[bytes]] = (None, [])
        self.told: tuple[Any, int, bool, Message] | None = None
        self.thread = 0
        poll = select.poll()
        poll.register(pipe_fd, select.POLLIN)
        poll.register(fd, select.POLLIN)
        self.poll = poll.poll

    def mute(self, poller: Any, fd: int) -> bool:
        """Have the broker thread not wake for what comes, and return True; unless it reads no more."""
        link = self.link
        with link._lock:
            if not link.closed:
                try:
                    poller._impl.modify(fd, 0)
                    return True
                except OSError:
                    pass  # Just paused.
        return False

    def end(self) -> None:
        """Let others read again."""
        link = self.link
        # In this order: see `_stop_resting`.
        link.reader.clear()
        if not link.__dict__.get("rests"):
            watch(link)

    def hand_over(self) -> None:
        """Give the broker thread the link, and what was read. Any thread, at any moment."""
        link = self.link
        broker = link.router.broker
        try:
            if link.reader.get(0) is self:
                # Another one is made for the next time.
                link.__dict__.pop("turns", None)
                broker.defer(self._receive, broker)
            else:
                broker.defer(watch_again, link)
        except ChannelError:
            pass  # It has ended, and the link with it.

    def _receive(self, broker: Broker) -> None:
        link = self.link
        if link.reader.get(0) is self:
            messages, parts = self.left
            if self.told and not (messages and messages[0] is self.told[3]):
                self.tell()
            self.told = None
            if messages is None:
                link.received += sum(map(len, parts))
                parts = [link._decoder._rest, *parts]
            for msg in messages or ():
                if not link.closed:
                    broker._call(link, lambda broker, msg=msg: link.router._async_route(msg, link))  # type: ignore[misc]
            if not link.closed:
                data = b"".join(parts)
                link._decoder._rest = b""
                # A link begins with what is no frame.
                take = receive if link.messages_received else type(link).receive_data
                broker._call(link, lambda broker: take(link, broker, data))
            link.reader.clear()
            watch_again(link)

    def tell(self) -> None:
        """Let a receiver know that it got a message. Twice does no harm."""
        if self.told is not None:
            owner, handle, persist, _ = self.told
            router = self.link.router
            if not persist:
                router._handlers.pop(handle, None)
                owner._over = True
            notify = getattr(owner, "notify", None)
            if notify is not None:
                router.broker.defer(notify, owner)
            self.told = None

    def deliver(self, router: Router, pipe_fd: int) -> bool:
        """Put what was read into the queues that it is for, as far as that is all there is to do.

        An exception of a signal's handler may come anywhere; then every message is either in its queue
        or still here.

        :param pipe_fd: what the caller itself would be woken by.
        :returns: whether nothing is left for the broker thread.
        """
        link = self.link
        data = self.left[1][0]
        size = len(data)
        decoder = link._decoder
        data = decoder._rest + data
        messages: deque[Message] = deque()
        start, end = 0, len(data)
        is_whole = True
        while end - start >= HEADER_SIZE:
            magic, dst, src, auth, handle, reply_to, length = _unpack_from(data, start)
            body = start + HEADER_SIZE
            if magic != MAGIC or length > decoder.max_message_size or body + length > end:
                is_whole = magic == MAGIC and length < LARGE_BODY
                break
            start = body + length
            messages.append(make(dst, src, auth, handle, reply_to, data[body:start]))
        link.received += size
        link.messages_received += len(messages)
        behind = data[start:]
        self.left = messages, [behind]
        handlers = router._handlers
        decide = router.table.decide
        take = messages.popleft
        while messages:
            msg = messages[0]
            handle = msg.handle
            entry: Any = handlers.get(handle)
            # Others' are for the broker thread, like the table of routes.
            if entry is None or msg.reply_to == IS_DEAD or msg.dst_id != router.context_id:
                return False
            fn, persist, respondent, policy = entry
            if respondent and msg.src_id != respondent.context_id:
                return False
            out = decide(
                msg.dst_id,
                msg.src_id,
                msg.auth_id,
                len(msg.body),
                link,
                router.unidirectional,
                msg.reply_to,
            )
            msg.router = router
            name = latch_of.get(getattr(fn, "__func__", None), "")
            if out is not DELIVER or name == "":
                return False
            if policy and (policy is not has_parent_authority or not policy(msg)):
                return False
            if name is None:
                fn(msg)
                take()
                handlers.pop(handle, None)
                continue
            owner = fn.__self__
            latch = getattr(owner, name)
            if name == "_latch":
                msg.receiver = owner
            with latch._lock:
                if latch.closed:
                    return False
                sleepers = latch._sleepers
                if sleepers:
                    # Before there is something: one wake-up too many does no harm.
                    if sleepers[0].read_fd != pipe_fd:
                        write(sleepers[0].write_fd, _WAKE)
                    del sleepers[0]
                self.told = owner, handle, persist, msg
                # One step for the interpreter.
                latch._queue.extend(starmap(take, _ONCE))
            self.tell()
        if is_whole:
            decoder._rest = behind
            self.left = None, []
        return is_whole


def _have_rest(link: Any, seconds: float) -> None:
    """Have the broker thread let `link` rest. Any thread."""
    broker = link.router.broker
    try:
        broker.defer(rest, link, broker, seconds)
    except ChannelError:
        pass  # It has ended.


def lead(router: Router, link: Any, handle: int, pipe_fd: int, timeout: float | None) -> Any:
    """Sleep as `Latch.sleep` does; but read `link` meanwhile, if nobody else does.

    Any thread but the broker's. Written in one piece, since each function on the way of a call costs it
    about a microsecond.

    :param link: the link that the next message will come on.
    :param handle: the handle that it is for.
    :returns: the message, if it came like that; None after any other wake-up.
    """
    side = link and link.receive_side
    if not side or side is link.transmit_side:
        # A socket is watched for writing as well.
        return sleep(pipe_fd, timeout)
    known: dict[str, Any] = link.__dict__
    left = known.get("left_alone", 0)
    if left > 0:
        known["left_alone"] = left - 1
        return sleep(pipe_fd, timeout)
    fd = side.fd
    # What each thread takes the link over with, by its pipe.
    turns = known.setdefault("turns", {})
    turn = turns.get(pipe_fd)
    if turn is None:
        turn = turns[pipe_fd] = _Turn(link, pipe_fd, fd)
    turn.left = None, []
    turn.thread = get_ident()
    data_read = turn.left[1]
    reader = link.reader
    handlers = router._handlers
    taken: list[Any] = []
    try:
        other = reader.setdefault(0, turn)
        if other is not turn:
            if getattr(other, "thread", 0) == turn.thread:
                # A signal's handler, which this is a part of, interrupted it: it can't go on meanwhile.
                other.hand_over()
            return sleep(pipe_fd, timeout)
        poller = router.broker.poller
        # Else it is paused, or within a large frame.
        if (
            fd not in poller._readers
            or link._decoder._body
            or not (known.get("rests") or turn.mute(poller, fd))
        ):
            turn.end()
            return sleep(pipe_fd, timeout)
        ready = turn.poll(None if timeout is None else int(min(timeout, 1e6) * 1000) + 1)
        for ready_fd, _ in ready:
            if ready_fd != fd:
                # What is in the queue goes first.
                read(ready_fd, 1)
                ready = None
        if reader.get(0) is not turn:
            return None  # It was handed over by a signal's handler.
        if not ready:
            turn.end()
            return None
        with link._lock:
            # Else the number may be another file's by now.
            if not link.closed:
                size = 1000 + 64 * link.received // (link.messages_received + 1)
                try:
                    # One step for the interpreter, so that nothing that was read is lost.
                    data_read.extend(map(read, (fd,), (min(size, _MOST_READ),)))
                except OSError:
                    pass  # Nothing there; or broken, as the broker thread will find.
        for data in data_read:
            if len(data) < HEADER_SIZE or link._decoder._rest:
                break
            magic, dst, src, auth, to, reply_to, length = _unpack_from(data)
            if magic != MAGIC or to != handle or reply_to == IS_DEAD or len(data) != HEADER_SIZE + length:
                break
            entry = handlers.get(handle)
            if (
                entry is None
                or dst != router.context_id
                or getattr(entry[0], "__func__", None) not in latch_of
                or (entry[2] and src != entry[2].context_id)
                or router.table.decide(dst, src, auth, length, link, router.unidirectional, reply_to)
                is not DELIVER
            ):
                break
            msg = make(dst, src, auth, handle, reply_to, data[HEADER_SIZE:])
            msg.router = router
            if entry[3] and not entry[3](msg, link):
                break
            if not entry[1]:
                taken.extend(map(handlers.pop, (handle,), (None,)))
                if taken[0] is not entry:
                    break
            if entry[2]:
                # What the receiver's own handler would note.
                receiver: Any = entry[0].__self__  # type: ignore[union-attr]
                receiver._over = not entry[1]
                msg.receiver = receiver
            link.received += len(data)
            link.messages_received += 1
            known["misses"] = 0
            if known.get("rests"):
                known["was_led"] = True
                reader.clear()
                if not known.get("rests"):
                    watch(link)
            else:
                turn.end()
                known["leads"] = leads = known.get("leads", 0) + 1
                if leads > MANY:
                    known["leads"] = 0
                    now = monotonic()
                    # Not for a call now and then: that wakes the broker thread.
                    if now - known.get("led_since", 0.0) < MANY * LONG_REST:
                        _have_rest(link, LONG_REST)
                    known["led_since"] = now
            return msg
        count = link.messages_received
        is_usual = data_read and data_read[0] and count and not link._queue and not taken
        if is_usual and turn.deliver(router, pipe_fd):
            known["was_led"] = True
            turn.end()
            if link.messages_received - count > MANY and not known.get("rests"):
                _have_rest(link, SHORT_REST)
            return None
        known["misses"] = known["left_alone"] = min(2 * known.get("misses", 0) + 1, _MOST_LEFT_ALONE)
        turn.hand_over()
        return None
    except BaseException:
        # Of a signal's handler, anywhere above: neither the link nor a message must be lost.
        if taken and taken[0] and reader.get(0) is turn:
            handlers[handle] = taken[0]
            taken[0][0].__self__._over = False
        turn.hand_over()
        raise
