"""A reference to a context: `Context`, with what every context can do with one.

Contexts that start others use `mitogen.parent.Context`, which adds calls. A Context may be sent to other
contexts and is usable there: what arrives is a new object, bound to the receiving router. Two references
are equal if their ids are.
"""

from __future__ import annotations

from mitogen.core import serialization
from mitogen.core.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mitogen.core.message import Message
    from mitogen.core.receiver import Receiver
    from mitogen.core.router import Router


class Context:
    """A context somewhere in the tree. Any thread may use it.

    :param router: the router by which messages reach it; None for a mere name.
    :param context_id: its id.
    :param name: its name for people; not unique.
    :ivar reason: why it can't be reached any more; empty while it can, as far as is known here.
    """

    reason = ""

    def __init__(self, router: Router | None, context_id: int, name: str | None = None) -> None:
        self.router = router
        self.context_id = context_id
        self.name = name or "context-%d" % context_id

    def __repr__(self) -> str:
        return "%s(%d, %r)" % (type(self).__name__, self.context_id, self.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Context) and other.context_id == self.context_id

    def __hash__(self) -> int:
        return hash(self.context_id)

    def __getattr__(self, name: str) -> Any:
        """Find what only `mitogen.parent.Context` has, in a child that has no such class yet."""
        if name[0] == "_":
            raise AttributeError(name)
        return self._router().find_of_context(self, name)

    def _router(self) -> Router:
        if self.router is None:
            raise Error("%r was received outside of a router", self)
        return self.router

    def send(self, msg: Message) -> None:
        """Send `msg` to this context; sets its `dst_id`."""
        msg.dst_id = self.context_id
        self._router().route(msg)

    def send_async(self, msg: Message, persist: bool = False) -> Receiver:
        """Send `msg` and return a receiver for replies to it; sets its `dst_id` and `reply_to`.

        :param persist: expect more replies than one.
        """
        # Outside the bundle: calls that only return something need no receiver.
        from mitogen.core.receiver import send_async

        return send_async(self, msg, persist)

    def send_await(self, msg: Message, deadline: float | None = None) -> Any:
        """Send `msg`, wait for its one reply, and return the unpickled value.

        :param deadline: seconds to wait at most.
        :raises TimeoutError: no reply within `deadline`.
        :raises ChannelError: the context is gone, or answered that it could not handle the message.
        """
        from mitogen.core.receiver import send_await

        return send_await(self, msg, deadline)


def _make(router: Router | None, context_id: int, name: str) -> Context:
    if context_id >> 32:  # Fails for anything but a number.
        raise ValueError(context_id)
    return router.make_context(context_id, name) if router else Context(None, context_id, name)


serialization.register(Context, lambda context: (context.context_id, context.name), _make)
