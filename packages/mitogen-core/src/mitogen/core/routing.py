"""Where a message goes: a table of links, and one decision function. Pure.

Owns what this context knows of the tree: itself, its parents, and which link leads to which descendant.
A link is any object; the table compares and returns links and never calls them. The router that owns
the streams carries decisions out, and the property tests and the scale simulator use the very same
function with no I/O at all.

A child is not trusted, so before a message that came over a link is delivered or forwarded, its claim
is checked: the link that would carry a reply to `auth_id`, and the one to `src_id`, must be the link it
came on. `unidirectional` further restricts whom children may talk to: this context and its parents.

Mutated by the broker thread only. Read by any thread: each decision makes single dictionary reads.
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
SPOOFED = Refusal("a message claiming to come from context %(src)d came over the wrong link")
UNIDIRECTIONAL = Refusal(
    "context %(here)d is unidirectional: context %(src)d may not talk to context %(dst)d"
)
TOO_LARGE = Refusal("the message is larger than the limit of %(limit)d bytes")


#: What `RoutingTable.decide` returns for a message to this context.
DELIVER = Refusal()


class RoutingTable:
    """The routes that one context knows.

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
        self._links: dict[int, object] = {}

    def add(self, target_id: int, link: object) -> None:
        """Let messages for `target_id` take `link`. Replaces what was known."""
        self._links[target_id] = link

    def remove(self, target_id: int) -> object:
        """Forget the route to `target_id`; return its link, or None if there was none."""
        return self._links.pop(target_id, None)

    def remove_link(self, link: object) -> list[int]:
        """Forget a link and every route over it; return the ids of those routes."""
        gone = [target for target, other in self._links.items() if other is link]
        for target in gone:
            del self._links[target]
        if link is self.parent_link:
            self.parent_link = None
        return gone

    def link_to(self, context_id: int) -> object:
        """Return the link that messages for `context_id` take: a known route's, else the parent's."""
        return self._links.get(context_id, self.parent_link)

    def reaches(self, context_id: int) -> bool:
        """Return True if `context_id` is this context, or some link leads to it."""
        return context_id == self.context_id or self.link_to(context_id) is not None

    def decide(
        self, dst_id: int, src_id: int, auth_id: int, size: int, link: object, unidirectional: bool
    ) -> object:
        """Decide what happens to a message.

        :param size: bytes in its body.
        :param link: the link it came on, None if it was made in this context.
        :param unidirectional: refuse what children send to anyone but this context and its parents.
        :returns: `DELIVER`, the link to forward it on, or why not: another `Refusal`.
        """
        here = self.context_id
        routes = self._links
        if link is not None:
            if routes.get(auth_id, self.parent_link) is not link or (
                src_id != auth_id and routes.get(src_id, self.parent_link) is not link
            ):
                return SPOOFED
            if here in (auth_id, src_id):
                return SPOOFED
        if size > self.max_message_size:
            return TOO_LARGE
        if dst_id == here:
            return DELIVER
        out = routes.get(dst_id, self.parent_link)
        if out is None or out is link:
            # Never back where it came from: the sender took us for the way, so there is none.
            return NO_ROUTE
        if (
            unidirectional
            and link is not None
            and link is not self.parent_link
            and dst_id not in self.parent_ids
        ):
            return UNIDIRECTIONAL
        return out

    def explain(self, refusal: Refusal, dst_id: int, src_id: int) -> str:
        """Return the sentence that a sender is told."""
        return refusal % {
            "dst": dst_id,
            "src": src_id,
            "here": self.context_id,
            "limit": self.max_message_size,
        }
