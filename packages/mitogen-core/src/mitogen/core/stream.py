"""Descriptors in use: `Side`, `BasicStream`, and `Stream`, a link to another context.

`Side` and `BasicStream` are what a broker multiplexes; everything that reads or writes on the broker
thread derives from them. `Stream` owns one link: it feeds what it reads to a `FrameDecoder` and gives the
messages to the router, and it writes messages.

Writing: the thread that sends writes to the descriptor itself whenever nothing is queued ahead of it,
under the stream's lock, so that a message costs no thread switch on its way out. What the descriptor does
not take at once is queued, and the broker thread writes the rest. Descriptors are non-blocking, so
neither ever blocks. Header and body are written by one `writev`, never joined when large.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from collections import deque
from itertools import islice

from mitogen.core import logs
from mitogen.core.framing import FrameDecoder, encode_header
from mitogen.core.serialization import JOIN_LIMIT
from mitogen.core.signals import fire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Union

    from mitogen.core.broker import Broker
    from mitogen.core.message import Message
    from mitogen.core.router import Router

    Buffer = Union[bytes, memoryview]

#: Bytes asked of one read. More would only grow the buffer that every read allocates.
READ_SIZE = 1 << 19
#: Buffers given to one writev; the portable minimum of IOV_MAX is 16.
_MAX_BUFFERS = 16

_write: Any = getattr(os, "writev", lambda fd, buffers: os.write(fd, buffers[0]))


class Side:
    """One direction of a stream: a descriptor that is closed once.

    :param keep_alive: hold up the broker's shutdown until this is closed, up to the grace period.
    """

    def __init__(self, stream: BasicStream, fd: int, keep_alive: bool = True) -> None:
        self.fd = fd
        self.keep_alive = keep_alive
        self.closed = False
        os.set_blocking(fd, False)

    def close(self) -> None:
        """Close the descriptor. Idempotent; the broker must have forgotten it first."""
        if not self.closed:
            self.closed = True
            os.close(self.fd)

    def read(self, size: int = READ_SIZE) -> bytes | None:
        """Read what is there: None if nothing is, ``b""`` at the end or when the peer is gone."""
        try:
            return os.read(self.fd, size)
        except BlockingIOError:
            return None
        except OSError:
            # A reset connection, or the EIO of a terminal without processes: the end, all the same.
            return b""


class BasicStream:
    """Something with descriptors that a broker multiplexes. `on_` methods run on its thread."""

    #: For logs.
    name = ""
    receive_side: Side | None = None
    transmit_side: Side | None = None

    def __repr__(self) -> str:
        return "%s(%s)" % (type(self).__name__, self.name)

    @property
    def keep_alive(self) -> bool:
        """True if the broker's shutdown waits for the end of this stream, up to its grace period."""
        return self.receive_side is not None and self.receive_side.keep_alive

    def on_receive(self, broker: Broker) -> None:
        """The receive side is readable."""

    def on_transmit(self, broker: Broker) -> None:
        """The transmit side is writable."""

    def on_shutdown(self, broker: Broker) -> None:
        """The broker is shutting down: end soon, by `on_disconnect`."""
        self.on_disconnect(broker)

    def on_disconnect(self, broker: Broker) -> None:
        """End: leave the broker, close the descriptors, fire `disconnect` once."""
        broker.forget(self)
        BasicStream.on_fork(self)
        self.receive_side = self.transmit_side = None
        fire(self, "disconnect")

    def on_fork(self) -> None:
        """In a forked child: close the copies of the descriptors, and touch nothing that is shared."""
        for side in (self.receive_side, self.transmit_side):
            if side is not None:
                side.close()


class Stream(BasicStream):
    """A link to another context.

    :param remote_id: id of the context at the other end.
    :param name: name of that context, for errors and logs.
    :ivar reason: why the link ended, for those that wait on something behind it.
    :ivar since: when it became a link, by `time.monotonic`.
    """

    since: float

    def __init__(
        self, router: Router, remote_id: int, name: str, receive_fd: int, transmit_fd: int
    ) -> None:
        self.router = router
        self.remote_id = remote_id
        self.name = name
        self.reason = ""
        self.receive_side = Side(self, receive_fd)
        # A socket serves both ways with one descriptor.
        self.transmit_side = self.receive_side if transmit_fd == receive_fd else Side(self, transmit_fd)
        self.closed = False
        #: Bytes and messages that were read from the peer, and those that were sent or queued.
        self.received = self.messages_received = self.sent = self.messages_sent = 0
        #: Bytes that wait to be sent.
        self.queued = 0
        #: Called once there is room in the queue, or the link is gone. Broker thread, but for appending.
        self.held_back: list[Callable[[], object]] = []
        #: Who reads: one thread at a time, under 0. Not always the broker's, see `mitogen.core.leading`.
        self.reader: dict[int, object] = {}
        self._decoder = FrameDecoder(router.max_message_size)
        self._lock = allocate_lock()
        self._queue: deque[Buffer] = deque()
        #: Disconnect as soon as everything queued is written.
        self._finishing = False

    # -- Receiving; broker thread --------------------------------------------------------------

    def on_receive(self, broker: Broker) -> None:
        side = self.receive_side
        if side is None or self.reader.setdefault(0, broker) is not broker:
            return
        # About so many messages as this link brings: each costs time, however small it is, and those on
        # other links wait for their turn.
        data = side.read(min(READ_SIZE, 1000 + 64 * self.received // (self.messages_received + 1)))
        if data:
            self.received += len(data)
            self.receive_data(broker, data)
        elif data is not None:
            self.on_end(broker)
        # Not after an exception, which ends the link.
        self.reader.clear()

    def receive_data(self, broker: Broker, data: bytes) -> None:
        """Take `data`, the next bytes from the peer. Broker thread only."""
        messages = self._decoder.receive_data(data)
        self.messages_received += len(messages)
        for msg in messages:
            self.router._async_route(msg, self)
        if self._decoder.error and not self.closed:
            self.disconnect(broker, "%s sent what is %s" % (self.name, self._decoder.error))
            logs.log(logs.ERROR, "disconnected: %s", self.reason)

    def on_end(self, broker: Broker) -> None:
        """The peer closed its end."""
        self.disconnect(broker, "the connection to context %s was closed by it" % self.name)

    def disconnect(self, broker: Broker, reason: str) -> None:
        """End the link for `reason`. Broker thread only."""
        self.reason = self.reason or reason
        self.on_disconnect(broker)

    def on_shutdown(self, broker: Broker) -> None:
        self._finishing = True
        if not self._queue:
            self.on_disconnect(broker)

    def on_disconnect(self, broker: Broker) -> None:
        with self._lock:
            if self.closed:
                return
            self.closed = True
            self._queue.clear()
        BasicStream.on_disconnect(self, broker)
        self._make_room()

    def on_fork(self) -> None:
        # A thread of the parent process may have held the old one when the process forked.
        self._lock = allocate_lock()
        self.closed = True
        BasicStream.on_fork(self)

    # -- Sending -------------------------------------------------------------------------------

    def send(self, msg: Message) -> bool:
        """Send `msg`, or queue what does not go out at once. Any thread; never blocks.

        :returns: False if the link is closed and the message was not taken.
        """
        header = encode_header(msg)
        body = msg.body
        if type(body) is list:
            return self.write([header] + body)
        if len(body) < JOIN_LIMIT:
            return self.write([header + body])  # type: ignore[operator]
        return self.write([header, body])  # type: ignore[list-item]

    def write(self, buffers: list[bytes]) -> bool:
        """Send raw `buffers` in the order of the calls, as `send` does. Any thread; never blocks."""
        sent: list[int] = []
        size = sum(map(len, buffers))
        is_rest = False
        try:
            with self._lock:
                if self.closed:
                    return False
                self.sent += size
                self.messages_sent += 1
                if self._queue:
                    self._queue.extend(buffers)
                    self.queued += size
                    return True
                side: Any = self.transmit_side
                try:
                    # One step for the interpreter: the exception of a signal, such as a time-out's, must
                    # not come between the write and its count. The rest of a frame would be lost.
                    sent.extend(map(_write, (side.fd,), (buffers[:_MAX_BUFFERS],)))
                except OSError:
                    pass  # Full. Or broken: the broker finds out when it tries.
                finally:
                    is_rest = sum(sent) < size
                    if is_rest:
                        self._queue.extend(buffers)
                        self.queued += size
                        self._drop(sum(sent))
        finally:
            if is_rest:
                self.router.broker.defer(self.router.broker._start_transmit, self)
        return True

    def on_transmit(self, broker: Broker) -> None:
        with self._lock:
            if self.closed:
                return
            try:
                side: Any = self.transmit_side
                # All that fits: what a link may queue in a turn is far more than one write takes.
                while self._queue:
                    self._drop(_write(side.fd, list(islice(self._queue, _MAX_BUFFERS))))
            except BlockingIOError:
                pass
            except OSError:
                # The reading side finds the end first, with whatever the peer still said before it;
                # unless the peer only reads no more.
                self._queue.clear()
                reason = "the connection to context %s is broken" % self.name
                broker.call_later(1.0, lambda: self.disconnect(broker, reason))
            is_done = not self._queue
            if is_done:
                broker._stop_transmit(self)
        # At half the mark, so that those who wait do not wake for every message.
        if self.held_back and self.queued <= self.router.high_water_mark // 2:
            self._make_room()
        if is_done and self._finishing:
            self.on_disconnect(broker)

    def _make_room(self) -> None:
        """Let those go on that were held back because of a full queue. Broker thread only."""
        held_back, self.held_back = self.held_back, []
        for go_on in held_back:
            go_on()

    def _drop(self, count: int) -> None:
        """Forget the first `count` bytes of the queue; they were sent."""
        queue = self._queue
        self.queued -= count
        while queue and count >= 0:
            size = len(queue[0])
            if size > count:
                queue[0] = memoryview(queue[0])[count:]
                return
            count -= size
            queue.popleft()
