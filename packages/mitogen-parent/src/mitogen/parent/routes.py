"""Routes and ids below a context that has children: `RouteKeeper`.

Owns what neighbours are told: a parent of each descendant that comes (ADD_ROUTE) and of those that go
(DEL_ROUTE), and the children that talked to a context, wherever it is, that it went. Links keep messages
in order, so a route is known everywhere above before the first message from there arrives.

Nothing that a child says is believed without proof. It may announce contexts with ids that were granted
to it, and those only; ids are granted by the batch, on request (ALLOCATE_ID), and since every request and
answer passes all contexts on the way to the master, each of them knows what is granted to whom.

All of it runs on the broker thread.
"""

from __future__ import annotations

from mitogen.core import handles, serialization
from mitogen.core.message import REASON_LIMIT, Message, make
from mitogen.core.signals import listen
from mitogen.core.watching import on_del_route

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from mitogen.core.router import Router
    from mitogen.core.stream import Stream

    Grant = Callable[[int, int], None]

#: Ids in one message. More would only make the message larger than some limit.
_CHUNK = 1000
#: Bytes of the messages below that are looked at: what honest ones have at most. A name that contexts
#: on the way gave may be longer; a hostile child could have many.
_END_LIMIT, _ROUTE_LIMIT = 16384, 250


def is_immediate_child(msg: Message, stream: Stream | None) -> bool:
    """Policy for `Router.add_handler`: the message comes from the child at the other end of its link."""
    return stream is not None and msg.src_id == stream.remote_id and msg.auth_id == stream.remote_id


def _ids(numbers: bytes) -> list[int]:
    """Return the ids in what a child sent: anything, and any amount of it, if it is hostile."""
    return [int(n) for n in numbers.split(b",", _CHUNK) if n.isdigit() and len(n) < 11]


class RouteKeeper:
    """Keep the routes of one router.

    :param request_ids: called with a function that is to get the first id of a batch, and the one past
        its last; 0 for both if there are no more.
    :ivar names: the name of each descendant, by its id.
    """

    def __init__(self, router: Router, request_ids: Callable[[Grant], None]) -> None:
        self._router = router
        self._request_ids = request_ids
        self._table: Any = router.table
        self.names: dict[int, str] = {}
        for handle, fn in (
            (handles.ADD_ROUTE, self._on_add_route),
            (handles.DEL_ROUTE, self._on_del_route),
            (handles.ALLOCATE_ID, self._on_allocate_id),
        ):
            # Instead of the one that `watch` registers, maybe in this moment.
            router._handlers[handle] = fn, True, None, self._is_neighbour
        listen(router, "lost", self._on_lost)

    def _is_neighbour(self, msg: Message, stream: Stream | None) -> bool:
        return is_immediate_child(msg, stream) or (
            msg.handle == handles.DEL_ROUTE and msg.src_id in self._router.parent_ids
        )

    def _send(self, link: Stream, handle: int, text: str) -> None:
        here = self._router.context_id
        link.send(make(link.remote_id, here, here, handle, 0, text.encode("utf-8", "replace")))

    def announce(self, context_id: int, name: str) -> None:
        """Tell those above of a descendant, to which there is a route here already."""
        self.names[context_id] = name
        if self._table.parent_link is not None:
            self._send(self._table.parent_link, handles.ADD_ROUTE, "%d:%s" % (context_id, name))

    def _on_add_route(self, msg: Message) -> None:
        if msg.is_dead:
            return
        numbers, _, name = msg.data[:_ROUTE_LIMIT].partition(b":")
        link = self._router.stream_by_id(msg.src_id)
        ids = _ids(numbers)
        if len(ids) == 1 and self._table.announce(ids[0], link):
            # It shows up in logs and errors, and so on terminals.
            self.announce(ids[0], "".join(filter(str.isprintable, name.decode("utf-8", "replace"))))
        else:
            self._complain(msg, "announced", numbers)

    def _complain(self, msg: Message, did: str, ids: bytes) -> None:
        text = "context %d %s a context that is not its own: %r"
        self._router._complain(text, msg.src_id, did, ids[:100])

    def _on_del_route(self, msg: Message) -> None:
        if msg.src_id in self._router.parent_ids:
            on_del_route(msg)
        elif not msg.is_dead:
            numbers, _, reason = msg.data[:_END_LIMIT].partition(b":")
            link = self._router.stream_by_id(msg.src_id)
            ids = _ids(numbers)
            # Not the child itself: its link says when it goes.
            gone = [i for i in ids if i != msg.src_id and self._table.withdraw(i, link)]
            if gone:
                self._router.lose(gone, reason.decode("utf-8", "replace")[:REASON_LIMIT])
            if len(gone) < len(ids):
                self._complain(msg, "withdrew", numbers)

    def _on_lost(self, ids: list[int], reason: str) -> None:
        below = [i for i in ids if self.names.pop(i, None) is not None]
        parent = self._table.parent_link
        if parent is not None:
            self._tell(parent, below, reason)
        elif self._router.parent_ids:
            # It detached, and lives on, as do its children.
            ids = ids + self._table.cut_off()
        for link, gone in self._table.take_talkers(ids).items():
            self._tell(link, gone, reason)

    def _tell(self, link: Stream, ids: list[int], reason: str) -> None:
        for start in range(0, len(ids), _CHUNK):
            numbers = ",".join(map(str, ids[start : start + _CHUNK]))
            self._send(link, handles.DEL_ROUTE, "%s:%s" % (numbers, reason[:REASON_LIMIT]))

    def _on_allocate_id(self, msg: Message) -> None:
        if not msg.is_dead:
            # A child's; not that to the parent, over which whatever is unknown goes.
            link = self._table.links.get(msg.src_id)
            if link is not None and self._table.reserve(link):
                self._request_ids(lambda first, end: self._grant(msg, link, first, end))
            else:
                self._answer(msg, 0, 0)

    def _grant(self, msg: Message, link: Any, first: int, end: int) -> None:
        if not link.closed:
            self._table.grant(link, first, end)
            self._answer(msg, first, end)

    def _answer(self, msg: Message, first: int, end: int) -> None:
        router, asker = self._router, msg.src_id
        if end:
            here = router.context_id
            body = serialization.dumps((first, end))
            router._async_route(make(asker, here, here, msg.reply_to, 0, body))
        else:
            text = "there are no more ids for context %d"
            router._complain(text, asker)
            router._refuse(msg, text % asker)
