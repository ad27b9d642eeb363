"""Calls into another context: `CallChain`.

Owns how a function is named on the wire, and what the caller is told. Calls of a pipelined chain may be
sent without waiting for answers: once one fails, the rest fail with the same error and are not run.

Any thread may call, except the broker thread, which must not wait.
"""

from __future__ import annotations

import functools
import os
from functools import partial
from itertools import count
from types import MethodType

from mitogen.core import handles, serialization
from mitogen.core.deadlines import deadline_of, left_until
from mitogen.core.errors import CallError, ChannelError, SerializationError, TimeoutError
from mitogen.core.message import Message, make
from mitogen.core.receiver import Receiver, Sender, receiver_of
from mitogen.core.sending import SCALARS, plain_dumps
from mitogen.core.targets import forget_chain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import Any, ParamSpec, TypeVar

    from mitogen.core.context import Context

    P = ParamSpec("P")
    T = TypeVar("T")

_next_chain = count(1).__next__
#: What stands for later arguments in a partial of Python 3.14.
_GAP: Any = getattr(functools, "Placeholder", object())


#: Their ids: a type may refuse to be hashed.
_SCALARS = frozenset(map(id, SCALARS))


def unique_text(context: Context) -> str:
    """Return a text that nobody else in the tree uses."""
    return "%d-%d-%d" % (context._router().context_id, os.getpid(), _next_chain())


def function_path(fn: Any, context: Context | None = None) -> tuple[str, str | None, str]:
    """Return how a function is named on the wire: module, class or None, name.

    :param context: where it is to be called. Functions of the program that are in no file are found
        there in a module that the master's router makes of them.
    :raises TypeError: it can't be found from its module's scope; the text says what to do.
    """
    # A class for class methods, the module for built-in functions.
    owner = getattr(fn, "__self__", None)
    path = getattr(fn, "__qualname__", None) or ""
    if isinstance(owner, type):
        path = "%s.%s" % (owner.__qualname__, fn.__name__)
    elif type(fn) is MethodType:
        raise TypeError(
            "can't call %s in another context: it is bound to an instance of %s, which stays here;"
            " make it a function, or a static or class method" % (path, type(owner).__name__)
        )
    else:
        # Methods of built-in types have no module, but know their class.
        owner = getattr(fn, "__objclass__", fn)
    module = getattr(owner, "__module__", None)
    if not path or not module:
        raise TypeError(
            "can't call %r in another context: it is not a function, class or method that can be reached"
            " from a module by name; define a function with 'def' that does what it does" % (fn,)
        )
    if "<" in path:
        raise TypeError(
            "can't call %s.%s in another context: a lambda or a function inside another function can't be"
            " found there by name; define it with 'def' at the top level of its module, and pass what it"
            " needs as arguments" % (module, path)
        )
    if module == "__main__" and context is not None and not getattr(context, "_is_copy", False):
        find = getattr(context.router, "_module_for", None)
        module = (find and find(fn, path)) or module
    class_name, _, name = path.rpartition(".")
    return module, class_name or None, name


def unwrapped(
    fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Return function, arguments and keywords of a call, with those of a `functools.partial` merged."""
    while type(fn) is partial:
        first = fn.args
        if any(value is _GAP for value in first):
            if len(args) < sum(value is _GAP for value in first):
                raise TypeError("can't call %r in another context: arguments are missing for it" % (fn,))
            rest = iter(args)
            first = tuple(next(rest) if value is _GAP else value for value in first)
            args = tuple(rest)
        args, kwargs, fn = first + args, dict(fn.keywords, **kwargs), fn.func
    return fn, args, kwargs


def note_senders(values: Iterable[Any], context: Context) -> None:
    """Have receivers of this context take note that `context` gets those of their senders in `values`."""
    senders = {id(value): value for value in values if isinstance(value, Sender)}
    for sender in senders.values():
        receiver = receiver_of(sender)
        if receiver is not None:
            receiver.note_holder(context)


class CallChain:
    """A sequence of calls to one context.

    :param context: the context to call.
    :param pipelined: once a call fails, fail all later ones with its error, unrun, until `reset`.
        Makes it safe to send calls without waiting for those before them.
    :param timeout: seconds that `call` waits for its answer, and any call for room on a full link; None
        waits for ever.
    :ivar chain_id: what the calls carry on the wire; None unless pipelined.
    """

    _handle = handles.CALL_FUNCTION

    def __init__(self, context: Context, pipelined: bool = False, timeout: float | None = None) -> None:
        self.context = context
        self.timeout = timeout
        self.chain_id = unique_text(context) if pipelined else None

    def __repr__(self) -> str:
        return "CallChain(%r, %r)" % (self.context, self.chain_id)

    def __enter__(self) -> CallChain:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.reset()

    def reset(self) -> None:
        """Let the context forget a failure of this chain, so that it may be used again."""
        if self.chain_id is not None:
            # Not as a call of the chain, which would not be run; nor without its id for a moment, in
            # which another thread may call.
            CallChain(self.context, timeout=self.timeout).call_no_reply(forget_chain, self.chain_id)

    def _body(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> serialization.Body:
        if type(fn) is partial:
            fn, args, kwargs = unwrapped(fn, args, kwargs)
        module, class_name, name = function_path(fn, self.context)
        call = (self.chain_id, module, class_name, name, args, kwargs)
        if not kwargs and _SCALARS.issuperset(map(id, map(type, args))):
            # The most usual call, in a third of the time.
            return plain_dumps(call, serialization.PROTOCOL)  # type: ignore[no-any-return]
        try:
            body = serialization.dumps(call, "call")
            note_senders((*args, *kwargs.values()), self.context)
            return body
        except SerializationError as e:
            # The path is better told from the caller's point of view.
            text = str(e).replace("call[4]", "args", 1).replace("call[5]", "kwargs", 1)
            raise SerializationError(
                "%s.%s() can't be called in %s: %s", module, name, self.context.name, text
            ) from None

    def call_no_reply(self, fn: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call `fn` without asking for its result. A failure is logged in the master, unless the chain
        is pipelined: then it shows in the next call that asks.

        :raises SerializationError: an argument can't be sent.
        :raises TimeoutError: the link is full, and `timeout` passed; the call was not sent.
        :raises TypeError: `fn` can't be found by name in another context.
        """
        router = self.context._router()
        here = router.context_id
        body = self._body(fn, args, kwargs)
        router.route(make(self.context.context_id, here, here, self._handle, 0, body), self.timeout)

    def call_async(self, fn: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> Receiver:
        """Call `fn`, and return a `Receiver` for its result at once.

        The receiver may be read now or later, given to `mitogen.select.Select`, or dropped.

        :raises SerializationError: an argument can't be sent.
        :raises TimeoutError: the link is full, and `timeout` passed; the call was not sent.
        :raises TypeError: `fn` can't be found by name in another context.
        """
        return self._ask("_ask_later", self._body(fn, args, kwargs))  # type: ignore[no-any-return]

    def _ask(self, name: str, body: serialization.Body) -> Any:
        """Send a call, and return what waits for its answer."""
        context = self.context
        router = context.router or context._router()
        # Of masters: see `mitogen.parent.answers`.
        ask = getattr(type(router), name, None)
        answer = ask and ask(context, self._handle, body)
        if answer:
            return answer
        here = router.context_id
        receiver = Receiver(router, None, False, context)
        try:
            router.route(
                make(context.context_id, here, here, self._handle, receiver.handle, body), self.timeout
            )
        except Exception:
            receiver.close()
            raise
        except BaseException:
            # It may have been sent just before a Ctrl-C.
            self.cancel(receiver)
            raise
        return receiver

    def call(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``fn(*args, **kwargs)`` in the context, wait for it, and return its result.

        :raises CallError: `fn` raised, or its result can't be sent.
        :raises ChannelError: the context is gone, or went before it answered.
        :raises TimeoutError: `timeout` passed; the call is interrupted there, with a KeyboardInterrupt.
        :raises SerializationError: an argument can't be sent.
        :raises TypeError: `fn` can't be found by name in another context.
        """
        deadline = deadline_of(self.timeout)
        receiver = self._ask("_ask", self._body(fn, args, kwargs))
        try:
            return receiver.get_data(deadline and left_until(deadline))  # type: ignore[no-any-return]
        except (CallError, ChannelError):
            raise
        except TimeoutError:
            self.cancel(receiver)
            raise TimeoutError(
                "%s() in %s took more than %s seconds; it is being interrupted",
                getattr(fn, "__qualname__", fn),
                self.context.name,
                self.timeout,
            ) from None
        except BaseException:
            # Most likely a KeyboardInterrupt: nobody waits any longer.
            self.cancel(receiver)
            raise

    def cancel(self, receiver: Receiver) -> None:
        """Stop waiting for a call made with `call_async`, and interrupt it if it runs.

        The context is usable again as soon as the function let itself be interrupted: it sees a
        KeyboardInterrupt, which ends sleeps and reads.
        """
        receiver.close()
        self.context.send(Message(handle=handles.CANCEL_CALL, data=b"%d" % receiver.handle))


class Aside(CallChain):
    """Calls that each run in a thread of their own, whatever else the context runs meanwhile."""

    _handle = handles.CALL_ASIDE
