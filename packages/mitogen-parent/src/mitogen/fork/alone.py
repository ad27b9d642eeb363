"""Forking a process that has brokers, soundly: `fork_alone`.

A copy has one thread, and whatever another thread was in the middle of stays like that for ever. So there
must be no other thread: brokers leave their loops and their threads end (they *park*), then the process
forks, then the brokers go on where they were. Calls that are deferred and bytes that arrive in the
meantime wait. With any other thread the fork is refused. Rejected: to fork all the same, and to break
locks in the copy, as far as they are known. Libraries have locks that nobody knows; and since Python
3.12, forking with threads gives a warning.

An exception of a signal's handler, such as KeyboardInterrupt, may come while a broker still runs. Brokers
go on all the same: then a thread of its own sees to that, since there no such exception comes.
"""

from __future__ import annotations

# The C module alone: `signal` imports `enum` for the names of constants.
import _signal  # type: ignore[import-not-found]
import os
import sys
from _thread import get_ident, start_new_thread
from itertools import starmap
from time import monotonic, sleep

from mitogen.core.broker import _running
from mitogen.core.errors import ChannelError, StreamError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from mitogen.core.broker import Broker

#: Seconds for threads to end that nobody has a name for, such as calls made aside by a parent.
_STRANGER_WAIT = 5.0
#: Seconds for the system to take down threads that have ended.
_TASK_WAIT = 1.0


class _Parked(BaseException):
    """Takes a broker thread out of its loop."""


def _park(broker: Broker) -> None:
    """Leave the loop; one that was ending says so again when it goes on. Broker thread."""
    broker._parked = True
    raise _Parked


def _go_on(broker: Broker, mask: set[int]) -> None:
    """Start the thread of a broker again, once it has left; unless it has ended for good.

    :param mask: the signals that the new thread is to block.
    """
    broker._ended.acquire()
    if broker.dead_reason:
        broker._ended.release()
        return
    broker._parked = False

    def main() -> None:
        # Not what is blocked here while it starts.
        _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
        del broker._broker_main  # The one of its class is in force again.
        broker._broker_main()

    broker._broker_main = main  # type: ignore[method-assign]
    while True:
        try:
            broker._start_thread()
            return
        except RuntimeError:
            sleep(0.01)  # No more threads. One has just ended, so there is going to be another.


def _recover(brokers: list[Broker], mask: set[int]) -> None:
    """Have brokers go on of which it is not known whether they were asked to park."""
    for broker in brokers:
        passed: list[None] = []
        try:
            # Comes after such a request, and so only if there is none; or else once it goes on.
            broker.defer(passed.append, None)
        except ChannelError:
            continue
        wait = _Wait(0)
        while not passed and broker._ended.locked():
            wait.pause()
        if not passed:
            _go_on(broker, mask)


class _Wait:
    """Look again and again, with growing pauses.

    :param limit: seconds until `is_over`.
    """

    def __init__(self, limit: float) -> None:
        self._deadline = monotonic() + limit
        self._pause = 0.00002

    @property
    def is_over(self) -> bool:
        return monotonic() > self._deadline

    def pause(self) -> None:
        """Let others go on."""
        sleep(self._pause)
        self._pause = min(self._pause * 1.5, 0.005)


def _other_threads() -> list[int]:
    """Return the numbers of Python's threads other than this one and those of brokers."""
    known = {broker._thread_id for broker in _running}
    return [ident for ident in sys._current_frames() if ident != get_ident() and ident not in known]


def _refuse(names: list[str]) -> StreamError:
    return StreamError(
        "this process can't fork while it runs %d other thread%s (%s): whatever they are in the middle of"
        " would stay so in the copy for ever; fork before they are started, or use local()",
        len(names),
        "s" * (len(names) > 1),
        ", ".join(names[:10]) + ", ..." * (len(names) > 10),
    )


def _check_threads(wait: _Wait) -> None:
    """Return once no thread but this one and those of brokers runs.

    :raises StreamError: one does that the program has started, or one does not end.
    """
    while True:
        idents = _other_threads()
        # After the last fork; the threads that they get are not known as theirs yet.
        are_resuming = not all(broker._thread_id for broker in _running)
        if not idents and not are_resuming:
            return
        threading: Any = sys.modules.get("threading")
        named = {thread.ident: thread for thread in threading.enumerate()} if threading else {}
        found = [named[ident] for ident in idents if ident in named]
        # Others have stood in for these, for as long as they logged something; and a broker's thread ends
        # a moment after the broker.
        is_real = any(
            type(thread) is not threading._DummyThread and thread.name != "mitogen.broker"
            for thread in found
        )
        if wait.is_over or (is_real and not are_resuming):
            raise _refuse([thread.name for thread in found] or ["%d unnamed" % len(idents)])
        wait.pause()


def _task_names() -> list[str]:
    """Return the names of the system's threads of this process other than this one, if it tells."""
    names = []
    try:
        for task in os.listdir("/proc/self/task")[1:]:
            with open("/proc/self/task/%s/comm" % task) as f:
                names.append("%s, %s" % (task, f.read().strip()))
    except OSError:
        pass  # Another system; or one has just gone.
    return names


def _wait_for_tasks() -> None:
    """Return once this is the only thread, for the system as well.

    :raises StreamError: there is one that is not Python's.
    """
    wait = _Wait(_TASK_WAIT)
    while True:
        try:
            if len(os.listdir("/proc/self/task")) == 1:
                return
        except OSError:
            sleep(0.001)
            return
        if wait.is_over:
            names = _task_names()
            if names:
                raise _refuse(names)
            return
        wait.pause()


def fork_alone(pids: list[int], run_child: Callable[[], object], timeout: float) -> None:
    """Fork while no other thread exists; return in the original only.

    :param pids: gets the process id, even if an exception of a signal's handler comes right afterwards.
    :param run_child: called in the copy, which ends if it returns.
    :param timeout: seconds for brokers to interrupt what they do.
    :raises StreamError: there is another thread, or a broker did not park in time.
    :raises OSError: the system refused.
    """
    deadline = _Wait(timeout)
    while not pids:
        _check_threads(_Wait(_STRANGER_WAIT))
        _try_to_fork(pids, run_child, deadline)


def _has_handler(signum: int) -> bool:
    return callable(_signal.getsignal(signum))


def _try_to_fork(pids: list[int], run_child: Callable[[], object], deadline: _Wait) -> None:
    """Do as `fork_alone`, or nothing if a thread came up in between."""
    brokers = _running[:]
    mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())
    try:
        # From when brokers are parked until they go on, no handler runs at all. Exceptions of handlers
        # would be lost in what libraries do before and after a fork, and leave them locked.
        _signal.pthread_sigmask(_signal.SIG_BLOCK, filter(_has_handler, range(1, _signal.NSIG)))
        for broker in brokers:
            try:
                broker.defer(_park, broker)
            except ChannelError:
                pass  # It has just ended.
        while any(broker._ended.locked() for broker in brokers):
            if deadline.is_over:
                raise StreamError("can't fork: a broker thread is busy, in a handler or listener")
            deadline.pause()
        if _other_threads():
            # Started by a broker just before it parked: a call made aside.
            if deadline.is_over:
                raise StreamError("can't fork: calls are made aside all the time")
            return
        _wait_for_tasks()
        # Noted by the call that forks, before an exception may come.
        pids.extend(starmap(os.fork, [()]))
        if not pids[0]:
            run_child()
    finally:
        if pids:
            for broker in brokers:
                _go_on(broker, mask)
        else:
            # Some still run, perhaps, and with them handlers.
            start_new_thread(_recover, (brokers, mask))
        _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
