"""Messages between links and handlers: `Router`.

Owns the handlers of this context and carries out what `routing` decides. Links are `Stream`s. Messages
arrive on the broker thread (`_receive`), or are sent by any thread (`route`); handlers always run on the
broker thread, so they must not block.

Every message has exactly one outcome: delivered to a handler, handed to a link, or refused. A refused
message that asked for a reply is answered with a dead message that says why, so that nobody waits for
ever; a message that lies about its sender is dropped and logged, since there is nobody to answer.
"""

from __future__ import annotations

from itertools import count
from time import monotonic
from typing import TYPE_CHECKING

from mitogen.core import handles, logs
from mitogen.core.context import Context
from mitogen.core.errors import CallError, ChannelError, Error
from mitogen.core.message import Message
from mitogen.core.routing import DELIVER, SPOOFED, TOO_LARGE, RoutingTable
from mitogen.core.signals import fire, listen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from mitogen.core.broker import Broker
    from mitogen.core.stream import Stream

    Handler = Callable[[Message], object]
    Policy = Callable[[Message, Any], bool]

#: Largest message body, in bytes, that is sent or accepted by default.
MAX_MESSAGE_SIZE = 128 * 1024 * 1024


def has_parent_authority(msg: Message, stream: Stream | None = None) -> bool:
    """Policy for `Router.add_handler`: the message acts with the authority of a parent context.

    True for messages from a parent, from contexts acting for one, and from this context itself.
    """
    router = msg.router
    return router is not None and (msg.auth_id == router.context_id or msg.auth_id in router.parent_ids)


class _Entry:
    """One registered handler."""

    __slots__ = ("fn", "persist", "respondent", "policy")

    def __init__(
        self, fn: Handler, persist: bool, respondent: Context | None, policy: Policy | None
    ) -> None:
        self.fn = fn
        self.persist = persist
        self.respondent = respondent
        self.policy = policy


class Router:
    """Route messages between this context, its parent and its children.

    :param broker: the broker whose thread serves the links.
    :param context_id: id of this context.
    :param parent_ids: ids of the contexts above it, nearest first.
    :param max_message_size: largest message body, in bytes, that is sent or accepted.
    :param unidirectional: let children talk to this context and its parents only.
    """

    def __init__(
        self,
        broker: Broker,
        context_id: int = 0,
        parent_ids: Iterable[int] = (),
        max_message_size: int | None = None,
        unidirectional: bool = False,
    ) -> None:
        self.broker = broker
        self.context_id = context_id
        self.max_message_size = max_message_size or MAX_MESSAGE_SIZE
        self.table = RoutingTable(context_id, parent_ids, self.max_message_size, unidirectional)
        self.parent_ids = self.table.parent_ids
        self._handlers: dict[int, _Entry] = {}
        self._next_handle = count(handles.FIRST_DYNAMIC_HANDLE).__next__
        #: Contexts that fire `disconnect` when their route goes.
        self._contexts: dict[int, Context] = {}
        self._last_complaint = 0.0
        self._closed = False
        listen(broker, "exit", self._on_broker_exit)

    @property
    def unidirectional(self) -> bool:
        """True if children may talk to this context and its parents only."""
        return self.table.unidirectional

    @unidirectional.setter
    def unidirectional(self, value: bool) -> None:
        self.table.unidirectional = value

    def make_context(self, context_id: int, name: str | None = None) -> Context:
        """Return a new reference to a context, of the class that this router works with."""
        return Context(self, context_id, name)

    def myself(self) -> Context:
        """Return a reference to this context."""
        return self.make_context(self.context_id, "self")

    # -- Links and routes; broker thread -------------------------------------------------------

    def stream_by_id(self, dst_id: int) -> Stream | None:
        """Return the stream that messages for `dst_id` take: a known route's, else the parent's.

        Any thread. None if there is neither, or `dst_id` is this context.
        """
        link: Any = self.table.link_to(dst_id)
        return link if dst_id != self.context_id else None

    def add_route(self, target_id: int, via_id: int) -> None:
        """Forward messages for `target_id` on the link that leads to `via_id`. Broker thread only.

        :raises Error: there is no link to `via_id`.
        """
        stream = self.stream_by_id(via_id)
        if stream is None:
            raise Error("can't route context %d via %d: no link leads there", target_id, via_id)
        self.table.add(target_id, stream)

    def register(self, context: Context, stream: Stream) -> None:
        """Make `stream` the link to `context`, and start receiving from it. Any thread.

        `context` fires `disconnect` when the link, or the route, is gone.
        """
        self.broker.defer(self._register, context, stream)

    def _register(self, context: Context, stream: Stream) -> None:
        self.add_link(context, stream)
        self.broker._start_receive(stream)

    def add_link(self, context: Context, stream: Stream) -> None:
        """Make `stream` the link to `context`, ready to send on. Broker thread only."""
        if context.context_id in self.parent_ids:
            self.table.parent_link = stream
        else:
            self.table.add(context.context_id, stream)
        self._contexts[context.context_id] = context
        listen(stream, "disconnect", lambda: self._on_stream_disconnect(stream))

    def _on_stream_disconnect(self, stream: Stream) -> None:
        self._lose(self.table.remove_link(stream), stream.reason or "%s is gone" % stream.name)

    def _lose(self, context_ids: list[int], reason: str) -> None:
        """End every wait on contexts that can't be reached any more."""
        gone = set(context_ids)
        for handle, entry in list(self._handlers.items()):
            if entry.respondent is not None and entry.respondent.context_id in gone:
                self._handlers.pop(handle, None)
                self._deliver_dead(handle, entry, reason)
        for context_id in context_ids:
            context = self._contexts.pop(context_id, None)
            if context is not None:
                context.reason = reason
                fire(context, "disconnect")

    def _deliver_dead(self, handle: int, entry: _Entry, reason: str) -> None:
        msg = Message.dead(reason, handle=handle, src_id=self.context_id, auth_id=self.context_id)
        msg.router = self
        self._run(entry, msg)

    def _on_broker_exit(self) -> None:
        self._closed = True
        fire(self, "shutdown")
        while self._handlers:
            handle, entry = self._handlers.popitem()
            self._deliver_dead(handle, entry, "the router of context %d shut down" % self.context_id)

    # -- Handlers; any thread ------------------------------------------------------------------

    def add_handler(
        self,
        fn: Handler,
        handle: int | None = None,
        persist: bool = True,
        respondent: Context | None = None,
        policy: Policy | None = None,
    ) -> int:
        """Call ``fn(msg)`` on the broker thread for each message sent to `handle`.

        :param handle: the handle; None takes an unused one.
        :param persist: False unregisters the handler with the first message.
        :param respondent: the context that messages are expected from. When it can't be reached any
            more, `fn` gets a dead message and is unregistered.
        :param policy: called as ``policy(msg, stream)``; unless it returns True the message is not
            delivered, which is logged, and told to a sender that asked for a reply with a `CallError`.
        :returns: the handle.
        :raises Error: the handle is in use.
        """
        if handle is None:
            handle = self._next_handle()
        elif handle in self._handlers:
            raise Error("handle %d is in use in context %d", handle, self.context_id)
        entry = self._handlers[handle] = _Entry(fn, persist, respondent, policy)
        gone = self._closed or (
            respondent is not None
            and self.table.link_to(respondent.context_id) is None
            and respondent.context_id != self.context_id
        )
        # Registered too late to be told by whoever ended, or just in time: only one removes it.
        if gone and self._handlers.pop(handle, None) is entry:
            reason = self.broker.dead_reason or "the router has shut down"
            if respondent is not None:
                reason = respondent.reason or "context %s is not connected" % respondent.name
            self._deliver_dead(handle, entry, reason)
        return handle

    def del_handler(self, handle: int) -> None:
        """Unregister a handle.

        :raises KeyError: it is not registered.
        """
        del self._handlers[handle]

    def discard_handler(self, handle: int, fn: Handler) -> None:
        """Unregister a handle if it still belongs to `fn`."""
        entry = self._handlers.get(handle)
        if entry is not None and entry.fn == fn:
            self._handlers.pop(handle, None)

    # -- Messages ------------------------------------------------------------------------------

    def route(self, msg: Message) -> None:
        """Send `msg`, made in this context, on its way. Any thread; never blocks.

        A message that has no route is answered with a dead message if it asked for a reply.

        :raises ChannelError: the broker has ended.
        :raises Error: the message is larger than `max_message_size`.
        """
        if self.broker.dead_reason:
            raise ChannelError("%s", self.broker.dead_reason)
        self._async_route(msg)

    def _async_route(self, msg: Message, stream: Stream | None = None) -> None:
        """Act on a message, as `routing` decides.

        :param stream: the stream that it arrived on, whose claims are then verified; broker thread only.
            None for a message made in this context.
        """
        decision = self.table.decide(msg.dst_id, msg.src_id, msg.auth_id, msg.size(), stream)
        if decision is DELIVER:
            if stream is None:
                self.broker.defer(self._dispatch, msg, None)
            else:
                self._dispatch(msg, stream)
            return
        link: Any = decision.link
        if link is not None:
            if not link.send(msg):
                self._refuse(msg, link.reason)
            return
        reason = self.table.explain(decision.refusal, msg.dst_id, msg.src_id)  # type: ignore[arg-type]
        if stream is not None:
            self._complain("refused %r from %s: %s", msg, stream.name, reason)
        elif decision.refusal is TOO_LARGE:
            raise Error("%s: it has %d", reason, msg.size())
        if decision.refusal is not SPOOFED:
            self._refuse(msg, reason)

    def _complain(self, fmt: str, *args: object) -> None:
        """Warn about what a peer sent, at most once a second: a hostile one could fill a disk."""
        now = monotonic()
        if now - self._last_complaint >= 1.0:
            self._last_complaint = now
            logs.log(logs.WARNING, fmt, *args)

    def _refuse(self, msg: Message, reason: str) -> None:
        """Answer a message that goes no further. A dead message is never answered."""
        if msg.reply_to and not msg.is_dead:
            here = self.context_id
            self.route(
                Message.dead(reason, dst_id=msg.src_id, src_id=here, auth_id=here, handle=msg.reply_to)
            )

    def _dispatch(self, msg: Message, stream: Stream | None) -> None:
        """Hand `msg` to its handler. Broker thread only."""
        handle = msg.handle
        msg.router = self
        entry = self._handlers.get(handle)
        if entry is None:
            self._refuse(msg, "context %d has no handle %d" % (self.context_id, handle))
            return
        if entry.policy is not None and not entry.policy(msg, stream):
            self._complain("handle %d refused %r by policy", handle, msg)
            if not msg.is_dead:
                text = "context %d refused the message to handle %d by its policy" % (
                    self.context_id,
                    handle,
                )
                msg.reply(CallError("mitogen.core.Error", text))
            return
        if not entry.persist and self._handlers.pop(handle, None) is not entry:
            return
        self._run(entry, msg)

    def _run(self, entry: _Entry, msg: Message) -> None:
        try:
            entry.fn(msg)
        except Exception:
            logs.log_exception("the handler %r failed on %r", entry.fn, msg)
