"""The host's side: `Listener` admits clients, `ClientStream` is the link to one.

See the header of this package for who is admitted, and for how what clients send gets the host's
authority.

A client that only connects costs one descriptor, for `HELLO_TIMEOUT` seconds. It has an id, a name and a
route once it said hello. Ids come from a stock of the listener's own: threads that wait for ids hold the
lock of the starter's stock, and the broker thread must not wait for them.

But for `Listener.build_stream` and `Listener.close`, all runs on the broker thread.
"""

from __future__ import annotations

import os
import socket
from time import monotonic

import mitogen
from mitogen.core.errors import ChannelError, StreamError
from mitogen.core.framing import FrameDecoder
from mitogen.core.pressure import pause
from mitogen.core.routing import DELIVER, Refusal
from mitogen.core.stream import BasicStream, Side, Stream
from mitogen.parent import temporary
from mitogen.unix import place, wire
from mitogen.unix.client import ClientRouter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import mitogen.core
    from mitogen.core.broker import Broker
    from mitogen.core.message import Message
    from mitogen.parent.starter import Starter
    from mitogen.unix.wire import AnyPath

#: Seconds that a client gets to say hello and be admitted.
HELLO_TIMEOUT = 10.0
#: Bytes in the line of a client.
_HELLO_LIMIT = 200
#: Clients that are accepted before anything else gets its turn.
_ACCEPT_LIMIT = 64
#: What a client is told whose hello makes no sense.
_ODD = "it does not speak as a client does"
#: Seconds without accepting when there are no descriptors left.
_PAUSE = 0.2


class Listener(BasicStream):
    """Admits other processes of the same user, and of root, to the tree that this program belongs to.

    Made by `build_stream`. The socket, and the folder that was made for it, are removed by `close`, and
    when the broker shuts down.

    :ivar path: the absolute path of the socket.
    """

    def __init__(
        self, router: mitogen.core.Router, sock: socket.socket, path: str, folder: str | None
    ) -> None:
        self.router = router
        self.path = self.name = path
        self.receive_side = Side(self, sock.fileno(), keep_alive=False)
        self._sock = sock
        self._identity = place.identity(path)
        self._folder = folder
        self._is_closed = False
        self._starter: Starter = router.starter
        #: Clients that are not admitted yet, and until when they may be; in order of that.
        self._pending: dict[ClientStream, float] = {}
        #: Their one timer runs: clients may come and go by the thousand.
        self._is_timed = False
        #: Those of them that wait for an id.
        self._waiting: list[ClientStream] = []
        #: First of the ids in stock, and the one past the last.
        self._ids = (0, 0)
        self._asked_for_ids = False

    @classmethod
    def build_stream(
        cls, router: mitogen.core.Router, path: AnyPath | None = None, backlog: int = 100
    ) -> Listener:
        """Start to listen on a socket. Any thread but the broker's.

        :param router: the router of a master, or of a child (see `mitogen.core.takes_router`).
        :param path: where the socket is to be; by default in a new folder among the temporary files,
            which other users can't enter. A socket there that nobody listens on is replaced.
        :param backlog: connections that may wait to be accepted.
        :raises StreamError: it can't listen there; the text says why, and what to do.
        :raises ChannelError: the broker has ended.
        """
        if isinstance(router, ClientRouter):
            raise StreamError("a client can't admit others: have its host listen on one more path")
        # In a child that has had no children yet this takes a moment. Clients are to find it done.
        router.starter  # noqa: B018
        folder = None
        if path is None:
            folder = temporary.make_folder()
            path = os.path.join(folder, temporary.SOCKET)
        try:
            path = wire.checked_path(path)
            self = cls(router, place.listen(path, backlog), path, folder)
        except BaseException:
            place.remove("", None, folder)
            raise
        try:
            router.broker.start_receive(self)
        except ChannelError:
            self.on_disconnect(router.broker)
            raise
        return self

    def close(self) -> None:
        """Listen no more, and remove the socket. Clients that were admitted stay. Any thread; idempotent.

        Returns when it is removed.
        """
        broker = self.router.broker
        try:
            broker.defer_sync(lambda: self.on_disconnect(broker))
        except ChannelError:
            pass  # The broker has ended, and this with it.

    def on_disconnect(self, broker: Broker) -> None:
        if not self._is_closed:
            self._is_closed = True
            # While the descriptor is open, no other file has this one's identity.
            place.remove(self.path, self._identity, self._folder)
            BasicStream.on_disconnect(self, broker)
            self._sock.detach()

    def on_fork(self) -> None:
        BasicStream.on_fork(self)
        self._sock.detach()

    # -- Admission -----------------------------------------------------------------------------

    def on_receive(self, broker: Broker) -> None:
        for _ in range(_ACCEPT_LIMIT):
            try:
                sock = self._sock.accept()[0]
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            except OSError as e:
                # No descriptors, or no memory. Clients wait in the system's queue, and others may end.
                self.router._complain("can't accept clients on %s: %s", self.path, e.strerror)
                broker._stop_receive(self)
                broker.call_later(_PAUSE, self._resume)
                return
            self._on_client(sock)

    def _resume(self) -> None:
        if not self._is_closed:
            self.router.broker._start_receive(self)

    def _on_client(self, sock: socket.socket) -> None:
        """Somebody connected: have a look at who it is."""
        uid, here = wire.peer_uid(sock), os.geteuid()
        if uid is None or uid not in (0, here):
            who = "it is a process whose user the system does not tell"
            if uid is not None:
                who = "it is a process of user %d" % uid
            reason = "%s; those of user %d and of root are admitted" % (who, here)
            self.router._complain("refused a client on %s: %s", self.path, reason)
            sock.setblocking(False)
            try:
                sock.send(wire.refusal(reason))
            except OSError:
                pass
            sock.close()
            return
        stream = ClientStream(self, sock.detach())
        self._pending[stream] = monotonic() + HELLO_TIMEOUT
        self._time()
        self.router.broker._start_receive(stream)

    def _time(self) -> None:
        if self._pending and not self._is_timed:
            self._is_timed = True
            due = next(iter(self._pending.values()))
            self.router.broker.call_later(max(0.0, due - monotonic()), self._expire)

    def _expire(self) -> None:
        """Refuse those whose time has passed."""
        self._is_timed = False
        now = monotonic()
        for stream, due in list(self._pending.items()):
            if due <= now:
                self.refuse(stream, "it was not admitted within %d seconds" % HELLO_TIMEOUT)
        self._time()

    def refuse(self, stream: ClientStream, reason: str) -> None:
        """Tell a client why it is not admitted, and let it go."""
        stream.write([wire.refusal(reason)])
        self.router._complain("refused a client on %s: %s", self.path, reason)
        stream.disconnect(self.router.broker, reason)

    def on_hello(self, stream: ClientStream, said: bytes) -> None:
        """A client that was not admitted yet has sent something, `said` in all."""
        line, end, rest = said.partition(b"\n")
        magic = wire.MAGIC.encode()
        if not end and len(said) <= _HELLO_LIMIT and said.startswith(magic[: len(said)]):
            return  # The rest may be on its way.
        words = line.split(b" ")
        version = words[1].decode("utf-8", "replace") if len(words) > 1 else ""
        if rest or not end or words[0] != magic:
            self.refuse(stream, _ODD)
        elif version != mitogen.__version__:
            self.refuse(stream, wire.differ(version))
        elif len(words) != 3 or not words[2].isdigit():
            self.refuse(stream, _ODD)
        else:
            stream.name = "unix." + words[2].decode()
            self._waiting.append(stream)
            self._admit()

    def _admit(self) -> None:
        """Admit those that said hello, as far as there are ids; see to more."""
        waiting, self._waiting = self._waiting, []
        for stream in waiting:
            first, end = self._ids
            if first == end:
                self._waiting.append(stream)
            elif not stream.closed:
                self._ids = first + 1, end
                self._let_in(stream, first)
        if self._waiting and not self._asked_for_ids:
            self._asked_for_ids = True
            self._starter.request_ids(self._on_ids)

    def _on_ids(self, first: int, end: int) -> None:
        self._asked_for_ids = False
        if end:
            self._ids = first, end
            self._admit()
            return
        waiting, self._waiting = self._waiting, []
        for stream in waiting:
            self.refuse(stream, "the master gives no more ids for contexts, or is gone")

    def _let_in(self, stream: ClientStream, context_id: int) -> None:
        router = self.router
        above = ",".join(map(str, [router.context_id, *router.parent_ids]))
        answer = "%d %d %d %s" % (context_id, router.max_message_size, os.getpid(), above)
        # First of all: once others know of the client, they may send it frames.
        stream.write([wire.line(answer)])
        self._pending.pop(stream, None)
        stream.remote_id = context_id
        router.add_link(router.make_context(context_id, stream.name), stream)
        self._starter.routes.announce(context_id, stream.name)

    def forget(self, stream: ClientStream) -> None:
        """The connection to a client was closed."""
        self._pending.pop(stream, None)


class ClientStream(Stream):
    """The host's end of the link to a client.

    :ivar remote_id: id of the client; 0, which no client has, until it is admitted.
    """

    def __init__(self, listener: Listener, fd: int) -> None:
        self._listener = listener
        self._said = b""
        self._frames = FrameDecoder(listener.router.max_message_size)
        Stream.__init__(self, listener.router, 0, "a client on " + listener.path, fd, fd)

    def receive_data(self, broker: Broker, data: bytes) -> None:
        if not self.remote_id:
            self._said += data
            self._listener.on_hello(self, self._said)
            return
        messages = self._frames.receive_data(data)
        self.messages_received += len(messages)
        for msg in messages:
            self._on_message(msg)
        # A client that asks without reading the answers would fill our memory with them.
        if self.queued > self.router.high_water_mark:
            pause(self, self)
        if self._frames.error and not self.closed:
            self.disconnect(broker, "%s sent what is %s" % (self.name, self._frames.error))
            self.router._complain("disconnected: %s", self.reason)

    def _on_message(self, msg: Message) -> None:
        """Do what `Router._async_route` does; but what is not refused gets the host's authority."""
        router = self.router
        client_id = self.remote_id
        if msg.src_id == client_id and msg.auth_id == client_id:
            out: Any = router.table.decide(
                msg.dst_id, client_id, client_id, msg.size(), self, router.unidirectional, msg.reply_to
            )
            if out is DELIVER or type(out) is not Refusal:
                msg.auth_id = router.context_id
                self._pass_on(msg, out)
                return
        # It decides the same again, and tells those who are to know. What is forged it refuses, since no
        # other route than the client's own leads over this link.
        router._async_route(msg, self)

    def _pass_on(self, msg: Message, out: Any) -> None:
        router = self.router
        if out is DELIVER:
            router._dispatch(msg, self)
            return
        if out.queued > router.high_water_mark:
            router.hold_back(out, msg, self, None)
        if not out.send(msg):
            router._refuse(msg, out.reason)

    def on_disconnect(self, broker: Broker) -> None:
        self._listener.forget(self)
        Stream.on_disconnect(self, broker)
