"""`mitogen.core.routing`: the decision for every kind of message, in a master and in the middle.

The tree, as context 5 sees it::

    0 -- 1 -- 5 -- 10 -- 11
               \\-- 20
"""

from __future__ import annotations

import pytest

from mitogen.core.routing import (
    DELIVER,
    NO_ROUTE,
    SPOOFED,
    TOO_LARGE,
    UNIDIRECTIONAL,
    RoutingTable,
)

UP, LEFT, RIGHT = "link to 1", "link to 10", "link to 20"


@pytest.fixture
def table() -> RoutingTable:
    table = RoutingTable(5, [1, 0], max_message_size=100)
    table.parent_link = UP
    table.add(10, LEFT)
    table.add(11, LEFT)
    table.add(20, RIGHT)
    return table


def decide(
    table: RoutingTable,
    dst: int,
    src: int = 5,
    auth: int | None = None,
    link: object = None,
    size: int = 0,
    unidirectional: bool = False,
) -> object:
    return table.decide(dst, src, src if auth is None else auth, size, link, unidirectional)


# -- Messages made here -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dst", "link"), [(1, UP), (0, UP), (999, UP), (10, LEFT), (11, LEFT), (20, RIGHT)]
)
def test_a_message_made_here_takes_the_known_route_or_goes_up(
    table: RoutingTable, dst: int, link: object
) -> None:
    assert decide(table, dst) is link
    assert table.link_to(dst) is link


def test_a_message_to_this_context_is_delivered(table: RoutingTable) -> None:
    assert decide(table, 5) is DELIVER


def test_a_master_has_no_way_to_an_unknown_context() -> None:
    assert decide(RoutingTable(0, [], 100), 7, src=0) is NO_ROUTE


def test_the_authority_of_a_message_made_here_is_not_questioned(table: RoutingTable) -> None:
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
    table: RoutingTable, src: int, link: object, dst: int, out: object
) -> None:
    assert decide(table, dst, src, link=link) is out


@pytest.mark.parametrize(("src", "link"), [(10, LEFT), (11, LEFT), (20, RIGHT), (1, UP), (0, UP)])
def test_a_message_from_a_link_for_this_context_is_delivered(
    table: RoutingTable, src: int, link: object
) -> None:
    assert decide(table, 5, src, link=link) is DELIVER


@pytest.mark.parametrize(
    ("src", "dst", "link"), [(10, 11, LEFT), (0, 777, UP), (777, 1, UP), (20, 20, RIGHT)]
)
def test_a_message_is_never_sent_back_where_it_came_from(
    table: RoutingTable, src: int, dst: int, link: object
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
    table: RoutingTable, src: int, auth: int, link: object, dst: int
) -> None:
    assert decide(table, dst, src, auth, link) is SPOOFED


def test_a_child_may_act_for_another_context_behind_the_same_link(table: RoutingTable) -> None:
    assert decide(table, 5, 11, 10, LEFT) is DELIVER


def test_in_a_master_an_unknown_sender_is_a_liar() -> None:
    table = RoutingTable(0, [], 100)
    table.add(1, LEFT)
    assert decide(table, 0, 7, link=LEFT) is SPOOFED
    assert decide(table, 0, 1, link=LEFT) is DELIVER


# -- Limits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dst", [5, 10, 0])
@pytest.mark.parametrize("link", [None, RIGHT])
def test_size_is_limited_whoever_sends_and_wherever_it_goes(
    table: RoutingTable, dst: int, link: object
) -> None:
    src = 5 if link is None else 20
    assert decide(table, dst, src, link=link, size=101) is TOO_LARGE
    assert decide(table, dst, src, link=link, size=100) is not TOO_LARGE


def test_a_liar_is_not_told_about_limits(table: RoutingTable) -> None:
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
        (777, UP, 11, True),  # Refused by those further up, if at all.
    ],
)
def test_children_talk_to_this_context_and_its_parents_only(
    table: RoutingTable, src: int, link: object, dst: int, allowed: bool
) -> None:
    decision = decide(table, dst, src, link=link, unidirectional=True)
    assert (decision is not UNIDIRECTIONAL) == allowed
    assert decision is decide(table, dst, src, link=link) or not allowed


def test_this_context_talks_to_everybody_even_if_unidirectional() -> None:
    table = RoutingTable(5, [1, 0], 100)
    table.parent_link = UP
    table.add(10, LEFT)
    for dst, out in ((0, UP), (1, UP), (5, DELIVER), (10, LEFT), (777, UP)):
        assert decide(table, dst, unidirectional=True) is out


# -- Changes ----------------------------------------------------------------------------------------


def test_a_new_route_replaces_the_old_one(table: RoutingTable) -> None:
    table.add(11, RIGHT)
    assert decide(table, 11) is RIGHT
    assert decide(table, 5, 11, link=LEFT) is SPOOFED


def test_a_removed_route_is_forgotten(table: RoutingTable) -> None:
    assert table.remove(11) is LEFT
    assert table.remove(11) is None
    assert decide(table, 11) is UP


def test_with_a_link_go_all_routes_over_it(table: RoutingTable) -> None:
    assert sorted(table.remove_link(LEFT)) == [10, 11]
    assert table.link_to(10) is UP
    assert table.link_to(20) is RIGHT
    assert table.remove_link(LEFT) == []


def test_with_the_link_to_the_parent_goes_all_that_no_route_is_known_for(table: RoutingTable) -> None:
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
def test_a_refusal_names_who_and_what(table: RoutingTable, refusal: object, words: list[str]) -> None:
    assert isinstance(refusal, str)
    text = table.explain(refusal, dst_id=9, src_id=8)  # type: ignore[arg-type]
    assert all(word in text for word in words)
