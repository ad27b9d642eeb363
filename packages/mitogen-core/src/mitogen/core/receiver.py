"""Where messages arrive, and the other end of that: `Receiver`, `Sender`.

A receiver owns one handle and the latch that threads wait on; the router delivers to it on the broker
thread. A sender is a context and a handle; it can be sent to other contexts and used there.

A receiver with a `maxsize` gives its senders credit: each may have so many messages under way or unread,
and waits for the rest. Such messages ask for a reply: a number, which says how many of them were read, or
a dead message, which says that none will be. Every sender object has credit of its own.

A receiver without a respondent can't know whom it waits for. But nobody can send to it who was not given
a sender, and those are usually given away as an argument of a call: when all contexts that got one like
that are gone, and nobody got one in any other way, waits end.
"""

from __future__ import annotations

from _thread import allocate_lock, get_ident

from mitogen.core import latch as latches
from mitogen.core import serialization
from mitogen.core.credit import Credit
from mitogen.core.deadlines import deadline_of, left_until
from mitogen.core.errors import FORKED, ChannelError, Error, LatchError
from mitogen.core.latch import Latch
from mitogen.core.message import Message, make
from mitogen.core.sending import SCALARS, plain_dumps, send_at_once
from mitogen.core.watching import watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from mitogen.core.context import Context
    from mitogen.core.router import Router

#: What is told to those that asked, or wait for credit.
_TURNED_AWAY = "the receiver was closed"


class Receiver:
    """Wait for messages sent to one handle of this context.

    :param router: router to register the handle with.
    :param handle: a handle to use; None takes an unused one.
    :param persist: False unregisters the handle with the first message.
    :param respondent: the context that messages are expected from, and are taken from alone; when it is
        gone, waits end with `ChannelError` and its reason.
    :param maxsize: messages of each sender that may wait here unread; with more, `Sender.send` waits.
        None: any number.
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
    #: What is in the queue by now is all that will ever come.
    _over = False
    #: One message is all that will ever come.
    _is_once = False
    maxsize: int | None = None
    #: How many messages were read that a sender was not told of, by its context and handle.
    _unpaid: dict[tuple[int, int], int]
    #: The contexts that were given a sender, and the handle that is told of the end of each.
    _holders: dict[Context, list[int]] = {}
    #: Senders made, how often one was serialized, and how many of those times it is known for whom.
    _made = _given = _given_to_known = 0

    def __init__(
        self,
        router: Router,
        handle: int | None = None,
        persist: bool = True,
        respondent: Context | None = None,
        maxsize: int | None = None,
    ) -> None:
        if maxsize is not None and maxsize < 1:
            raise Error("maxsize must be at least 1 message, not %r", maxsize)
        self.router = router
        if maxsize is not None:
            self.maxsize = maxsize
            self._unpaid = {}
            self._paying = allocate_lock()
        if respondent is not None:
            self.context = respondent
        else:
            self._holders = {}
        if not persist:
            self._is_once = True
        self._latch = Latch()
        self.handle = router.add_handler(self._on_receive, handle, persist, respondent)
        if respondent is not None:
            if router.table.parent_link is not None:
                watch(router, respondent, self.handle)
            if router.lead is not None:
                self._latch.sleep = router.lead(respondent, self.handle)  # type: ignore[method-assign]

    def __repr__(self) -> str:
        return "Receiver(handle %d)" % self.handle

    def _on_receive(self, msg: Message) -> None:
        msg.receiver = self
        is_over = self._is_over()
        if is_over and msg.is_dead:
            self._last = msg
        try:
            self._latch.put(msg)
        except LatchError:
            msg.reply(Message.dead(_TURNED_AWAY))
            return
        # Last, since who sees it and finds nothing takes it that somebody else has the message.
        self._over = self._over or is_over
        # Another thread may clear it in between.
        notify = self.notify
        if notify is not None:
            notify(self)

    def _is_over(self) -> bool:
        """Return True if the handle is not ours any more: no message will come."""
        return self.router._handlers.get(self.handle, (None,))[0] != self._on_receive

    def to_sender(self) -> Sender:
        """Return a `Sender` that delivers to this receiver, wherever it is sent."""
        self._made += 1
        here = self.router.make_context(self.router.context_id, "self")
        return Sender(here, self.handle, self.maxsize or 0)

    def _pay(self, msg: Message) -> None:
        """Tell the sender of a message, by the half of its credit, that messages were read."""
        key = msg.src_id, msg.reply_to
        with self._paying:
            count = self._unpaid.pop(key, 0) + 1
            # Once it is closed, nobody may be there who tells of the rest.
            if count * 2 < (self.maxsize or 0) and not self._latch.closed:
                self._unpaid[key] = count
                return
        try:
            # By the thread that never waits for a link: the message is here, and is to be returned.
            self.router.broker.defer(msg.reply, count)
        except ChannelError:
            pass  # The broker has ended, and told the sender.

    def note_holder(self, context: Context) -> None:
        """Remember that `context` was just given a sender. Any thread."""
        if self.context is not None:
            return  # The end of that one is what counts.
        self._given_to_known += 1
        if context not in self._holders:
            # There before the broker thread may take it away.
            told: list[int] = []
            self._holders[context] = told
            told.append(
                self.router.add_handler(
                    lambda msg: self._on_holder_gone(context, msg), None, False, context
                )
            )
            watch(self.router, context, told[0])

    def _on_holder_gone(self, context: Context, msg: Message) -> None:
        self._holders.pop(context, None)
        is_known = self._made <= self._given == self._given_to_known
        if self._holders or not is_known or self._is_over():
            return
        here = self.router.context_id
        text = "the last context that this receiver's sender was given to is gone: %s"
        text %= msg.unpickle(throw=False)
        msg = Message.dead(text, src_id=here, auth_id=here, handle=self.handle)
        msg.router = self.router
        self._on_receive(msg)

    def empty(self) -> bool:
        """Return True if `get` would block; a message may arrive in the next moment.

        :raises LatchError: the receiver was closed.
        """
        return self._latch.empty()

    def close(self) -> None:
        """Stop receiving, and end every wait on this receiver with `ChannelError`. Idempotent."""
        handlers = self.router._handlers
        if not self._is_over():
            handlers.pop(self.handle, None)
        for told in list(self._holders.values()):
            for handle in told:
                handlers.pop(handle, None)
        self._end_waits()

    def _end_waits(self) -> None:
        try:
            self._latch.close()
        except LatchError:
            return  # It belongs to the process that this one was forked from.
        try:
            self._dismiss()
        except ChannelError:
            pass  # The broker has ended, and told them.
        notify = self.notify
        if notify is not None:
            notify(self)  # A select, which waits as well.

    def _dismiss(self) -> None:
        """Tell those who wait for an answer, or for credit, that there will be none."""
        try:
            while True:
                self._latch._queue.popleft().reply(Message.dead(_TURNED_AWAY), self.router)
        except IndexError:
            pass  # That was the last.
        if self.maxsize:
            with self._paying:
                unpaid, self._unpaid = self._unpaid, {}
            here = self.router.context_id
            for dst, handle in unpaid:
                msg = Message.dead(_TURNED_AWAY, dst_id=dst, src_id=here, auth_id=here, handle=handle)
                self.router.route(msg)

    def get(self, timeout: float | None = None, block: bool = True, throw_dead: bool = True) -> Message:
        """Return the next message, which also unpacks as ``msg, data``. Any thread but the broker's.

        :param timeout: seconds to wait at most; None waits for ever.
        :param block: False raises at once if there is no message.
        :param throw_dead: False returns a dead message rather than raising.
        :raises ChannelError: the sender closed the channel or is gone, or this receiver was closed.
        :raises Error: on the broker thread, if there is no message.
        :raises TimeoutError: the time passed, or `block` is False and there is no message.
        """
        latch = self._latch
        queue = latch._queue
        try:
            over = self._over  # Before the look whether something is there.
            if (latch.closed or not queue) and latch.empty():
                broker = self.router.broker
                if broker.dead_reason:
                    raise ChannelError("%s", broker.dead_reason)
                if over and self._last is None:
                    raise ChannelError("%r had its one message; no more will come", self)
                if block and get_ident() == broker._thread_id:
                    raise Error("a handler must not wait for a message: it would wait for its own thread")
            if latch._era is not latches._era:
                latch.check_era()
            try:
                # What is there already costs less like this.
                msg: Message = queue.popleft()
            except IndexError:
                msg = latch.get(timeout, block)
            if self._is_once:
                # The broker thread may not have come to note it.
                self._over = True
            if msg is self._last:
                # For everyone else that waits, or will.
                self._spent = True
                latch.put(msg)
        except LatchError as e:
            raise ChannelError("%s", e if str(e) == FORKED else "this receiver was closed") from None
        if msg.reply_to:
            if msg.is_dead:
                if throw_dead:
                    msg.unpickle()
            elif self.maxsize:
                self._pay(msg)
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


#: Threads that use one sender share its credit.
_making_credit = allocate_lock()


class Sender:
    """Send values to a handle of another context. May be sent itself. Any thread may use it.

    :param context: the context to send to.
    :param dst_handle: the handle there.
    :param credit: messages that may wait there unread, from this object; 0 for any number.
    """

    credit = 0
    _credit: Credit | None = None

    def __init__(self, context: Context, dst_handle: int, credit: int = 0) -> None:
        self.context = context
        self.dst_handle = dst_handle
        self.credit = credit

    def __del__(self) -> None:
        if self._credit is not None:
            self._credit.drop()

    def __repr__(self) -> str:
        return "Sender(%r, handle %d)" % (self.context, self.dst_handle)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sender):
            return NotImplemented
        return (self.context, self.dst_handle) == (other.context, other.dst_handle)

    def __hash__(self) -> int:
        return hash((self.context, self.dst_handle))

    def send(self, data: object, timeout: float | None = None) -> None:
        """Send `data`. Waits while the link is full, or the receiver has as many unread messages of this
        sender as it takes: not for the broker thread, on which that is an error.

        :param timeout: seconds to wait at most.
        :raises SerializationError: `data` holds something that can't be sent.
        :raises ChannelError: the receiver is known to be closed, or gone. Where it has no `maxsize`, a
            sender does not learn that.
        :raises TimeoutError: the time passed; nothing was sent.
        """
        router = self.context.router or self.context._router()
        here = router.context_id
        if type(data) in SCALARS:
            body: serialization.Body = plain_dumps(data, serialization.PROTOCOL)
        else:
            body = serialization.dumps(data)
        dst_id = self.context.context_id
        if not self.credit:
            link = router.table.link_to(dst_id)
            if send_at_once(router, link, dst_id, self.dst_handle, 0, body):
                return
        msg = make(dst_id, here, here, self.dst_handle, 0, body)
        if not self.credit:
            router.route(msg, timeout)
            return
        deadline = deadline_of(timeout)
        credit = self._take_credit(timeout)
        msg.reply_to = credit.handle
        try:
            router.route(msg, left_until(deadline))
        except BaseException:
            # It was not sent, so nobody will read it.
            credit.give(1)
            raise

    def _take_credit(self, timeout: float | None) -> Credit:
        with _making_credit:
            if self._credit is None:
                self._credit = Credit(self.context, self.credit)
        self._credit.take(timeout)
        return self._credit

    def close(self, reason: str | None = None) -> None:
        """Tell the receiver that nothing more will come: its waits end with `ChannelError`.

        :param reason: what it is told.
        """
        router = self.context._router()
        self.context.send(
            Message.dead(
                reason or "the sender in context %d closed the channel" % router.context_id,
                handle=self.dst_handle,
                src_id=router.context_id,
                auth_id=router.context_id,
            )
        )


def _reduce(sender: Sender) -> tuple[object, ...]:
    receiver = receiver_of(sender)
    if receiver is not None:
        receiver._given += 1
    return sender.context.context_id, sender.context.name, sender.dst_handle, sender.credit


def receiver_of(sender: Sender) -> Receiver | None:
    """Return the receiver of this context that `sender` sends to, or None. Any thread."""
    router = sender.context.router
    if router is not None and getattr(router, "context_id", None) == sender.context.context_id:
        entry = router._handlers.get(sender.dst_handle)
        receiver = getattr(entry and entry[0], "__self__", None)
        if isinstance(receiver, Receiver):
            return receiver
    return None


serialization.register(
    Sender,
    _reduce,
    lambda router, context_id, name, *args: Sender(router.make_context(context_id, name), *args),
)


def send_async(context: Context, msg: Message, persist: bool, timeout: float | None = None) -> Receiver:
    """Do what `Context.send_async` says, waiting at most `timeout` seconds for room on the link."""
    router = context._router()
    receiver = Receiver(router, persist=persist, respondent=context)
    msg.dst_id = context.context_id
    msg.reply_to = receiver.handle
    try:
        router.route(msg, timeout)
    except BaseException:
        receiver.close()
        raise
    return receiver


def send_await(context: Context, msg: Message, timeout: float | None) -> Any:
    """Do what `Context.send_await` says."""
    deadline = deadline_of(timeout)
    receiver = send_async(context, msg, False, timeout)
    try:
        return receiver.get_data(left_until(deadline))
    finally:
        receiver.close()
