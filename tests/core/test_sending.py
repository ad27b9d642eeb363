"""`mitogen.core.sending`: the short way out, which sends what the usual one would, or nothing at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mitogen.core.framing import HEADER, HEADER_SIZE, MAGIC, encode_header
from mitogen.core.message import Message, make
from mitogen.core.sending import SCALARS, plain_dumps, send_at_once
from mitogen.core.serialization import JOIN_LIMIT, PROTOCOL, dumps, loads
from tests.core.tools import PATIENCE, Node, Peer, ended, in_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE, CHILD, GRANDCHILD, NOBODY = 0, 7, 8, 99
#: More than the system's buffer of a socket holds.
MUCH = 1 << 20


def send_on_its_link(router: Any, dst_id: int, handle: int, reply_to: int, body: Any) -> bool:
    """Send where the table of routes says."""
    return send_at_once(router, router.table.link_to(dst_id), dst_id, handle, reply_to, body)


@pytest.fixture
def node() -> Iterator[Node]:
    yield from ended(Node(HERE))


@pytest.fixture
def peer(node: Node) -> Iterator[Peer]:
    peer = Peer(node, CHILD)
    yield peer
    peer.sock.close()


def read_message(peer: Peer) -> Message:
    """Read one message that was sent to the peer."""
    magic, dst, src, auth, handle, reply_to, length = HEADER.unpack(peer.read(HEADER_SIZE))
    assert magic == MAGIC
    return make(dst, src, auth, handle, reply_to, peer.read(length))


def has_nothing(node: Node, peer: Peer) -> bool:
    """Return True if nothing was sent to the peer."""
    node.settle()
    return (peer.stream.sent, peer.stream.messages_sent, peer.stream.queued) == (0, 0, 0)


@pytest.mark.parametrize("size", [0, 1, 100, JOIN_LIMIT - 1])
def test_what_is_sent_is_what_the_router_would_send(node: Node, peer: Peer, size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    assert send_on_its_link(node.router, CHILD, 1234, 5, body[:size]) is True
    node.router.route(make(CHILD, HERE, HERE, 1234, 5, body[:size]))
    usual = make(CHILD, HERE, HERE, 1234, 5, body[:size])
    data = encode_header(usual) + body[:size]
    assert peer.read(2 * len(data)) == data * 2
    assert (peer.stream.sent, peer.stream.messages_sent) == (2 * len(data), 2)


def test_a_message_takes_the_known_route(node: Node, peer: Peer) -> None:
    node.run(lambda: node.router.add_route(GRANDCHILD, CHILD))
    assert send_on_its_link(node.router, GRANDCHILD, 1, 0, b"data")
    assert read_message(peer).dst_id == GRANDCHILD


@pytest.mark.parametrize("dst_id", [0, 1, NOBODY])
def test_a_child_sends_all_else_to_its_parent(dst_id: int) -> None:
    node = Node(5, (1, 0))
    parent = Peer(node, 1)
    try:
        assert send_on_its_link(node.router, dst_id, 1, 0, b"data")
        msg = read_message(parent)
        assert (msg.dst_id, msg.src_id, msg.auth_id, msg.data) == (dst_id, 5, 5, b"data")
    finally:
        node.end()
        parent.sock.close()


@pytest.mark.parametrize(
    ("dst_id", "body"),
    [
        (CHILD, b"x" * JOIN_LIMIT),
        (CHILD, [b"\0", b"x"]),
        (CHILD, bytearray(b"x")),
        (NOBODY, b"x"),
        (HERE, b"x"),
    ],
    ids=["a large body", "a body in parts", "no bytes", "no route", "itself"],
)
def test_what_is_unusual_is_not_sent(node: Node, peer: Peer, dst_id: int, body: Any) -> None:
    assert not send_on_its_link(node.router, dst_id, 1, 0, body)
    assert has_nothing(node, peer)


def test_a_body_over_the_routers_limit_is_not_sent() -> None:
    node = Node(HERE, max_message_size=100)
    peer = Peer(node, CHILD)
    try:
        assert not send_on_its_link(node.router, CHILD, 1, 0, b"x" * 101)
        assert has_nothing(node, peer)
        assert send_on_its_link(node.router, CHILD, 1, 0, b"x" * 100)
    finally:
        node.end()
        peer.sock.close()


def test_nothing_is_sent_on_a_link_that_is_gone(node: Node, peer: Peer) -> None:
    link = peer.stream
    peer.sock.close()
    peer.gone.get(PATIENCE)
    assert not send_on_its_link(node.router, CHILD, 1, 0, b"x")
    # As if it ended just then: the table knows it still.
    node.run(lambda: node.router.table.add(CHILD, link))
    assert not send_on_its_link(node.router, CHILD, 1, 0, b"x")
    assert has_nothing(node, peer)


def test_nothing_is_sent_once_the_broker_has_ended(node: Node, peer: Peer) -> None:
    link = peer.stream
    node.end()
    assert not send_on_its_link(node.router, CHILD, 1, 0, b"x")
    node.router.table.add(CHILD, link)
    link.closed = False
    assert not send_on_its_link(node.router, CHILD, 1, 0, b"x")
    assert link.sent == 0


def test_nothing_overtakes_what_is_queued(node: Node, peer: Peer) -> None:
    node.send(CHILD, 1, b"y" * MUCH)
    assert peer.stream.queued
    assert not send_on_its_link(node.router, CHILD, 2, 0, b"x")
    assert read_message(peer).size() == MUCH
    for _ in range(1000):
        node.settle()
        if not peer.stream.queued:
            break
    assert send_on_its_link(node.router, CHILD, 3, 0, b"x")
    assert read_message(peer).handle == 3


def test_what_does_not_fit_is_sent_later(node: Node, peer: Peer) -> None:
    body = b"x" * (JOIN_LIMIT - 1)
    count = 0
    # The broker thread must not be faster than this.
    while not peer.stream.queued:
        assert send_on_its_link(node.router, CHILD, count, 0, body)
        count += 1
    assert not send_on_its_link(node.router, CHILD, count, 0, body)
    assert peer.stream.messages_sent == count
    for handle in range(count):
        msg = read_message(peer)
        assert (msg.handle, msg.data) == (handle, body)


def test_the_broker_thread_sends_as_well(node: Node, peer: Peer) -> None:
    assert node.run(lambda: send_on_its_link(node.router, CHILD, 1, 2, b"x"))
    msg = read_message(peer)
    assert (msg.handle, msg.reply_to, msg.data) == (1, 2, b"x")


def test_frames_of_several_threads_stay_whole_and_each_threads_in_order(node: Node, peer: Peer) -> None:
    def send(thread: int) -> None:
        for i in range(200):
            body = b"%d" % i + b" " * (i * 40)
            if not send_on_its_link(node.router, CHILD, thread, i, body):
                node.router.route(make(CHILD, HERE, HERE, thread, i, body))

    threads = [in_thread(lambda i=i: send(i)) for i in range(4)]  # type: ignore[misc]
    got: dict[int, list[int]] = {i: [] for i in range(4)}
    for _ in range(800):
        msg = read_message(peer)
        assert int(msg.data) == msg.reply_to
        assert msg.size() == len(b"%d" % msg.reply_to) + msg.reply_to * 40
        got[msg.handle].append(msg.reply_to)
    for done in threads:
        done()
    assert all(numbers == list(range(200)) for numbers in got.values())


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -1,
        1 << 70,
        1.5,
        float("inf"),
        "",
        "text",
        "\u20ac\x00",
        "\udc80",
        "x" * 70000,
    ],
    ids=ascii,
)
def test_scalars_need_no_look_at_what_is_in_them(value: object) -> None:
    assert type(value) in SCALARS
    data = plain_dumps(value, PROTOCOL)
    assert loads(data, None) == value
    assert type(loads(data, None)) is type(value)
    usual = dumps(value)
    assert data == (usual if isinstance(usual, bytes) else b"".join(usual))


def test_nothing_but_scalars_goes_without_a_look() -> None:
    class Text(str):
        __slots__ = ()

    # Bytes go without a pickle, and subclasses not at all.
    assert not SCALARS & {bytes, bytearray, tuple, list, dict, set, Text, complex, object}
