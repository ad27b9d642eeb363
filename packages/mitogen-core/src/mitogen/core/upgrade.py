"""Becoming a parent: what a child's router and contexts find when more is asked of them than they have.

A child is started with the core only. The first use of something that contexts with children have, such
as ``router.local()``, brings the parent half over the wire, once, and gives the router a `Starter` that
does it: nothing is replaced but the table of routes, which then also knows of descendants.

Outside the bundle, and the one place of the core that knows of the layer above it. Not for the broker
thread, which can't wait for an import.
"""

from __future__ import annotations

from _thread import allocate_lock
from functools import partial

from mitogen.core.forwarding import ForwardingTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mitogen.core.context import Context
    from mitogen.core.router import Router

_upgrading = allocate_lock()

#: Seconds for a call to clean up once this context must end: more than its children get, which it kills.
_LIFE = 2.7


def starter_of(router: Router) -> Any:
    """Return the `Starter` of a router, which is made by the first call. Any thread but the broker's."""
    with _upgrading:
        if "starter" not in router.__dict__:
            modules = router.econtext.finder.modules
            half = "mitogen.core.parent_half"
            if half not in modules and "mitogen.parent.starter" not in modules:
                # All of it in one piece, rather than one by one.
                modules.update(__import__(half, None, None, ["MODULES"]).MODULES)
            from mitogen.core.serving import ModuleForwarder
            from mitogen.parent.starter import Starter

            def begin() -> Any:
                return _attach(router, Starter, ModuleForwarder)

            router.broker.defer_sync(begin)
    return router.__dict__["starter"]


def _attach(router: Router, make_starter: Any, make_forwarder: Any) -> Any:
    """Give the router of a child its starter, and return that. Broker thread.

    Once, also if whoever waited for it was interrupted, so that the next one asks again.
    """
    known: dict[str, Any] = router.__dict__
    if "starter" in known:
        return known["starter"]
    old = router.table
    econtext = router.econtext
    config = econtext.config
    table = ForwardingTable(old.context_id, old.parent_ids, old.max_message_size)
    table.parent_link = old.parent_link
    table.is_ruled = config["is_ruled"]
    # Complete: other threads send meanwhile.
    router.table = table
    starter = make_starter(router)
    starter.debug, starter.profiling = config["debug"], config["profiling"]
    starter.config_log_level = config["log_level"]
    starter.keepalive_interval = config["keepalive"]
    starter.import_preference = config["prefer"]
    starter.forwarder = make_forwarder(router, econtext.importer)
    starter.end_now = econtext._end_now
    econtext._end_now = starter.on_end  # type: ignore[method-assign]
    econtext.interrupt_grace = _LIFE
    known["starter"] = starter
    return starter


def find(router: Router, name: str) -> Any:
    """Return the attribute `name` of a router that its own class lacks.

    :raises AttributeError: there is no such thing.
    """
    if name == "find_of_context":
        return find_of_context
    if name == "hold_back":
        from mitogen.core.pressure import hold_back

        return partial(hold_back, router)
    if name == "stats":
        from mitogen.core.stats import stats

        return lambda: stats(router)
    if name == "fork":
        from mitogen.fork import fork

        return lambda on_fork=None, on_start=None, debug=False, profiling=False, via=None: fork(
            starter_of(router), on_fork, on_start, debug, profiling, via
        )
    return getattr(starter_of(router), name)


def find_of_context(context: Context, name: str) -> Any:
    """Return the attribute `name` that a context of `mitogen.parent` has.

    :raises AttributeError: there is no such thing.
    """
    from mitogen.parent.context import Context as ParentContext

    if not hasattr(ParentContext, name) and name != "default_call_chain":
        raise AttributeError("a context has no attribute %r" % name)
    known = context.__dict__
    if "_full" not in known:
        full = ParentContext.__new__(ParentContext)
        # Two views of one thing: its end is told to both, and what is known of one is known of the other.
        full.__dict__ = known
        router = context._router()
        ParentContext.__init__(full, router, context.context_id, context.name)
        router._keep(full)
        known["_full"] = full
    return getattr(known["_full"], name)
