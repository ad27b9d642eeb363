"""Where a message goes: a table, and one decision function. Pure.

Owns what a context that has started no other knows of the tree: itself, its parents, and the link to the
first of them. `mitogen.core.forwarding` adds what a context with children knows; it is outside the
bundle, since few children have children.

A link is any object; the table compares and returns links and never calls them. The router that owns the
streams carries decisions out, and the property tests and the scale simulator use the very same functions
with no I/O at all.

Mutated by the broker thread only. Read by any thread: each decision makes single reads.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Refusal(str):
    """Why a message is neither delivered nor forwarded: the format of the sentence that says so.

    Not an Enum, as the other constants of the wire path: importing `enum` delays a child's start.
    """


NO_ROUTE = Refusal("no route to context %(dst)d from context %(here)d")
SPOOFED = Refusal("a message from context %(src)d came over the wrong link")
TOO_LARGE = Refusal("the message is larger than the limit of %(limit)d bytes")


#: What `RoutingTable.decide` returns for a message to this context.
DELIVER = Refusal()


class RoutingTable:
    """The routes that a context without children knows.

    :param context_id: id of this context.
    :param parent_ids: ids of the contexts above, nearest first; empty in a master.
    :param max_message_size: largest body, in bytes, that is passed on.
    """

    def __init__(
        self,
        context_id: int,
        parent_ids: Iterable[int],
        max_message_size: int,
    ) -> None:
        self.context_id = context_id
        self.parent_ids = list(parent_ids)
        self.max_message_size = max_message_size
        #: The link to the parent: where everything goes that no route is known for.
        self.parent_link: object = None

    def remove_link(self, link: object) -> list[int]:
        """Forget a link and every route over it; return the ids of those routes."""
        if link is self.parent_link:
            self.parent_link = None
        return []

    def link_to(self, context_id: int) -> object:
        """Return the link that messages for `context_id` take: a known route's, else the parent's."""
        return self.parent_link

    def reaches(self, context_id: int) -> bool:
        """Return True if `context_id` is this context, or some link leads to it."""
        return context_id == self.context_id or self.link_to(context_id) is not None

    def decide(
        self,
        dst_id: int,
        src_id: int,
        auth_id: int,
        size: int,
        link: object,
        unidirectional: bool,
        reply_to: int = 0,
    ) -> object:
        """Decide what happens to a message.

        :param size: bytes in its body.
        :param link: the link it came on, None if it was made in this context.
        :param unidirectional: refuse what children send to anyone but this context and its parents.
        :param reply_to: what its header says.
        :returns: `DELIVER`, the link to forward it on, or why not: another `Refusal`.
        """
        here = self.context_id
        if link is not None and here in (auth_id, src_id):
            return SPOOFED
        if size > self.max_message_size:
            return TOO_LARGE
        if dst_id == here:
            return DELIVER
        out = self.parent_link
        # Never back where it came from: the sender took us for the way, so there is none.
        return NO_ROUTE if out is None or link is not None else out

    def explain(self, refusal: Refusal, dst_id: int, src_id: int) -> str:
        """Return the sentence that a sender is told."""
        return refusal % {
            "dst": dst_id,
            "src": src_id,
            "here": self.context_id,
            "limit": self.max_message_size,
        }
