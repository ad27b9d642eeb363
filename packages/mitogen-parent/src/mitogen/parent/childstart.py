"""Contexts that another one starts, for this one: `ChildStart`, what `via` does.

Owns the question and what becomes of it: the reference to the new context, the error with the words and
the type that it would have had here, and the end of a start that nobody waits for any more. Who waits,
and how, is the caller's business. Any thread, but `begin` not on the broker's, which never waits for a
link.
"""

from __future__ import annotations

from mitogen.core.errors import CallError, ChannelError, Error, StreamError, TimeoutError
from mitogen.parent.asking import offer, withdraw
from mitogen.parent.callchain import Aside, CallChain, unique_text
from mitogen.parent.requests import cancel_start, start_here

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mitogen.core.message import Message
    from mitogen.core.receiver import Receiver
    from mitogen.parent.connection import Connection
    from mitogen.parent.context import Context
    from mitogen.parent.options import Options

#: Seconds for a context to begin to start another, and to tell what became of it.
_ANSWER_WAIT = 15.0


class ChildStart:
    """The start of a context by another one, `via`. Any thread.

    :param cls: the connection class of the transport.
    :param options: what was asked for.
    :ivar timeout: seconds to wait for the answer at most.
    """

    def __init__(self, via: Context, cls: type[Connection], options: Options) -> None:
        options.name_prefix = via.name + "."
        options.request = unique_text(via)
        self.via = via
        self._cls = cls
        self._options = options
        self.timeout: float | None = options.connect_timeout + _ANSWER_WAIT
        self._chain: CallChain = Aside(via, timeout=self.timeout)
        if getattr(cls, "in_line", False):
            # A fork has to be made by the thread that runs calls, after those that it has.
            self._chain = via.default_call_chain
            self.timeout = None
        self._receiver: Receiver | None = None
        self._offer: Any = None
        on_prompt = getattr(options, "on_prompt", None)
        if on_prompt is not None:
            self._offer = offer(via._router(), via, on_prompt)
            options.on_prompt = self._offer  # type: ignore[attr-defined]

    def _end(self) -> None:
        if self._offer is not None:
            withdraw(self.via._router(), self._offer)
            self._offer = None

    def begin(self) -> Receiver:
        """Ask for it; return what gets the answer."""
        cls = self._cls
        self._receiver = self._chain.call_async(
            start_here, cls.__module__, cls.__qualname__, vars(self._options)
        )
        return self._receiver

    def child(self, answer: Message) -> Context:
        """Return the context that `answer` tells of.

        :raises CallError: it could not be started.
        :raises ChannelError: `via` is gone.
        """
        context_id, name, version = answer.unpickle()
        self._end()
        context: Any = self.via._router().make_context(context_id, name)
        context.name = name
        context.python_version = version
        context.via = self.via
        return context  # type: ignore[no-any-return]

    def error(self, e: BaseException) -> BaseException:
        """Return what to raise after `e`; give the start up if it may still go on."""
        self._end()
        if isinstance(e, CallError):
            for cls in (StreamError, *getattr(self._cls, "error_types", ())):
                if e.type_name == "%s.%s" % (cls.__module__, cls.__qualname__):
                    found: StreamError = cls("%s (started via %s)", e.text, self.via.name)
                    return found
            return e
        if isinstance(e, ChannelError):
            return StreamError("could not be started via %s: %s", self.via.name, e)
        # Else most likely a KeyboardInterrupt: nobody would ever use, or end, what comes up there.
        try:
            # By the thread that does not wait where the link is full.
            broker = self.via._router().broker
            if self._receiver is not None:
                broker.defer(self._chain.cancel, self._receiver)
            broker.defer(Aside(self.via).call_no_reply, cancel_start, self._options.request)
        except Error:
            pass  # This context ends.
        if not isinstance(e, TimeoutError):
            return e
        return StreamError(
            "could not be started via %s, which said nothing for %s seconds: is it stopped, or"
            " overloaded? Raise connect_timeout, or pass another via",
            self.via.name,
            self.timeout,
        )
