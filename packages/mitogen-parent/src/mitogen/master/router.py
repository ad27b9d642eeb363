"""The master's router: `Router`, the root of a tree of contexts."""

from __future__ import annotations

from _thread import allocate_lock

import mitogen.parent
from mitogen.core.errors import Error
from mitogen.master import broker as broker_module
from mitogen.master.broker import Broker
from mitogen.master.records import LogForwarder
from mitogen.master.responder import ModuleResponder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    import mitogen.core
    from mitogen.parent.routes import Grant

#: Ids that a child gets with one request.
ID_BATCH = 1000


class IdAllocator:
    """Context ids, unique in the tree: 32 bits, never used again. Any thread."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._next_id = 1

    def allocate(self, number: int = 1) -> int:
        """Return the first of `number` consecutive unused ids.

        :raises Error: there are no more.
        """
        with self._lock:
            if self._next_id + number > 1 << 32:
                raise Error("all 2**32 context ids of this tree were used")
            self._next_id += number
            return self._next_id - number


class Router(mitogen.parent.Router):
    """The root of a tree: starts contexts, and serves them ids, modules and a place for their logs.

    Use it in a ``with`` statement, which ends the broker and all contexts at its end::

        with mitogen.master.Router() as router:
            print(router.local().call(os.getpid))

    :param broker: the `Broker` to use; by default one of its own.
    :param max_message_size: largest message body, in bytes, in the whole tree; 128 MiB by default.
    """

    broker: mitogen.core.Broker

    def __init__(
        self, broker: mitogen.core.Broker | None = None, max_message_size: int | None = None
    ) -> None:
        self.id_allocator = IdAllocator()
        mitogen.parent.Router.__init__(self, broker or Broker(), max_message_size=max_message_size)
        self.responder = ModuleResponder(self)
        self.log_forwarder = LogForwarder(self)

    def __enter__(self) -> Router:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.broker.shutdown()
        self.broker.join()

    def allocate_id(self) -> int:
        """Return a context id that is unused in the whole tree. Any thread."""
        return self.id_allocator.allocate()

    def request_ids(self, grant: Grant) -> None:
        try:
            first = self.id_allocator.allocate(ID_BATCH)
        except Error:
            grant(0, 0)
        else:
            grant(first, first + ID_BATCH)


broker_module.profiling_wanted = lambda: Router.profiling
