"""The router of a context that starts others: `Router`, with the context factories."""

from __future__ import annotations

import mitogen.core
from mitogen.core import handles
from mitogen.core.errors import Error
from mitogen.parent.context import Context
from mitogen.parent.local import LocalConnection
from mitogen.parent.options import Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mitogen.core.broker import Broker
    from mitogen.core.latch import Latch
    from mitogen.core.message import Message
    from mitogen.core.stream import Stream
    from mitogen.parent.connection import Connection


def is_immediate_child(msg: Message, stream: Stream) -> bool:
    """Policy for `Router.add_handler`: the message comes from the child at the other end of its link."""
    return msg.src_id == stream.remote_id and msg.auth_id == stream.remote_id


class Router(mitogen.core.Router):
    """A router that starts contexts. See `mitogen.core.Router` for the parameters.

    :ivar connections: the connections that are up, by context id; broker thread only.
    """

    #: Write profiles of the broker and main threads of every context started from now on; and in a
    #: master, of the broker thread of each broker made from now on.
    profiling = False

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
        self.debug = False
        self.connections: dict[int, Connection] = {}
        self.add_handler(self._on_detaching, handles.DETACHING, policy=is_immediate_child)

    def make_context(self, context_id: int, name: str | None = None) -> Context:
        return Context(self, context_id, name)

    def context_by_id(self, context_id: int, via_id: int | None = None) -> Context:
        """Return the `Context` of an id. Any thread.

        :param via_id: id of the context that messages for it go through; only needed for one that no
            route is known for.
        """
        if via_id is not None:
            self.broker.defer(self.add_route, context_id, via_id)
        context = self._contexts.get(context_id)
        return context if isinstance(context, Context) else self.make_context(context_id)

    def allocate_id(self) -> int:
        """Return a context id that is unused in the whole tree. Any thread."""
        raise NotImplementedError

    def child_log_level(self) -> int:
        """Return the lowest level of log records that children send."""
        return self.config_log_level

    #: What a child takes over where it has no logging of its own to ask.
    config_log_level = 30

    def enable_debug(self) -> None:
        """Write debug logs of this context, and of those started from now on, to
        ``/tmp/mitogen.PID.log``, each on its own machine. Any thread.

        :raises OSError: the file can't be created.
        """
        # Imports logging, which contexts that never debug do not need.
        from mitogen.core.debuglog import enable_debug

        enable_debug()
        self.debug = True

    # -- Factories; any thread but the broker's ------------------------------------------------

    def connect_with(self, connection: Connection) -> Context:
        """Start `connection`, wait for it, and return its context.

        :raises StreamError: it could not be started, or did not come up in time.
        """
        connection.start()
        return connection.wait()

    def local(
        self,
        remote_name: str | None = None,
        python_path: str | Sequence[str] | None = None,
        debug: bool = False,
        connect_timeout: float | None = None,
        profiling: bool = False,
        unidirectional: bool | None = None,
        name: str | None = None,
    ) -> Context:
        """Start a context on this machine, as a subprocess.

        :param remote_name: what follows ``mitogen:`` in the process list; by default who started it:
            ``user@host:pid``. It must not contain a slash.
        :param python_path: the interpreter, or a list: a command that ends with one. By default the one
            that runs this program.
        :param debug: write debug logs there (see `enable_debug`).
        :param connect_timeout: seconds for it to become usable; 30 by default.
        :param profiling: write profiles there.
        :param unidirectional: let its children talk to it and its parents only; by default as this
            router does.
        :param name: name of the context; ``local.PID`` by default.
        :raises StreamError: the process could not be started, or did not come up in time.
        """
        options = Options(
            remote_name, python_path, debug, connect_timeout, profiling, unidirectional, name
        )
        return self.connect_with(LocalConnection(self, options))

    # -- Broker thread -------------------------------------------------------------------------

    def end_context(self, context: Context, ended: Latch) -> None:
        """End a context, by force if need be; `ended` gets None when it is gone."""
        connection = self.connections.get(context.context_id)
        if connection is not None:
            connection.end(ended)
        elif self.stream_by_id(context.context_id) is None:
            ended.put(None)  # It is gone already.
        else:
            raise Error("%r was started by another context, which alone can end it", context)

    def _on_detaching(self, msg: Message) -> None:
        connection = self.connections.get(msg.src_id)
        if connection is not None and not msg.is_dead:
            connection.detach()
