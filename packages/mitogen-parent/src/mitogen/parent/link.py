"""What is read from a target: `ChildStream`, the link to a child, and `ErrorOutput`, its stderr.

Own the bytes that come in, and tell the connection what they mean; what follows from that is decided
there. Broker thread.
"""

from __future__ import annotations

from mitogen.core import logs
from mitogen.core.pressure import is_ahead, pause
from mitogen.core.stream import BasicStream, Side, Stream
from mitogen.parent import handshake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mitogen.core.broker import Broker
    from mitogen.parent.connection import Connection

#: Bytes of a target's stderr that are kept for errors.
_STDERR_LIMIT = 4096


class ErrorOutput(BasicStream):
    """What the process writes to stderr until the core takes that over: kept for error messages."""

    def __init__(self, fd: int, name: str) -> None:
        self.receive_side = Side(self, fd, keep_alive=False)
        self.tail = b""
        self.name = name

    def on_receive(self, broker: Broker) -> None:
        data = self.receive_side.read() if self.receive_side else None
        if data:
            self.tail = (self.tail + data)[-_STDERR_LIMIT:]
            self.take(data)
        elif data is not None:
            self.on_disconnect(broker)

    def take(self, data: bytes) -> None:
        """Something was read."""
        logs.log(logs.DEBUG, "stderr of %s: %s", self.name, data.decode("utf-8", "replace"))


class ChildStream(Stream):
    """The link to a child: a `Stream` that begins with the handshake of its connection.

    :ivar takes_code: whether the child can run code objects that this interpreter compiled.
    :ivar compress: whether what is sent takes longer than to compress it.
    """

    takes_code = False

    def __init__(self, connection: Connection, receive_fd: int, transmit_fd: int) -> None:
        self.connection = connection
        self.compress = connection.compress
        self.handshake = handshake.Handshake()
        Stream.__init__(
            self,
            connection.router,
            connection.context_id,
            connection.name,
            receive_fd,
            transmit_fd,
        )

    def on_receive(self, broker: Broker) -> None:
        # Of masters: see `mitogen.core.receiving`.
        (getattr(type(self.router), "_on_receive", None) or Stream.on_receive)(self, broker)

    def receive_data(self, broker: Broker, data: bytes) -> None:
        if self.handshake.state != handshake.FRAMES:
            for event in self.handshake.receive_data(data):
                self.connection.on_event(event)
            if self.handshake.state == handshake.FAILED:
                self.connection.fail("it answered out of turn")
            data, self.handshake.rest = self.handshake.rest, b""
        if data and not self.closed:
            Stream.receive_data(self, broker, data)
            # A child that asks without reading the answers would fill our memory with them.
            if self.queued > self.router.high_water_mark or is_ahead(self, self):
                pause(self, self)

    def on_end(self, broker: Broker) -> None:
        self.connection.on_stream_end()

    def on_shutdown(self, broker: Broker) -> None:
        self.connection.send_shutdown(now=True)
