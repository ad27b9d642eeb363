"""Heartbeats: `watch` finds a link whose other end says nothing any more, and ends it.

A host that is switched off, or a firewall that forgets, leaves a connection that looks alive for ever. So
each end of a link that is watched looks at intervals whether anything came. If not, it asks: it sends a
message that the router at the other end answers by itself, whatever its program does. A link that was
silent for `PATIENCE` intervals in a row is ended like one that broke; unless its other end takes what
waits to be sent, however slowly.

A context that holds Python's interpreter lock for as long as that, in C code, counts as gone.

Outside the bundle. Broker thread.
"""

from __future__ import annotations

from mitogen.core import handles, serialization
from mitogen.core.message import make
from mitogen.core.signals import listen
from mitogen.core.targets import takes_econtext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mitogen.core.child import ExternalContext
    from mitogen.core.stream import Stream

#: Intervals without a byte after which a link is dead.
PATIENCE = 3

#: A handle that nobody ever registers: messages to it that ask for a reply get one from the router.
_NOBODY = 1


def watch(stream: Stream, interval: float) -> None:
    """End `stream` once it was silent for `PATIENCE` times `interval` seconds. Broker thread only."""
    router = stream.router
    broker = router.broker
    here = router.context_id
    handle = router.add_handler(lambda msg: None)
    listen(stream, "disconnect", lambda: router._handlers.pop(handle, None))
    seen, taken, silent = stream.received, 0, 0

    def look() -> None:
        nonlocal seen, taken, silent
        if stream.closed:
            return
        side = stream.receive_side
        # What is not read, because it would fill another link, can't be heard.
        is_read = side is not None and side.fd in broker.poller._readers
        # With the system's buffer full, what goes out was taken at the other end; which did not get the
        # question yet, since that comes last.
        sent = stream.sent - stream.queued
        is_busy = stream.queued and sent != taken
        silent = silent + 1 if stream.received == seen and is_read and not is_busy else 0
        seen, taken = stream.received, sent
        if silent >= PATIENCE:
            reason = "nothing was heard of context %s for %g seconds" % (stream.name, interval * PATIENCE)
            stream.disconnect(broker, reason)
            return
        if silent:
            stream.send(make(stream.remote_id, here, here, _NOBODY, handle, b""))
        broker.call_later(interval, look)

    broker.call_later(interval, look)


def watch_child(stream: Stream, interval: float) -> None:
    """Watch the link to a child, and have the child do the same at its end. Broker thread only."""
    watch(stream, interval)
    here = stream.router.context_id
    call: tuple[object, ...] = (None, __name__, None, "watch_parent", (interval,), {})
    stream.send(make(stream.remote_id, here, here, handles.CALL_ASIDE, 0, serialization.dumps(call)))


@takes_econtext
def watch_parent(interval: float, econtext: ExternalContext) -> None:
    """Watch the link to the parent, in a child."""
    econtext.broker.defer(watch, econtext.stream, interval)
