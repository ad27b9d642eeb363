"""`mitogen.core.receiving`: reading links in one loop does what the core's own way does.

Most tests run twice, once for each way. Where bytes must be read in certain pieces, the broker thread
itself writes them, one piece after the other.
"""

from __future__ import annotations

import os
import socket
import threading
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mitogen.core import receiving
from mitogen.core.errors import ChannelError
from mitogen.core.framing import HEADER, HEADER_SIZE, LARGE_BODY, MAGIC, encode_header
from mitogen.core.handles import IS_DEAD
from mitogen.core.latch import Latch, wait_readable
from mitogen.core.message import Message
from mitogen.core.pressure import hold_back
from mitogen.core.receiver import Receiver
from mitogen.core.router import has_parent_authority
from mitogen.core.serialization import RAW, dumps
from mitogen.core.signals import listen
from mitogen.core.stream import Stream
from tests.core.tools import PATIENCE, Node, collect_logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE, CHILD, OTHER, NOBODY = 0, 7, 8, 99
LIMIT = 2 << 20
#: More than the system's buffer of a pipe holds.
MUCH = 200_000


@pytest.fixture(autouse=True, scope="module")
def bodies_are_huge() -> Iterator[None]:
    """Let any large body count as a huge one, so that small tests go that way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(receiving, "_HUGE_BODY", LARGE_BODY)
        yield


WAYS: dict[str, Any] = {"core": Stream.on_receive, "loop": receiving.on_receive}


def frame(
    handle: int,
    data: bytes = b"",
    src_id: int = CHILD,
    dst_id: int = HERE,
    reply_to: int = 0,
    auth_id: int | None = None,
) -> bytes:
    """Return what a context sends."""
    auth_id = src_id if auth_id is None else auth_id
    return HEADER.pack(MAGIC, dst_id, src_id, auth_id, handle, reply_to, len(data)) + data


def text(value: object) -> bytes:
    """Return the small body that carries `value`."""
    body = dumps(value)
    assert isinstance(body, bytes)
    return body


class Wire:
    """A link of a node over bare pipes, and its other end.

    :ivar by_loop: what the loop was given.
    :ivar by_core: what the core's own way was given, but for the first message.
    """

    def __init__(self, node: Node, context_id: int, on_receive: Any = receiving.on_receive) -> None:
        self.node = node
        self.context_id = context_id
        receive_fd, self.write_fd = os.pipe()
        self.read_fd, transmit_fd = os.pipe()
        self.stream: Any = Stream(node.router, context_id, "peer", receive_fd, transmit_fd)
        self.stream.on_receive = lambda broker: on_receive(self.stream, broker)  # type: ignore[method-assign]
        self.by_loop: list[bytes] = []
        self.by_core: list[bytes] = []
        self.gone = Latch()
        listen(self.stream, "disconnect", self.gone.put)
        self.context = node.context(context_id)
        node.router.register(self.context, self.stream)
        # The first message is the core's: what a child says before it is no frame.
        inbox, handle = node.inbox(persist=False)
        self.say(frame(handle, b"", context_id, node.id))
        inbox.get()
        node.settle()
        receive_data = self.stream.receive_data

        def note(broker: Any, data: bytes) -> None:
            self.by_core.append(data)
            receive_data(broker, data)

        self.stream.receive_data = note  # type: ignore[method-assign]

    def say(self, data: bytes) -> None:
        """Send `data`; waits until the node has read most of it."""
        assert os.write(self.write_fd, data) == len(data)

    def feed(self, parts: list[bytes]) -> None:
        """Have each of `parts` be read by itself. They must fit into the system's buffer."""
        stream = self.stream

        def read() -> None:
            for part in parts:
                before = stream.received
                if not stream.closed:
                    self.say(part)
                while not stream.closed and stream.received < before + len(part):
                    stream.on_receive(self.node.broker)

        self.node.run(read)

    def read(self, size: int) -> bytes:
        """Return exactly so many bytes of what the node sent."""
        parts = []
        while size:
            assert wait_readable(self.read_fd, PATIENCE)
            part = os.read(self.read_fd, size)
            assert part, "the link ended early"
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def read_message(self) -> Message:
        """Return the next message that the node sent."""
        magic, dst, src, auth, handle, reply_to, length = HEADER.unpack(self.read(HEADER_SIZE))
        assert magic == MAGIC
        fields = {"dst_id": dst, "src_id": src, "auth_id": auth, "handle": handle, "reply_to": reply_to}
        return Message(data=self.read(length), **fields)

    def all_sent(self) -> bytes:
        """Return what the node sent until now, which nobody has read."""
        return self.read(self.stream.sent)

    def receiver(self, persist: bool = False, handle: int | None = None) -> Receiver:
        return Receiver(self.node.router, handle, persist, self.context)

    def until(self, condition: Callable[[], object]) -> None:
        """Return once the broker thread has made `condition()` true."""
        tick = threading.Event()
        for _ in range(int(PATIENCE / 0.001)):
            self.node.settle()
            if condition():
                return
            tick.wait(0.001)
        raise AssertionError("it never came about")

    def hang_up(self) -> None:
        """Close the end that is written to."""
        os.close(self.write_fd)
        self.write_fd = -1

    def close(self) -> None:
        for fd in (self.write_fd, self.read_fd):
            if fd >= 0:
                os.close(fd)


def prepare(node: Node) -> Node:
    """Let `node` forward on links that are busy, as contexts with children do."""
    node.router.hold_back = partial(hold_back, node.router)
    return node


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    # As `mitogen.parent.answers` does.
    monkeypatch.setitem(receiving.latch_of, Receiver._on_receive, "_latch")
    node = prepare(Node(HERE, max_message_size=LIMIT))
    yield node
    node.end()


def note_loop(monkeypatch: pytest.MonkeyPatch, *wires: Wire) -> None:
    """Have the wires know what the loop takes from now on."""
    receive = receiving.receive

    def note(link: Any, broker: Any, data: bytes) -> None:
        for wire in wires:
            if wire.stream is link:
                wire.by_loop.append(data)
        receive(link, broker, data)

    monkeypatch.setattr(receiving, "receive", note)


@pytest.fixture(params=WAYS)
def wire(node: Node, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """A link to the child, read in either way."""
    wire = Wire(node, CHILD, WAYS[request.param])
    note_loop(monkeypatch, wire)
    yield wire
    wire.close()
    # None is tested by accident the other way.
    assert request.param == "loop" or not wire.by_loop


@pytest.fixture
def loop(node: Node, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """A link to the child, read by the loop."""
    wire = Wire(node, CHILD)
    note_loop(monkeypatch, wire)
    yield wire
    wire.close()


@pytest.fixture
def other(node: Node) -> Iterator[Wire]:
    """A link to another child."""
    wire = Wire(node, OTHER)
    yield wire
    wire.close()


class OneAnswer:
    """What waits for one answer, as `mitogen.parent.answers.Answer` does."""

    def __init__(self, wire: Wire, respondent: bool = True) -> None:
        self.latch = Latch()
        context = wire.context if respondent else None
        self.handle = wire.node.router.add_handler(self.put, persist=False, respondent=context)

    def put(self, msg: Message) -> None:
        self.latch.put(msg)

    def get(self) -> Any:
        return self.latch.get(PATIENCE)


@pytest.fixture
def answer(loop: Wire, monkeypatch: pytest.MonkeyPatch) -> OneAnswer:
    monkeypatch.setitem(receiving.latch_of, OneAnswer.put, None)
    return OneAnswer(loop)


# -- Both ways, for anything that may come in any pieces -----------------------------------------------

#: What a frame is for, or what is wrong with it: who sends it to whom, and the reply that it asks for.
KINDS: dict[str, tuple[int, int, int]] = {
    "function": (CHILD, HERE, 0),
    "asking function": (CHILD, HERE, 5000),
    "receiver": (CHILD, HERE, 0),
    "dead receiver": (CHILD, HERE, IS_DEAD),
    "once": (CHILD, HERE, 5001),
    "once dead": (CHILD, HERE, IS_DEAD),
    "of another": (CHILD, HERE, 5002),
    "of parents": (CHILD, HERE, 5003),
    "failing": (CHILD, HERE, 5004),
    "failing function": (CHILD, HERE, 5005),
    "unknown": (CHILD, HERE, 5006),
    "unknown, silent": (CHILD, HERE, 0),
    "for another": (CHILD, OTHER, 5007),
    "dead for another": (CHILD, OTHER, IS_DEAD),
    "back": (CHILD, CHILD, 5008),
    "for nobody": (CHILD, NOBODY, 5009),
    "of a liar": (OTHER, HERE, 5010),
    "of a liar for another": (HERE, OTHER, 0),
}

bodies = st.builds(
    lambda first, size: (first + b"body" * (size // 4 + 1))[:size],
    st.sampled_from([RAW, b"\x80", b"x"]),
    st.sampled_from(
        [0, 1, 20, LARGE_BODY - HEADER_SIZE, LARGE_BODY - 1, LARGE_BODY, LARGE_BODY + 1, 40_000]
    ),
)
#: What comes behind the last frame.
ENDS = {
    "nothing": b"",
    "the end": None,
    "the start of a frame": frame(1, b"data")[:-1],
    "no frame": b"Segmentation fault (core dumped)\n",
    "too much": HEADER.pack(MAGIC, HERE, CHILD, CHILD, 1, 0, LIMIT + 1),
}


def fail(what: object) -> None:
    raise ValueError("it failed")


def outcome(
    way: str, frames: list[tuple[str, bytes]], end: str, cuts: list[int]
) -> tuple[dict[str, object], Wire]:
    """Have a link say `frames`, cut at `cuts`; return all that comes of it."""
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setitem(receiving.latch_of, Receiver._on_receive, "_latch")
        lines = collect_logs(patch)
        node = prepare(Node(HERE, max_message_size=LIMIT))
        stack.callback(node.end)
        wire, other = Wire(node, CHILD, WAYS[way]), Wire(node, OTHER)
        stack.callback(other.close)
        stack.callback(wire.close)
        seen: list[tuple[object, ...]] = []

        def note(msg: Message) -> None:
            ids = msg.dst_id, msg.src_id, msg.auth_id, msg.handle, msg.reply_to
            assert threading.get_ident() == node.broker._thread_id
            assert msg.router is node.router
            seen.append((*ids, msg.data, type(msg.receiver)))

        def take(receiver: Receiver) -> None:
            note(receiver.get(block=False, throw_dead=False))

        def receiver(handle: int, persist: bool, wire: Wire, notify: Callable[[Any], None]) -> None:
            receivers.append(wire.receiver(persist, handle))
            receivers[-1].notify = notify

        receivers: list[Receiver] = []
        to = {kind: 3000 + number for number, kind in enumerate(KINDS)}
        node.router.add_handler(note, to["function"])
        node.router.add_handler(note, to["asking function"])
        receiver(to["receiver"], True, wire, take)
        receiver(to["once"], False, wire, take)
        receiver(to["once dead"], False, wire, take)
        receiver(to["of another"], True, other, take)
        receiver(to["failing"], True, wire, fail)
        node.router.add_handler(fail, to["failing function"])
        node.router.add_handler(Receiver._on_receive.__get__(receivers[0]), to["of parents"])
        fn, persist, respondent, _ = node.router._handlers[to["of parents"]]
        node.router._handlers[to["of parents"]] = fn, persist, respondent, has_parent_authority
        to["dead receiver"] = to["receiver"]
        data = b""
        for kind, body in frames:
            src_id, dst_id, reply_to = KINDS[kind]
            data += frame(to[kind], body, src_id, dst_id, reply_to)
        data += ENDS[end] or b""
        # Never more than fits into the buffer.
        places = {0, len(data), *(cut % (len(data) + 1) for cut in cuts), *range(0, len(data), 60_000)}
        ordered = sorted(places)
        wire.feed([data[start:stop] for start, stop in pairwise(ordered)])
        if end == "the end":
            wire.hang_up()
            wire.gone.get(PATIENCE)
            node.settle()
        return {
            # Not what comes of the end, below.
            "seen": list(seen),
            "answers": wire.all_sent(),
            "forwarded": other.all_sent(),
            # Without the frames of tracebacks, which are not the same.
            "lines": [(line[2].splitlines()[0], line[2].splitlines()[-1]) for line in lines],
            "reason": wire.stream.reason,
            "closed": wire.stream.closed,
            "received": (wire.stream.received, wire.stream.messages_received),
            "handlers": sorted(node.router._handlers),
        }, wire


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(list(KINDS)), bodies), max_size=8),
    st.sampled_from(list(ENDS)),
    st.lists(st.integers(0, 400_000), max_size=6),
)
@example([(kind, b"") for kind in KINDS], "nothing", [])
@example([(kind, RAW * 9) for kind in KINDS] * 2, "the end", [])
@example([(kind, b"x" * LARGE_BODY) for kind in KINDS], "no frame", [])
@example([("function", b"12"), ("receiver", b"34")], "no frame", list(range(100)))
@example([("for another", b"1" * 20_000), ("for another", b"2")], "too much", [27, 20_000])
def test_both_ways_do_the_same_with_frames_in_any_pieces(
    frames: list[tuple[str, bytes]], end: str, cuts: list[int]
) -> None:
    core, _ = outcome("core", frames, end, cuts)
    loop, wire = outcome("loop", frames, end, cuts)
    assert loop == core
    # The loop itself did it, but for what ends the link.
    assert end in ("no frame", "too much") or not wire.by_core


def test_frames_that_come_byte_by_byte_arrive_in_order(wire: Wire) -> None:
    receiver = wire.receiver(persist=True)
    data = b"".join(frame(receiver.handle, text(i)) for i in range(9))
    wire.feed([data[i : i + 1] for i in range(len(data))])
    assert [receiver.get(block=False).unpickle() for _ in range(9)] == list(range(9))


# -- What becomes of a message -------------------------------------------------------------------------


def test_answers_go_to_their_receivers_in_one_pass_of_the_loop(loop: Wire) -> None:
    receivers = [loop.receiver() for _ in range(5)]
    loop.say(b"".join(frame(receiver.handle, text(i)) for i, receiver in enumerate(receivers)))
    for i, receiver in enumerate(receivers):
        msg = receiver.get(PATIENCE)
        assert msg.receiver is receiver
        assert msg.unpickle() == i
        assert receiver.handle not in loop.node.router._handlers
        # The broker thread notes that this was all only once the message is there.
        loop.node.settle()
        with pytest.raises(ChannelError, match="one message"):
            receiver.get(0.1)
    assert len(loop.by_loop) == 1
    assert loop.by_core == []


def test_a_message_for_another_context_is_passed_on_byte_by_byte(wire: Wire, other: Wire) -> None:
    frames = [frame(1234, b"x" * size, dst_id=OTHER, reply_to=5) for size in (0, 1, 5000)]
    frames.append(frame(1234, b"why", dst_id=OTHER, reply_to=IS_DEAD))
    wire.say(b"".join(frames))
    assert other.read(sum(map(len, frames))) == b"".join(frames)
    assert other.stream.messages_sent == len(frames)
    assert other.stream.sent == sum(map(len, frames))
    # And the answer back.
    answer = frame(5, text("it"), src_id=OTHER, dst_id=CHILD)
    other.say(answer)
    assert wire.read(len(answer)) == answer


def test_what_is_passed_on_stays_in_order_behind_what_is_queued(wire: Wire, other: Wire) -> None:
    node = wire.node
    frames = [frame(1, b"x" * MUCH, src_id=HERE, dst_id=OTHER)]
    node.send(OTHER, 1, b"x" * MUCH)
    assert other.stream.queued
    for number in range(20):
        frames.append(frame(2, b"%d" % number, dst_id=OTHER))
        wire.say(frames[-1])
    data = b"".join(frames)
    assert other.read(len(data)) == data
    node.settle()
    assert other.stream.queued == 0


def test_a_message_for_a_link_that_has_just_ended_is_refused(wire: Wire, other: Wire) -> None:
    def both() -> None:
        # As if another thread had ended it: the table knows it still.
        other.stream.closed = True
        other.stream.reason = "it is gone"
        wire.say(frame(1, dst_id=OTHER, reply_to=55))
        wire.stream.on_receive(wire.node.broker)
        other.stream.closed = False

    wire.node.run(both)
    msg = wire.read_message()
    assert (msg.handle, msg.is_dead, msg.data) == (55, True, b"it is gone")


def test_a_liar_is_refused_and_logged_and_not_answered(
    wire: Wire, other: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = collect_logs(monkeypatch)
    receiver = wire.receiver(persist=True)
    lies = [
        frame(receiver.handle, text("lie"), src_id=OTHER, reply_to=5),
        frame(receiver.handle, text("lie"), auth_id=OTHER, reply_to=5),
        frame(receiver.handle, text("lie"), src_id=HERE, reply_to=5),
        frame(receiver.handle, text("lie"), src_id=OTHER, dst_id=OTHER, reply_to=5),
    ]
    wire.say(b"".join(lies) + frame(receiver.handle, text("truth")))
    assert receiver.get(PATIENCE).unpickle() == "truth"
    # Once a second at most.
    assert len(lines) == 1
    assert "refused Message(8 -> 0, " in lines[0][2]
    assert (wire.stream.sent, other.stream.sent) == (0, 0)


def test_nobody_but_the_respondent_answers(
    wire: Wire, other: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = collect_logs(monkeypatch)
    receiver = other.receiver()
    wire.say(frame(receiver.handle, text("false"), reply_to=77))
    refused = wire.read_message()
    assert refused.handle == 77
    assert "by its policy" in str(refused.unpickle(throw=False))
    assert len(lines) == 1
    other.say(frame(receiver.handle, text("true"), src_id=OTHER))
    assert receiver.get(PATIENCE).unpickle() == "true"


def test_who_asks_an_unknown_handle_is_told(wire: Wire) -> None:
    wire.say(frame(4321) + frame(4321, reply_to=IS_DEAD) + frame(0, reply_to=66))
    wire.say(frame(4321, b"data", reply_to=55))
    msg = wire.read_message()
    assert (msg.src_id, msg.dst_id, msg.handle, msg.is_dead) == (HERE, CHILD, 55, True)
    assert msg.data == b"context 0 has no handle 4321"
    assert wire.stream.messages_sent == 1


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("no frame", "peer sent what is not a frame: it begins with 0x5365"),
        (
            "too much",
            "peer sent what is a message of %d bytes from context 7 is over the limit of %d"
            % (LIMIT + 1, LIMIT),
        ),
    ],
)
def test_what_is_no_frame_ends_the_link_behind_what_came_before(
    wire: Wire, end: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = collect_logs(monkeypatch)
    receiver = wire.receiver(persist=True)
    wire.say(frame(receiver.handle, text("before")) + (ENDS[end] or b""))
    wire.gone.get(PATIENCE)
    wire.node.settle()
    assert wire.stream.reason == reason
    assert [line[2] for line in lines] == ["disconnected: " + reason]
    assert receiver.get(PATIENCE).unpickle() == "before"
    with pytest.raises(ChannelError) as info:
        receiver.get(PATIENCE)
    assert str(info.value) == reason


def test_a_function_is_called_on_the_broker_thread_in_turn_with_receivers(wire: Wire) -> None:
    receiver = wire.receiver(persist=True)
    seen: list[tuple[int, bool]] = []
    handle = wire.node.router.add_handler(
        lambda msg: seen.append((threading.get_ident(), receiver.empty()))
    )
    wire.say(frame(handle) + frame(receiver.handle, text("it")) + frame(handle))
    receiver.get(PATIENCE)
    wire.until(lambda: len(seen) == 2)
    thread_id = wire.node.broker._thread_id
    assert seen[0] == (thread_id, True)
    assert seen[1][0] == thread_id


@pytest.mark.parametrize("kind", ["function", "receiver"])
def test_a_handler_that_raises_is_logged_and_who_asked_is_told(
    wire: Wire, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = collect_logs(monkeypatch)
    receiver = wire.receiver(persist=True)
    handle = receiver.handle
    if kind == "receiver":
        receiver.notify = fail
    else:
        handle = wire.node.router.add_handler(fail)
    wire.say(frame(handle, text("it"), reply_to=55))
    msg = wire.read_message()
    assert (msg.handle, msg.is_dead, msg.data) == (55, True, b"its handler failed")
    assert len(lines) == 1
    assert "ValueError: it failed" in lines[0][2]
    # The link goes on.
    receiver.notify = None
    wire.say(frame(receiver.handle, text("next")))
    while receiver.get(PATIENCE).unpickle() != "next":
        pass


def test_a_policy_sees_the_message_and_its_link(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = collect_logs(monkeypatch)
    asked: list[tuple[bytes, object]] = []

    def policy(msg: Message, stream: object) -> bool:
        asked.append((msg.data, stream))
        return msg.data == b"good"

    inbox, handle = wire.node.inbox(policy=policy)
    wire.say(frame(handle, b"bad", reply_to=55) + frame(handle, b"good"))
    assert inbox.get().data == b"good"
    assert inbox.empty()
    assert asked == [(b"bad", wire.stream), (b"good", wire.stream)]
    assert "by its policy" in lines[0][2]
    assert "by its policy" in str(wire.read_message().unpickle(throw=False))


@pytest.mark.parametrize("way", WAYS)
def test_calls_are_for_those_with_the_authority_of_a_parent(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(receiving.latch_of, Receiver._on_receive, "_latch")
    lines = collect_logs(monkeypatch)
    node = Node(5, (1, 0))
    wire = Wire(node, 1, WAYS[way])
    note_loop(monkeypatch, wire)
    calls = Receiver(node.router)
    entry = node.router._handlers[calls.handle]
    node.router._handlers[calls.handle] = (*entry[:3], has_parent_authority)
    fields = {"dst_id": 5, "src_id": 0}
    wire.say(frame(calls.handle, text("bad"), auth_id=9, reply_to=55, **fields))
    wire.say(frame(calls.handle, text("good"), **fields) + frame(calls.handle, text("too"), 1, 5))
    assert [calls.get(PATIENCE).unpickle() for _ in range(2)] == ["good", "too"]
    refused = wire.read_message()
    assert (refused.dst_id, refused.handle) == (0, 55)
    assert "by its policy" in str(refused.unpickle(throw=False))
    assert len(lines) == 1
    node.end()
    wire.close()


def test_the_routing_policy_is_asked_for_what_is_passed_on(wire: Wire, other: Wire) -> None:
    asked: list[tuple[int, int]] = []

    def policy(src_id: int, dst_id: int) -> bool:
        asked.append((src_id, dst_id))
        return src_id == OTHER

    wire.node.run(lambda: setattr(wire.node.router.table, "policy", policy))
    wire.say(frame(1, dst_id=OTHER, reply_to=55))
    msg = wire.read_message()
    assert (msg.handle, msg.is_dead) == (55, True)
    assert "context 7 may not talk to context 8" in msg.data.decode()
    allowed = frame(1, b"may pass", src_id=OTHER, dst_id=CHILD)
    other.say(allowed)
    assert wire.read(len(allowed)) == allowed
    assert set(asked) == {(CHILD, OTHER), (OTHER, CHILD)}
    assert other.stream.sent == 0


@pytest.mark.parametrize("persist", [True, False])
def test_a_dead_message_ends_a_wait(wire: Wire, persist: bool) -> None:
    receiver = wire.receiver(persist)
    wire.say(frame(receiver.handle, b"why", reply_to=IS_DEAD))
    with pytest.raises(ChannelError, match="^why$"):
        receiver.get(PATIENCE)
    assert (receiver.handle in wire.node.router._handlers) is persist


def test_a_queue_that_was_closed_turns_messages_away(wire: Wire) -> None:
    receiver = wire.receiver(persist=True)
    # As if it were closed just then: its handle is known still.
    receiver._latch.close()
    wire.say(frame(receiver.handle, text("late"), reply_to=55))
    msg = wire.read_message()
    assert (msg.handle, msg.is_dead, msg.data) == (55, True, b"the receiver was closed")


# -- Large bodies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [LARGE_BODY - 1, LARGE_BODY, LARGE_BODY + 1, MUCH, LIMIT])
@pytest.mark.parametrize("first", [RAW, b"\x80"])
def test_a_large_body_arrives_whole_and_so_does_what_is_behind_it(
    wire: Wire, size: int, first: bytes
) -> None:
    inbox, handle = wire.node.inbox()
    receiver = wire.receiver(persist=True)
    body = first + os.urandom(size - 1)
    behind = [frame(handle, b"%d" % i) + frame(receiver.handle, text(i)) for i in range(5)]
    wire.say(frame(handle, body) + frame(receiver.handle, body) + b"".join(behind))
    msg = inbox.get()
    assert type(msg.body) is bytes
    assert msg.body == body
    msg = receiver.get(PATIENCE)
    assert type(msg.body) is bytes
    assert msg.body == body
    for i in range(5):
        assert inbox.get().data == b"%d" % i
        assert receiver.get(PATIENCE).unpickle() == i
    assert "buffer" not in wire.stream.__dict__


@pytest.mark.parametrize("part", [1 + HEADER_SIZE, 1000, LARGE_BODY + HEADER_SIZE, 60_000])
def test_a_large_body_may_come_in_many_parts(wire: Wire, part: int) -> None:
    receiver = wire.receiver(persist=True)
    body = os.urandom(LARGE_BODY + 5000)
    data = frame(receiver.handle, body) * 2 + frame(receiver.handle, b"behind")
    wire.feed([data[i : i + part] for i in range(0, len(data), part)])
    assert [receiver.get(block=False).data for _ in range(3)] == [body, body, b"behind"]
    assert wire.stream.received == HEADER_SIZE + len(data)
    assert wire.stream.messages_received == 4


def test_a_large_body_for_another_context_is_passed_on(wire: Wire, other: Wire) -> None:
    data = frame(1, RAW + os.urandom(MUCH), dst_id=OTHER) + frame(2, b"behind", dst_id=OTHER)
    wire.say(data)
    assert other.read(len(data)) == data


@pytest.mark.parametrize("sent", [1, HEADER_SIZE, HEADER_SIZE + 1, 50_000, HEADER_SIZE + MUCH - 1])
def test_a_peer_that_goes_in_the_middle_of_a_message_ends_the_link(wire: Wire, sent: int) -> None:
    receiver = wire.receiver(persist=True)
    wire.say(frame(receiver.handle, os.urandom(MUCH))[:sent])
    wire.until(lambda: wire.stream.received == HEADER_SIZE + sent)
    wire.hang_up()
    with pytest.raises(ChannelError, match="the connection to context peer was closed by it"):
        receiver.get(PATIENCE)
    wire.gone.get(PATIENCE)
    assert wire.gone.empty()


def test_plain_bytes_come_apart_from_what_says_so_for_an_answer(loop: Wire, answer: OneAnswer) -> None:
    value = os.urandom(MUCH)
    loop.say(frame(answer.handle, RAW + value) + frame(answer.handle, reply_to=55))
    msg = answer.get()
    assert msg.body == [RAW, value]
    assert msg.size() == MUCH + 1
    assert msg.unpickle() == value
    # It was for one message.
    assert loop.read_message().data == b"context 0 has no handle %d" % answer.handle


@pytest.mark.parametrize(
    "body", [RAW, RAW + b"small", RAW + b"x" * (LARGE_BODY - 2), b"\x80" * MUCH, b"\x80"], ids=len
)
def test_other_bodies_for_an_answer_come_as_they_are(loop: Wire, answer: OneAnswer, body: bytes) -> None:
    loop.say(frame(answer.handle, body))
    msg = answer.get()
    assert type(msg.body) is bytes
    assert msg.body == body


@pytest.mark.parametrize("cut", [0, 1, HEADER_SIZE, HEADER_SIZE + 1, HEADER_SIZE + 2, HEADER_SIZE + 5000])
def test_plain_bytes_for_an_answer_may_be_cut_anywhere(loop: Wire, answer: OneAnswer, cut: int) -> None:
    value = os.urandom(LARGE_BODY)
    data = frame(answer.handle, RAW + value)
    loop.feed([data[:cut], data[cut:-1], data[-1:]])
    msg = answer.get()
    assert msg.unpickle() == value
    # What the sender sent, for those who look at that.
    assert msg.data == RAW + value


def test_plain_bytes_that_look_like_an_answer_are_refused_whole(
    loop: Wire, other: Wire, answer: OneAnswer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = collect_logs(monkeypatch)
    of_other = OneAnswer(other)
    body = RAW + os.urandom(MUCH)
    loop.say(frame(of_other.handle, body, reply_to=55))
    assert "by its policy" in str(loop.read_message().unpickle(throw=False))
    assert len(lines) == 1
    loop.say(frame(answer.handle, body))
    assert answer.get().data == body
    assert of_other.latch.empty()


def test_an_answer_that_nobody_waits_for_any_more_is_dropped(loop: Wire, answer: OneAnswer) -> None:
    data = frame(answer.handle, RAW + os.urandom(MUCH))
    receiver = loop.receiver()
    loop.say(data[:1000])
    loop.until(lambda: loop.stream._decoder._body)
    loop.node.router.del_handler(answer.handle)
    loop.say(data[1000:] + frame(receiver.handle, text("behind")))
    assert receiver.get(PATIENCE).unpickle() == "behind"
    assert answer.latch.empty()
    assert loop.stream.sent == 0


def test_a_peer_that_goes_in_the_middle_of_an_answer_ends_the_wait(loop: Wire, answer: OneAnswer) -> None:
    loop.say(frame(answer.handle, RAW + os.urandom(MUCH))[:-1])
    loop.hang_up()
    msg = answer.get()
    assert msg.is_dead
    assert "closed" in msg.data.decode()


def test_a_broken_descriptor_in_the_middle_of_a_body_is_an_end(
    loop: Wire, answer: OneAnswer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int, buffers: object) -> int:
        raise OSError(5, "input/output error")

    data = frame(answer.handle, RAW + os.urandom(MUCH))
    loop.say(data[:1000])
    loop.until(lambda: loop.stream._decoder._body)
    monkeypatch.setattr(receiving, "_readv", fail)
    loop.say(data[1000:2000])
    assert answer.get().is_dead
    loop.gone.get(PATIENCE)


def test_a_wake_up_for_nothing_in_the_middle_of_a_body_changes_nothing(
    loop: Wire, answer: OneAnswer
) -> None:
    value = os.urandom(MUCH)
    data = frame(answer.handle, RAW + value)
    loop.say(data[:1000])
    loop.until(lambda: loop.stream._decoder._body)
    loop.node.run(lambda: loop.stream.on_receive(loop.node.broker))
    loop.say(data[1000:])
    assert answer.get().unpickle() == value


def test_without_readv_large_bodies_take_the_cores_way(
    loop: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "_readv", None)
    receiver = loop.receiver(persist=True)
    body = os.urandom(MUCH)
    loop.say(frame(receiver.handle, body) + frame(receiver.handle, b"behind"))
    assert [receiver.get(PATIENCE).data for _ in range(2)] == [body, b"behind"]
    assert loop.by_core


# -- The core's way ------------------------------------------------------------------------------------


def test_with_a_full_queue_a_link_is_read_the_cores_way(loop: Wire) -> None:
    receiver = loop.receiver(persist=True)
    loop.node.send(CHILD, 1, b"x" * MUCH)
    assert loop.stream.queued
    data = frame(receiver.handle, text("first")) + frame(receiver.handle, text("second"))
    loop.say(data[:-3])
    assert receiver.get(PATIENCE).unpickle() == "first"
    assert loop.by_loop == []
    loop.read(HEADER_SIZE + MUCH)
    loop.until(lambda: not loop.stream.queued)
    # The loop goes on with what the other one left.
    loop.say(data[-3:])
    assert receiver.get(PATIENCE).unpickle() == "second"
    assert loop.by_loop == [frame(receiver.handle, text("second"))]


def test_a_pickle_that_was_begun_by_the_loop_may_be_ended_the_cores_way(loop: Wire) -> None:
    receiver = loop.receiver(persist=True)
    body = b"\x80" * MUCH
    data = frame(receiver.handle, body)
    loop.say(data[:1000])
    loop.until(lambda: loop.stream._decoder._body)
    loop.node.send(CHILD, 1, b"x" * MUCH)
    assert loop.stream.queued
    loop.say(data[1000:] + frame(receiver.handle, b"behind"))
    assert [receiver.get(PATIENCE).data for _ in range(2)] == [body, b"behind"]
    loop.read(HEADER_SIZE + MUCH)


def test_plain_bytes_for_an_answer_may_be_ended_the_cores_way(loop: Wire, answer: OneAnswer) -> None:
    value = os.urandom(MUCH)
    data = frame(answer.handle, RAW + value)
    loop.say(data[:1000])
    loop.until(lambda: loop.stream._decoder._body)
    loop.node.send(CHILD, 1, b"x" * MUCH)
    assert loop.stream.queued
    loop.say(data[1000:])
    msg = answer.get()
    loop.read(HEADER_SIZE + MUCH)
    assert msg.data == RAW + value


def test_what_the_core_began_is_not_taken_for_plain_bytes(loop: Wire, answer: OneAnswer) -> None:
    receiver = loop.receiver(persist=True)
    data = frame(answer.handle, RAW + os.urandom(MUCH))
    loop.say(data[:1000])
    loop.until(lambda: loop.stream._decoder._body)
    loop.node.send(CHILD, 1, b"x" * MUCH)
    loop.say(data[1000:])
    answer.get()
    body = b"\x80" * MUCH
    data = frame(receiver.handle, body)
    # Begun while the queue is full, ended when it is empty.
    loop.say(data[:1000])
    loop.until(lambda: loop.stream._decoder._body)
    loop.read(HEADER_SIZE + MUCH)
    loop.until(lambda: not loop.stream.queued)
    loop.say(data[1000:])
    assert receiver.get(PATIENCE).data == body


def test_without_readv_plain_bytes_for_an_answer_arrive_as_well(
    loop: Wire, answer: OneAnswer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "_readv", None)
    value = os.urandom(MUCH)
    loop.say(frame(answer.handle, RAW + value))
    assert answer.get().unpickle() == value


def test_a_link_that_somebody_else_reads_is_left_to_that_one(loop: Wire) -> None:
    receiver = loop.receiver(persist=True)
    reader = loop.stream.reader

    def wake_up() -> None:
        reader[0] = "somebody else"
        loop.say(frame(receiver.handle, text("it")))
        loop.stream.on_receive(loop.node.broker)
        assert reader.pop(0) == "somebody else"
        assert receiver.empty()

    loop.node.run(wake_up)
    assert receiver.get(PATIENCE).unpickle() == "it"
    loop.node.settle()
    assert not reader


def test_a_wake_up_for_nothing_changes_nothing(loop: Wire) -> None:
    loop.node.run(lambda: loop.stream.on_receive(loop.node.broker))
    assert not loop.stream.closed
    assert not loop.stream.reader
    loop.node.run(lambda: loop.stream.disconnect(loop.node.broker, "enough"))
    loop.node.run(lambda: loop.stream.on_receive(loop.node.broker))
    assert loop.stream.reason == "enough"


# -- Links that rest -----------------------------------------------------------------------------------

LONG = 1000.0


def settled(*wires: Wire) -> None:
    """Return once the links of a node rest no more, and check that nothing is left of that."""
    for wire in wires:
        wire.until(lambda: not any(wire.stream.__dict__.get("rests") for wire in wires))
        assert wire.node.broker.timers.next_due() is None


def has_rest(wire: Wire, seconds: float, then: Callable[[], object] = bool) -> None:
    """Let the link rest, and call `then` before that can be over."""

    def begin() -> None:
        receiving.rest(wire.stream, wire.node.broker, seconds)
        assert wire.stream.__dict__["rests"]
        then()

    wire.node.run(begin)


def test_a_link_that_brings_many_messages_rests_and_all_of_them_arrive(
    loop: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[float] = []
    rest = receiving.rest

    def note(link: Any, broker: Any, seconds: float) -> None:
        rests.append(seconds)
        rest(link, broker, seconds)

    monkeypatch.setattr(receiving, "rest", note)
    receiver = loop.receiver(persist=True)
    few = receiving.MANY
    loop.feed([b"".join(frame(receiver.handle, text(i)) for i in range(few))])
    assert rests == []
    loop.feed([b"".join(frame(receiver.handle, text(few + i)) for i in range(few + 1))])
    assert rests == [receiving.SHORT_REST]
    for i in range(2 * few + 1):
        assert receiver.get(block=False).unpickle() == i
    for i in range(500):
        loop.say(frame(receiver.handle, text(i)))
    assert [receiver.get(PATIENCE).unpickle() for _ in range(500)] == list(range(500))
    settled(loop)


def test_a_link_with_more_than_one_read_takes_does_not_rest(loop: Wire) -> None:
    receiver = loop.receiver(persist=True)
    count = 3000
    data = b"".join(frame(receiver.handle, text(i)) for i in range(count))
    assert len(data) > 65536
    loop.say(data)
    assert [receiver.get(PATIENCE).unpickle() for _ in range(count)] == list(range(count))
    settled(loop)


def test_what_comes_while_a_link_rests_is_read_afterwards(loop: Wire) -> None:
    receiver = loop.receiver(persist=True)
    has_rest(loop, LONG)
    loop.say(frame(receiver.handle, text("it")))
    loop.node.settle()
    assert receiver.empty()
    # The time has passed.
    loop.node.run(lambda: loop.node.broker.timers.take_due(float("inf"))[0].func())
    assert receiver.get(PATIENCE).unpickle() == "it"
    assert not loop.stream.__dict__["rests"]


def test_the_end_of_a_link_that_rests_is_noticed_at_once_behind_what_it_said(loop: Wire) -> None:
    receiver = loop.receiver(persist=True)
    has_rest(loop, LONG)
    loop.say(frame(receiver.handle, text("last words")))
    loop.hang_up()
    assert receiver.get(PATIENCE).unpickle() == "last words"
    with pytest.raises(ChannelError, match="closed"):
        receiver.get(PATIENCE)
    loop.gone.get(PATIENCE)


def test_a_link_that_ended_while_it_rested_is_not_watched_again(loop: Wire, other: Wire) -> None:
    fd = loop.stream.receive_side.fd
    has_rest(loop, 0.001, loop.hang_up)
    loop.gone.get(PATIENCE)
    # The number is another file's by now, which nobody asked to be told of.
    spare = os.open("/dev/null", os.O_RDONLY)
    assert spare == fd
    settled(loop)
    assert fd not in loop.node.broker.poller._known
    os.close(spare)


def test_a_link_that_is_read_no_more_while_it_rests_stays_so(loop: Wire) -> None:
    receiver = loop.receiver(persist=True)
    has_rest(loop, 0.001, lambda: loop.node.broker.stop_receive(loop.stream))
    settled(loop)
    loop.say(frame(receiver.handle, text("held back")))
    loop.node.settle()
    assert receiver.empty()
    assert loop.stream.receive_side.fd not in loop.node.broker.poller._known
    loop.node.broker.start_receive(loop.stream)
    assert receiver.get(PATIENCE).unpickle() == "held back"


def test_a_link_that_is_read_again_while_it_rests_is_watched_at_once(loop: Wire) -> None:
    receiver = loop.receiver(persist=True)
    has_rest(loop, LONG)
    loop.node.broker.stop_receive(loop.stream)
    loop.node.broker.start_receive(loop.stream)
    loop.say(frame(receiver.handle, text("it")))
    assert receiver.get(PATIENCE).unpickle() == "it"


def test_a_link_rests_once_at_a_time(loop: Wire) -> None:
    has_rest(loop, LONG)
    has_rest(loop, LONG)
    assert len(loop.node.broker.timers._heap) == 1


def test_a_link_that_somebody_led_rests_on(loop: Wire) -> None:
    receiver = loop.receiver(persist=True)
    has_rest(loop, 0.001, lambda: setattr(loop.stream, "was_led", True))
    loop.until(lambda: "was_led" not in loop.stream.__dict__)
    loop.say(frame(receiver.handle, text("it")))
    assert receiver.get(PATIENCE).unpickle() == "it"
    settled(loop)


def test_a_link_that_is_led_as_its_rest_ends_is_left_to_who_leads(loop: Wire) -> None:
    receiver = loop.receiver(persist=True)
    has_rest(loop, 0.001, lambda: loop.stream.reader.setdefault(0, "somebody else"))
    settled(loop)
    loop.say(frame(receiver.handle, text("it")))
    loop.node.settle()
    assert receiver.empty()
    # What who leads does in the end.
    loop.stream.reader.clear()
    receiving.watch(loop.stream)
    assert receiver.get(PATIENCE).unpickle() == "it"


def test_links_that_cannot_or_must_not_rest_do_not(node: Node, loop: Wire) -> None:
    broker = node.broker
    ours, theirs = socket.socketpair()
    fd = ours.detach()
    both_ways = Stream(node.router, OTHER, "socket", fd, fd)
    node.router.register(node.context(OTHER), both_ways)
    rests: list[object] = []

    def try_all() -> None:
        # A socket, which is watched for writing as well.
        receiving.rest(both_ways, broker, LONG)
        rests.append(both_ways.__dict__.get("rests"))
        # Paused.
        broker._stop_receive(loop.stream)
        receiving.rest(loop.stream, broker, LONG)
        rests.append(loop.stream.__dict__.get("rests"))
        loop.stream.disconnect(broker, "enough")
        receiving.rest(loop.stream, broker, LONG)
        rests.append(loop.stream.__dict__.get("rests"))

    node.run(try_all)
    assert rests == [None] * 3
    assert broker.timers.next_due() is None
    theirs.close()


def test_two_links_that_rest_do_not_hinder_each_other(loop: Wire, other: Wire) -> None:
    to = {loop: other, other: loop}

    def frames(wire: Wire) -> bytes:
        return b"".join(frame(1, b"%d" % i, wire.context_id, to[wire].context_id) for i in range(3000))

    threads = [
        threading.Thread(target=wire.say, args=(frames(wire),), daemon=True) for wire in (loop, other)
    ]
    for thread in threads:
        thread.start()
    for wire in (other, loop):
        assert wire.read(len(frames(to[wire]))) == frames(to[wire])
    for thread in threads:
        thread.join(PATIENCE)
    settled(loop, other)


def test_the_end_of_the_broker_ends_a_link_that_rests(node: Node) -> None:
    wire = Wire(node, CHILD)
    receiver = wire.receiver(persist=True)
    has_rest(wire, LONG)
    node.end()
    with pytest.raises(ChannelError):
        receiver.get(PATIENCE)
    # Nothing is left to be watched.
    receiving.watch(wire.stream)
    wire.close()


def test_a_header_is_what_the_core_makes() -> None:
    msg = Message(dst_id=HERE, src_id=CHILD, auth_id=CHILD, handle=5, reply_to=6, data=b"abc")
    assert frame(5, b"abc", reply_to=6) == encode_header(msg) + b"abc"


def test_a_body_that_is_large_but_not_huge_is_decoded_with_what_follows(
    loop: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "_HUGE_BODY", 1 << 20)
    receiver = loop.receiver(persist=True)
    large = frame(receiver.handle, RAW + b"x" * 50_000)
    loop.say(large[:20_000])
    while loop.stream._decoder._body is None:
        loop.node.settle()
    assert "is_raw" not in loop.stream.__dict__
    loop.say(large[20_000:] + frame(receiver.handle, text("behind")))
    assert receiver.get(PATIENCE).unpickle() == b"x" * 50_000
    assert receiver.get(PATIENCE).unpickle() == "behind"
