"""The exceptions of the library: one tree below `Error`.

Owns what an error says and which facts it keeps; knows nothing of messages, streams or threads, so that
every other module can import it. Constructors take facts, not finished prose, where a caller may want
the facts back (`CallError.type_name`). Errors cross the wire as text only: no remote class is ever
looked up by name.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: Characters of a remote text or traceback that are kept. Far above any text that a person reads, and
#: low enough that an error never meets the message size limit.
TEXT_LIMIT = 1 << 18


#: What every use of a connection, or wait, of the parent process raises in a forked one.
FORKED = "this process was forked from one that uses mitogen: start contexts after forking"


class Error(Exception):
    """Base of all errors raised by the library.

    :param fmt: message, or a %-format when `args` are given.
    :param args: values for the format.
    """

    def __init__(self, fmt: str = "", *args: object) -> None:
        Exception.__init__(self, fmt % args if args else fmt)


class LatchError(Error):
    """`Latch.get` was called on, or was waiting on, a latch that was closed."""


class StreamError(Error):
    """A context could not be started, or the connection to it could not be used.

    Raised by the context factories, never by a call: a connection that breaks later ends its waits
    with `ChannelError`.
    """


class ChannelError(Error):
    """A wait ended because nothing more can arrive: the peer closed, or is gone.

    The text is the reason given by whoever noticed: it names the context and what happened to it.
    """


class TimeoutError(Error):
    """The time given for a wait passed. What was waited for may still arrive later."""


class SerializationError(Error, TypeError):
    """A value can't be sent, or a message names a type that this context refuses to create.

    On the sending side the text gives the path to the value: ``result['locks'][0]: _thread.lock``.
    """


def cut(text: str, limit: int = TEXT_LIMIT) -> str:
    """Return `text`, its middle replaced by a visible mark where it is longer than `limit`."""
    over = len(text) - limit
    if over <= 0:
        return text
    half = limit // 2
    return "%s\n[... %d characters cut ...]\n%s" % (text[:half], over, text[half + over :])


def text_of(obj: object, show: Callable[[object], str] = str) -> str:
    """Return ``show(obj)``, or a placeholder when that raises: user classes may do anything.

    Exactly a `str`: instances of subclasses, as lazily translated texts are, can't be sent.
    """
    try:
        return str.__str__(show(obj))
    except BaseException:
        return "<unprintable %s>" % type(obj).__name__


class CallError(Error):
    """A function called in another context raised.

    :ivar type_name: dotted name of the remote exception's type.
    :ivar text: what ``str()`` of the remote exception gave; cut visibly past `TEXT_LIMIT`.
    :ivar traceback: the remote traceback as text; may be empty.
    :ivar cause: a CallError for the remote exception's cause or context, or None.
    """

    def __init__(
        self, type_name: str, text: str = "", traceback: str = "", cause: CallError | None = None
    ) -> None:
        # Whatever a caller, or a hostile pickle, gives: this must be safe to look at, and to send on.
        self.type_name = text_of(type_name)
        self.text = text_of(text)
        self.traceback = text_of(traceback)
        self.cause = cause if isinstance(cause, CallError) else None
        Error.__init__(self, self._compose())

    def _compose(self) -> str:
        head = "%s: %s" % (self.type_name, self.text) if self.text else self.type_name
        return "%s\n%s" % (head, self.traceback) if self.traceback else head

    def __reduce__(self) -> tuple[object, ...]:
        return CallError, (self.type_name, self.text, self.traceback, self.cause)
