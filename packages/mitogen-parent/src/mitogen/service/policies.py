"""Who may call a method of a service: `Policy`, `AllowParents`, `AllowAny`.

Asked by the thread that takes calls in, before anything of a call is acted on: it must not block.
"""

from __future__ import annotations

from mitogen.core.router import has_parent_authority

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mitogen.core.message import Message
    from mitogen.service.base import Service


class Policy:
    """Decides whether a method may be called. Derive from it for rules of your own.

    A method may have several policies: one that says yes is enough.
    """

    def is_authorized(self, service: Service, msg: Message) -> bool:
        """Return True if `msg` may call the method. It must not block; what it raises is a no."""
        raise NotImplementedError


class AllowParents(Policy):
    """Parents may, contexts that act with the authority of one, and this context itself."""

    def is_authorized(self, service: Service, msg: Message) -> bool:
        """Return True for a message of a parent."""
        return has_parent_authority(msg)


class AllowAny(Policy):
    """Any context of the tree may: do not trust the arguments, and `Sender` and `Context` among them."""

    def is_authorized(self, service: Service, msg: Message) -> bool:
        """Return True."""
        return True
