"""Trees: whatever starts, ends, talks and lies in a tree, nobody is deceived, and nobody waits for ever.

All of it is real but brokers, links and processes: see `tests.properties.trees`. Inputs that were found
to fail are kept as tests below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from mitogen.core import handles, logs
from mitogen.core.message import make
from tests.properties.trees import FIRST_UNKNOWN, NOBODY, SERVICE, Node, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST = 14
numbers = st.integers(0, 1000)


def same_kind(src: int, dst: int) -> bool:
    return src % 2 == dst % 2


def nobody(src: int, dst: int) -> bool:
    return False


POLICIES: list[Callable[[int, int], bool] | None] = [None, same_kind, nobody]
HANDLES = [SERVICE, NOBODY, handles.ADD_ROUTE, handles.DEL_ROUTE, handles.ALLOCATE_ID, handles.DETACHING]


@pytest.fixture(autouse=True, scope="module")
def silence() -> Iterator[None]:
    """The library warns of every lie."""
    before = logs.sink, logs.child_level
    logs.sink, logs.child_level = log_nothing, logs.DEBUG
    yield
    logs.sink, logs.child_level = before


def log_nothing(level: int, name: str, text: str) -> None:
    # Whatever a child says, nothing fails. A parent is trusted.
    assert "Traceback" not in text or "in on_del_route" in text, text


class Trees(RuleBasedStateMachine):
    """Contexts are named by numbers, of which any means one that lives."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    def node(self, number: int) -> Node:
        nodes = [node for node in self.world.living() if not node.is_ending]
        return nodes[number % len(nodes)]

    def any_id(self, number: int) -> int:
        """Return the id of a context that was there once, or never."""
        ids = [*self.world.nodes, FIRST_UNKNOWN]
        return ids[number % len(ids)]

    def few(self) -> bool:
        return len(self.world.living()) < MOST

    # -- The tree --------------------------------------------------------------------------------

    @initialize(shape=st.lists(st.tuples(numbers, st.sampled_from([False] * 5 + [True])), max_size=8))
    def plant(self, shape: list[tuple[int, bool]]) -> None:
        for parent, unidirectional in shape:
            self.world.start(self.node(parent), unidirectional)
            self.world.settle()

    @precondition(few)
    @rule(parent=numbers, number=st.integers(1, 3), unidirectional=st.booleans())
    def start(self, parent: int, number: int, unidirectional: bool) -> None:
        for _ in range(number):
            self.world.start(self.node(parent), unidirectional)

    @rule(number=numbers, lost=st.integers(0, 3))
    def kill(self, number: int, lost: int) -> None:
        node = self.node(number)
        if node is not self.world.master:
            self.world.kill(node, lost)

    @rule(number=numbers, lost=st.integers(0, 3))
    def cut(self, number: int, lost: int) -> None:
        self.world.cut(self.node(number), lost)

    @rule(number=numbers)
    def detach(self, number: int) -> None:
        self.world.detach(self.node(number))

    # -- What happens when -----------------------------------------------------------------------

    @rule(which=st.lists(numbers, min_size=1, max_size=8))
    def read(self, which: list[int]) -> None:
        for number in which:
            links = self.world.unread()
            if links:
                self.world.read(links[number % len(links)])

    @rule(number=numbers)
    def work(self, number: int) -> None:
        self.node(number).broker.work()

    @rule()
    def settle(self) -> None:
        self.world.settle()
        self.world.check()

    # -- Rules -----------------------------------------------------------------------------------

    @rule(number=numbers)
    def switch_unidirectional(self, number: int) -> None:
        router = self.node(number).router
        router.unidirectional = not router.unidirectional

    @rule(number=numbers, policy=st.sampled_from(POLICIES))
    def set_policy(self, number: int, policy: Callable[[int, int], bool] | None) -> None:
        node = self.node(number)
        if node.is_inner:
            node.table.policy = policy

    # -- Messages --------------------------------------------------------------------------------

    @rule(src=numbers, dst=numbers, handle=st.sampled_from([SERVICE, SERVICE, SERVICE, NOBODY]))
    def ask(self, src: int, dst: int, handle: int) -> None:
        self.world.ask(self.node(src), self.any_id(dst), handle)

    @rule(node=numbers, number=numbers)
    def answer(self, node: int, number: int) -> None:
        self.world.answer(self.node(node), number)

    @rule(node=numbers, dst=numbers, persist=st.booleans())
    def wait(self, node: int, dst: int, persist: bool) -> None:
        self.world.wait(self.node(node), self.any_id(dst), persist)

    @rule(number=numbers)
    def close(self, number: int) -> None:
        waits = [wait for wait in self.world.waits if wait.node.alive]
        if waits:
            wait = waits[number % len(waits)]
            wait.closed = True
            wait.receiver.close()

    @rule(
        number=numbers,
        link=numbers,
        ids=st.tuples(numbers, numbers, numbers),
        is_plain=st.booleans(),
        to_peer=st.booleans(),
        handle=st.sampled_from(HANDLES),
        reply_to=st.sampled_from([0, 5000, handles.IS_DEAD]),
        text=st.sampled_from([":why", "", ",,x:", ",77777777:more", "²:", "\udcff:"]),
        about=numbers,
    )
    def lie(
        self,
        number: int,
        link: int,
        ids: tuple[int, int, int],
        is_plain: bool,
        to_peer: bool,
        handle: int,
        reply_to: int,
        text: str,
        about: int,
    ) -> None:
        """Claim anything: about who speaks, and about which contexts there are."""
        liar = self.node(number)
        links = liar.known_links()
        if liar is self.world.master or not links:
            return
        over = links[link % len(links)]
        dst, src, auth = (self.any_id(i) for i in ids)
        if is_plain:
            src = auth = liar.id
        if to_peer:
            dst = over.remote_id
        data = ("%d%s" % (self.any_id(about), text)).encode("utf-8", "surrogateescape")
        self.world.lie(liar, over, make(dst, src, auth, handle, reply_to, data))

    def teardown(self) -> None:
        world = self.world
        world.settle()
        world.check()
        world.check_nothing_is_left()
        for node in world.living():
            if node is not world.master and node.alive:
                world.kill(node)
                world.settle()
                world.check()
                world.check_nothing_is_left()


@pytest.fixture
def world() -> World:
    """A master with two children, of which each has one: 0 -- 1 -- 2, and 0 -- 3 -- 4 or so."""
    world = World()
    for _ in range(2):
        world.start(world.master)
    world.settle()
    for node in list(world.master.links.values()):
        world.start(node.peer)
        world.settle()
    return world


def leaves(world: World) -> tuple[Node, Node]:
    """Return a leaf on each side."""
    left, right = (node for node in world.nodes.values() if len(node.above) == 2)
    return left, right


def test_each_of_those_that_wait_for_a_context_that_never_was_is_told(world: World) -> None:
    left, _ = leaves(world)
    for _ in range(2):
        world.wait(left, FIRST_UNKNOWN, persist=False)
    world.settle()
    world.check()
    assert all(wait.got() for wait in world.waits)


def test_those_below_one_that_detached_are_told_of_whom_they_can_not_reach(world: World) -> None:
    left, right = leaves(world)
    top = left.above[0]
    world.wait(left, right.id, persist=False)
    world.ask(left, 0, SERVICE)
    world.ask(left, top.id, SERVICE)
    world.settle()
    world.detach(top)
    world.settle()
    world.wait(left, 0, persist=False)
    world.settle()
    world.check()
    assert [bool(wait.got()) for wait in world.waits] == [True, True, False, True]
    world.answer(top, 0)
    world.settle()
    assert world.waits[2].got()


def test_a_question_whose_answer_could_not_pass_is_refused(world: World) -> None:
    left, right = leaves(world)
    right.above[0].router.unidirectional = True
    world.ask(left, right.id, SERVICE)
    world.settle()
    (answer,) = world.waits[0].got()
    assert b"unidirectional" in answer.data
    assert right.asked == []


@pytest.mark.parametrize("data", ["²:", ",:", "9" * 5000 + ":x", ":"])
@pytest.mark.parametrize("handle", [handles.ADD_ROUTE, handles.DEL_ROUTE])
def test_nonsense_about_contexts_does_no_harm(world: World, data: str, handle: int) -> None:
    left, _ = leaves(world)
    top = left.above[0]
    assert top.up is not None
    world.lie(top, top.up, make(0, top.id, top.id, handle, 0, data.encode()))
    world.settle()
    world.check()


TestTrees: Any = Trees.TestCase
# Each example is many messages: a third as many as elsewhere.
TestTrees.settings = settings(
    max_examples=settings().max_examples // 3, stateful_step_count=30, report_multiple_bugs=False
)
