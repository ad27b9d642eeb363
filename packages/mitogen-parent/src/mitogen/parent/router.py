"""The router of a master: `Router`, one that starts contexts."""

from __future__ import annotations

import select
from _thread import allocate_lock

import mitogen.core
from mitogen.core import logs, receiving
from mitogen.core.forwarding import ForwardingTable
from mitogen.core.stats import stats
from mitogen.parent.answers import ask, ask_later, lead_to_answer
from mitogen.parent.context import Context
from mitogen.parent.starter import Starter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future
    from typing import Any

    from mitogen.core.broker import Broker
    from mitogen.core.child import ExternalContext
    from mitogen.parent.connecting import Connector
    from mitogen.parent.signatures import Transports
else:
    # For type checkers and readers: what it declares is found by name, in the registry of transports.
    Transports = object


class Router(mitogen.core.Router, Starter, Transports):
    """A router that starts contexts. See `mitogen.core.Router` for the parameters.

    Each transport is a method: see `mitogen.parent.signatures.Transports` for those of this library.

    :ivar max_connecting: starts of `connect_async` that are under way at the same time; others wait for
        their turn. May be set at any time.
    """

    max_connecting = 64
    _connector: Connector | None = None

    lead = lead_to_answer if hasattr(select, "epoll") else None
    #: What sends a call in the usual case: see `mitogen.parent.answers`.
    _ask = staticmethod(ask) if lead else None
    _ask_later = staticmethod(ask_later) if lead else None
    #: What reads the links.
    _on_receive = staticmethod(receiving.on_receive) if lead else None
    context_class = Context
    table_class = ForwardingTable
    table: ForwardingTable

    def __init__(
        self,
        broker: Broker,
        context_id: int = 0,
        parent_ids: Iterable[int] = (),
        max_message_size: int | None = None,
        unidirectional: bool = False,
    ) -> None:
        mitogen.core.Router.__init__(
            self, broker, context_id, parent_ids, max_message_size, unidirectional
        )
        Starter.__init__(self, self)
        self._connector_lock = allocate_lock()

    def make_context(self, context_id: int, name: str | None = None) -> Context:
        """Return the reference to a context: the one that is in use already, or a new one. Any thread."""
        name = name or self.routes.names.get(context_id)
        return mitogen.core.Router.make_context(self, context_id, name)  # type: ignore[return-value]

    def context_by_id(self, context_id: int, via_id: int | None = None) -> Context:
        """Return the `Context` of an id. Any thread.

        :param via_id: id of the context that messages for it go through; only needed for one that no
            route is known for.
        """
        if via_id is not None:
            self.broker.defer(self.add_route, context_id, via_id)
        return self.make_context(context_id)

    def enable_debug(self) -> None:
        """Write debug logs of this context, and of those started from now on, to
        ``/tmp/mitogen.PID.log``, each on its own machine. Any thread.

        :raises OSError: the file can't be created.
        """
        # Imports logging, which contexts that never debug do not need.
        from mitogen.core.debuglog import enable_debug

        enable_debug()
        self.debug = True

    def connect(self, transport: str, *args: Any, via: Context | None = None, **options: Any) -> Context:
        if transport == "fork":
            options["via"] = via
            return self.fork(*args, **options)
        return Starter.connect(self, transport, *args, via=via, **options)

    def connect_async(
        self, transport: str, *args: Any, via: Context | None = None, **options: Any
    ) -> Future[Context]:
        """Start a context as `connect` does, but do not wait for it. Any thread.

        Hundreds may be under way at a time: one thread and the broker bring them up. The time that
        `connect_timeout` gives begins with the start of each, when its turn has come.

        :param transport: its name.
        :param via: the context that is to start it; by default this one.
        :param options: those of the transport.
        :returns: a future of the context, or of the `StreamError` that `connect` would raise. It can be
            cancelled until the start begins. What is called when it is done runs on the broker thread,
            and must not block.
        :raises StreamError: there is no such transport.
        :raises TypeError: the transport has no such option, or needs another one.
        """
        # Few programs have so many targets, and it imports concurrent.futures.
        from mitogen.parent.connecting import Connector

        with self._connector_lock:
            if self._connector is None:
                self._connector = Connector(self)
        return self._connector.submit(transport, args, via, options)

    def __dir__(self) -> list[str]:
        from mitogen.parent.registry import names

        return sorted({*object.__dir__(self), *names()})

    def fork(
        self,
        on_fork: Callable[[], object] | None = None,
        on_start: Callable[[ExternalContext], object] | None = None,
        debug: bool = False,
        profiling: bool = False,
        via: Context | None = None,
    ) -> Context:
        """Start a context that is a fork of this process, or of that of `via`: it begins with a copy of
        all that is in its memory. See `mitogen.fork` for what that means, and prefer `local` where it
        does.

        Not with any thread but the one that calls this, and those of brokers.

        :param on_fork: called as ``on_fork()`` in the new process, before anything else of the program.
            It puts in order what the program or its libraries would not expect to be copied.
        :param on_start: called as ``on_start(econtext)`` in the new process once it can send and receive,
            and before the first call. It may be a main function, and run for as long as it likes.
        :param debug: write debug logs there (see `enable_debug`).
        :param profiling: write profiles there.
        :param via: the context that is to fork; by default this one. It forks once it has run the calls
            that it has. There, functions are found by their names, as in calls.
        :raises StreamError: other threads run, the process could not be forked, or a function failed.
        """
        # Few programs fork.
        from mitogen.fork import fork

        return fork(self, on_fork, on_start, debug, profiling, via)

    @property
    def routing_policy(self) -> Callable[[int, int], bool] | None:
        """Who may talk to whom, below this context: None, or called as ``policy(src_id, dst_id)``.

        It is asked for each message between two contexts that were started from here, of which neither
        started the other, whether it may pass; an answer is a message of its own, and a question whose
        answer may not pass is refused. What raises, refuses.
        Contexts that start others ask here, so set it before those are started. Broker thread: it must
        not block.
        """
        return self._policy

    @routing_policy.setter
    def routing_policy(self, policy: Callable[[int, int], bool] | None) -> None:
        self._policy = policy
        if policy is not None:
            # For good: contexts that were started meanwhile go on to ask here.
            self.table.policy = self._ask_policy

    _policy: Callable[[int, int], bool] | None = None

    def _ask_policy(self, src_id: int, dst_id: int) -> bool:
        policy = self._policy
        return policy is None or bool(logs.attempt("the routing policy", policy, src_id, dst_id))

    def stats(self) -> dict[str, Any]:
        """Return what this router has done so far: see `mitogen.core.stats.stats`. Any thread."""
        return stats(self)

    def __getattr__(self, name: str) -> Any:
        # Not the core's, which asks for what children lack, and a master has.
        return Starter.__getattr__(self, name)
