"""`mitogen.core.stream`: links over real sockets, with a real broker."""

from __future__ import annotations

import os
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any

import pytest

from mitogen.core.framing import HEADER, HEADER_SIZE, MAGIC, encode_header
from mitogen.core.latch import Latch
from mitogen.core.message import Message, make
from mitogen.core.signals import listen
from mitogen.core.stream import BasicStream, Side, Stream
from tests.core.tools import PATIENCE, Inbox, Node, Peer, asleep, collect_logs, ended, in_thread, join

if TYPE_CHECKING:
    from collections.abc import Iterator

CHILD = 7


@pytest.fixture
def node() -> Iterator[Node]:
    yield from ended(Node(0, max_message_size=8 << 20))


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


def from_peer(handle: int, data: bytes = b"", src: int = CHILD) -> bytes:
    msg = make(0, src, src, handle, 0, data)
    return encode_header(msg) + data


# -- Sending ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 16383, 16384, 100_000, 5_000_000])
def test_a_message_of_any_size_goes_out_as_header_and_body(node: Node, peer: Peer, size: int) -> None:
    body = os.urandom(size)
    sent = in_thread(lambda: node.send(CHILD, 1234, body, reply_to=5))
    msg = read_message(peer)
    sent()
    assert (msg.dst_id, msg.src_id, msg.handle, msg.reply_to) == (CHILD, 0, 1234, 5)
    assert msg.data == body


def test_a_body_in_many_parts_goes_out_as_one(node: Node, peer: Peer) -> None:
    parts: Any = [b"%d," % i for i in range(100)] + [b""]
    node.router.route(make(CHILD, 0, 0, 1234, 0, parts))
    assert read_message(peer).data == b"".join(parts)


def test_sending_never_blocks_and_what_does_not_fit_is_sent_later_in_order(
    node: Node, peer: Peer
) -> None:
    messages = [b"%d:" % i + b"x" * 50_000 for i in range(100)]
    for data in messages:
        node.send(CHILD, 1, data)
    assert [read_message(peer).data for _ in messages] == messages


def test_a_slow_reader_gets_every_byte(node: Node, peer: Peer) -> None:
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    data = os.urandom(300_000)
    node.send(CHILD, 1, data)
    received = b""
    while len(received) < HEADER_SIZE + len(data):
        received += peer.sock.recv(1000)
    assert received[HEADER_SIZE:] == data


def test_messages_of_one_thread_stay_in_order_among_those_of_others(node: Node, peer: Peer) -> None:
    def send(thread: int) -> None:
        for i in range(200):
            # Some large, so that the socket fills and the queue is used.
            node.send(CHILD, thread, b"%d" % i + b" " * (20_000 if i % 20 == 0 else 0))

    threads = [in_thread(lambda i=i: send(i)) for i in range(4)]  # type: ignore[misc]
    got: dict[int, list[int]] = {i: [] for i in range(4)}
    for _ in range(800):
        msg = read_message(peer)
        got[msg.handle].append(int(msg.data))
    for done in threads:
        done()
    assert all(numbers == list(range(200)) for numbers in got.values())


def test_what_was_queued_is_sent_before_a_shutdown_ends_the_link(node: Node, peer: Peer) -> None:
    data = os.urandom(3_000_000)
    node.send(CHILD, 1, data)
    node.broker.shutdown()
    assert read_message(peer).data == data
    assert peer.sock.recv(1) == b""


def test_sending_on_a_closed_link_is_refused_and_answered_with_the_reason(node: Node, peer: Peer) -> None:
    peer.sock.close()
    peer.gone.get(PATIENCE)
    assert peer.stream.send(make(CHILD, 0, 0, 1, 0, b"")) is False
    assert peer.stream.write([b"x"]) is False
    answer = node.ask(CHILD, 1)
    assert answer.is_dead
    assert "context" in str(answer.unpickle(throw=False))


def test_a_link_that_breaks_while_much_is_queued_ends_once(node: Node, peer: Peer) -> None:
    for _ in range(50):
        node.send(CHILD, 1, b"x" * 100_000)
    peer.sock.close()
    peer.gone.get(PATIENCE)
    node.settle()
    assert peer.gone.empty()
    assert not peer.stream._queue


# -- Receiving --------------------------------------------------------------------------------------


def test_messages_arrive_in_whatever_pieces_they_come(node: Node, peer: Peer) -> None:
    inbox, handle = node.inbox()
    data = b"".join(from_peer(handle, b"%d" % i) for i in range(5))
    for i in range(len(data)):
        peer.sock.send(data[i : i + 1])
    assert [inbox.get().data for _ in range(5)] == [b"%d" % i for i in range(5)]


@pytest.mark.parametrize("size", [16_383, 16_384, 200_000, 8 << 20])
def test_a_large_message_arrives_whole_and_so_does_what_follows(
    node: Node, peer: Peer, size: int
) -> None:
    inbox, handle = node.inbox()
    body = os.urandom(size)
    peer.sock.sendall(from_peer(handle, body) + from_peer(handle, b"next"))
    assert inbox.get().data == body
    assert inbox.get().data == b"next"
    assert peer.stream.received == size + 4 + 2 * HEADER_SIZE


def test_small_messages_are_taken_by_turns_and_large_ones_at_full_speed(node: Node, peer: Peer) -> None:
    """A link with very many messages must not keep the broker from all the others."""
    inbox, handle = node.inbox()
    turns: list[tuple[int, int]] = []
    receive_data = peer.stream.receive_data

    def note(broker: Any, data: bytes) -> None:
        before = peer.stream.messages_received
        receive_data(broker, data)
        turns.append((peer.stream.messages_received - before, len(data)))

    peer.stream.receive_data = note  # type: ignore[method-assign]
    peer.sock.sendall(from_peer(handle, b"x") * 2000)
    for _ in range(2000):
        inbox.get()
    assert max(count for count, _ in turns) <= 200
    sent = in_thread(lambda: peer.sock.sendall(from_peer(handle, b"x" * (4 << 20))))
    inbox.get()
    sent()
    assert max(size for _, size in turns) > 65536


def test_all_that_fits_is_sent_in_one_turn(node: Node, peer: Peer) -> None:
    """It would only grow, if much was read in each turn and little was sent."""
    while len(peer.stream._queue) < 1000:
        node.send(CHILD, 1, b"x")
    node.run(lambda: node.broker._stop_transmit(peer.stream))
    peer.sock.settimeout(0)
    try:
        while peer.sock.recv(1 << 20):
            pass
    except BlockingIOError:
        peer.sock.settimeout(PATIENCE)
    node.run(lambda: peer.stream.on_transmit(node.broker))
    assert len(peer.stream._queue) == 0
    assert peer.stream.queued == 0


def test_the_end_of_a_peer_ends_the_link_with_a_reason(node: Node, peer: Peer) -> None:
    peer.sock.close()
    peer.gone.get(PATIENCE)
    assert "context-7" in peer.stream.reason
    assert "closed" in peer.stream.reason
    assert peer.stream.receive_side is peer.stream.transmit_side is None


@pytest.mark.parametrize("sent", [0, 10, HEADER_SIZE, HEADER_SIZE + 100_000])
def test_an_end_in_the_middle_of_a_message_is_an_end(node: Node, peer: Peer, sent: int) -> None:
    inbox, handle = node.inbox()
    peer.sock.sendall(from_peer(handle, b"x" * 200_000)[:sent])
    peer.sock.close()
    peer.gone.get(PATIENCE)
    assert inbox.empty()


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        return one, server.accept()[0]


@pytest.mark.parametrize("partial", [b"", from_peer(1, b"x" * 200_000)[:-1]])
def test_a_reset_connection_is_an_end_like_any_other(node: Node, partial: bytes) -> None:
    one, two = tcp_pair()
    stream = Stream(node.router, CHILD, "the-peer", two.fileno(), two.detach())
    gone = Latch()
    listen(stream, "disconnect", gone.put)
    node.router.register(node.context(CHILD), stream)
    one.sendall(partial)
    node.settle()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.close()
    gone.get(PATIENCE)
    assert "the-peer" in stream.reason


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"Last login: Mon Jan  1 00:00:00\r\n", "not a frame"),
        (HEADER.pack(MAGIC, 0, CHILD, CHILD, 1, 0, (8 << 20) + 1), "8388609 bytes"),
    ],
)
def test_garbage_ends_the_link_with_a_reason_which_is_logged_once(
    node: Node, peer: Peer, data: bytes, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = collect_logs(monkeypatch)
    inbox, handle = node.inbox()
    peer.sock.sendall(from_peer(handle, b"before") + data + b"x" * 100 + from_peer(handle, b"after"))
    assert inbox.get().data == b"before"
    peer.gone.get(PATIENCE)
    node.settle()
    assert inbox.empty()
    assert words in peer.stream.reason
    assert "context-7" in peer.stream.reason
    [(_, _, text)] = lines
    assert peer.stream.reason in text
    assert node.ask(CHILD, 1).is_dead


def test_a_handler_that_raises_does_not_end_the_link(
    node: Node, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = collect_logs(monkeypatch)

    def fails(msg: Message) -> None:
        if not msg.is_dead:
            raise ValueError("the reason")

    bad = node.router.add_handler(fails)
    inbox, good = node.inbox()
    peer.sock.sendall(from_peer(bad, b"the body") + from_peer(good, b"x"))
    assert inbox.get().data == b"x"
    [(_, _, text)] = lines
    assert "ValueError: the reason" in text
    assert "the body" not in text


# -- One direction ----------------------------------------------------------------------------------


def test_two_pipes_make_a_link_as_a_socket_does(node: Node) -> None:
    (down_read, down_write), (up_read, up_write) = os.pipe(), os.pipe()
    stream = Stream(node.router, CHILD, "pipes", up_read, down_write)
    gone = Latch()
    listen(stream, "disconnect", gone.put)
    node.router.register(node.context(CHILD), stream)
    node.settle()
    inbox, handle = node.inbox()
    os.write(up_write, from_peer(handle, b"up"))
    assert inbox.get().data == b"up"
    node.send(CHILD, 1, b"down")
    assert os.read(down_read, 100)[HEADER_SIZE:] == b"down"
    os.close(up_write)
    gone.get(PATIENCE)
    os.close(down_read)


def test_a_peer_that_reads_no_more_is_given_up(node: Node) -> None:
    """Its other direction may stay open for ever: an answer will never come."""
    (down_read, down_write), (up_read, up_write) = os.pipe(), os.pipe()
    stream = Stream(node.router, CHILD, "deaf", up_read, down_write)
    gone = Latch()
    listen(stream, "disconnect", gone.put)
    node.router.register(node.context(CHILD), stream)
    node.settle()
    os.close(down_read)
    try:
        node.send(CHILD, 1, b"x", reply_to=1000)
        gone.get(PATIENCE)
    finally:
        os.close(up_write)


def test_what_a_peer_said_before_it_left_is_heard_though_it_could_not_be_answered(node: Node) -> None:
    one, two = node, Node(CHILD, (0,))
    stream, _ = join(one, two)
    inbox, handle = one.inbox()
    gone = Latch()
    listen(stream, "disconnect", gone.put)
    blocked, go = threading.Event(), threading.Event()

    def block() -> None:
        blocked.set()
        go.wait(PATIENCE)

    one.broker.defer(block)
    assert blocked.wait(PATIENCE)
    two.send(one, handle, b"last words")
    two.end()
    one.send(CHILD, 1, b"too late")
    go.set()
    assert inbox.get().data == b"last words"
    gone.get(PATIENCE)


# -- Sides ------------------------------------------------------------------------------------------


def test_a_side_does_not_block_and_is_closed_once() -> None:
    read_fd, write_fd = os.pipe()
    side = Side(BasicStream(), read_fd)
    assert side.read() is None
    os.write(write_fd, b"xyz")
    assert side.read(2) == b"xy"
    os.close(write_fd)
    assert side.read() == b"z"
    assert side.read() == b""
    side.close()
    side.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(read_fd)


def test_an_unreadable_descriptor_is_at_its_end() -> None:
    read_fd, write_fd = os.pipe()
    side = Side(BasicStream(), write_fd)
    assert side.read() == b""
    side.close()
    os.close(read_fd)


def test_a_stream_without_writev_works_too(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    from mitogen.core import stream as module

    monkeypatch.setattr(module, "_write", lambda fd, buffers: os.write(fd, buffers[0]))
    peer = Peer(node, CHILD)
    inbox, handle = node.inbox()
    body = os.urandom(1 << 20)
    peer.sock.sendall(from_peer(handle, body))
    assert inbox.get().data == body
    node.send(CHILD, 1, body)
    assert read_message(peer).data == body
    peer.sock.close()
    peer.gone.get(PATIENCE)


def test_a_stream_shows_its_name(peer: Peer) -> None:
    assert repr(peer.stream) == "Stream(context-7)"


def test_threads_that_send_while_the_link_ends_neither_hang_nor_fail(node: Node) -> None:
    for _ in range(20):
        peer = Peer(node, CHILD)

        def send() -> None:
            while peer.stream.send(make(CHILD, 0, 0, 1, 0, b"x" * 1000)):  # noqa: B023  Joined below.
                pass

        threads = [in_thread(send) for _ in range(2)]
        peer.sock.recv(1000)
        peer.sock.close()
        peer.gone.get(PATIENCE)
        for done in threads:
            done()


def test_an_inbox_can_be_slept_on(node: Node) -> None:
    # Of the tools of these tests: what waits for a message is woken by it.
    inbox = Inbox()
    result = in_thread(inbox.get)
    asleep(inbox._latch)
    inbox(Message())
    assert isinstance(result(), Message)
