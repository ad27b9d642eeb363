"""`mitogen.select.Select`: waiting on many receivers.

Most tests deliver messages by hand, in the order that matters; the last ones use the broker thread.
"""

from __future__ import annotations

import gc
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import mitogen.core
import mitogen.master
import mitogen.select
from mitogen.core import ChannelError, LatchError, Message, Receiver, TimeoutError
from mitogen.select import Select
from tests.core.tools import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def router() -> Iterator[mitogen.core.Router]:
    broker = mitogen.core.Broker()
    try:
        yield mitogen.core.Router(broker)
    finally:
        broker.shutdown()
        broker.join()


def deliver(recv: Receiver, *values: object) -> None:
    """Do what the broker thread does when messages arrive."""
    for value in values:
        recv._on_receive(Message.pickled(value))


def values(select: Select) -> list[Any]:
    return [msg.unpickle() for msg in select]


def start(fn: Callable[[], object]) -> tuple[threading.Thread, list[Any]]:
    """Call `fn` on a thread; what it returns or raises appears in the list."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(fn())
        except Exception as e:
            # Without its frames, which hold the pipe that the thread slept on.
            results.append(e.with_traceback(None))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, results


def wait_for_waiters(select: Select, count: int = 1) -> None:
    deadline = time.monotonic() + PATIENCE
    while len(select._latch._sleepers) < count:
        assert time.monotonic() < deadline
        time.sleep(0.001)


# One receiver, several receivers.


def test_new_select_is_false_and_empty() -> None:
    select = Select()
    assert not select
    assert select.empty()
    assert list(select) == []


def test_values_in_order_of_arrival(router: mitogen.core.Router) -> None:
    one, two, three = (Receiver(router) for _ in range(3))
    select = Select([one, two, three])
    assert select
    assert select.empty()
    deliver(two, "b")
    deliver(three, "c")
    deliver(one, "a")
    assert not select.empty()
    msgs = list(select)
    assert [m.unpickle() for m in msgs] == ["b", "c", "a"]
    assert [m.receiver for m in msgs] == [two, three, one]


def test_oneshot_removes_a_receiver_with_its_message(router: mitogen.core.Router) -> None:
    one, two = Receiver(router), Receiver(router)
    select = Select([one, two])
    deliver(one, 1, 2)
    assert select.get().unpickle() == 1
    assert one.notify is None
    assert two.notify is not None
    assert select
    with pytest.raises(TimeoutError):
        select.get(block=False)
    deliver(two, 3)
    assert select.get().unpickle() == 3
    assert not select
    # What was not asked for stays where it was.
    assert one.get(block=False).unpickle() == 2


def test_without_oneshot_receivers_stay(router: mitogen.core.Router) -> None:
    one = Receiver(router)
    with Select([one], oneshot=False) as select:
        deliver(one, 1, 2)
        assert select.get().unpickle() == 1
        assert not select.empty()
        assert select.get().unpickle() == 2
        assert select.empty()
        assert select
        deliver(one, 3)
        assert select.get().unpickle() == 3


def test_messages_held_when_added_count(router: mitogen.core.Router) -> None:
    one = Receiver(router)
    deliver(one, 1, 2, 3)
    with Select([one], oneshot=False) as select:
        assert [select.get(block=False).unpickle() for _ in range(3)] == [1, 2, 3]
        assert select.empty()


def test_a_flooded_receiver_does_not_starve_another(router: mitogen.core.Router) -> None:
    one, two = Receiver(router), Receiver(router)
    with Select([one, two], oneshot=False) as select:
        deliver(one, *range(100))
        deliver(two, "x")
        first = [select.get().unpickle() for _ in range(3)]
        assert first == [0, "x", 1]


def test_iteration_ends_when_the_last_receiver_is_removed(router: mitogen.core.Router) -> None:
    one = Receiver(router)
    select = Select([one], oneshot=False)
    deliver(one, 1, 2, 3)
    found = []
    for msg in select:
        found.append(msg.unpickle())
        if msg.unpickle() == 2:
            select.remove(one)
    assert found == [1, 2]


def test_scheduler_that_adds_while_it_iterates(router: mitogen.core.Router) -> None:
    work = [Receiver(router) for _ in range(5)]
    for i, recv in enumerate(work):
        deliver(recv, i)
    select = Select([work.pop(0)])
    found = []
    for msg in select:
        found.append(msg.unpickle())
        if work:
            select.add(work.pop(0))
    assert found == [0, 1, 2, 3, 4]


def test_dead_message_is_returned_with_its_receiver(router: mitogen.core.Router) -> None:
    one, two = Receiver(router), Receiver(router)
    select = Select([one, two])
    one._on_receive(Message.dead("it left"))
    deliver(two, 2)
    first, second = list(select)
    assert first.is_dead
    assert first.receiver is one
    with pytest.raises(ChannelError, match="it left"):
        first.unpickle()
    assert second.unpickle() == 2


def test_all(router: mitogen.core.Router) -> None:
    receivers = [Receiver(router) for _ in range(3)]
    for i in (2, 0, 1):
        deliver(receivers[i], i)
    # They were not in a select when they got theirs, so the order is that of adding.
    assert Select.all(iter(receivers)) == [0, 1, 2]
    assert Select.all([]) == []


def test_all_raises_what_a_message_holds_and_frees_the_others(router: mitogen.core.Router) -> None:
    one, two = Receiver(router), Receiver(router)
    one._on_receive(Message.dead("it left"))
    with pytest.raises(ChannelError, match="it left"):
        Select.all([one, two])
    assert two.notify is None


def test_channel_in_a_select(router: mitogen.core.Router) -> None:
    channel = mitogen.core.Channel(router, router.make_context(0), 123)
    select = Select([channel])
    deliver(channel, 1)
    assert select.get().receiver is channel


# Time-outs.


def test_timeout_is_kept(router: mitogen.core.Router) -> None:
    select = Select([Receiver(router)])
    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        select.get(timeout=0.05)
    assert 0.05 <= time.monotonic() - begin < PATIENCE
    with pytest.raises(TimeoutError):
        select.get(timeout=0)
    with pytest.raises(TimeoutError):
        select.get(block=False)
    assert select._waiters == 0


def test_timeout_is_for_the_whole_wait(router: mitogen.core.Router) -> None:
    """A receiver that is drained by somebody else wakes the waiter, but gives it no new time."""
    one = Receiver(router)
    select = Select([one], oneshot=False)
    deliver(one, 1)
    assert one.get(block=False).unpickle() == 1
    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        select.get(timeout=0.05)
    assert time.monotonic() - begin < PATIENCE
    # It was not lost by that.
    deliver(one, 2)
    assert select.get(block=False).unpickle() == 2


# Misuse.


def test_receiver_of_another_select_is_refused(router: mitogen.core.Router) -> None:
    one, two = Receiver(router), Receiver(router)
    first = Select([one])
    with pytest.raises(mitogen.select.Error, match="belongs to a select"):
        Select([two, one])
    # The failed one let go of what it had.
    assert two.notify is None
    with pytest.raises(mitogen.select.Error):
        first.add(one)
    first.remove(one)
    Select([one, two])


def test_failing_iterable_leaves_nothing_behind(router: mitogen.core.Router) -> None:
    one = Receiver(router)

    def receivers() -> Iterator[Receiver]:
        yield one
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Select(receivers())
    assert one.notify is None


def test_removing_what_is_not_there_is_an_error(router: mitogen.core.Router) -> None:
    one = Receiver(router)
    with pytest.raises(mitogen.select.Error, match="not in this select"):
        Select().remove(one)
    select = Select([one])
    select.remove(one)
    with pytest.raises(mitogen.select.Error):
        select.remove(one)


def test_get_without_receivers_is_an_error_not_a_wait() -> None:
    with pytest.raises(mitogen.select.Error, match="no receivers"):
        Select().get()
    with pytest.raises(mitogen.select.Error):
        Select().get(block=False)


def test_loops_are_refused() -> None:
    one, two, three = Select(), Select(), Select()
    with pytest.raises(mitogen.select.Error, match="itself"):
        one.add(one)
    one.add(two)
    two.add(three)
    for inner in (two, three):
        with pytest.raises(mitogen.select.Error, match="itself"):
            inner.add(one)
    with pytest.raises(mitogen.select.Error, match="belongs"):
        one.add(three)


def test_error_is_one_of_the_library() -> None:
    assert issubclass(mitogen.select.Error, mitogen.core.Error)


# Removing and closing.


def test_message_before_removal_is_still_returned(router: mitogen.core.Router) -> None:
    one = Receiver(router)
    select = Select([one], oneshot=False)
    deliver(one, 1, 2)
    select.remove(one)
    assert select.get().unpickle() == 1
    with pytest.raises(mitogen.select.Error):
        select.get()
    assert one.get(block=False).unpickle() == 2


def test_message_after_removal_is_the_receivers_own(router: mitogen.core.Router) -> None:
    one, two = Receiver(router), Receiver(router)
    select = Select([one, two])
    notify = one.notify
    select.remove(one)
    deliver(one, 1)
    # The broker may have fetched the notifier just before.
    assert notify is not None
    notify(one)
    assert select.empty()
    assert one.get(block=False).unpickle() == 1


def test_place_in_line_is_lost_with_removal(router: mitogen.core.Router) -> None:
    one, two = Receiver(router), Receiver(router)
    select = Select([one, two], oneshot=False)
    deliver(one, 1)
    assert one.get(block=False).unpickle() == 1
    select.remove(one)
    assert select.empty()
    deliver(one, 2)
    with pytest.raises(TimeoutError):
        select.get(block=False)
    assert one.get(block=False).unpickle() == 2


def test_receiver_may_be_removed_and_added_again(router: mitogen.core.Router) -> None:
    one = Receiver(router)
    select = Select([one], oneshot=False)
    deliver(one, 1)
    select.remove(one)
    select.add(one)
    deliver(one, 2)
    assert [select.get(block=False).unpickle() for _ in range(2)] == [1, 2]
    assert select.empty()


def test_close_frees_receivers_and_wakes_waiters(router: mitogen.core.Router) -> None:
    one = Receiver(router)
    select = Select([one])
    threads = [start(select.get) for _ in range(3)]
    wait_for_waiters(select, 3)
    select.close()
    for thread, results in threads:
        thread.join(PATIENCE)
        assert isinstance(results[0], LatchError)
    assert one.notify is None
    with pytest.raises(LatchError):
        select.get()
    with pytest.raises(LatchError):
        select.get(block=False)
    with pytest.raises(LatchError):
        select.empty()
    with pytest.raises(LatchError):
        select.add(one)
    select.close()
    deliver(one, 1)


def test_with_closes(router: mitogen.core.Router) -> None:
    one = Receiver(router)
    with pytest.raises(ZeroDivisionError), Select([one]) as select:
        raise ZeroDivisionError
    assert one.notify is None
    with pytest.raises(LatchError):
        select.get()


def test_closed_select_is_not_kept_by_its_receivers(router: mitogen.core.Router) -> None:
    one = Receiver(router)
    select = Select([one])
    gone = weakref.ref(select)
    select.close()
    del select
    gc.collect()
    assert gone() is None


def test_removing_the_last_receiver_ends_waits(router: mitogen.core.Router) -> None:
    one = Receiver(router)
    select = Select([one])
    threads = [start(select.get) for _ in range(2)]
    iteration = start(lambda: list(select))
    wait_for_waiters(select, 3)
    select.remove(one)
    for thread, results in threads:
        thread.join(PATIENCE)
        assert isinstance(results[0], mitogen.select.Error)
    iteration[0].join(PATIENCE)
    assert iteration[1] == [[]]


def test_more_threads_than_receivers_all_return(router: mitogen.core.Router) -> None:
    receivers = [Receiver(router) for _ in range(2)]
    select = Select(receivers)
    threads = [start(lambda: values(select)) for _ in range(4)]
    wait_for_waiters(select, 4)
    for i, recv in enumerate(receivers):
        deliver(recv, i)
    found = []
    for thread, results in threads:
        thread.join(PATIENCE)
        found += results[0]
    assert sorted(found) == [0, 1]


def test_receiver_closed_in_the_select_is_dropped(router: mitogen.core.Router) -> None:
    one, two = Receiver(router), Receiver(router)
    select = Select([one, two])
    deliver(one, 1)
    one.close()
    deliver(two, 2)
    assert values(select) == [2]
    with pytest.raises(LatchError):
        Select([one])


def test_end_of_the_broker_ends_waits() -> None:
    broker = mitogen.core.Broker()
    router = mitogen.core.Router(broker)
    one = Receiver(router)
    select = Select([one], oneshot=False)
    thread, results = start(lambda: select.get().is_dead)
    wait_for_waiters(select)
    broker.shutdown()
    broker.join()
    thread.join(PATIENCE)
    assert results == [True]
    with pytest.raises(ChannelError, match="shut down"):
        select.get()
    with pytest.raises(TimeoutError):
        select.get(block=False)
    outer = Select([Select([one])] if one.notify is None else [select])
    with pytest.raises(ChannelError, match="shut down"):
        outer.get()


# Nesting.


def nested(router: mitogen.core.Router) -> tuple[list[Receiver], Select]:
    receivers = [Receiver(router) for _ in range(6)]
    a, b, c, d, e, f = receivers
    inner = Select([Select([c, d]), Select([e])])
    return receivers, Select([Select([a]), Select([b]), inner, f])


def test_nested_selects_give_every_message(router: mitogen.core.Router) -> None:
    receivers, outer = nested(router)
    order = [3, 0, 5, 2, 4, 1]
    for i in order:
        deliver(receivers[i], i)
    found = list(outer)
    assert sorted(m.unpickle() for m in found) == [0, 1, 2, 3, 4, 5]
    assert all(m.receiver is receivers[m.unpickle()] for m in found)
    assert not outer
    assert all(recv.notify is None for recv in receivers)


def test_nested_selects_wake_the_outer_one(router: mitogen.core.Router) -> None:
    receivers, outer = nested(router)
    thread, results = start(lambda: sorted(values(outer)))
    for i, recv in enumerate(receivers):
        wait_for_waiters(outer)
        deliver(recv, i)
    thread.join(PATIENCE)
    assert results == [[0, 1, 2, 3, 4, 5]]


def test_messages_held_by_a_select_when_added_count(router: mitogen.core.Router) -> None:
    one, two = Receiver(router), Receiver(router)
    inner = Select([one, two])
    deliver(one, 1)
    deliver(two, 2)
    assert values(Select([inner])) == [1, 2]


def test_lasting_select_gives_one_message_to_a_oneshot_one(router: mitogen.core.Router) -> None:
    one = Receiver(router)
    inner = Select([one], oneshot=False)
    deliver(one, 1, 2)
    assert values(Select([inner])) == [1]
    assert inner.notify is None
    assert inner.get().unpickle() == 2


def test_empty_select_within_ends_iteration() -> None:
    assert list(Select([Select(), Select([Select()])])) == []


def test_inner_select_that_becomes_empty_elsewhere_ends_the_wait(
    router: mitogen.core.Router,
) -> None:
    one = Receiver(router)
    inner = Select([one])
    outer = Select([inner])
    thread, results = start(lambda: list(outer))
    wait_for_waiters(outer)
    inner.remove(one)
    thread.join(PATIENCE)
    assert results == [[]]


def test_inner_select_that_is_closed_is_dropped(router: mitogen.core.Router) -> None:
    inner = Select([Receiver(router)])
    outer = Select([inner], oneshot=False)
    thread, results = start(lambda: list(outer))
    wait_for_waiters(outer)
    inner.close()
    thread.join(PATIENCE)
    assert results == [[]]


def test_inner_select_may_be_filled_later(router: mitogen.core.Router) -> None:
    inner = Select(oneshot=False)
    outer = Select([inner], oneshot=False)
    with pytest.raises(TimeoutError):
        outer.get(block=False)
    one = Receiver(router)
    inner.add(one)
    deliver(one, 1)
    assert outer.get(block=False).receiver is one


# Any order of operations.


class Machine(RuleBasedStateMachine):
    """Two selects, one within the other, against a model: who holds how many messages."""

    def __init__(self) -> None:
        super().__init__()
        self.broker = mitogen.core.Broker()
        router = mitogen.core.Router(self.broker)
        self.receivers = [Receiver(router) for _ in range(4)]
        self.sent: list[list[int]] = [[] for _ in self.receivers]
        self.next = 0
        self.inner = Select(oneshot=False)
        self.outer = Select([self.inner], oneshot=False)
        self.members: dict[int, Select] = {}

    def teardown(self) -> None:
        self.broker.shutdown()
        self.broker.join()

    INDEX = st.integers(0, 3)

    @rule(i=INDEX)
    def message_arrives(self, i: int) -> None:
        deliver(self.receivers[i], self.next)
        self.sent[i].append(self.next)
        self.next += 1

    @rule(i=INDEX, inside=st.booleans())
    def add(self, i: int, inside: bool) -> None:
        if i not in self.members:
            select = self.inner if inside else self.outer
            select.add(self.receivers[i])
            self.members[i] = select

    @rule(i=INDEX)
    def remove_when_read(self, i: int) -> None:
        if i in self.members and not self.sent[i]:
            self.members.pop(i).remove(self.receivers[i])

    @rule(i=INDEX)
    def somebody_else_reads(self, i: int) -> None:
        if self.sent[i]:
            assert self.receivers[i].get(block=False).unpickle() == self.sent[i].pop(0)

    @rule(inside=st.booleans())
    def read(self, inside: bool) -> None:
        select = self.inner if inside else self.outer
        ready = [i for i, s in self.members.items() if self.sent[i] and (s is select or not inside)]
        try:
            msg = select.get(block=False)
        except (TimeoutError, mitogen.select.Error):
            assert not ready
            return
        i = self.receivers.index(msg.receiver)  # type: ignore[arg-type]
        assert i in ready
        assert msg.unpickle() == self.sent[i].pop(0)

    @precondition(lambda self: any(self.sent[i] for i in self.members))
    @rule()
    def never_empty_while_a_message_is_there(self) -> None:
        assert not self.outer.empty()

    @invariant()
    def line_is_no_longer_than_the_receivers(self) -> None:
        assert len(self.inner._in_line) <= 4
        assert len(self.outer._in_line) <= 5


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, deadline=None, stateful_step_count=40)


# Threads.


def test_nothing_is_lost_or_doubled_between_many_threads(router: mitogen.core.Router) -> None:
    receivers = [Receiver(router) for _ in range(8)]
    inner = [Select(receivers[:3], oneshot=False), Select(receivers[3:5], oneshot=False)]
    outer = Select([*inner, *receivers[5:]], oneshot=False)
    count = 300

    def read() -> list[Any]:
        found: list[Any] = []
        while True:
            msg = outer.get(timeout=30)
            value = msg.unpickle()
            if value is None:
                return found
            assert value[0] == receivers.index(msg.receiver)  # type: ignore[arg-type]
            found.append(value)

    readers = [start(read) for _ in range(4)]
    # Through the broker, as in life; two senders disturb each other.
    senders = [recv.to_sender() for recv in receivers]

    def send(part: int) -> None:
        for i in range(count):
            for number in range(part, 8, 2):
                senders[number].send((number, i))

    writers = [start(lambda part=part: send(part)) for part in (0, 1)]  # type: ignore[misc]
    for thread, results in writers:
        thread.join(30)
        assert results == [None]
    for _ in readers:
        # Behind all others of its receiver; one for each reader.
        senders[0].send(None)
    everything = []
    for thread, results in readers:
        thread.join(30)
        assert isinstance(results[0], list), results
        everything += results[0]
    # Readers stop when receiver 0 is done, so that others may hold some more.
    while not outer.empty():
        everything.append(outer.get(block=False).unpickle())
    assert sorted(everything) == [(n, i) for n in range(8) for i in range(count)]


def test_oneshot_gives_one_message_a_receiver_whatever_the_threads(
    router: mitogen.core.Router,
) -> None:
    for _ in range(50):
        receivers = [Receiver(router) for _ in range(4)]
        select = Select(receivers)
        threads = [start(lambda: [m.receiver for m in select]) for _ in range(3)]  # noqa: B023
        for recv in receivers:
            deliver(recv, 1, 2)
        found: list[Receiver] = []
        for thread, results in threads:
            thread.join(PATIENCE)
            found += results[0]
        assert len(found) == 4
        assert len(set(map(id, found))) == 4
        for recv in receivers:
            recv.close()


def test_calls_to_a_real_context() -> None:
    # The watcher would live on with pytest's main thread.
    with mitogen.master.Router(mitogen.master.Broker(install_watcher=False)) as router:
        contexts = [router.local() for _ in range(2)]
        calls = [c.call_async(time.sleep, 0.01 * i) for i, c in enumerate(contexts)]
        found = list(Select(calls))
        assert {m.receiver.context for m in found if m.receiver} == set(contexts)
        assert Select.all(c.call_async(abs, -1) for c in contexts) == [1, 1]


def test_alias_in_master() -> None:
    assert mitogen.master.Select is Select


def test_a_receiver_that_is_closed_ends_the_wait_for_it(router: mitogen.core.Router) -> None:
    one = Receiver(router)
    select = Select([one], oneshot=False)
    thread, results = start(lambda: select.get())
    wait_for_waiters(select)
    one.close()
    thread.join(PATIENCE)
    assert isinstance(results[0], mitogen.select.Error)
