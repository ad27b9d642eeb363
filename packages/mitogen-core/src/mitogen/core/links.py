"""What only contexts with several links are asked for: `add_route` and `register`, methods of `Router`.

Outside the bundle: a child has the one link to its parent, which it makes itself.
"""

from __future__ import annotations

from mitogen.core.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mitogen.core.context import Context
    from mitogen.core.router import Router
    from mitogen.core.stream import Stream


def add_route(router: Router, target_id: int, via_id: int) -> None:
    """Forward messages for `target_id` on the link that leads to `via_id`. Broker thread only.

    :raises Error: there is no link to `via_id`.
    """
    stream = router.stream_by_id(via_id)
    if stream is None:
        raise Error("no link leads to context %d", via_id)
    router.table.add(target_id, stream)


def register(router: Router, context: Context, stream: Stream) -> None:
    """Make `stream` the link to `context`, and start receiving from it. Any thread.

    `context` fires `disconnect` when the link, or the route, is gone.
    """
    router.broker.defer(router.add_link, context, stream)
    router.broker.start_receive(stream)
