"""What a context does for others: `start_here`, and with what it started, `end_here` and `cancel_start`.

They are called with CALL_ASIDE, so each runs in a thread of its own. Imports nothing of the parent half:
that comes in one piece, when a child's router is first asked for its starter.
"""

from __future__ import annotations

import sys

from mitogen.core.latch import Latch
from mitogen.core.targets import takes_router

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mitogen.core.router import Router
    from mitogen.parent.starter import Starter


@takes_router
def start_here(
    module: str, class_name: str, values: dict[str, Any], router: Router
) -> tuple[int, str, tuple[int, ...] | None]:
    """Start a context from this one, for another that asked; return its id, name and Python version."""
    # First, since the transport's module needs the parent half.
    starter: Starter = router.starter
    __import__(module)
    cls = getattr(sys.modules[module], class_name)
    options = object.__new__(cls.options_class)
    options.__dict__.update(values)
    context = starter.connect_with(cls(starter, options))
    return context.context_id, context.name, context.python_version


@takes_router
def end_here(context_id: int, router: Router) -> None:
    """End a context that this one started; return when it is gone."""
    ended = Latch()
    router.broker.defer_sync(lambda: router.starter.end_context(context_id, ended.put))
    ended.get()


@takes_router
def cancel_start(request: str, router: Router) -> None:
    """End the context whose start was called `request`, whether it is up by now, comes up, or will.

    Whoever starts it looks for `request` after it handed the connection to the broker; here it is noted
    before the broker looks for the connection: one of the two sees the other.
    """

    def cancel() -> None:
        for connection in list(router.starter.connections.values()):
            if connection.options.request == request:
                connection.give_up()

    router.starter.cancelled.add(request)
    router.broker.defer_sync(cancel)
