"""Back-pressure: in any tree, whoever reads slowly, queues stay short, and nothing ever stands still.

Streams, routers and tables are real. What is not: the descriptors are `Pipe`s, which take so many bytes;
the broker does one thing at a time, when the test says so; the clock is a number; and a thread that must
wait is an exception, after which its message is sent when it would have woken up.
"""

from __future__ import annotations

from _thread import get_ident
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import mitogen.core.stream
from mitogen.core import handles, pressure
from mitogen.core.errors import TimeoutError
from mitogen.core.framing import HEADER_SIZE
from mitogen.core.message import make
from mitogen.core.stream import Stream
from tests.core.tools import ForwardingRouter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mitogen.core.message import Message

#: Bytes that are queued on a link before its senders wait, that a pipe takes, that are read at once, and
#: in the largest body.
MARK, CAPACITY, READ, LARGEST = 400, 100, 64, 150
#: What one read can complete: messages that it begins and ends, and one that had begun.
BATCH = READ + LARGEST + HEADER_SIZE
#: Messages that one may say more than it took: never that many here, but where a test says so.
AHEAD = pressure.AHEAD
#: The handle for programs' data.
DATA = 2000

numbers = st.integers(0, 1000)


class Pipe:
    """One direction of a connection, as a system has it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.is_closed = False

    def write(self, buffers: list[bytes]) -> int:
        room = CAPACITY - len(self.data)
        if self.is_closed:
            raise BrokenPipeError
        if room <= 0:
            raise BlockingIOError
        taken = b"".join(buffers)[:room]
        self.data += taken
        return len(taken)

    def read(self, size: int) -> bytes | None:
        data = bytes(self.data[:size])
        del self.data[:size]
        return data or (b"" if self.is_closed else None)


class Side:
    """In place of `mitogen.core.stream.Side`; the descriptor is a `Pipe`."""

    keep_alive = True

    def __init__(self, stream: Stream, fd: Pipe) -> None:
        self.fd = fd
        self.closed = False

    def close(self) -> None:
        self.closed = self.fd.is_closed = True

    def read(self, size: int) -> bytes | None:
        return self.fd.read(min(size, READ))


class Broker:
    """Knows what is watched, and lets the test choose what happens."""

    dead_reason = None

    def __init__(self, world: World) -> None:
        self.world = world
        self._thread_id = 0
        self.readers: set[Stream] = set()
        self.writers: set[Stream] = set()
        self.timers: list[tuple[float, Callable[[], object]]] = []

    def run(self, func: Callable[..., Any], *args: Any) -> Any:
        """Do something as the broker thread."""
        self._thread_id = get_ident()
        try:
            return func(*args)
        finally:
            self._thread_id = 0

    def defer(self, func: Callable[..., object], *args: Any) -> None:
        self.run(func, *args)

    def call_later(self, seconds: float, func: Callable[[], object]) -> None:
        self.timers.append((self.world.now + seconds, func))

    def _start_receive(self, stream: Stream) -> None:
        if stream.receive_side is not None:
            self.readers.add(stream)

    def _stop_receive(self, stream: Stream) -> None:
        self.readers.discard(stream)

    def _start_transmit(self, stream: Stream) -> None:
        if stream.transmit_side is not None:
            self.writers.add(stream)

    def _stop_transmit(self, stream: Stream) -> None:
        self.writers.discard(stream)

    def forget(self, stream: Stream) -> None:
        self._stop_receive(stream)
        self._stop_transmit(stream)

    def ready(self) -> list[Callable[[], object]]:
        """Return what could be done now."""
        todo: list[Callable[[], object]] = []
        for stream in sorted(self.readers, key=lambda stream: stream.remote_id):
            side: Any = stream.receive_side
            if side.fd.data or side.fd.is_closed:
                todo.append(partial(self.run, stream.on_receive, self))
        for stream in sorted(self.writers, key=lambda stream: stream.remote_id):
            side = stream.transmit_side
            if len(side.fd.data) < CAPACITY or side.fd.is_closed:
                todo.append(partial(self.run, stream.on_transmit, self))
        todo += [partial(self._fire, timer) for timer in self.timers if timer[0] <= self.world.now]
        return todo

    def _fire(self, timer: tuple[float, Callable[[], object]]) -> None:
        self.timers.remove(timer)
        self.run(timer[1])


class MustWait(BaseException):
    """A thread sleeps."""

    def __init__(self, room: Room) -> None:
        self.room = room


class Room:
    """In place of the `Latch` that a sender waits on."""

    def __init__(self) -> None:
        self.is_there = False
        self.has_timed_out = False

    def put(self) -> None:
        self.is_there = True

    def get(self, timeout: float | None) -> None:
        if self.is_there:
            return
        if timeout == 0:
            raise TimeoutError("in this test")
        raise MustWait(self)


class Context:
    """A context, and how it is doing."""

    def __init__(self, world: World, context_id: int, parent: Context | None) -> None:
        self.id = context_id
        self.parent = parent
        self.above: list[Context] = [parent, *parent.above] if parent else []
        broker: Any = Broker(world)
        self.broker = broker
        self.router: Any = ForwardingRouter(
            self.broker, context_id, [above.id for above in self.above], LARGEST
        )
        self.router.high_water_mark = MARK
        self.router.hold_back = partial(pressure.hold_back, self.router)
        self.got: list[bytes] = []
        self.router.add_handler(lambda msg: self.got.append(msg.data), DATA)
        self.router.add_handler(lambda msg: self.got.append(msg.data), handles.SHUTDOWN)
        #: It does nothing for now.
        self.is_stuck = False
        self.is_alive = True
        self.streams: list[Stream] = []
        #: Threads that wait: for what, where, and with which message.
        self.waiting: list[tuple[Room, Stream, Message]] = []
        #: By link, the bytes that threads and control messages were allowed to add.
        self.allowance: dict[Stream, int] = {}

    def check_queues(self) -> None:
        """Check that no queue is longer than it may be."""
        for stream in self.streams:
            # Each link that is read may bring so much before it is known to be too much.
            mark = MARK if pressure.AHEAD == AHEAD else pressure.MOST * MARK
            most = mark + len(self.streams) * BATCH + self.allowance.get(stream, 0)
            assert stream.closed or stream.queued <= most
            if stream.queued <= MARK:
                self.allowance.pop(stream, None)


class World:
    """A tree of contexts that are joined by pipes."""

    def __init__(self) -> None:
        self.now = 0.0
        self.contexts: list[Context] = []
        #: What every context is to get.
        self.due: dict[int, list[bytes]] = {}

    def start(self, parent: Context | None) -> Context:
        context = Context(self, len(self.contexts), parent)
        self.contexts.append(context)
        if parent is not None:
            down, up = Pipe(), Pipe()
            self._join(parent, context, up, down)
            self._join(context, parent, down, up)
            for below, above in zip(context.above, context.above[1:]):
                above.router.add_route(context.id, below.id)
        return context

    def _join(self, here: Context, there: Context, receive: Any, transmit: Any) -> None:
        stream = Stream(here.router, there.id, "context-%d" % there.id, receive, transmit)
        here.streams.append(stream)
        here.broker.run(here.router.add_link, here.router.make_context(there.id), stream)
        here.broker._start_receive(stream)

    def alive(self) -> list[Context]:
        return [context for context in self.contexts if context.is_alive]

    def send(self, src: Context, dst: Context, handle: int, size: int, timeout: float | None) -> None:
        """Have a thread of `src` send so many bytes."""
        number = b"%d," % sum(map(len, self.due.values()))
        msg = make(dst.id, src.id, src.id, handle, 0, number.ljust(size, b"."))
        link: Any = src.router.table.link_to(dst.id)
        if dst is src or link is None:
            return
        queued = link.queued
        try:
            src.router.route(msg, timeout)
        except MustWait as e:
            assert queued > MARK
            src.waiting.append((e.room, link, msg))
        except TimeoutError as e:
            assert queued > MARK
            assert "nothing was sent" in str(e)
            assert link.queued == queued
            return
        else:
            assert queued <= MARK or handle != DATA or link.closed, "it did not wait"
            if handle != DATA:
                src.allowance[link] = src.allowance.get(link, 0) + HEADER_SIZE + len(msg.body)
        self.due.setdefault(dst.id, []).append(msg.data)

    def wake(self, context: Context) -> bool:
        """Let the threads go on that can."""
        able = [entry for entry in context.waiting if entry[0].is_there]
        for entry in able:
            context.waiting.remove(entry)
            _, link, msg = entry
            # Any number of threads may have found room at the same moment.
            context.allowance[link] = context.allowance.get(link, 0) + HEADER_SIZE + len(msg.body)
            link.send(msg)
        return bool(able)

    def step(self, context: Context, number: int) -> bool:
        """Do one thing that `context` could do; return False if there is none."""
        todo = context.broker.ready()
        if todo:
            todo[number % len(todo)]()
        return self.wake(context) or bool(todo)

    def settle(self) -> None:
        """Have everybody who is not stuck do all there is to do."""
        for _ in range(3):
            able = [context for context in self.alive() if not context.is_stuck]
            while sum(self.step(context, i) for context in able for i in range(3)):
                pass
            # For timers, some of which start themselves again.
            self.now += 2.0

    def kill(self, context: Context) -> None:
        context.is_alive = False
        for stream in context.streams:
            for side in (stream.receive_side, stream.transmit_side):
                if side is not None:
                    side.close()


@pytest.fixture(autouse=True, scope="module")
def no_descriptors() -> Iterator[None]:
    """Let streams use pipes instead of descriptors, and threads not really wait."""
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        yield


def install(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(mitogen.core.stream, "Side", Side)
    patch.setattr(mitogen.core.stream, "_write", lambda fd, buffers: fd.write(buffers))
    patch.setattr(pressure, "Latch", Room)
    patch.setattr(pressure, "_has_ended", lambda fd: fd.is_closed)
    # Nobody is given up here because it takes nothing for long: the clock of these tests is fast.
    patch.setattr(pressure, "STALL", 1e9)


class Pressure(RuleBasedStateMachine):
    """Contexts are named by numbers, of which any means one that lives."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    def context(self, number: int) -> Context:
        contexts = self.world.alive()
        return contexts[number % len(contexts)]

    @initialize(shape=st.lists(numbers, min_size=1, max_size=6))
    def plant(self, shape: list[int]) -> None:
        self.world.start(None)
        for number in shape:
            self.world.start(self.context(number))

    @rule(
        src=numbers,
        dst=numbers,
        sizes=st.lists(st.integers(8, LARGEST), min_size=1, max_size=8),
        timeout=st.sampled_from([None, None, 0, 5.0]),
    )
    def send(self, src: int, dst: int, sizes: list[int], timeout: float | None) -> None:
        for size in sizes:
            self.world.send(self.context(src), self.context(dst), DATA, size, timeout)

    @rule(src=numbers, dst=numbers)
    def send_control(self, src: int, dst: int) -> None:
        self.world.send(self.context(src), self.context(dst), handles.SHUTDOWN, 8, None)

    @rule(which=st.lists(st.tuples(numbers, numbers), min_size=1, max_size=20))
    def work(self, which: list[tuple[int, int]]) -> None:
        for number, what in which:
            context = self.context(number)
            if not context.is_stuck:
                self.world.step(context, what)
                self.queues_are_short()

    @rule(rounds=st.integers(1, 10))
    def work_all(self, rounds: int) -> None:
        for _ in range(rounds):
            for context in self.world.alive():
                if not context.is_stuck:
                    self.world.step(context, rounds)
            self.queues_are_short()

    @rule(number=numbers)
    def get_stuck(self, number: int) -> None:
        context = self.context(number)
        context.is_stuck = not context.is_stuck

    @rule(seconds=st.sampled_from([0.5, 2.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.world.now += seconds

    @precondition(lambda self: len(self.world.alive()) > 2)
    @rule(number=numbers)
    def kill(self, number: int) -> None:
        context = self.context(number)
        if context.parent is not None:
            self.world.kill(context)

    @invariant()
    def queues_are_short(self) -> None:
        for context in self.world.alive():
            context.check_queues()

    def teardown(self) -> None:
        world = self.world
        if not world.contexts:
            return
        world.settle()
        for context in world.alive():
            for stream in context.streams:
                if not context.is_stuck and not world.contexts[stream.remote_id].is_alive:
                    assert stream.closed, "the end of a link was not noticed"
        for context in world.alive():
            context.is_stuck = False
        world.settle()
        everybody_lives = len(world.alive()) == len(world.contexts)
        for context in world.alive():
            assert context.waiting == [], "a thread waits for ever"
            for stream in context.streams:
                if not stream.closed:
                    assert stream.queued == 0
                    assert stream in context.broker.readers, "a link is never read again"
                    assert stream.held_back == [], "somebody is held back for ever"
            if everybody_lives:
                assert sorted(context.got) == sorted(world.due.get(context.id, []))


class PressureOfMany(Pressure):
    """Whoever said a little more than it took is ahead."""

    def __init__(self) -> None:
        super().__init__()
        pressure.AHEAD = 2

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            pressure.AHEAD = AHEAD


TestPressure: Any = Pressure.TestCase
TestPressureOfMany: Any = PressureOfMany.TestCase
# Each example is many messages: a third as many as elsewhere.
TestPressure.settings = TestPressureOfMany.settings = settings(
    max_examples=settings().max_examples // 3, stateful_step_count=20, report_multiple_bugs=False
)


def test_a_link_that_is_held_back_by_two_others_waits_for_both() -> None:
    world = World()
    root = world.start(None)
    source, quick, stuck = (world.start(root) for _ in range(3))
    stuck.is_stuck = True
    for _ in range(50):
        # Both become full at the same moment, and one of them gets room again.
        quick.is_stuck = True
        for dst in (quick, stuck) * 10:
            world.send(source, dst, DATA, LARGEST, None)
        world.settle()
        root.check_queues()
        quick.is_stuck = False
        world.settle()
        root.check_queues()
    stuck.is_stuck = False
    world.settle()
    assert len(quick.got) == len(stuck.got) == 500


def test_the_end_of_a_link_that_is_not_read_is_noticed() -> None:
    world = World()
    root = world.start(None)
    middle = world.start(root)
    stuck = world.start(middle)
    stuck.is_stuck = True
    for _ in range(20):
        world.send(root, stuck, DATA, LARGEST, None)
    world.settle()
    up = middle.streams[0]
    assert up not in middle.broker.readers
    world.kill(root)
    world.settle()
    assert up.closed


def test_a_thread_that_tries_again_and_again_leaves_nothing_behind() -> None:
    world = World()
    root = world.start(None)
    stuck = world.start(root)
    stuck.is_stuck = True
    for _ in range(100):
        world.send(root, stuck, DATA, LARGEST, 0)
    (link,) = root.streams
    assert link.queued > MARK
    assert link.held_back == []


class _Swapped(list):  # type: ignore[type-arg]
    """What is held back, when the broker thread takes it just before something is appended."""

    def __init__(self, link: Any) -> None:
        list.__init__(self)
        self._link = link

    def append(self, go_on: object) -> None:
        self._link._make_room()
        # And other threads fill the queue at once.
        list.append(self, go_on)


def test_room_that_comes_just_before_a_thread_waits_for_it_is_not_missed() -> None:
    world = World()
    root = world.start(None)
    stuck = world.start(root)
    stuck.is_stuck = True
    (link,) = root.streams
    while link.queued <= MARK:
        world.send(root, stuck, DATA, LARGEST, 0)
    link.held_back = _Swapped(link)
    world.send(root, stuck, DATA, LARGEST, None)
    assert len(root.waiting) == 1
    stuck.is_stuck = False
    world.settle()
    assert root.waiting == []
