"""Calls made by other contexts: `Dispatcher`, which runs them in the main thread, in order.

The data of a CALL_FUNCTION message is ``(chain_id, module, class or None, function, args, kwargs)``. The
broker thread queues it, the main thread runs it and sends the reply. Whatever a call does (raise, exit,
return what can't be sent) becomes that call's error, and the next call finds the context unharmed.

Interrupting: a caller whose time-out passed sends CANCEL_CALL with its reply handle. The broker thread
then signals the main thread, and the signal's handler raises `CallInterrupted` out of whatever the call
is doing; a signal is what also ends sleeps and reads. The handler looks again whether that call is still
the current one, because signals are handled late: it must not hit the next call.

After a call in a chain failed, later calls of that chain fail with the same error and are not run: that
lets a caller send a whole sequence without waiting for each answer.
"""

from __future__ import annotations

# The C module alone: `signal` imports `enum` for the names of constants.
import _signal  # type: ignore[import-not-found]
import sys
from _thread import get_ident, start_new_thread

from mitogen.core import handles, logs, serialization
from mitogen.core.errors import CallError, ChannelError, Error, LatchError, cut, text_of
from mitogen.core.latch import Latch
from mitogen.core.message import make
from mitogen.core.router import has_parent_authority

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mitogen.core.child import ExternalContext
    from mitogen.core.message import Message
    from mitogen.core.router import Router

_INTERRUPTED = "cancelled, or shutting down"


class CallInterrupted(KeyboardInterrupt):
    """Raised in a running call when its caller waits no longer, or the context is shutting down.

    Catch it to clean up, and raise it again.
    """


class Dispatcher:
    """Run the calls that arrive for a context.

    :param econtext: what functions that take it are given.
    :ivar calls: the messages of those that wait to be run.
    :ivar failed_chains: the error of each chain that failed, by its id.
    """

    def __init__(self, router: Router, econtext: ExternalContext) -> None:
        self._router = router
        self._econtext = econtext
        self.calls = Latch()
        self.failed_chains: dict[str, CallError] = {}
        #: Source and reply handle of the call that runs now.
        self._current: tuple[int, int] | None = None
        self._cancelled: set[tuple[int, int]] = set()
        self._stopping = False
        #: A signal of `_interrupt` is on its way. It may come late, when another call runs.
        self._ours = False
        self._thread_id = get_ident()
        _signal.signal(_signal.SIGINT, self._on_signal)
        router.add_handler(self._on_call, handles.CALL_FUNCTION, policy=has_parent_authority)
        router.add_handler(self._on_cancel, handles.CANCEL_CALL, policy=has_parent_authority)
        router.add_handler(self._on_aside, handles.CALL_ASIDE, policy=has_parent_authority)

    # -- Broker thread -------------------------------------------------------------------------

    def _on_call(self, msg: Message) -> None:
        if not msg.is_dead:
            try:
                self.calls.put(msg)
            except LatchError:
                self._router._refuse(msg, "context %d is shutting down" % self._router.context_id)

    def _on_aside(self, msg: Message) -> None:
        if not msg.is_dead:
            start_new_thread(self._run_aside, (msg,))

    def _on_cancel(self, msg: Message) -> None:
        if msg.is_dead:
            return
        key = (msg.src_id, int(msg.data))
        # Those of calls that were not seen yet. A stale one is harmless: handles are not reused.
        if len(self._cancelled) > 99999:
            self._cancelled.clear()
        self._cancelled.add(key)
        if self._current == key:
            self._interrupt()

    def finish(self) -> None:
        """Let `run` return once the calls that are queued were run."""
        try:
            self.calls.put(None)
        except LatchError:
            pass

    def stop(self) -> None:
        """Let `run` return as soon as it can: interrupt the running call, refuse those queued."""
        self._stopping = True
        self.calls.close()
        if self._current is not None:
            self._interrupt()

    def _interrupt(self) -> None:
        self._ours = True

        def kill() -> None:
            if self._ours:
                _signal.pthread_kill(self._thread_id, _signal.SIGINT)

        kill()
        # A signal that comes just before the main thread enters a system call does not end that.
        self._router.broker.call_later(0.05, kill)

    # -- Main thread ---------------------------------------------------------------------------

    def run(self) -> None:
        """Run calls until `finish` or `stop`."""
        while True:
            try:
                msg = self.calls.get()
            except LatchError:
                return
            if msg is None:
                self.calls.close()
                return
            self._run_call(msg)
            if self._router.broker.dead_reason:
                # A copy of this process, forked by the call, came back from it.
                return

    def _on_signal(self, signum: int, frame: object) -> None:
        ours, self._ours = self._ours, False
        current = self._current
        if current is None:
            return
        is_due = self._stopping or current in self._cancelled
        if is_due or not ours:
            self._current = None
            raise CallInterrupted(_INTERRUPTED) if is_due else KeyboardInterrupt

    def _run_call(self, msg: Message) -> None:
        key = (msg.src_id, msg.reply_to)
        chain_id = None
        try:
            try:
                call = msg.unpickle()
                failed = self.failed_chains.get(call[0])
                chain_id = call[0]
                if failed:
                    raise failed
                self._current = key
                if self._stopping or key in self._cancelled:
                    raise CallInterrupted(_INTERRUPTED)
                result = self._call(*call)
            finally:
                self._current = None
                self._cancelled.discard(key)
            if msg.reply_to:
                self._reply(msg, result)
        except BaseException as e:
            self._current = None
            self._fail(msg, chain_id, e)

    def _run_aside(self, msg: Message) -> None:
        """Run a call in this thread, which is its own: nothing can interrupt it."""
        try:
            self._reply(msg, self._call(*msg.unpickle()))
        except BaseException as e:
            self._fail(msg, None, e)

    def _call(
        self,
        chain_id: str | None,
        module: str,
        class_name: str | None,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        # Also where it is there: another thread may be about to import it.
        __import__(module)
        obj: Any = sys.modules[module]
        if class_name:
            for part in class_name.split("."):
                obj = getattr(obj, part)
        func: Any = getattr(obj, name)
        if getattr(func, "mitogen_takes_econtext", None):
            kwargs["econtext"] = self._econtext
        if getattr(func, "mitogen_takes_router", None):
            kwargs["router"] = self._router
        return func(*args, **kwargs)

    def _reply(self, msg: Message, result: Any) -> None:
        body = serialization.dumps(result, "result")
        here = self._router.context_id
        self._router.route(make(msg.src_id, here, here, msg.reply_to, 0, body))

    def _fail(self, msg: Message, chain_id: str | None, exc: BaseException) -> None:
        try:
            if isinstance(exc, CallInterrupted):
                # Whoever interrupts a call does not wait for what comes of it, and may be about to end.
                raise exc
            # Outside the bundle: few calls fail.
            from mitogen.core.describe import describe

            error = describe(exc)
        except BaseException:
            # It could not be had: the parent is gone, or there is no descriptor left to wait with.
            error = CallError(text_of(type(exc))[8:-2], cut(text_of(exc)))
        # Its frames would keep the arguments and results of the failed call alive.
        error.__traceback__ = error.__context__ = None
        if chain_id is not None:
            self.failed_chains[chain_id] = error
        try:
            if msg.reply_to:
                self._reply(msg, error)
            elif chain_id is None:
                logs.log(logs.ERROR, "a call without a reply failed: %s", error)
        except ChannelError:
            pass  # Nobody is left to be told.
        except Error:
            # Larger than a message may be. This is not, or nothing could be called here at all.
            error = CallError(cut(error.type_name, 500), cut(error.text, 500))
            self._reply(msg, error)
