"""Where messages arrive, and the other end of that: `Receiver`, `Sender`, `Channel`.

A receiver owns one handle and the latch that threads wait on; the router delivers to it on the broker
thread. A sender is a context and a handle; it can be sent to other contexts and used there.
"""

from __future__ import annotations

from _thread import get_ident

from mitogen.core import serialization
from mitogen.core.errors import FORKED, ChannelError, Error, LatchError
from mitogen.core.latch import Latch
from mitogen.core.message import Message, make

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from mitogen.core.context import Context
    from mitogen.core.router import Router


class Receiver:
    """Wait for messages sent to one handle of this context.

    :param router: router to register the handle with.
    :param handle: a handle to use; None takes an unused one.
    :param persist: False unregisters the handle with the first message.
    :param respondent: the context that messages are expected from; when it is gone, waits end with
        `ChannelError` and its reason.
    :ivar context: the respondent.
    :ivar notify: None, or called as ``notify(receiver)`` on the broker thread after a message was queued.
    """

    notify: Callable[[Receiver], None] | None = None
    context: Any = None
    handle = 0
    #: The message after which none will come, once it is there.
    _last: Message | None = None
    #: Somebody got that message.
    _spent = False
    #: What is in the queue by now, or in the next moment, is all that will ever come.
    _over = False

    def __init__(
        self,
        router: Router,
        handle: int | None = None,
        persist: bool = True,
        respondent: Context | None = None,
    ) -> None:
        self.router = router
        if respondent is not None:
            self.context = respondent
        self._latch = Latch()
        self.handle = router.add_handler(self._on_receive, handle, persist, respondent)

    def __repr__(self) -> str:
        return "Receiver(handle %d)" % self.handle

    def _on_receive(self, msg: Message) -> None:
        msg.receiver = self
        if self._is_over():
            self._over = True
            if msg.is_dead:
                self._last = msg
        try:
            self._latch.put(msg)
        except LatchError:
            if not msg.is_dead:
                msg.reply(Message.dead("the receiver was closed"))
            return
        # Another thread may clear it in between.
        notify = self.notify
        if notify is not None:
            notify(self)

    def _is_over(self) -> bool:
        """Return True if the handle is not ours any more: no message will come."""
        return self.router._handlers.get(self.handle, (None,))[0] != self._on_receive

    def to_sender(self) -> Sender:
        """Return a `Sender` that delivers to this receiver, wherever it is sent."""
        return Sender(self.router.make_context(self.router.context_id, "self"), self.handle)

    def empty(self) -> bool:
        """Return True if `get` would block; a message may arrive in the next moment.

        :raises LatchError: the receiver was closed.
        """
        return self._latch.empty()

    def close(self) -> None:
        """Stop receiving, and end every wait on this receiver with `ChannelError`. Idempotent."""
        if not self._is_over():
            self.router._handlers.pop(self.handle, None)
        try:
            self._latch.close()
        except LatchError:
            return  # It belongs to the process that this one was forked from.
        notify = self.notify
        if notify is not None:
            notify(self)  # A select, which waits as well.

    def get(self, timeout: float | None = None, block: bool = True, throw_dead: bool = True) -> Message:
        """Return the next message, which also unpacks as ``msg, data``. Any thread but the broker's.

        :param timeout: seconds to wait at most; None waits for ever.
        :param block: False raises at once if there is no message.
        :param throw_dead: False returns a dead message rather than raising.
        :raises ChannelError: the sender closed the channel or is gone, or this receiver was closed.
        :raises Error: on the broker thread, if there is no message.
        :raises TimeoutError: the time passed, or `block` is False and there is no message.
        """
        try:
            if self._latch.empty():
                broker = self.router.broker
                if broker.dead_reason:
                    raise ChannelError("%s", broker.dead_reason)
                if self._over and self._last is None:
                    raise ChannelError("%r had its one message; no more will come", self)
                if block and get_ident() == broker._thread_id:
                    raise Error("a handler must not wait for a message: it would wait for its own thread")
            msg: Message = self._latch.get(timeout, block)
            if msg is self._last:
                # For everyone else that waits, or will.
                self._spent = True
                self._latch.put(msg)
        except LatchError as e:
            raise ChannelError("%s", e if str(e) == FORKED else "this receiver was closed") from None
        if throw_dead and msg.is_dead:
            msg.unpickle()
        return msg

    def get_data(self, timeout: float | None = None) -> Any:
        """Like `get`, but return the unpickled value.

        :raises CallError: the value is the error of a call.
        """
        return self.get(timeout).unpickle()

    def __iter__(self) -> Iterator[Message]:
        """Yield messages until the channel is closed."""
        while True:
            try:
                msg = self.get()
            except ChannelError:
                return
            yield msg


class Sender:
    """Send values to a handle of another context. May be sent itself. Any thread may use it.

    :param context: the context to send to.
    :param dst_handle: the handle there.
    """

    def __init__(self, context: Context, dst_handle: int) -> None:
        self.context = context
        self.dst_handle = dst_handle

    def __repr__(self) -> str:
        return "Sender(%r, handle %d)" % (self.context, self.dst_handle)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sender):
            return NotImplemented
        return (self.context, self.dst_handle) == (other.context, other.dst_handle)

    def __hash__(self) -> int:
        return hash((self.context, self.dst_handle))

    def send(self, data: object) -> None:
        """Send `data`.

        :raises SerializationError: `data` holds something that can't be sent.
        """
        router = self.context._router()
        here = router.context_id
        body = serialization.dumps(data)
        router.route(make(self.context.context_id, here, here, self.dst_handle, 0, body))

    def close(self) -> None:
        """Tell the receiver that nothing more will come: its waits end with `ChannelError`."""
        router = self.context._router()
        self.context.send(
            Message.dead(
                "the sender in context %d closed the channel" % router.context_id,
                handle=self.dst_handle,
                src_id=router.context_id,
                auth_id=router.context_id,
            )
        )


serialization.register(
    Sender,
    lambda sender: (sender.context.context_id, sender.context.name, sender.dst_handle),
    lambda router, context_id, name, handle: Sender(router.make_context(context_id, name), handle),
)


class Channel(Sender, Receiver):
    """Both directions in one object: a receiver here, and a sender to a handle of `context`.

    :param dst_handle: handle that the other end receives on; may be set later as `dst_handle`.
    :param handle: handle to receive on here; None takes an unused one.
    """

    def __init__(
        self, router: Router, context: Context, dst_handle: int, handle: int | None = None
    ) -> None:
        Receiver.__init__(self, router, handle, True, context)
        Sender.__init__(self, context, dst_handle)

    def close(self) -> None:
        """Close both directions."""
        Receiver.close(self)
        Sender.close(self)

    def __repr__(self) -> str:
        return "Channel(%r, %r)" % (Sender.__repr__(self), Receiver.__repr__(self))


def send_async(context: Context, msg: Message, persist: bool) -> Receiver:
    """Do what `Context.send_async` says."""
    receiver = Receiver(context._router(), persist=persist, respondent=context)
    msg.reply_to = receiver.handle
    try:
        context.send(msg)
    except BaseException:
        receiver.close()
        raise
    return receiver


def send_await(context: Context, msg: Message, deadline: float | None) -> Any:
    """Do what `Context.send_await` says."""
    receiver = send_async(context, msg, False)
    try:
        return receiver.get_data(deadline)
    finally:
        receiver.close()
