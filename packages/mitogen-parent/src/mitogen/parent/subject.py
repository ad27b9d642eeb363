"""What the conformance kit looks at, and the words in which it says what is wrong: `Subject`, `expect`.

See `mitogen.parent.testing`, which has the checks. Every wait ends, after `LIMIT` seconds. Not for the
broker thread.
"""

from __future__ import annotations

import time

from mitogen.core.errors import ChannelError
from mitogen.parent.callchain import CallChain
from mitogen.parent.registry import find, make_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Union

    from mitogen.parent.connection import Connection
    from mitogen.parent.context import Context
    from mitogen.parent.router import Router

    #: A transport by its name, or a function that starts contexts: ``factory(router, **options)``.
    Transport = Union[str, Callable[..., Context]]

#: Seconds for anything that should take much less than one.
LIMIT = 30.0


class Subject:
    """A transport under test.

    :param router: a master's router.
    :param transport: see `Transport`.
    :param options: what its contexts are started with.
    """

    def __init__(self, router: Router, transport: Transport, options: dict[str, Any]) -> None:
        self.router = router
        self.transport = transport
        self.options = options
        self._shared: Context | None = None
        self._started: list[Context] = []

    @property
    def context(self) -> Context:
        """A context that checks share until one of them ends it."""
        if self._shared is None or self._shared.reason:
            self._shared = self.start()
        return self._shared

    def start(self, router: Router | None = None, **more: Any) -> Context:
        """Start another context, with further options."""
        router = router or self.router
        options = dict(self.options, **more)
        if callable(self.transport):
            context = self.transport(router, **options)
        else:
            context = router.connect(self.transport, **options)
        self._started.append(context)
        return context

    def start_with(self, argv: list[str], **more: Any) -> None:
        """Start one with `argv` in the place of the transport's program and its arguments.

        :raises StreamError: that can't work.
        """
        given = dict(self.options, **more)
        # A context elsewhere could not import the class.
        given.pop("via", None)
        cls: Any = find(str(self.transport))
        replaced = type(cls.__name__, (cls,), {"command": lambda connection: (argv, argv[0])})
        self._started.append(self.router.start_context(replaced, make_options(replaced, (), given)))

    def connection(self, context: Context) -> Connection:
        """Return what this process knows of a context that it started itself."""
        router = self.router
        return router.broker.defer_sync(lambda: router.connections[context.context_id])  # type: ignore[no-any-return]

    def close(self) -> None:
        """End all contexts that were started."""
        for context in self._started:
            try:
                context.shutdown(wait=True)
            except ChannelError:
                pass  # Its router ended.


def call(context: Context, fn: Any, *args: Any) -> Any:
    """Call a function, and never wait for ever."""
    return CallChain(context, timeout=LIMIT).call(fn, *args)


def expect(what: bool, fmt: str, *args: object) -> None:
    """Fail a check, unless `what`; with any level of optimisation."""
    if not what:
        raise AssertionError(fmt % args)


def expect_error(cls: type[BaseException], what: str, fn: Any, *args: Any, **kwargs: Any) -> str:
    """Return the text of the error that a call must raise."""
    try:
        result = fn(*args, **kwargs)
    except cls as e:
        return str(e)
    raise AssertionError("%s: got %r rather than %s" % (what, result, cls.__name__))


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Fail a check if `condition()` does not become true."""
    deadline = time.time() + LIMIT
    while not condition():
        expect(time.time() < deadline, "waited %d seconds for %s, in vain", LIMIT, what)
        time.sleep(0.01)
