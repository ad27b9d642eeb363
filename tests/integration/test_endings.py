"""Endings: whatever ends, and however, every wait on it ends too, and nothing is left.

Real processes throughout. That nothing is left is looked at after every test, by the fixture in conftest.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

import mitogen.core
import mitogen.master
import mitogen.parent
import mitogen.select
from mitogen import bundle
from mitogen.core import CallError, ChannelError, StreamError, TimeoutError
from mitogen.parent import bootstrap, connection
from tests import interpreters, leaks
from tests.core.tools import asleep
from tests.integration import remote
from tests.integration.programs import Program, alive, cpu_seconds, wait_file, wait_gone, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from mitogen.master import Router
    from mitogen.parent import Context

# Limits, in seconds. What works takes a small part of them where nothing else runs: a busy machine does
# not reach them. What they tell it from takes longer still, or for ever.

#: "At once": not when an interrupted child gets its SIGTERM, after 2 seconds, or something times out.
AT_ONCE = 1.9
#: For the end of a program: not when the broker's full patience, of 5 seconds, is over.
SOON = 4.0
#: For what ends without a word: nothing here ends by itself in less than 60.
AT_LAST = 20.0


# -- The master goes ---------------------------------------------------------------------------

CHILD_STATES = {
    "idle": "",
    "sleeping": "c.call_async(remote.sleep_and_touch, sys.argv[1], 60)",
    "reading": "c.call_async(remote.touch_and_read, sys.argv[1])",
    "busy": "c.call_async(remote.busy, sys.argv[1])",
    "ignoring KeyboardInterrupt": "c.call_async(remote.stubborn, sys.argv[1])",
    "ignoring SIGTERM too": "c.call_async(remote.deaf, sys.argv[1])",
    "with a thread of its own": "c.call(remote.start_thread_that_stays)",
    "that took SIGINT": (
        "c.call(remote.change_sigint); c.call_async(remote.sleep_and_touch, sys.argv[1], 60)"
    ),
}


@pytest.mark.parametrize("state", CHILD_STATES)
def test_sigkill_of_the_master_leaves_no_child(tmp_path: Path, state: str) -> None:
    began = tmp_path / "began"
    source = (
        "c = mitogen.master.Router().local(); tell(c.call(os.getpid))\n%s\ntell('go'); time.sleep(60)"
        % CHILD_STATES[state]
    )
    with Program(tmp_path, source, str(began)) as program:
        child = program.pid()
        program.line()
        if "argv" in CHILD_STATES[state]:
            wait_file(began)
        program.process.kill()
        wait_gone(child, AT_LAST)


def test_sigkill_of_the_master_while_a_child_comes_up_leaves_none(tmp_path: Path) -> None:
    source = (
        "router = mitogen.master.Router()\n"
        "for i in range(4): threading.Thread(target=router.local).start()\n"
        "time.sleep(float(sys.argv[1])); os.kill(os.getpid(), signal.SIGKILL)"
    )
    before = leaks.Resources()
    for delay in "0.005", "0.03", "0.06":
        with Program(tmp_path, source, delay) as program:
            assert program.process.wait(AT_LAST) == -signal.SIGKILL
    # Seen by their mark. Four that start at once may take longer than the fixture allows.
    assert leaks.wait_for_none(before, AT_LAST) == []


def test_sigkill_of_the_master_ends_what_a_child_that_hangs_was_starting(tmp_path: Path) -> None:
    began, pid = tmp_path / "began", tmp_path / "pid"
    source = """\
router = mitogen.master.Router()
via = router.local()
tell(via.call(os.getpid))
via.call_async(remote.stubborn, sys.argv[1])
command = 'echo $$ > %s; exec sleep 60' % sys.argv[2]
router.local(via=via, connect_timeout=50, python_path=['sh', '-c', command])
"""
    with Program(tmp_path, source, str(began), str(pid)) as program:
        child = program.pid()
        wait_file(began)
        wait_until(lambda: pid.exists() and pid.read_text().endswith("\n"))
        program.process.kill()
        wait_gone(child, AT_LAST)
        wait_gone(int(pid.read_text()), AT_ONCE)


# -- A child goes ------------------------------------------------------------------------------

DEATHS = {
    "killed": ("kill", int(signal.SIGKILL), "signal 9"),
    "terminated": ("kill", int(signal.SIGTERM), "signal 15"),
    "exited with an error": ("exit", 3, "status 3"),
    "exited": ("exit", 0, "status 0"),
    "was shut down": ("shutdown", 0, ""),
}


@pytest.mark.parametrize("death", DEATHS)
def test_the_end_of_a_child_ends_every_wait_on_it_at_once(router: Router, death: str) -> None:
    how, number, why = DEATHS[death]
    local = router.local()
    local.call(remote.identity, 1)
    ended: dict[str, tuple[float, BaseException | None]] = {}

    def wait(name: str, fn: Callable[[], object]) -> None:
        error = None
        try:
            fn()
        except BaseException as e:
            error = e
        ended[name] = time.monotonic(), error

    receivers = [mitogen.core.Receiver(router, respondent=local) for _ in range(4)]
    waits: dict[str, Callable[[], object]] = {
        "receiver": receivers[0].get,
        "with a time-out": lambda: receivers[1].get(timeout=30),
        "iteration": lambda: list(receivers[2]),
        "select": lambda: mitogen.select.Select([receivers[3]]).get().unpickle(),
    }
    if how != "shutdown":  # A context that is asked to end finishes its calls.
        waits["call"] = lambda: local.call(time.sleep, 60)
        waits["queued call"] = lambda: mitogen.parent.CallChain(local, timeout=60).call(time.sleep, 60)
    threads = [threading.Thread(target=wait, args=item) for item in waits.items()]
    if how != "shutdown":
        local.call(remote.die_soon, how, number, 0.15)
    for thread in threads:
        thread.start()
    started = time.monotonic()
    if how == "shutdown":
        time.sleep(0.05)
        local.shutdown(wait=True)
    for thread in threads:
        thread.join(AT_LAST)
    assert ended.keys() == waits.keys()
    for name, (when, error) in ended.items():
        assert when - started < 0.15 + AT_ONCE, name
        if name == "iteration":
            assert error is None
        else:
            assert isinstance(error, ChannelError), (name, error)
            assert local.name in str(error)
            assert why in str(error)
    assert max(when for when, _ in ended.values()) - min(when for when, _ in ended.values()) < 1.0


def test_a_call_to_a_context_that_is_gone_fails_at_once_and_says_so(local: Context) -> None:
    local.call_no_reply(remote.call_os_exit, 3)
    with pytest.raises(ChannelError):
        local.call(time.sleep, 60)
    for _ in range(2):
        started = time.monotonic()
        with pytest.raises(ChannelError, match=local.name.replace(".", r"\.")):
            local.call(remote.identity, 1)
        assert time.monotonic() - started < AT_ONCE
    with pytest.raises(ChannelError, match="status 3"):
        local.call(remote.identity, 1)
    local.call_no_reply(remote.identity, 1)
    assert local.shutdown(wait=True) is None


def test_the_result_that_came_before_the_end_is_not_lost(router: Router) -> None:
    for _ in range(5):
        local = router.local()
        receiver = local.call_async(remote.bytes_of, 10_000)
        local.call_no_reply(remote.call_os_exit, 0)
        assert len(receiver.get_data(10)) == 10_000


def test_a_large_result_before_a_shutdown_is_not_lost(router: Router) -> None:
    local = router.local()
    receiver = local.call_async(remote.bytes_of, 20 << 20)
    local.shutdown(wait=True)
    assert len(receiver.get_data(10)) == 20 << 20


def test_the_end_of_one_child_is_not_the_others(router: Router) -> None:
    first, second = router.local(), router.local()
    pid = second.call(os.getpid)
    os.kill(first.call(os.getpid), signal.SIGKILL)
    with pytest.raises(ChannelError):
        first.call(time.sleep, 60)
    assert second.call(os.getpid) == pid


def test_a_child_that_sends_nonsense_is_cut_off(router: Router) -> None:
    local = router.local()
    with pytest.raises(ChannelError, match=local.name.replace(".", r"\.")):
        local.call(remote.write_nonsense)


def test_a_child_whose_broker_fails_ends(router: Router) -> None:
    local = router.local()
    pid = local.call(os.getpid)
    with pytest.raises((ChannelError, CallError)):
        local.call(remote.break_broker)
    wait_gone(pid, AT_LAST)


@pytest.mark.parametrize("version", ["3.6", "3.11"])
def test_a_fork_of_a_child_does_not_hold_its_connection_open(
    router: Router, tmp_path: Path, version: str
) -> None:
    local = router.local(python_path=interpreters.find(version))
    fork = local.call(remote.fork_a_sleeper, str(tmp_path / "fork"))
    try:
        assert alive(fork)
        receiver = local.call_async(time.sleep, 60)
        started = time.monotonic()
        os.kill(_pid_of(router, local), signal.SIGKILL)
        with pytest.raises(ChannelError, match="signal 9"):
            receiver.get(timeout=AT_LAST)
        assert time.monotonic() - started < AT_ONCE
    finally:
        os.kill(fork, signal.SIGKILL)


def _pid_of(router: Any, context: Context) -> int:
    pid: int = router.connections[context.context_id].process.pid
    return pid


def test_the_fork_of_a_childs_function_gets_a_clear_error(local: Context) -> None:
    text = local.call(remote.use_after_fork)
    assert "forked" in text
    assert "Error" in text


# -- Programs that end badly -------------------------------------------------------------------

CONTEXT = "router = mitogen.master.Router(); c = router.local(); tell(c.call(os.getpid))\n"
BAD_PROGRAMS = {
    "forgets shutdown": ("tell(time.monotonic())", 0),
    "raises": ("tell(time.monotonic()); raise ValueError('x')", 1),
    "calls sys.exit": ("tell(time.monotonic()); sys.exit(3)", 3),
    "has a sleeping child": (
        "c.call_async(time.sleep, 60); time.sleep(0.1); tell(time.monotonic())",
        0,
    ),
    "has a busy child": ("c.call_async(remote.busy); time.sleep(0.3); tell(time.monotonic())", 0),
    "has a reading child": (
        "c.call_async(remote.read_pipe); time.sleep(0.2); tell(time.monotonic())",
        0,
    ),
    "leaves a thread that waits in a call": (
        "threading.Thread(target=c.call, args=(time.sleep, 60)).start(); time.sleep(0.1)\n"
        "tell(time.monotonic())",
        0,
    ),
    "leaves a thread that waits on a receiver": (
        "threading.Thread(target=mitogen.core.Receiver(router).get).start(); time.sleep(0.1)\n"
        "tell(time.monotonic())",
        0,
    ),
    "raises and leaves a thread": (
        "threading.Thread(target=mitogen.core.Receiver(router).get).start(); time.sleep(0.1)\n"
        "tell(time.monotonic()); raise ValueError('x')",
        1,
    ),
    "has two routers on one broker": (
        "other = mitogen.master.Router(router.broker); other.local(); tell(time.monotonic())",
        0,
    ),
    "has two brokers": ("mitogen.master.Router().local(); tell(time.monotonic())", 0),
    "shuts down but never joins": ("router.broker.shutdown(); tell(time.monotonic())", 0),
    "joins twice": (
        "tell(time.monotonic())\nfor i in 1, 2: router.broker.shutdown(); router.broker.join()",
        0,
    ),
    "leaves a with statement by an exception": (
        "tell(time.monotonic())\nwith router: raise ValueError('x')",
        1,
    ),
    "is connecting": (
        "threading.Thread(target=router.local, kwargs={'python_path': ['sleep', '60']}).start()\n"
        "time.sleep(0.1); tell(time.monotonic())",
        0,
    ),
}


@pytest.mark.parametrize("kind", BAD_PROGRAMS)
def test_a_program_that_ends_badly_exits_soon_with_its_children(tmp_path: Path, kind: str) -> None:
    source, status = BAD_PROGRAMS[kind]
    with Program(tmp_path, CONTEXT + source) as program:
        child = program.pid()
        ending = float(program.line())
        assert program.process.wait(AT_LAST) == status
        took = time.monotonic() - ending
        assert not alive(child)
        assert took < SOON, "took %.1f s" % took


@pytest.mark.parametrize("call", ["c.call(time.sleep, 60)", "mitogen.core.Receiver(router).get()"])
@pytest.mark.parametrize("idiom", ["", "with"])
def test_ctrl_c_ends_a_program_soon_with_its_children(tmp_path: Path, call: str, idiom: str) -> None:
    source = CONTEXT + ("with router: " if idiom else "") + call
    with Program(tmp_path, source) as program:
        child = program.pid()
        time.sleep(0.1)
        started = time.monotonic()
        program.process.send_signal(signal.SIGINT)
        assert program.exit_after(started, AT_LAST) in (-signal.SIGINT, 130)
        assert time.monotonic() - started < SOON
        assert not alive(child)
        assert "KeyboardInterrupt" in program.errors()


def test_ctrl_c_while_connecting_ends_a_program_with_what_it_started(tmp_path: Path) -> None:
    source = (
        "tell('go'); mitogen.master.Router().local(python_path=['sh', '-c', 'echo $$ >&2; sleep 60'])"
    )
    with Program(tmp_path, source) as program:
        program.line()
        time.sleep(0.3)
        started = time.monotonic()
        program.process.send_signal(signal.SIGINT)
        program.exit_after(started, AT_LAST)
        assert time.monotonic() - started < SOON


def test_sigterm_ends_a_program_and_its_children_follow(tmp_path: Path) -> None:
    with Program(tmp_path, CONTEXT + "time.sleep(60)") as program:
        child = program.pid()
        program.process.terminate()
        wait_gone(child, AT_LAST)


def test_os_exit_of_a_program_takes_its_children_along(tmp_path: Path) -> None:
    with Program(tmp_path, CONTEXT + "os._exit(0)") as program:
        wait_gone(program.pid(), AT_LAST)


def test_a_stubborn_child_does_not_outlive_the_program(tmp_path: Path) -> None:
    source = CONTEXT + "c.call_async(remote.deaf); time.sleep(0.2); tell(time.monotonic())"
    with Program(tmp_path, source) as program:
        child = program.pid()
        ending = float(program.line())
        assert program.process.wait(AT_LAST) == 0
        assert not alive(child)
        assert time.monotonic() - ending < SOON


def test_a_program_is_quiet_when_all_is_well(tmp_path: Path) -> None:
    with Program(tmp_path, CONTEXT) as program:
        child = program.pid()
        assert program.process.wait(AT_LAST) == 0
        assert program.errors() == ""
        assert not alive(child)


# -- Waits in the master after its broker ended --------------------------------------------------


def test_waits_end_with_the_broker(tmp_path: Path) -> None:
    router = mitogen.master.Router()
    local = router.local()
    receiver = mitogen.core.Receiver(router)
    errors: list[BaseException] = []

    def wait(fn: Callable[..., object], *args: object) -> None:
        try:
            fn(*args)
        except BaseException as e:
            errors.append(e)

    threads = [
        threading.Thread(target=wait, args=(receiver.get,)),
        threading.Thread(target=wait, args=(local.call, remote.sleep, 60, str(tmp_path / "began"))),
    ]
    for thread in threads:
        thread.start()
    asleep(receiver._latch)
    wait_file(tmp_path / "began")
    started = time.monotonic()
    router.broker.shutdown()
    router.broker.join()
    for thread in threads:
        thread.join(AT_LAST)
    assert time.monotonic() - started < AT_ONCE
    # A running call is interrupted; whether that or the end of the link is told first is a race.
    for error in errors:
        assert isinstance(error, (ChannelError, CallError))
        assert "shut" in str(error)
    assert len(errors) == 2
    uses: list[Callable[[], object]] = [
        lambda: local.call(os.getpid),
        lambda: local.call_async(os.getpid).get(),
        lambda: router.local(),
        lambda: mitogen.core.Receiver(router).get(),
        lambda: receiver.get(),
    ]
    for use in uses:
        started = time.monotonic()
        with pytest.raises(mitogen.core.Error, match="shut"):
            use()
        assert time.monotonic() - started < AT_ONCE


# -- Context.shutdown --------------------------------------------------------------------------


def test_shutdown_of_an_idle_context(router: Router) -> None:
    local = router.local()
    pid = local.call(os.getpid)
    started = time.monotonic()
    assert local.shutdown(wait=True) is None
    assert time.monotonic() - started < AT_ONCE
    assert not os.path.exists("/proc/%d" % pid)
    with pytest.raises(ChannelError):
        local.call(os.getpid)
    assert local.shutdown(wait=True) is None


def test_shutdown_lets_queued_calls_finish(router: Router) -> None:
    local = router.local()
    first = local.call_async(time.sleep, 0.2)
    second = local.call_async(remote.identity, 2)
    local.shutdown(wait=True)
    assert first.get_data() is None
    assert second.get_data() == 2


def test_the_latch_of_shutdown_can_be_waited_on_in_steps(router: Router, tmp_path: Path) -> None:
    local = router.local()
    pid = local.call(os.getpid)
    local.call_async(remote.wait_for, str(tmp_path / "go"))
    latch = local.shutdown()
    assert latch is not None
    with pytest.raises(TimeoutError):
        latch.get(timeout=0.1)
    assert alive(pid)
    (tmp_path / "go").touch()
    assert latch.get(timeout=AT_LAST) is None
    assert not os.path.exists("/proc/%d" % pid)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, router: Router) -> None:
    """Shorten the parent's patience, so that the test need not have it."""
    monkeypatch.setattr(connection, "_TERM_AFTER", 0.3)
    monkeypatch.setattr(connection, "_KILL_AFTER", 0.3)
    router.broker.shutdown_timeout = 0.5


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fn", [remote.sleep, remote.busy, remote.stubborn, remote.deaf])
def test_shutdown_ends_a_context_that_hangs_in_a_call(
    router: Router, tmp_path: Path, fn: Callable[..., None]
) -> None:
    local = router.local()
    pid = local.call(os.getpid)
    local.call(remote.set_shutdown_timeout, 0.2)
    if fn is remote.sleep:
        receiver = local.call_async(fn, 60)
    else:
        receiver = local.call_async(fn, str(tmp_path / "began"))
        wait_file(tmp_path / "began")
    local.shutdown(wait=True)
    assert not os.path.exists("/proc/%d" % pid)
    with pytest.raises((ChannelError, CallError)):
        receiver.get_data(AT_LAST)


@pytest.mark.usefixtures("impatient")
def test_shutdown_ends_a_stopped_process(router: Router) -> None:
    local = router.local()
    pid = local.call(os.getpid)
    os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    local.shutdown(wait=True)
    assert time.monotonic() - started < SOON
    assert not os.path.exists("/proc/%d" % pid)
    with pytest.raises(ChannelError, match="killed"):
        local.call(os.getpid)


def test_with_its_usual_patience_shutdown_ends_a_stopped_process_too(tmp_path: Path) -> None:
    """The end of a program, with a child that is stopped."""
    source = CONTEXT + "os.kill(c.call(os.getpid), signal.SIGSTOP); tell(time.monotonic())"
    with Program(tmp_path, source) as program:
        child = program.pid()
        ending = float(program.line())
        assert program.process.wait(AT_LAST) == 0
        assert not alive(child)
        assert time.monotonic() - ending < SOON


def test_exit_functions_of_a_child_run(router: Router, tmp_path: Path) -> None:
    local = router.local()
    local.call(remote.register_exit, str(tmp_path / "exit"))
    local.shutdown(wait=True)
    assert (tmp_path / "exit").read_text() == "exit function ran"


def test_a_thread_of_the_childs_program_does_not_hold_up_its_end(router: Router) -> None:
    local = router.local()
    local.call(remote.start_thread_that_stays)
    started = time.monotonic()
    local.shutdown(wait=True)
    assert time.monotonic() - started < AT_ONCE


# -- fork in the master ------------------------------------------------------------------------


def test_use_after_fork_is_an_error_at_once_and_the_parent_is_unharmed(tmp_path: Path) -> None:
    source = (
        CONTEXT
        + """\
receiver = mitogen.core.Receiver(router, respondent=c)
select = mitogen.select.Select([receiver], oneshot=False)
pending = c.call_async(time.sleep, 0.5)
results = []
thread = threading.Thread(target=lambda: results.append(c.call(remote.identity, 'thread')))
thread.start()
uses = [
    lambda: c.call(os.getpid), lambda: c.call_async(os.getpid), lambda: c.call_no_reply(os.getpid),
    lambda: router.local(), lambda: receiver.get(), lambda: receiver.get(timeout=5),
    lambda: receiver.get_data(), lambda: pending.get(), lambda: mitogen.core.Receiver(router).get(),
    lambda: c.send(mitogen.core.Message(handle=1)), lambda: c.shutdown(), lambda: c.shutdown(wait=True),
    lambda: c.send_await(mitogen.core.Message(handle=1)), lambda: router.broker.defer_sync(int),
    lambda: select.get(), lambda: receiver.to_sender().send(1), lambda: mitogen.core.Sender(c, 5).send(1),
]
pid = os.fork()
if pid == 0:
    signal.alarm(40)
    for number, use in enumerate(uses):
        started = time.monotonic()
        try:
            use()
            outcome = 'no error'
        except mitogen.core.Error as e:
            outcome = 'clear' if 'fork' in str(e) else 'unclear: %s' % e
        except BaseException as e:
            outcome = repr(e)
        if time.monotonic() - started > 4:
            outcome += ' late'
        tell(number, outcome)
    router.broker.shutdown(); router.broker.join()
    with mitogen.master.Router() as new:
        tell('new', new.local().call(remote.identity, 1))
    tell('end')
    sys.exit(5)  # Runs the exit functions that the parent registered.
status = os.waitpid(pid, 0)[1]
tell('status', os.WEXITSTATUS(status) if os.WIFEXITED(status) else status)
tell(pending.get_data(), c.call(remote.identity, 'fine'))
thread.join(); tell(results)
router.broker.shutdown(); router.broker.join()
"""
    )
    with Program(tmp_path, source) as program:
        program.pid()
        lines: list[str] = []
        while not lines or lines[-1] != "end":
            lines.append(program.line())
        outcomes = [line.partition(" ")[2] for line in lines[:-2]]
        assert outcomes == ["clear"] * 17, "\n".join(lines)
        assert lines[-2] == "new 1"
        assert program.line() == "status 5"
        assert program.line() == "None fine"
        assert program.line() == "['thread']"
        assert program.process.wait(AT_LAST) == 0
        assert program.errors() == ""


def test_a_fork_at_any_moment_gets_errors_not_deadlocks(tmp_path: Path) -> None:
    """Whatever locks the other threads held at that moment, they hold for ever in the fork."""
    source = (
        CONTEXT
        + """\
receiver = mitogen.core.Receiver(router)
select = mitogen.select.Select([receiver], oneshot=False)
ending = []

def call():
    while not ending:
        c.call(remote.identity, b'x' * 300000)

def post():
    while not ending:
        receiver.to_sender().send(1); select.get(); select.remove(receiver); select.add(receiver)

threads = [threading.Thread(target=fn) for fn in (call, call, post)]
for thread in threads: thread.start()
uses = [
    lambda: c.call(os.getpid), lambda: c.call_no_reply(os.getpid), lambda: router.local(),
    lambda: receiver.get(), lambda: select.get(), lambda: receiver.to_sender().send(1),
    lambda: c.shutdown(wait=True), lambda: router.broker.defer_sync(int),
]
for number in range(12):
    time.sleep(0.003)
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        for use in uses:
            try: use()
            except mitogen.core.Error: pass
        router.broker.shutdown(); router.broker.join()
        os._exit(5)
    tell(os.waitpid(pid, 0)[1])
ending.append(1)
for thread in threads: thread.join()
router.broker.shutdown(); router.broker.join()
"""
    )
    with Program(tmp_path, source) as program:
        program.pid()
        assert [int(program.line()) for _ in range(12)] == [5 << 8] * 12
        assert program.process.wait(AT_LAST) == 0
        assert program.errors() == ""


def test_multiprocessing_works_beside_contexts(tmp_path: Path) -> None:
    source = (
        "import multiprocessing, warnings; warnings.simplefilter('ignore')\n"
        "if __name__ == '__main__':\n"
        "    router = mitogen.master.Router(); c = router.local(); tell(c.call(os.getpid))\n"
        "    with multiprocessing.get_context('fork').Pool(2) as pool:\n"
        "        tell(pool.map(abs, [-1, -2]))\n"
        "    tell(c.call(remote.identity, 1))\n"
    )
    with Program(tmp_path, source) as program:
        program.pid()
        assert program.line() == "[1, 2]"
        assert program.line() == "1"
        assert program.process.wait(AT_LAST) == 0
        assert program.errors() == ""


# -- Connections that fail -----------------------------------------------------------------------


#: What a first stage says that finds no core.
HELLO = "MITOGEN1 %d.%d.%d - - linux -" % sys.version_info[:3]


def connect_error(router: Router, within: float, **kwargs: Any) -> str:
    """Return the text of the error of `router.local`, which must come in time."""
    started = time.monotonic()
    with pytest.raises(StreamError) as info:
        router.local(**kwargs)
    assert time.monotonic() - started < within
    return str(info.value)


def test_a_missing_program(router: Router) -> None:
    text = connect_error(router, SOON, python_path="/no/such/python")
    assert "/no/such/python" in text
    assert "No such file" in text
    text = connect_error(router, SOON, python_path="no-such-python-on-the-path")
    assert "no-such-python-on-the-path" in text


def test_a_program_that_may_not_be_executed(router: Router, tmp_path: Path) -> None:
    path = tmp_path / "python"
    path.write_text("#!/bin/sh\n")
    assert str(path) in connect_error(router, SOON, python_path=str(path))


def test_a_program_that_exits_at_once_is_quoted(router: Router) -> None:
    command = ["sh", "-c", "echo 'the reason, in its own words' >&2; exit 7"]
    text = connect_error(router, SOON, python_path=command)
    assert "the reason, in its own words" in text
    assert "status 7" in text
    text = connect_error(router, SOON, python_path=["sh", "-c", "kill -9 $$"])
    assert "signal 9" in text
    text = connect_error(router, SOON, python_path=["true"])
    assert "status 0" in text


def test_a_program_that_says_something_else_and_hangs(router: Router) -> None:
    command = ["sh", "-c", "echo 'Welcome to nowhere'; exec sleep 60"]
    text = connect_error(router, SOON, python_path=command, connect_timeout=1.5)
    assert "timed out" in text
    assert "1.5" in text
    assert "Welcome to nowhere" in text


def test_a_program_that_floods_is_bounded(router: Router) -> None:
    for command in "exec yes", "exec cat /dev/zero", "exec yes >&2":
        text = connect_error(router, SOON, python_path=["sh", "-c", command], connect_timeout=0.2)
        assert len(text) < 20_000


def test_a_program_that_ignores_sigterm_and_hangs(router: Router) -> None:
    command = ["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"]
    assert "timed out" in connect_error(router, SOON, python_path=command, connect_timeout=0.2)


def test_a_program_that_hangs_is_ended_where_it_can_not_lead_a_session(
    router: Router, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with interpreters that were built for an old system library."""
    spawn, path = os.posix_spawnp, tmp_path / "pid"

    def without_setsid(*args: Any, **options: Any) -> int:
        if options.get("setsid"):
            raise NotImplementedError
        return spawn(*args, **options)

    monkeypatch.setattr(os, "posix_spawnp", without_setsid)
    command = ["sh", "-c", "echo $$ > %s; exec sleep 60" % path]
    assert "timed out" in connect_error(router, SOON, python_path=command, connect_timeout=0.5)
    wait_gone(int(path.read_text()), SOON)


def test_failed_connections_are_cleaned_up_at_once(router: Router) -> None:
    """Not only when the program ends: it may try again for days."""
    command = ["sh", "-c", "exec sleep 60"]
    connect_error(router, SOON, python_path=command, connect_timeout=0.1)
    descriptors = len(os.listdir("/proc/self/fd"))
    wait_until(
        lambda: not any(isinstance(s, mitogen.parent.Process) for s in list(router.broker.streams))
    )
    for _ in range(5):
        connect_error(router, SOON, python_path=["false"])
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)


def test_python_2_gets_an_error_with_its_version_and_the_floor(router: Router) -> None:
    text = connect_error(router, SOON, python_path=interpreters.find(interpreters.TOO_OLD))
    assert "Python 2.7.18" in text
    assert "3.6" in text


def test_an_error_after_the_hello_is_told(router: Router) -> None:
    """The core can't come up: the connection ends, and so do calls on it."""
    command = ["sh", "-c", "echo '%s'; echo 'it broke' >&2; exit 9" % HELLO]
    started = time.monotonic()
    with pytest.raises(mitogen.core.Error, match=r"status 9: it broke"):
        router.local(python_path=command).call(os.getpid)
    assert time.monotonic() - started < SOON


def test_a_core_that_never_comes_up_runs_into_the_deadline(router: Router) -> None:
    command = ["sh", "-c", "echo '%s'; exec sleep 60" % HELLO]
    started = time.monotonic()
    with pytest.raises(mitogen.core.Error, match="timed out: waited .* for its core to start"):
        router.local(python_path=command, connect_timeout=0.3).call(os.getpid)
    assert time.monotonic() - started < SOON


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [({"remote_name": "a/b"}, "slash"), ({"connect_timeout": 0}, "connect_timeout")],
)
def test_wrong_options_are_refused(router: Router, kwargs: dict[str, Any], text: str) -> None:
    assert text in connect_error(router, SOON, **kwargs)


def test_a_program_can_wait_for_many_connections_that_fail(router: Router) -> None:
    errors: list[BaseException] = []

    def connect() -> None:
        try:
            router.local(python_path=["sh", "-c", "exit 1"])
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=connect) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(AT_LAST)
    assert [type(e) for e in errors] == [StreamError] * 20


# -- Detaching -----------------------------------------------------------------------------------


def test_a_detached_child_lives_on_and_waits_on_it_end(router: Router, tmp_path: Path) -> None:
    local = router.local()
    pid = local.call(os.getpid)
    path, go = tmp_path / "later", tmp_path / "go"
    with pytest.raises(ChannelError, match="detached"):
        local.call(remote.detach_and_write, str(path), str(go))
    # The wait did not take as long as the child's life, which ends no earlier than this.
    assert alive(pid)
    assert not path.exists()
    go.touch()
    assert wait_file(path) == str(pid)
    wait_gone(pid, AT_LAST)


def test_a_detached_child_outlives_the_program(tmp_path: Path) -> None:
    path, go = tmp_path / "later", tmp_path / "go"
    source = CONTEXT + "c.call_async(remote.detach_and_write, *sys.argv[1:]).get(throw_dead=False)"
    with Program(tmp_path, source, str(path), str(go)) as program:
        pid = program.pid()
        assert program.process.wait(AT_LAST) == 0
        assert alive(pid)
        go.touch()
        assert wait_file(path) == str(pid)
        wait_gone(pid, AT_LAST)


def test_a_context_detaches_once(router: Router, tmp_path: Path) -> None:
    local = router.local()
    pid = local.call(os.getpid)
    path = tmp_path / "told"
    with pytest.raises(ChannelError, match="detached"):
        local.call(remote.detach_and_stay, str(path))
    text = wait_file(path)
    assert text.startswith("detached\n")
    assert "already" in text
    wait_gone(pid, AT_LAST)  # The broker reaps it, as long as it runs.


# -- The first stage -----------------------------------------------------------------------------

PAYLOAD = bundle.frame((b"code", b"x" * 4096))
#: Where a payload may break off: what is in front of the first item is the header.
BREAKS = {
    "nothing": 0,
    "half a header": 4,
    "a header": PAYLOAD.index(b"code") - 12,
    "half a payload": 2048,
}


class FirstStage:
    """A first stage on its own, with ends of pipes in our hands."""

    def __init__(self, python: str, blocking: bool = True) -> None:
        read_fd, self.stdin = os.pipe()
        self.stdout, write_fd = os.pipe()
        os.set_blocking(read_fd, blocking)
        argv = [python, "-S", "-c", bootstrap.first_stage(True)]
        self.process = subprocess.Popen(argv, stdin=read_fd, stdout=write_fd)
        os.close(read_fd)
        os.close(write_fd)
        self.hello = b""
        while not self.hello.endswith(b"\n"):
            data = os.read(self.stdout, 4096)
            assert data
            self.hello += data

    def close_stdin(self) -> None:
        if self.stdin >= 0:
            os.close(self.stdin)
            self.stdin = -1

    def __enter__(self) -> FirstStage:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close_stdin()
        os.close(self.stdout)
        self.process.kill()
        self.process.wait()


ALL_PYTHONS = [interpreters.TOO_OLD, *interpreters.SUPPORTED]


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("version", ALL_PYTHONS)
def test_the_first_stage_ends_with_its_input(version: str, blocking: bool) -> None:
    for size in BREAKS.values():
        with FirstStage(interpreters.find(version), blocking) as stage:
            os.write(stage.stdin, PAYLOAD[:size])
            stage.close_stdin()
            assert stage.process.wait(AT_LAST) == 1


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("version", ALL_PYTHONS)
def test_the_first_stage_waits_without_spinning(version: str, blocking: bool) -> None:
    with FirstStage(interpreters.find(version), blocking) as stage:
        os.write(stage.stdin, PAYLOAD[: BREAKS["half a payload"]])
        time.sleep(0.05)
        before = cpu_seconds(stage.process.pid)
        time.sleep(0.25)
        assert cpu_seconds(stage.process.pid) - before <= 0.03
        if blocking or version != "2.7":  # Which has said that it is too old, and need not wait.
            assert stage.process.poll() is None


@pytest.mark.parametrize("blocking", [True, False])
def test_the_first_stage_copes_with_any_chunking(blocking: bool) -> None:
    content = (compile("os.write(1, t[1]); os._exit(5)", "test", "exec"), b"it runs" * 10)
    with FirstStage(sys.executable, blocking) as stage:
        for byte in bundle.frame(content):
            os.write(stage.stdin, bytes([byte]))
        assert os.read(stage.stdout, 1000) == b"it runs" * 10
        assert stage.process.wait(AT_LAST) == 5


@pytest.mark.parametrize("version", ALL_PYTHONS)
def test_the_first_stage_says_what_it_runs_on(version: str) -> None:
    with FirstStage(interpreters.find(version)) as stage:
        hello = bootstrap.Hello(stage.hello.rstrip(b"\n"))
        if version != "pypy3":
            assert hello.version_text.startswith(version + ".")
        assert hello.too_old == (version == interpreters.TOO_OLD)
        assert hello.same_code == (version == "%d.%d" % sys.version_info[:2])


def test_a_child_whose_stdin_was_made_non_blocking_comes_up(router: Router) -> None:
    """As sudo does with its `log_output` option."""
    wrapper = "import os, sys; os.set_blocking(0, False); os.execv(sys.argv[1], sys.argv[1:])"
    local = router.local(python_path=[sys.executable, "-c", wrapper, sys.executable])
    assert local.call(remote.descriptor_flags) == [True, True, True]
    assert len(local.call(remote.identity, b"x" * 5_000_000)) == 5_000_000
