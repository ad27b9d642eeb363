"""`mitogen.parent.routes`: what neighbours are told, and what is believed of what they say.

The tree, as context 5 sees it::

    0 -- 1 -- 5 -- 10 -- 11
               \\-- 20
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mitogen.core import handles, serialization
from mitogen.core.errors import CallError
from mitogen.core.message import REASON_LIMIT, Message, make
from mitogen.core.signals import fire, listen
from mitogen.parent.routes import _ROUTE_LIMIT, RouteKeeper, is_immediate_child
from tests.core.tools import ForwardingRouter, collect_logs

if TYPE_CHECKING:
    from collections.abc import Callable

HERE, UP, LEFT, RIGHT = 5, 1, 10, 20


class Broker:
    dead_reason = ""

    def defer(self, func: Callable[..., object], *args: Any) -> None:
        func(*args)


class Link:
    """Keeps what is sent on it."""

    queued = 0
    reason = ""
    closed = False

    def __init__(self, remote_id: int) -> None:
        self.remote_id = remote_id
        self.name = "context-%d" % remote_id
        self.sent: list[Message] = []

    def send(self, msg: Message) -> bool:
        self.sent.append(msg)
        return True

    def said(self) -> list[tuple[int, bytes]]:
        """Return what was sent since the last time, as pairs of handle and data."""
        sent = [(msg.handle, msg.data) for msg in self.sent]
        self.sent.clear()
        return sent


class Middle:
    """Context 5, the keeper of its routes, and its links."""

    def __init__(self, parent_ids: tuple[int, ...] = (1, 0)) -> None:
        broker: Any = Broker()
        self.router = ForwardingRouter(broker, HERE, parent_ids, 1 << 20)
        #: What the keeper called to get ids, and what is to be called with them.
        self.requests: list[Callable[..., None]] = []
        self.keeper = RouteKeeper(self.router, self.requests.append)
        self.links: dict[int, Any] = {i: Link(i) for i in (UP, LEFT, RIGHT) if i != UP or parent_ids}
        for context_id, link in self.links.items():
            self.router.add_link(self.router.make_context(context_id), link)
            if context_id != UP:
                self.keeper.announce(context_id, link.name)
        self.lost: list[tuple[list[int], str]] = []
        listen(self.router, "lost", lambda ids, reason: self.lost.append((ids, reason)))
        self.say(LEFT, handles.ALLOCATE_ID, reply_to=1001)
        self.requests.pop()(11, 20)
        self.say(LEFT, handles.ADD_ROUTE, b"11:eleven")
        for link in self.links.values():
            link.sent.clear()

    def say(
        self, src: int, handle: int, data: bytes = b"", over: int = 0, dst: int = HERE, reply_to: int = 0
    ) -> None:
        """Have a message arrive."""
        link = self.links[over or src]
        self.router._async_route(make(dst, src, src, handle, reply_to, data), link)

    def said(self) -> dict[int, list[tuple[int, bytes]]]:
        """Return what was sent on each link since the last time."""
        said = {context_id: link.said() for context_id, link in self.links.items()}
        return {context_id: sent for context_id, sent in said.items() if sent}


@pytest.fixture
def middle() -> Middle:
    return Middle()


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str, str]]:
    return collect_logs(monkeypatch)


# -- Who is listened to -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("src", "auth", "remote", "allowed"),
    [
        (10, 10, 10, True),
        (11, 11, 10, False),  # Its own child,
        (10, 11, 10, False),  # or for that one,
        (11, 10, 10, False),  # or in its own name, with the answer to go to that one.
        (10, 10, 20, False),
        (10, 10, None, False),  # Made in this context.
    ],
)
def test_an_immediate_child_speaks_for_itself_on_its_own_link(
    src: int, auth: int, remote: int | None, allowed: bool
) -> None:
    link: Any = None if remote is None else Link(remote)
    assert is_immediate_child(make(5, src, auth, 1, 0, b""), link) is allowed


@pytest.mark.parametrize("handle", [handles.ADD_ROUTE, handles.DEL_ROUTE, handles.ALLOCATE_ID])
def test_a_context_further_below_is_refused_and_told_so(middle: Middle, handle: int) -> None:
    middle.say(11, handle, b"11:x", over=LEFT, reply_to=1001)
    (answer,) = middle.links[LEFT].sent
    assert (answer.dst_id, answer.handle) == (11, 1001)
    answer.router = middle.router
    assert isinstance(answer.unpickle(throw=False), CallError)
    assert middle.router.table.link_to(11) is middle.links[LEFT]
    assert middle.requests == []


@pytest.mark.parametrize("src", [1, 0])
def test_parents_announce_nothing(middle: Middle, src: int) -> None:
    before = dict(middle.router.table.links)
    middle.say(src, handles.ADD_ROUTE, b"12:x", over=UP)
    assert middle.router.table.links == before


def test_a_parent_is_granted_nothing(middle: Middle) -> None:
    middle.say(UP, handles.ALLOCATE_ID, reply_to=1001)
    assert middle.requests == []
    assert middle.links[UP].sent[0].is_dead
    assert middle.links[UP] not in middle.router.table._branches


# -- Contexts that come -----------------------------------------------------------------------------


def test_what_a_child_announces_is_known_here_and_told_above(middle: Middle) -> None:
    middle.say(LEFT, handles.ADD_ROUTE, b"12:a:name")
    assert middle.router.table.link_to(12) is middle.links[LEFT]
    assert middle.keeper.names[12] == "a:name"
    assert middle.said() == {UP: [(handles.ADD_ROUTE, b"12:a:name")]}


def test_a_master_has_nobody_to_tell() -> None:
    middle = Middle(parent_ids=())
    middle.say(LEFT, handles.ADD_ROUTE, b"12:x")
    middle.say(LEFT, handles.DEL_ROUTE, b"12:gone")
    assert middle.said() == {}


@pytest.mark.parametrize(
    "data",
    [b"", b":", b"x:", b"-12:", b"1_2:", b"12,13:x", b"\xc2\xb2:", b"\xff:", b"9" * 100_000 + b":"]
    + [b"20:", b"5:", b"1:", b"0:", b"11:", b"999:", b"99999999999:"],
)
def test_what_is_no_id_of_the_child_s_own_is_not_believed(
    middle: Middle, data: bytes, lines: list[tuple[int, str, str]]
) -> None:
    before = dict(middle.router.table.links), dict(middle.keeper.names)
    middle.say(LEFT, handles.ADD_ROUTE, data)
    assert (middle.router.table.links, middle.keeper.names) == before
    assert middle.said() == {}
    ((_, _, text),) = lines
    assert "context 10 announced a context that is not its own" in text
    assert len(text) < 300
    assert "Traceback" not in text


def test_a_name_may_be_anything_but_endless(middle: Middle) -> None:
    middle.say(LEFT, handles.ADD_ROUTE, b"12:" + b"\xff" * 100_000)
    assert middle.keeper.names[12] == "\ufffd" * (_ROUTE_LIMIT - len("12:"))


def test_a_name_does_not_control_terminals(middle: Middle) -> None:
    middle.say(LEFT, handles.ADD_ROUTE, "12:a\x1b[2J\r\n\u2028 \u00fc".encode())
    assert middle.keeper.names[12] == "a[2J \u00fc"


@pytest.mark.parametrize("handle", [handles.ADD_ROUTE, handles.DEL_ROUTE, handles.ALLOCATE_ID])
def test_dead_messages_say_nothing(middle: Middle, handle: int) -> None:
    middle.say(LEFT, handle, b"12:x", reply_to=handles.IS_DEAD)
    assert middle.said() == {}
    assert middle.requests == []
    assert 11 in middle.keeper.names


# -- Contexts that go -------------------------------------------------------------------------------


def test_what_a_child_withdraws_is_forgotten_and_told_above(middle: Middle) -> None:
    middle.say(LEFT, handles.DEL_ROUTE, b"11:it: exited")
    assert 11 not in middle.router.table.links
    assert 11 not in middle.keeper.names
    assert middle.lost == [([11], "it: exited")]
    assert middle.said() == {UP: [(handles.DEL_ROUTE, b"11:it: exited")]}


def test_a_child_withdraws_only_what_is_below_it(
    middle: Middle, lines: list[tuple[int, str, str]]
) -> None:
    before = dict(middle.router.table.links)
    middle.say(RIGHT, handles.DEL_ROUTE, b"11,10,20,5,0,x,,\xc2\xb2:why")
    assert middle.router.table.links == before
    assert middle.lost == []
    assert middle.said() == {}
    assert "context 20 withdrew a context that is not its own" in lines[0][2]


def test_what_is_its_own_goes_whatever_else_a_child_says(middle: Middle) -> None:
    middle.say(LEFT, handles.DEL_ROUTE, b"20,11,11,10:why")
    assert middle.lost == [([11], "why")]
    assert middle.said() == {UP: [(handles.DEL_ROUTE, b"11:why")]}


def test_no_more_ids_are_read_than_anybody_sends(middle: Middle) -> None:
    middle.say(LEFT, handles.DEL_ROUTE, b"7," * 1001 + b"11:why")
    assert middle.lost == []
    middle.say(LEFT, handles.DEL_ROUTE, b"7," * 999 + b"11:why")
    assert middle.lost == [([11], "why")]


def test_a_reason_is_cut_wherever_it_comes_from(middle: Middle) -> None:
    middle.say(LEFT, handles.DEL_ROUTE, b"11:" + b"x" * 50_000)
    ((_, reason),) = middle.lost
    assert reason == "x" * REASON_LIMIT
    middle.router.lose([20], "y" * 50_000)
    assert [len(data) for _, data in middle.said()[UP]] == [3 + REASON_LIMIT] * 2


def test_the_end_of_a_link_is_told_once_with_all_that_was_behind_it(middle: Middle) -> None:
    middle.links[LEFT].reason = "it exited"
    fire(middle.links[LEFT], "disconnect")
    ((handle, data),) = middle.said()[UP]
    ids, _, reason = data.partition(b":")
    assert (handle, sorted(ids.split(b",")), reason) == (handles.DEL_ROUTE, [b"10", b"11"], b"it exited")


def test_very_many_ids_are_told_in_messages_of_1000(middle: Middle) -> None:
    middle.requests.clear()
    middle.say(LEFT, handles.ALLOCATE_ID, reply_to=1001)
    middle.requests.pop()(1000, 4000)
    for i in range(1000, 3500):
        middle.say(LEFT, handles.ADD_ROUTE, b"%d:x" % i)
    middle.said()
    fire(middle.links[LEFT], "disconnect")
    messages = [data.partition(b":")[0].split(b",") for _, data in middle.said()[UP]]
    assert [len(ids) for ids in messages] == [1000, 1000, 502]
    assert {int(i) for ids in messages for i in ids} == {10, 11, *range(1000, 3500)}


# -- Who is told ------------------------------------------------------------------------------------


def test_children_that_talked_to_a_context_are_told_of_its_end_and_others_are_not(middle: Middle) -> None:
    middle.say(RIGHT, 5000, b"hello", dst=11)
    middle.said()
    middle.say(LEFT, handles.DEL_ROUTE, b"11:why")
    gone = [(handles.DEL_ROUTE, b"11:why")]
    assert middle.said() == {UP: gone, RIGHT: gone}


def test_the_parent_says_who_is_gone_elsewhere_to_those_who_talked_to_it(middle: Middle) -> None:
    middle.say(RIGHT, 5000, b"hello", dst=777)
    middle.said()
    middle.say(UP, handles.DEL_ROUTE, b"777,888:why")
    assert middle.lost == [([777, 888], "why")]
    assert middle.said() == {RIGHT: [(handles.DEL_ROUTE, b"777:why")]}


def test_one_that_detached_tells_its_children_whom_they_can_not_reach_any_more(middle: Middle) -> None:
    middle.say(RIGHT, 5000, b"hello", dst=777)
    middle.say(LEFT, 5000, b"hello", dst=0)
    middle.say(LEFT, 5000, b"hello", dst=20)
    middle.said()
    middle.links[UP].reason = "it detached"
    fire(middle.links[UP], "disconnect")
    assert middle.said() == {
        RIGHT: [(handles.DEL_ROUTE, b"777:it detached")],
        LEFT: [(handles.DEL_ROUTE, b"0:it detached")],
    }
    # After that, it is as a master is.
    fire(middle.links[RIGHT], "disconnect")
    ((_, data),) = middle.said()[LEFT]
    assert data.startswith(b"20:")


# -- Ids --------------------------------------------------------------------------------------------


def test_ids_are_passed_on_to_the_child_that_asked_and_noted(middle: Middle) -> None:
    middle.say(RIGHT, handles.ALLOCATE_ID, reply_to=1001)
    assert middle.said() == {}
    middle.requests.pop()(100, 110)
    ((handle, data),) = middle.said()[RIGHT]
    assert (handle, serialization.loads(data, None)) == (1001, (100, 110))
    middle.say(RIGHT, handles.ADD_ROUTE, b"109:x")
    assert middle.router.table.link_to(109) is middle.links[RIGHT]


def test_a_child_is_told_that_there_are_no_ids(middle: Middle, lines: list[tuple[int, str, str]]) -> None:
    middle.say(RIGHT, handles.ALLOCATE_ID, reply_to=1001)
    middle.requests.pop()(0, 0)
    (answer,) = middle.links[RIGHT].sent
    assert answer.is_dead
    assert b"no more ids for context 20" in answer.data
    assert len(lines) == 1


def test_a_child_that_has_too_many_ids_gets_no_more(
    middle: Middle, monkeypatch: pytest.MonkeyPatch, lines: list[tuple[int, str, str]]
) -> None:
    monkeypatch.setattr("mitogen.core.forwarding.MAX_STOCK", 10)
    middle.say(RIGHT, handles.ALLOCATE_ID, reply_to=1001)
    middle.requests.pop()(100, 110)
    middle.say(RIGHT, handles.ALLOCATE_ID, reply_to=1001)
    assert middle.requests == []
    assert [msg.is_dead for msg in middle.links[RIGHT].sent] == [False, True]
    assert "no more ids" in lines[0][2]


def test_ids_for_a_child_that_is_gone_are_noted_for_nobody(
    middle: Middle, lines: list[tuple[int, str, str]]
) -> None:
    middle.say(RIGHT, handles.ALLOCATE_ID, reply_to=1001)
    middle.links[RIGHT].closed = True
    fire(middle.links[RIGHT], "disconnect")
    middle.said()
    middle.requests.pop()(100, 110)
    assert middle.links[UP] not in middle.router.table._branches
    assert middle.links[RIGHT] not in middle.router.table._branches
