"""`mitogen.core.latch`: a queue to sleep on, for any number of threads, which never loses a wake-up."""

from __future__ import annotations

import _thread
import functools
import math
import os
import signal
import threading
import time
from typing import Any

import pytest

from mitogen.core import latch as module
from mitogen.core.errors import LatchError, TimeoutError
from mitogen.core.latch import Latch, close_idle_pipes, wait_readable
from tests.core.tools import PATIENCE, asleep, in_thread

# -- One thread -------------------------------------------------------------------------------------


def test_values_come_out_in_the_order_they_went_in() -> None:
    latch = Latch()
    for i in range(10):
        latch.put(i)
    assert [latch.get() for _ in range(10)] == list(range(10))


def test_none_is_a_value() -> None:
    latch = Latch()
    latch.put()
    assert latch.get() is None


def test_empty_tells_whether_get_would_block() -> None:
    latch = Latch()
    assert latch.empty()
    latch.put(1)
    assert not latch.empty()


@pytest.mark.parametrize("options", [{"block": False}, {"timeout": 0}, {"timeout": -1.0}])
def test_get_does_not_wait_when_told_so(options: dict[str, Any]) -> None:
    with pytest.raises(TimeoutError):
        Latch().get(**options)


@pytest.mark.parametrize("options", [{"block": False}, {"timeout": 0}, {"timeout": -1.0}])
def test_a_value_that_is_there_is_returned_whatever_the_time(options: dict[str, Any]) -> None:
    latch = Latch()
    latch.put("x")
    assert latch.get(**options) == "x"


def test_get_waits_as_long_as_told_and_no_shorter() -> None:
    latch = Latch()
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        latch.get(0.03)
    assert 0.03 <= time.monotonic() - start < PATIENCE


# -- Two threads ------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [None, PATIENCE, 1e9, 1e300, math.inf])
def test_a_sleeping_thread_is_woken_by_a_value_however_long_it_would_wait(timeout: float | None) -> None:
    latch = Latch()
    result = in_thread(lambda: latch.get(timeout))
    asleep(latch)
    latch.put("x")
    assert result() == "x"


def test_a_wait_of_more_than_eleven_days_goes_on_after_them(monkeypatch: pytest.MonkeyPatch) -> None:
    latch = Latch()
    waits = []

    def passes(fd: int, timeout: float) -> bool:
        waits.append(timeout)
        if len(waits) == 3:
            latch.put("x")
        return False

    monkeypatch.setattr(module, "wait_readable", passes)
    assert latch.get(1e9) == "x"
    assert len(waits) == 3


def test_each_of_many_threads_gets_one_value() -> None:
    latch = Latch()
    results = [in_thread(latch.get) for _ in range(20)]
    asleep(latch, 20)
    for i in range(20):
        latch.put(i)
    assert sorted(result() for result in results) == list(range(20))


def test_many_producers_and_consumers_lose_and_double_nothing() -> None:
    latch = Latch()
    results = [in_thread(lambda: [latch.get(PATIENCE) for _ in range(500)]) for _ in range(4)]

    def produce(i: int) -> None:
        for j in range(500):
            latch.put((i, j))

    producers = [in_thread(functools.partial(produce, i)) for i in range(4)]
    for done in producers:
        done()
    got = [value for result in results for value in result()]
    assert sorted(got) == [(i, j) for i in range(4) for j in range(500)]


def test_threads_with_short_and_long_waits_do_not_take_wake_ups_from_one_another() -> None:
    latch = Latch()

    def impatient() -> list[Any]:
        got = []
        while not stop.is_set():
            try:
                got.append(latch.get(0.0005))
            except TimeoutError:
                pass
        return got

    stop, served = threading.Event(), threading.Event()
    impatients = [in_thread(impatient) for _ in range(3)]

    def wait() -> Any:
        value = latch.get(PATIENCE)
        served.set()
        return value

    patient = in_thread(wait)
    count = 0
    # The others may be faster as often as they like.
    while count < 300 or not served.is_set():
        latch.put(count)
        count += 1
    got = [patient()]
    stop.set()
    for result in impatients:
        got += result()
    while not latch.empty():
        got.append(latch.get())
    assert sorted(got) == list(range(count))


# -- Closing ----------------------------------------------------------------------------------------


def test_every_sleeping_thread_is_woken_by_close() -> None:
    latch = Latch()
    results = [in_thread(lambda i=i: latch.get([None, PATIENCE][i % 2])) for i in range(6)]  # type: ignore[misc]
    asleep(latch, 6)
    latch.close()
    for result in results:
        with pytest.raises(LatchError):
            result()


def test_a_closed_latch_refuses_everything_but_another_close() -> None:
    latch = Latch()
    latch.put(1)
    latch.close()
    latch.close()
    for method in (latch.get, latch.put, latch.empty):
        with pytest.raises(LatchError):
            method()


# -- Interruptions ----------------------------------------------------------------------------------


class Interrupted(Exception):
    pass


@pytest.fixture
def alarm() -> Any:
    """Return a function that has `Interrupted` raised in this, the main thread."""

    def on_signal(signum: int, frame: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, on_signal)
    main = _thread.get_ident()
    yield lambda: signal.pthread_kill(main, signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("timeout", [None, PATIENCE])
def test_an_exception_from_a_signal_ends_the_wait_and_only_that(
    alarm: Any, timeout: float | None
) -> None:
    latch = Latch()

    def interrupt() -> None:
        asleep(latch)
        alarm()

    done = in_thread(interrupt)
    with pytest.raises(Interrupted):
        latch.get(timeout)
    done()
    assert latch._sleepers == []
    latch.put("x")
    assert latch.get(0) == "x"


def test_the_wake_up_of_an_interrupted_sleeper_goes_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    latch = Latch()
    other = None
    real = wait_readable

    def interrupted(fd: int, timeout: float) -> bool:
        nonlocal other
        monkeypatch.undo()
        # Chosen for a value, while another thread sleeps on, and interrupted at that moment.
        other = in_thread(latch.get)
        asleep(latch, 2)
        latch.put("x")
        assert real(fd, PATIENCE)
        raise Interrupted

    monkeypatch.setattr(module, "wait_readable", interrupted)
    with pytest.raises(Interrupted):
        latch.get(PATIENCE)
    assert other is not None
    assert other() == "x"


def test_an_interrupted_put_wakes_the_sleeper_all_the_same() -> None:
    latch = Latch()

    class Interrupting(list):  # type: ignore[type-arg]
        def __delitem__(self, index: Any) -> None:
            raise Interrupted

    result = in_thread(latch.get)
    asleep(latch)
    latch._sleepers = Interrupting(latch._sleepers)
    with pytest.raises(Interrupted):
        latch.put("x")
    assert result() == "x"


def test_an_exception_that_is_kept_keeps_no_descriptors() -> None:
    close_idle_pipes()
    before = open_descriptors()
    kept = []
    for _ in range(3):
        with pytest.raises(TimeoutError) as info:
            Latch().get(0.001)
        kept.append(info)
    close_idle_pipes()
    assert open_descriptors() == before
    assert len(kept) == 3


# -- Pipes ------------------------------------------------------------------------------------------


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def sleep_once(count: int) -> None:
    latch = Latch()
    results = [in_thread(latch.get) for _ in range(count)]
    asleep(latch, count)
    for _ in range(count):
        latch.put()
    for result in results:
        result()


def test_pipes_are_kept_for_reuse_up_to_a_limit_and_can_be_closed() -> None:
    close_idle_pipes()
    before = len(open_descriptors())
    sleep_once(40)
    assert len(open_descriptors()) <= before + 2 * module._MAX_IDLE + 2
    close_idle_pipes()
    assert len(open_descriptors()) <= before + 2  # The one that the test itself waited with.
    close_idle_pipes()


def test_a_pipe_that_is_in_use_while_pipes_are_closed_is_closed_after_use() -> None:
    close_idle_pipes()
    latch = Latch()
    result = in_thread(latch.get)
    asleep(latch)
    [pipe] = latch._sleepers
    number = pipe.read_fd
    close_idle_pipes()
    latch.put("x")
    assert result() == "x"
    assert all(idle.read_fd != number for idle in module._idle_pipes)
    del pipe
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_a_pipe_stays_open_while_a_thread_is_about_to_write_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The sleeper may be gone by then, and its descriptors in use for something else."""
    latch = Latch()
    result = in_thread(lambda: latch.get(PATIENCE))
    asleep(latch)
    write = os.write
    wrote = []

    def late(fd: int, data: bytes) -> int:
        monkeypatch.undo()
        # The sleeper leaves by itself, and all idle pipes are closed.
        write(fd, data)
        assert result() == "x"
        close_idle_pipes()
        os.fstat(fd)
        wrote.append(fd)
        return write(fd, data)

    monkeypatch.setattr(os, "write", late)
    latch.put("x")
    assert len(wrote) == 1


def test_a_byte_left_in_a_pipe_wakes_its_next_user_for_nothing_only() -> None:
    close_idle_pipes()
    pipe = module._Pipe()
    os.write(pipe.write_fd, b"\0\0\0")
    module._idle_pipes.append(pipe)
    del pipe
    latch = Latch()
    with pytest.raises(TimeoutError):
        latch.get(0.02)
    assert latch._sleepers == []
    result = in_thread(latch.get)
    latch.put("x")
    assert result() == "x"
