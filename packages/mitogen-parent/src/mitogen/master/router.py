"""The master's router: `Router`, the root of a tree of contexts."""

from __future__ import annotations

import sys
from _thread import allocate_lock

import mitogen.parent
from mitogen.core import handles, serialization
from mitogen.core.message import make
from mitogen.master import broker as broker_module
from mitogen.master.broker import Broker
from mitogen.master.records import LogForwarder
from mitogen.master.responder import ModuleResponder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    import mitogen.core
    from mitogen.core.message import Message

#: Ids that a child gets with one request.
ID_BATCH = 1000


class IdAllocator:
    """Context ids, unique in the tree: 32 bits, never used again. Any thread."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._lock = allocate_lock()
        self._next_id = 1
        router.add_handler(self._on_allocate_id, handles.ALLOCATE_ID)

    def allocate(self, number: int = 1) -> int:
        """Return the first of `number` consecutive unused ids."""
        with self._lock:
            self._next_id += number
            return self._next_id - number

    def _on_allocate_id(self, msg: Message) -> None:
        """Give a child `ID_BATCH` ids, as ``(first, one past the last)``, with routes to them."""
        if msg.is_dead:
            return
        here = self._router.context_id
        first = self.allocate(ID_BATCH)
        for context_id in range(first, first + ID_BATCH):
            self._router.add_route(context_id, msg.src_id)
        body = serialization.dumps((first, first + ID_BATCH))
        self._router.route(make(msg.src_id, here, here, msg.reply_to, 0, body))


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
        mitogen.parent.Router.__init__(self, broker or Broker(), max_message_size=max_message_size)
        self.id_allocator = IdAllocator(self)
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

    def child_log_level(self) -> int:
        """Return the level of the root logger: what it would drop, children need not send."""
        logging: Any = sys.modules.get("logging")
        return logging.getLogger().level if logging else self.config_log_level


broker_module.profiling_wanted = lambda: Router.profiling
