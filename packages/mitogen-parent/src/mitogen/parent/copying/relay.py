"""What the other contexts of a copy run: `relay` for what comes there, `send_back` for what they have.

Both run in threads of their own, whatever else the context does.
"""

from __future__ import annotations

from time import monotonic

from mitogen.core.errors import ChannelError, Error
from mitogen.core.receiver import Receiver, Sender
from mitogen.core.targets import takes_router
from mitogen.parent.copying.branches import WINDOW, Branches
from mitogen.parent.copying.errors import reason_of
from mitogen.parent.copying.sink import Sink
from mitogen.parent.copying.source import CHUNK, Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mitogen.core.router import Router

#: Seconds between two signs of life of a target that is busy.
_ALIVE_EVERY = 2.0


def chunk_of(router: Router) -> int:
    """Return the size of chunks: a batch of small files may have three times that."""
    return min(CHUNK, router.max_message_size // 4)


class _Target:
    """This context, as one that gets the copy."""

    def __init__(self, context_id: int, path: bytes, reports: Sender) -> None:
        self._id = context_id
        self._reports = reports
        self._sink: Sink | None = None
        self._last_sign = monotonic()
        self._attempt(self._open, path)

    def __bool__(self) -> bool:
        return self._sink is not None

    def _open(self, path: bytes) -> None:
        self._sink = Sink(path, self._on_alive)

    def _on_alive(self, count: int) -> None:
        now = monotonic()
        if now - self._last_sign > _ALIVE_EVERY:
            self._last_sign = now
            self._reports.send(("alive", [self._id], ""))

    def _attempt(self, fn: Any, *args: Any) -> None:
        """Do a part of the work; if it fails, say so, and do no more."""
        try:
            fn(*args)
        except ChannelError:
            raise
        except Exception as e:
            self.close()
            self._reports.send(("failed", [self._id], reason_of(e)))

    def take(self, item: Any) -> None:
        """Act on an item of the stream."""
        if self._sink is not None:
            self._attempt(self._take, self._sink, item)

    def _take(self, sink: Sink, item: Any) -> None:
        if item is None:
            sink.finish()
            self.close()
            self._reports.send(("done", [self._id], ""))
        elif isinstance(item, str):
            raise Error("%s", item)
        elif isinstance(item, tuple) and item[0] == "plan":
            if item[2]:
                self._reports.send(("candidates", [self._id], sink.candidates(item[2])))
        else:
            sink.handle(item)

    def close(self, to_go_on: bool = False) -> None:
        """Let go of all that is open."""
        if self._sink is not None:
            self._sink.close(to_go_on)
            self._sink = None


@takes_router
def relay(
    hello: Sender, ids: list[int], path: bytes, reports: Sender, patience: float, router: Router
) -> None:
    """Take a copy for some targets: pass it on, and write it if this context is among them.

    :param hello: gets the sender that the copy is to be sent to.
    :param patience: seconds without progress after which a branch is given up.
    """
    here = router.context_id
    below = [context_id for context_id in ids if context_id != here]
    inbox = Receiver(router, respondent=hello.context, maxsize=WINDOW)
    target = branches = None
    try:
        if below:
            branches = Branches(router, below, path, reports, patience, relay)
        if here in ids:
            target = _Target(here, path, reports)
        hello.send(inbox.to_sender())
        item: Any = ()
        while (target or branches) and item is not None and not isinstance(item, str):
            item = inbox.get_data()
            if branches is not None:
                branches.send(item)
            if target is not None:
                target.take(item)
        if branches is not None:
            branches.wait()
    finally:
        if target is not None:
            # What is left is of use if the copy is made again.
            target.close(to_go_on=True)
        if branches is not None:
            branches.close("context %d has no more of it" % here)
        inbox.close()


@takes_router
def send_back(path: bytes, sender: Sender, router: Router) -> None:
    """Send a copy of what is here to whoever asked for it.

    :param sender: gets the items, and before them a sender for what there is already.
    """
    answers = Receiver(router, respondent=sender.context)
    try:
        source = Source(path, chunk_of(router))
        sender.send(answers.to_sender())
        plan = source.plan()
        sender.send(plan)
        sender.send(source.go([answers.get_data()] if plan[2] else []))
        for item in source.items():
            sender.send(item)
        sender.send(None)
    except ChannelError:
        raise
    except Exception as e:
        sender.send(reason_of(e))
    finally:
        answers.close()
