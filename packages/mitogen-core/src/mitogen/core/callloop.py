"""Calls in a child on the same machine, with less for each: the thread that runs them reads them itself.

Replaces `Dispatcher.run` and `Stream.on_receive` in such a child: see `mitogen.core.leading` and
`mitogen.core.receiving`. Outside the bundle; sent along where it is of use.
"""

from __future__ import annotations

import select

from mitogen.core.calls import Dispatcher
from mitogen.core.handles import CALL_FUNCTION
from mitogen.core.latch import _Pipe
from mitogen.core.leading import lead
from mitogen.core.receiving import on_receive
from mitogen.core.sending import SCALARS, plain_dumps, send_at_once
from mitogen.core.serialization import PROTOCOL
from mitogen.core.stream import Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mitogen.core.message import Message


def run(dispatcher: Dispatcher) -> None:
    """Do as `Dispatcher.run`, but read the link where there is nothing else to do."""
    router = dispatcher._router
    calls = dispatcher.calls
    queue = calls._queue
    sleepers = calls._sleepers
    pipe = _Pipe()
    while not calls.closed:
        if queue:
            msg = queue.popleft()
            if msg is None:
                calls.close()
                return
        else:
            with calls._lock:
                if queue or calls.closed:
                    continue
                # There from the last time, unless it was woken.
                if pipe not in sleepers:
                    sleepers.append(pipe)
            msg = lead(router, router.table.parent_link, CALL_FUNCTION, pipe.read_fd, None)
            if msg is None:
                continue
        dispatcher._run_call(msg)
        if router.broker.dead_reason:
            # A copy of this process, forked by the call, came back from it.
            return


def _reply(dispatcher: Dispatcher, msg: Message, result: Any) -> None:
    """Do as `Dispatcher._reply`, in one piece where nothing is in the way."""
    router = dispatcher._router
    dst_id = msg.src_id
    if type(result) in SCALARS:
        link = router.table.link_to(dst_id)
        if send_at_once(router, link, dst_id, msg.reply_to, 0, plain_dumps(result, PROTOCOL)):
            return
    _full_reply(dispatcher, msg, result)


_full_reply = Dispatcher._reply


def install(config: dict[str, Any]) -> None:
    """Have the main thread of this process, a child, read its calls itself."""
    if not hasattr(select, "epoll"):
        return
    setattr(Dispatcher, "run", run)  # noqa: B010
    setattr(Dispatcher, "_reply", _reply)  # noqa: B010
    setattr(Stream, "on_receive", on_receive)  # noqa: B010
