"""Contexts that are forks of the program, or of another context.

The copy starts with everything that the original has in memory, and shares nothing else with it.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import threading
import time
from typing import TYPE_CHECKING

import pytest

import mitogen.core
import mitogen.fork
import mitogen.master
from mitogen.core import CallError, ChannelError, Receiver, StreamError
from mitogen.fork import alone
from tests import interpreters
from tests.integration import remote
from tests.integration.programs import ROOT, Program, wait_gone, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from mitogen.core import ExternalContext
    from mitogen.master import Router
    from mitogen.parent import Context

#: What no serialization would carry.
rich: Any = None


def get_rich() -> str:
    return repr(rich())


def draw() -> tuple[float, float]:
    return random.random(), random.SystemRandom().random()


def fail() -> None:
    raise ValueError("so it went")


def fail_later(econtext: ExternalContext) -> None:
    print("before it went")
    raise ValueError("so it went")


# -- A context like any other ------------------------------------------------------------------


@pytest.fixture
def fork(router: Router) -> Context:
    return router.fork()


def test_it_is_a_child_of_this_process_with_an_identity_of_its_own(fork: Context) -> None:
    pid, parent, context_id, parent_ids, is_master = fork.call(remote.whereabouts)
    assert parent == os.getpid()
    assert fork.name == "fork.%d" % pid
    assert (context_id, parent_ids, is_master) == (fork.context_id, [0], False)
    assert fork.python_version == tuple(sys.version_info[:3])
    assert mitogen.is_master


def test_calls_return_raise_and_can_be_cancelled(fork: Context) -> None:
    assert fork.call(remote.echo, 1, a=b"2") == ((1,), {"a": b"2"})
    with pytest.raises(CallError, match="ValueError: text"):
        fork.call(remote.raise_named, "ValueError", "text")
    chain = mitogen.parent.CallChain(fork, timeout=0.2)
    with pytest.raises(mitogen.core.TimeoutError):
        chain.call(remote.sleep, 60)
    assert fork.call(remote.identity, "fine") == "fine"
    assert len(fork.call(remote.bytes_of, 10_000_000)) == 10_000_000


def test_state_is_inherited_and_then_its_own(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "inherited", "from the master")
    monkeypatch.setattr(sys.modules[__name__], "rich", lambda: "not serializable")
    fork = router.fork()
    remote.set_inherited("too late")
    assert fork.call(remote.get_inherited) == "from the master"
    assert fork.call(get_rich) == "'not serializable'"
    fork.call(remote.set_inherited, "its own")
    assert remote.inherited == "too late"


def test_functions_of_the_program_itself_need_not_be_fetched(tmp_path: Path) -> None:
    """Its `__main__` may not even be fit to be sent: this one has no guard."""
    source = """\
import mitogen.parent
argument = sys.argv[1]
def get(): return argument, sys.argv[1:], __name__
with mitogen.master.Router() as router:
    fork = router.fork()
    tell(fork.call(get))
    tell(fork.call_aside(get))
"""
    with Program(tmp_path, source, "given") as program:
        assert program.line() == "('given', ['given'], '__main__')"
        assert program.line() == "('given', ['given'], '__main__')"
        assert program.process.wait(10) == 0
        assert program.errors() == ""


def test_it_ends_on_shutdown_and_its_process_is_waited_for(fork: Context) -> None:
    pid = fork.call(os.getpid)
    fork.shutdown(wait=True)
    wait_gone(pid, 0.5)
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)
    with pytest.raises(ChannelError):
        fork.call(os.getpid)


def test_the_end_of_its_process_ends_calls_with_the_reason(fork: Context) -> None:
    pending = fork.call_async(remote.sleep, 60)
    os.kill(int(fork.name.partition(".")[2]), signal.SIGKILL)
    with pytest.raises(ChannelError, match=r"fork context fork\.\d+: its process was killed by signal 9"):
        pending.get()


def test_log_records_and_output_are_forwarded_once(
    router: Router, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    fork = router.fork()
    fork.call(remote.log, "a.logger", 30, "of the %s", "fork")
    fork.call(remote.say, "said")
    fork.call(remote.say_error, "complained")
    fork.call(remote.run_echo, "by a program")
    fork.shutdown(wait=True)
    texts = [record.getMessage() for record in caplog.records]
    for text in ("of the fork", "said", "complained", "by a program"):
        assert sum(text in one for one in texts) == 1, texts
    assert fork.name in " ".join(record.name for record in caplog.records)


def test_handlers_of_the_program_are_not_used_twice(fork: Context) -> None:
    handlers, finders = fork.call(remote.handler_names)
    assert handlers == ["ForwardHandler"]
    assert finders.count("Importer") == 1


def test_a_module_that_it_lacks_comes_from_its_parent(
    router: Router, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork = router.fork()
    # Only now, so that the copy does not know of the folder.
    (tmp_path / "only_here_later.py").write_text("def f(): return __file__\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import only_here_later  # type: ignore[import-not-found]

    assert fork.call(only_here_later.f).startswith("master:")
    with pytest.raises(CallError, match="ModuleNotFoundError: No module named 'nowhere_at_all'"):
        fork.call(remote.find_spec, "nowhere_at_all.x")


def test_it_starts_contexts_of_its_own(router: Router) -> None:
    fork = router.fork()
    local = router.local(via=fork)
    assert local.call(remote.whereabouts)[1] == fork.call(os.getpid)
    assert local.call(remote.identity, 1) == 1


def test_debug_and_profiling(router: Router) -> None:
    fork = router.fork(debug=True, profiling=True)
    pid = fork.call(os.getpid)
    fork.shutdown(wait=True)
    for path in (
        "/tmp/mitogen.%d.log" % pid,
        "/tmp/mitogen.stats.%d.main.log" % pid,
        "/tmp/mitogen.stats.%d.broker.log" % pid,
    ):
        assert os.path.exists(path)
        os.unlink(path)


# -- What is not shared ------------------------------------------------------------------------


def test_no_descriptor_of_the_parent_is_inherited(router: Router, tmp_path: Path) -> None:
    other = router.local()
    read_fd, write_fd = os.pipe()
    with (tmp_path / "open").open("w"):
        before = remote.open_files()
        fork = router.fork()
        found = fork.call(remote.open_files)
    os.close(write_fd)
    end = os.read(read_fd, 1)
    os.close(read_fd)
    assert end == b""  # Nobody else holds the other end.
    # Event polls have no names.
    shared = set(found.values()) & set(before.values()) - {"/dev/null", "anon_inode:[eventpoll]"}
    assert not shared
    # Its own end of the link twice, its broker's poll and pipe, and pipes for output and a thread.
    assert len([path for path in found.values() if path != "/dev/null"]) <= 12, found
    assert other.call(remote.identity, 1) == 1


def test_a_descriptor_that_the_program_closes_in_the_fork_is_nothing_of_ours(router: Router) -> None:
    """Objects of the program close what they think is theirs, whenever they are collected."""
    fds = [os.dup(0) for _ in range(20)]
    try:
        fork = router.fork(on_start=lambda econtext: list(map(os.close, fds)))
        assert fork.call(remote.identity, 1) == 1
    finally:
        for fd in fds:
            os.close(fd)


def test_buffered_output_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    source = (
        "file = open(sys.argv[1], 'w'); file.write('to a file')\n"
        "print('to stdout', end=' ')\n"
        "with mitogen.master.Router() as router:\n"
        "    fork = router.fork()\n"
        "    fork.call(os.getpid)\n"
        "    fork.shutdown(wait=True)\n"
    )
    with Program(tmp_path, source, str(path)) as program:
        assert program.process.stdout is not None
        assert program.process.stdout.read() == "to stdout "
        assert program.errors() == ""
    assert path.read_text() == "to a file"


def test_exit_functions_of_the_parent_do_not_run_in_it(tmp_path: Path) -> None:
    source = """\
import atexit, tempfile, weakref
folder = tempfile.TemporaryDirectory()
atexit.register(lambda: os.write(1, b'exit of %d\\n' % os.getpid()))
def register(path): atexit.register(lambda: open(path, 'w').close())
with mitogen.master.Router() as router:
    fork = router.fork()
    fork.call(register, sys.argv[1])
    fork.shutdown(wait=True)
    tell(os.path.exists(sys.argv[1]), os.path.exists(folder.name), os.getpid())
"""
    with Program(tmp_path, source, str(tmp_path / "exited")) as program:
        exited, folder, pid = program.line().split()
        assert (exited, folder) == ("True", "True")
        assert program.line() == "exit of " + pid
        assert program.errors() == ""


def test_random_numbers_differ(router: Router) -> None:
    random.seed(1)
    found = [router.fork().call(draw) for _ in range(3)]
    assert len({number for numbers in found for number in numbers}) == 6


def get_threads() -> tuple[str, list[str]]:
    return threading.main_thread().name, [thread.name for thread in threading.enumerate()]


def test_it_has_one_main_thread(fork: Context) -> None:
    assert fork.call(get_threads) == ("MainThread", ["MainThread"])


# -- Functions of the program ------------------------------------------------------------------


def test_on_fork_comes_before_on_start_and_that_before_calls(
    router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "inherited", "")
    fork = router.fork(on_fork=remote.note_fork, on_start=remote.note_start)
    assert fork.call(remote.get_inherited) == "on_fork, on_start in %d" % fork.context_id
    assert remote.inherited == ""


def test_on_fork_may_close_what_is_the_parents(router: Router, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("w") as file:
        file.write("once")
        fork = router.fork(on_fork=file.close)
        assert fork.call(remote.identity, 1) == 1
    assert path.read_text() == "once"


def test_on_start_may_be_a_main_function_that_sends_and_receives(router: Router) -> None:
    receiver = Receiver(router)
    sender = receiver.to_sender()

    def main(econtext: ExternalContext) -> None:
        inbox = Receiver(econtext.router)
        econtext.master.send(
            mitogen.core.Message.pickled((inbox.to_sender(), os.getpid()), handle=sender.dst_handle)
        )
        for msg in inbox:
            econtext.master.send(
                mitogen.core.Message.pickled(msg.unpickle() * 2, handle=sender.dst_handle)
            )

    fork = router.fork(on_start=main)
    other, pid = receiver.get().unpickle()
    assert fork.name == "fork.%d" % pid
    other.send(21)
    assert receiver.get().unpickle() == 42
    pending = fork.call_async(remote.identity, "after it")
    other.close()
    assert pending.get().unpickle() == "after it"


def test_a_main_function_is_interrupted_at_the_end(router: Router, tmp_path: Path) -> None:
    path = tmp_path / "interrupted"

    def main(econtext: ExternalContext) -> None:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            path.touch()
            raise

    started = time.monotonic()
    router.fork(on_start=main)
    router.broker.shutdown()
    router.broker.join()
    assert time.monotonic() - started < 5
    assert path.exists()


def test_an_exception_of_on_fork_is_told(router: Router) -> None:
    with pytest.raises(StreamError, match=r"(?s)fork context fork\.\d+.*on_fork.*ValueError: so it went"):
        router.fork(on_fork=fail)


def test_an_exception_of_on_start_is_told(router: Router, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with pytest.raises(
        StreamError, match=r"(?s)fork context fork\.\d+.*on_start.*ValueError: so it went"
    ):
        router.fork(on_start=fail_later)
    deadline = time.monotonic() + 10
    while "before it went" not in caplog.text:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_late_exception_of_on_start_is_the_reason_for_the_end(router: Router, tmp_path: Path) -> None:
    go = tmp_path / "go"

    def main(econtext: ExternalContext) -> None:
        while not go.exists():
            time.sleep(0.01)
        fail()

    fork = router.fork(on_start=main)
    pending = fork.call_async(os.getpid)
    go.touch()
    with pytest.raises(ChannelError, match=r"(?s)on_start.*ValueError: so it went"):
        pending.get()


def test_exit_in_a_function_ends_the_fork_only(router: Router) -> None:
    for function in (sys.exit, lambda: os._exit(3)):
        with pytest.raises(StreamError, match="SystemExit|exited with status 3"):
            router.fork(on_fork=function)


CAUSES = {
    "the exception of a signal's handler": """\
    fork = router.fork()
    pid = fork.call(os.getpid)
    try:
        # One that comes in a call is an error of the call.
        while not fork.reason:
            os.kill(pid, signal.SIGTERM)
            time.sleep(0.02)
    except ProcessLookupError:
        pass
    os.kill(os.getpid(), signal.SIGKILL)
""",
    "an exception that nobody is left to read": """\
    def fail():
        parent = os.getppid()
        os.kill(parent, signal.SIGKILL)
        while os.getppid() == parent:
            time.sleep(0.01)
        note('ending')
        raise ValueError
    router.fork(on_fork=fail)
""",
}


@pytest.mark.parametrize("cause", CAUSES)
def test_the_code_of_the_program_never_goes_on_in_the_fork(tmp_path: Path, cause: str) -> None:
    notes = tmp_path / "notes"
    source = """\
def note(text):
    with open(sys.argv[1], 'a') as f:
        f.write('%%s %%d\\n' %% (text, os.getpid()))
def end(signum, frame):
    note('ending')
    sys.exit()
signal.signal(signal.SIGTERM, end)
router = mitogen.master.Router()
try:
%s
finally:
    note('going on')
"""
    with Program(tmp_path, source % CAUSES[cause], str(notes)) as program:
        assert program.process.wait(10) == -signal.SIGKILL
    wait_until(notes.exists)
    wait_gone(int(notes.read_text().split()[1]), 10)
    assert "going on" not in notes.read_text()


def test_a_deaf_on_fork_ends_by_the_deadline(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mitogen.parent.options.CONNECT_TIMEOUT", 0.3)
    with pytest.raises(StreamError, match=r"timed out: waited 0\.3 seconds"):
        router.fork(on_fork=lambda: time.sleep(60))


def test_what_is_no_function_is_refused(router: Router) -> None:
    with pytest.raises(TypeError, match="on_start must be a function or None, not 5"):
        router.fork(on_start=5)  # type: ignore[arg-type]


# -- Threads -----------------------------------------------------------------------------------


@pytest.fixture
def thread() -> Iterator[threading.Thread]:
    ending = threading.Event()
    thread = threading.Thread(target=ending.wait, name="of the program")
    thread.start()
    yield thread
    ending.set()
    thread.join()


def test_another_thread_is_refused_with_the_way_out(
    router: Router, local: Context, thread: threading.Thread
) -> None:
    with pytest.raises(StreamError, match=r"1 other thread \(of the program\).*or use local\(\)"):
        router.fork()
    assert local.call(remote.identity, 1) == 1


def test_a_thread_that_ends_soon_is_waited_for(router: Router) -> None:
    import _thread

    _thread.start_new_thread(time.sleep, (0.1,))
    assert router.fork().call(remote.identity, 1) == 1


def test_another_thread_can_not_fork(router: Router) -> None:
    errors: list[str] = []

    def run() -> None:
        try:
            router.fork()
        except StreamError as e:
            errors.append(str(e))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert "1 other thread (MainThread)" in errors[0]


def test_other_contexts_go_on_while_it_forks(router: Router) -> None:
    """The thread that forks sends calls and forks in turn; answers come in while brokers are parked."""
    others = [router.local(), router.local()]
    pending = []
    size = 300_000
    for number in range(50):
        for other in others:
            pending.append(other.call_async(remote.identity, (number, b"x" * size)))
        fork = router.fork()
        pending.append(fork.call_async(remote.identity, (number, b"x" * size)))
        fork.shutdown()
    for index, receiver in enumerate(pending):
        assert receiver.get().unpickle() == (index // 3, b"x" * size)


def test_several_brokers_are_parked(router: Router) -> None:
    with mitogen.master.Router() as second:
        contexts = [one.fork() for one in (router, second, router)]
        contexts += [one.local() for one in (router, second)]
        assert [context.call(remote.identity, 1) for context in contexts] == [1] * 5
        broker = mitogen.core.Broker()
        broker.shutdown()
        assert second.fork().call(remote.identity, 1) == 1
        broker.join()


def test_deferred_calls_and_timers_run_afterwards(router: Router) -> None:
    latch = mitogen.core.Latch()
    broker = router.broker
    broker.defer_sync(lambda: broker.call_later(0.05, lambda: latch.put("timer")))
    real = alone._wait_for_tasks

    def wait_for_tasks() -> None:
        broker.defer(latch.put, "deferred")
        time.sleep(0.1)
        real()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alone, "_wait_for_tasks", wait_for_tasks)
        router.fork()
    assert {latch.get(10), latch.get(10)} == {"timer", "deferred"}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(11, "no more processes")], ids=repr)
def test_a_fork_that_fails_leaves_everything_working(
    router: Router, local: Context, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fork() -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, "fork", fork)
        with pytest.raises((KeyboardInterrupt, StreamError)) as caught:
            router.fork()
    assert isinstance(caught.value, KeyboardInterrupt) or "can't fork: no more" in str(caught.value)
    assert local.call(remote.identity, 1) == 1
    assert router.fork().call(remote.identity, 1) == 1


def test_an_interruption_at_any_moment_leaves_everything_working(tmp_path: Path) -> None:
    source = """\
signal.signal(signal.SIGALRM, signal.default_int_handler)
outcomes = set()
with mitogen.master.Router() as router:
    local = router.local()
    for number in range(100):
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.0002 * (number % 40 + 1))
            context = router.fork()
            signal.setitimer(signal.ITIMER_REAL, 0)
            context.shutdown()
            outcomes.add('forked')
        except KeyboardInterrupt:
            outcomes.add('interrupted')
        assert local.call(remote.identity, number) == number
    assert router.fork().call(remote.identity, 1) == 1
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    tell('no child is left', 'interrupted' in outcomes)
"""
    with Program(tmp_path, source) as program:
        assert program.line() == "no child is left True"


def test_a_router_that_has_ended_does_not_fork(router: Router) -> None:
    router.broker.shutdown()
    router.broker.join()
    with pytest.raises(StreamError, match="the broker has shut down"):
        router.fork()


# -- Many, and endings -------------------------------------------------------------------------


def test_a_hundred_at_once_and_none_is_left(router: Router) -> None:
    forks = [router.fork() for _ in range(100)]
    pids = {fork.call_async(os.getpid).get().unpickle() for fork in forks}
    assert len(pids) == 100
    router.broker.shutdown()
    router.broker.join()
    for pid in pids:
        wait_gone(pid, 0.5)


def test_they_end_with_a_master_that_is_killed(tmp_path: Path) -> None:
    source = """\
def main(econtext): time.sleep(60)
router = mitogen.master.Router()
a = router.fork(); b = router.fork(on_start=main); c = router.fork(via=a)
a_pid, c_pid = a.call(os.getpid), c.call(os.getpid)
a.call_async(time.sleep, 60)
tell(a_pid, b.name[5:], c_pid)
time.sleep(60)
"""
    with Program(tmp_path, source) as program:
        pids = [int(word) for word in program.line().split()]
        program.process.kill()
        for pid in pids:
            wait_gone(pid, 4)


# -- Other interpreters ------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["3.10", "3.12", "3.13"])
def test_masters_of_other_versions_fork_without_a_warning(tmp_path: Path, version: str) -> None:
    source = """\
import sys, os
sys.path[:0] = %r
import mitogen.master
state = []
def get(): return state
with mitogen.master.Router() as router:
    local = router.local()
    for number in range(5):
        state.append(number)
        pending = local.call_async(os.getpid)
        assert router.fork().call(get) == state
        assert pending.get().unpickle() == local.call(os.getpid)
    assert router.fork(via=router.fork()).call(get) == state
print("fine")
""" % ([p for p in sys.path if p.endswith("src") and p.startswith(ROOT)],)
    path = tmp_path / "program.py"
    path.write_text(source)
    import subprocess

    run = subprocess.run(
        [interpreters.find(version), "-W", "error", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=50,
        check=False,
    )
    assert run.stdout == "fine\n"


def test_a_context_of_any_version_forks_itself(router: Router, python: str) -> None:
    local = router.local(python_path=python)
    local.call(remote.set_inherited, "from there")
    fork = router.fork(on_start=remote.note_start, via=local)
    assert fork.call(remote.get_inherited) == "from there, on_start in %d" % fork.context_id
    pid, parent, context_id, parent_ids, _ = fork.call(remote.whereabouts)
    assert parent == local.call(os.getpid)
    assert (context_id, parent_ids) == (fork.context_id, [local.context_id, 0])
    assert fork.name == "%s.fork.%d" % (local.name, pid)
    assert fork.python_version == local.python_version
    assert local.call(remote.identity, 1) == 1


# -- Forks of contexts -------------------------------------------------------------------------


def test_forks_of_forks(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "inherited", "first")
    chain = [router.fork()]
    for _ in range(3):
        chain.append(router.fork(via=chain[-1]))
    pids = [fork.call(os.getpid) for fork in chain]
    found = [fork.call(remote.whereabouts)[1] for fork in chain]
    assert found == [os.getpid(), *pids[:-1]]
    assert [fork.call(remote.get_inherited) for fork in chain] == ["first"] * 4
    # Nothing is collected on the way.
    assert len(chain[-1].call(remote.open_files)) <= len(chain[0].call(remote.open_files)) + 4
    chain[0].shutdown(wait=True)
    for pid in pids:
        wait_gone(pid, 4)


def test_a_fork_of_a_child_logs_and_imports_by_its_new_parent(
    router: Router, local: Context, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    local.call(remote.log, "a.logger", 30, "before")
    fork = router.fork(via=local)
    assert fork.call(remote.handler_names)[0] == ["ForwardHandler"]
    finders = fork.call(remote.handler_names)[1]
    assert finders.count("Importer") == 1
    assert finders.count("_LoggingWatcher") == 1, "for multiprocessing; that of the child is gone"
    fork.call(remote.log, "a.logger", 30, "of the fork")
    fork.call(remote.say, "said")
    assert fork.call(remote.find_spec, "tests.integration.programs") == "tests.integration.programs"
    fork.shutdown(wait=True)
    texts = [record.getMessage() for record in caplog.records]
    for text in ("before", "of the fork", "said"):
        assert sum(text in one for one in texts) == 1, texts


def test_a_fork_of_a_child_that_never_logged_logs_once(
    router: Router, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "logs_late.py").write_text(
        "def log():\n    import logging\n    logging.warning('late')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import logs_late  # type: ignore[import-not-found]

    fork = router.fork(via=router.local())
    fork.call(logs_late.log)
    fork.shutdown(wait=True)
    assert [record.getMessage() for record in caplog.records] == ["root: late"]


def test_a_context_forks_itself_in_a_call(local: Context) -> None:
    fork_here: Any = remote.fork_here  # It is given a router there.
    assert local.call(fork_here) not in (os.getpid(), local.call(os.getpid))


def test_a_context_forks_after_the_calls_that_it_has(router: Router, local: Context) -> None:
    pending = local.call_async(remote.sleep, 0.1)
    local.call_no_reply(remote.set_inherited, "set before")
    assert router.fork(via=local).call(remote.get_inherited) == "set before"
    assert not pending.empty()


def test_many_threads_have_a_context_fork(router: Router, local: Context) -> None:
    """The threads are here, and the forks are there. Starts beside them only delay them."""
    pids = []

    def run(number: int) -> None:
        context = router.fork(via=local) if number % 4 else router.local(via=local)
        pids.append(context.call(os.getpid))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(pids)) == 12


def test_a_context_with_threads_says_so(router: Router, local: Context) -> None:
    local.call(remote.start_thread_that_stays)
    with pytest.raises(StreamError, match=r"runs 1 other thread .*started via local\."):
        router.fork(via=local)
    assert local.call(remote.identity, 1) == 1


def test_functions_for_a_fork_elsewhere_must_have_names(router: Router, local: Context) -> None:
    with pytest.raises(TypeError, match="lambda"):
        router.fork(on_fork=lambda: None, via=local)
    with pytest.raises(StreamError, match=r"(?s)on_fork.*ValueError.*started via local\."):
        router.fork(on_fork=remote.fail_in_fork, via=local)


def test_temporary_files_do_not_share_names(router: Router) -> None:
    tempfile.gettempdir()
    forks = [router.fork() for _ in range(2)]
    assert len({fork.call(tempfile.mktemp) for fork in forks}) == 2
