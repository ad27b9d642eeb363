"""Contexts without processes: routers that each have a broker of their own, joined by socket pairs.

Everything between two of them is real: brokers, streams, descriptors. Only the processes are missing, so
that one test sees all sides. Waits are bounded by `PATIENCE`, which nothing that works comes near to.
"""

from __future__ import annotations

import itertools
import socket
import threading
from typing import TYPE_CHECKING, Any

import mitogen.core
from mitogen.core import logs
from mitogen.core.broker import Broker
from mitogen.core.forwarding import ForwardingTable
from mitogen.core.latch import Latch
from mitogen.core.message import Message
from mitogen.core.router import Router
from mitogen.core.stream import BasicStream, Side, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

PATIENCE = 10.0


def descriptors(sock: socket.socket) -> tuple[int, int]:
    """Return two descriptors for the two sides of a stream, which closes each."""
    other = sock.dup()
    return sock.detach(), other.detach()


class Inbox:
    """A handler that keeps what it is given, and can be waited on. Called as ``fn(msg)``."""

    def __init__(self) -> None:
        self._latch = Latch()

    def __call__(self, msg: Message) -> None:
        self._latch.put(msg)

    def get(self, patience: float = PATIENCE) -> Message:
        """Return the next message."""
        msg = self._latch.get(patience)
        assert isinstance(msg, Message)
        return msg

    def empty(self) -> bool:
        """Return True if nothing arrived that was not taken."""
        return self._latch.empty()


class ForwardingRouter(Router):
    """A router that knows routes to others, but starts none."""

    table_class = ForwardingTable
    table: ForwardingTable


class Node:
    """A context: its id, a router and a broker. Ends with `end`."""

    def __init__(self, context_id: int, parent_ids: tuple[int, ...] = (), **options: Any) -> None:
        self.id = context_id
        self.broker = Broker()
        self.router = ForwardingRouter(self.broker, context_id, parent_ids, **options)

    def context(self, other: Node | int) -> mitogen.core.Context:
        """Return this context's reference to another one."""
        return self.router.make_context(other if isinstance(other, int) else other.id)

    def message(self, dst: Node | int, handle: int, data: bytes = b"", **fields: Any) -> Message:
        """Make a message from here. `mitogen.context_id` can be that of one context only."""
        fields = {"src_id": self.id, "auth_id": self.id, **fields}
        return Message(dst_id=dst if isinstance(dst, int) else dst.id, handle=handle, data=data, **fields)

    def send(self, dst: Node | int, handle: int, data: bytes = b"", **fields: Any) -> None:
        """Send a message from here."""
        self.router.route(self.message(dst, handle, data, **fields))

    def ask(
        self, dst: Node | int, handle: int, data: bytes = b"", patience: float = PATIENCE, **fields: Any
    ) -> Message:
        """Send a message and return the answer, whatever it is."""
        inbox = Inbox()
        reply_to = self.router.add_handler(inbox, persist=False)
        self.send(dst, handle, data, reply_to=reply_to, **fields)
        return inbox.get(patience)

    def inbox(self, handle: int | None = None, **options: Any) -> tuple[Inbox, int]:
        """Register an inbox; return it and its handle."""
        inbox = Inbox()
        return inbox, self.router.add_handler(inbox, handle, **options)

    def run(self, func: Callable[[], Any]) -> Any:
        """Call `func` on the broker thread."""
        return self.broker.defer_sync(func, PATIENCE)

    def settle(self) -> None:
        """Return when everything was done that the broker thread had to do."""
        self.run(lambda: None)

    def route_via(self, target: Node, via: Node) -> None:
        """Let this context know that `target` is behind `via`."""
        self.run(lambda: self.router.add_route(target.id, via.id))

    def end(self) -> None:
        """Shut down, and wait for it."""
        self.broker.shutdown()
        self.finish()

    def finish(self) -> None:
        """Wait for the end."""
        self.broker.join()


def join(parent: Node, child: Node) -> tuple[Stream, Stream]:
    """Connect two contexts; return the parent's and the child's stream."""
    ends = socket.socketpair()
    streams = []
    for here, there, sock in ((parent, child, ends[0]), (child, parent, ends[1])):
        stream = Stream(here.router, there.id, "context-%d" % there.id, *descriptors(sock))
        here.router.register(here.context(there), stream)
        here.settle()
        streams.append(stream)
    return streams[0], streams[1]


class Tree:
    """A tree of nodes, by their ids: ``Tree({0: None, 1: 0, 2: 1})`` maps each to its parent."""

    def __init__(self, parents: dict[int, int | None], **options: dict[str, Any]) -> None:
        self.nodes: dict[int, Node] = {}
        self.streams: dict[int, tuple[Stream, Stream]] = {}
        for context_id, parent_id in parents.items():
            above: list[int] = []
            ancestor = parent_id
            while ancestor is not None:
                above.append(ancestor)
                ancestor = parents[ancestor]
            node = Node(context_id, tuple(above), **options.get("node%d" % context_id, {}))
            self.nodes[context_id] = node
            if parent_id is not None:
                self.streams[context_id] = join(self.nodes[parent_id], node)
                for lower, upper in itertools.pairwise(above):
                    self.nodes[upper].route_via(node, self.nodes[lower])

    def __getitem__(self, context_id: int) -> Node:
        return self.nodes[context_id]

    def end(self) -> None:
        """Shut all down, and wait for them."""
        for node in self.nodes.values():
            node.broker.shutdown()
        for node in self.nodes.values():
            node.finish()


class Peer:
    """The other end of a stream, as a bare socket: says whatever the test wants."""

    def __init__(self, node: Node, context_id: int) -> None:
        self.sock, other = socket.socketpair()
        self.sock.settimeout(PATIENCE)
        self.stream = Stream(node.router, context_id, "context-%d" % context_id, *descriptors(other))
        self.gone = Latch()
        mitogen.core.listen(self.stream, "disconnect", self.gone.put)
        node.router.register(node.context(context_id), self.stream)
        node.settle()

    def read(self, size: int) -> bytes:
        """Read exactly `size` bytes."""
        parts = []
        while size:
            part = self.sock.recv(size)
            assert part, "the stream ended early"
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


class LineStream(BasicStream):
    """The simplest stream: puts what it reads, and how it ended, into a latch."""

    def __init__(self, fd: int, keep_alive: bool = True) -> None:
        self.receive_side = Side(self, fd, keep_alive)
        self.got = Latch()

    def on_receive(self, broker: Broker) -> None:
        assert self.receive_side is not None
        data = self.receive_side.read()
        if data is not None:
            self.got.put(data)
        if data == b"":
            self.on_disconnect(broker)


def in_thread(func: Callable[[], Any], patience: float = PATIENCE) -> Callable[[], Any]:
    """Start `func` in a thread; return what waits for its result, or raises what it raised."""
    done = Latch()

    def run() -> None:
        try:
            done.put((func(), None))
        except BaseException as e:
            done.put((None, e))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def result() -> Any:
        value, error = done.get(patience)
        thread.join(patience)
        if error is not None:
            raise error
        return value

    return result


def asleep(latch: Latch, count: int = 1) -> None:
    """Return when `count` threads sleep on `latch`."""
    tick = threading.Event()
    for _ in range(int(PATIENCE / 0.001)):
        if len(latch._sleepers) == count:
            return
        tick.wait(0.001)
    raise AssertionError("%d threads sleep, not %d" % (len(latch._sleepers), count))


def collect_logs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str, str]]:
    """Return a list that gets all lines the library logs from here on: (level, logger name, text)."""
    lines: list[tuple[int, str, str]] = []
    monkeypatch.setattr(logs, "sink", lambda *line: lines.append(line))
    monkeypatch.setattr(logs, "child_level", logs.DEBUG)
    return lines


def ended(node: Node) -> Iterator[Node]:
    """Yield `node`, and end it: the body of a fixture."""
    try:
        yield node
    finally:
        node.end()
