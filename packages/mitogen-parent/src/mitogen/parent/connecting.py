"""Starting many contexts at once: `Connector`, what `Router.connect_async` hands its work to.

One thread starts the programs, one after the other, since that may block (a transport may run another
program first); the broker brings all of them up. No more than `Router.max_connecting` are under way at a
time, so that a fleet does not exhaust processes, terminals and descriptors at once. The thread ends when
nothing is left to start, and the next request makes a new one.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future

from mitogen.core.errors import Error, StreamError, TimeoutError
from mitogen.parent.childstart import ChildStart
from mitogen.parent.registry import find, make_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from mitogen.core.receiver import Receiver
    from mitogen.core.timers import Timer
    from mitogen.parent.connection import Connection
    from mitogen.parent.context import Context
    from mitogen.parent.options import Options
    from mitogen.parent.router import Router


class _Told:
    """What a connection tells its outcome, in the place of a latch."""

    def __init__(self, tell: Callable[[StreamError | None], object]) -> None:
        self.put = tell


class _Request:
    """A context that is to be started.

    :param done: called once, when it is up or has failed.
    """

    def __init__(
        self,
        router: Router,
        cls: type[Connection],
        options: Options,
        via: Context | None,
        done: Callable[[], object],
    ) -> None:
        self._router = router
        self._cls = cls
        self._options = options
        self._via = via
        self._done = done
        self.future: Future[Context] = Future()

    def start(self) -> None:
        """Begin, unless it was cancelled; the thread that starts programs."""
        if not self.future.set_running_or_notify_cancel():
            self._done()
            return
        try:
            if self._via is None:
                self._start_here()
            else:
                self._start_via(self._via)
        except BaseException as e:
            self._fail(e)

    def _start_here(self) -> None:
        connection = self._cls(self._router, self._options)

        def tell(error: StreamError | None) -> None:
            if error is None:
                self._succeed(connection.context)
            else:
                self._fail(error)

        connection.result = _Told(tell)
        connection.start()

    def _start_via(self, via: Context) -> None:
        start = ChildStart(via, self._cls, self._options)
        broker = self._router.broker
        receiver = start.begin()

        def on_late() -> None:
            receiver.notify = None
            self._fail(start.error(TimeoutError()))

        def on_answer(receiver: Receiver) -> None:
            receiver.notify = None
            for timer in timers:
                timer.cancel()
            try:
                context = start.child(receiver.get(block=False))
            except Error as e:
                self._fail(start.error(e))
            else:
                self._succeed(context)

        def watch() -> None:
            if start.timeout is not None:
                timers.append(broker.call_later(start.timeout, on_late))
            receiver.notify = on_answer
            if not receiver.empty():
                on_answer(receiver)

        timers: list[Timer] = []
        broker.defer(watch)

    def _succeed(self, context: Context) -> None:
        self._done()
        self.future.set_result(context)

    def _fail(self, error: BaseException) -> None:
        self._done()
        self.future.set_exception(error)


class Connector:
    """Start contexts that nobody waits for, a limited number at a time. Any thread.

    :param router: the router that they will belong to.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self._changed = threading.Condition()
        self._waiting: deque[_Request] = deque()
        self._under_way = 0
        self._thread: threading.Thread | None = None

    def submit(
        self, name: str, args: tuple[Any, ...], via: Context | None, options: dict[str, Any]
    ) -> Future[Context]:
        """See `Router.connect_async`."""
        if name == "fork":
            raise StreamError("a fork is made by the thread that asks for it: call router.fork()")
        cls = find(name)
        request = _Request(self._router, cls, make_options(cls, args, options), via, self._on_done)
        with self._changed:
            self._waiting.append(request)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="mitogen-connector", daemon=True)
                self._thread.start()
            self._changed.notify()
        return request.future

    def _on_done(self) -> None:
        with self._changed:
            self._under_way -= 1
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._waiting and self._under_way >= self._router.max_connecting:
                    self._changed.wait()
                if not self._waiting:
                    self._thread = None
                    return
                request = self._waiting.popleft()
                self._under_way += 1
            request.start()
