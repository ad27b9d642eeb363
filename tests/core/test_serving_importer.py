"""`mitogen.core.serving`: what is sent along, and what is remembered, with the importer of a child."""

from __future__ import annotations

import threading
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from mitogen.core import handles, serialization
from mitogen.core.boot import Finder
from mitogen.core.importer import Importer
from mitogen.core.message import Message, make
from mitogen.core.serving import ModuleForwarder
from tests.core.tools import ForwardingRouter

if TYPE_CHECKING:
    from collections.abc import Callable

HERE, UP, BELOW = 5, 1, 10


class Broker:
    dead_reason = ""
    _thread_id = threading.get_ident()

    def __init__(self) -> None:
        self.later: list[Callable[[], object]] = []

    def defer(self, func: Callable[..., object], *args: Any) -> None:
        func(*args)

    def call_later(self, seconds: float, func: Callable[[], object]) -> None:
        self.later.append(func)

    def _stop_receive(self, stream: object) -> None:
        """Children that ask for much wait for their turn, on a machine that is slow."""

    _start_receive = _stop_receive


class Link:
    """Keeps what is sent on it."""

    queued = 0
    closed = False

    def __init__(self, remote_id: int) -> None:
        self.remote_id = remote_id
        self.name = "context-%d" % remote_id
        self.sent: list[Message] = []

    def send(self, msg: Message) -> bool:
        self.sent.append(msg)
        return True


class Middle:
    """Context 5, between its parent and a child."""

    def __init__(self) -> None:
        broker: Any = Broker()
        self.router = ForwardingRouter(broker, HERE, (UP, 0), 1 << 20)
        self.links: dict[int, Any] = {i: Link(i) for i in (UP, BELOW)}
        for context_id, link in self.links.items():
            self.router.add_link(self.router.make_context(context_id), link)
        parent = self.router.make_context(UP)
        importer = Importer(self.router, parent, Finder({"mitogen.core": ((), None, "")}))
        self.forwarder = ModuleForwarder(self.router, importer)

    def ask(self, name: str) -> None:
        """Have the child ask for a module."""
        self._receive(BELOW, handles.GET_MODULE, name.encode(), handles.LOAD_MODULE)

    def load(self, name: str, source: bytes | None, related: tuple[str, ...] = ()) -> None:
        """Have the parent send a module, or say that there is none."""
        packed = source if source is None else zlib.compress(source)
        self._receive(UP, handles.LOAD_MODULE, serialization.dumps((name, None, None, packed, related)))

    def _receive(self, src: int, handle: int, body: Any, reply_to: int = 0) -> None:
        self.router._async_route(make(HERE, src, src, handle, reply_to, body), self.links[src])

    def answers(self) -> list[tuple[str, bytes | None, tuple[str, ...]]]:
        """Return the names, sources and related names that were sent to the child."""
        later: Any = self.router.broker
        while later.later:
            later.later.pop(0)()
        found = []
        for msg in self.links[BELOW].sent:
            msg.router = self.router
            name, _, _, packed, related = msg.unpickle()
            found.append((name, packed and zlib.decompress(packed), related))
        return found


@pytest.fixture
def middle() -> Middle:
    return Middle()


def test_related_modules_follow_also_where_they_are_related_to_each_other(middle: Middle) -> None:
    middle.load("a", b"import b", ("b",))
    middle.load("b", b"import a", ("a",))
    middle.ask("a")
    assert middle.answers() == [("a", b"import b", ("b",)), ("b", b"import a", ("a",))]


def test_what_a_child_makes_up_is_not_remembered_for_ever(
    middle: Middle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mitogen.core.serving._MAX_MISSING", 10)
    for i in range(100):
        middle.ask("made_up_%d" % i)
        middle.load("made_up_%d" % i, None)
    assert len(middle.answers()) == 100
    remembered = [value for value in vars(middle.forwarder).values() if isinstance(value, dict)]
    assert all(len(value) <= 11 for value in remembered)
