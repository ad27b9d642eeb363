"""`mitogen.core.timers`: in order of time, at most once. The clock is a number."""

from __future__ import annotations

from mitogen.core.timers import TimerList


def run_due(timers: TimerList, now: float) -> None:
    for timer in timers.take_due(now):
        if timer.active:
            timer.func()


def test_an_empty_list_is_never_due() -> None:
    timers = TimerList()
    assert timers.next_due() is None
    assert timers.take_due(1e9) == []


def test_the_earliest_timer_is_the_next_whatever_the_order_they_came_in() -> None:
    timers = TimerList()
    for when in (3.0, 1.0, 2.0):
        timers.schedule(when, int)
    assert timers.next_due() == 1.0


def test_timers_are_taken_when_due_in_order_of_time_and_once() -> None:
    timers, ran = TimerList(), []
    for when in (3.0, 1.0, 2.0, 2.5):
        timers.schedule(when, lambda when=when: ran.append(when))  # type: ignore[misc]
    run_due(timers, 0.9)
    assert ran == []
    run_due(timers, 2.0)
    assert ran == [1.0, 2.0]
    run_due(timers, 9.0)
    run_due(timers, 9.0)
    assert ran == [1.0, 2.0, 2.5, 3.0]


def test_a_cancelled_timer_is_neither_waited_for_nor_run() -> None:
    timers, ran = TimerList(), []
    first = timers.schedule(1.0, lambda: ran.append(1))
    timers.schedule(2.0, lambda: ran.append(2))
    first.cancel()
    first.cancel()
    assert timers.next_due() == 2.0
    run_due(timers, 5.0)
    assert ran == [2]


def test_a_timer_can_cancel_another_that_is_due_at_the_same_time() -> None:
    timers, ran = TimerList(), []
    timers.schedule(1.0, lambda: second.cancel())
    second = timers.schedule(1.0, lambda: ran.append(2))
    run_due(timers, 1.0)
    assert ran == []


def test_when_all_are_cancelled_nothing_is_due() -> None:
    timers = TimerList()
    timers.schedule(1.0, int).cancel()
    assert timers.next_due() is None


def test_a_timer_scheduled_in_the_past_is_due_at_once() -> None:
    timers = TimerList()
    timers.schedule(-5.0, int)
    assert len(timers.take_due(0.0)) == 1
