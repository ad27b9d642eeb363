"""Copies, from where they are asked for: `put` and `get`. Any thread but the broker's."""

from __future__ import annotations

import os
from time import monotonic

from mitogen.core.errors import ChannelError, Error, TimeoutError, text_of
from mitogen.core.receiver import Receiver
from mitogen.parent.callchain import Aside
from mitogen.parent.copying.branches import PATIENCE, WINDOW, Branches, own_sender
from mitogen.parent.copying.errors import BadStream, CopyError
from mitogen.parent.copying.relay import chunk_of, relay, send_back
from mitogen.parent.copying.sink import Sink
from mitogen.parent.copying.source import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Union

    from mitogen.core.context import Context
    from mitogen.core.message import Message
    from mitogen.core.router import Router

    Path = Union[str, bytes, os.PathLike[str]]
    Progress = Callable[[int, int, float], object]

#: Seconds between two calls of a progress function.
PROGRESS_EVERY = 0.1


class _Meter:
    """Tells a progress function how far a copy is."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._began = self._last = monotonic()
        #: Bytes that did not have to travel, as they were there before.
        self.skipped = 0

    def tell(self, done: int, total: int, is_end: bool = False) -> None:
        """Call the function, if it is time to."""
        if self._progress is None:
            return
        now = monotonic()
        if is_end or now - self._last >= PROGRESS_EVERY:
            self._last = now
            rate = (done - self.skipped) / max(now - self._began, 1e-6)
            self._progress(done, total, rate)


class _Targets:
    """What is known of each target of a `put`."""

    def __init__(self, router: Router, contexts: Sequence[Context]) -> None:
        self._router = router
        self.contexts = {context.context_id: context for context in contexts}
        self.waiting = set(self.contexts)
        #: The way to each, as it was at first: there is none to those that went.
        self._links = {i: router.stream_by_id(i) for i in self.contexts}
        self.failed: dict[Context, str] = {}
        self.candidates: dict[int, list[tuple[int, int, bytes]]] = {}
        self.reports = Receiver(router)

    def collect(self, is_enough: Callable[[], bool], patience: float) -> None:
        """Take reports until there are enough of them; who says nothing for too long has failed."""
        while self.waiting and not is_enough():
            try:
                msg = self.reports.get(patience, throw_dead=False)
            except TimeoutError:
                for context_id in list(self.waiting):
                    self._fail(context_id, "nothing was heard of it for %d seconds" % patience)
                return
            self._note(msg)

    def collect_now(self) -> None:
        """Take the reports that are there."""
        while not self.reports.empty():
            self._note(self.reports.get(throw_dead=False))

    def _note(self, msg: Message) -> None:
        if msg.is_dead:
            return  # All that could say something are gone, which the ends of the branches tell as well.
        try:
            kind, ids, what = msg.unpickle()
            ids = [int(context_id) for context_id in ids]
            if kind == "candidates":
                what = [(int(index), int(size), b"".join([digest])) for index, size, digest in what]
        except (Error, TypeError, ValueError):
            return  # Said by one in other hands.
        for context_id in ids:
            if context_id not in self.waiting or not self._may_say(msg.src_id, context_id, kind):
                continue
            if kind == "failed":
                self._fail(context_id, str(what))
            elif kind == "done":
                self.waiting.discard(context_id)
            elif kind == "candidates":
                self.candidates[context_id] = what

    def _may_say(self, src_id: int, context_id: int, kind: str) -> bool:
        """Return True for what a context says of itself, and a failure said by one on the way to it."""
        if src_id in (context_id, self._router.context_id):
            return True
        return kind == "failed" and self._router.stream_by_id(src_id) is self._links[context_id]

    def _fail(self, context_id: int, reason: str) -> None:
        self.waiting.discard(context_id)
        self.failed[self.contexts[context_id]] = reason

    def done(self) -> list[Context]:
        """Return the contexts that have the copy."""
        gone = {context.context_id for context in self.failed} | self.waiting
        return [context for i, context in self.contexts.items() if i not in gone]


def put(
    contexts: Sequence[Context],
    local_path: Path,
    remote_path: Path,
    progress: Progress | None = None,
    patience: float = PATIENCE,
) -> None:
    """Copy a file or a folder tree to contexts. Each link carries it once, however many are behind it.

    See `mitogen.parent.Context.put` for what is copied and how. Who fails does not stop the others.

    :param contexts: any contexts below this one.
    :param local_path: what is copied.
    :param remote_path: the path that it has in each of them.
    :param progress: None, or called as ``progress(done, total, rate)`` some times a second, in this
        thread: bytes, and bytes per second.
    :param patience: seconds without any progress after which a context is given up.
    :raises CopyError: it failed for some of them, which are in its `failed`; the others have the copy.
    :raises OSError: it can't be read.
    :raises mitogen.core.Error: it is no file or folder, or changed while it was copied.
    """
    if not contexts:
        return
    router = contexts[0]._router()
    if any(context.context_id == router.context_id for context in contexts):
        raise Error("context %d can't put a file to itself", router.context_id)
    source = Source(os.fsencode(local_path), chunk_of(router))
    plan = source.plan()
    targets = _Targets(router, contexts)
    branches = None
    reason = "whoever sent it was interrupted"
    try:
        ids = sorted(targets.contexts)
        sender = targets.reports.to_sender()
        branches = Branches(router, ids, os.fsencode(remote_path), sender, patience, relay)
        _put(source, plan, targets, branches, _Meter(progress), patience)
    except (Error, OSError) as e:
        reason = text_of(e)
        if branches is not None:
            branches.send("the copy was ended: %s" % reason)
        raise
    finally:
        if branches is not None:
            branches.close(reason)
        targets.reports.close()
    if targets.failed:
        raise CopyError(targets.failed, targets.done())


def _put(
    source: Source, plan: Any, targets: _Targets, branches: Branches, meter: _Meter, patience: float
) -> None:
    branches.send(plan)
    if source.large:
        targets.collect(lambda: targets.waiting <= set(targets.candidates), patience)
    branches.send(source.go([targets.candidates.get(i, []) for i in targets.waiting]))
    for item in source.items():
        branches.send(item)
        if isinstance(item, tuple) and item[0] == "F":
            meter.skipped += item[4]
        targets.collect_now()
        if not targets.waiting:
            return
        meter.tell(source.done, source.total)
    branches.send(None)
    targets.collect(lambda: False, patience)
    if len(targets.failed) < len(targets.contexts):
        meter.tell(source.done, source.total, True)


def get(context: Context, remote_path: Path, local_path: Path, progress: Progress | None = None) -> None:
    """Copy a file or a folder tree from a context. See `mitogen.parent.Context.get`."""
    router = context._router()
    sink = Sink(os.fsencode(local_path))
    inbox = Receiver(router, respondent=context, maxsize=WINDOW)
    call = None
    is_lost = True
    outcome: list[Any] = []

    def on_end(call: Receiver) -> None:
        """If the function there failed, nothing more will come."""
        try:
            outcome.append(call.get(block=False, throw_dead=False).unpickle(throw=False))
        except (ChannelError, TimeoutError):
            return  # Noticed twice.
        if isinstance(outcome[0], Error):
            inbox.close()

    try:
        call = Aside(context).call_async(send_back, os.fsencode(remote_path), inbox.to_sender())
        call.notify = on_end
        if not call.empty():
            on_end(call)
        _get(context, inbox, sink, _Meter(progress))
    except ChannelError as e:
        raise CopyError({context: str(outcome[0] if outcome and outcome[0] else e)}, []) from None
    except Error as e:
        is_lost = False
        raise CopyError({context: str(e)}, []) from None
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as e:
        is_lost = False
        raise CopyError({context: "it sent what is no copy: %s" % text_of(e)}, []) from e
    finally:
        # What is left is of use if the copy is made again.
        sink.close(to_go_on=is_lost)
        inbox.close()
        if call is not None:
            call.close()


def _get(context: Context, inbox: Receiver, sink: Sink, meter: _Meter) -> None:
    answers = inbox.get_data()
    if isinstance(answers, str):
        raise Error("%s", answers)
    answers = own_sender(answers, context)
    total = 0
    while True:
        item = inbox.get_data()
        if item is None:
            break
        if isinstance(item, str):
            raise Error("%s", item)
        if isinstance(item, tuple) and item[0] == "plan":
            total = int(item[1])
            if item[2]:
                answers.send(sink.candidates(item[2]))
            continue
        if isinstance(item, tuple) and item[0] == "F":
            meter.skipped += item[4]
        elif not isinstance(item, (tuple, list, bytes)):
            raise BadStream("%.100r is no part of a copy", item)
        sink.handle(item)
        meter.tell(sink.done, total)
    sink.finish()
    meter.tell(sink.done, total, True)
