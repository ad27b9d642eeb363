"""How the calls of a service run: `Invoker`, `SerializedInvoker`, `DeduplicatingInvoker`.

An invoker is given calls in the order in which they arrived, by one thread at a time (`take`), and says
whether that thread shall go on with `run`, at the same time as others. `take` must not block.
"""

from __future__ import annotations

from _thread import allocate_lock
from collections import deque

from mitogen.core import logs, serialization
from mitogen.core.describe import describe
from mitogen.core.errors import CallError, ChannelError, Error, TimeoutError, cut
from mitogen.core.message import make

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from mitogen.core.message import Message
    from mitogen.core.serialization import Body
    from mitogen.service.base import Service

#: Seconds that an answer waits for room on its link. By then the caller has stopped reading.
ANSWER_WAIT = 30.0


class Call:
    """A call of a service, until it is answered: each call ends with `answer`, `fail` or `end`.

    :param msg: the message that it came in.
    :param release: called once when it has ended.
    """

    def __init__(self, msg: Message, release: Callable[[], object]) -> None:
        self.msg = msg
        self._release: Callable[[], object] = release
        self.service = self.method_name = ""
        self.kwargs: dict[str, Any] = {}
        #: What is called with `kwargs`, once that is known.
        self.method: Any = None
        self.wants_reply = True

    def unpickle(self) -> None:
        """Find out what is called.

        :raises Error: the message is not that of a call.
        """
        try:
            self.service, self.method_name, kwargs = self.msg.unpickle()
            self.kwargs = dict(kwargs)
            if not (type(self.service) is type(self.method_name) is str):
                raise TypeError
        except (TypeError, ValueError):
            raise Error("the message is no call of a service") from None

    def run(self) -> None:
        """Run the method, and answer."""
        try:
            result = self.method(**self.kwargs)
            if self.wants_reply:
                self.answer(serialization.dumps(result, "result"))
            else:
                self.end()
        except BaseException as e:
            self.fail(e)

    def answer(self, body: Body) -> None:
        """Send what the method returned, serialized. Waits while the link is full, within limits."""
        try:
            self._send(body)
        finally:
            self.end()

    def _send(self, body: Body) -> None:
        msg, router = self.msg, self.msg.router
        if not msg.reply_to or router is None:
            return
        here = router.context_id
        try:
            router.route(make(msg.src_id, here, here, msg.reply_to, 0, body), ANSWER_WAIT)
        except ChannelError:
            pass  # Nobody is left to be told.
        except TimeoutError as e:
            # The caller reads nothing, so it can't be told either.
            logs.log(logs.WARNING, "%s.%s() is not answered: %s", self.service, self.method_name, e)
        except Error as e:
            # Larger than a message may be.
            small = serialization.dumps(CallError("mitogen.core.errors.Error", cut(str(e), 500)))
            router.broker.defer(router.route, make(msg.src_id, here, here, msg.reply_to, 0, small))

    def fail(self, exc: BaseException) -> None:
        """Tell the caller of an error; log it if it does not wait for an answer."""
        error = describe(exc)
        # Its frames would keep the arguments of the call alive.
        error.__traceback__ = error.__context__ = None
        if not self.msg.reply_to:
            logs.log(logs.ERROR, "%s.%s() failed: %s", self.service, self.method_name, error)
        self.answer(serialization.dumps(error))

    def end(self) -> None:
        """Note that nothing more will be done for this call. Idempotent."""
        release, self._release = self._release, int
        release()


class Invoker:
    """Any number of calls of one service at the same time."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._lock = allocate_lock()

    def take(self, call: Call) -> bool:
        """Take a call in; return True if the thread shall `run` it."""
        return True

    def run(self, call: Call) -> None:
        """Run a call that was just taken."""
        call.run()


class SerializedInvoker(Invoker):
    """One call of the service at a time, in the order in which they arrived."""

    def __init__(self, service: Service) -> None:
        Invoker.__init__(self, service)
        self._waiting: deque[Call] = deque()
        self._is_busy = False

    def take(self, call: Call) -> bool:
        """Put a call in line; the thread is needed unless another one goes along it already."""
        with self._lock:
            self._waiting.append(call)
            is_first, self._is_busy = not self._is_busy, True
            return is_first

    def run(self, call: Call) -> None:
        """Run all calls that are in line."""
        while True:
            with self._lock:
                if not self._waiting:
                    self._is_busy = False
                    return
                call = self._waiting.popleft()
            call.run()


class DeduplicatingInvoker(Invoker):
    """Calls with the same arguments run once: all callers get the one result, now and later.

    Results are kept for as long as the service lives. What is raised is told to those who wait for it,
    and the next call runs again. Methods must not be `no_reply`, nor take `msg`.
    """

    def __init__(self, service: Service) -> None:
        Invoker.__init__(self, service)
        self._results: dict[object, Body] = {}
        self._waiting: dict[object, list[Call]] = {}

    def key_of(self, call: Call) -> object:
        """Return what calls with the same result have in common."""
        body = serialization.dumps(sorted(call.kwargs.items()), "kwargs")
        return call.method_name, b"".join(body) if isinstance(body, list) else body

    def take(self, call: Call) -> bool:
        """Note who waits; the thread is needed for the first one, and where the result is known."""
        key = self.key_of(call)
        with self._lock:
            if key in self._results:
                return True
            waiting = self._waiting.setdefault(key, [])
            waiting.append(call)
            return len(waiting) == 1

    def run(self, call: Call) -> None:
        """Answer a call, and all that wait for the same."""
        key = self.key_of(call)
        body = self._results.get(key)
        if body is not None:
            call.answer(body)
            return
        failure = None
        try:
            body = serialization.dumps(call.method(**call.kwargs), "result")
        except BaseException as e:
            failure = e
        with self._lock:
            if body is not None:
                self._results[key] = body
            calls = self._waiting.pop(key)
        for one in calls:
            if body is None:
                one.fail(failure or Error("no result"))
            else:
                one.answer(body)
