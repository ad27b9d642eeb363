"""Questions whose answers take time, or are large: `Questions`, which answers each context in its turn.

Whoever asks may be in other hands, and share a link with others who are not. So no link is kept from
being read because one context asked too much: that context is told that it did, and the others are served
before it. Answers are made no faster than they go out, since what is queued on a link delays all who are
behind it. A context that reads no answers is a matter for `mitogen.core.pressure`, as are full links.

Broker thread only.
"""

from __future__ import annotations

from collections import Counter, deque
from time import monotonic

from mitogen.core.errors import Error
from mitogen.core.pressure import PAUSE, TURN, Turns
from mitogen.core.signals import listen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from mitogen.core.message import Message
    from mitogen.core.router import Router
    from mitogen.core.timers import Timer

    #: None for each step, and at last the answer.
    Answering = Generator[None, None, Any]

#: Bytes in a question.
MAX_QUESTION = 16384
#: Questions of one context, and of all behind a link, that may wait. A thread that reads a file has two.
MAX_WAITING, MAX_BEHIND_LINK = 200, 2000
#: Bytes queued on a link above which nothing more is answered over it.
ENOUGH = 1 << 20


class Questions:
    """Answer questions in steps.

    :param answer: called as ``answer(msg)``; returns a generator that yields after each step, and returns
        what to reply.
    :param handle: where they arrive.
    """

    def __init__(self, router: Router, answer: Callable[[Message], Answering], handle: int) -> None:
        self._router = router
        self._answer = answer
        #: Those of each context, by its id; who is next is first. With the links that they came over.
        self._waiting: dict[int, deque[tuple[Answering, Message, Any]]] = {}
        self._behind: Counter[Any] = Counter()
        self._timer: Timer | None = None
        router.add_handler(Turns(router, self._take).take, handle)
        listen(router, "lost", self._on_lost)

    def _take(self, msg: Message) -> None:
        if not msg.reply_to:
            return
        link = self._router.stream_by_id(msg.src_id)
        count = len(self._waiting.get(msg.src_id, ()))
        if msg.size() > MAX_QUESTION:
            msg.reply(("EINVAL", "a question of %d bytes" % msg.size()))
        elif count >= MAX_WAITING or self._behind[link] >= MAX_BEHIND_LINK:
            msg.reply(("EAGAIN", "%d questions wait to be answered already" % self._behind[link]))
        else:
            self._waiting.setdefault(msg.src_id, deque()).append((self._answer(msg), msg, link))
            self._behind[link] += 1
            if self._timer is None:
                self._go_on()

    def _go_on(self) -> None:
        """Do steps, one for each context in turn, for some time; then leave others as much."""
        started = monotonic()
        idle = 0
        while idle < len(self._waiting) and monotonic() - started < TURN / 2:
            context_id = next(iter(self._waiting))
            waiting = self._waiting.pop(context_id)
            answering, msg, link = waiting[0]
            if link is not None and link.queued > ENOUGH:
                idle += 1
            else:
                idle = 0
                if self._is_last_step(answering, msg):
                    waiting.popleft()
                    self._forget(link)
            if waiting:
                # The others come first the next time.
                self._waiting[context_id] = waiting
        self._timer = None
        if self._waiting:
            pause = max(monotonic() - started, PAUSE)
            self._timer = self._router.broker.call_later(pause, self._go_on)

    def _is_last_step(self, answering: Answering, msg: Message) -> bool:
        try:
            next(answering)
            return False
        except StopIteration as e:
            answer = e.value
        try:
            msg.reply(answer)
        except Error as e:
            # Larger than a message may be.
            msg.reply(("EMSGSIZE", str(e)))
        return True

    def _forget(self, link: Any) -> None:
        self._behind[link] -= 1
        if not self._behind[link]:
            del self._behind[link]

    def _on_lost(self, ids: list[int], reason: str) -> None:
        for context_id in ids:
            for answering, _, link in self._waiting.pop(context_id, ()):
                answering.close()
                self._forget(link)
