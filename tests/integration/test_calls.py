"""A call never takes its context down: with real children, a test for each thing that a call may do.

Every test that makes a call fail ends by making another one in the same context.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
import re
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

import mitogen.core
import mitogen.master
import mitogen.parent
import mitogen.select
from mitogen.core import CallError, ChannelError, SerializationError, TimeoutError
from tests.core.tools import asleep, in_thread
from tests.integration import remote
from tests.integration.programs import wait_file, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from mitogen.parent import Context

    Caplog = pytest.LogCaptureFixture

#: Seconds within which a context answers after a time-out. It takes a few milliseconds, or many where the
#: machine is busy; a call that was not interrupted would take a minute, or never end.
SOON = 5.0
#: Seconds given to a call that is to time out once it runs. Only a busy machine needs the later ones.
TIMEOUTS = 0.15, 1.0, 5.0


def assert_answers(context: Context, within: float = 20.0) -> None:
    """The context, still the same process, answers a call."""
    started = time.monotonic()
    chain = mitogen.parent.CallChain(context, timeout=within)
    assert chain.call(remote.identity, 1) == 1
    assert time.monotonic() - started < within


def error_of(context: Context, fn: Callable[..., object], *args: Any, **kwargs: Any) -> CallError:
    """Return the error of a call, having made sure that the context outlived it."""
    with pytest.raises(CallError) as info:
        mitogen.parent.CallChain(context, timeout=20).call(fn, *args, **kwargs)
    assert_answers(context)
    return info.value


def time_out(context: Context, fn: Callable[..., object], *args: object) -> list[Any]:
    """Have a call of `fn` time out, and the next ones answered; return what `fn` noted.

    A call whose time was over before it began notes nothing: then it is given more.
    """
    pid = context.call(os.getpid)
    context.call(remote.noted)
    for timeout in TIMEOUTS:
        started = time.monotonic()
        with pytest.raises(TimeoutError, match=r"%s.*%s" % (fn.__name__, re.escape(context.name))):
            mitogen.parent.CallChain(context, timeout=timeout).call(fn, *args)
        timed_out = time.monotonic()
        assert timeout <= timed_out - started < timeout + SOON
        assert context.call(os.getpid) == pid
        assert time.monotonic() - timed_out < SOON
        noted: list[Any] = context.call(remote.noted)
        if noted:
            return noted
    raise AssertionError("%s noted nothing, with %s seconds" % (fn.__name__, timeout))


# -- Results that can't be sent ----------------------------------------------------------------

BAD_RESULTS = [
    ("lock", r"result: _thread\.lock"),
    ("nested", r"result\['locks'\]\[0\]: _thread\.lock"),
    ("generator", r"result: generator"),
    ("coroutine", r"result: coroutine"),
    ("function", r"result: function"),
    ("class", r"result: type"),
    ("builtin class", r"result: type"),
    ("module", r"result: module"),
    ("instance", r"result: tests\.integration\.remote\.Plain"),
    ("subclass", r"result: tests\.integration\.remote\.MyDict"),
    ("file", r"result: _io\.TextIOWrapper"),
    ("exception", r"result: tests\.integration\.remote\.UserError"),
    ("key", r"result.*HostileKey|result.*lock"),
    ("deep", r"result: nested too deeply"),
    ("hostile", r"result\[0\]: tests\.integration\.remote\.HostileValue"),
]


@pytest.mark.parametrize(("kind", "path"), BAD_RESULTS, ids=[kind for kind, _ in BAD_RESULTS])
def test_a_result_that_cannot_be_sent_is_that_calls_error(local: Context, kind: str, path: str) -> None:
    pid = local.call(os.getpid)
    error = error_of(local, remote.bad_result, kind)
    assert error.type_name == "mitogen.core.errors.SerializationError"
    assert re.search(path, error.text), error.text
    assert local.call(os.getpid) == pid


def test_a_result_larger_than_a_message_may_be_is_that_calls_error() -> None:
    with mitogen.master.Router(max_message_size=1 << 20) as router:
        local = router.local()
        for fn in remote.bytes_of, remote.list_of:
            error = error_of(local, fn, 2 << 20)
            assert "1048576" in error.text
            assert len(local.call(fn, 700_000)) >= 70_000


def test_one_call_too_large_is_refused_at_the_caller() -> None:
    with mitogen.master.Router(max_message_size=1 << 20) as router:
        local = router.local()
        handlers = set(router._handlers)
        with pytest.raises(mitogen.core.Error, match="1048576"):
            local.call(remote.identity, b"x" * (2 << 20))
        assert set(router._handlers) == handlers
        assert_answers(local)


# -- Functions that raise ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("SystemExit", ()),
        ("SystemExit", (3,)),
        ("SystemExit", ("text",)),
        ("KeyboardInterrupt", ()),
        ("GeneratorExit", ()),
        ("StopIteration", (1,)),
        ("MemoryError", ()),
        ("BaseException", ("base",)),
        ("PermissionError", (13, "Permission denied")),
        ("UnicodeDecodeError", ("ascii", b"\xff", 0, 1, "ordinal")),
    ],
)
def test_whatever_a_function_raises_is_its_calls_error(
    local: Context, name: str, args: tuple[object, ...]
) -> None:
    pid = local.call(os.getpid)
    error = error_of(local, remote.raise_named, name, *args)
    assert error.type_name == name
    assert "in raise_named" in error.traceback
    assert local.call(os.getpid) == pid


def test_sys_exit_and_os_abort_like_endings_of_a_function(local: Context) -> None:
    pid = local.call(os.getpid)
    assert error_of(local, sys.exit, 7).type_name == "SystemExit"
    assert local.call(os.getpid) == pid


@pytest.mark.parametrize("name", ["Unprintable", "HostileExit"])
def test_an_exception_that_cannot_be_shown_is_still_told(local: Context, name: str) -> None:
    error = error_of(local, remote.raise_named, name)
    assert error.type_name == "tests.integration.remote." + name
    assert "unprintable" in str(error)


def test_deep_recursion_of_a_function_is_its_calls_error(local: Context) -> None:
    error = error_of(local, remote.recurse)
    assert error.type_name == "RecursionError"
    assert "in recurse" in error.traceback
    assert len(error.traceback) < 100_000


@pytest.mark.parametrize("size", [10_000, 100_000, 1 << 20, 30 << 20])
def test_a_huge_exception_text_survives_or_is_cut_visibly(local: Context, size: int) -> None:
    error = error_of(local, remote.raise_long, size)
    assert error.text.startswith("beginx")
    assert error.text.endswith("xend")
    if len(error.text) != size + 8:
        assert "characters cut" in error.text
        assert size > 100_000
        assert len(error.text) > 100_000


def test_a_huge_exception_text_in_a_context_with_small_messages() -> None:
    with mitogen.master.Router(max_message_size=65536) as router:
        local = router.local()
        error = error_of(local, remote.raise_long, 1 << 20)
        assert error.type_name == "ValueError"
        assert "cut" in error.text


def test_an_exception_text_that_has_no_utf8_form_survives(local: Context) -> None:
    error = error_of(local, remote.raise_surrogate)
    assert error.type_name == "ValueError"
    assert "name" in error.text


def test_an_exception_class_that_only_the_child_has(local: Context) -> None:
    error = error_of(local, remote.raise_unknown_class)
    assert error.type_name == "no_such_module_anywhere.OnlyHere"
    assert "from nowhere" in error.text
    assert "no_such_module_anywhere" not in sys.modules


def test_an_exception_class_without_a_module(local: Context) -> None:
    assert "Odd" in error_of(local, remote.raise_odd_module).type_name


def test_the_cause_of_an_exception_comes_along(local: Context) -> None:
    error = error_of(local, remote.raise_chain)
    assert (error.type_name, error.text) == ("ValueError", "outermost")
    assert error.cause is not None
    assert error.cause.type_name == "tests.integration.remote.UserError"
    assert "raise UserError" in error.cause.traceback
    assert error.cause.cause is not None
    assert error.cause.cause.type_name == "KeyError"
    assert error.cause.cause.cause is None


def test_the_context_of_an_exception_comes_along_unless_suppressed(local: Context) -> None:
    cause = error_of(local, remote.raise_context).cause
    assert cause is not None
    assert cause.type_name == "KeyError"
    assert error_of(local, remote.raise_suppressed).cause is None


def test_a_cycle_of_causes_ends(local: Context) -> None:
    error = error_of(local, remote.raise_cycle)
    assert error.text == "first"


def test_a_call_error_raised_by_a_function_arrives_as_it_is(local: Context) -> None:
    error = error_of(local, remote.raise_call_error)
    assert (error.type_name, error.text, error.traceback) == ("a.b", "text", "traceback\n")


@pytest.mark.parametrize("fn", [remote.raise_channel_error, remote.raise_timeout])
def test_errors_of_the_library_in_a_function_are_not_taken_for_the_callers_own(
    local: Context, fn: Callable[[], None]
) -> None:
    error = error_of(local, fn)
    assert "mitogen.core" in error.type_name
    assert "not your" in error.text


def test_a_function_that_does_not_exist_there(local: Context) -> None:
    def fake() -> None:
        pass

    fake.__qualname__ = fake.__name__ = "no_such_function"
    error = error_of(local, fake)
    assert error.type_name == "AttributeError"
    fake.__module__ = "no_such_module"
    assert error_of(local, fake).type_name == "ModuleNotFoundError"


def test_wrong_arguments_are_the_calls_error(local: Context) -> None:
    error = error_of(local, remote.identity, 1, 2, 3)
    assert error.type_name == "TypeError"


def test_the_traceback_names_the_real_line(local: Context) -> None:
    error = error_of(local, remote.raise_here)
    with open(remote.__file__) as f:
        line = next(i for i, text in enumerate(f, 1) if text.endswith("# the line\n"))
    assert "line %d, in raise_here" % line in error.traceback
    assert 'raise UserError("here")  # the line' in error.traceback


# -- Arguments and functions that can't be sent -------------------------------------------------


def test_arguments_that_cannot_be_sent_are_refused_at_the_caller(local: Context) -> None:
    router: Any = local.router
    assert_answers(local)
    handlers = set(router._handlers)
    sent: list[object] = []
    stream = router.stream_by_id(local.context_id)
    original = stream.send

    def send(msg: object) -> object:
        sent.append(msg)
        return original(msg)

    stream.send = send
    lock = threading.Lock()
    for call in local.call, local.call_async, local.call_no_reply:
        with pytest.raises(SerializationError, match=r"args\[1\]\['a'\]\[0\]: _thread\.lock"):
            call(remote.echo, 1, {"a": [lock]})
        with pytest.raises(SerializationError, match=r"kwargs\['key'\]\[1\]: _thread\.lock"):
            call(remote.echo, key=(1, lock))
        with pytest.raises(TypeError, match="remote.echo.*local"):
            call(remote.echo, remote.Plain())
    assert sent == []
    assert set(router._handlers) == handlers
    assert_answers(local)


@pytest.mark.parametrize(
    "value", [remote.HostileValue(), {remote.HostileKey(): 1}, [remote.HostileValue()]]
)
def test_hostile_arguments_are_refused_with_a_typed_error(local: Context, value: object) -> None:
    with pytest.raises(SerializationError):
        local.call(remote.identity, value)
    assert_answers(local)


def test_functions_that_cannot_be_named_are_refused_at_the_caller(local: Context) -> None:
    def nested() -> None:
        pass

    router: Any = local.router
    assert_answers(local)
    handlers = set(router._handlers)
    unnamed: list[tuple[Any, str]] = [
        (lambda: 1, "lambda"),
        (nested, "inside another function"),
        (remote.Plain().method, "bound to an instance of Plain"),
        ([].append, "append"),
        ("text".upper, "upper"),
        (remote.Plain(), "Plain"),
        (3, "3"),
        (None, "None"),
        ("os.getpid", "os.getpid"),
    ]
    for fn, text in unnamed:
        for call in local.call, local.call_async, local.call_no_reply:
            with pytest.raises(TypeError, match=re.escape(text)):
                call(fn)
    assert set(router._handlers) == handlers
    assert_answers(local)


def test_a_partial_works(local: Context) -> None:
    fn = functools.partial(functools.partial(remote.echo, 1, a=1, b=1), 2, b=2)
    assert local.call(fn, 3, c=3) == ((1, 2, 3), {"a": 1, "b": 2, "c": 3})
    with pytest.raises(TypeError, match="lambda"):
        local.call(functools.partial(lambda x: x, 1))
    chain = mitogen.parent.CallChain(local)
    assert chain.call_async(fn).get().unpickle() == ((1, 2), {"a": 1, "b": 2})
    assert local.call(functools.partial(remote.Plain.klass, 1)) == ("Plain", 1)
    channel = local.open_channel(functools.partial(remote.send_sum, b=2), 3)
    assert channel.get().unpickle() == 5
    assert channel.result() is None


def test_a_partial_with_gaps_is_filled_as_python_314_does(
    local: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    gap = getattr(functools, "Placeholder", object())
    monkeypatch.setattr(mitogen.parent.callchain, "_GAP", gap)
    fn = functools.partial(remote.echo, gap, 2, gap, 4)
    assert local.call(fn, 1, 3, 5) == ((1, 2, 3, 4, 5), {})
    with pytest.raises(TypeError, match="arguments are missing"):
        local.call(fn, 1)


def test_functions_that_decorators_made_work_where_they_keep_their_name(local: Context) -> None:
    assert local.call(remote.decorated, 1) == ("decorated", 1)
    assert local.call(remote.cached, 1) == 1
    closure = remote.make_closure(1)  # type: ignore[no-untyped-call]
    for fn in remote.renamed, closure, remote.Plain.partial:
        with pytest.raises(
            TypeError, match="define it with 'def' at the top level of its module, and pass"
        ):
            local.call(fn, 1)
    with pytest.raises(TypeError, match=r"Callable.*define a function with 'def' that does what it does"):
        local.call(remote.Callable(), 1)


def test_methods_reachable_from_the_module_work(local: Context) -> None:
    assert local.call(remote.Plain.static, 1) == ("static", 1)
    assert local.call(remote.Plain().static, 1) == ("static", 1)
    assert local.call(remote.Plain.klass, 2) == ("Plain", 2)
    assert local.call(remote.Plain.Nested.static, 3) == ("nested", 3)
    assert local.call(remote.Plain.Nested.klass, 4) == ("Plain.Nested", 4)
    assert local.call(remote.Derived.klass, 5) == ("Derived", 5)
    assert local.call(remote.Derived.static, 6) == ("static", 6)


def test_builtin_functions_and_classes_work(local: Context) -> None:
    assert local.call(len, [1, 2]) == 2
    assert local.call(dict, a=1) == {"a": 1}
    assert local.call(time.time) == pytest.approx(time.time(), abs=5)
    assert local.call(os.path.basename, "/a/b") == "b"
    assert local.call(dict.fromkeys, [1]) == {1: None}


def test_methods_of_builtin_types_work(local: Context) -> None:
    assert local.call(str.upper, "a") == "A"


def test_functions_are_given_the_context_and_the_router(local: Context) -> None:
    here = local.context_id
    assert local.call(remote.with_econtext, 1) == (1, "ExternalContext", here, 0, here)
    assert local.call(remote.with_router, 2) == (2, True, here)
    assert local.call(remote.with_both) is True
    assert local.call(remote.Marked.klass, 3) == ("Marked", 3, here)
    assert local.call(remote.Marked.static, 4) == (4, here)


def test_a_child_knows_who_it_is(local: Context) -> None:
    assert local.call(remote.identity_of_context) == (False, local.context_id, 0, [0])
    assert (mitogen.is_master, mitogen.context_id, mitogen.parent_id) == (True, 0, None)


# -- Time-outs ---------------------------------------------------------------------------------

INTERRUPTED = [
    (remote.sleep, (60,)),
    (remote.read_pipe, ()),
    (remote.read_socket, ()),
    (remote.wait_lock, ()),
    (remote.run_program, ()),
    (remote.busy, ()),
    (remote.wait_latch, ()),
]


@pytest.mark.parametrize(("fn", "args"), INTERRUPTED, ids=[fn.__name__ for fn, _ in INTERRUPTED])
def test_a_call_that_times_out_is_interrupted_and_the_next_one_answered(
    local: Context, fn: Callable[..., None], args: tuple[object, ...]
) -> None:
    [(names, slept)] = time_out(local, fn, *args)
    assert "KeyboardInterrupt" in names[1:]
    assert slept < TIMEOUTS[-1] + SOON


def test_time_out_and_recovery_many_times_over(local: Context) -> None:
    chain = mitogen.parent.CallChain(local, timeout=0.02)
    local.call(remote.noted)
    for i in range(20):
        with pytest.raises(TimeoutError):
            chain.call(time.sleep, 60)
        started = time.monotonic()
        assert local.call(remote.identity, i) == i
        assert time.monotonic() - started < SOON


def test_a_time_out_that_races_with_the_answer_hits_no_other_call(local: Context) -> None:
    chain = mitogen.parent.CallChain(local, timeout=0.01)
    timed_out = 0
    for i in range(150):
        try:
            chain.call(time.sleep, 0.008 + (i % 7) * 0.0005)
        except TimeoutError:
            timed_out += 1
        assert local.call(remote.identity, i) == i
    assert len(local.router._handlers) < 20  # type: ignore[union-attr]


def test_a_function_that_swallows_the_interruption_is_not_interrupted_twice(local: Context) -> None:
    local.call(remote.noted)
    chain = mitogen.parent.CallChain(local, timeout=0.1)
    with pytest.raises(TimeoutError):
        chain.call(remote.swallow_once)
    assert_answers(local, SOON)


def test_an_interrupted_function_may_clean_up(local: Context) -> None:
    assert time_out(local, remote.clean_up_slowly) == ["cleaned up"]


def test_a_queued_call_that_was_cancelled_is_not_run(local: Context, tmp_path: Path) -> None:
    local.call(remote.noted)
    running = local.call_async(remote.wait_for, str(tmp_path / "go"))
    chain = mitogen.parent.CallChain(local, timeout=0.05)
    with pytest.raises(TimeoutError):
        chain.call(remote.note, "must not run")
    receiver = local.call_async(remote.note, "cancelled")
    local.default_call_chain.cancel(receiver)
    last = local.call_async(remote.note, "must run")
    (tmp_path / "go").touch()
    assert running.get_data(20) is None
    assert last.get_data(20) is None
    assert local.call(remote.noted) == ["must run"]


def test_a_context_that_changes_sigint_still_ends_its_calls(local: Context, tmp_path: Path) -> None:
    """Interrupting then takes no effect, but nothing dies, and the call's end frees the context."""
    local.call(remote.change_sigint)
    chain = mitogen.parent.CallChain(local, timeout=0.1)
    with pytest.raises(TimeoutError):
        chain.call(remote.wait_for, str(tmp_path / "go"))
    (tmp_path / "go").touch()
    assert_answers(local)


def test_a_sigint_sent_to_an_idle_child_changes_nothing(local: Context) -> None:
    os.kill(local.call(os.getpid), signal.SIGINT)
    assert_answers(local)


def test_a_sigint_sent_to_a_busy_child_is_that_calls_error(local: Context, tmp_path: Path) -> None:
    pid = local.call(os.getpid)
    receiver = local.call_async(remote.sleep, 60, str(tmp_path / "began"))
    wait_file(tmp_path / "began")
    os.kill(pid, signal.SIGINT)
    with pytest.raises(CallError, match="KeyboardInterrupt"):
        receiver.get_data(20)
    assert_answers(local)


def test_the_context_answers_after_a_time_out_below_the_time_of_import(router: Any) -> None:
    """The interruption may hit an import: it must leave nothing half-made behind."""
    for timeout in (0.0001, 0.002, 0.005, 0.01, 0.02):
        local = router.local()
        try:
            mitogen.parent.CallChain(local, timeout=timeout).call(remote.identity, 1)
        except TimeoutError:
            pass
        assert_answers(local)


# -- Ctrl-C at the caller ----------------------------------------------------------------------


def ctrl_c_when(reached: Callable[[], object]) -> Callable[[], object]:
    """Send this process a SIGINT once `reached` returns; the main thread must be in its wait by then.

    :returns: what waits for the thread that does so.
    """

    def interrupt() -> None:
        reached()
        os.kill(os.getpid(), signal.SIGINT)

    return in_thread(interrupt)


def test_ctrl_c_ends_a_waiting_call_and_interrupts_it_there(local: Context, tmp_path: Path) -> None:
    pid = local.call(os.getpid)
    local.call(remote.noted)
    handlers = set(local.router._handlers)  # type: ignore[union-attr]
    with pytest.raises(KeyboardInterrupt):
        sent = ctrl_c_when(lambda: wait_file(tmp_path / "began"))
        local.call(remote.sleep, 60, str(tmp_path / "began"))
    sent()
    started = time.monotonic()
    assert local.call(os.getpid) == pid
    assert time.monotonic() - started < SOON
    assert len(local.call(remote.noted)) == 1
    assert set(local.router._handlers) == handlers  # type: ignore[union-attr]


def test_ctrl_c_ends_a_wait_on_a_receiver(local: Context) -> None:
    receiver = mitogen.core.Receiver(local.router, respondent=local)  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        sent = ctrl_c_when(lambda: asleep(receiver._latch))
        receiver.get()
    sent()
    with pytest.raises(TimeoutError):
        receiver.get(timeout=0.01)
    receiver.close()
    assert_answers(local)


# -- Several at once ---------------------------------------------------------------------------


def test_many_threads_call_one_context(local: Context) -> None:
    wrong: list[object] = []

    def work(number: int) -> None:
        for i in range(50):
            try:
                value = local.call(remote.identity, (number, i, b"x" * (i * 500)))
                if value != (number, i, b"x" * (i * 500)):
                    wrong.append(value)
            except BaseException as e:
                wrong.append(e)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []


def test_one_threads_time_out_is_no_other_threads(local: Context) -> None:
    results: list[object] = []

    def work() -> None:
        for i in range(10):
            results.append(local.call(remote.identity, i))

    thread = threading.Thread(target=work)
    chain = mitogen.parent.CallChain(local, timeout=0.1)
    with pytest.raises(TimeoutError):
        thread.start()
        chain.call(time.sleep, 60)
    thread.join(10)
    assert results == list(range(10))


def test_call_async_and_select(router: mitogen.master.Router) -> None:
    contexts = [router.local() for _ in range(3)]
    receivers = [c.call_async(remote.identity, c.context_id) for c in contexts]
    found = {}
    for msg in mitogen.select.Select(receivers):
        assert msg.receiver is not None
        found[msg.receiver.context] = msg.unpickle()
    assert found == {c: c.context_id for c in contexts}
    values = mitogen.select.Select.all(c.call_async(os.getpid) for c in contexts)
    assert sorted(values) == sorted(c.call(os.getpid) for c in contexts)


def test_select_tells_of_a_context_that_died(router: mitogen.master.Router) -> None:
    good, bad = router.local(), router.local()
    receivers = [good.call_async(remote.identity, 1), bad.call_async(remote.call_os_exit, 3)]
    outcomes = {}
    with mitogen.select.Select(receivers) as select:
        while select:
            msg = select.get(timeout=20)
            assert msg.receiver is not None
            try:
                outcomes[msg.receiver.context] = msg.unpickle()
            except ChannelError as e:
                outcomes[msg.receiver.context] = str(e)
    assert outcomes[good] == 1
    assert bad.name in outcomes[bad]
    assert "status 3" in outcomes[bad]


def test_a_dropped_receiver_costs_nothing(local: Context) -> None:
    handlers = set(local.router._handlers)  # type: ignore[union-attr]
    for i in range(20):
        local.call_async(remote.identity, i)
    assert_answers(local)
    assert set(local.router._handlers) == handlers  # type: ignore[union-attr]


def test_calls_without_a_reply_keep_their_order(local: Context) -> None:
    local.call(remote.noted)
    for i in range(50):
        local.call_no_reply(remote.note, i)
    assert local.call(remote.noted) == list(range(50))


def test_a_failing_call_without_reply_is_logged(local: Context, caplog: Caplog) -> None:
    with caplog.at_level(logging.INFO):
        local.call_no_reply(remote.raise_named, "ValueError", "nobody waits")
        local.call_no_reply(remote.bad_result, "lock")
        assert_answers(local)
        wait_until(lambda: "nobody waits" in caplog.text)
    [record] = [r for r in caplog.records if "nobody waits" in r.getMessage()]
    assert record.levelno >= logging.WARNING
    assert record.name == "mitogen.ctx." + local.name
    assert "in raise_named" in record.getMessage()


def test_a_sender_of_the_master_works_in_the_child(local: Context) -> None:
    router: Any = local.router
    receiver = mitogen.core.Receiver(router)
    local.call(remote.send_many, receiver.to_sender(), 100)
    assert [msg.unpickle() for msg in receiver] == list(range(100))
    receiver.close()


def test_a_message_unpacks_as_message_and_data(local: Context) -> None:
    msg, data = local.call_async(remote.identity, {"a": 1}).get()
    assert isinstance(msg, mitogen.core.Message)
    assert data == {"a": 1}
    assert msg.src_id == local.context_id


# -- Call chains -------------------------------------------------------------------------------


def test_a_pipelined_chain_stops_at_its_first_failure(local: Context) -> None:
    local.call(remote.noted)
    chain = mitogen.parent.CallChain(local, pipelined=True)
    chain.call_no_reply(remote.note, 1)
    chain.call_no_reply(remote.raise_named, "ValueError", "first failure")
    chain.call_no_reply(remote.note, 2)
    receiver = chain.call_async(remote.note, 3)
    with pytest.raises(CallError, match="first failure"):
        chain.call(remote.note, 4)
    with pytest.raises(CallError, match="first failure"):
        receiver.get_data(5)
    assert local.call(remote.noted) == [1]
    chain.reset()
    chain.call(remote.note, 5)
    assert local.call(remote.noted) == [5]


def test_chains_do_not_share_failures(local: Context) -> None:
    first = mitogen.parent.CallChain(local, pipelined=True)
    second = mitogen.parent.CallChain(local, pipelined=True)
    with pytest.raises(CallError):
        first.call(remote.raise_named, "ValueError")
    assert second.call(remote.identity, 1) == 1
    assert local.call(remote.identity, 2) == 2
    for chain in first, second:
        chain.reset()


def test_a_failing_pipelined_call_is_not_logged(local: Context, caplog: Caplog) -> None:
    with caplog.at_level(logging.INFO):
        with mitogen.parent.CallChain(local, pipelined=True) as chain:
            chain.call_no_reply(remote.raise_named, "ValueError", "told later")
            with pytest.raises(CallError, match="told later"):
                chain.call(remote.identity, 1)
        assert_answers(local)
    assert "told later" not in caplog.text


def test_leaving_a_chains_with_statement_resets_it(local: Context) -> None:
    with mitogen.parent.CallChain(local, pipelined=True) as chain:
        chain.call_no_reply(remote.raise_named, "ValueError")
    assert chain.call(remote.identity, 1) == 1


def test_an_unsendable_result_fails_a_pipelined_chain(local: Context) -> None:
    with mitogen.parent.CallChain(local, pipelined=True) as chain:
        chain.call_async(remote.bad_result, "lock")
        with pytest.raises(CallError, match=r"_thread\.lock"):
            chain.call(remote.identity, 1)


def test_a_time_out_fails_a_pipelined_chain_until_reset(local: Context) -> None:
    with mitogen.parent.CallChain(local, pipelined=True, timeout=0.1) as chain:
        with pytest.raises(TimeoutError):
            chain.call(time.sleep, 60)
        chain.timeout = 20.0
        with pytest.raises(CallError):
            chain.call(remote.identity, 1)
        chain.reset()
        assert chain.call(remote.identity, 1) == 1


def test_a_chain_keeps_its_id_while_it_is_reset(local: Context) -> None:
    """Another thread may be about to call."""
    chain = mitogen.parent.CallChain(local, pipelined=True)

    def reset() -> None:
        for _ in range(3000):
            chain.reset()

    resetting = threading.Thread(target=reset)
    resetting.start()
    ids = set()
    while resetting.is_alive():
        ids.add(chain.chain_id)
    assert ids == {chain.chain_id}


def test_a_call_without_a_reply_waits_no_longer_than_its_time_out_for_a_full_link(
    router: mitogen.master.Router, local: Context
) -> None:
    pid = local.call(os.getpid)
    router.high_water_mark = 100_000
    os.kill(pid, signal.SIGSTOP)
    try:
        with mitogen.parent.CallChain(local, timeout=0.2) as chain:
            chain.call_no_reply(len, b"x" * 2_000_000)
            with pytest.raises(TimeoutError, match="does not read"):
                chain.call_no_reply(len, b"x")
    finally:
        os.kill(pid, signal.SIGCONT)


# -- Logs and output ---------------------------------------------------------------------------


def test_what_a_child_prints_becomes_log_records(local: Context, caplog: Caplog) -> None:
    with caplog.at_level(logging.INFO):
        local.call(remote.say, "hello from there")
        local.call(remote.say_error, "oh no\n")
        local.call(remote.run_echo, "from a program")
        wait_until(lambda: "from a program" in caplog.text)
        wait_until(lambda: "oh no" in caplog.text)
    found = {r.getMessage(): r for r in caplog.records}
    for text in "stdout: hello from there", "stderr: oh no", "stdout: from a program":
        assert found[text].name == "mitogen.ctx." + local.name
        assert found[text].levelno == logging.INFO


def test_a_line_without_an_end_is_seen_at_the_end(router: mitogen.master.Router, caplog: Caplog) -> None:
    with caplog.at_level(logging.INFO):
        local = router.local()
        local.call(remote.say_error, "no newline")
        local.shutdown(wait=True)
        wait_until(lambda: "stderr: no newline" in caplog.text)


def test_the_last_words_of_a_child_arrive(router: mitogen.master.Router, caplog: Caplog) -> None:
    with caplog.at_level(logging.INFO):
        local = router.local()
        for i in range(200):
            local.call_no_reply(remote.say, "word %d" % i)
        local.shutdown(wait=True)
        wait_until(lambda: "stdout: word 199" in caplog.text)
    words = [r.getMessage() for r in caplog.records if "word" in r.getMessage()]
    assert words == ["stdout: word %d" % i for i in range(200)]


def test_what_a_child_logs_is_forwarded_with_level_and_logger(local: Context, caplog: Caplog) -> None:
    with caplog.at_level(logging.INFO):
        local.call(remote.log, "some.logger", logging.WARNING, "value %d%%", 5)
        local.call(remote.log, "some.logger", logging.ERROR, "100% sure")
        local.call(remote.log_exception, "other")
        wait_until(lambda: "UserError: logged" in caplog.text)
    found = {r.getMessage(): r for r in caplog.records if r.name == "mitogen.ctx." + local.name}
    assert found["some.logger: value 5%"].levelno == logging.WARNING
    assert found["some.logger: 100% sure"].levelno == logging.ERROR
    [text] = [text for text in found if text.startswith("other: it failed")]
    assert "Traceback" in text


def test_levels_that_the_master_would_drop_are_not_sent(
    router: mitogen.master.Router, caplog: Caplog
) -> None:
    with caplog.at_level(logging.WARNING):
        local = router.local()
        local.call(remote.log, "a", logging.INFO, "too low")
        local.call(remote.log, "a", logging.WARNING, "high enough")
        wait_until(lambda: "high enough" in caplog.text)
    assert "too low" not in caplog.text


def test_no_logger_object_is_kept_for_a_context(router: mitogen.master.Router, caplog: Caplog) -> None:
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            local = router.local()
            local.call(remote.say, "hello")
            wait_until(lambda: "stdout: hello" in caplog.text)
            caplog.clear()
            assert not any(local.name in name for name in logging.root.manager.loggerDict)


def test_a_call_in_the_master_is_not_disturbed_by_a_failing_log_handler(
    local: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("the program's own handler failed")

    handler = Failing()
    logging.getLogger().addHandler(handler)
    try:
        local.call(remote.log, "a", logging.ERROR, "text")
        assert_answers(local)
    finally:
        logging.getLogger().removeHandler(handler)


def _resident() -> int:
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_30_mb_of_output_without_a_newline_stay_bounded() -> None:
    """In a process of its own: what this one did before would hide the growth."""
    import subprocess

    script = (
        "import logging, sys, mitogen.master; sys.path.insert(0, %r)\n"
        "import tests.integration.test_calls as t; from tests.integration import remote\n"
        "logging.getLogger('mitogen.ctx').addHandler(logging.NullHandler())\n"
        "logging.getLogger('mitogen.ctx').propagate = False\n"
        "with mitogen.master.Router() as router:\n"
        "    logging.getLogger().setLevel(logging.INFO)\n"
        "    local = router.local(); local.call(remote.say, 'x'); before = t._resident()\n"
        "    assert local.call(remote.write_raw, 30 << 20, 1) >= 30 << 20\n"
        "    t.assert_answers(local)\n"
        "    print((t._resident() - before) >> 20)\n"
    ) % os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True)
    assert int(done.stdout) <= 12


def test_user_code_has_ordinary_blocking_descriptors(local: Context) -> None:
    assert local.call(remote.descriptor_flags) == [True, True, True]
    assert local.call(remote.read_stdin) == ""


def test_big_values_go_both_ways(local: Context, tmp_path: Path) -> None:
    data = os.urandom(1 << 20) * 8
    assert local.call(remote.identity, data) == data
    [[args], kwargs] = local.call(remote.echo, {"a": [data, "text" * 100_000]})
    assert (args, kwargs) == ({"a": [data, "text" * 100_000]}, {})


def test_a_time_out_in_the_middle_of_a_large_message_leaves_the_link_whole(
    router: mitogen.master.Router,
) -> None:
    """The signal that interrupts a call may come between a write and the count of what was written."""
    local = router.local()
    receiver = mitogen.core.Receiver(router)
    for i in range(15):
        chain = mitogen.parent.CallChain(local, timeout=0.003 + i % 5 * 0.002)
        with pytest.raises(TimeoutError):
            chain.call(remote.send_for_ever, receiver.to_sender(), 300_000)
        assert mitogen.parent.CallChain(local, timeout=20.0).call(remote.identity, i) == i


def test_cancelled_calls_are_never_run_however_many_they_are(
    router: mitogen.master.Router, tmp_path: Path
) -> None:
    local = router.local()
    chain = mitogen.parent.CallChain(local)
    chain.call(remote.noted)
    waiting = chain.call_async(remote.wait_for, str(tmp_path / "go"))
    cancelled = [chain.call_async(remote.note, i) for i in range(1500)]
    for one in cancelled:
        chain.cancel(one)
    (tmp_path / "go").touch()
    waiting.get()
    assert chain.call(remote.noted) == []


def test_a_module_larger_than_a_message_is_an_import_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "large_module.py").write_text("x = %r\n" % os.urandom(60_000).hex())
    monkeypatch.syspath_prepend(str(tmp_path))
    with mitogen.master.Router(max_message_size=30_000) as router:
        chain = mitogen.parent.CallChain(router.local(), timeout=20.0)
        with pytest.raises(CallError, match="large_module can't be sent"):
            chain.call(importlib.import_module, "large_module")
