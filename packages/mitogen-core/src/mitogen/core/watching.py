"""Being told of the end of contexts elsewhere in the tree: `watch`, and what the parent says then.

A context is told by its parent (DEL_ROUTE) of the end of those that it talked to. Who only waits says so.
Any thread may watch; what the parent says is handled on the broker thread. Outside the bundle.
"""

from __future__ import annotations

from mitogen.core import handles
from mitogen.core.message import make

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mitogen.core.context import Context
    from mitogen.core.message import Message
    from mitogen.core.router import Router


def watch(router: Router, respondent: Context, handle: int) -> None:
    """Have all on the way to the respondent of a handle note that this context must be told when it goes.

    The parent needs no notice: its end is that of the connection. Those above it may be lost without it,
    when one on the way detaches. Each handle gives notice, since a refusal is told to that handle alone.
    """
    context_id = respondent.context_id
    parent_link = router.table.parent_link
    if parent_link is None or router.table.link_to(context_id) is not parent_link:
        return
    if context_id != router.parent_ids[0]:
        # In one step: two threads may watch at the same time, and another may be about to replace it.
        router._handlers.setdefault(handles.DEL_ROUTE, (on_del_route, True, None, None))
        here = router.context_id
        router.route(make(context_id, here, here, handles.NOTICE, handle, b""))


def on_del_route(msg: Message) -> None:
    """Handle what the parent says of contexts that are gone: their ids, a colon, and why."""
    router = msg.router
    if router is not None and msg.src_id in router.parent_ids and not msg.is_dead:
        ids, _, reason = msg.data.decode().partition(":")
        router.lose([int(number) for number in ids.split(",")], reason)
