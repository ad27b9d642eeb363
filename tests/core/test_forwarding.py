"""`mitogen.core.forwarding`: the decision for every kind of message, in a master and in the middle.

The tree, as context 5 sees it::

    0 -- 1 -- 5 -- 10 -- 11
               \\-- 20
"""

from __future__ import annotations

import pytest

from mitogen.core import forwarding
from mitogen.core.errors import Error
from mitogen.core.forwarding import PROHIBITED, UNANSWERABLE, UNIDIRECTIONAL, ForwardingTable
from mitogen.core.handles import IS_DEAD
from mitogen.core.routing import DELIVER, NO_ROUTE, SPOOFED, TOO_LARGE

UP, LEFT, RIGHT = "link to 1", "link to 10", "link to 20"


@pytest.fixture
def table() -> ForwardingTable:
    table = ForwardingTable(5, [1, 0], max_message_size=100)
    table.parent_link = UP
    table.add(10, LEFT)
    table.add(11, LEFT)
    table.add(20, RIGHT)
    return table


def decide(
    table: ForwardingTable,
    dst: int,
    src: int = 5,
    auth: int | None = None,
    link: object = None,
    size: int = 0,
    unidirectional: bool = False,
    reply_to: int = 0,
) -> object:
    auth = src if auth is None else auth
    return table.decide(dst, src, auth, size, link, unidirectional, reply_to)


# -- Messages made here -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dst", "link"), [(1, UP), (0, UP), (999, UP), (10, LEFT), (11, LEFT), (20, RIGHT)]
)
def test_a_message_made_here_takes_the_known_route_or_goes_up(
    table: ForwardingTable, dst: int, link: object
) -> None:
    assert decide(table, dst) is link
    assert table.link_to(dst) is link


def test_a_message_to_this_context_is_delivered(table: ForwardingTable) -> None:
    assert decide(table, 5) is DELIVER


def test_a_master_has_no_way_to_an_unknown_context() -> None:
    assert decide(ForwardingTable(0, [], 100), 7, src=0) is NO_ROUTE


def test_the_authority_of_a_message_made_here_is_not_questioned(table: ForwardingTable) -> None:
    assert decide(table, 10, src=5, auth=0) is LEFT


# -- Messages from links ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("src", "link", "dst", "out"),
    [
        (10, LEFT, 20, RIGHT),
        (11, LEFT, 0, UP),
        (20, RIGHT, 11, LEFT),
        (0, UP, 11, LEFT),
        (777, UP, 20, RIGHT),  # Somewhere else in the tree: the parent vouches for it.
    ],
)
def test_a_message_from_one_link_is_forwarded_on_another(
    table: ForwardingTable, src: int, link: object, dst: int, out: object
) -> None:
    assert decide(table, dst, src, link=link) is out


@pytest.mark.parametrize(("src", "link"), [(10, LEFT), (11, LEFT), (20, RIGHT), (1, UP), (0, UP)])
def test_a_message_from_a_link_for_this_context_is_delivered(
    table: ForwardingTable, src: int, link: object
) -> None:
    assert decide(table, 5, src, link=link) is DELIVER


@pytest.mark.parametrize(
    ("src", "dst", "link"), [(10, 11, LEFT), (0, 777, UP), (777, 1, UP), (20, 20, RIGHT)]
)
def test_a_message_is_never_sent_back_where_it_came_from(
    table: ForwardingTable, src: int, dst: int, link: object
) -> None:
    assert decide(table, dst, src, link=link) is NO_ROUTE


@pytest.mark.parametrize(
    ("src", "auth", "link"),
    [
        (20, 20, LEFT),  # A child says it is its sibling,
        (10, 20, LEFT),  # or acts for it,
        (20, 10, LEFT),  # or has its answers sent there;
        (0, 0, LEFT),  # that it is the master,
        (10, 0, LEFT),
        (0, 10, LEFT),
        (777, 777, LEFT),  # or someone unknown;
        (5, 5, LEFT),  # that it is we ourselves.
        (10, 5, LEFT),
        (5, 10, LEFT),
        (10, 10, UP),  # The parent says it is one of our children,
        (0, 10, UP),
        (5, 5, UP),  # or we,
        (0, 5, UP),
        (0, 0, "a link that nobody knows"),
    ],
)
@pytest.mark.parametrize("dst", [5, 0, 10, 20, 777])
def test_a_message_whose_sender_is_not_behind_its_link_is_dropped(
    table: ForwardingTable, src: int, auth: int, link: object, dst: int
) -> None:
    assert decide(table, dst, src, auth, link) is SPOOFED


def test_a_child_may_act_for_another_context_behind_the_same_link(table: ForwardingTable) -> None:
    assert decide(table, 5, 11, 10, LEFT) is DELIVER


def test_in_a_master_an_unknown_sender_is_a_liar() -> None:
    table = ForwardingTable(0, [], 100)
    table.add(1, LEFT)
    assert decide(table, 0, 7, link=LEFT) is SPOOFED
    assert decide(table, 0, 1, link=LEFT) is DELIVER


# -- Limits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dst", [5, 10, 0])
@pytest.mark.parametrize("link", [None, RIGHT])
def test_size_is_limited_whoever_sends_and_wherever_it_goes(
    table: ForwardingTable, dst: int, link: object
) -> None:
    src = 5 if link is None else 20
    assert decide(table, dst, src, link=link, size=101) is TOO_LARGE
    assert decide(table, dst, src, link=link, size=100) is not TOO_LARGE


def test_a_liar_is_not_told_about_limits(table: ForwardingTable) -> None:
    assert decide(table, 5, 20, link=LEFT, size=101) is SPOOFED


# -- Unidirectional ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("src", "link", "dst", "allowed"),
    [
        (10, LEFT, 5, True),
        (10, LEFT, 1, True),
        (11, LEFT, 0, True),
        (10, LEFT, 20, False),  # Siblings,
        (11, LEFT, 777, False),  # and children of parents.
        (0, UP, 10, True),
        (777, UP, 11, False),  # Nor may those begin, who would wait for an answer.
    ],
)
def test_children_talk_to_this_context_and_its_parents_only(
    table: ForwardingTable, src: int, link: object, dst: int, allowed: bool
) -> None:
    decision = decide(table, dst, src, link=link, unidirectional=True)
    assert (decision is not UNIDIRECTIONAL) == allowed
    assert decision is decide(table, dst, src, link=link) or not allowed


def test_this_context_talks_to_everybody_even_if_unidirectional() -> None:
    table = ForwardingTable(5, [1, 0], 100)
    table.parent_link = UP
    table.add(10, LEFT)
    for dst, out in ((0, UP), (1, UP), (5, DELIVER), (10, LEFT), (777, UP)):
        assert decide(table, dst, unidirectional=True) is out


# -- Changes ----------------------------------------------------------------------------------------


def test_a_new_route_replaces_the_old_one(table: ForwardingTable) -> None:
    table.add(11, RIGHT)
    assert decide(table, 11) is RIGHT
    assert decide(table, 5, 11, link=LEFT) is SPOOFED


def test_a_removed_route_is_forgotten(table: ForwardingTable) -> None:
    assert table.remove(11) is LEFT
    assert table.remove(11) is None
    assert decide(table, 11) is UP


def test_with_a_link_go_all_routes_over_it(table: ForwardingTable) -> None:
    assert sorted(table.remove_link(LEFT)) == [10, 11]
    assert table.link_to(10) is UP
    assert table.link_to(20) is RIGHT
    assert table.remove_link(LEFT) == []


def test_with_the_link_to_the_parent_goes_all_that_no_route_is_known_for(table: ForwardingTable) -> None:
    assert table.remove_link(UP) == []
    assert not table.reaches(1)
    assert table.reaches(5)
    assert table.reaches(11)
    assert decide(table, 0) is NO_ROUTE
    assert decide(table, 10) is LEFT


# -- Words ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (NO_ROUTE, ["context 9", "context 5"]),
        (SPOOFED, ["context 8"]),
        (UNIDIRECTIONAL, ["unidirectional", "context 8", "context 9", "context 5"]),
        (TOO_LARGE, ["100 bytes"]),
    ],
)
def test_a_refusal_names_who_and_what(table: ForwardingTable, refusal: object, words: list[str]) -> None:
    assert isinstance(refusal, str)
    text = table.explain(refusal, dst_id=9, src_id=8)  # type: ignore[arg-type]
    assert all(word in text for word in words)


# -- What a child may announce ----------------------------------------------------------------------


def grant(table: ForwardingTable, link: str, first: int, end: int) -> None:
    assert table.reserve(link)
    table.grant(link, first, end)


def test_a_link_announces_what_was_granted_to_it_and_nothing_else(table: ForwardingTable) -> None:
    grant(table, LEFT, 100, 110)
    grant(table, RIGHT, 110, 120)
    assert table.announce(105, LEFT)
    assert table.link_to(105) is LEFT
    for target, link in ((110, LEFT), (99, LEFT), (105, RIGHT), (0, LEFT), (5, LEFT), (20, LEFT)):
        before = table.link_to(target)
        assert not table.announce(target, link)
        assert table.link_to(target) is before
    assert not table.announce(107, "a link that was granted nothing")


def test_consecutive_grants_are_one_and_others_are_apart(table: ForwardingTable) -> None:
    for first in (100, 110, 130):
        grant(table, LEFT, first, first + 10)
    assert [i for i in range(95, 145) if table.announce(i, LEFT)] == [
        *range(100, 120),
        *range(130, 140),
    ]


def test_grants_may_come_in_any_order(table: ForwardingTable) -> None:
    for first in (500, 100, 300, 110):
        grant(table, LEFT, first, first + 10)
    announced = [i for i in range(95, 600) if table.announce(i, LEFT)]
    assert announced == [*range(100, 120), *range(300, 310), *range(500, 510)]


def test_each_of_very_many_contexts_below_a_link_may_start_a_few(table: ForwardingTable) -> None:
    # Those that start two children each are half of 50,000 contexts; and the ids of others lie between.
    for i in range(25_000):
        first = 1000 + i * 2000
        grant(table, LEFT, first, first + 1000)
        assert table.announce(first, LEFT)
        assert table.announce(first + 1, LEFT)
        assert not table.announce(first + 1500, LEFT)


def test_a_link_withdraws_its_own_routes_only(table: ForwardingTable) -> None:
    assert not table.withdraw(11, RIGHT)
    assert not table.withdraw(999, RIGHT)
    assert table.withdraw(11, LEFT)
    assert table.link_to(11) is UP
    assert not table.withdraw(11, LEFT)
    assert table.remove(11) is None


def test_a_link_gets_no_more_ids_before_it_used_those_it_has(
    table: ForwardingTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarding, "MAX_STOCK", 20)
    grant(table, LEFT, 100, 120)
    assert not table.reserve(LEFT)
    assert table.reserve(RIGHT)
    assert table.announce(100, LEFT)
    grant(table, LEFT, 120, 130)


def test_ids_that_were_asked_for_count_until_it_is_known_how_many_they_are(
    table: ForwardingTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarding, "MAX_STOCK", 2 * forwarding.RESERVE)
    assert [table.reserve(LEFT) for _ in range(3)] == [True, True, False]
    table.grant(LEFT, 0, 0)
    assert not table.announce(0, LEFT)
    assert table.reserve(LEFT)
    table.grant(LEFT, 100, 110)
    assert table.reserve(LEFT)


def test_a_link_leads_to_so_many_contexts_at_most(
    table: ForwardingTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant(table, LEFT, 100, 120)
    monkeypatch.setattr(forwarding, "MAX_ROUTES", 4)
    assert [i for i in range(100, 120) if table.announce(i, LEFT)] == [100, 101]


# -- Who talked to whom -----------------------------------------------------------------------------


def test_those_who_talked_to_a_context_or_heard_of_it_are_told_of_its_end(
    table: ForwardingTable,
) -> None:
    assert decide(table, 20, 11, link=LEFT) is RIGHT
    assert decide(table, 777, 10, link=LEFT) is UP
    assert decide(table, 11, 888, link=UP) is LEFT
    table.remove_link(RIGHT)
    assert table.take_talkers([20, 777, 888]) == {LEFT: [20, 777, 888]}
    assert table.take_talkers([20, 777, 888]) == {}


def test_both_ends_of_a_talk_between_children_are_told(table: ForwardingTable) -> None:
    decide(table, 20, 10, link=LEFT)
    assert table.take_talkers([10]) == {RIGHT: [10]}
    assert table.take_talkers([20]) == {LEFT: [20]}


def test_messages_of_this_context_and_refused_ones_leave_no_note(table: ForwardingTable) -> None:
    decide(table, 20)
    decide(table, 20, 11, link=LEFT, size=101)
    decide(table, 20, 11, link=LEFT, unidirectional=True)
    decide(table, 11, 10, link=LEFT)
    assert table.take_talkers([10, 11, 20]) == {}


def test_a_link_that_is_gone_is_told_nothing(table: ForwardingTable) -> None:
    decide(table, 20, 10, link=LEFT)
    decide(table, 777, 10, link=LEFT)
    decide(table, 777, 20, link=RIGHT)
    assert sorted(table.remove_link(LEFT)) == [10, 11]
    assert table.take_talkers([20, 777]) == {RIGHT: [777]}


def test_a_link_that_talked_to_very_many_is_told_of_everyone(
    table: ForwardingTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarding, "MAX_PEERS", 3)
    for peer in range(1000, 1005):
        decide(table, peer, 10, link=LEFT)
    assert table.take_talkers([1000, 5555]) == {LEFT: [1000, 5555]}
    assert sorted(table.remove_link(LEFT)) == [10, 11]
    assert table.take_talkers([1001]) == {}


def test_a_peer_is_noted_once(table: ForwardingTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarding, "MAX_PEERS", 1)
    table.note(LEFT, 777)
    table.note(LEFT, 777)
    assert table.take_talkers([777, 888]) == {LEFT: [777]}


def test_a_link_that_is_told_of_everyone_needs_no_more_notes(
    table: ForwardingTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarding, "MAX_PEERS", 1)
    for peer in (777, 888, 999):
        table.note(LEFT, peer)
    table.note(RIGHT, 777)
    assert table.take_talkers([777, 999]) == {LEFT: [777, 999], RIGHT: [777]}


def test_without_a_parent_those_that_no_link_leads_to_are_cut_off(table: ForwardingTable) -> None:
    for dst, src, link in ((777, 10, LEFT), (0, 20, RIGHT), (20, 10, LEFT)):
        decide(table, dst, src, link=link)
    table.remove_link(UP)
    assert sorted(table.cut_off()) == [0, 777]
    assert table.take_talkers(sorted(table.cut_off())) == {RIGHT: [0], LEFT: [777]}
    assert table.cut_off() == []


# -- The user's own policy --------------------------------------------------------------------------


def test_the_policy_is_asked_for_others_only(table: ForwardingTable) -> None:
    asked = []

    def policy(src: int, dst: int) -> bool:
        asked.append((src, dst))
        return src == 10

    table.policy = policy
    assert decide(table, 20, 10, link=LEFT) is RIGHT
    assert decide(table, 20, 11, link=LEFT) is PROHIBITED
    assert decide(table, 11, 777, link=UP) is PROHIBITED
    assert asked == [(10, 20), (11, 20), (777, 11)]
    for dst, src, link in ((0, 11, LEFT), (1, 11, LEFT), (5, 11, LEFT), (11, 0, UP), (20, 5, None)):
        assert decide(table, dst, src, link=link) is not PROHIBITED
    assert len(asked) == 3
    assert "context 11 may not talk to context 20" in table.explain(PROHIBITED, 20, 11)


def test_a_question_passes_only_if_its_answer_may(table: ForwardingTable) -> None:
    table.policy = lambda src, dst: src < dst or {src, dst} == {11, 20}
    assert decide(table, 20, 10, link=LEFT) is RIGHT
    assert decide(table, 20, 10, link=LEFT, reply_to=IS_DEAD) is RIGHT
    assert decide(table, 20, 10, link=LEFT, reply_to=1000) is UNANSWERABLE
    assert decide(table, 10, 20, link=RIGHT, reply_to=1000) is PROHIBITED
    assert decide(table, 10, 20, link=RIGHT, reply_to=IS_DEAD) is PROHIBITED
    for dst, src, link, out in ((20, 11, LEFT, RIGHT), (11, 20, RIGHT, LEFT), (10, 1, UP, LEFT)):
        assert decide(table, dst, src, link=link, reply_to=1000) is out
    assert "context 20 may not answer context 10" in table.explain(UNANSWERABLE, 20, 10)
    assert table.take_talkers([10]) == {RIGHT: [10]}


def test_below_a_policy_what_is_for_others_goes_up_and_comes_down_again(table: ForwardingTable) -> None:
    table.is_ruled = True
    assert decide(table, 20, 10, link=LEFT) is UP
    assert decide(table, 11, 10, link=LEFT) is UP
    assert decide(table, 20, 10, link=UP) is RIGHT
    assert decide(table, 11, 10, link=UP) is LEFT
    assert decide(table, 999, 10, link=UP) is NO_ROUTE
    assert decide(table, 20, 5, link=UP) is SPOOFED
    # What a client of this context sends has its authority, see `mitogen.unix`; and went up as well.
    assert table.decide(20, 10, 5, 0, UP, False) is RIGHT
    for dst, out in ((5, DELIVER), (0, UP)):
        assert decide(table, dst, 10, link=LEFT) is out
    assert decide(table, 20) is RIGHT
    assert decide(table, 20, 10, link=LEFT, unidirectional=True) is UNIDIRECTIONAL


def test_who_has_the_policy_sends_down_again_what_it_allows() -> None:
    table = ForwardingTable(0, [], 100)
    table.add(10, LEFT)
    table.add(11, LEFT)
    assert decide(table, 11, 10, link=LEFT) is NO_ROUTE
    table.policy = lambda src, dst: dst == 11
    assert decide(table, 11, 10, link=LEFT) is LEFT
    assert decide(table, 10, 11, link=LEFT) is PROHIBITED
    assert decide(table, 999, 10, link=LEFT) is NO_ROUTE


def test_a_route_without_a_link_is_refused(table: ForwardingTable) -> None:
    with pytest.raises(Error, match="no link leads to context 8"):
        table.add(9, None, 8)
    assert table.link_to(9) is UP
