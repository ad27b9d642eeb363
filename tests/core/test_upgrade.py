"""`mitogen.core.upgrade` and `watching`: what other threads see while a context becomes a parent."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from mitogen.core import handles
from mitogen.core.forwarding import ForwardingTable
from mitogen.core.router import Router
from mitogen.core.upgrade import _attach
from mitogen.core.watching import watch
from mitogen.parent.routes import RouteKeeper
from tests.core.tools import PATIENCE, Node, ended, in_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

PARENT = object()


class _Seen(Router):
    """A router that notes what another thread finds the moment that there is another table."""

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name == "table":
            found = value.link_to(0), getattr(value, "is_ruled", None)
            self.__dict__.setdefault("seen", []).append(found)


@pytest.fixture
def node() -> Iterator[Node]:
    yield from ended(Node(5, (1, 0)))


@pytest.fixture
def impatient() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_a_thread_that_sends_meanwhile_finds_the_way_to_the_parent(node: Node) -> None:
    router = _Seen(node.broker, 5, [1, 0])
    router.table.parent_link = PARENT
    config = {
        "debug": False,
        "profiling": False,
        "log_level": 30,
        "keepalive": None,
        "prefer": (),
        "is_ruled": True,
    }
    router.econtext = SimpleNamespace(config=config, importer=None, _end_now=None)  # type: ignore[assignment]
    node.run(lambda: _attach(router, lambda router: SimpleNamespace(on_end=None), lambda *args: None))
    assert isinstance(router.table, ForwardingTable)
    assert router.__dict__["seen"][1:] == [(PARENT, True)]


def test_threads_begin_to_watch_while_the_context_becomes_a_parent(node: Node, impatient: None) -> None:
    router: Any = node.router
    router.table.parent_link = PARENT
    router.route = lambda msg: None
    respondent = node.context(77)
    for _ in range(300):
        router._handlers.clear()
        start = threading.Barrier(4)

        def begin_to_watch(start: threading.Barrier = start) -> None:
            start.wait(PATIENCE)
            watch(router, respondent, 1234)

        def become_parent(start: threading.Barrier = start) -> None:
            start.wait(PATIENCE)
            RouteKeeper(router, lambda grant: None)

        results = [
            in_thread(func) for func in (begin_to_watch, become_parent, begin_to_watch, begin_to_watch)
        ]
        for result in results:
            result()
        assert router._handlers[handles.DEL_ROUTE][3] is not None, "what children say is checked"
    router.table.parent_link = None
