"""The master's router: `Router`, the root of a tree of contexts."""

from __future__ import annotations

import sys
from _thread import allocate_lock

import mitogen.parent
from mitogen.core.errors import Error
from mitogen.master import broker as broker_module
from mitogen.master.broker import Broker
from mitogen.master.data import DataServer
from mitogen.master.records import LogForwarder
from mitogen.master.responder import ModuleResponder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
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


def _names_of(import_preference: Iterable[str]) -> tuple[str, ...]:
    if isinstance(import_preference, str):
        raise TypeError(
            "import_preference must be a collection of names, not the text %r" % import_preference
        )
    names = tuple(import_preference)
    for name in names:
        if not isinstance(name, str):
            raise TypeError("import_preference must hold names of packages, not %r" % (name,))
        if not name.isidentifier() or name == "mitogen" or name in sys.stdlib_module_names:
            raise ValueError(
                "import_preference can't hold %r: it takes names of packages at the top level that are"
                " neither part of Python nor of this library" % name
            )
    return names


class Router(mitogen.parent.Router):
    """The root of a tree: starts contexts, and serves them ids, modules and a place for their logs.

    Use it in a ``with`` statement, which ends the broker and all contexts at its end::

        with mitogen.master.Router() as router:
            print(router.local().call(os.getpid))

    :param broker: the `Broker` to use; by default one of its own.
    :param max_message_size: largest message body, in bytes, in the whole tree; 128 MiB by default.
    :param import_preference: names of packages, and of modules that are in none, of which contexts
        import the master's copy, even where another one is installed, such as one of another version.
    :raises TypeError: a preference is no collection of names.
    :raises ValueError: a preference is no name of a package at the top level.
    """

    broker: mitogen.core.Broker

    def __init__(
        self,
        broker: mitogen.core.Broker | None = None,
        max_message_size: int | None = None,
        import_preference: Iterable[str] = (),
    ) -> None:
        preferred = _names_of(import_preference)
        self.id_allocator = IdAllocator()
        mitogen.parent.Router.__init__(self, broker or Broker(), max_message_size=max_message_size)
        self.import_preference = preferred
        self.responder = ModuleResponder(self)
        #: Asked by calls of functions of `__main__`: see `mitogen.parent.callchain`.
        self._module_for = self.responder.prompt.module_for
        self._data_server = DataServer(self, self.responder)
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
