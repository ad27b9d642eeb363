"""How many messages a sender may send before one is read: `Credit`.

The sending half of `Receiver(maxsize=...)`: see `mitogen.core.receiver` for what is said on the wire. Any
thread but the broker's may take credit; replies that give more are handled on the broker thread. Outside
the bundle.
"""

from __future__ import annotations

from _thread import get_ident

from mitogen.core.errors import FORKED, ChannelError, LatchError, TimeoutError
from mitogen.core.latch import Latch
from mitogen.core.watching import watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mitogen.core.context import Context
    from mitogen.core.message import Message


class Credit:
    """How many messages a sender may send: a token in a latch for each."""

    def __init__(self, context: Context, count: int) -> None:
        self._router = context._router()
        self._tokens = Latch()
        self._reason = ""
        self.give(count)
        self.handle = self._router.add_handler(self._on_reply, respondent=context)
        watch(self._router, context, self.handle)

    def _on_reply(self, msg: Message) -> None:
        if msg.is_dead:
            self.end(str(msg.unpickle(throw=False)))
        elif not self._tokens.closed:
            # What was read last may be told after the end.
            self.give(msg.unpickle())

    def give(self, count: int) -> None:
        """Let so many more messages be sent."""
        for _ in range(count):
            self._tokens.put()

    def end(self, reason: str) -> None:
        """Let nothing more be sent, for `reason` unless there is one already. Any thread."""
        self._reason = self._reason or reason
        self._tokens.close()

    def take(self, timeout: float | None) -> None:
        """Wait until one more message may be sent, and take note of it."""
        try:
            on_broker = get_ident() == self._router.broker._thread_id
            self._tokens.get(timeout, not on_broker)
        except LatchError:
            raise ChannelError("%s", self._reason or FORKED) from None
        except TimeoutError:
            raise TimeoutError("the receiver has as many unread messages as it takes") from None

    def drop(self) -> None:
        """Nobody will ask for more."""
        self._router._handlers.pop(self.handle, None)
