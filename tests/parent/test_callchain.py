"""`mitogen.parent.callchain`: what a call waits for, without the context that is called."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from mitogen.core.errors import TimeoutError
from mitogen.core.receiver import Receiver
from mitogen.parent import CallChain, Context
from tests.core.tools import Node, Peer, ended

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def node() -> Iterator[Node]:
    yield from ended(Node(0))


def test_the_wait_for_room_on_the_link_counts_as_part_of_the_time(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = Peer(node, 1)
    route, waited = node.router.route, []

    def route_slowly(msg: Any, timeout: float | None = None) -> None:
        time.sleep(0.02)
        route(msg, timeout)

    def get(self: Receiver, timeout: float | None = None) -> None:
        waited.append(timeout)
        raise TimeoutError("nothing arrived in time")

    monkeypatch.setattr(node.router, "route", route_slowly)
    monkeypatch.setattr(Receiver, "get", get)
    with pytest.raises(TimeoutError, match="took more than 5 seconds"):
        CallChain(Context(node.router, 1), timeout=5).call(abs, 1)
    with pytest.raises(TimeoutError):
        CallChain(Context(node.router, 1)).call(abs, 1)
    assert waited[0] is not None
    assert waited[0] <= 4.98
    assert waited[1] is None
    peer.sock.close()
