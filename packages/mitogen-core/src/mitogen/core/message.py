"""The message: the unit that contexts exchange.

Owns the fields of the header and the body, and how a reply is addressed. Knows the serialization, but
no stream: where a message travels is the router's business. Messages are made and read in any thread;
one message is not meant to be changed by two.

The body is kept as one `bytes` object or as a list of buffers. A list lets a large payload go from the
caller to the socket without being joined or copied; `data` joins it for those who look.
"""

from __future__ import annotations

import mitogen
from mitogen.core import handles, serialization
from mitogen.core.errors import CallError, ChannelError, Error, cut

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from mitogen.core.receiver import Receiver
    from mitogen.core.router import Router
    from mitogen.core.serialization import Body

#: Characters of a dead message's reason that are sent. A reason is one sentence, and control messages
#: must stay small.
REASON_LIMIT = 1000

_CLOSED = "the channel was closed"


class Message:
    """A message, as sent or as received.

    :ivar router: the router that received the message, None for one made here.
    :ivar receiver: the `Receiver` that the message was last received over, or None.
    :ivar dst_id: id of the context it is for.
    :ivar src_id: id of the context that sent it, where replies go.
    :ivar auth_id: id of the context under whose authority it acts.
    :ivar handle: handle in the destination context.
    :ivar reply_to: handle in the source context for a reply, 0 for none, `IS_DEAD` for a dead message.
    """

    __slots__ = ("router", "receiver", "dst_id", "src_id", "auth_id", "handle", "reply_to", "body")

    router: Router | None
    receiver: Receiver | None
    dst_id: int
    src_id: int
    auth_id: int
    handle: int
    reply_to: int
    body: Body

    def __init__(self, **kwargs: Any) -> None:
        """Make a message from `kwargs`: any of the header fields, and `data` (bytes).

        `src_id` and `auth_id` default to this context's id.
        """
        self.router = self.receiver = None
        self.dst_id = self.handle = self.reply_to = 0
        self.src_id = self.auth_id = mitogen.context_id
        self.body = b""
        for name, value in kwargs.items():
            setattr(self, name, value)

    @property
    def data(self) -> bytes:
        """The body as one bytes object: raw, or a serialized value."""
        if type(self.body) is list:
            self.body = b"".join(self.body)
        return self.body  # type: ignore[return-value]

    @data.setter
    def data(self, value: bytes) -> None:
        self.body = value

    @property
    def is_dead(self) -> bool:
        """True if the sender considers the channel dead; `data` then holds the reason as text."""
        return self.reply_to == handles.IS_DEAD

    def size(self) -> int:
        """Return the bytes in the body, without joining it."""
        body = self.body
        return sum(map(len, body)) if type(body) is list else len(body)

    @classmethod
    def pickled(cls, obj: object, **kwargs: Any) -> Message:
        """Make a message whose data is the serialization of `obj`.

        :param kwargs: header fields, as for the constructor.
        :raises SerializationError: `obj` holds something that can't be sent.
        """
        return cls(body=serialization.dumps(obj), **kwargs)

    @classmethod
    def dead(cls, reason: str = "", **kwargs: Any) -> Message:
        """Make a message that tells its receiver that nothing more will come, and why."""
        body = cut(reason, REASON_LIMIT).encode("utf-8", "replace")
        return cls(reply_to=handles.IS_DEAD, body=body, **kwargs)

    def unpickle(self, throw: bool = True) -> Any:
        """Return the value that the message carries.

        :param throw: raise a received `CallError`, and `ChannelError` for a dead message; when False
            they are returned instead.
        :raises CallError: the message holds the error of a call.
        :raises ChannelError: the message is dead; the text is the sender's reason.
        :raises SerializationError: the data is damaged, or names a type that is not allowed.
        """
        obj: Any
        if self.reply_to == handles.IS_DEAD:
            obj = ChannelError("%s", self.data.decode("utf-8", "replace") or _CLOSED)
        else:
            obj = serialization.loads(self.data, self.router)
        if throw and isinstance(obj, (CallError, ChannelError)):
            raise obj
        return obj

    def __iter__(self) -> Iterator[Any]:
        """Unpack as ``msg, data``: the message itself, then its unpickled value."""
        yield self
        yield self.unpickle()

    def reply(self, obj: object, router: Router | None = None, **kwargs: Any) -> None:
        """Send a reply to this message; does nothing when no reply was asked for.

        :param obj: a value, or a `Message` to address and send as it is.
        :param router: the router to send it by where this message was not received by one.
        :param kwargs: fields that override those of the reply.
        """
        router = router or self.router
        if router is None:
            raise Error("no router received this message: pass reply(router=...)")
        if not self.reply_to or self.is_dead:
            return
        msg = obj
        if not isinstance(msg, Message):
            msg = make(0, router.context_id, router.context_id, 0, 0, serialization.dumps(obj))
        msg.dst_id = self.src_id
        msg.handle = self.reply_to
        for name, value in kwargs.items():
            setattr(msg, name, value)
        router.route(msg)

    def __repr__(self) -> str:
        # No part of the body: messages are logged, and bodies hold passwords.
        return "Message(%d -> %d, auth %d, handle %d, %d bytes)" % (
            self.src_id,
            self.dst_id,
            self.auth_id,
            self.handle,
            self.size(),
        )


_new = Message.__new__


def make(dst_id: int, src_id: int, auth_id: int, handle: int, reply_to: int, body: Body) -> Message:
    """Make a message from all its fields: the constructor of the hot paths."""
    self = _new(Message)
    self.router = self.receiver = None
    self.dst_id = dst_id
    self.src_id = src_id
    self.auth_id = auth_id
    self.handle = handle
    self.reply_to = reply_to
    self.body = body
    return self
