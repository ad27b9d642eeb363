"""What becomes of a sender whose link is full, `hold_back`, and of those who ask for much, `Turns`.

A link takes any number of messages, but above `Router.high_water_mark` bytes in its queue, threads that
send on it wait, and links whose messages are forwarded on it are not read. The broker thread itself never
waits, and messages that keep the tree in order are always taken: they are small, and few.

That is for those who mean well. A child in other hands could say so much that all wait for one another,
or ask everybody and read no answer, so that all wait for it. So one that said far more than it took is
ahead (`is_ahead`). It is not read while many messages wait to be sent to it, or to where it sends; and
nobody has to wait for it before there are several times the mark. Rejected: to hold back whoever sends
much, by bytes or by time, since honest contexts that only send, or that only answer, would pay for it.
Honest ones that only send are ahead as well; they lose nothing by it.

Questions that cost the broker thread time, or have answers that are larger than they are, are answered in
turns. Children ask one by one, so that only one in other hands is ever kept waiting.

Outside the bundle: most links are never full. Contexts with children import it before they have any,
since what they forward they forward on the broker thread, which can't wait for an import.
"""

from __future__ import annotations

import select
from collections import deque
from time import monotonic

from mitogen.core import handles, logs
from mitogen.core.errors import TimeoutError
from mitogen.core.latch import Latch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from mitogen.core.message import Message
    from mitogen.core.router import Router
    from mitogen.core.stream import BasicStream, Stream

#: Standard handles whose messages may have to wait.
_BULKY = frozenset([handles.CALL_FUNCTION, handles.CALL_ASIDE, handles.CALL_SERVICE, handles.FORWARD_LOG])

#: Seconds between two looks at a link that is not read: whether it has ended, or can be read a bit.
_LOOK_EVERY = 1.0
#: Messages that a child may say more than it took, and that may wait on a link that it uses nevertheless.
AHEAD = 1000
#: Marks of what may be queued for one that is ahead before others wait for it.
MOST = 4
#: Seconds of the broker thread that go to questions before it looks at anything else, and between that.
TURN, PAUSE = 0.02, 0.002
#: Seconds without any progress after which a link that others wait for is given up by a master. Each
#: context further down has less patience by a tenth, so that it gives up the one that is to blame before
#: it is given up itself for not going on.
STALL = 30.0
#: Looks at its progress in that time.
_LOOKS = 20
#: Questions of one link that may wait for somebody else's answer.
MAX_OPEN = 50


def may_wait(msg: Message) -> bool:
    """Return True for a message that carries a program's own data."""
    return not msg.is_dead and (msg.handle >= handles.FIRST_DYNAMIC_HANDLE or msg.handle in _BULKY)


def is_ahead(link: Stream, other: Stream) -> bool:
    """Return True if `link` brought far more messages than it took away, and `other` has many to send.

    That is what becomes of one that asks without reading the answers, or says more than anybody can take.
    """
    unread = link.messages_received - link.messages_sent + len(link._queue)
    return unread > AHEAD and len(other._queue) > AHEAD


def pause(stream: BasicStream, link: Stream) -> None:
    """Read `stream` no more until there is room on `link`, and on all links that it is paused for.

    Broker thread only. Its end is noticed all the same, within `_LOOK_EVERY` seconds: a context whose
    child reads nothing must not outlive its own parent.
    """
    known: dict[str, Any] = stream.__dict__
    waits_for = known.setdefault("waits_for", set())
    if link in waits_for or link.closed or known.get("has_ended"):
        return
    broker = link.router.broker
    waits_for.add(link)
    broker._stop_receive(stream)

    def go_on() -> None:
        waits_for.discard(link)
        if not waits_for:
            broker._start_receive(stream)

    def look() -> None:
        known["is_looked_at"] = False
        # The half that is waited for takes long where the link is slow. Whoever waits for us in turn must
        # see meanwhile that we go on.
        for other in list(waits_for):
            if getattr(other, "held_back", None) and _has_room(other):
                other._make_room()
        side = stream.receive_side
        if waits_for and side is not None:
            if _has_ended(side.fd):
                # What is left is no more than the system's buffer holds.
                known["has_ended"] = True
                broker._start_receive(stream)
            else:
                look_later()

    def look_later() -> None:
        if not known.get("is_looked_at"):
            known["is_looked_at"] = True
            broker.call_later(_LOOK_EVERY, look)

    link.held_back.append(go_on)
    look_later()
    if link is not link.router.table.parent_link and "taken" not in link.__dict__:
        _watch(link)


def _has_room(link: Stream) -> bool:
    """Return True if `link` is not full, or leads to a child that is ahead, and there is memory left.

    That one is not read itself, so there will be no more for it than what it asked for until now.
    """
    router = link.router
    most = router.high_water_mark
    if link is not router.table.parent_link and is_ahead(link, link):
        most *= MOST
    return link.queued <= most


def _has_ended(fd: int) -> bool:
    """Return True if the other side of `fd` is closed, whatever there is to read."""
    poller = select.poll()
    poller.register(fd, 0)
    return bool(poller.poll(0))


def _wait_for_room(router: Router, link: Stream, timeout: float | None) -> None:
    room = Latch()
    while True:
        waiting = link.held_back
        waiting.append(room.put)
        # It may have got room before it could know that somebody waits.
        if link.queued <= router.high_water_mark // 2 or link.closed:
            return
        # If the broker thread took the list in the meantime, it may have gone through it already.
        if link.held_back is waiting:
            break
    try:
        room.get(timeout)
    except TimeoutError:
        # By the thread that goes through the list. Whoever tries again and again must not fill it.
        router.broker.defer(_forget, link, room.put)
        raise TimeoutError(
            "%d bytes wait to be sent to context %s, which does not read them; nothing was sent",
            link.queued,
            link.name,
        ) from None


def _forget(link: Stream, go_on: Callable[[], object]) -> None:
    if go_on in link.held_back:
        link.held_back.remove(go_on)


def _watch(link: Any) -> None:
    """Cut off a child that takes nothing for `STALL` seconds, while others can't be read because of it.

    One in other hands could silence all that share a link with it. A parent is never cut off: it may be
    a program that somebody stopped for a while.
    """
    broker = link.router.broker
    link.taken = link.sent - link.queued
    patience = STALL * 0.9 ** len(link.router.parent_ids)
    idle = 0

    def look() -> None:
        nonlocal idle
        taken, before = link.sent - link.queued, link.taken
        if link.closed or not link.held_back:
            del link.taken
            return
        idle = idle + 1 if taken == before else 0
        if idle == _LOOKS:
            reason = "context %s took nothing of what was sent to it for %g seconds"
            link.disconnect(broker, reason % (link.name, patience))
        else:
            link.taken = taken
            broker.call_later(patience / _LOOKS, look)

    broker.call_later(patience / _LOOKS, look)


def hold_back(
    router: Router, link: Stream, msg: Message, source: Stream | None, timeout: float | None
) -> None:
    """Wait for room on `link`, or have its sender wait. Called before `msg` is sent on it.

    On the broker thread for a message that came on another link, else on any other thread.

    :param source: the link that `msg` came on; None if it was made here.
    :param timeout: seconds to wait at most.
    :raises TimeoutError: the time passed.
    """
    if source is not None:
        is_flood = source is not router.table.parent_link and is_ahead(source, link)
        if is_flood or not _has_room(link):
            pause(source, link)
    elif may_wait(msg):
        _wait_for_room(router, link, timeout)


class Turns:
    """Let each link have its turn with its questions. Broker thread only.

    A link whose questions took their time, or wait for answers, or that does not read those it got, is
    not read itself before that is over. So neither time nor memory is there for one link alone.

    :param answer: called as ``answer(msg)`` with each question.
    """

    def __init__(self, router: Router, answer: Callable[[Message], object]) -> None:
        self._router = router
        self._answer = answer
        #: How many questions of each link wait for somebody else.
        self._open: dict[Stream, int] = {}
        #: What came in over links that are not read meanwhile.
        self._asked: dict[Stream, deque[Message]] = {}
        #: When this turn began, and the seconds of it that were spent.
        self._began = self._spent = 0.0

    def take(self, msg: Message) -> None:
        """Answer a question, now or later."""
        if msg.is_dead:
            return
        link = self._router.stream_by_id(msg.src_id)
        if link is not None and link is self._router.table.parent_link:
            # It is always read: the answers that others wait for come from there.
            self._router._refuse(msg, "context %d answers its children only" % self._router.context_id)
            return
        if link is None or (link not in self._asked and self._may_go_on(link)):
            self._go_on(msg)
            return
        broker = self._router.broker
        if not self._asked:
            broker.call_later(PAUSE, self._take_turn)
        if link not in self._asked:
            self._asked[link] = deque()
            link.__dict__.setdefault("waits_for", set()).add(self)
            broker._stop_receive(link)
        self._asked[link].append(msg)

    def until(self, then: Callable[[str], object], msg: Message) -> Callable[[str], None]:
        """Return a function that does as `then`, and note that `msg` waits until it is called."""
        link: Any = self._router.stream_by_id(msg.src_id)
        self._open[link] = self._open.get(link, 0) + 1

        def done(result: str) -> None:
            self._open[link] -= 1
            if not self._open[link]:
                del self._open[link]
            then(result)

        return done

    def _may_go_on(self, link: Stream) -> bool:
        now = monotonic()
        if now - self._began > TURN:
            self._began, self._spent = now, 0.0
        return (
            self._spent < TURN / 2
            and link.queued <= self._router.high_water_mark
            and self._open.get(link, 0) < MAX_OPEN
        )

    def _go_on(self, msg: Message) -> None:
        started = monotonic()
        logs.attempt("answering a question", self._answer, msg)
        self._spent += monotonic() - started

    def _take_turn(self) -> None:
        broker = self._router.broker
        for link, messages in list(self._asked.items()):
            before = len(messages)
            while messages and not link.closed and self._may_go_on(link):
                self._go_on(messages.popleft())
            if link.closed or not messages:
                del self._asked[link]
                waits_for = link.__dict__["waits_for"]
                waits_for.discard(self)
                if not waits_for:
                    broker._start_receive(link)
            elif len(messages) < before:
                # The others come first the next time.
                self._asked[link] = self._asked.pop(link)
        if self._asked:
            broker.call_later(PAUSE, self._take_turn)
