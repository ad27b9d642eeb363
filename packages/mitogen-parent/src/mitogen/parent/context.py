"""A context that can be called: `Context`, for masters and for children that start others."""

from __future__ import annotations

import mitogen.core
from mitogen.core import handles
from mitogen.core.latch import Latch
from mitogen.core.message import Message
from mitogen.parent.callchain import CallChain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec, TypeVar

    from mitogen.core.receiver import Receiver
    from mitogen.core.router import Router as CoreRouter

    P = ParamSpec("P")
    T = TypeVar("T")


class Context(mitogen.core.Context):
    """A context whose functions can be called. Any thread may use it.

    :ivar default_call_chain: the `CallChain`, not pipelined and without a time-out, that `call`,
        `call_async` and `call_no_reply` use.
    :ivar python_version: version of its interpreter, as in ``(3, 11, 7)``, where this process started it.
    """

    python_version: tuple[int, ...] | None = None

    def __init__(self, router: CoreRouter | None, context_id: int, name: str | None = None) -> None:
        mitogen.core.Context.__init__(self, router, context_id, name)
        if router is not None:
            self.default_call_chain = CallChain(self)

    def call_async(self, fn: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> Receiver:
        """See `CallChain.call_async`."""
        return self.default_call_chain.call_async(fn, *args, **kwargs)

    def call(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See `CallChain.call`."""
        return self.default_call_chain.call(fn, *args, **kwargs)

    def call_no_reply(self, fn: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """See `CallChain.call_no_reply`."""
        self.default_call_chain.call_no_reply(fn, *args, **kwargs)

    def shutdown(self, wait: bool = False) -> Latch | None:
        """Ask the context to finish its calls and go. A hung one is ended by force: its running call is
        interrupted after its grace period, and its process gets SIGTERM, then SIGKILL.

        :param wait: return once the context has ended.
        :returns: a `Latch` that gets None when the context has ended; None if `wait` is set.
        :raises Error: another context started it.
        :raises ChannelError: the broker has ended, and the context with it.
        """
        router = self._router()
        ended = Latch()
        router.broker.defer_sync(lambda: router.end_context(self, ended))  # type: ignore[attr-defined]
        if wait:
            ended.get()
            return None
        return ended

    def send_shutdown(self, now: bool) -> None:
        """Send the SHUTDOWN message alone.

        :param now: do not let it finish what it runs.
        """
        self.send(Message(handle=handles.SHUTDOWN, data=b"now" if now else b""))
