"""`mitogen.core.broker`: one thread that outlives every callback, and an end for everything."""

from __future__ import annotations

import functools
import itertools
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from mitogen.core.broker import Broker
from mitogen.core.errors import ChannelError, TimeoutError
from mitogen.core.latch import Latch
from mitogen.core.signals import listen
from mitogen.core.stream import BasicStream
from tests.core.tools import PATIENCE, LineStream, collect_logs, in_thread

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def broker() -> Iterator[Broker]:
    broker = Broker()
    yield broker
    broker.shutdown()
    broker.join()


def pipe_stream(broker: Broker, keep_alive: bool = True) -> tuple[LineStream, int]:
    """Start receiving from a pipe; return the stream and the pipe's other end."""
    read_fd, write_fd = os.pipe()
    stream = LineStream(read_fd, keep_alive)
    broker.start_receive(stream)
    broker.defer_sync(lambda: None)
    return stream, write_fd


def on_broker(broker: Broker) -> bool:
    return threading.get_ident() == broker._thread_id


# -- Deferred calls ---------------------------------------------------------------------------------


def test_a_deferred_call_runs_on_the_broker_thread_with_its_arguments(broker: Broker) -> None:
    latch = Latch()
    broker.defer(lambda *args, **kwargs: latch.put((on_broker(broker), args, kwargs)), 1, x=2)
    assert latch.get(PATIENCE) == (True, (1,), {"x": 2})


def test_a_call_deferred_on_the_broker_thread_runs_at_once(broker: Broker) -> None:
    order: list[int] = []

    def outer() -> None:
        broker.defer(order.append, 1)
        order.append(2)

    broker.defer_sync(outer)
    assert order == [1, 2]


def test_calls_of_one_thread_run_in_their_order(broker: Broker) -> None:
    order: list[int] = []
    for i in range(1000):
        broker.defer(order.append, i)
    broker.defer_sync(lambda: None)
    assert order == list(range(1000))


def test_no_call_of_many_threads_is_lost(broker: Broker) -> None:
    done: list[tuple[int, int]] = []

    def defer_many(i: int) -> None:
        for j in range(1000):
            broker.defer(done.append, (i, j))

    threads = [in_thread(functools.partial(defer_many, i)) for i in range(4)]
    for thread in threads:
        thread()
    broker.defer_sync(lambda: None)
    assert sorted(done) == [(i, j) for i in range(4) for j in range(1000)]


def test_each_single_call_wakes_the_broker(broker: Broker) -> None:
    # One lost wake-up would leave the loop asleep, since nothing else happens.
    for i in range(2000):
        assert broker.defer_sync(lambda i=i: i, PATIENCE) == i  # type: ignore[misc]


def test_a_deferred_call_that_raises_is_logged_and_the_next_one_runs(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = collect_logs(monkeypatch)
    broker.defer(lambda: 1 // 0)
    assert broker.defer_sync(lambda: "alive", PATIENCE) == "alive"
    assert "ZeroDivisionError" in lines[0][2]


def test_defer_sync_returns_what_the_function_returns_or_raises_what_it_raises(broker: Broker) -> None:
    assert broker.defer_sync(lambda: on_broker(broker)) is True
    with pytest.raises(ZeroDivisionError):
        broker.defer_sync(lambda: 1 // 0)
    with pytest.raises(KeyboardInterrupt):
        broker.defer_sync(interrupt)
    assert broker.defer_sync(lambda: 1) == 1


def interrupt() -> None:
    raise KeyboardInterrupt


def test_defer_sync_on_the_broker_thread_does_not_wait_for_itself(broker: Broker) -> None:
    assert broker.defer_sync(lambda: broker.defer_sync(lambda: 1), PATIENCE) == 1


def test_defer_sync_gives_up_after_its_time(broker: Broker) -> None:
    go = threading.Event()
    broker.defer(lambda: go.wait(PATIENCE))
    with pytest.raises(TimeoutError):
        broker.defer_sync(lambda: None, 0.01)
    go.set()


# -- Timers -----------------------------------------------------------------------------------------


def test_timers_run_on_the_broker_thread_in_order_of_time_and_never_early(broker: Broker) -> None:
    latch = Latch()
    due: dict[float, float] = {}
    start = time.monotonic()

    def schedule() -> None:
        for seconds in (0.03, 0.01, 0.02, 0.0):
            timer = broker.call_later(
                seconds,
                lambda seconds=seconds: latch.put((seconds, on_broker(broker), time.monotonic())),  # type: ignore[misc]
            )
            due[seconds] = timer.when

    broker.defer(schedule)
    ran = [latch.get(PATIENCE) for _ in range(4)]
    # Not 0, 0.01, 0.02, 0.03 where the thread lost the processor between two of the calls.
    assert [seconds for seconds, _, _ in ran] == sorted(due, key=due.__getitem__)
    assert all(when >= start + seconds for seconds, when in due.items())
    assert all(thread and when >= due[seconds] for seconds, thread, when in ran)


def test_a_cancelled_timer_does_not_run_even_if_it_is_due_already(broker: Broker) -> None:
    ran: list[int] = []
    done = Latch()

    def schedule() -> None:
        broker.call_later(0, lambda: second.cancel())
        second = broker.call_later(0, lambda: ran.append(2))
        broker.call_later(0, done.put)

    broker.defer(schedule)
    done.get(PATIENCE)
    assert ran == []


def test_a_timer_that_raises_is_logged_and_the_next_one_runs(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = collect_logs(monkeypatch)
    done = Latch()
    broker.defer(broker.call_later, 0, lambda: 1 // 0)
    broker.defer(broker.call_later, 0, done.put)
    done.get(PATIENCE)
    assert "ZeroDivisionError" in lines[0][2]


@pytest.mark.parametrize("seconds", [1e7, 1e12, float("inf")])
def test_a_timer_in_a_far_future_keeps_nothing_else_from_running(broker: Broker, seconds: float) -> None:
    broker.defer(broker.call_later, seconds, lambda: None)
    done = Latch()
    broker.defer(broker.call_later, 0.001, done.put)
    done.get(PATIENCE)
    assert broker.defer_sync(lambda: "alive", PATIENCE) == "alive"


# -- Streams ----------------------------------------------------------------------------------------


def test_a_stream_is_told_what_is_there_to_read_until_stopped(broker: Broker) -> None:
    stream, write_fd = pipe_stream(broker)
    os.write(write_fd, b"one")
    assert stream.got.get(PATIENCE) == b"one"
    broker.stop_receive(stream)
    broker.defer_sync(lambda: None)
    os.write(write_fd, b"two")
    broker.defer_sync(lambda: None)
    assert stream.got.empty()
    broker.start_receive(stream)
    assert stream.got.get(PATIENCE) == b"two"
    os.close(write_fd)
    assert stream.got.get(PATIENCE) == b""


def test_a_stream_is_told_when_there_is_room_until_stopped(broker: Broker) -> None:
    class Writer(LineStream):
        def on_transmit(self, broker: Broker) -> None:
            broker.stop_transmit(self)
            self.got.put(on_broker(broker))

    read_fd, write_fd = os.pipe()
    stream = Writer(write_fd)
    stream.receive_side, stream.transmit_side = None, stream.receive_side
    broker.defer(broker._start_transmit, stream)
    assert stream.got.get(PATIENCE) is True
    broker.defer_sync(lambda: stream.on_disconnect(broker))
    assert stream.got.empty()
    os.close(read_fd)


def test_starting_a_stream_that_ended_does_nothing(broker: Broker) -> None:
    stream, write_fd = pipe_stream(broker)
    os.close(write_fd)
    assert stream.got.get(PATIENCE) == b""
    broker.start_receive(stream)
    broker.defer_sync(lambda: broker._start_transmit(stream))
    broker.stop_receive(stream)
    broker.stop_transmit(stream)
    assert broker.defer_sync(lambda: stream in broker.streams) is False


class Failing(LineStream):
    """Fails where it is told to."""

    def __init__(self, fd: int, *where: str) -> None:
        LineStream.__init__(self, fd)
        self.where = where

    def fail(self, where: str) -> None:
        if where in self.where:
            raise ZeroDivisionError(where)

    def on_receive(self, broker: Broker) -> None:
        self.fail("receive")
        LineStream.on_receive(self, broker)

    def on_shutdown(self, broker: Broker) -> None:
        self.fail("shutdown")
        LineStream.on_shutdown(self, broker)

    def on_disconnect(self, broker: Broker) -> None:
        BasicStream.on_disconnect(self, broker)
        self.fail("disconnect")


@pytest.mark.parametrize(
    "where",
    [
        ("receive",),
        ("receive", "disconnect"),
    ],
)
def test_a_stream_that_fails_is_logged_and_ended_and_others_live_on(
    broker: Broker, where: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = collect_logs(monkeypatch)
    read_fd, write_fd = os.pipe()
    stream = Failing(read_fd, *where)
    gone = Latch()
    listen(stream, "disconnect", gone.put)
    broker.start_receive(stream)
    os.write(write_fd, b"x")
    gone.get(PATIENCE)
    os.close(write_fd)
    assert broker.defer_sync(lambda: "alive", PATIENCE) == "alive"
    assert "ZeroDivisionError: receive" in lines[0][2]
    assert not broker.dead_reason


def test_keep_alive_tells_whether_a_stream_must_end_first(broker: Broker) -> None:
    assert broker.defer_sync(broker.keep_alive) is False
    _, background_fd = pipe_stream(broker, keep_alive=False)
    assert broker.defer_sync(broker.keep_alive) is False
    stream, stream_fd = pipe_stream(broker)
    assert broker.defer_sync(broker.keep_alive) is True
    os.close(stream_fd)
    assert stream.got.get(PATIENCE) == b""
    assert broker.defer_sync(broker.keep_alive) is False
    os.close(background_fd)


# -- The end ----------------------------------------------------------------------------------------


def test_the_end_comes_in_order() -> None:
    broker = Broker()
    order: list[tuple[str, bool]] = []
    for name in ("before_shutdown", "shutdown", "exit"):
        listen(broker, name, lambda name=name: order.append((name, on_broker(broker))))

    class Ordered(LineStream):
        def on_shutdown(self, broker: Broker) -> None:
            order.append(("stream told", on_broker(broker)))
            LineStream.on_shutdown(self, broker)

    read_fd, write_fd = os.pipe()
    stream = Ordered(read_fd)
    listen(stream, "disconnect", lambda: order.append(("stream gone", on_broker(broker))))
    broker.start_receive(stream)
    broker.shutdown()
    broker.join()
    os.close(write_fd)
    names = ["before_shutdown", "shutdown", "stream told", "stream gone", "exit"]
    assert order == [(name, True) for name in names]


def test_shutdown_may_be_asked_for_often_by_anybody() -> None:
    broker = Broker()
    count: list[int] = []
    listen(broker, "before_shutdown", lambda: count.append(1))
    listen(broker, "shutdown", broker.shutdown)
    go = threading.Event()

    def shut_down() -> None:
        go.wait(PATIENCE)
        broker.shutdown()

    broker.defer(shut_down)
    threads = [in_thread(broker.shutdown) for _ in range(5)]
    go.set()
    for done in threads:
        done()
    broker.join()
    broker.shutdown()
    broker.join()
    assert len(count) == 1


def test_join_returns_after_its_time_if_there_is_no_end(broker: Broker) -> None:
    start = time.monotonic()
    broker.join(0.02)
    assert 0.02 <= time.monotonic() - start < PATIENCE


def test_many_threads_may_join() -> None:
    broker = Broker()
    threads = [in_thread(broker.join) for _ in range(5)]
    broker.shutdown()
    for done in threads:
        done()


class Stubborn(LineStream):
    """Does not end when told to."""

    def on_shutdown(self, broker: Broker) -> None:
        self.got.put("told")


def test_a_stream_that_does_not_end_gets_its_time_and_no_more() -> None:
    class Spoken(Stubborn):
        def on_shutdown(self, broker: Broker) -> None:
            Stubborn.on_shutdown(self, broker)
            # Here, since another thread may come too late for so short a time.
            os.write(write_fd, b"still served")

    broker = Broker()
    broker.shutdown_timeout = 0.05
    read_fd, write_fd = os.pipe()
    stream = Spoken(read_fd)
    gone = Latch()
    listen(stream, "disconnect", gone.put)
    broker.start_receive(stream)
    start = time.monotonic()
    broker.shutdown()
    assert stream.got.get(PATIENCE) == "told"
    assert stream.got.get(PATIENCE) == b"still served"
    broker.join()
    assert 0.05 <= time.monotonic() - start < PATIENCE
    gone.get(0)
    os.close(write_fd)


def test_a_stream_that_ends_by_itself_is_waited_for_no_longer() -> None:
    broker = Broker()
    broker.shutdown_timeout = PATIENCE
    read_fd, write_fd = os.pipe()
    stream = Stubborn(read_fd)
    broker.start_receive(stream)
    broker.shutdown()
    start = time.monotonic()
    assert stream.got.get(PATIENCE) == "told"
    os.close(write_fd)
    broker.join()
    assert time.monotonic() - start < PATIENCE / 2


def test_a_stream_that_need_not_end_is_not_waited_for() -> None:
    broker = Broker()
    broker.shutdown_timeout = PATIENCE
    read_fd, write_fd = os.pipe()
    stream = Stubborn(read_fd, keep_alive=False)
    broker.start_receive(stream)
    start = time.monotonic()
    broker.shutdown()
    broker.join()
    assert time.monotonic() - start < PATIENCE / 2
    assert stream.receive_side is None
    os.close(write_fd)


@pytest.mark.parametrize("where", [("shutdown",), ("disconnect",), ("shutdown", "disconnect")])
def test_streams_that_fail_at_the_end_do_not_keep_others_from_ending(
    where: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    collect_logs(monkeypatch)
    broker = Broker()
    read_fd, write_fd = os.pipe()
    broker.start_receive(Failing(read_fd, *where))
    stream, other_fd = pipe_stream(broker)
    broker.shutdown()
    broker.join(PATIENCE)
    assert broker.dead_reason
    assert stream.receive_side is None
    os.close(write_fd)
    os.close(other_fd)


def test_listeners_that_fail_do_not_keep_the_broker_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = collect_logs(monkeypatch)
    broker = Broker()
    for name in ("before_shutdown", "shutdown", "exit"):
        listen(broker, name, lambda: 1 // 0)
    broker.shutdown()
    broker.join()
    assert len(lines) == 3


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_nothing_is_left_open_after_join() -> None:
    before = open_descriptors()
    broker = Broker()
    stream, write_fd = pipe_stream(broker)
    os.write(write_fd, b"x")
    stream.got.get(PATIENCE)
    broker.shutdown()
    broker.join()
    os.close(write_fd)
    assert open_descriptors() == before


def test_a_stream_that_is_started_at_the_very_end_is_ended_too() -> None:
    broker = Broker()
    read_fd, write_fd = os.pipe()
    stream = LineStream(read_fd)
    listen(broker, "exit", lambda: broker.start_receive(stream))
    broker.shutdown()
    broker.join()
    os.close(write_fd)
    left = stream.receive_side
    if left is not None:
        left.close()
    assert left is None


def test_after_the_end_every_use_says_so_at_once() -> None:
    broker = Broker()
    broker.shutdown()
    broker.join()
    stream = BasicStream()
    for use in (
        lambda: broker.defer(print),
        lambda: broker.defer_sync(lambda: 1),
        lambda: broker.start_receive(stream),
        lambda: broker.stop_receive(stream),
        lambda: broker.stop_transmit(stream),
    ):
        with pytest.raises(ChannelError, match="shut down"):
            use()


def test_every_call_deferred_around_the_end_runs_or_is_refused() -> None:
    for _ in range(10):
        broker = Broker()
        ran: list[int] = []

        def defer_many(broker: Broker = broker, ran: list[int] = ran) -> int:
            deadline = time.monotonic() + PATIENCE
            for i in itertools.count():
                try:
                    broker.defer(ran.append, i)
                except ChannelError:
                    return i
                assert time.monotonic() < deadline, "the broker did not end"
            return 0

        threads = [in_thread(defer_many) for _ in range(2)]
        broker.shutdown()
        broker.join()
        taken = sum(done() for done in threads)
        assert len(ran) == taken


def test_a_thread_that_waits_for_a_call_is_answered_though_the_broker_ends() -> None:
    for _ in range(20):
        broker = Broker()

        def ask(broker: Broker = broker) -> Any:
            try:
                return broker.defer_sync(lambda: 1, PATIENCE)
            except ChannelError:
                return 1

        threads = [in_thread(ask) for _ in range(3)]
        broker.shutdown()
        assert [done() for done in threads] == [1, 1, 1]
        broker.join()


def test_an_exit_raised_on_the_broker_thread_ends_it_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = collect_logs(monkeypatch)
    broker = Broker()
    stream, write_fd = pipe_stream(broker)
    broker.defer(interrupt)
    broker.join(PATIENCE)
    assert broker.dead_reason
    assert stream.receive_side is None
    assert "KeyboardInterrupt" in lines[0][2]
    os.close(write_fd)


def test_joining_from_the_broker_thread_does_not_hang(broker: Broker) -> None:
    done = Latch()

    def join() -> None:
        try:
            broker.join(PATIENCE)
        finally:
            done.put()

    start = time.monotonic()
    broker.defer(join)
    done.get(2 * PATIENCE)
    assert time.monotonic() - start < PATIENCE


def test_a_forked_copy_is_refused_and_the_original_does_not_notice(broker: Broker) -> None:
    stream, write_fd = pipe_stream(broker)
    read_fd, result_fd = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            result = "not refused"
            try:
                broker.defer(print)
            except ChannelError as e:
                result = str(e)
            broker.shutdown()
            broker.join()
            if stream.receive_side is not None and not stream.receive_side.closed:
                result = "not closed"
            os.write(result_fd, result.encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert b"forked" in os.read(read_fd, 1000)
    os.write(write_fd, b"x")
    assert stream.got.get(PATIENCE) == b"x"
    for fd in (write_fd, read_fd, result_fd):
        os.close(fd)
