"""`mitogen.core.keepalive`: which links are given up, and which are not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from mitogen.core.errors import TimeoutError
from mitogen.core.framing import HEADER_SIZE
from mitogen.core.keepalive import PATIENCE as INTERVALS
from mitogen.core.keepalive import watch
from mitogen.core.message import Message
from tests.core.tools import PATIENCE, Node, Peer, ended

if TYPE_CHECKING:
    from collections.abc import Iterator

INTERVAL = 0.1


@pytest.fixture
def node() -> Iterator[Node]:
    yield from ended(Node(0))


@pytest.fixture
def peer(node: Node) -> Iterator[Peer]:
    peer = Peer(node, 1)
    yield peer
    peer.sock.close()


def test_a_link_over_which_nothing_comes_is_given_up_and_asked_before(node: Node, peer: Peer) -> None:
    handles = set(node.router._handlers)
    node.run(lambda: watch(peer.stream, INTERVAL))
    peer.gone.get(PATIENCE)
    assert "nothing was heard of context context-1 for 0.3 seconds" in peer.stream.reason
    assert len(peer.sock.recv(1000)) == (INTERVALS - 1) * HEADER_SIZE
    deadline = time.monotonic() + PATIENCE
    while set(node.router._handlers) != handles:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_slow_peer_lives_that_has_not_yet_read_that_it_is_asked(node: Node, peer: Peer) -> None:
    node.run(lambda: watch(peer.stream, INTERVAL))
    node.router.route(Message(dst_id=1, handle=5000, data=bytes(3 << 20), src_id=0, auth_id=0))
    assert peer.stream.queued
    read = 0
    while peer.stream.queued:
        read += len(peer.sock.recv(1 << 16))
        with pytest.raises(TimeoutError):
            peer.gone.get(INTERVAL / 3)
    assert read > 1 << 20
    peer.gone.get(PATIENCE)
