"""Reading links on the broker thread, with less for each message than the core's own way: `on_receive`.

Does as `Stream.on_receive`, which ends in `FrameDecoder`, `Router._async_route` and `Router._dispatch`:
some ten functions for each message. Here the usual cases are in one loop: an answer or a call goes into
its queue, a frame for somebody else is passed on as it is, and a large body is read straight into the
buffer that becomes its message. Whatever is unusual takes the core's way.

A link that brings many messages may rest (`rest`): the broker thread looks only now and then for what
nobody waits for. It would be woken for each message otherwise, and take turns with the threads that work.
Who waits reads the link itself meanwhile: see `mitogen.core.leading`.

Outside the bundle, like that; the same processes have it.
"""

from __future__ import annotations

import os
from io import BytesIO

from mitogen.core import logs
from mitogen.core.calls import Dispatcher
from mitogen.core.framing import HEADER, HEADER_SIZE, LARGE_BODY, MAGIC
from mitogen.core.handles import IS_DEAD
from mitogen.core.message import make
from mitogen.core.poller import IN
from mitogen.core.router import has_parent_authority
from mitogen.core.routing import DELIVER, Refusal
from mitogen.core.serialization import RAW
from mitogen.core.stream import READ_SIZE, Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mitogen.core.broker import Broker
    from mitogen.core.message import Message

#: Seconds that a busy link rests. The second where there are calls one after the other, each of which is
#: waited for.
SHORT_REST, LONG_REST = 0.001, 0.004
#: More messages at a time make a link a busy one.
MANY = 7

#: Handlers that just put a message into the latch of their object, by its attribute; they may be run by
#: any thread. None: those that are called, and may be called twice.
latch_of: dict[Any, str | None] = {Dispatcher._on_call: "calls"}

#: Bodies from this size on are read by way of a buffer of their own; smaller ones, with what follows.
_HUGE_BODY = 1 << 20

_unpack_from = HEADER.unpack_from
_WAKE = b"\0"
_readv: Any = getattr(os, "readv", None)


# -- Links that rest ----------------------------------------------------------------------------------


def watch(link: Any) -> None:
    """Have the broker thread wake for what comes, unless somebody else reads, or it rests. Any thread."""
    with link._lock:
        # Else the number may be another file's by now.
        if not link.closed:
            watch_again(link)


def watch_again(link: Any) -> None:
    """Do as `watch`. Broker thread only, which waits for no lock: who closes links is itself.

    Whoever takes the link over at the same time may find that it is watched nevertheless. That costs the
    broker thread a look or two.
    """
    broker = link.router.broker
    # The broker thread itself may be there by chance, for something that came before.
    if link.reader.get(0, broker) is broker and not (link.closed or link.__dict__.get("rests")):
        try:
            broker.poller._impl.modify(link.receive_side.fd, IN)
        except OSError:
            pass  # It is paused: whoever did that will let it be read again.


def rest(link: Any, broker: Broker, seconds: float) -> None:
    """Do not wake for what comes on `link` for a while. Broker thread only."""
    known = link.__dict__
    side = link.receive_side
    # A socket is watched for writing as well.
    if (
        side
        and side is not link.transmit_side
        and side.fd in broker.poller._readers
        and not known.get("rests")
    ):
        broker.poller._impl.modify(side.fd, 0)
        known["rests"] = True
        broker.call_later(seconds, lambda: _stop_resting(link, broker, seconds))


def _stop_resting(link: Any, broker: Broker, seconds: float) -> None:
    known = link.__dict__
    if known.pop("was_led", False) and not link.closed:
        broker.call_later(seconds, lambda: _stop_resting(link, broker, seconds))
        return
    # In this order: whoever reads meanwhile looks at this once it has stopped, or we see that it has.
    known["rests"] = False
    watch_again(link)


# -- Receiving; broker thread -------------------------------------------------------------------------


def on_receive(link: Any, broker: Broker) -> None:
    """Do as `Stream.on_receive`."""
    side = link.receive_side
    decoder = link._decoder
    # Within a body that is received here, see `_begin_body`.
    is_within = "is_raw" in link.__dict__
    # Sockets are those of others; and a link begins with what is no frame.
    if (
        side is None
        or side is link.transmit_side
        or (link._queue and not is_within)
        or not link.messages_received
    ):
        _on_receive(link, broker)
        return
    if link.reader.setdefault(0, broker) is not broker:
        return
    if not is_within:
        size = min(READ_SIZE, 1000 + 64 * link.received // (link.messages_received + 1))
        data = side.read(size)
        count = None if data is None else len(data)
        if data and count:
            link.received += count
            before = link.messages_received
            if decoder._body is None:
                receive(link, broker, decoder._rest + data)
            else:
                link.receive_data(broker, data)
            if count < size and link.messages_received - before > MANY:
                rest(link, broker, SHORT_REST)
    else:
        count = _read_body(link, side.fd)
    if count == 0:
        link.on_end(broker)
    # Not after an exception, which ends the link.
    link.reader.clear()


_on_receive = Stream.on_receive


def receive(link: Any, broker: Broker, data: bytes) -> None:
    """Take `data`: what is left of the bytes that came before, and those that come behind it."""
    router = link.router
    handlers = router._handlers
    decide = router.table.decide
    decoder = link._decoder
    decoder._rest = b""
    start, end = 0, len(data)
    while end - start >= HEADER_SIZE:
        magic, dst, src, auth, handle, reply_to, length = _unpack_from(data, start)
        first = start + HEADER_SIZE
        behind = first + length
        if magic != MAGIC or length > decoder.max_message_size:
            link.receive_data(broker, data[start:])
            return
        if behind > end:
            if length < LARGE_BODY or first == end:
                break
            if length < _HUGE_BODY or _readv is None:
                link.receive_data(broker, data[start:])
            else:
                _begin_body(link, (dst, src, auth, handle, reply_to), length, data[first:])
            return
        link.messages_received += 1
        out = decide(dst, src, auth, length, link, router.unidirectional, reply_to)
        start = behind
        frame_start = first - HEADER_SIZE
        if type(out) is not Refusal:
            # As it is: nothing of it changes on the way.
            if out._queue or length >= LARGE_BODY or not out.write([data[frame_start:behind]]):
                msg = make(dst, src, auth, handle, reply_to, data[first:behind])
                if out.queued:
                    router.hold_back(out, msg, link, None)
                if not out.send(msg):
                    router._refuse(msg, out.reason)
            continue
        msg = make(dst, src, auth, handle, reply_to, data[first:behind])
        if out is not DELIVER:
            router._async_route(msg, link)
            if link.closed:
                return
            continue
        entry = handlers.get(handle)
        if entry is not None and reply_to != IS_DEAD:
            fn, persist, respondent, policy = entry
            msg.router = router
            name = latch_of.get(getattr(fn, "__func__", None), "")
            if (
                (respondent is None or src == respondent.context_id)
                and name != ""
                and (policy is None or (policy is has_parent_authority and policy(msg)))
                and (persist or handlers.pop(handle, None) is entry)
            ):
                owner: Any = fn.__self__
                if name == "_latch" and owner.notify is None and _put(owner, msg):
                    if not persist:
                        owner._over = True
                    # Who set it just now may have found nothing yet.
                    notify = getattr(owner, "notify", None)
                    if notify is not None:
                        logs.attempt(owner, notify, owner)
                    continue
                try:
                    fn(msg)
                except Exception:
                    logs.log_exception("%s failed", fn)
                    router._refuse(msg, "its handler failed")
                continue
        router._dispatch(msg, link)
        if link.closed:
            return
    decoder._rest = data[start:]


def _put(receiver: Any, msg: Message) -> bool:
    """Do as `Receiver._on_receive` where that is all; return False if the receiver was closed."""
    latch = receiver._latch
    msg.receiver = receiver
    with latch._lock:
        if latch.closed:
            return False
        latch._queue.append(msg)
        if not latch._sleepers:
            return True
        sleeper = latch._sleepers.pop(0)
    os.write(sleeper.write_fd, _WAKE)
    return True


def _begin_body(link: Any, header: tuple[int, ...], length: int, data: bytes) -> None:
    """Prepare for a huge body that begins with `data`: from now on, the decoder is within it."""
    decoder = link._decoder
    entry = link.router._handlers.get(header[3])
    # Plain bytes are what is behind the first. They need no copy if that is kept apart, for those who
    # know it: who waits for an answer.
    is_raw = (
        data[:1] == RAW
        and header[0] == link.router.context_id
        and entry is not None
        and latch_of.get(getattr(entry[0], "__func__", None), "") is None
    )
    link.__dict__["is_raw"] = is_raw
    decoder._header, decoder._length = header, length - is_raw
    decoder._body = BytesIO(bytes(length - is_raw))
    decoder._body.write(data[is_raw:])


def _read_body(link: Any, fd: int) -> int | None:
    """Read more of a huge body; return what `os.readv` does, or None."""
    decoder = link._decoder
    body = decoder._body
    missing = decoder._length - body.tell()
    buffer = link.__dict__.get("buffer")
    if buffer is None:
        buffer = link.buffer = memoryview(bytearray(READ_SIZE))
    count: int
    try:
        # Not straight to where it is to be: that is new memory, and the writer would have to wait until
        # the system has made it.
        count = _readv(fd, [buffer[:missing]])
    except BlockingIOError:
        return None
    except OSError:
        return 0
    link.received += count
    body.write(buffer[:count])
    if count == missing:
        decoder._body = None
        del link.buffer
        is_raw = link.__dict__.pop("is_raw")
        value = body.getvalue()
        link.messages_received += 1
        parts = [RAW, value] if is_raw else value
        dst, src, auth, handle, reply_to = decoder._header
        link.router._async_route(make(dst, src, auth, handle, reply_to, parts), link)
    return count
