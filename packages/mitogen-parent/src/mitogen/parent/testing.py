"""The conformance kit: `check_transport` finds out whether a transport does all that contexts rely on.

For tests of transports, of this library and of others. It works with the real thing: it starts contexts
and looks at what becomes of them. There is nothing in it but the standard library, so any test runner
will do; with pytest, each check can be a test of its own::

    @pytest.mark.parametrize("check", CHECKS)
    def test_chroot(router, check):
        check_transport(router, "chroot", checks=[check], root="/srv/root")

Checks that do no harm share one context, since some targets take seconds to start one.

The programs of other transports are replaced by deriving from the class of connections; that way it does
not matter whether the program can be named by an option. Not for the broker thread.
"""

from __future__ import annotations

import logging
import os
import threading
import time

from mitogen.core.errors import CallError, ChannelError, StreamError
from mitogen.parent import probes
from mitogen.parent.process import SIGKILL
from mitogen.parent.subject import LIMIT, Subject, call, expect, expect_error, wait_until

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from mitogen.core.receiver import Receiver
    from mitogen.parent.router import Router
    from mitogen.parent.subject import Transport

__all__ = ["CHECKS", "check_transport"]

#: Bytes that are sent in both directions.
LARGE = 16 << 20
#: Seconds that a program gets that never answers.
DEADLINE = 0.3
#: A file that is nowhere.
MISSING = "/no-such-folder/program"
#: What a program that is no good says, and its exit status.
COMPLAINT, STATUS = "this is the wrong program", 3


# -- The checks --------------------------------------------------------------------------------


def check_start(subject: Subject) -> None:
    """It starts a context in another process, and knows its Python."""
    found = call(subject.context, probes.describe)
    version = subject.context.python_version
    expect(
        version in (None, found["version"]),
        "python_version is %r, and it runs %r",
        version,
        found["version"],
    )
    expect(version is not None or callable(subject.transport), "python_version is None")


def check_name(subject: Subject) -> None:
    """Its name tells the transport and the target."""
    name, via = subject.context.name or "", subject.options.get("via")
    start = "%s%s." % (via.name + "." if via else "", subject.transport)
    if not callable(subject.transport):
        expect(name.startswith(start), "it is called %r, which does not begin with %r", name, start)
    expect(bool(name.rpartition(".")[2]), "the name %r ends with a dot: nothing tells the target", name)


def check_call(subject: Subject) -> None:
    """Calls return values, and raise errors."""
    value = {"text": "\u00e9", "bytes": bytes(range(256)), "list": [1, 2.5, None, (True,)]}
    got = call(subject.context, probes.echo, value)
    expect(got == value, "a value came back as %r", got)
    text = expect_error(CallError, "a call that fails", call, subject.context, probes.fail, "on purpose")
    expect("ValueError: on purpose" in text, "the error of a call says %r", text)


def check_large_data(subject: Subject) -> None:
    """16 MiB go there and come back, whatever bytes they are."""
    data = bytes(range(256)) * (LARGE >> 8)
    got = call(subject.context, probes.echo, data)
    expect(len(got) == len(data), "of %d bytes %d came back", len(data), len(got))
    expect(got == data, "%d bytes came back changed", len(data))


class _Lines(logging.Handler):
    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def check_output(subject: Subject) -> None:
    """What is printed there, by programs too, becomes log records here."""
    context = subject.context
    logger, handler = logging.getLogger("mitogen.ctx"), _Lines()
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        call(context, probes.say, "something")
        for line in ("stdout: out something", "stderr: err something", "stdout: program something"):
            wait_until(lambda line=line: line in handler.lines, "the log record %r" % line)  # type: ignore[misc]
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def check_standard_streams(subject: Subject) -> None:
    """User code sees descriptors that block, and no input."""
    blocking, given = call(subject.context, probes.standard_streams)
    expect(blocking == [True] * 3, "descriptors 0, 1 and 2 block: %r", blocking)
    expect(given == b"", "a program that reads its input was given %r", given)


def check_kill(subject: Subject) -> None:
    """If its process is killed, all waits on it end."""
    context = subject.context
    waiting = context.call_async(time.sleep, 10 * LIMIT)
    expect_error(ChannelError, "a kill", context.call_aside, probes.end, SIGKILL)
    _expect_lost(waiting)


def _expect_lost(waiting: Receiver) -> None:
    expect_error(ChannelError, "a call of a process that is gone", waiting.get, LIMIT)


def check_lost_program(subject: Subject) -> None:
    """If the transport's program is killed, all waits on the context end."""
    if "via" in subject.options:
        return  # That program runs elsewhere.
    context = subject.context
    process = subject.connection(context).process
    waiting = context.call_async(time.sleep, 10 * LIMIT)
    try:
        os.kill(process.pid, SIGKILL)
    except PermissionError:
        return  # It took another account, and only the kernel kills it.
    _expect_lost(waiting)


def check_exit(subject: Subject) -> None:
    """It ends when it is asked to, by itself, and then its program has ended too."""
    context = subject.context
    process = None if "via" in subject.options else subject.connection(context).process
    began = time.time()
    context.shutdown(wait=True)
    took = time.time() - began
    expect(took < LIMIT, "it took %d seconds to end", took)
    expect_error(ChannelError, "a call after the end", call, context, probes.echo, 1)
    if process is not None:
        expect(process.status is not None, "process %d still runs", process.pid)
        expect(not os.WIFSIGNALED(process.status or 0), "it did not end by itself, and was killed")


def check_interpreter(subject: Subject) -> None:
    """`python_path` may be a command that ends with an interpreter; and `name` is used."""
    path = call(subject.context, probes.describe)["executable"]
    context = subject.start(python_path=["env", path], name="given")
    expect(context.name in ("given", _via_name(subject) + "given"), "it is called %r", context.name)
    found = call(context, probes.describe)["executable"]
    expect(found == path, "it runs %r rather than %r", found, path)
    context.shutdown(wait=True)


def _via_name(subject: Subject) -> str:
    via = subject.options.get("via")
    return "%s." % via.name if via else ""


def check_missing_interpreter(subject: Subject) -> None:
    """`python_path` may be a path; one that is not there is a StreamError that says so."""
    text = expect_error(
        StreamError, "python_path=%r" % MISSING, subject.start, python_path=MISSING, connect_timeout=LIMIT
    )
    # Not all programs repeat it.
    expect(MISSING in text or "not found" in text, "the error does not name %s: %s", MISSING, text)
    expect("timed out" not in text, "it was noticed by the time-out only: %s", text)


def check_missing_program(subject: Subject) -> None:
    """A program that is not there is a StreamError that names it."""
    text = expect_error(StreamError, "no program", subject.start_with, [MISSING])
    expect(MISSING in text, "the error does not name %s: %s", MISSING, text)


def check_wrong_program(subject: Subject) -> None:
    """A program that fails is a StreamError with its own words, whose type says so."""
    script = "echo %s >&2; exit %d" % (COMPLAINT, STATUS)
    text = expect_error(StreamError, "the wrong program", subject.start_with, ["sh", "-c", script])
    for part in (COMPLAINT, "status %d" % STATUS, "%s context " % subject.transport):
        expect(part in text, "the error does not say %r: %s", part, text)


def check_deadline(subject: Subject) -> None:
    """A program that says nothing is a StreamError when `connect_timeout` has passed."""
    began = time.time()
    argv = ["sh", "-c", "sleep %d" % (10 * LIMIT)]
    text = expect_error(
        StreamError, "a program that hangs", subject.start_with, argv, connect_timeout=DEADLINE
    )
    took = time.time() - began
    expect("timed out" in text, "the error does not say that it timed out: %s", text)
    expect(DEADLINE <= took < DEADLINE + LIMIT / 3, "connect_timeout=%s took %s", DEADLINE, took)


def check_via(subject: Subject) -> None:
    """Another context can start it; errors are the same there."""
    parent = subject.router.local(via=subject.options.get("via"))
    subject._started.append(parent)
    context = subject.start(via=parent)
    call(context, probes.describe)
    name = context.name or ""
    expect(name.startswith("%s." % parent.name), "it is called %r, below %r", name, parent.name)
    expect(context.via is parent, "its via is %r", context.via)
    if not callable(subject.transport):
        what = "python_path=%r" % MISSING
        text = expect_error(StreamError, what, subject.start, via=parent, python_path=MISSING)
        expect("started via %s" % parent.name in text, "the error does not tell where from: %s", text)
    context.shutdown(wait=True)
    parent.shutdown(wait=True)


def check_nothing_is_left(subject: Subject) -> None:
    """A router that ends leaves no descriptor, thread or process behind."""
    # What is kept for the next one, as long as there is any router, is there from now on.
    call(subject.context, probes.echo, 1)
    before = _resources()
    pids: list[int] = []
    cls: Any = type(subject.router)
    router = cls()
    try:
        context = subject.start(router)
        call(context, probes.echo, 1)
        router.broker.defer_sync(
            lambda: pids.extend(one.process.pid for one in router.connections.values())
        )
    finally:
        router.broker.shutdown()
        router.broker.join()
    for what in before:
        wait_until(
            lambda what=what: _resources()[what] <= before[what],  # type: ignore[misc]
            "no more than %d %s, as before" % (before[what], what),
        )
    wait_until(lambda: not any(map(_is_group, pids)), "the end of its processes")


def _resources() -> dict[str, int]:
    """Return how many there are of what a context may take."""
    return {"threads": threading.active_count(), "descriptors": len(os.listdir("/dev/fd"))}


def _is_group(pid: int) -> bool:
    """Tell whether there are processes in the group that `pid` leads, or led."""
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


#: All checks, by what they are about, in an order that starts few contexts.
CHECKS: dict[str, Callable[[Subject], None]] = {
    "start": check_start,
    "name": check_name,
    "call": check_call,
    "large data": check_large_data,
    "output": check_output,
    "standard streams": check_standard_streams,
    "nothing is left": check_nothing_is_left,
    "exit": check_exit,
    "kill": check_kill,
    "lost program": check_lost_program,
    "interpreter": check_interpreter,
    "missing interpreter": check_missing_interpreter,
    "missing program": check_missing_program,
    "wrong program": check_wrong_program,
    "deadline": check_deadline,
    "via": check_via,
}
#: Those that replace the program, for which they need the transport's name.
_BY_NAME = ("missing program", "wrong program", "deadline")


def check_transport(
    router: Router, transport: Transport, checks: Iterable[str] | None = None, **options: Any
) -> None:
    """Check that a transport does what all contexts rely on.

    :param router: a master's router.
    :param transport: its name; or a function that starts a context, called as
        ``factory(router, **options)`` with the options `python_path`, `connect_timeout`, `name` and `via`
        besides those given here. With a function, the checks that replace the program are left out.
    :param checks: names from `CHECKS`; all by default.
    :param options: what the transport needs to start a context. With `via`, all but the checks of the
        program start it through that context.
    :raises AssertionError: the transport fails a check; the text says which, and why.
    """
    if checks is None:
        checks = [name for name in CHECKS if not (callable(transport) and name in _BY_NAME)]
    subject = Subject(router, transport, options)
    try:
        for name in checks:
            try:
                CHECKS[name](subject)
            except Exception as e:
                what = "" if isinstance(e, AssertionError) else type(e).__name__ + ": "
                raise AssertionError(
                    "transport %s fails the check %r: %s%s"
                    % (getattr(transport, "__name__", transport), name, what, e)
                ) from e
    finally:
        subject.close()
