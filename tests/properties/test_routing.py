"""Routing: in any tree, whatever comes and goes in it, and whoever lies, nobody is impersonated.

The contexts here are a routing table each, and links are objects; nothing else of the library takes part.
What a decision should have been is never asked of a table: it follows from who started whom, which no
context may know as a whole. Inputs that were found to fail are kept as tests and `@example`s below.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from mitogen.core.forwarding import UNIDIRECTIONAL, ForwardingTable
from mitogen.core.routing import DELIVER, NO_ROUTE, SPOOFED, TOO_LARGE, Refusal

LIMITS = (100, 1000)
#: An id that no context ever has.
UNKNOWN = 999_999


class Link:
    """One end of a connection: what `owner` sends on it is received by `peer`."""

    def __init__(self, owner: Node, peer: Node) -> None:
        self.owner = owner
        self.peer = peer
        self.lost = False

    def other_end(self) -> Link:
        link = self.peer.links[self.owner.id]
        assert link.peer is self.owner
        return link


class Node:
    """A context: its table, and the truth about where in the tree it was started."""

    def __init__(self, context_id: int, parent: Node | None, limit: int, unidirectional: bool) -> None:
        self.id = context_id
        self.parent = parent
        self.above: list[int] = [parent.id, *parent.above] if parent else []
        self.table = ForwardingTable(context_id, self.above, limit)
        self.unidirectional = unidirectional
        #: Ends of the connections that there were ever, by the id of the peer.
        self.links: dict[int, Link] = {}
        #: What the parent was told and did not read yet: (context id, whether a route to it exists).
        self.news: deque[tuple[int, bool]] = deque()

    def __repr__(self) -> str:
        return "context %d" % self.id

    def uplink(self) -> Link | None:
        """Return the connection to the parent, if there is one still."""
        link = self.links[self.parent.id] if self.parent else None
        return link if link is not None and not link.lost else None

    def started(self, context_id: int, other: Node) -> bool:
        """Return True if `context_id`, which is `other`'s, is this context or was started below it."""
        return context_id == self.id or self.id in other.above


def decide(
    node: Node, dst: int, src: int, auth: int, size: int, link: Link | None
) -> Refusal | Link | None:
    """Return what `node` does with a message: refuse it, send it on a link, or (None) deliver it.

    The one place that knows how tables are asked, and what they answer.
    """
    result = node.table.decide(dst, src, auth, size, link, node.unidirectional)
    if result is DELIVER:
        return None
    if isinstance(result, Refusal):
        assert result in (NO_ROUTE, SPOOFED, UNIDIRECTIONAL, TOO_LARGE)
        return result
    assert isinstance(result, Link)
    assert result.owner is node, "a context can only send on its own links"
    return result


class Outcome:
    """What became of a message: delivered at the last of `path`, or refused by it."""

    def __init__(self, path: list[tuple[Node, Link | None]], refusal: Refusal | None) -> None:
        #: Who received it, and over which link.
        self.path = path
        self.refusal = refusal
        self.last = path[-1][0]


def send(node: Node, link: Link | None, dst: int, src: int, auth: int, size: int) -> Outcome:
    """Follow a message that arrives at `node` over `link` to its one outcome."""
    path: list[tuple[Node, Link | None]] = []
    while True:
        assert all(node is not before for before, _ in path), "the message went in a circle"
        path.append((node, link))
        out = decide(node, dst, src, auth, size, link)
        if out is None:
            assert node.id == dst
            return Outcome(path, None)
        if isinstance(out, Refusal):
            text = node.table.explain(out, dst, src)
            assert text
            assert "%" not in text
            return Outcome(path, out)
        assert not out.lost, "a link that was lost is not used again"
        assert out is not link
        node, link = out.peer, out.other_end()


def check_unidirectional(outcome: Outcome, src_id: int) -> None:
    """What passed a unidirectional context came from one above it, or went to one."""
    if outcome.refusal is None:
        for node, link in outcome.path[:-1]:
            if node.unidirectional and link is not None:
                assert {src_id, outcome.last.id} & set(node.above)


class Tree(RuleBasedStateMachine):
    """Contexts start and end, news of that travels link by link, and some of them lie."""

    contexts: Bundle[Node] = Bundle("contexts")

    def __init__(self) -> None:
        super().__init__()
        self.nodes: dict[int, Node] = {}
        #: Routes were taken back that are needed, so that not all contexts can talk.
        self.maimed = False

    # -- What happens to the tree ----------------------------------------------------------------

    @initialize(
        target=contexts,
        shape=st.lists(st.integers(0, 7), max_size=7),
        kinds=st.lists(st.sampled_from([0, 0, 0, 1, 2]), min_size=8, max_size=8),
    )
    def plant(self, shape: list[int], kinds: list[int]) -> Any:
        nodes: list[Node] = []
        for i, kind in enumerate(kinds[: len(shape) + 1]):
            parent = nodes[shape[i - 1] % i] if i else None
            nodes.append(self._start(parent, LIMITS[kind == 1], kind == 2))
        self.hear_all()
        return multiple(*nodes)

    def _start(self, parent: Node | None, limit: int, unidirectional: bool) -> Node:
        # Numbers that say nothing about who is below whom.
        node = Node(len(self.nodes) * 7 % 1000, parent, limit, unidirectional)
        self.nodes[node.id] = node
        if parent is not None:
            node.links[parent.id] = node.table.parent_link = Link(node, parent)
            parent.links[node.id] = Link(parent, node)
            parent.table.add(node.id, parent.links[node.id])
            parent.news.append((node.id, True))
        return node

    @precondition(lambda self: len(self.nodes) < 16)
    @rule(target=contexts, parent=contexts, limit=st.sampled_from(LIMITS), unidirectional=st.booleans())
    def start(self, parent: Node, limit: int, unidirectional: bool) -> Node:
        return self._start(parent, limit, unidirectional)

    @rule(node=contexts)
    def hear_one(self, node: Node) -> None:
        """Have the parent of `node` read what it was told first."""
        if node.news:
            target, exists = node.news.popleft()
            parent, link = node.parent, node.uplink()
            if parent is None or link is None:
                return
            if exists:
                parent.table.add(target, link.other_end())
                parent.news.append((target, True))
            elif parent.table.remove(target) is not None:
                parent.news.append((target, False))

    @rule()
    def hear_all(self) -> None:
        # Nodes were started after their parents, so that what goes up is read on the way.
        for node in reversed(self.nodes.values()):
            while node.news:
                self.hear_one(node)

    @rule(node=contexts)
    def lose_link(self, node: Node) -> None:
        """The connection between `node` and its parent breaks; both notice, and the parent tells."""
        link, parent = node.uplink(), node.parent
        if link is None or parent is None:
            return
        other = link.other_end()
        link.lost = other.lost = True
        node.news.clear()
        node.table.remove_link(link)
        assert node.table.parent_link is None
        gone = parent.table.remove_link(other)
        assert all(node.started(i, self.nodes[i]) for i in gone)
        assert all(parent.table.link_to(i) is parent.table.parent_link for i in gone)
        parent.news.extend((i, False) for i in gone)

    @rule(node=contexts, lost=contexts)
    def take_back_route(self, node: Node, lost: Node) -> None:
        """What a child may say of those below it, whether it is true or not."""
        if node.table.remove(lost.id) is not None:
            node.news.append((lost.id, False))
            self.maimed = True

    @rule(node=contexts)
    def switch_unidirectional(self, node: Node) -> None:
        node.unidirectional = not node.unidirectional

    # -- Messages --------------------------------------------------------------------------------

    def _live_path(self, src: Node, dst: Node | None) -> list[Node] | None:
        """Return the contexts from `src` to `dst` by connections that exist, None if there is no way."""
        if dst is None:
            return None

        def climb(node: Node) -> list[Node]:
            nodes = [node]
            while nodes[-1].uplink() is not None and nodes[-1].parent is not None:
                nodes.append(nodes[-1].parent)
            return nodes

        up, down = climb(src), climb(dst)
        if up[-1] is not down[-1]:
            return None
        while len(up) > 1 and len(down) > 1 and up[-2] is down[-2]:
            up.pop()
            down.pop()
        return up + down[-2::-1]

    @rule(src=contexts, dst=contexts, known=st.integers(0, 5), size=st.sampled_from([0, 100, 101, 1001]))
    def send_honestly(self, src: Node, dst: Node, known: int, size: int) -> None:
        target = dst if known else None
        dst_id = target.id if target else UNKNOWN
        outcome = send(src, None, dst_id, src.id, src.id, size)
        check_unidirectional(outcome, src.id)
        if any(node.news for node in self.nodes.values()) or self.maimed:
            return
        # Everybody knows all there is to know: what can arrive does, and what can't is told why.
        path = self._live_path(src, target)
        assert outcome.refusal is not SPOOFED
        if path is None:
            assert outcome.refusal is not None
            return
        expected: Refusal | None = None
        for at, node in enumerate(path):
            if size > node.table.max_message_size:
                expected = TOO_LARGE
            elif node.unidirectional and at and not {src.id, dst_id} & {node.id, *node.above}:
                expected = UNIDIRECTIONAL
            if expected or node is dst:
                assert outcome.last is node
                break
        assert outcome.refusal is expected

    @rule(
        liar=contexts,
        victim=contexts,
        src=contexts,
        auth=contexts,
        dst=contexts,
        made_up=st.sampled_from(["", "", "", "src", "auth", "both", "dst"]),
    )
    def lie(self, liar: Node, victim: Node, src: Node, auth: Node, dst: Node, made_up: str) -> None:
        """`liar` claims anything, on a link of its own choice."""
        links = [link for link in liar.links.values() if not link.lost]
        if not links:
            return
        link = links[victim.id % len(links)]
        src_id = UNKNOWN if made_up in ("src", "both") else src.id
        auth_id = UNKNOWN if made_up in ("auth", "both") else auth.id
        dst_id = UNKNOWN if made_up == "dst" else dst.id
        outcome = send(link.peer, link.other_end(), dst_id, src_id, auth_id, 0)
        check_unidirectional(outcome, src_id)
        if outcome.refusal is SPOOFED:
            return
        # Not only what is delivered: a claim that any context passed on, it took for true.
        accepted = [node for node, _ in outcome.path]
        for claim in (src_id, auth_id):
            claimed = self.nodes.get(claim)
            if link.peer is liar.parent:
                # A child speaks for those that were started below it, and for nobody else.
                assert claimed is not None
                assert liar.started(claim, claimed)
            for node in accepted:
                # A parent speaks for those above and beside, never for the context itself, nor for
                # those that it knows to be below it.
                assert claimed is not node or node.parent is not liar or link.peer is liar.parent
                came_over = next(over for at, over in outcome.path if at is node)
                assert node.table.link_to(claim) is came_over

    @rule(node=contexts, src=contexts, dst=contexts, upwards=st.booleans())
    def receive_late(self, node: Node, src: Node, dst: Node, upwards: bool) -> None:
        """What is read from a connection after it was given up is nobody's."""
        if node.parent is not None and node.links[node.parent.id].lost:
            link = node.links[node.parent.id]
            receiver, end = (node.parent, link.other_end()) if upwards else (node, link)
            outcome = send(receiver, end, dst.id, src.id, src.id, 0)
            assert outcome.refusal is SPOOFED
            assert outcome.last is receiver

    @invariant()
    def links_lead_to_those_below(self) -> None:
        for node in self.nodes.values():
            for target in self.nodes.values():
                link = node.table.link_to(target.id)
                assert link is None or (isinstance(link, Link) and not link.lost)
                if isinstance(link, Link) and link is not node.table.parent_link:
                    assert link.peer.started(target.id, target)


TestTree = Tree.TestCase
TestTree.settings = settings(stateful_step_count=10)


@given(
    shape=st.lists(st.integers(0, 5), min_size=1, max_size=6),
    routes=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 7), st.integers(0, 6)), max_size=12),
    start=st.integers(0, 6),
    ids=st.tuples(*[st.integers(0, 7)] * 3),
    unidirectional=st.sets(st.integers(0, 6)),
    arrives=st.booleans(),
)
# Two contexts that each take the other for the way to a third.
@example([0, 1], [(0, 7, 1), (1, 7, 0)], 0, (7, 0, 0), set(), False)
def test_whatever_the_tables_say_nothing_goes_in_circles(
    shape: list[int],
    routes: list[tuple[int, int, int]],
    start: int,
    ids: tuple[int, int, int],
    unidirectional: set[int],
    arrives: bool,
) -> None:
    nodes: list[Node] = []
    for i in range(len(shape) + 1):
        parent = nodes[shape[i - 1] % i] if i else None
        node = Node(i, parent, LIMITS[0], i in unidirectional)
        if parent is not None:
            node.links[parent.id] = node.table.parent_link = Link(node, parent)
            parent.links[i] = Link(parent, node)
        nodes.append(node)
    for at, target, over in routes:
        node = nodes[at % len(nodes)]
        links = list(node.links.values())
        node.table.add(target, links[over % len(links)])
    node = nodes[start % len(nodes)]
    link = next(iter(node.links.values())) if arrives else None
    dst, src, auth = ids
    # A context makes messages in its own name only.
    src = src if arrives else node.id
    check_unidirectional(send(node, link, dst, src, auth, 0), src)
