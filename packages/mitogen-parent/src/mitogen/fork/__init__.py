"""Contexts that are forks of this process: the transport `fork`, what `Router.fork` does.

Owns the link to such a context, and what is waited for before it is handed out. How a process with
brokers forks is in `mitogen.fork.alone`; what becomes of the copy, in `mitogen.fork.copied`.

A fork needs no first stage and no hello: the core is there. Calls may follow it at once, unless a
function of the program's runs there first and may fail, which the caller is to be told.

With `via`, the context there forks itself. It does so between two calls, by the thread that runs them,
since a call beside them has a thread of its own, and a process forks with one thread only.
"""

from __future__ import annotations

import sys

from mitogen.core.errors import StreamError, TimeoutError
from mitogen.core.latch import Latch
from mitogen.fork.alone import fork_alone
from mitogen.fork.copied import ON_START_FAILED, run_copy
from mitogen.parent.connection import Connection
from mitogen.parent.handshake import WAIT_READY
from mitogen.parent.link import ChildStream as Stream
from mitogen.parent.local import add_leading
from mitogen.parent.options import Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Union

    from mitogen.core.child import ExternalContext
    from mitogen.parent.context import Context
    from mitogen.parent.starter import Starter

    #: A function, or how it is named on the wire.
    Function = Union[Callable[..., object], tuple[str, Union[str, None], str], None]

__all__ = ["ForkConnection", "ForkOptions", "Stream", "fork"]


class ForkOptions(Options):
    """What `Router.fork` can be told.

    :param on_fork: called in the copy as early as possible.
    :param on_start: called in the copy, with its `ExternalContext`, before the first call.
    """

    def __init__(self, on_fork: Function, on_start: Function, debug: bool, profiling: bool) -> None:
        for name, function in (("on_fork", on_fork), ("on_start", on_start)):
            if function is not None and not callable(function):
                raise TypeError("%s must be a function or None, not %r" % (name, function))
        Options.__init__(self, debug=debug, profiling=profiling)
        self.on_fork = on_fork
        self.on_start = on_start


def fork(
    starter: Starter,
    on_fork: Callable[[], object] | None,
    on_start: Callable[[ExternalContext], object] | None,
    debug: bool,
    profiling: bool,
    via: Context | None,
) -> Context:
    """Start a context that is a fork of this process, or of that of `via`: see `Router.fork`."""
    options = ForkOptions(on_fork, on_start, debug, profiling)
    if via is not None:
        # Here: a context that forks itself need not be able to call others.
        from mitogen.parent.callchain import function_path

        options.on_fork = on_fork and function_path(on_fork, via)
        options.on_start = on_start and function_path(on_start, via)
    context = starter.start_context(ForkConnection, options, via)
    context._is_copy = via is None
    return context


def _resolve(function: Function) -> Any:
    """Return a function, looked up if it is a name."""
    if type(function) is not tuple:
        return function
    module, class_name, name = function
    __import__(module)
    obj: Any = sys.modules[module]
    for part in [*(class_name or "").split("."), name]:
        obj = getattr(obj, part) if part else obj
    return obj


class ForkConnection(Connection):
    """Fork this process, and make the copy a context."""

    transport = "fork"
    options_class = ForkOptions
    #: Started with `via`, by the thread there that runs calls.
    in_line = True

    def __init__(self, starter: Starter, options: Options) -> None:
        Connection.__init__(self, starter, options)
        values = vars(options)
        self.on_fork, self.on_start = _resolve(values["on_fork"]), _resolve(values["on_start"])
        #: Gets the reason why the context is gone; or None, once `on_start` has ended or takes long.
        self._started = Latch()
        self.started_handle = 0

    def command(self) -> tuple[list[str], str]:
        return [], "a copy of this process"

    def launch(self, argv: list[str], executable: str, opened: list[int]) -> None:
        """Fork; return in this process only.

        :raises StreamError: another thread runs, or the system refused.
        """
        config = self.child_config()
        add_leading(config)
        if self.on_start:
            self.started_handle = self.router.add_handler(
                lambda msg: self._started.put(None),
                persist=False,
                policy=lambda msg, stream: msg.src_id == self.context_id,
            )
        try:
            fork_alone(self._pids, lambda: run_copy(self, config, opened), self.options.connect_timeout)
            if self.broker.dead_reason:
                raise StreamError("%s", self.broker.dead_reason)
        except BaseException as e:
            if isinstance(e, StreamError):
                raise StreamError("fork context: %s", e) from None
            if isinstance(e, OSError):
                raise StreamError("fork context: can't fork: %s", e.strerror) from e
            raise

    def start(self) -> None:
        try:
            Connection.start(self)
        except BaseException:
            self._forget_started()
            raise

    def _forget_started(self) -> None:
        if self.started_handle:
            self.router._handlers.pop(self.started_handle, None)

    def _attach(self) -> None:
        self.stream.handshake.state = WAIT_READY
        self.stream.takes_code = True
        Connection._attach(self)
        if not self.on_fork and not self._failed:
            self._hand_out()

    def _hand_out(self) -> None:
        self.context.python_version = tuple(sys.version_info[:3])
        Connection._hand_out(self)

    def _on_deadline(self) -> None:
        self.fail("timed out: waited %s seconds for it to start" % self.options.connect_timeout)

    def fail(self, reason: str) -> None:
        self.errors.on_receive(self.broker)
        start = self.errors.tail.rfind(ON_START_FAILED.encode())
        if self._ready and start >= 0:
            reason = "%s: %s" % (reason, self.errors.tail[start:].decode("utf-8", "replace").strip())
        Connection.fail(self, reason)
        self._forget_started()
        self._started.put(self.stream.reason)

    def wait(self) -> Context:
        context = Connection.wait(self)
        if self.on_start:
            try:
                reason = self._started.get(self.options.connect_timeout)
            except TimeoutError:
                reason = None  # It keeps the interpreter to itself; its own affair.
            if reason:
                raise StreamError("%s", reason)
        return context
