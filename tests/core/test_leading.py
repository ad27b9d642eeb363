"""`mitogen.core.leading`: the thread that waits for an answer reads the link itself."""

from __future__ import annotations

import os
import select
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from mitogen.core import latch, leading, receiving
from mitogen.core.errors import ChannelError, TimeoutError
from mitogen.core.framing import HEADER_SIZE, encode_header
from mitogen.core.latch import Latch
from mitogen.core.message import Message
from mitogen.core.receiver import Receiver
from mitogen.core.serialization import dumps
from mitogen.core.stream import Stream
from tests.core.tools import PATIENCE, Node, asleep, collect_logs, in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHILD = 7


class Noted:
    """A poll object that tells when it is used."""

    def __init__(self, poll: Any, used: list[None]) -> None:
        self._poll = poll
        self._used = used
        self._watched: set[int] = set()

    def register(self, fd: int, events: int) -> None:
        self._watched.add(fd)
        self._poll.register(fd, events)

    def poll(self, timeout: int | None) -> list[tuple[int, int]]:
        # Not for those who sleep on nothing but their own pipe.
        if len(self._watched) > 1:
            # No event: it would not survive an exception of a signal's handler.
            self._used.append(None)
        found: list[tuple[int, int]] = self._poll.poll(timeout)
        return found


class Link:
    """A router that reads by the threads that wait, and the other end of its one link: bare pipes.

    :ivar by_broker: what the broker thread read of it.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.node = Node(0)
        self.router: Any = self.node.router
        # As `mitogen.parent.answers` does.
        monkeypatch.setattr(self.router, "lead", self._lead)
        monkeypatch.setitem(receiving.latch_of, Receiver._on_receive, "_latch")
        receive_fd, self.write_fd = os.pipe()
        self.read_fd, transmit_fd = os.pipe()
        self.stream = Stream(self.router, CHILD, "child", receive_fd, transmit_fd)
        self.by_broker: list[bytes] = []
        monkeypatch.setattr(leading, "receive", self._note(receiving.receive))
        monkeypatch.setattr(receiving, "receive", self._note(receiving.receive))
        self.stream.on_receive = lambda broker: receiving.on_receive(self.stream, broker)  # type: ignore[method-assign]
        self._taken: list[None] = []
        poll = select.poll
        monkeypatch.setattr(select, "poll", lambda: Noted(poll(), self._taken))
        self.context = self.node.context(CHILD)
        self.router.register(self.context, self.stream)
        # The first message is the broker thread's: what a child says before it is no frame.
        inbox, handle = self.node.inbox()
        self.say(encode_header(Message(src_id=CHILD, auth_id=CHILD, handle=handle)))
        inbox.get()
        self.node.settle()

    def _lead(self, respondent: Any, handle: int) -> Any:
        return lambda fd, timeout: leading.lead(self.router, self.stream, handle, fd, timeout)

    def _note(self, receive: Any) -> Any:
        def note(link: Any, broker: Any, data: bytes) -> None:
            self.by_broker.append(data)
            receive(link, broker, data)

        return note

    def receiver(self, persist: bool = False) -> Receiver:
        return Receiver(self.router, None, persist, self.context)

    def frame(self, receiver: Receiver, value: object, src_id: int = CHILD) -> bytes:
        body: Any = dumps(value)
        fields = {"src_id": src_id, "auth_id": src_id, "handle": receiver.handle}
        found: bytes = encode_header(Message(data=body, **fields)) + body
        return found

    def say(self, data: bytes) -> None:
        assert os.write(self.write_fd, data) == len(data)

    def wait(self, receiver: Receiver, timeout: float = PATIENCE) -> Callable[[], Any]:
        """Have a thread wait for `receiver`; return what gives its result, once the thread sleeps."""
        # The broker thread may be about to give the link back, after what it told us last.
        self.node.settle()
        result = in_thread(lambda: receiver.get(timeout).unpickle())
        asleep(receiver._latch)
        return result

    def is_watched(self) -> bool:
        """Return True if nobody but the broker thread reads the link."""
        self.node.settle()
        return not self.stream.reader

    def until_taken(self) -> None:
        """Return once a thread has taken the link over, since the last time."""
        tick = threading.Event()
        for _ in range(int(PATIENCE / 0.001)):
            if self._taken:
                self._taken.clear()
                return
            tick.wait(0.001)
        raise AssertionError("nobody took the link over")

    def end(self) -> None:
        self.node.end()
        for fd in (self.write_fd, self.read_fd):
            try:
                os.close(fd)
            except OSError:
                pass  # By the test.


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> Iterator[Link]:
    link = Link(monkeypatch)
    yield link
    link.end()


def test_an_answer_is_read_by_the_thread_that_waits_for_it(link: Link) -> None:
    for value in range(20):
        receiver = link.receiver()
        result = link.wait(receiver)
        link.until_taken()
        link.say(link.frame(receiver, value))
        assert result() == value
        assert link.is_watched()
        assert receiver.handle not in link.router._handlers
        with pytest.raises(ChannelError, match="one message"):
            receiver.get(0.1)
    assert link.by_broker == []
    assert link.stream.messages_received == 1 + 20
    assert link.stream.received == HEADER_SIZE + 20 * len(link.frame(receiver, 1))


def test_a_receiver_that_persists_gets_one_after_the_other(link: Link) -> None:
    receiver = link.receiver(persist=True)
    for value in range(5):
        result = link.wait(receiver)
        link.until_taken()
        link.say(link.frame(receiver, value))
        assert result() == value
    assert link.by_broker == []


def test_several_messages_are_put_into_their_queues_in_order(link: Link) -> None:
    receiver, other, woken = link.receiver(), link.receiver(persist=True), link.receiver()
    result = link.wait(receiver)
    link.until_taken()
    result_of_other = link.wait(woken)
    frames = [link.frame(other, "before"), link.frame(receiver, "it"), link.frame(other, "behind")]
    link.say(b"".join([*frames, link.frame(woken, "it, too")]))
    assert (result(), result_of_other()) == ("it", "it, too")
    assert [other.get(PATIENCE).unpickle() for _ in range(2)] == ["before", "behind"]
    assert link.by_broker == []
    assert link.is_watched()
    assert not {receiver.handle, woken.handle} & set(link.router._handlers)
    with pytest.raises(ChannelError, match="one message"):
        woken.get(0.1)


def test_from_the_first_message_with_a_handler_on_the_broker_thread_has_them(link: Link) -> None:
    receiver, other = link.receiver(), link.receiver(persist=True)
    seen = []
    handle = link.router.add_handler(lambda msg: seen.append((other.empty(), threading.get_ident())))
    result = link.wait(receiver)
    link.until_taken()
    asks = encode_header(Message(src_id=CHILD, auth_id=CHILD, handle=handle))
    frames = [link.frame(other, "before"), asks, link.frame(other, "behind"), link.frame(receiver, "it")]
    link.say(b"".join(frames) + frames[0][:9])
    assert result() == "it"
    assert [other.get(PATIENCE).unpickle() for _ in range(2)] == ["before", "behind"]
    assert seen == [(False, link.node.broker._thread_id)]
    link.say(frames[0][9:])
    assert other.get(PATIENCE).unpickle() == "before"
    assert link.is_watched()


def test_a_queue_that_was_closed_is_the_broker_threads(link: Link) -> None:
    receiver, closed = link.receiver(), link.receiver(persist=True)
    result = link.wait(receiver)
    link.until_taken()
    # As if it were closed just then: its handle is known still.
    closed._latch.close()
    link.say(link.frame(closed, "too late") + link.frame(receiver, "it"))
    assert result() == "it"
    assert link.is_watched()


def test_a_busy_link_rests_and_is_watched_again(link: Link) -> None:
    def lead_often() -> None:
        for value in range(3 * receiving.MANY):
            receiver = link.receiver()
            result = link.wait(receiver)
            link.say(link.frame(receiver, value))
            assert result() == value

    other = link.receiver(persist=True)
    for _ in range(20):
        lead_often()
        # Nobody waits for it who could read the link: it is read once that has rested.
        link.say(link.frame(other, "seen"))
        while other.empty():
            link.node.settle()
        other.get()
    while link.stream.__dict__.get("rests"):
        link.node.settle()
    assert link.is_watched()
    link.node.run(lambda: None)
    assert link.node.broker.timers.next_due() is None


def test_the_end_of_a_link_that_rests_is_noticed_at_once(link: Link) -> None:
    link.node.run(lambda: receiving.rest(link.stream, link.node.broker, 1000.0))
    assert link.stream.__dict__["rests"]
    receiver = link.receiver()
    os.close(link.write_fd)
    with pytest.raises(ChannelError, match="closed"):
        receiver.get(PATIENCE)


def test_a_link_that_rests_while_a_thread_leads_is_watched_once_that_ends(link: Link) -> None:
    receiver, other = link.receiver(), link.receiver(persist=True)
    link.node.run(lambda: receiving.rest(link.stream, link.node.broker, 0.001))
    result = link.wait(receiver)
    link.until_taken()
    # Nothing came meanwhile: no timer goes on only because somebody waits.
    while link.stream.__dict__["rests"]:
        link.node.settle()
    assert link.node.broker.timers.next_due() is None
    link.say(link.frame(receiver, "it"))
    assert result() == "it"
    link.say(link.frame(other, "behind"))
    assert other.get(PATIENCE).unpickle() == "behind"


@pytest.mark.parametrize("cut", [1, 25, 26, 30])
def test_a_message_that_comes_in_parts_is_put_together(link: Link, cut: int) -> None:
    receiver = link.receiver()
    result = link.wait(receiver)
    link.until_taken()
    frame = link.frame(receiver, "a text")
    link.say(frame[:cut])
    while not link.stream._decoder._rest:
        link.node.settle()
    link.say(frame[cut:])
    assert result() == "a text"
    assert link.is_watched()


def test_a_link_with_much_else_on_it_is_left_alone_more_and_more(link: Link) -> None:
    inbox, handle = link.node.inbox()
    frame = encode_header(Message(src_id=CHILD, auth_id=CHILD, handle=handle))
    known = link.stream.__dict__
    # Woken for nothing, which may happen, a thread counts twice; and then it may find its message itself,
    # which is a good sign for the link.
    for _ in range(100):
        while known.get("left_alone"):
            receiver = link.receiver()
            result = link.wait(receiver)
            assert link.is_watched() or not known["left_alone"]
            link.say(link.frame(receiver, 1))
            assert result() == 1
        receiver = link.receiver()
        result = link.wait(receiver)
        link.until_taken()
        before = known.get("misses", 0)
        link.say(frame)
        inbox.get()
        assert known["misses"] == 2 * before + 1
        link.say(link.frame(receiver, 1))
        assert result() == 1
        if before == 3:
            return
    raise AssertionError("it was never left alone for long")


def test_of_two_threads_that_wait_one_reads(link: Link) -> None:
    first, second = link.receiver(), link.receiver()
    results = [link.wait(first)]
    link.until_taken()
    results.append(link.wait(second))
    link.say(link.frame(second, "second"))
    assert results[1]() == "second"
    link.say(link.frame(first, "first"))
    assert results[0]() == "first"


def test_what_is_queued_already_goes_first(link: Link) -> None:
    receiver = link.receiver(persist=True)
    result = link.wait(receiver)
    link.until_taken()
    here = Message(data=dumps("here"), src_id=CHILD, auth_id=CHILD)
    link.node.run(lambda: receiver._on_receive(here))
    assert result() == "here"
    assert link.is_watched()


def test_a_time_out_gives_the_link_back(link: Link) -> None:
    receiver = link.receiver()
    with pytest.raises(TimeoutError):
        receiver.get(0.01)
    assert link.is_watched()
    link.say(link.frame(receiver, "late"))
    assert receiver.get(PATIENCE).unpickle() == "late"


def test_the_end_of_the_link_ends_the_wait(link: Link) -> None:
    result = link.wait(link.receiver())
    link.until_taken()
    os.close(link.write_fd)
    with pytest.raises(ChannelError, match="closed"):
        result()


def test_the_end_of_the_broker_ends_the_wait(link: Link) -> None:
    result = link.wait(link.receiver())
    link.until_taken()
    link.node.end()
    with pytest.raises(ChannelError):
        result()


def test_a_dead_message_ends_the_wait(link: Link) -> None:
    receiver = link.receiver()
    result = link.wait(receiver)
    link.until_taken()
    dead = Message.dead("gone", src_id=CHILD, auth_id=CHILD, handle=receiver.handle)
    link.say(encode_header(dead) + dead.data)
    with pytest.raises(ChannelError, match="gone"):
        result()


def test_an_answer_of_somebody_else_is_refused(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = collect_logs(monkeypatch)
    receiver = link.receiver()
    result = link.wait(receiver)
    link.until_taken()
    link.say(link.frame(receiver, "false", src_id=99))
    while not lines:
        link.node.settle()
    assert "refused" in lines[0][2]
    link.say(link.frame(receiver, "true"))
    assert result() == "true"


def test_what_is_no_frame_ends_the_link(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    collect_logs(monkeypatch)
    result = link.wait(link.receiver())
    link.until_taken()
    link.say(b"Segmentation fault (core dumped)\n")
    with pytest.raises(ChannelError, match="not a frame"):
        result()


def test_a_link_that_is_not_read_is_not_read_by_others_either(link: Link) -> None:
    link.node.run(lambda: link.node.broker._stop_receive(link.stream))
    receiver = link.receiver()
    link.say(link.frame(receiver, "held back"))
    with pytest.raises(TimeoutError):
        receiver.get(0.05)
    link.node.broker.start_receive(link.stream)
    assert receiver.get(PATIENCE).unpickle() == "held back"


def test_a_link_that_is_paused_meanwhile_stays_so_after_the_wait(link: Link) -> None:
    receiver, other = link.receiver(), link.receiver(persist=True)
    result = link.wait(receiver)
    link.until_taken()
    link.node.run(lambda: link.node.broker._stop_receive(link.stream))
    link.say(link.frame(receiver, "read"))
    assert result() == "read"
    link.say(link.frame(other, "not read"))
    with pytest.raises(TimeoutError):
        other.get(0.05)
    link.node.broker.start_receive(link.stream)
    assert other.get(PATIENCE).unpickle() == "not read"


class Interrupted(BaseException):
    """What the signal's handler raises."""


@pytest.fixture
def interrupt_in(link: Link) -> Iterator[Callable[[float], None]]:
    """What has `Interrupted` raised in so many seconds, or never for 0; and what is said is echoed."""
    armed: list[bool] = []

    def interrupt(signum: int, frame: object) -> None:
        # May come late: the interpreter looks for signals now and then only.
        if armed:
            armed.clear()
            raise Interrupted

    def interrupt_in(seconds: float) -> None:
        armed[:] = [True] if seconds else []
        signal.setitimer(signal.ITIMER_REAL, seconds)

    before = signal.signal(signal.SIGALRM, interrupt)
    echo = threading.Thread(target=_echo, args=(link.read_fd, link.write_fd), daemon=True)
    echo.start()
    # Taken, a pipe to sleep on may be lost; and making one can't be interrupted without a trace.
    latch._idle_pipes.extend(latch._Pipe() for _ in range(30))
    yield interrupt_in
    interrupt_in(0)
    signal.signal(signal.SIGALRM, before)
    latch.close_idle_pipes()


# What the interpreter calls by itself may be interrupted as well, and can't tell anybody.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_exception_of_a_signal_at_any_moment_loses_neither_the_link_nor_a_message(
    link: Link, interrupt_in: Callable[[float], None]
) -> None:
    interrupted = 0
    for turn in range(600):
        receiver = link.receiver()
        try:
            interrupt_in((1 + turn % 60) * 4e-6)
            link.stream.write([link.frame(receiver, turn)])
            assert receiver.get(PATIENCE).unpickle() == turn
            interrupt_in(0)
        except Interrupted:
            interrupted += 1
        interrupt_in(0)
        # Whatever became of that: the link goes on, and no turn stays taken.
        receiver = link.receiver()
        link.stream.write([link.frame(receiver, "next")])
        assert receiver.get(PATIENCE).unpickle() == "next"
    assert interrupted > 0
    assert link.is_watched()


# What the interpreter calls by itself may be interrupted as well, and can't tell anybody.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_exception_of_a_signal_loses_nothing_that_is_for_others(
    link: Link, interrupt_in: Callable[[float], None]
) -> None:
    interrupted = 0
    kept = link.receiver(persist=True)
    told: list[object] = []
    kept.notify = told.append
    for turn in range(600):
        other, receiver = link.receiver(), link.receiver()
        frames = [link.frame(it, turn) for it in (kept, other, receiver)]
        try:
            # After it was sent, so that there is something to lose.
            link.stream.write([b"".join(frames)])
            interrupt_in((1 + turn % 60) * 4e-6)
            assert receiver.get(PATIENCE).unpickle() == turn
            interrupt_in(0)
        except Interrupted:
            interrupted += 1
        interrupt_in(0)
        assert kept.get(PATIENCE).unpickle() == turn
        assert other.get(PATIENCE).unpickle() == turn
        link.node.settle()
        assert told
        told.clear()
        with pytest.raises(ChannelError, match="one message"):
            other.get(PATIENCE)
    assert kept.empty()
    assert interrupted > 0
    assert link.is_watched()


def _echo(read_fd: int, write_fd: int) -> None:
    """Send back whatever comes."""
    while data := os.read(read_fd, 65536):
        os.write(write_fd, data)


def test_a_latch_passes_a_wake_up_on_to_the_next_sleeper() -> None:
    # Woken for a value, one of two sleepers comes back with another one, which it found elsewhere.
    latch: Any = Latch()
    go_on = threading.Event()

    def find(fd: int, timeout: float | None) -> str:
        go_on.wait(PATIENCE)
        return "found"

    latch.sleep = find
    first = in_thread(latch.get)
    asleep(latch)
    del latch.sleep
    second = in_thread(latch.get)
    asleep(latch, 2)
    latch.put("put")
    go_on.set()
    assert {first(), second()} == {"found", "put"}
