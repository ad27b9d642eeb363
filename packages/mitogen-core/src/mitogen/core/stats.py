"""What a router has done so far: `stats`. Outside the bundle; the counting itself is always on."""

from __future__ import annotations

from time import monotonic

from mitogen.core.stream import Stream
from mitogen.core.targets import takes_router

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mitogen.core.router import Router


@takes_router
def stats(router: Router) -> dict[str, Any]:
    """Return the figures of a router: plain values, so that they can be sent. Any thread.

    ``context_id``, ``handles`` (how many are registered), ``routes`` (descendants known), and ``links``,
    a list with a dictionary for each link: ``context_id`` and ``name`` of the other end,
    ``messages_sent``, ``messages_received``, ``bytes_sent``, ``bytes_received``, ``queued`` (bytes that
    wait to be sent), ``modules_asked`` (requests for modules by the other end, each of which it waited
    for) and ``age`` (seconds). What is queued counts as sent.
    """
    links = [
        {
            "context_id": stream.remote_id,
            "name": stream.name,
            "messages_sent": stream.messages_sent,
            "messages_received": stream.messages_received,
            "bytes_sent": stream.sent,
            "bytes_received": stream.received,
            "queued": stream.queued,
            "modules_asked": getattr(stream, "modules_asked", 0),
            "age": monotonic() - stream.since,
        }
        for stream in list(router.broker.streams)
        if isinstance(stream, Stream) and stream.router is router and hasattr(stream, "since")
    ]
    return {
        "context_id": router.context_id,
        "handles": len(router._handlers),
        "routes": len(getattr(router.table, "links", ())),
        "links": links,
    }
