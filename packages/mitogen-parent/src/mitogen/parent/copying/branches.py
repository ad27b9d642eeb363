"""The way on from one context: `Branches`, which passes items on, once for each link.

Used by the origin, and by each context on the way. A branch is the next context on the way to some of the
targets; it runs `relay`, and gives us a sender whose credit is what that one can take. An item goes to
all branches before the next one does, so the slowest sets the pace. A branch that takes nothing for some
time is given up, and its targets with it; those further away from the origin have less patience, so that
the one that is to blame is given up before the one in front of it.

All that is told goes to the `reports` of the origin: ``("failed", ids, reason)``.
"""

from __future__ import annotations

from functools import partial
from time import monotonic

from mitogen.core import handles
from mitogen.core.deadlines import deadline_of, left_until
from mitogen.core.errors import ChannelError, Error, LatchError, TimeoutError
from mitogen.core.latch import Latch
from mitogen.core.receiver import Receiver, Sender
from mitogen.parent.callchain import Aside
from mitogen.parent.copying.errors import BadStream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from mitogen.core.context import Context
    from mitogen.core.router import Router

#: Chunks that a context takes before it has written, or passed on, the first of them.
WINDOW = 8
#: Seconds without any progress after which a target is given up; and by how much those that are further
#: away have less patience.
PATIENCE = 60.0
LESS = 0.9
#: Seconds for branches to end that were told to.
_LAST_WAIT = 2.0


def own_sender(sender: object, context: Context) -> Sender:
    """Return `sender`, if it is one of a receiver of `context`.

    Who tells us to send to somebody else, or to a standard handle, would have us say it in our name.

    :raises BadStream: it is not.
    """
    if (
        not isinstance(sender, Sender)
        or sender.context.context_id != context.context_id
        or sender.dst_handle < handles.FIRST_DYNAMIC_HANDLE
    ):
        raise BadStream("it named a receiver that is not its own")
    return sender


class _Branch:
    """The next context on the way to some targets."""

    hello: Receiver
    call: Receiver
    sender: Sender

    def __init__(self, context: Context, ids: list[int]) -> None:
        self.context = context
        self.ids = ids
        #: Closed once its function has ended.
        self.ended = Latch()


def partition(router: Router, ids: Iterable[int]) -> list[_Branch]:
    """Return the branches that lead to some contexts from here."""
    found: dict[int, _Branch] = {}
    for context_id in ids:
        link = router.stream_by_id(context_id)
        next_id = context_id
        # One that is not below this context may obey us, but those on the way do not.
        if link is not None and link is not router.table.parent_link:
            next_id = link.remote_id
        branch = found.setdefault(next_id, _Branch(router.make_context(next_id), []))
        branch.ids.append(context_id)
    return list(found.values())


class Branches:
    """The branches to some targets.

    :param ids: the targets; this context is not one of them.
    :param path: the path that they write.
    :param reports: where the origin wants to be told.
    :param patience: seconds without progress.
    :param relay: what branches run: `mitogen.parent.copying.relay.relay`.
    """

    def __init__(
        self,
        router: Router,
        ids: Iterable[int],
        path: bytes,
        reports: Sender,
        patience: float,
        relay: Callable[..., None],
    ) -> None:
        self._reports = reports
        self._patience = patience
        self._all = partition(router, ids)
        #: Those that want more, and those whose end will come.
        self._live: list[_Branch] = []
        self._unfinished = list(self._all)
        for branch in self._all:
            branch.hello = Receiver(router, respondent=branch.context)
            args = branch.hello.to_sender(), branch.ids, path, reports, patience * LESS
            branch.call = Aside(branch.context).call_async(relay, *args)
            branch.call.notify = partial(self._on_end, branch)
            if not branch.call.empty():
                self._on_end(branch, branch.call)
        deadline = deadline_of(patience)
        for branch in self._all:
            try:
                hello = branch.hello.get_data(left_until(deadline))
                branch.sender = own_sender(hello, branch.context)
                self._live.append(branch)
            except ChannelError:
                pass  # It has ended, and said why.
            except TimeoutError:
                self._give_up(branch, "it did not begin for %d seconds" % patience)
            except Error as e:
                self._give_up(branch, str(e))
            finally:
                branch.hello.close()

    def _on_end(self, branch: _Branch, call: Receiver) -> None:
        """The function of a branch has ended. Broker thread, or that which called it."""
        try:
            found = call.get(block=False, throw_dead=False).unpickle(throw=False)
        except (ChannelError, TimeoutError):
            return  # Noticed twice.
        if isinstance(found, Error):
            self._fail(branch, str(found))
        branch.hello.close()
        branch.ended.close()

    def _fail(self, branch: _Branch, reason: str) -> None:
        self._reports.send(("failed", branch.ids, reason))

    def __bool__(self) -> bool:
        return bool(self._live)

    def send(self, item: Any) -> None:
        """Pass on an item. Waits for the slowest branch, within limits."""
        end = monotonic() + self._patience
        for branch in list(self._live):
            try:
                branch.sender.send(item, max(0.0, end - monotonic()))
            except TimeoutError:
                self._give_up(branch, "it took nothing for %d seconds" % self._patience)
            except ChannelError:
                # It wants no more, and said why; or it is gone, which the end of the call tells.
                self._live.remove(branch)

    def _give_up(self, branch: _Branch, reason: str) -> None:
        self._unfinished.remove(branch)
        self._fail(branch, reason)
        if branch in self._live:
            self._live.remove(branch)
            branch.sender.close("the copy was given up: %s" % reason)

    def wait(self) -> None:
        """Wait until all branches have ended: then all was said of their targets."""
        deadline = deadline_of(self._patience)
        for branch in list(self._unfinished):
            try:
                branch.ended.get(left_until(deadline))
            except LatchError:
                pass
            except TimeoutError:
                self._give_up(branch, "it did not end for %d seconds" % self._patience)

    def close(self, reason: str) -> None:
        """Let no branch wait for more, and let them end. Idempotent.

        The next copy may write the same files.
        """
        for branch in self._live:
            branch.sender.close(reason)
        self._live = []
        self._patience = _LAST_WAIT
        self.wait()
        for branch in self._all:
            branch.call.close()
