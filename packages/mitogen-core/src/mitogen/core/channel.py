"""A receiver and a sender in one: `Channel`. Any thread.

For both directions of a conversation; `Context.open_channel` wires two of them up. Outside the bundle.
"""

from __future__ import annotations

from mitogen.core.receiver import Receiver, Sender

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mitogen.core.context import Context
    from mitogen.core.router import Router


class Channel(Sender, Receiver):
    """Both directions in one object: a receiver here, and a sender to a handle of `context`.

    :param dst_handle: handle that the other end receives on; may be set later as `dst_handle`.
    :param handle: handle to receive on here; None takes an unused one.
    """

    def __init__(
        self, router: Router, context: Context, dst_handle: int, handle: int | None = None
    ) -> None:
        Receiver.__init__(self, router, handle, True, context)
        self.context = context
        self.dst_handle = dst_handle

    def close(self, reason: str | None = None) -> None:
        """Close both directions.

        :param reason: what the other end is told.
        """
        Receiver.close(self)
        Sender.close(self, reason)

    def __repr__(self) -> str:
        return "Channel(%r, %r)" % (Sender.__repr__(self), Receiver.__repr__(self))
