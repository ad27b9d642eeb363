"""Where a message goes in a context that has children: `ForwardingTable`. Pure.

Adds to `mitogen.core.routing` what is known of descendants: which link leads to each, which ids each link
may announce, and who talked to whom, so that those are told who would wait for ever once one is gone.

A child is not trusted, so before a message that came over a link is delivered or forwarded, its claim
is checked: the link that would carry a reply to `auth_id`, and the one to `src_id`, must be the link it
came on. The same goes for routes: a link announces contexts with ids that were granted to it, no others.

Two rules restrict who may talk to whom below this context. `unidirectional`: children talk to this
context and its parents, and those to them, and nobody else does. `policy`: a function of the user's
that is asked for every pair of contexts of which neither is above this one or this one itself, and for
both directions where an answer is wanted: one that may not pass would be waited for in vain. Rejected: to
let dead messages pass, or what may be an answer; both carry whatever a hostile context puts into them.
Only the context that has the policy can ask it, so those below (`is_ruled`) send up what they could
forward themselves, and it comes down again where it may. What the parent says is not checked, then or
else: it can do anything.

Every operation takes constant time, however many contexts there are, but for two: the end of a link or of
contexts takes time for each context that is gone, and a link's right to announce an id is looked up among
the batches of ids that it was granted, by bisection.
"""

from __future__ import annotations

from bisect import bisect_right

from mitogen.core.errors import Error
from mitogen.core.handles import IS_DEAD
from mitogen.core.routing import DELIVER, NO_ROUTE, SPOOFED, TOO_LARGE, Refusal, RoutingTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

UNIDIRECTIONAL = Refusal(
    "context %(here)d is unidirectional: context %(src)d may not talk to context %(dst)d"
)
PROHIBITED = Refusal(
    "the routing policy of context %(here)d: context %(src)d may not talk to context %(dst)d"
)
UNANSWERABLE = Refusal(
    "the routing policy of context %(here)d: context %(dst)d may not answer context %(src)d"
)

#: Contexts that one link is noted to have talked to. A link with more is told of every end.
MAX_PEERS = 1 << 17
#: Contexts that one link may lead to, so that a hostile child can't fill our memory.
MAX_ROUTES = 1 << 18
#: Ids that a request is taken to be for, until it is known.
RESERVE = 1000
#: Ids that one link may have in stock, so that a hostile child can't use up the space of ids. Each of its
#: descendants that starts a single context takes a batch of 1000, so there are far more than routes.
MAX_STOCK = 1 << 26


class _Everyone(set):  # type: ignore[type-arg]
    """The peers of a link that is told of the end of every context: has everyone, and lists nobody."""

    def __contains__(self, context_id: object) -> bool:
        return True


_EVERYONE = _Everyone()


class _Branch:
    """What is known of one link.

    :ivar targets: ids of the contexts it leads to.
    :ivar peers: ids of the contexts that those have talked to, or heard of.
    :ivar firsts: the first id of each batch that it may announce, in ascending order.
    :ivar ends: one past the last id of each of those.
    :ivar stock: how many of them it has not announced.
    """

    __slots__ = ("targets", "peers", "firsts", "ends", "stock")

    def __init__(self) -> None:
        self.targets: set[int] = set()
        self.peers: set[int] = set()
        self.firsts: list[int] = []
        self.ends: list[int] = []
        self.stock = 0


class ForwardingTable(RoutingTable):
    """The routes that a context with children knows. See `RoutingTable` for the parameters.

    :ivar links: the link to each descendant, by its id.
    :ivar policy: None, or called as ``policy(src_id, dst_id)``: whether one descendant may send to
        another context that is neither this one nor above it. A question has to be allowed both ways.
    :ivar is_ruled: a context above has a policy.
    """

    policy: Callable[[int, int], bool] | None = None
    is_ruled = False

    def __init__(self, context_id: int, parent_ids: Iterable[int], max_message_size: int) -> None:
        RoutingTable.__init__(self, context_id, parent_ids, max_message_size)
        self.links: dict[int, object] = {}
        self._branches: dict[object, _Branch] = {}
        #: The links that talked to a context, by its id: the peers of all branches turned round.
        self._talkers: dict[int, set[object]] = {}
        #: The links that are told of the end of every context.
        self._told_all: set[object] = set()
        self._always = frozenset([context_id, *self.parent_ids])

    # -- Routes --------------------------------------------------------------------------------

    def _branch(self, link: object) -> _Branch:
        branch = self._branches.get(link)
        if branch is None:
            branch = self._branches[link] = _Branch()
        return branch

    def add(self, target_id: int, link: object, via_id: int | None = None) -> None:
        """Let messages for `target_id` take `link`. Replaces what was known.

        :param via_id: the context that `link` leads to, for the error.
        :raises Error: `link` is None: there is no such link.
        """
        if link is None:
            raise Error("no link leads to context %r", via_id)
        self.remove(target_id)
        self._branch(link).targets.add(target_id)
        self.links[target_id] = link

    def remove(self, target_id: int) -> object:
        """Forget the route to `target_id`; return its link, or None if there was none."""
        link = self.links.pop(target_id, None)
        if link is not None:
            self._branches[link].targets.discard(target_id)
        return link

    def remove_link(self, link: object) -> list[int]:
        """Forget a link and every route over it; return the ids of those routes."""
        RoutingTable.remove_link(self, link)
        branch = self._branches.pop(link, None)
        if branch is None:
            return []
        for target_id in branch.targets:
            del self.links[target_id]
        self._told_all.discard(link)
        self._forget_peers(branch, link)
        return list(branch.targets)

    def link_to(self, context_id: int) -> object:
        """Return the link that messages for `context_id` take: a known route's, else the parent's."""
        return self.links.get(context_id, self.parent_link)

    # -- What a child may announce -------------------------------------------------------------

    def reserve(self, link: object) -> bool:
        """Note that `link` asks for ids, before those above are asked: those that it never uses are lost.

        :returns: False if it has too many that it never used.
        """
        branch = self._branch(link)
        if branch.stock >= MAX_STOCK:
            return False
        branch.stock += RESERVE
        return True

    def grant(self, link: object, first: int, end: int) -> None:
        """Let `link`, which `reserve` was called for, announce ids: from `first` up to `end`, if any."""
        branch = self._branch(link)
        branch.stock = max(0, branch.stock + end - first - RESERVE)
        if not end:
            return
        # Ids are handed out in ascending order, so this is nearly always the end.
        i = bisect_right(branch.firsts, first)
        if i and branch.ends[i - 1] == first:
            branch.ends[i - 1] = end
        else:
            branch.firsts.insert(i, first)
            branch.ends.insert(i, end)

    def announce(self, target_id: int, link: object) -> bool:
        """Add a route that the other end of `link` announced; return False if it has no right to."""
        branch = self._branches.get(link)
        if branch is None or target_id in self.links or len(branch.targets) >= MAX_ROUTES:
            return False
        i = bisect_right(branch.firsts, target_id)
        if not i or target_id >= branch.ends[i - 1]:
            return False
        branch.stock = max(0, branch.stock - 1)
        self.add(target_id, link)
        return True

    def withdraw(self, target_id: int, link: object) -> bool:
        """Forget a route that the other end of `link` says is gone; return False if it is not its own."""
        if self.links.get(target_id) is not link:
            return False
        self.remove(target_id)
        return True

    # -- Who talked to whom --------------------------------------------------------------------

    def note(self, link: object, peer_id: int) -> None:
        """Remember that contexts behind `link` talk to `peer_id`, and must hear of its end."""
        branch = self._branch(link)
        if peer_id in branch.peers:
            return
        if len(branch.peers) >= MAX_PEERS:
            self._forget_peers(branch, link)
            branch.peers = _EVERYONE
            self._told_all.add(link)
            return
        branch.peers.add(peer_id)
        self._talkers.setdefault(peer_id, set()).add(link)

    def _forget_peers(self, branch: _Branch, link: object) -> None:
        for peer_id in branch.peers:
            talkers = self._talkers[peer_id]
            talkers.discard(link)
            if not talkers:
                del self._talkers[peer_id]

    def take_talkers(self, gone_ids: Iterable[int]) -> dict[object, list[int]]:
        """Return the ids that each link to a child is to be told of, now that `gone_ids` are gone."""
        told: dict[object, list[int]] = {}
        for gone_id in gone_ids:
            talkers = self._talkers.pop(gone_id, ())
            for link in talkers:
                self._branches[link].peers.discard(gone_id)
            for link in [*talkers, *self._told_all]:
                told.setdefault(link, []).append(gone_id)
        return told

    def cut_off(self) -> list[int]:
        """Return the ids that those below talked to, and no link leads to now that the parent is gone."""
        return [i for i in self._talkers if i not in self.links]

    # -- Messages ------------------------------------------------------------------------------

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
        """Decide what happens to a message, as `RoutingTable.decide` says; notes who talked to whom."""
        here = self.context_id
        routes = self.links
        parent = self.parent_link
        if link is not None:
            is_checked = link is not parent or not self.is_ruled
            if is_checked and (
                here == auth_id
                or routes.get(auth_id, parent) is not link
                or (src_id != auth_id and routes.get(src_id, parent) is not link)
            ):
                return SPOOFED
            if here == src_id:
                return SPOOFED
        if size > self.max_message_size:
            return TOO_LARGE
        if dst_id == here:
            return DELIVER
        out = routes.get(dst_id, parent)
        always = self._always
        if link is None or dst_id in always or src_id in always:
            is_decided = True
        else:
            # From above as well: what came in could be a question, whose answer would not get out.
            if unidirectional:
                return UNIDIRECTIONAL
            is_decided = self.policy is None
            if self.is_ruled and link is not parent:
                out = parent
            elif self.policy is not None and dst_id in routes:
                if not self.policy(src_id, dst_id):
                    return PROHIBITED
                # Whoever asked would wait for ever for an answer that may not pass.
                if reply_to not in (0, IS_DEAD) and not self.policy(dst_id, src_id):
                    return UNANSWERABLE
        if out is None or (out is link and (is_decided or out is parent)):
            # Never back where it came from: the sender took us for the way, so there is none. But what
            # was only sent up for a decision goes down again.
            return NO_ROUTE
        if link is None:
            return out
        # The parent is told of every end below, and has no need of a note.
        if link is not parent and dst_id not in self._branch(link).peers:
            self.note(link, dst_id)
        if out is not parent and src_id not in self._branch(out).peers:
            self.note(out, src_id)
        return out
