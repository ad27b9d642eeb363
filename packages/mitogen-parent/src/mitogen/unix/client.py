"""The client's side: `connect`, and the router that it gives, `ClientRouter`.

To its router the host is a parent, the only link there is. Whoever has that link has the authority of
the host (see the header of this package), so a client serves nothing to anybody: it has no children.
"""

from __future__ import annotations

import os
import socket
from time import monotonic, sleep

import mitogen
from mitogen.core import handles
from mitogen.core.broker import Broker
from mitogen.core.errors import ChannelError, Error, StreamError
from mitogen.core.router import has_parent_authority
from mitogen.core.signals import unlisten
from mitogen.core.stream import Stream
from mitogen.parent.router import Router
from mitogen.unix import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from mitogen.core.message import Message
    from mitogen.parent.context import Context
    from mitogen.unix.wire import Answer, AnyPath

#: Bytes in the line of a host: the ids of all of its parents are in it.
_ANSWER_LIMIT = 65536


class ClientRouter(Router):
    """The router of a client. Made by `connect`. Use it in a ``with`` statement, or call `close`.

    It starts contexts with `via` only: a client has no children, and serves no modules. For contexts of
    its own, a program makes a `mitogen.master.Router`; it may have any number of both.

    `mitogen.context_id` and its like stay as they are, and tell who the process is by itself. Who it is
    in the tree that it joined, `context_id` and `parent_ids` of this router tell. Messages that were
    made without ids, by user code for example, get the right ones when they are sent by this router.
    References to contexts belong to the router that they came with: an equal id in another tree is
    another context.

    :ivar host: the `Context` of the host.
    """

    def __init__(self, broker: Broker | None, sock: socket.socket, answer: Answer) -> None:
        context_id, max_message_size, pid, parent_ids = answer
        self._is_broker_ours = broker is None
        self._has_left = False
        Router.__init__(self, broker or Broker(), context_id, parent_ids, max_message_size)
        self.host = self.make_context(parent_ids[0], "unix.%d" % pid)
        fd = sock.detach()
        self._stream = Stream(self, parent_ids[0], self.host.name, fd, fd)
        self.add_handler(self._on_shutdown, handles.SHUTDOWN, policy=has_parent_authority)

    def join(self, rest: bytes) -> None:
        """Begin to send and receive. Broker thread.

        :param rest: what came behind the host's answer.
        """
        self.add_link(self.host, self._stream)
        self.broker._start_receive(self._stream)
        if rest:
            self._stream.receive_data(self.broker, rest)

    def __enter__(self) -> ClientRouter:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the tree: close the connection, end all waits, and the broker if `connect` made it.

        Idempotent. Any thread.
        """
        if self._is_broker_ours:
            self.broker.shutdown()
            self.broker.join()
            return
        try:
            self.broker.defer_sync(self._leave)
        except ChannelError:
            pass  # The broker has ended, and this with it.

    def _leave(self) -> None:
        stream = self._stream
        stream.reason = stream.reason or "this program left the tree of %s" % self.host.name
        # What is queued may still go.
        stream.on_shutdown(self.broker)
        if not stream.closed:
            patience = self.broker.shutdown_timeout
            self.broker.call_later(patience, lambda: stream.disconnect(self.broker, ""))
        if not self._has_left:
            self._has_left = True
            # As if the broker had ended; and it must not keep this router.
            unlisten(self.broker, "exit", self._on_broker_exit)
            self._on_broker_exit()

    def _on_shutdown(self, msg: Message) -> None:
        if not msg.is_dead:
            self._stream.disconnect(self.broker, "%s had this program leave its tree" % self.host.name)

    def route(self, msg: Message, timeout: float | None = None) -> None:
        """Send `msg` on its way: see `mitogen.core.Router`. Fills in ids that it was made without."""
        if msg.src_id == mitogen.context_id:
            msg.src_id = self.context_id
        if msg.auth_id == mitogen.context_id:
            msg.auth_id = self.context_id
        Router.route(self, msg, timeout)

    def allocate_id(self) -> int:
        """Refuse: an id is for a context that is started from here.

        :raises StreamError: always.
        """
        raise StreamError(
            "a client of %s can't have children: pass via= with a context of that tree, or make a"
            " mitogen.master.Router for contexts of this program's own",
            self.host.name,
        )

    def end_context(self, context_id: int, ended: Callable[[], object]) -> None:
        # So it is asked to go, and the routes tell when it went.
        raise Error("context %d was started by another one", context_id)


def _reach(path: str, deadline: float) -> socket.socket:
    """Return a socket that is connected to the one at `path`."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        while True:
            sock.settimeout(max(0.001, deadline - monotonic()))
            try:
                sock.connect(path)
                return sock
            except BlockingIOError:
                # More clients come than are accepted. There is nothing to wait on until that changes.
                if monotonic() > deadline:
                    raise
                sleep(0.01)
    except BaseException as e:
        sock.close()
        if not isinstance(e, OSError):
            raise
        hint = "pass the path of a Listener of this user's"
        if isinstance(e, ConnectionRefusedError):
            hint = "the program that listened there has ended, or closed its Listener"
        elif isinstance(e, (BlockingIOError, socket.timeout)):
            hint = "the program that listens there accepts nobody; is it stopped, or overloaded?"
        raise StreamError("can't connect to %s: %s; %s", path, e.strerror or e, hint) from e


def _ask(sock: socket.socket, deadline: float) -> tuple[bytes, bytes]:
    """Say hello; return the line of the answer, and what came behind it.

    :raises OSError: there was none.
    """
    try:
        sock.sendall(wire.line(str(os.getpid())))
    except (BrokenPipeError, ConnectionResetError):
        pass  # It may have said why before it closed the connection.
    data = b""
    while b"\n" not in data and len(data) < _ANSWER_LIMIT:
        sock.settimeout(max(0.001, deadline - monotonic()))
        more = sock.recv(4096)
        if not more:
            break
        data += more
    line, _, rest = data.partition(b"\n")
    return line, rest


def _check_user(sock: socket.socket, path: str) -> None:
    """Refuse to talk to another user's program; root talks to all."""
    uid, here = wire.peer_uid(sock), os.geteuid()
    if here and (uid is None or uid not in (0, here)):
        raise StreamError(
            "can't join the program on %s: it is one %s; user %d joins those of its own and of root",
            path,
            "whose user the system does not tell" if uid is None else "of user %d" % uid,
            here,
        )


def connect(
    path: AnyPath, broker: Broker | None = None, connect_timeout: float = 30.0
) -> tuple[ClientRouter, Context]:
    """Join the tree of the program that listens on `path`. Any thread but the broker's.

    Messages and calls then go to every context that the host can reach, with the host's authority.
    Modules are found as they are for the host's calls: those of this program go nowhere. A host that is
    a child runs calls itself; a master has only the handlers that it added.

    :param path: the path of the socket: `Listener.path`.
    :param broker: the broker to use; by default one of its own, which ends with the router.
    :param connect_timeout: seconds to wait at most.
    :returns: a router, to be closed in the end, and the context of the host.
    :raises StreamError: nobody listens there; or the program there belongs to another user, refused, has
        another version of this library, or did not answer in time.
    """
    path = wire.checked_path(path)
    deadline = monotonic() + connect_timeout
    answer: Answer | str
    sock = _reach(path, deadline)
    try:
        _check_user(sock, path)
        try:
            line, rest = _ask(sock, deadline)
            answer = wire.understand(line)
        except socket.timeout:
            answer = "it did not answer within %s seconds" % connect_timeout
        except OSError as e:
            answer = "it closed the connection: %s" % e.strerror
        if isinstance(answer, str):
            raise StreamError("can't join the program on %s: %s", path, answer)
        router = ClientRouter(broker, sock, answer)
    except BaseException:
        sock.close()
        raise
    try:
        router.broker.defer_sync(lambda: router.join(rest))
    except ChannelError as e:
        router._stream.on_fork()  # Closes what no broker watches.
        raise StreamError("can't join the program on %s: %s", path, e) from None
    except BaseException:
        router.close()
        raise
    return router, router.host
