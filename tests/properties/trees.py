"""Whole trees of contexts in one process: everything is real but brokers, links and processes.

Each `Node` has a real router, with a real `Starter`, and so a real `RouteKeeper` and `ForwardingTable`,
from its first child on. A `Link` is a queue; what is sent on it waits until the test lets the other end
read it, so that a test decides in which order things happen. A broker does at once what its own thread
defers, and later what other threads do.

What `World` knows of the tree is the truth, which no context knows as a whole. It watches each step of
each message, and fails at once where something must never happen; `World.check` tells what must hold once
nothing is on its way any more.
"""

from __future__ import annotations

import itertools
import re
from collections import deque
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import mitogen
import mitogen.parent
from mitogen.core import handles
from mitogen.core.forwarding import ForwardingTable
from mitogen.core.message import Message, make
from mitogen.core.receiver import Receiver
from mitogen.core.router import Router
from mitogen.core.serving import ModuleForwarder
from mitogen.core.signals import fire, listen
from mitogen.core.upgrade import _attach
from mitogen.master.router import IdAllocator
from mitogen.parent.starter import Starter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mitogen.core.stream import Stream
    from mitogen.parent.routes import Grant

#: Ids that a context gets with one request: few, so that there are many requests.
BATCH = 2
#: Ids that no context ever has.
FIRST_UNKNOWN = 900_000
#: The handle at which each context keeps what it is asked, to answer later.
SERVICE = 700
#: A handle that is used by nobody.
NOBODY = 701

ENDED = "the end of the connection"


class Broker:
    """As much of a broker as routers need: does what is deferred at once on its thread, else later."""

    dead_reason = ""
    _thread_id = 0

    def __init__(self, context_id: int) -> None:
        self._context_id = context_id
        self.on_thread = False
        self.jobs: deque[Callable[[], object]] = deque()

    def defer(self, func: Callable[..., object], *args: Any) -> None:
        if self.on_thread:
            func(*args)
        else:
            self.jobs.append(lambda: func(*args))

    def defer_sync(self, func: Callable[[], Any]) -> Any:
        return self.run(func)

    def run(self, func: Callable[..., Any], *args: Any) -> Any:
        """Do something as the broker thread."""
        before = self.on_thread, mitogen.context_id
        self.on_thread, mitogen.context_id = True, self._context_id
        try:
            return func(*args)
        finally:
            self.on_thread, mitogen.context_id = before

    def call_later(self, seconds: float, func: Callable[[], object]) -> None:
        """Only what ends a process by force waits for a time, and `World.settle` does that."""

    def work(self) -> None:
        """Do what was deferred up to now."""
        for _ in range(len(self.jobs)):
            self.run(self.jobs.popleft())


class Frame:
    """A message on its way."""

    def __init__(self, msg: Message, trail: tuple[int, ...], liar: Node | None) -> None:
        self.msg = msg
        #: Ids of the contexts that it passed.
        self.trail = trail
        #: Who made it up, unless it is an honest one.
        self.liar = liar


class Link:
    """One end of a connection; in place of a `Stream`."""

    queued = 0

    def __init__(self, owner: Node, peer: Node) -> None:
        self.owner = owner
        self.peer = peer
        self.remote_id = peer.id
        self.name = peer.name
        self.reason = ""
        self.closed = False
        #: What is sent gets nowhere, but this end did not notice yet.
        self.is_broken = False
        #: What the owner has not read.
        self.inbox: deque[Frame | str] = deque()
        self.other: Link

    def __repr__(self) -> str:
        return "link of %d to %d" % (self.owner.id, self.peer.id)

    def send(self, msg: Message) -> bool:
        if self.closed:
            return False
        self.put(self.owner.world.on_send(self, msg))
        return True

    def put(self, what: Frame | str) -> None:
        """Have the other end read this some day, if it can."""
        if not self.is_broken and not self.other.closed:
            self.other.inbox.append(what)

    def disconnect(self, broker: object, reason: str) -> None:
        """As `Stream.disconnect`. Broker thread."""
        if not self.closed:
            self.reason = self.reason or reason
            self.put(ENDED)
            self.closed = True
            self.inbox.clear()
            fire(self, "disconnect")

    def lose(self, count: int) -> None:
        """Break: the other end reads no more than it was sent, less the last `count` messages."""
        if not self.is_broken and not self.other.closed:
            inbox = self.other.inbox
            for _ in range(min(count, len(inbox))):
                inbox.pop()
            inbox.append(ENDED)
        self.is_broken = True


class Connection:
    """What a starter has of a context that it started; in place of `mitogen.parent.connection`."""

    def __init__(self, starter: Starter, link: Link) -> None:
        self._link = link
        self.process = SimpleNamespace(kill=bool)
        listen(link, "disconnect", lambda: starter.connections.pop(link.remote_id, None))

    def fail(self, reason: str) -> None:
        self._link.disconnect(None, "local context %s: %s" % (self._link.name, reason))

    def detach(self) -> None:
        self.fail("detached")

    def send_shutdown(self, now: bool) -> None:
        """The other end goes with this one, sooner or later."""


class _Watched(Router):
    """A router whose every decision is seen."""

    node: Node

    def _dispatch(self, msg: Message, stream: Stream | None) -> None:
        self.node.world.on_outcome(self.node, msg, "delivered")
        Router._dispatch(self, msg, stream)

    def _complain(self, fmt: str, *args: object) -> None:
        if fmt.startswith("refused"):
            msg, reason = args[0], args[2]
            assert isinstance(msg, Message)
            self.node.world.on_outcome(self.node, msg, str(reason))

    def _refuse(self, msg: Message, reason: str) -> None:
        self.node.world.answers.append(msg)
        Router._refuse(self, msg, reason)


class Child(_Watched):
    """The router of every context but the master."""


class Master(_Watched, mitogen.parent.Router):
    """The router of the master."""

    ids: IdAllocator

    def request_ids(self, grant: Grant) -> None:
        first = self.ids.allocate(BATCH)
        grant(first, first + BATCH)


class Node:
    """A context, and the truth about it."""

    def __init__(self, world: World, context_id: int, parent: Node | None, unidirectional: bool) -> None:
        self.world = world
        self.id = context_id
        self.parent = parent
        self.name = "name-%d" % context_id
        #: Nearest first.
        self.above: list[Node] = [parent, *parent.above] if parent else []
        self.broker: Any = Broker(context_id)
        above_ids = [node.id for node in self.above]
        cls: Any = Child if parent else Master
        self.router: Any = cls(self.broker, context_id, above_ids, unidirectional=unidirectional)
        self.router.node = self
        self.up: Link | None = None
        self.links: dict[int, Link] = {}
        self.alive = True
        #: It lost its parent, and goes as soon as it can.
        self.is_ending = False
        #: It lies: whatever is below it can't be relied on.
        self.is_liar = False
        self.econtext: Any = SimpleNamespace(detached=False, _end_now=self._end)
        self.ids = iter(range(0))
        #: How many children are to start once there are ids for them, as (unidirectional,).
        self.wanted: list[bool] = []
        #: What it was asked, and did not answer yet.
        self.asked: list[Message] = []
        self.router.add_handler(self.asked.append, SERVICE)
        if parent is None:
            self.router.ids = IdAllocator()

    def __repr__(self) -> str:
        return "context %d" % self.id

    @property
    def table(self) -> Any:
        return self.router.table

    @property
    def is_inner(self) -> bool:
        return isinstance(self.table, ForwardingTable)

    @property
    def is_honest(self) -> bool:
        """Nothing that it is told from above is a lie."""
        return not any(node.is_liar for node in self.above)

    def may_announce(self, context_id: int) -> bool:
        """Return True if `context_id` is this context's, or was started below it."""
        other = self.world.nodes.get(context_id)
        return other is self or (other is not None and self in other.above)

    def is_up(self) -> bool:
        """Return True if the connection to the parent works in both directions."""
        up = self.up
        return up is not None and not any((up.closed, up.is_broken, up.other.closed, up.other.is_broken))

    def _end(self) -> None:
        self.is_ending = True

    def on_parent_gone(self) -> None:
        """As `ExternalContext._on_parent_gone`."""
        if not self.econtext.detached:
            self.econtext._end_now()

    def become_inner(self) -> None:
        """Get a starter, as a context does that is to start others."""
        if self.parent is not None and not self.is_inner:
            router, econtext = self.router, self.econtext
            econtext.config = {
                "debug": False,
                "profiling": False,
                "log_level": 30,
                "keepalive": None,
                "prefer": (),
            }
            econtext.config["is_ruled"] = False
            econtext.stream = self.up
            finder = SimpleNamespace(modules={})
            econtext.importer = SimpleNamespace(_finder=finder, _on_load_module=bool)
            router.econtext = econtext
            router.add_handler(bool, handles.LOAD_MODULE)
            router.__dict__["starter"] = _attach(router, Starter, ModuleForwarder)

    def known_links(self) -> list[Link]:
        """Return the links that it did not give up."""
        links = list(self.links.values()) + ([self.up] if self.up else [])
        return [link for link in links if not link.closed]


class Wait:
    """A receiver with a respondent, and what became of it."""

    def __init__(self, node: Node, target_id: int, persist: bool, asks: bool) -> None:
        self.node = node
        self.target_id = target_id
        self.asks = asks
        self.closed = False
        #: Not so where the target is just being started, and nobody here was told of it.
        self.was_known = node.router.table.reaches(target_id)
        self.context = node.router.make_context(target_id)
        self.receiver = Receiver(node.router, None, persist, self.context)

    def __repr__(self) -> str:
        kind = "question" if self.asks else "wait"
        return "%s of %d to %d: %s" % (kind, self.node.id, self.target_id, self.got())

    @property
    def key(self) -> tuple[int, int]:
        return self.node.id, self.receiver.handle

    def got(self) -> list[Message]:
        """Return what arrived."""
        return list(self.receiver._latch._queue)


class World:
    """A tree, and all that happened in it."""

    def __init__(self) -> None:
        self.master = Node(self, 0, None, False)
        #: Every context there ever was, by its id.
        self.nodes: dict[int, Node] = {0: self.master}
        self.waits: list[Wait] = []
        #: Messages that `_refuse` was called for.
        self.answers: list[Message] = []
        #: What a rule of the user's kept from arriving although nobody could be told: (id, handle).
        self.forbidden: set[tuple[int, int]] = set()
        self._current: Frame | None = None
        self._arrived_on: Link | None = None
        self._outcomes: list[str] = []

    # -- What is seen of each message --------------------------------------------------------------

    def on_send(self, link: Link, msg: Message) -> Frame:
        """Something is sent on `link`: made by its owner, or forwarded."""
        owner, frame = link.owner, self._current
        if frame is None or msg is not frame.msg:
            assert msg.src_id == owner.id, "a context speaks for itself only"
            return Frame(copy(msg), (owner.id,), None)
        self._outcomes.append("forwarded")
        # What a policy has to allow comes up to whoever has the policy, and may go down again.
        policy = getattr(owner.table, "policy", None)
        assert link is not self._arrived_on or policy is not None
        above = [node.id for node in owner.above]
        src, dst = msg.src_id, msg.dst_id
        if src not in above and dst not in above:
            assert not owner.router.unidirectional, "what may not pass a unidirectional context passed it"
            is_below = dst in getattr(owner.table, "links", ())
            assert not (policy and is_below) or policy(src, dst), (
                "the policy was not asked, or not obeyed"
            )
        return Frame(copy(msg), (*frame.trail, owner.id), frame.liar)

    def on_outcome(self, node: Node, msg: Message, outcome: str) -> None:
        """A message was delivered, or refused."""
        if self._current is None or msg is not self._current.msg:
            return
        self._outcomes.append(outcome)
        if outcome == "delivered":
            assert msg.dst_id == node.id
        elif ("unidirectional" in outcome or "policy" in outcome) and (msg.is_dead or not msg.reply_to):
            self.forbidden.add((msg.dst_id, msg.handle))

    def read(self, link: Link) -> None:
        """Have the owner of `link` read one thing from it."""
        node = link.owner
        what = link.inbox.popleft()
        if isinstance(what, str):
            is_up = link is node.up
            reason = (
                "the connection to context %d was closed by it" if is_up else "%d: its process exited"
            )
            node.broker.run(link.disconnect, None, reason % link.remote_id)
            return
        msg = what.msg
        has_policy = any(getattr(self.nodes[i].table, "policy", None) for i in what.trail)
        assert what.trail.count(node.id) <= has_policy, "the message went in a circle"
        self._current, self._arrived_on, self._outcomes, self.answers = what, link, [], []
        try:
            node.broker.run(node.router._async_route, msg, link)
        finally:
            self._current = self._arrived_on = None
        assert len(self._outcomes) == 1, "one outcome, not %r" % self._outcomes
        self._check_outcome(node, what, self._outcomes[0])

    def _check_outcome(self, node: Node, frame: Frame, outcome: str) -> None:
        msg, liar = frame.msg, frame.liar
        is_spoofed = "wrong link" in outcome
        if liar is not None and frame.trail == (liar.id,):
            claims = {msg.src_id, msg.auth_id}
            if liar.parent is node:
                is_lie = not all(liar.may_announce(claim) for claim in claims)
            else:
                is_lie = node.id in claims or bool(claims & set(getattr(node.table, "links", ())))
            assert is_spoofed or not is_lie, "a lie was believed"
        if is_spoofed:
            src = self.nodes.get(msg.src_id)
            assert liar or src is None or src.is_liar or not src.is_honest, "the truth was not believed"
            assert self.answers == []
        elif outcome not in ("delivered", "forwarded"):
            assert self.answers == [msg]

    # -- What happens to the tree ------------------------------------------------------------------

    def start(self, parent: Node, unidirectional: bool = False) -> None:
        """Have `parent` start a context, as soon as it has an id for it."""
        parent.become_inner()
        parent.wanted.append(unidirectional)
        if len(parent.wanted) == 1:
            parent.broker.defer(self._start_wanted, parent)

    def _start_wanted(self, parent: Node) -> None:
        while parent.wanted:
            context_id = next(parent.ids, None)
            if context_id is None:
                starter = parent.router.starter
                parent.broker.run(starter.request_ids, lambda *ids: self._on_ids(parent, *ids))
                return
            self._spawn(parent, context_id, parent.wanted.pop(0))

    def _on_ids(self, parent: Node, first: int, end: int) -> None:
        if not end:
            parent.wanted.clear()
        else:
            parent.ids = iter(range(first, end))
            self._start_wanted(parent)

    def _spawn(self, parent: Node, context_id: int, unidirectional: bool) -> None:
        assert context_id not in self.nodes, "an id was given twice"
        node = self.nodes[context_id] = Node(self, context_id, parent, unidirectional)
        up, down = Link(node, parent), Link(parent, node)
        up.other, down.other = down, up
        node.up, parent.links[context_id] = up, down
        node.econtext.parent = node.router.make_context(parent.id, parent.name)
        listen(up, "disconnect", node.on_parent_gone)
        node.broker.run(node.router.add_link, node.econtext.parent, up)
        starter = parent.router.starter
        context = parent.router.make_context(context_id, node.name)
        parent.broker.run(parent.router.add_link, context, down)
        starter.connections[context_id] = Connection(starter, down)
        parent.broker.run(starter.routes.announce, context_id, node.name)

    def kill(self, node: Node, lost: int = 0) -> None:
        """Let the process of `node` end: `lost` messages on each link that it sent last do not arrive."""
        node.alive = False
        for link in node.known_links():
            link.lose(lost)
            link.closed = True
            link.inbox.clear()
        node.broker.jobs.clear()

    def cut(self, node: Node, lost: int) -> None:
        """Break the connection between `node` and its parent; both will notice."""
        if node.up is not None:
            node.up.lose(lost)
            node.up.other.lose(lost)

    def detach(self, node: Node) -> None:
        """Have `node` leave its parent, and live on."""
        if not node.econtext.detached and node.is_up():
            node.econtext.detached = True
            node.econtext.parent.send(Message(src_id=node.id, auth_id=node.id, handle=handles.DETACHING))

    # -- What contexts say -------------------------------------------------------------------------

    def wait(self, node: Node, target_id: int, persist: bool) -> None:
        """Wait for whatever the target may send."""
        self.waits.append(Wait(node, target_id, persist, False))

    def ask(self, node: Node, target_id: int, handle: int) -> None:
        """Ask the target something."""
        wait = Wait(node, target_id, False, True)
        self.waits.append(wait)
        node.router.route(make(target_id, node.id, node.id, handle, wait.receiver.handle, b"N."))

    def answer(self, node: Node, number: int) -> None:
        """Answer one of the questions that `node` was asked."""
        if node.asked:
            msg = node.asked.pop(number % len(node.asked))
            answer = make(0, node.id, node.id, 0, 0, b"N.")
            msg.reply(answer)

    def lie(self, liar: Node, link: Link, msg: Message) -> None:
        """Send just anything."""
        liar.is_liar = True
        link.put(Frame(msg, (liar.id,), liar))

    # -- What must hold once nothing is on its way -------------------------------------------------

    def living(self) -> list[Node]:
        """Return the contexts that live, in the order of their start."""
        return [node for node in self.nodes.values() if node.alive]

    def unread(self) -> list[Link]:
        """Return the links from which something can be read."""
        return [link for node in self.living() for link in node.known_links() if link.inbox]

    def settle(self) -> None:
        """Let everything happen that will, in the order of the contexts."""
        while True:
            for node in self.living():
                node.broker.work()
            links = self.unread()
            for link in links:
                if link.inbox and link.owner.alive:
                    self.read(link)
            ending = [node for node in self.living() if node.is_ending]
            for node in ending:
                self.kill(node)
            if not links and not ending and not any(node.broker.jobs for node in self.living()):
                return

    def path(self, a: Node, b: Node) -> list[Node]:
        """Return the contexts between two, and these, in the order of the way; as they were started."""
        up, down = [a, *a.above], [b, *b.above]
        while len(up) > 1 and len(down) > 1 and up[-2] is down[-2]:
            up.pop()
            down.pop()
        return up + down[-2::-1]

    def reaches(self, path: list[Node]) -> bool:
        """Return True if a message could go this way."""
        steps = itertools.pairwise(path)
        works = all((b if b.parent is a else a).is_up() for a, b in steps)
        return works and all(node.alive for node in path)

    def check(self) -> None:
        """Check what each context knows, and each wait was told."""
        for node in self.living():
            if node.is_honest:
                self._check_routes(node)
        for wait in self.waits:
            node = wait.node
            if node.alive and node.is_honest and not node.is_liar and not wait.closed:
                self._check_wait(wait)

    def _check_routes(self, node: Node) -> None:
        if not node.is_inner:
            return
        expected, doubtful = {}, set()
        for other in self.nodes.values():
            if node in other.above:
                path = self.path(node, other)
                if any(between.is_liar for between in path[1:]):
                    doubtful.add(other.id)
                elif self.reaches(path):
                    expected[other.id] = node.links[path[1].id]
        links, names = node.table.links, node.router.starter.routes.names
        assert {i: link for i, link in links.items() if i not in doubtful} == expected
        if not node.is_liar:
            assert links.keys() == names.keys()

    def _check_wait(self, wait: Wait) -> None:
        got, target = wait.got(), self.nodes.get(wait.target_id)
        texts = [msg.data.decode() for msg in got if msg.is_dead]
        assert (
            len(got) <= 1
            or wait.receiver._is_over()
            or wait.receiver.handle in wait.node.router._handlers
        )
        if wait.key in self.forbidden:
            return
        if target is None:
            assert texts, "nobody was told that there is no such context"
            above = {str(node.id) for node in wait.node.above}
            assert any((above | {str(wait.target_id)}) & set(re.findall(r"\d+", t)) for t in texts)
            return
        path = self.path(wait.node, target)
        is_plain = not any(node.is_liar for node in path)
        if not self.reaches(path):
            assert got, "%r waits for ever" % wait
            # Also the connection that the question went over is the reason, if nobody else knew a way.
            names = {str(node.id) for node in path + wait.node.above}
            for text in texts:
                assert names & set(re.findall(r"\d+", text)), "%r does not say who went" % text
        elif is_plain and wait.was_known:
            refused = [t for t in texts if "unidirectional" in t or "policy" in t or "no handle" in t]
            assert texts == refused, "%r ended too early" % wait
            if wait.asks and not got:
                pending = [(msg.src_id, msg.reply_to) for msg in target.asked]
                assert wait.key in pending, "%r waits for ever" % wait

    def check_nothing_is_left(self) -> None:
        """Check that a context whose children are all gone remembers nothing of them."""
        for node in self.living():
            if node.is_inner and not any(not link.closed for link in node.links.values()):
                table = node.table
                assert not table.links
                assert not table._talkers
                assert not table._branches
                assert not table._told_all
                assert not node.router.starter.routes.names


def copy(msg: Message) -> Message:
    """Return what the other end reads."""
    return make(msg.dst_id, msg.src_id, msg.auth_id, msg.handle, msg.reply_to, msg.data)


def all_below(node: Node) -> Iterator[Node]:
    """Yield the contexts that were started below `node`."""
    for other in node.world.nodes.values():
        if node in other.above:
            yield other
