"""The short way out for a small message that nothing is in the way of: `send_at_once`.

What `Router.route` and `Stream.send` do in general, in one piece: every function on the way of a message
takes its time. Outside the bundle: children elsewhere have slower ways out.
"""

from __future__ import annotations

from mitogen.core.framing import HEADER, MAGIC
from mitogen.core.serialization import JOIN_LIMIT

try:
    # The C module alone: `pickle` itself adds `re` and other modules.
    from _pickle import dumps
except ImportError:
    from pickle import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mitogen.core.router import Router
    from mitogen.core.serialization import Body

_pack = HEADER.pack
#: Serializes what needs no look at what is in it: values of these types, and tuples of them.
plain_dumps: Any = dumps
SCALARS = frozenset([type(None), bool, int, float, str])


def send_at_once(router: Router, link: Any, dst_id: int, handle: int, reply_to: int, body: Body) -> bool:
    """Send a message from this context, as `Router.route` would. Any thread; never blocks.

    :param link: what the table of routes has for `dst_id`.
    :returns: False if there is anything unusual about it, and it was not sent: use `Router.route`.
    """
    size = len(body)
    here = router.context_id
    return (
        size < JOIN_LIMIT
        and type(body) is bytes
        and size <= router.max_message_size
        and dst_id != here
        and link is not None
        and not link.queued
        and not router.broker.dead_reason
        and link.write([_pack(MAGIC, dst_id, here, here, handle, reply_to, size) + body])
    )
