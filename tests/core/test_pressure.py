"""`mitogen.core.pressure`: links that are full, over real sockets, with real brokers and threads."""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest

from mitogen.core import handles, pressure
from mitogen.core.errors import TimeoutError
from mitogen.core.framing import HEADER, HEADER_SIZE, encode_header
from mitogen.core.message import Message, make
from mitogen.core.pressure import hold_back, may_wait
from tests.core.tools import PATIENCE, Node, Peer, Tree, ended, in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MARK = 200_000
HERE, PARENT, CHILD = 5, 1, 7
DATA = 5000
BODY = b"x" * 50_000


def prepare(node: Node, mark: int = MARK) -> Node:
    """Let `node` hold back senders, as contexts with children do."""
    node.router.high_water_mark = mark
    node.router.hold_back = partial(hold_back, node.router)
    return node


@pytest.fixture
def node() -> Iterator[Node]:
    yield from ended(prepare(Node(HERE, (PARENT, 0))))


@pytest.fixture
def child(node: Node) -> Iterator[Peer]:
    """A child, which reads nothing unless the test does."""
    child = Peer(node, CHILD)
    yield child
    child.sock.close()


@pytest.fixture
def parent(node: Node) -> Iterator[Peer]:
    parent = Peer(node, PARENT)
    yield parent
    parent.sock.close()


def until(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    """Return when `condition()` is true."""
    tick = threading.Event()
    for _ in range(int(patience / 0.001)):
        if condition():
            return
        tick.wait(0.001)
    raise AssertionError("it never came true")


def fill(node: Node, child: Peer) -> None:
    """Send until the link is full."""
    while child.stream.queued <= node.router.high_water_mark:
        node.send(CHILD, DATA, BODY)


def waiting(child: Peer, count: int = 1) -> None:
    """Return when so many are held back by the link to `child`."""
    until(lambda: len(child.stream.held_back) == count)


def read_message(peer: Peer) -> Message:
    _, dst, src, auth, handle, reply_to, length = HEADER.unpack(peer.read(HEADER_SIZE))
    return make(dst, src, auth, handle, reply_to, peer.read(length))


def from_parent(data: bytes, dst: int = CHILD, handle: int = DATA) -> bytes:
    return encode_header(make(dst, PARENT, PARENT, handle, 0, data)) + data


def is_read(node: Node, peer: Peer) -> bool:
    """Return True if the stream to `peer` is watched for reading."""
    side = peer.stream.receive_side
    return side is not None and side.fd in node.broker.poller._readers


# -- Threads that send ------------------------------------------------------------------------------


def test_a_thread_that_sends_on_a_full_link_waits_until_half_of_it_is_read(
    node: Node, child: Peer
) -> None:
    fill(node, child)
    sent = in_thread(lambda: node.send(CHILD, DATA, b"last"))
    waiting(child)
    assert child.stream.queued > MARK
    while read_message(child).data != b"last":
        pass
    sent()


def test_all_that_wait_go_on(node: Node, child: Peer) -> None:
    fill(node, child)
    threads = [in_thread(lambda i=i: node.send(CHILD, DATA, b"last %d" % i)) for i in range(5)]  # type: ignore[misc]
    waiting(child, 5)
    last: set[bytes] = set()
    while len(last) < 5:
        data = read_message(child).data
        if data != BODY:
            last.add(data)
    for done in threads:
        done()


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_a_wait_that_takes_too_long_ends_with_nothing_sent(
    node: Node, child: Peer, timeout: float
) -> None:
    fill(node, child)
    queued = child.stream.queued
    with pytest.raises(TimeoutError, match=r"wait to be sent to context context-7.*nothing was sent"):
        node.router.route(node.message(CHILD, DATA, b"late"), timeout)
    node.settle()
    assert (child.stream.queued, child.stream.held_back) == (queued, [])


def test_the_end_of_a_link_lets_go_of_those_that_wait_and_they_are_told(node: Node, child: Peer) -> None:
    fill(node, child)
    answer = in_thread(lambda: node.ask(CHILD, DATA, b"?"))
    waiting(child)
    child.sock.close()
    assert answer().is_dead


def test_the_end_of_the_broker_lets_go_of_those_that_wait(node: Node, child: Peer) -> None:
    fill(node, child)
    sent = in_thread(lambda: node.send(CHILD, DATA, b"?"))
    waiting(child)
    node.broker.shutdown_timeout = 0.0
    node.end()
    sent()


def test_the_broker_thread_never_waits(node: Node, child: Peer) -> None:
    fill(node, child)
    queued = child.stream.queued
    node.run(lambda: node.send(CHILD, DATA, b"now"))
    assert child.stream.queued > queued


@pytest.mark.parametrize(
    ("handle", "reply_to", "waits"),
    [
        (DATA, 0, True),
        (handles.CALL_FUNCTION, 1234, True),
        (handles.CALL_ASIDE, 1234, True),
        (handles.CALL_SERVICE, 1234, True),
        (handles.FORWARD_LOG, 0, True),
        (DATA, handles.IS_DEAD, False),
        (handles.NOTICE, 1234, False),
        (handles.DEL_ROUTE, 0, False),
        (handles.SHUTDOWN, 0, False),
        (handles.GET_MODULE, handles.LOAD_MODULE, False),
        (handles.CANCEL_CALL, 0, False),
    ],
)
def test_what_keeps_the_tree_in_order_does_not_wait_and_programs_data_does(
    node: Node, child: Peer, handle: int, reply_to: int, waits: bool
) -> None:
    fill(node, child)
    msg = node.message(CHILD, handle, reply_to=reply_to)
    assert may_wait(msg) is waits
    if waits:
        with pytest.raises(TimeoutError):
            node.router.route(msg, 0)
    else:
        node.router.route(msg, 0)


# -- Links whose messages are forwarded -------------------------------------------------------------


def test_a_link_is_not_read_while_another_is_full_and_read_again_afterwards(
    node: Node, child: Peer, parent: Peer
) -> None:
    fill(node, child)
    parent.sock.sendall(from_parent(b"first"))
    until(lambda: not is_read(node, parent))
    received = parent.stream.received
    parent.sock.sendall(from_parent(b"second"))
    node.settle()
    assert parent.stream.received == received
    while read_message(child).data != b"first":
        pass
    assert read_message(child).data == b"second"
    assert is_read(node, parent)


def test_many_messages_of_one_read_are_held_back_once(node: Node, child: Peer, parent: Peer) -> None:
    fill(node, child)
    parent.sock.sendall(from_parent(b"small") * 100)
    until(lambda: parent.stream.messages_received >= 100 or not is_read(node, parent))
    node.settle()
    assert len(child.stream.held_back) == 1


def test_a_link_that_ends_lets_the_others_be_read(node: Node, child: Peer, parent: Peer) -> None:
    inbox, handle = node.inbox()
    fill(node, child)
    parent.sock.sendall(from_parent(b"lost"))
    until(lambda: not is_read(node, parent))
    parent.sock.sendall(from_parent(b"to you", HERE, handle))
    child.sock.close()
    assert inbox.get().data == b"to you"


def test_the_end_of_the_parent_is_noticed_though_it_is_not_read(
    node: Node, child: Peer, parent: Peer
) -> None:
    fill(node, child)
    for _ in range(3):
        parent.sock.sendall(from_parent(b"x" * 20_000))
    until(lambda: not is_read(node, parent))
    parent.sock.close()
    parent.gone.get(PATIENCE)
    assert not child.stream.closed


def test_a_link_is_read_a_bit_before_half_of_what_it_waits_for_is_read(
    node: Node, child: Peer, parent: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pressure, "_LOOK_EVERY", 0.01)
    monkeypatch.setattr(node.router, "high_water_mark", 4_000_000)
    fill(node, child)
    parent.sock.sendall(from_parent(b"first"))
    until(lambda: child.stream.held_back)
    received = parent.stream.received
    parent.sock.sendall(from_parent(b"second"))
    while child.stream.queued > 3_900_000:
        child.read(100_000)
    until(lambda: parent.stream.received > received)
    assert child.stream.queued > 2_000_000


@pytest.mark.parametrize(("above", "patience"), [((), "0.2"), ((PARENT, 0), "0.162")])
def test_one_that_takes_nothing_is_given_up_and_the_sooner_the_further_down(
    above: tuple[int, ...], patience: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pressure, "STALL", 0.2)
    node = prepare(Node(HERE, above))
    child, other = Peer(node, CHILD), Peer(node, 8)
    fill(node, child)
    other.sock.sendall(encode_header(make(CHILD, 8, 8, DATA, 0, b"x")) + b"x")
    child.gone.get(PATIENCE)
    why = "context context-7 took nothing of what was sent to it for %s seconds"
    assert child.stream.reason == why % patience
    until(lambda: is_read(node, other))
    node.end()
    for peer in (child, other):
        peer.sock.close()


def test_one_that_takes_something_now_and_then_is_not_given_up(
    node: Node, child: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pressure, "STALL", 1.0)
    monkeypatch.setattr(node.router, "high_water_mark", 8_000_000)
    other = Peer(node, 8)
    fill(node, child)
    other.sock.sendall(encode_header(make(CHILD, 8, 8, DATA, 0, b"x")) + b"x")
    until(lambda: child.stream.held_back)
    for _ in range(30):
        child.read(100_000)
        with pytest.raises(TimeoutError):
            child.gone.get(0.05)
    other.sock.close()


def ask(peer: Peer, count: int, dst: int = HERE) -> None:
    """Have `peer` ask so many questions that nobody answers but with a refusal."""
    frame = encode_header(make(dst, CHILD, CHILD, DATA, 1234, b""))
    before = peer.stream.messages_received
    peer.sock.sendall(frame * count)
    until(lambda: peer.stream.messages_received == before + count)


def get_ahead(child: Peer) -> None:
    while len(child.stream._queue) <= pressure.AHEAD:
        ask(child, 100)


def test_nobody_waits_for_one_that_asks_and_does_not_read_before_it_has_far_too_much(
    node: Node, child: Peer, parent: Peer
) -> None:
    inbox, handle = node.inbox()
    get_ahead(child)
    while child.stream.queued <= pressure.MOST * MARK:
        parent.sock.sendall(from_parent(BODY) + from_parent(b"next", HERE, handle))
        assert inbox.get().data == b"next"
        assert child.stream.held_back == []
    parent.sock.sendall(from_parent(BODY))
    until(lambda: not is_read(node, parent))
    node.settle()
    assert not is_read(node, parent)


def test_one_that_sends_much_itself_waits_for_such_a_one_a_moment_at_a_time(
    node: Node, child: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pressure, "_LOOK_EVERY", 0.01)
    inbox, handle = node.inbox()
    sender = Peer(node, CHILD + 1)
    get_ahead(child)
    many = encode_header(make(HERE, CHILD + 1, CHILD + 1, 0, 0, b"")) * 2 * pressure.AHEAD
    sender.sock.sendall(many)
    for _ in range(3):
        for dst, reply_to in (CHILD, DATA), (HERE, handle):
            sender.sock.sendall(encode_header(make(dst, CHILD + 1, CHILD + 1, reply_to, 0, b"")))
        inbox.get()
        until(lambda: not child.stream.held_back)
    assert len(child.stream._queue) > pressure.AHEAD
    sender.sock.close()


def test_one_that_said_more_than_it_took_is_ahead_until_it_read_that(node: Node, child: Peer) -> None:
    stream = child.stream
    assert not pressure.is_ahead(stream, stream)
    get_ahead(child)
    assert stream.queued < MARK
    assert pressure.is_ahead(stream, stream)
    while stream._queue:
        read_message(child)
    assert not pressure.is_ahead(stream, stream)


def test_one_that_says_no_more_than_it_is_asked_is_not_ahead(node: Node, child: Peer) -> None:
    for _ in range(2 * pressure.AHEAD):
        node.send(CHILD, DATA, b"?")
        read_message(child)
    child.sock.sendall(encode_header(make(HERE, CHILD, CHILD, 0, 0, b"")) * 2 * pressure.AHEAD)
    until(lambda: child.stream.messages_received == 2 * pressure.AHEAD)
    while len(child.stream._queue) <= pressure.AHEAD:
        node.send(CHILD, DATA, b"?")
    assert not pressure.is_ahead(child.stream, child.stream)


def test_one_that_is_ahead_is_not_read_while_many_messages_wait_where_it_sends_to(
    node: Node, child: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pressure, "_LOOK_EVERY", 10 * PATIENCE)
    asker = Peer(node, CHILD + 1)
    frame = encode_header(make(CHILD, CHILD + 1, CHILD + 1, DATA, 0, b""))
    sent = in_thread(lambda: asker.sock.sendall(frame * 50_000))
    until(lambda: not is_read(node, asker))
    assert pressure.AHEAD < len(child.stream._queue) < 4 * pressure.AHEAD
    assert child.stream.queued < MARK
    for _ in range(50_000):
        read_message(child)
    sent()
    asker.sock.close()


def test_a_relay_holds_little_of_what_a_slow_reader_does_not_take() -> None:
    total, size = 200_000_000, 1_000_000
    tree = Tree({0: None, 1: 0, 2: 1})
    try:
        for node in tree.nodes.values():
            prepare(node, 1 << 22)
        most = dict.fromkeys((0, 1), 0)
        got = 0
        done = threading.Event()

        def take(msg: Message) -> None:
            nonlocal got
            got += len(msg.data)
            for i in most:
                most[i] = max(most[i], tree.streams[i + 1][0].queued)
            if got == size:
                # Until every queue on the way is full.
                until(lambda: all(tree.streams[i + 1][0].queued > 1 << 22 for i in most))
            if got == total:
                done.set()

        tree[2].router.add_handler(take, DATA)
        body = os.urandom(size)

        def send() -> None:
            for _ in range(total // size):
                tree[0].send(2, DATA, body)

        sent = in_thread(send, 10 * PATIENCE)
        assert done.wait(10 * PATIENCE)
        sent()
        assert all(most[i] < 8 << 20 for i in most), most
    finally:
        tree.end()
