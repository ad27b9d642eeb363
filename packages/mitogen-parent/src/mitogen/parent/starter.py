"""Starting contexts: `Starter`, what a router has in a context with children.

In a master the router is one itself (`mitogen.parent.Router`). In a child the core's router gets one when
it is first asked for something that only contexts with children have; see `mitogen.core.upgrade`.

With `via`, a context is started by another one, to which the transport's module travels like any other.
That one is asked in a way that does not wait for the calls it runs, and starts any number at a time.
"""

from __future__ import annotations

import sys
from _thread import allocate_lock
from functools import partial

from mitogen.core import handles
from mitogen.core.errors import Error, StreamError
from mitogen.core.latch import Latch
from mitogen.core.message import Message
from mitogen.core.pressure import hold_back
from mitogen.parent.local import LocalConnection
from mitogen.parent.options import Options
from mitogen.parent.process import SIGKILL
from mitogen.parent.routes import RouteKeeper, is_immediate_child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from mitogen.core.router import Router
    from mitogen.core.serving import ModuleForwarder
    from mitogen.parent.connection import Connection
    from mitogen.parent.context import Context
    from mitogen.parent.routes import Grant


#: Seconds that a child gets to end when this context must: just more than it gives itself, and less than
#: this one then gives itself, to see to that.
_CHILD_LIFE = 2.5


class Starter:
    """Start contexts, and keep the routes to them.

    :param router: the router that the contexts will belong to.
    :ivar connections: those that are up, or coming up, by context id; broker thread only.
    :ivar forwarder: in a child, what serves modules to its children.
    :ivar import_preference: packages of which all contexts below import the master's copy.
    :ivar debug: have contexts that are started from now on write debug logs.
    """

    #: Write profiles of the broker and main threads of every context started from now on; and in a
    #: master, of the broker thread of each broker made from now on.
    profiling = False

    forwarder: ModuleForwarder
    import_preference: tuple[str, ...] = ()
    #: In a child, what ended it before it had children.
    end_now: Callable[[], None]

    #: Seconds after which a link to a context that is started from now on is asked for a sign of life, if
    #: nothing came; None for never. See `mitogen.core.keepalive`.
    keepalive_interval: float | None = None

    #: Starts that were asked for here, and that nobody waits for any more: see `mitogen.parent.requests`.
    cancelled: set[str] = set()

    #: What a child takes over where it has no logging of its own to ask.
    config_log_level = 30

    def __init__(self, router: Router) -> None:
        self.router = router
        self.starter = self
        self.debug = False
        self.connections: dict[int, Connection] = {}
        # Here, since what forwards for children must not wait for an import.
        router.hold_back = partial(hold_back, router)
        self._ids = (0, 0)
        self._ids_lock = allocate_lock()
        self.routes = RouteKeeper(router, self.request_ids)
        router.add_handler(self._on_detaching, handles.DETACHING, policy=is_immediate_child)

    # -- Ids -----------------------------------------------------------------------------------

    def request_ids(self, grant: Grant) -> None:
        """Call ``grant(first, end)`` with a batch of ids that are unused in the whole tree.

        Broker thread; `grant` is called there, later. With 0 for both if there are no more.
        """
        router = self.router

        def on_reply(msg: Message) -> None:
            if msg.is_dead:
                grant(0, 0)
            else:
                grant(*msg.unpickle())

        parent = router.make_context(router.parent_ids[0])
        # From the parent alone: a child could grant us what it likes, and then pass for any of that.
        handle = router.add_handler(on_reply, persist=False, respondent=parent)
        parent.send(Message(handle=handles.ALLOCATE_ID, reply_to=handle))

    def allocate_id(self) -> int:
        """Return a context id that is unused in the whole tree. Any thread but the broker's.

        :raises StreamError: there are no more.
        """
        with self._ids_lock:
            first, end = self._ids
            if first == end:
                latch = Latch()
                put = lambda first, end: latch.put((first, end))  # noqa: E731
                self.router.broker.defer(self.request_ids, put)
                first, end = latch.get()
                if not end:
                    raise StreamError("there are no more ids for contexts")
            self._ids = first + 1, end
            return first

    def fetch(self, names: list[str], then: Callable[[], object]) -> None:
        """Have modules sent here, in a child, and call ``then()`` when they are. Broker thread."""
        while names and self.forwarder.find(names[0]):
            del names[0]
        if names:
            self.forwarder.ask(names[0], lambda: self.fetch(names, then))
        else:
            then()

    # -- What children take over ---------------------------------------------------------------

    def child_log_level(self) -> int:
        """Return the lowest level of log records that children send: the root logger's."""
        logging: Any = sys.modules.get("logging")
        return logging.getLogger().level if logging else self.config_log_level

    # -- Factories; any thread but the broker's ------------------------------------------------

    def connect_with(self, connection: Connection) -> Context:
        """Start `connection`, wait for it, and return its context.

        :raises StreamError: it could not be started, or did not come up in time.
        """
        try:
            connection.start()
            if connection.options.request in self.cancelled:
                # Before there was anything that could be found.
                connection.give_up()
            return connection.wait()
        except BaseException:
            # A KeyboardInterrupt, perhaps: nobody would ever use, or end, what comes up now.
            connection.give_up()
            raise

    def start_context(
        self, cls: type[Connection], options: Options, via: Context | None = None
    ) -> Context:
        """Start a context.

        :param cls: the connection class of the transport.
        :param options: what was asked for.
        :param via: the context that is to start it; None for this one.
        :raises StreamError: it could not be started, or did not come up in time.
        """
        if via is None:
            return self.connect_with(cls(self, options))
        return via.start_child(cls, options)

    def connect(self, transport: str, *args: Any, via: Context | None = None, **options: Any) -> Context:
        """Start a context by its transport's name: ``router.connect("ssh", ...)`` is ``router.ssh(...)``.

        :param transport: the name of one of this library, or of one that another distribution
            brings.
        :param via: the context that is to start it; by default this one.
        :param options: those of the transport, which may also be given by position.
        :raises StreamError: it could not be started, or did not come up in time; or there is no such
            transport.
        :raises TypeError: the transport has no such option, or needs another one.
        """
        from mitogen.parent.registry import find, make_options

        cls = find(transport)
        return self.start_context(cls, make_options(cls, args, options), via)

    def __getattr__(self, name: str) -> Any:
        """Return the factory of the transport `name`."""
        if name[0] == "_":
            raise AttributeError(name)
        from mitogen.parent.registry import find

        find(name)
        return partial(self.connect, name)

    def local(
        self,
        remote_name: str | None = None,
        python_path: str | Sequence[str] | None = None,
        debug: bool = False,
        connect_timeout: float | None = None,
        profiling: bool = False,
        via: Context | None = None,
        unidirectional: bool | None = None,
        name: str | None = None,
    ) -> Context:
        """Start a context on this machine, or on that of `via`, as a subprocess.

        :param remote_name: what follows ``mitogen:`` in the process list; by default who started it:
            ``user@host:pid``. It must not contain a slash.
        :param python_path: the interpreter, or a list: a command that ends with one. By default the one
            that runs this program; with `via`, the one that runs there.
        :param debug: write debug logs there (see `enable_debug`).
        :param connect_timeout: seconds for it to become usable; 30 by default.
        :param profiling: write profiles there.
        :param via: the context that is to start it; by default this one.
        :param unidirectional: let its children talk to it and its parents only; by default as the router
            of the context that starts it does.
        :param name: name of the context; ``local.PID`` by default, below that of `via`.
        :raises StreamError: the process could not be started, or did not come up in time.
        """
        options = Options(
            remote_name, python_path, debug, connect_timeout, profiling, unidirectional, name
        )
        return self.start_context(LocalConnection, options, via)

    # -- Broker thread -------------------------------------------------------------------------

    def end_context(self, context_id: int, ended: Callable[[], object]) -> None:
        """End a context that this one started, by force if need be; call `ended` when it is gone.

        :raises Error: another context started it.
        """
        connection = self.connections.get(context_id)
        if connection is not None:
            connection.end(ended)
        elif context_id not in self.routes.names:
            ended()  # It is gone already.
        else:
            raise Error("context %d was started by another one", context_id)

    def _on_detaching(self, msg: Message) -> None:
        connection = self.connections.get(msg.src_id)
        if connection is not None and not msg.is_dead:
            connection.detach()

    def on_end(self) -> None:
        """End this context, a child: tell its children at once, and kill them in the end."""
        for connection in list(self.connections.values()):
            if self.router.econtext.stream.closed:
                connection.fail("the context that started it lost its own parent")
            else:
                connection.send_shutdown(now=True)
            self.router.broker.call_later(_CHILD_LIFE, partial(connection.process.kill, SIGKILL))
        self.end_now()
