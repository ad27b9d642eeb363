# mypy: allow-untyped-calls
"""Trees: contexts that start contexts, to any depth, with real processes.

Whatever a context is asked for, by whom and across how many others, works as it does next door; and
whatever goes, everyone who would wait on it for ever is told who went, and why. That nothing is left is
looked at after every test, by the fixture in conftest.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import signal
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

import mitogen.core
import mitogen.master
import mitogen.parent
from mitogen.core import CallError, ChannelError, Message, StreamError, TimeoutError, handles
from mitogen.parent.callchain import Aside
from tests import interpreters
from tests.integration import remote, remote_trees
from tests.integration.programs import alive, wait_file, wait_gone, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from mitogen.master import Router
    from mitogen.parent import Context

    Caplog = pytest.LogCaptureFixture

#: "At once", on a slow machine that does other things as well.
AT_ONCE = 1.0
#: Seconds after which a test gives up.
LIMIT = 20.0


def chain_of(router: Router, length: int) -> list[Context]:
    """Start a context, one below it, and so on."""
    contexts: list[Context] = []
    for _ in range(length):
        contexts.append(router.local(via=contexts[-1] if contexts else None))
    return contexts


def pid_of(context: Context) -> int:
    return context.call(os.getpid)


def outcome(fn: Callable[[], object]) -> object:
    """Return what `fn()` returns, or what it raises."""
    try:
        return fn()
    except BaseException as e:
        return e


class Waits:
    """Threads that wait for something that never comes, and when and how that ended."""

    def __init__(self) -> None:
        self.ended: dict[str, tuple[float, object]] = {}
        self._threads: list[threading.Thread] = []

    def add(self, name: str, fn: Callable[[], object]) -> None:
        def run() -> None:
            result = outcome(fn)
            self.ended[name] = time.monotonic(), result

        thread = threading.Thread(target=run, name=name)
        self._threads.append(thread)
        thread.start()

    def join(self) -> dict[str, tuple[float, object]]:
        for thread in self._threads:
            thread.join(LIMIT)
        stuck = [thread.name for thread in self._threads if thread.is_alive()]
        assert not stuck, "these wait still: %s" % stuck
        return self.ended


def kill(context_or_pid: Context | int) -> float:
    """Kill a context's process and return when that was."""
    pid = context_or_pid if isinstance(context_or_pid, int) else context_or_pid.call(os.getpid)
    started = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    return started


# -- Starting ----------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_context_is_started_by_another_one_at_any_depth(router: Router, depth: int) -> None:
    chain = chain_of(router, depth + 1)
    last, via = chain[-1], chain[-2]
    assert last.call(os.getppid) == pid_of(via)
    assert last.via is via
    assert last.name.startswith(via.name + ".local.")
    assert last.python_version == sys.version_info[:3]
    ids = [context.context_id for context in reversed(chain[:-1])] + [0]
    assert last.call(remote.identity_of_context) == (False, last.context_id, ids[0], ids)
    assert router.context_by_id(last.context_id) is last


def test_a_context_that_the_master_started_itself_has_no_via(router: Router) -> None:
    assert router.local().via is None


def test_a_context_is_named_as_asked(router: Router) -> None:
    via = router.local(name="first")
    below = router.local(via=via, name="second")
    assert (via.name, below.name) == ("first", "second")
    assert router.local(via=via).name.startswith("first.local.")
    assert "second" in repr(router.context_by_id(below.context_id))


BAD_STARTS = {
    "a program that is not there": ("/no/such/python", "can't start /no/such/python"),
    "a program that ends at once": ("/bin/false", "exited with status 1"),
    "a program that says why": (["/bin/sh", "-c", "echo no python >&2; exit 5"], "no python"),
    "a program that waits": (["/bin/sh", "-c", "cat >/dev/null"], "timed out"),
}


@pytest.mark.parametrize("how", BAD_STARTS)
def test_the_error_of_a_start_names_the_context_and_the_one_that_started_it(
    router: Router, how: str
) -> None:
    via = chain_of(router, 2)[-1]
    python_path, text = BAD_STARTS[how]
    with pytest.raises(StreamError) as info:
        router.local(via=via, python_path=python_path, name="newcomer", connect_timeout=1.0)
    message = str(info.value)
    assert text in message
    assert "newcomer" in message
    assert "via %s" % via.name in message
    assert via.call(abs, -1) == 1


def test_an_interpreter_that_is_too_old_is_told_across_contexts(router: Router) -> None:
    with pytest.raises(StreamError, match=r"(?s)2\.7.*3\.6.*via local\.") as info:
        router.local(via=router.local(), python_path=interpreters.find(interpreters.TOO_OLD))
    assert info.value.__cause__ is None


def test_a_start_ends_when_the_context_that_starts_goes(router: Router) -> None:
    via = router.local()
    pid = pid_of(via)
    waits = Waits()
    # It says nothing, and ends with its connection.
    slow = ["/bin/sh", "-c", "echo; cat >/dev/null"]
    waits.add("start", lambda: router.local(via=via, python_path=slow))
    via.call_aside(remote_trees.wait_for_a_child, LIMIT)
    started = kill(pid)
    when, error = waits.join()["start"]
    assert isinstance(error, StreamError)
    assert "via %s" % via.name in str(error)
    assert "signal 9" in str(error)
    assert when - started < AT_ONCE
    with pytest.raises(StreamError, match=re.escape(via.name)):
        router.local(via=via)


@pytest.mark.parametrize("state", ["sleeping", "busy"])
def test_a_context_that_runs_a_long_call_starts_others_at_once(router: Router, state: str) -> None:
    via = router.local()
    receiver = via.call_async(*((time.sleep, 60) if state == "sleeping" else (remote.busy,)))
    first = router.local(via=via)
    assert first.call(abs, -1) == 1
    assert receiver.empty()
    first.shutdown(wait=True)
    assert receiver.empty()
    via.default_call_chain.cancel(receiver)
    assert via.call(abs, -1) == 1


def test_one_context_starts_many_at_the_same_time(router: Router) -> None:
    via = router.local()
    count = 50
    waits = Waits()
    for i in range(count):
        waits.add(str(i), lambda: router.local(via=via, connect_timeout=LIMIT * 2))
    contexts: list[Any] = [result for _, result in waits.join().values()]
    assert not [error for error in contexts if isinstance(error, BaseException)]
    assert len({context.context_id for context in contexts}) == count
    receivers = [context.call_async(os.getppid) for context in contexts]
    assert {receiver.get_data(LIMIT) for receiver in receivers} == {pid_of(via)}
    via.shutdown(wait=True)


# -- Starts that nobody waits for ----------------------------------------------------------------


class Alarm(BaseException):
    """Comes out of the blue, as a KeyboardInterrupt or a program's own time-out does."""


def interrupted(seconds: float, fn: Callable[[], object]) -> object:
    """Return the outcome of ``fn()``, into which `Alarm` is raised after `seconds`."""

    def ring(signum: int, frame: object) -> None:
        raise Alarm

    def armed() -> object:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        return fn()

    before = signal.signal(signal.SIGALRM, ring)
    try:
        return outcome(armed)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_an_interrupted_start_that_hangs_leaves_nothing_in_the_context_that_starts(
    router: Router,
) -> None:
    via = chain_of(router, 2)[-1]
    router.local(via=via).shutdown(wait=True)
    slow = ["/bin/sh", "-c", "cat >/dev/null"]
    result = interrupted(0.3, lambda: router.local(via=via, python_path=slow, connect_timeout=50))
    assert isinstance(result, Alarm), result
    wait_until(lambda: not remote_trees.child_pids(pid_of(via)), LIMIT)


def test_a_start_interrupted_at_any_moment_leaves_nothing(router: Router) -> None:
    via = router.local()
    pid = pid_of(via)
    for i in range(12):
        result = interrupted(0.004 + i * 0.012, lambda: router.local(via=via))
        if isinstance(result, mitogen.core.Context):
            result.shutdown(wait=True)
        else:
            assert isinstance(result, Alarm), result
    wait_until(lambda: not remote_trees.child_pids(pid), LIMIT)
    wait_until(lambda: via.call_aside(remote_trees.forget) == [], LIMIT)


# Python itself ignores an exception that comes in the callback of a weak reference, and says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_start_here_interrupted_at_any_moment_leaves_nothing(router: Router) -> None:
    router.local().shutdown(wait=True)
    descriptors = len(os.listdir("/proc/self/fd"))
    # Those that the tests need for longer.
    others = set(remote_trees.child_pids(os.getpid()))
    for i in range(200):
        result = interrupted(0.0001 + i * 0.00002, router.local)
        if isinstance(result, mitogen.core.Context):
            result.shutdown(wait=True)
        else:
            assert isinstance(result, Alarm), result
    wait_until(lambda: set(remote_trees.child_pids(os.getpid())) <= others, LIMIT)
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors, LIMIT)


def test_a_context_that_was_interrupted_when_it_became_a_parent_starts_others(router: Router) -> None:
    """By a time-out, for example."""
    context = router.local()
    started = context.call(remote_trees.start_after_an_interruption)
    assert started.call(os.getppid) == pid_of(context)


def test_a_context_that_says_nothing_does_not_hold_up_a_start(
    router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mitogen.parent.childstart._ANSWER_WAIT", 0.3)
    # Neither is it asked for ever where nothing can be sent to it any more.
    router.high_water_mark = 100_000
    via = router.local()
    pid = pid_of(via)
    router.local(via=via, connect_timeout=LIMIT).shutdown(wait=True)
    os.kill(pid, signal.SIGSTOP)
    try:
        for is_full in False, True:
            if is_full:
                via.call_no_reply(len, b"x" * 2_000_000)
            with pytest.raises(StreamError, match=r"via %s.* 0\.5 seconds.*stopped" % via.name):
                router.local(via=via, connect_timeout=0.2)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert via.call(abs, -1) == 1
    wait_until(lambda: not remote_trees.child_pids(pid), LIMIT)


# -- Endings, one by one -------------------------------------------------------------------------


def test_a_grandchild_is_shut_down_alone(router: Router) -> None:
    via, below = chain_of(router, 2)
    pid = pid_of(below)
    below.shutdown(wait=True)
    assert not alive(pid)
    with pytest.raises(ChannelError, match=re.escape(below.name)):
        below.call(abs, -1)
    assert via.call(abs, -1) == 1
    assert below.shutdown(wait=True) is None  # It is gone already.


def test_a_shutdown_without_waiting_gives_a_latch(router: Router) -> None:
    below = chain_of(router, 3)[-1]
    pid = pid_of(below)
    latch = below.shutdown()
    assert latch is not None
    assert latch.get(LIMIT) is None
    assert not alive(pid)


def test_a_grandchild_finishes_its_calls_before_it_goes(router: Router) -> None:
    below = chain_of(router, 2)[-1]
    receivers = [below.call_async(remote.identity, i) for i in range(20)]
    below.shutdown(wait=True)
    assert [receiver.get_data(LIMIT) for receiver in receivers] == list(range(20))


def test_a_grandchild_that_will_not_go_is_ended_by_force(router: Router, tmp_path: Path) -> None:
    via, below = chain_of(router, 2)
    pid = pid_of(below)
    below.call(remote.set_shutdown_timeout, 0.2)
    receiver = below.call_async(remote.stubborn, str(tmp_path / "began"))
    wait_file(tmp_path / "began")
    below.shutdown(wait=True)
    assert not alive(pid)
    with pytest.raises(ChannelError, match=re.escape(below.name)):
        receiver.get(LIMIT)
    assert via.call(abs, -1) == 1


def test_with_a_context_go_those_below_it(router: Router) -> None:
    top, middle, below = chain_of(router, 3)
    beside = router.local(via=middle)
    pids = [pid_of(context) for context in (middle, below, beside)]
    sleeping = beside.call_async(time.sleep, 60)
    middle.shutdown(wait=True)
    for pid in pids:
        wait_gone(pid, LIMIT)
    for context in middle, below, beside:
        with pytest.raises(ChannelError):
            context.call(abs, -1)
    with pytest.raises(ChannelError):
        sleeping.get(LIMIT)
    assert top.call(abs, -1) == 1


# -- Contexts that start others by themselves ----------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_function_starts_contexts_and_gives_them_to_the_master(router: Router, depth: int) -> None:
    starter = chain_of(router, depth)[-1]
    started = starter.call(remote_trees.start, 3)
    for context, pid, parent_pid in started:
        assert parent_pid == pid_of(starter)
        assert context.call(os.getpid) == pid
        assert context.context_id != starter.context_id
    assert starter.call(remote_trees.call_kept, -5) == [5, 5, 5]
    # The master may end what it did not start.
    context, pid, _ = started[0]
    context.shutdown(wait=True)
    wait_gone(pid, LIMIT)
    assert started[1][0].call(os.getpid) == started[1][1]


def test_a_function_starts_contexts_by_way_of_those_that_it_started(router: Router) -> None:
    starter = router.local()
    ((first, pid, _),) = starter.call(remote_trees.start, 1)
    below, parent_pid = starter.call(remote_trees.start_via, first)
    assert parent_pid == pid
    assert below.call(os.getppid) == pid


def test_a_context_lives_on_without_references_to_it(router: Router) -> None:
    starter = router.local()
    ((context, pid, _),) = starter.call(remote_trees.start, 1)
    assert starter.call(remote_trees.forget) == [context.context_id]
    assert context.call(os.getpid) == pid


# -- References that travel ------------------------------------------------------------------------


class Family:
    """A small tree, of which what is asked for is started::

    master -- left  -- left child
                    -- left other
           -- right -- right child
    """

    def __init__(self, router: Router) -> None:
        self.router = router
        self._started: dict[str, Context] = {}

    def __getitem__(self, name: str) -> Context:
        if name not in self._started:
            parent, _, child = name.partition(" ")
            via = self[parent] if child else None
            self._started[name] = self.router.local(via=via, name=name)
        return self._started[name]


@pytest.fixture
def family(router: Router) -> Family:
    return Family(router)


#: Who talks to whom: next door below the master, across the tree, next door below another, up and down.
PAIRS = [
    ("left", "right"),
    ("left child", "right"),
    ("left", "right child"),
    ("left child", "right child"),
    ("left child", "left other"),
    ("left child", "left"),
    ("left", "left child"),
]


def test_senders_and_contexts_work_wherever_they_are_sent(family: Family) -> None:
    for source, target in PAIRS:
        sender = family[target].call(remote_trees.receive)
        assert sender.context == family[target]
        family[source].call(remote_trees.send, sender, source, {"a": 1}, b"x" * 200_000)
        values = family[target].call(remote_trees.received, 3, LIMIT)
        assert values == [source, {"a": 1}, b"x" * 200_000]
        handle = family[target].call(remote_trees.serve)
        assert family[source].call(remote_trees.ask, family[target], handle, 21, LIMIT) == 42


def test_the_master_is_talked_to_from_anywhere(family: Family) -> None:
    receiver = mitogen.core.Receiver(family.router)
    for name in "left", "left child", "right child":
        family[name].call(remote_trees.send, receiver.to_sender(), name)
        msg = receiver.get(LIMIT)
        assert (msg.unpickle(), msg.src_id) == (name, family[name].context_id)


def test_unknown_handles_and_closed_receivers_are_told_across_contexts(family: Family) -> None:
    for source, target in PAIRS:
        text, _ = family[source].call(remote_trees.error_of_asking, family[target], 123456, None, LIMIT)
        assert text == "ChannelError: context %d has no handle 123456" % family[target].context_id
        closed = family[target].call(remote_trees.receive_and_close)
        text, _ = family[source].call(
            remote_trees.error_of_asking, closed.context, closed.dst_handle, None, LIMIT
        )
        assert text.startswith("ChannelError: context %d has no handle" % family[target].context_id)
    master = family.router.make_context(0)
    text, _ = family["left child"].call(remote_trees.error_of_asking, master, 123456, None, LIMIT)
    assert text == "ChannelError: context 0 has no handle 123456"
    nobody = family.router.make_context(999_999)
    text, _ = family["left child"].call(remote_trees.error_of_asking, nobody, 123456, None, LIMIT)
    assert text == "ChannelError: no route to context 999999 from context 0"


# -- Logs and output -------------------------------------------------------------------------------


def test_what_a_grandchild_logs_and_prints_arrives_under_its_name(router: Router, caplog: Caplog) -> None:
    with caplog.at_level(logging.INFO):
        via, below = chain_of(router, 2)
        below.call(remote.log, "my.logger", logging.WARNING, "logged %d", 1)
        below.call(remote.say, "printed")
        below.call(remote.say_error, "cried\n")
        below.call(remote.run_echo, "echoed")
        via.call(remote.say, "from above")
        expected = {
            ("mitogen.ctx." + below.name, "my.logger: logged 1"),
            ("mitogen.ctx." + below.name, "stdout: printed"),
            ("mitogen.ctx." + below.name, "stderr: cried"),
            ("mitogen.ctx." + below.name, "stdout: echoed"),
            ("mitogen.ctx." + via.name, "stdout: from above"),
        }

        def arrived() -> set[tuple[str, str]]:
            return {(record.name, record.getMessage()) for record in caplog.records}

        wait_until(lambda: expected <= arrived(), LIMIT)


def test_what_a_grandchild_says_last_is_not_lost(router: Router, caplog: Caplog) -> None:
    with caplog.at_level(logging.INFO):
        below = chain_of(router, 3)[-1]
        for i in range(100):
            below.call_no_reply(remote.say, "line %d" % i)
        below.shutdown(wait=True)
        wait_until(lambda: "stdout: line 99" in caplog.text, LIMIT)
    assert all("stdout: line %d\n" % i in caplog.text for i in range(100))


# -- Modules ---------------------------------------------------------------------------------------


def count_requests(router: Router) -> list[str]:
    """Return a list to which the name of each module that the master is asked for is added."""
    asked: list[str] = []
    fn, *rest = router._handlers[handles.GET_MODULE]

    def note(msg: Message) -> None:
        if not msg.is_dead:
            asked.append(msg.data.decode())
        fn(msg)

    router._handlers[handles.GET_MODULE] = (note, *rest)  # type: ignore[assignment]
    return asked


PACKAGE_SIZE = 60


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a package of many modules, each of which imports the one before it."""
    name = "wide_package_%d" % os.getpid()
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text("TOTAL = 0\n")
    for i in range(PACKAGE_SIZE):
        source = (
            "from %s import m%d\nVALUE = m%d.VALUE + 1\n" % (name, i - 1, i - 1) if i else "VALUE = 0\n"
        )
        (folder / ("m%d.py" % i)).write_text(source + "# %s\n" % ("padding " * 100))
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_the_master_is_asked_for_a_module_once_however_many_need_it(router: Router, package: str) -> None:
    asked = count_requests(router)
    top = router.local()
    below = [router.local(via=top) for _ in range(3)]
    deep = [router.local(via=below[0]) for _ in range(2)]
    receivers = [
        context.call_async(remote_trees.last_value, package, PACKAGE_SIZE)
        for context in [*deep, *below, top]
    ]
    assert [receiver.get_data(LIMIT) for receiver in receivers] == [PACKAGE_SIZE - 1] * 6
    # What it needs of the package the first one has the master send along.
    ours = [name for name in asked if name.startswith(package)]
    assert ours == [package, "%s.m%d" % (package, PACKAGE_SIZE - 1)]
    assert len(asked) == len(set(asked)), sorted(n for n in asked if asked.count(n) > 1)


def test_what_makes_a_context_a_parent_comes_in_one_piece(router: Router) -> None:
    via = router.local()
    asked = count_requests(router)
    router.local(via=via)
    assert "mitogen.core.parent_half" in asked
    assert not [name for name in asked if name in ("mitogen.parent.starter", "mitogen.parent.local")]


def test_the_master_is_asked_once_for_a_module_that_is_not_there(router: Router) -> None:
    asked = count_requests(router)
    top = router.local()
    below = [router.local(via=top) for _ in range(3)]
    for context in [*below, top]:
        text = context.call(remote_trees.import_error, "no_such_module_anywhere")
        assert "no_such_module_anywhere" in text
    assert asked.count("no_such_module_anywhere") == 1


def test_why_a_module_can_not_be_sent_is_told_to_a_grandchild(router: Router) -> None:
    below = chain_of(router, 2)[-1]
    with pytest.raises(CallError, match="no_such_package_at_all"):
        below.call(__import__, "no_such_package_at_all.module")
    assert below.call(abs, -1) == 1


# -- A long chain ----------------------------------------------------------------------------------


def test_a_chain_of_ten_carries_calls_modules_and_data(router: Router, package: str) -> None:
    asked = count_requests(router)
    chain = chain_of(router, 10)
    last = chain[-1]
    assert len(last.call(remote.identity_of_context)[3]) == 10
    assert [last.call(remote.identity, i) for i in range(100)] == list(range(100))
    assert last.call(remote_trees.last_value, package, PACKAGE_SIZE) == PACKAGE_SIZE - 1
    assert len([name for name in asked if name.startswith(package)]) == 2
    size = 64 << 20
    data = remote_trees.pattern(size)
    expected = remote_trees.digest(data)
    started = time.monotonic()
    assert last.call(remote_trees.digest, data) == expected
    assert remote_trees.digest(last.call(remote_trees.pattern, size)) == expected
    print("%.0f MiB/s through 10 hops" % (128 / (time.monotonic() - started)))


def wait_there(target: Any, call: tuple[Any, ...], context: Context) -> Callable[[], object]:
    return lambda: target(*call, context=context)


def test_the_end_of_the_middle_of_a_long_chain_ends_every_wait(router: Router, tmp_path: Path) -> None:
    chain = chain_of(router, 10)
    middle = 4
    pids = [pid_of(context) for context in chain]
    began = mitogen.core.Receiver(router)
    waits = Waits()
    for i in range(middle, 9):
        waits.add("call %d" % i, partial(chain[i].call, time.sleep, 60))
        receiver = mitogen.core.Receiver(router, respondent=chain[i])
        waits.add("receiver %d" % i, receiver.get)
    # What the last context waits for are contexts above the one that goes, and the master.
    paths = []
    for i, context in enumerate([chain[0], chain[middle - 1], router.make_context(0)]):
        paths.append(tmp_path / str(i))
        sender = began.to_sender()
        call = remote_trees.write_end_of_wait, str(paths[-1]), sender
        if i < 2:
            target = chain[-1].call_aside
        else:
            target = chain[-1].call
        waits.add("waits on %d" % i, wait_there(target, call, context))
    for _ in paths:
        began.get(LIMIT)
    wait_until(lambda: all(router.stream_by_id(c.context_id) for c in chain), LIMIT)
    started = kill(pids[middle])
    ends = []
    for name, (when, error) in waits.join().items():
        assert isinstance(error, ChannelError), (name, error)
        assert chain[middle].name + ":" in str(error), (name, error)
        assert "signal 9" in str(error), (name, error)
        ends.append(when)
    wait_gone(pids[-1], LIMIT)
    # The main thread always gets to say so; other threads may end with their process.
    assert paths[-1].exists()
    for path in paths:
        if path.exists():
            when_text, _, text = path.read_text().partition(" ")
            assert not text.startswith("no error"), text
            ends.append(float(when_text))
    took = max(ends) - started
    print("%.1f ms from the kill to the last end" % (took * 1000))
    assert took < AT_ONCE
    for pid in pids[middle:]:
        wait_gone(pid, LIMIT)
    print("%.1f ms to the last process" % ((time.monotonic() - started) * 1000))
    assert chain[middle - 1].call(abs, -1) == 1


# -- Somebody goes ---------------------------------------------------------------------------------

#: Who waits on whom, who is killed, and whose name the error gives.
DISCONNECTS = [
    ("left", "right", "right"),
    ("left child", "right", "right"),
    ("left", "right child", "right child"),
    ("left", "right child", "right"),
    ("left child", "right child", "right child"),
    ("left child", "right child", "right"),
    ("left child", "left other", "left other"),
    ("left", "left child", "left child"),
]


@pytest.mark.parametrize(("waiter", "target", "victim"), DISCONNECTS)
def test_whoever_waits_is_told_who_went_and_why(
    family: Family, waiter: str, target: str, victim: str
) -> None:
    began = mitogen.core.Receiver(family.router)
    handle = family[target].call(remote_trees.serve_nothing)
    pid = pid_of(family[victim])
    asking = family[waiter].call_async(
        remote_trees.error_of_asking, family[target], handle, began.to_sender()
    )
    other = Aside(family[waiter])
    waiting = other.call_async(remote_trees.error_of_waiting, family[target], began.to_sender(), 5)
    for _ in range(2):
        began.get(LIMIT)
    started = kill(pid)
    text, when = asking.get_data(LIMIT)
    text2, when2, fired = waiting.get_data(LIMIT)
    for said in text, text2:
        assert said.startswith("ChannelError: "), said
        assert family[victim].name + ":" in said
        assert "signal 9" in said
    assert max(when, when2) - started < AT_ONCE
    assert fired
    # From now on there is no way.
    text, _ = family[waiter].call(remote_trees.error_of_asking, family[target], handle, None, LIMIT)
    assert text.startswith("ChannelError: ")


@pytest.mark.parametrize("victim", ["left", "left child"])
def test_the_master_is_told_who_of_those_below_went(family: Family, victim: str) -> None:
    fired = []
    target = family["left child"]
    mitogen.core.listen(target, "disconnect", lambda: fired.append(target.reason))
    pid = pid_of(family[victim])
    waits = Waits()
    waits.add("call", lambda: target.call(time.sleep, 60))
    waits.add("receiver", mitogen.core.Receiver(family.router, respondent=target).get)
    waits.add("aside", lambda: target.call_aside(time.sleep, 60))
    wait_until(lambda: len(family.router._handlers) >= 3, LIMIT)
    started = kill(pid)
    for name, (when, error) in waits.join().items():
        assert isinstance(error, ChannelError), (name, error)
        assert family[victim].name + ":" in str(error)
        assert "signal 9" in str(error)
        assert when - started < AT_ONCE
    wait_until(lambda: fired, LIMIT)
    assert len(fired) == 1
    assert family[victim].name in fired[0]
    assert family["right"].call(abs, -1) == 1


@pytest.mark.parametrize("victim", ["right", "right child"])
def test_a_wait_that_begins_too_late_ends_as_well(family: Family, victim: str) -> None:
    began = mitogen.core.Receiver(family.router)
    target = family["right child"]
    kill(family[victim])
    wait_until(lambda: target.reason, LIMIT)
    text, _, _ = family["left child"].call(remote_trees.error_of_waiting, target, began.to_sender(), 0)
    assert text.startswith("ChannelError: ")


def test_a_call_across_contexts_that_went_away_fails_at_once(family: Family) -> None:
    target = family["left child"]
    kill(family["left"])
    wait_until(lambda: target.reason, LIMIT)
    with pytest.raises(ChannelError, match="left"):
        target.call(abs, -1)
    with pytest.raises(StreamError, match="left child"):
        family.router.local(via=target)
    assert target.shutdown(wait=True) is None


# -- One way only ----------------------------------------------------------------------------------


def check_up_and_down(router: Router, top: Context, below: Context) -> None:
    receiver = mitogen.core.Receiver(router)
    below.call(remote_trees.send, receiver.to_sender(), "up")
    assert receiver.get_data(LIMIT) == "up"
    sender = top.call(remote_trees.receive)
    below.call(remote_trees.send, sender, "to the parent")
    assert top.call(remote_trees.received, 1, LIMIT) == ["to the parent"]
    assert below.call(abs, -1) == 1


def assert_may_not_talk(source: Context, target: Context, refusing_id: int) -> None:
    handle = target.call(remote_trees.serve)
    text, _ = source.call(remote_trees.error_of_asking, target, handle, None, LIMIT)
    assert text == "ChannelError: context %d is unidirectional: context %d may not talk to context %d" % (
        refusing_id,
        source.context_id,
        target.context_id,
    )


def assert_may_talk(source: Context, target: Context) -> None:
    handle = target.call(remote_trees.serve)
    assert source.call(remote_trees.ask, target, handle, 4, LIMIT) == 8


def test_the_children_of_a_unidirectional_router_may_not_talk_to_each_other(router: Router) -> None:
    router.unidirectional = True
    left, right = router.local(), router.local()
    below, other = (router.local(via=left) for _ in range(2))
    assert_may_not_talk(left, right, 0)
    # Handed down to those that start others.
    assert_may_not_talk(below, other, left.context_id)
    assert_may_not_talk(below, right, left.context_id)
    assert_may_not_talk(right, below, 0)
    check_up_and_down(router, left, below)


def test_a_context_may_be_unidirectional_by_itself(router: Router) -> None:
    left, right = router.local(unidirectional=True), router.local()
    below, other = (router.local(via=left) for _ in range(2))
    free = router.local(via=left, unidirectional=False)
    assert_may_talk(left, right)
    assert_may_talk(right, left)
    assert_may_not_talk(below, other, left.context_id)
    assert_may_not_talk(below, right, left.context_id)
    check_up_and_down(router, left, below)
    first, second = (router.local(via=free) for _ in range(2))
    assert_may_talk(first, second)
    assert_may_not_talk(first, below, left.context_id)
    lowest, lowest_other = (router.local(via=below) for _ in range(2))
    assert_may_not_talk(lowest, lowest_other, below.context_id)


def test_a_question_whose_answer_may_not_pass_ends_all_the_same(router: Router) -> None:
    left, right = router.local(unidirectional=True), router.local()
    below = router.local(via=left)
    handle = below.call(remote_trees.serve)
    text, _ = right.call(remote_trees.error_of_asking, below, handle, None, LIMIT)
    assert "unidirectional" in text, text


# -- Interpreters ----------------------------------------------------------------------------------

NAMES = interpreters.SUPPORTED


def check_pair(router: Router, via: Context, below: Context) -> None:
    assert below.call(os.getppid) == pid_of(via)
    assert below.call(remote.echo, 1, two=[2]) == ((1,), {"two": [2]})
    data = os.urandom(1 << 20)
    assert below.call(remote_trees.digest, data) == remote_trees.digest(data)
    assert below.call(remote.identity, data) == data
    with pytest.raises(CallError, match="UserError: here"):
        below.call(remote.raise_here)


def check_kill(pids: list[int]) -> None:
    kill(pids[0])
    for pid in pids:
        wait_gone(pid, LIMIT)


@pytest.mark.parametrize("name", NAMES)
def test_every_interpreter_starts_the_next_one(router: Router, name: str) -> None:
    after = NAMES[(NAMES.index(name) + 1) % len(NAMES)]
    via = router.local(python_path=interpreters.find(name))
    below = router.local(via=via, python_path=interpreters.find(after))
    version, implementation, _ = below.call(remote.version)
    assert after in ("%d.%d" % version, implementation + "3")
    check_pair(router, via, below)
    check_kill([pid_of(via), pid_of(below)])


def test_interpreters_of_all_kinds_in_one_chain(router: Router, package: str) -> None:
    chain: list[Context] = []
    for name in ("pypy3", "3.13", "3.6", "pypy3"):
        via = chain[-1] if chain else None
        chain.append(router.local(python_path=interpreters.find(name), via=via))
    for via, below in itertools.pairwise(chain):
        check_pair(router, via, below)
        assert below.call(remote_trees.last_value, package, PACKAGE_SIZE) == PACKAGE_SIZE - 1
    waits = Waits()
    for i, context in enumerate(chain):
        waits.add(str(i), partial(context.call, time.sleep, 60))
    pids = [context.call_aside(os.getpid) for context in chain]
    check_kill(pids)
    for _, error in waits.join().values():
        assert isinstance(error, ChannelError)
        assert chain[0].name + ":" in str(error)


# -- Leaving ---------------------------------------------------------------------------------------


def test_a_context_that_detaches_lives_on_with_its_children(router: Router, tmp_path: Path) -> None:
    path = tmp_path / "lines"
    top = router.local()
    middle = router.local(via=top, name="middle")
    started = middle.call(remote_trees.start, 2)
    below, pid, _ = started[0]
    middle_pid = pid_of(middle)
    with pytest.raises(ChannelError, match="middle detached"):
        middle.call(remote_trees.detach_with_children, str(path))
    with pytest.raises(ChannelError, match="middle"):
        below.call(abs, -1)
    lines = wait_file(path).splitlines()
    pids = [*(str(p) for _, p, _ in started), str(middle_pid)]
    assert lines == [*pids, "ValueError, with a traceback: True", "False"]
    assert top.call(abs, -1) == 1
    # It ends with the function that detached, and takes its own children along.
    for p in (middle_pid, pid, started[1][1]):
        wait_gone(p, LIMIT)


def test_the_end_of_a_program_ends_the_whole_tree() -> None:
    with mitogen.master.Router() as router:
        chain = chain_of(router, 3) + [router.local()]
        pids = [pid_of(context) for context in chain]
        for context in chain:
            context.call_no_reply(time.sleep, 60)
        started = time.monotonic()
    assert time.monotonic() - started < LIMIT
    for pid in pids:
        wait_gone(pid, LIMIT)


def test_a_time_out_interrupts_a_call_in_a_grandchild(router: Router) -> None:
    below = chain_of(router, 3)[-1]
    with pytest.raises(TimeoutError):
        mitogen.parent.CallChain(below, timeout=0.3).call(remote.sleep, 60)
    ((names, seconds),) = below.call(remote.noted)
    assert "KeyboardInterrupt" in names
    assert seconds < LIMIT
