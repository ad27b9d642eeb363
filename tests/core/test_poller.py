"""`mitogen.core.poller` and `pollers`: every implementation reports the same things.

kqueue is tested through a stand-in for the `select` module that has its calls, on top of `poll`.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from mitogen.core import poller as poller_module
from mitogen.core import pollers
from mitogen.core.broker import Broker
from mitogen.core.poller import Poller
from mitogen.core.pollers import KqueuePoller, PollPoller, SelectPoller, make_poller

if TYPE_CHECKING:
    from collections.abc import Iterator


class Kevent:
    """As `select.kevent`."""

    def __init__(self, ident: int, filter: int, flags: int = 1) -> None:
        self.ident, self.filter, self.flags = ident, filter, flags


class Kqueue:
    """As `select.kqueue`: one registration per descriptor and filter, errors for what is unknown."""

    def __init__(self) -> None:
        self.known: set[tuple[int, int]] = set()
        self.closed = False

    def control(self, changes: Any, max_events: int, timeout: float | None = None) -> list[Kevent]:
        for change in changes or ():
            key = change.ident, change.filter
            if change.flags == FakeSelect.KQ_EV_ADD:
                assert key not in self.known
                self.known.add(key)
            elif key not in self.known:
                raise FileNotFoundError(key)
            else:
                self.known.remove(key)
        if not max_events:
            return []
        impl = select.poll()
        masks: dict[int, int] = {}
        for fd, kind in self.known:
            bit = select.POLLIN if kind == FakeSelect.KQ_FILTER_READ else select.POLLOUT
            masks[fd] = masks.get(fd, 0) | bit
        for fd, mask in masks.items():
            impl.register(fd, mask)
        found = []
        for fd, mask in impl.poll(None if timeout is None else timeout * 1000):
            for kind, bit in (
                (FakeSelect.KQ_FILTER_READ, select.POLLIN | select.POLLHUP | select.POLLERR),
                (FakeSelect.KQ_FILTER_WRITE, select.POLLOUT | select.POLLHUP | select.POLLERR),
            ):
                if mask & bit and (fd, kind) in self.known:
                    found.append(Kevent(fd, kind))
        return found[:max_events]

    def close(self) -> None:
        self.closed = True


class FakeSelect:
    """The part of a BSD's `select` module that is used."""

    KQ_FILTER_READ, KQ_FILTER_WRITE = -1, -2
    KQ_EV_ADD, KQ_EV_DELETE = 1, 2
    kqueue, kevent = Kqueue, Kevent


@pytest.fixture(params=["epoll", "kqueue", "poll", "select"])
def poller(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Poller]:
    if request.param == "kqueue":
        monkeypatch.setattr(pollers, "select", FakeSelect)
    classes = {"epoll": Poller, "kqueue": KqueuePoller, "poll": PollPoller, "select": SelectPoller}
    poller: Poller = classes[request.param]()
    yield poller
    poller.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, two = socket.socketpair()
    with one, two:
        yield one, two


def reader() -> None:
    """What is called when a descriptor is readable."""


def writer() -> None:
    """What is called when a descriptor is writable."""


Pair = tuple[socket.socket, socket.socket]


def test_nothing_is_due_before_something_happens(poller: Poller, pair: Pair) -> None:
    poller.start_receive(pair[0].fileno(), reader)
    assert poller.poll(0) == []


def test_data_makes_a_descriptor_readable_until_it_is_read(poller: Poller, pair: Pair) -> None:
    poller.start_receive(pair[0].fileno(), reader)
    pair[1].send(b"xy")
    assert poller.poll(1e6) == [reader]
    pair[0].recv(1)
    assert poller.poll(1e6) == [reader]
    pair[0].recv(1)
    assert poller.poll(0) == []


def test_an_end_makes_a_descriptor_readable(poller: Poller, pair: Pair) -> None:
    poller.start_receive(pair[0].fileno(), reader)
    pair[1].close()
    assert poller.poll(1e6) == [reader]


def test_room_makes_a_descriptor_writable(poller: Poller, pair: Pair) -> None:
    poller.start_transmit(pair[0].fileno(), writer)
    assert poller.poll(1e6) == [writer]
    pair[0].setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            pair[0].send(b"x" * 65536)
    assert poller.poll(0) == []
    while pair[1].recv(1 << 20, socket.MSG_DONTWAIT | socket.MSG_PEEK):
        pair[1].recv(1 << 20)
        if poller.poll(0):
            break
    assert poller.poll(0) == [writer]


def test_a_broken_pipe_wakes_its_writer(poller: Poller) -> None:
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(write_fd, b"x" * 65536)
    poller.start_transmit(write_fd, writer)
    assert poller.poll(0) == []
    os.close(read_fd)
    assert poller.poll(1e6) == [writer]
    poller.stop_transmit(write_fd)
    os.close(write_fd)


def test_both_sides_of_one_descriptor_are_watched_apart(poller: Poller, pair: Pair) -> None:
    fd = pair[0].fileno()
    poller.start_receive(fd, reader)
    poller.start_transmit(fd, writer)
    assert poller.poll(0) == [writer]
    pair[1].send(b"x")
    assert sorted(map(repr, poller.poll(0))) == sorted(map(repr, [reader, writer]))
    poller.stop_transmit(fd)
    assert poller.poll(0) == [reader]
    poller.start_transmit(fd, writer)
    poller.stop_receive(fd)
    assert poller.poll(0) == [writer]
    poller.stop_transmit(fd)
    assert poller.poll(0) == []


def test_a_new_callback_replaces_the_old_one(poller: Poller, pair: Pair) -> None:
    poller.start_receive(pair[0].fileno(), writer)
    poller.start_receive(pair[0].fileno(), reader)
    pair[1].send(b"x")
    assert poller.poll(1e6) == [reader]


def test_stopping_what_was_never_started_does_nothing(poller: Poller, pair: Pair) -> None:
    for _ in range(2):
        poller.stop_receive(pair[0].fileno())
        poller.stop_transmit(pair[0].fileno())
    poller.start_receive(pair[0].fileno(), reader)
    poller.stop_transmit(pair[0].fileno())
    pair[1].send(b"x")
    assert poller.poll(0) == [reader]


def test_a_descriptor_number_can_be_used_again(poller: Poller, pair: Pair) -> None:
    read_fd, write_fd = os.pipe()
    poller.start_receive(read_fd, writer)
    poller.stop_receive(read_fd)
    os.dup2(pair[0].fileno(), read_fd)
    poller.start_receive(read_fd, reader)
    pair[1].send(b"x")
    assert poller.poll(1e6) == [reader]
    poller.stop_receive(read_fd)
    os.close(read_fd)
    os.close(write_fd)


def test_many_descriptors_are_all_reported(poller: Poller) -> None:
    pairs = [socket.socketpair() for _ in range(300)]
    callbacks = {}
    for i, (one, two) in enumerate(pairs):
        callbacks[i] = lambda: None
        poller.start_receive(one.fileno(), callbacks[i])
        two.send(b"x")
    seen = set()
    for _ in range(3):  # Some report no more than so many at once.
        for callback in poller.poll(0):
            seen.add(callback)
        for one, _ in pairs:
            if poller._readers.get(one.fileno()) in seen:
                poller.stop_receive(one.fileno())
    assert seen == set(callbacks.values())
    for one, two in pairs:
        one.close()
        two.close()


def test_a_wait_lasts_as_long_as_told_and_no_shorter(poller: Poller, pair: Pair) -> None:
    poller.start_receive(pair[0].fileno(), reader)
    start = time.monotonic()
    assert poller.poll(0.0205) == []
    assert time.monotonic() - start >= 0.0205


def test_a_wait_of_no_time_is_none(poller: Poller, pair: Pair) -> None:
    poller.start_receive(pair[0].fileno(), reader)
    took = []
    for _ in range(100):
        start = time.monotonic()
        poller.poll(0.0)
        took.append(time.monotonic() - start)
    # The shortest that a poller can wait is a millisecond. Other processes may hold up some of these.
    assert min(took) < 0.001


@pytest.mark.parametrize("timeout", [3e6, 1e10, float("inf")])
def test_a_wait_of_months_is_no_error(poller: Poller, pair: Pair, timeout: float) -> None:
    poller.start_receive(pair[0].fileno(), reader)
    pair[1].send(b"x")
    assert poller.poll(timeout) == [reader]


def test_closing_releases_the_descriptor_of_the_poller(poller: Poller) -> None:
    poller.close()
    impl = getattr(poller, "_impl", None)
    assert getattr(impl, "closed", True)


def test_a_file_that_epoll_refuses_can_be_stopped_and_forgotten(tmp_path: Any) -> None:
    poller = Poller()
    with open(tmp_path / "file", "w") as f:
        with pytest.raises(PermissionError):
            poller.start_receive(f.fileno(), reader)
        poller.stop_receive(f.fileno())
    poller.close()


# -- The choice -------------------------------------------------------------------------------------


def test_linux_uses_epoll() -> None:
    broker = Broker()
    assert type(broker.poller) is Poller
    broker.shutdown()
    broker.join()


def test_elsewhere_kqueue_is_preferred_to_poll_and_poll_to_select(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pollers, "select", FakeSelect)
    assert type(make_poller()) is KqueuePoller
    monkeypatch.undo()
    assert type(make_poller()) is PollPoller
    monkeypatch.setattr(pollers, "select", object())
    assert type(make_poller()) is SelectPoller


def test_poll_and_epoll_agree_on_the_values_of_masks() -> None:
    assert (poller_module.IN, poller_module.OUT) == (select.POLLIN, select.POLLOUT)
    assert (poller_module.IN, poller_module.OUT) == (select.EPOLLIN, select.EPOLLOUT)


def test_descriptors_past_1023_are_watched() -> None:
    code = """if 1:
        import os, resource
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
        from mitogen.core.poller import Poller
        poller = Poller()
        read_fd, write_fd = os.pipe()
        os.dup2(read_fd, 2000)
        poller.start_receive(2000, print)
        os.write(write_fd, b"x")
        assert poller.poll(5) == [print]
    """
    environ = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    subprocess.run([sys.executable, "-c", code], env=environ, check=True)
