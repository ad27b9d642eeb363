"""The I/O thread of a process: `Broker`.

Owns the loop that waits for descriptors, timers and deferred calls, and the order in which everything
ends. One broker serves any number of routers. What runs on the broker thread must not block.

Other threads hand work over with `defer`. They write to the waker pipe only while the loop sleeps: the
loop raises `_sleeping` before it looks at the queue a last time, and `defer` appends before it looks at
`_sleeping`, so one of the two always sees the other.

Ends: `shutdown` may be called by any thread. The loop then fires `shutdown`, tells every stream, keeps
running until the streams are gone or `shutdown_timeout` passed, disconnects what is left, fires `exit`,
and closes its descriptors.

A process that forks while it has brokers must not use them in the fork: both processes would read from
the same sockets. After `os.fork()` the child's copies are closed and every use raises an error that says
so; the parent does not notice.
"""

from __future__ import annotations

import os
import select
from _thread import allocate_lock, get_ident, start_new_thread
from collections import deque
from time import monotonic

from mitogen.core import latch, logs
from mitogen.core.errors import FORKED, ChannelError
from mitogen.core.signals import fire
from mitogen.core.timers import TimerList

if hasattr(select, "epoll"):
    from mitogen.core.poller import Poller as make_poller
else:
    # Sent along with the bundle where it is needed.
    from mitogen.core.pollers import make_poller  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from mitogen.core.stream import BasicStream
    from mitogen.core.timers import Timer

#: Brokers whose loop runs, in this process.
_running: list[Broker] = []


class Broker:
    """Multiplex all I/O and timers of a process on one thread, which starts at once."""

    #: Seconds that streams get to end by themselves during `shutdown`.
    shutdown_timeout = 3.0
    #: The thread is to end, and another one to go on later: a process forks safely with one thread only.
    _parked = False

    def __init__(self) -> None:
        #: Why no more work is taken, or None.
        self.dead_reason: str | None = None
        self.poller = make_poller()
        self.timers = TimerList()
        #: Everything that gets `on_shutdown`, in order of registration.
        self.streams: dict[BasicStream, None] = {}
        self._deferred: deque[Callable[[], object]] = deque()
        self._sleeping = False
        #: Streams are told to end, and nothing new is started.
        self.is_ending = False
        self._waker = os.pipe()
        for fd in self._waker:
            os.set_blocking(fd, False)
        self.poller.start_receive(self._waker[0], lambda: os.read(self._waker[0], 512))
        #: Held until the loop has ended; `join` waits for it.
        self._ended = allocate_lock()
        self._ended.acquire()
        self._thread_id = 0
        _running.append(self)
        self._start_thread()

    def _start_thread(self) -> None:
        start_new_thread(self._broker_main, ())

    # -- Handing over work; any thread ---------------------------------------------------------

    def defer(self, func: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """Call ``func(*args, **kwargs)`` on the broker thread; at once if this is it.

        :raises ChannelError: the broker has ended, or belongs to the process this one was forked from.
        """
        if get_ident() == self._thread_id:
            func(*args, **kwargs)
            return
        reason = self.dead_reason
        if reason:
            raise ChannelError("%s", reason)
        self._deferred.append(lambda: func(*args, **kwargs))
        if self._sleeping:
            self._sleeping = False
            try:
                os.write(self._waker[1], b"\0")
            except OSError:
                # Full: there are wake-ups enough. Closed: the loop has just ended, and the last
                # thing it does is to drain the queue.
                pass
        if self.dead_reason:
            # It ended in between, and may have drained the queue before this call came into it.
            self._run_deferred()

    def defer_sync(self, func: Callable[[], Any], timeout: float | None = None) -> Any:
        """Call `func()` on the broker thread, and return its result or raise what it raised.

        :param timeout: seconds to wait at most.
        :raises TimeoutError: the time passed; the call may still be made.
        :raises ChannelError: the broker has ended.
        """
        # Outside the bundle: the core itself never waits for its broker.
        from mitogen.core.defer import defer_sync

        return defer_sync(self, func, timeout)

    def call_later(self, seconds: float, func: Callable[[], object]) -> Timer:
        """Have `func()` called on the broker thread in `seconds`. Broker thread only.

        :returns: a timer, for `cancel()`.
        """
        return self.timers.schedule(monotonic() + seconds, func)

    # -- Streams -------------------------------------------------------------------------------

    def start_receive(self, stream: BasicStream) -> None:
        """Call ``stream.on_receive(broker)`` when its receive side is readable. Any thread."""
        self.defer(self._start_receive, stream)

    def _start_receive(self, stream: BasicStream) -> None:
        side = stream.receive_side
        if side is not None and not side.closed:
            self.poller.start_receive(side.fd, lambda: self._call(stream, stream.on_receive))
            self.streams[stream] = None

    def stop_receive(self, stream: BasicStream) -> None:
        """Undo `start_receive`. Any thread."""
        self.defer(self._stop_receive, stream)

    def _stop_receive(self, stream: BasicStream) -> None:
        if stream.receive_side is not None:
            self.poller.stop_receive(stream.receive_side.fd)

    def _start_transmit(self, stream: BasicStream) -> None:
        """Call ``stream.on_transmit(broker)`` when its transmit side is writable. Broker thread only."""
        side = stream.transmit_side
        if side is not None and not side.closed:
            self.poller.start_transmit(side.fd, lambda: self._call(stream, stream.on_transmit))

    def stop_transmit(self, stream: BasicStream) -> None:
        """Undo `_start_transmit`. Any thread."""
        self.defer(self._stop_transmit, stream)

    def _stop_transmit(self, stream: BasicStream) -> None:
        if stream.transmit_side is not None:
            self.poller.stop_transmit(stream.transmit_side.fd)

    def forget(self, stream: BasicStream) -> None:
        """Watch `stream` no longer, so that its descriptors can be closed. Broker thread only."""
        self._stop_receive(stream)
        self._stop_transmit(stream)
        self.streams.pop(stream, None)

    def keep_alive(self) -> bool:
        """Return True while something must end by itself before the loop may."""
        return any(stream.keep_alive for stream in self.streams)

    def _call(self, stream: BasicStream, method: Callable[[Broker], None]) -> None:
        try:
            method(self)
        except Exception:
            logs.log_exception("%r failed", stream)
            self.forget(stream)
            logs.attempt(stream, stream.on_disconnect, self)

    # -- The loop ------------------------------------------------------------------------------

    def _run_deferred(self) -> None:
        # Those that are there now: more may come as fast as they are run.
        for _ in range(len(self._deferred)):
            try:
                func = self._deferred.popleft()
            except IndexError:
                return  # Another thread drains as well, once the loop has ended.
            logs.attempt("a deferred call", func)

    def _loop_once(self) -> None:
        due = self.timers.next_due()
        timeout = 1e6 if due is None else max(0.0, due - monotonic())
        self._sleeping = True
        if self._deferred:
            timeout = 0.0
        ready = self.poller.poll(timeout)
        self._sleeping = False
        for callback in ready:
            callback()
        if due is not None:
            for timer in self.timers.take_due(monotonic()):
                if timer.active:
                    timer.active = False
                    logs.attempt("a timer", timer.func)
        # Last, so that what a deferred call changes is seen before the next sleep.
        self._run_deferred()

    def _broker_main(self) -> None:
        """Be the thread."""
        self._thread_id = get_ident()
        try:
            self._run()
        finally:
            # Another thread may get the number.
            self._thread_id = 0
            self._ended.release()

    def _run(self) -> None:
        """Handle events until `shutdown`, then end everything."""
        try:
            while not self.is_ending:
                self._loop_once()
            fire(self, "shutdown")
            for stream in list(self.streams):
                self._call(stream, stream.on_shutdown)
            grace = self.call_later(self.shutdown_timeout, bool)
            while self.keep_alive() and grace.active:
                self._loop_once()
        except BaseException:
            if self._parked:
                return
            logs.log_exception("the broker thread failed")
        self._end_streams()
        fire(self, "exit")
        self.dead_reason = "the broker has shut down"
        self._run_deferred()
        # What was started in the meantime.
        self._end_streams()
        self._close_fds()

    def _end_streams(self) -> None:
        for stream in list(self.streams):
            logs.attempt(stream, stream.on_disconnect, self)

    def _close_fds(self) -> None:
        self.poller.close()
        for fd in self._waker:
            os.close(fd)
        _running.remove(self)
        if not _running:
            latch.close_idle_pipes()

    # -- Ends; any thread ----------------------------------------------------------------------

    def shutdown(self) -> None:
        """Ask the loop to end all streams and stop; returns at once. Idempotent."""
        try:
            self.defer(self._begin_shutdown)
        except ChannelError:
            pass  # It has ended.

    def _begin_shutdown(self) -> None:
        if not self.is_ending:
            fire(self, "before_shutdown")
            self.is_ending = True

    def join(self, timeout: float | None = None) -> None:
        """Wait until the loop has ended, at most `timeout` seconds; not if it is the caller."""
        if self.dead_reason is FORKED or get_ident() == self._thread_id:
            return
        if self._ended.acquire(True, -1 if timeout is None else timeout):
            self._ended.release()

    def _forked(self) -> None:
        self.dead_reason = FORKED
        self.is_ending = True
        for stream in list(self.streams):
            stream.on_fork()
        self._close_fds()


def _after_fork_in_child() -> None:
    latch.begin_era()
    for broker in _running[:]:
        broker._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
