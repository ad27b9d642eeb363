"""`mitogen.core.routing`: the decision for every kind of message, in a context without children."""

from __future__ import annotations

import pytest

from mitogen.core.forwarding import ForwardingTable
from mitogen.core.routing import DELIVER, NO_ROUTE, SPOOFED, TOO_LARGE, Refusal, RoutingTable

UP = "link to 1"


@pytest.fixture
def table() -> RoutingTable:
    table = RoutingTable(5, [1, 0], max_message_size=100)
    table.parent_link = UP
    return table


def decide(
    table: RoutingTable, dst: int, src: int = 5, auth: int = 5, link: object = None, size: int = 0
) -> object:
    return table.decide(dst, src, auth, size, link, False)


@pytest.mark.parametrize("dst", [0, 1, 20, 999])
def test_everything_for_others_goes_up(table: RoutingTable, dst: int) -> None:
    assert decide(table, dst) is UP
    assert table.link_to(dst) is UP
    assert table.reaches(dst)


def test_a_message_to_this_context_is_delivered_wherever_it_comes_from(table: RoutingTable) -> None:
    assert decide(table, 5) is DELIVER
    assert decide(table, 5, 20, 0, UP) is DELIVER
    assert table.reaches(5)


@pytest.mark.parametrize(("src", "auth"), [(5, 0), (0, 5), (5, 5)])
def test_nobody_else_sends_in_the_name_of_this_context(table: RoutingTable, src: int, auth: int) -> None:
    assert decide(table, 5, src, auth, UP) is SPOOFED


def test_what_came_from_the_parent_is_not_sent_back(table: RoutingTable) -> None:
    assert decide(table, 20, 0, 0, UP) is NO_ROUTE


@pytest.mark.parametrize("dst", [0, 5])
@pytest.mark.parametrize(("src", "link"), [(5, None), (0, UP)])
def test_size_is_limited(table: RoutingTable, dst: int, src: int, link: object) -> None:
    assert decide(table, dst, src, src, link, 101) is TOO_LARGE
    assert decide(table, dst, src, src, link, 100) is not TOO_LARGE


def test_without_a_parent_there_is_only_this_context(table: RoutingTable) -> None:
    assert table.remove_link("some other link") == []
    assert table.parent_link is UP
    assert table.remove_link(UP) == []
    assert not table.reaches(0)
    assert table.reaches(5)
    assert decide(table, 0) is NO_ROUTE
    assert decide(table, 5) is DELIVER


@pytest.mark.parametrize("refusal", [NO_ROUTE, SPOOFED, TOO_LARGE])
def test_refusals_are_explained(table: RoutingTable, refusal: Refusal) -> None:
    text = table.explain(refusal, 20, 7)
    assert "%" not in text
    assert any(number in text for number in ("20", "7", "100"))


@pytest.mark.parametrize("link", [None, UP])
@pytest.mark.parametrize("size", [0, 101])
def test_a_table_that_could_forward_decides_the_same(
    table: RoutingTable, link: object, size: int
) -> None:
    forwarding = ForwardingTable(5, [1, 0], max_message_size=100)
    forwarding.parent_link = UP
    for dst in (0, 1, 5, 20):
        for src in (0, 1, 5, 20):
            for auth in (0, src):
                assert decide(table, dst, src, auth, link, size) is decide(
                    forwarding, dst, src, auth, link, size
                )
