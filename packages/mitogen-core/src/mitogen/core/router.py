"""Messages between links and handlers: `Router`.

Owns the handlers of this context and carries out what `routing` decides. Links are `Stream`s. Messages
arrive on the broker thread (`_receive`), or are sent by any thread (`route`); handlers always run on the
broker thread, so they must not block.

Every message has exactly one outcome: delivered to a handler, handed to a link, or refused. A refused
message that asked for a reply is answered with a dead message that says why, so that nobody waits for
ever; a message that lies about its sender is dropped and logged, since there is nobody to answer.
"""

from __future__ import annotations

from _thread import get_ident
from _weakref import ref
from itertools import count
from time import monotonic

from mitogen.core import handles, logs
from mitogen.core.context import Context
from mitogen.core.errors import CallError, ChannelError, Error
from mitogen.core.message import Message
from mitogen.core.routing import DELIVER, SPOOFED, TOO_LARGE, Refusal, RoutingTable
from mitogen.core.signals import fire, listen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Union

    from mitogen.core.broker import Broker
    from mitogen.core.child import ExternalContext
    from mitogen.core.stream import Stream

    Handler = Callable[[Message], object]
    Policy = Callable[[Message, Any], bool]
    #: A registered handler: what to call, whether to keep it, the respondent, and the policy.
    Entry = tuple[Handler, bool, Union[Context, None], Union[Policy, None]]

#: Largest message body, in bytes, that is sent or accepted by default.
MAX_MESSAGE_SIZE = 1 << 27
#: Bytes queued on a link from which on senders wait, by default.
HIGH_WATER_MARK = 1 << 22

_CLOSED = "the router has shut down"


def has_parent_authority(msg: Message, stream: Stream | None = None) -> bool:
    """Policy for `Router.add_handler`: the message acts with the authority of a parent context.

    True for messages from a parent, from contexts acting for one, and from this context itself.
    """
    router = msg.router
    return router is not None and (msg.auth_id == router.context_id or msg.auth_id in router.parent_ids)


class Router:
    """Route messages between this context, its parent and its children.

    :param broker: the broker whose thread serves the links.
    :param context_id: id of this context.
    :param parent_ids: ids of the contexts above it, nearest first.
    :param max_message_size: largest message body, in bytes, that is sent or accepted.
    :param unidirectional: let children talk to this context and its parents only.
    :ivar table: the routes that are known; replaced once this context gets children.
    :ivar high_water_mark: bytes queued on a link from which on threads that send on it wait, and links
        whose messages are forwarded on it are not read; 4 MiB by default.
    """

    #: In a child, what it consists of.
    econtext: ExternalContext
    hold_back: Callable[[Stream, Message, Stream | None, float | None], None]
    #: What makes the `sleep` of latches for answers: see `mitogen.core.leading`.
    lead: Any = None
    #: What `make_context` makes.
    context_class = Context
    table_class = RoutingTable

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
        self.unidirectional = unidirectional
        self.high_water_mark = HIGH_WATER_MARK
        self.table: Any = self.table_class(context_id, parent_ids, self.max_message_size)
        self.parent_ids = self.table.parent_ids
        self._handlers: dict[int, Entry] = {}
        self._next_handle = count(handles.FIRST_DYNAMIC_HANDLE).__next__
        #: References to the contexts that somebody here refers to.
        self._contexts: dict[int, ref[Context]] = {}
        self._last_complaint = 0.0
        self._closed = False
        listen(broker, "exit", self._on_broker_exit)

    def make_context(self, context_id: int, name: str | None = None) -> Context:
        """Return the reference to a context: the one that is in use already, or a new one. Any thread.

        There is one for each context, so that all of its users learn of its end.
        """
        context: Any = self._contexts.get(context_id, bool)()
        if not context:
            context = self.context_class(self, context_id, name)
            self._keep(context)
        return context  # type: ignore[no-any-return]

    def _keep(self, context: Context) -> None:
        """Have `context` told of its end, as long as somebody uses it."""
        context_id = context.context_id
        contexts = self._contexts

        contexts[context_id] = ref(
            context, lambda gone: contexts.get(context_id) is gone and contexts.pop(context_id)
        )

    def __getattr__(self, name: str) -> Any:
        """Find what only contexts with children need, and turn this one into such a context."""
        if name[0] == "_":
            raise AttributeError(name)
        # Outside the bundle: few children have children.
        from mitogen.core.upgrade import find

        return find(self, name)

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
        self.table.add(target_id, self.stream_by_id(via_id), via_id)

    def register(self, context: Context, stream: Stream) -> None:
        """Make `stream` the link to `context`, and start receiving from it. Any thread.

        `context` fires `disconnect` when the link, or the route, is gone.
        """
        self.broker.defer(self.add_link, context, stream)
        self.broker.start_receive(stream)

    def add_link(self, context: Context, stream: Stream) -> None:
        """Make `stream` the link to `context`, ready to send on. Broker thread only."""
        if context.context_id in self.parent_ids:
            self.table.parent_link = stream
        else:
            self.table.add(context.context_id, stream)
        self._keep(context)
        stream.since = monotonic()
        # The reference is to live as long as the link.
        listen(stream, "disconnect", lambda: self._on_stream_disconnect(stream, context))

    def _on_stream_disconnect(self, stream: Stream, context: Context) -> None:
        was_parent = stream is self.table.parent_link
        self.lose(self.table.remove_link(stream), stream.reason or "%r is gone" % context, was_parent)

    def lose(self, context_ids: list[int], reason: str, and_others: bool = False) -> None:
        """End every wait on contexts that are gone. Broker thread only. Fires `lost`.

        :param and_others: also on all that no link leads to any more.
        """
        gone = set(context_ids)

        def is_lost(context_id: int) -> bool:
            return context_id in gone or (and_others and not self.table.reaches(context_id))

        lost = []
        # Many contexts may end one by one: what each of them takes must not grow with their number.
        for context_id in list(self._contexts) if and_others else context_ids:
            context: Any = self._contexts.get(context_id, bool)()
            if context and is_lost(context_id):
                # First, for whoever is woken below and tries again at once.
                context.reason = reason
                lost.append(context)
        for handle, (_, _, respondent, _) in list(self._handlers.items()):
            if respondent and is_lost(respondent.context_id):
                self._end_handler(handle, reason)
        for context in lost:
            fire(context, "disconnect")
        fire(self, "lost", context_ids, reason)

    def _end_handler(self, handle: int, reason: str) -> None:
        """Unregister a handle and tell its handler, unless somebody else just did."""
        entry = self._handlers.pop(handle, None)
        if entry is not None:
            msg = self._dead(reason, self.context_id, handle)
            msg.router = self
            logs.attempt(entry[0], entry[0], msg)

    def _dead(self, reason: str, dst_id: int, handle: int) -> Message:
        here = self.context_id
        return Message.dead(reason, dst_id=dst_id, src_id=here, auth_id=here, handle=handle)

    def _on_broker_exit(self) -> None:
        self._closed = True
        fire(self, "shutdown")
        for handle in list(self._handlers):
            self._end_handler(handle, _CLOSED)

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
        :param respondent: the context that messages are expected from. Those of others are dropped and
            logged. When it can't be reached any more, `fn` gets a dead message and is unregistered.
        :param policy: called as ``policy(msg, stream)``; unless it returns True the message is not
            delivered, which is logged, and told to a sender that asked for a reply with a `CallError`.
        :returns: the handle.
        :raises Error: the handle is in use.
        """
        if handle is None:
            handle = self._next_handle()
            while handle in self._handlers:
                handle = self._next_handle()
        elif handle in self._handlers:
            raise Error("handle %d is in use in context %d", handle, self.context_id)
        self._handlers[handle] = fn, persist, respondent, policy
        # Registered too late to be told by whoever ended, or just in time.
        if self._closed:
            self._end_handler(handle, _CLOSED)
        elif respondent and (respondent.reason or not self.table.reaches(respondent.context_id)):
            # By the thread that may be about to write down the reason.
            self.broker.defer(
                lambda: self._end_handler(handle, respondent.reason or "%r is not connected" % respondent)
            )
        return handle

    def del_handler(self, handle: int) -> None:
        """Unregister a handle.

        :raises KeyError: it is not registered.
        """
        del self._handlers[handle]

    # -- Messages ------------------------------------------------------------------------------

    def route(self, msg: Message, timeout: float | None = None) -> None:
        """Send `msg`, made in this context, on its way. Any thread.

        Waits while more than `high_water_mark` bytes are queued on its link; but never on the broker
        thread, nor with a message that keeps the tree in order: a dead one, or one to a standard handle
        other than those of calls and logs.

        A message that has no route is answered with a dead message if it asked for a reply.

        :param timeout: seconds to wait at most.
        :raises ChannelError: the broker has ended.
        :raises Error: the message is larger than `max_message_size`.
        :raises TimeoutError: the time passed; the message was not sent.
        """
        if self.broker.dead_reason:
            raise ChannelError("%s", self.broker.dead_reason)
        self._async_route(msg, None, timeout)

    def _async_route(
        self, msg: Message, stream: Stream | None = None, timeout: float | None = None
    ) -> None:
        """Act on a message, as `routing` decides.

        :param stream: the stream that it arrived on, whose claims are then verified; broker thread only.
            None for a message made in this context.
        """
        out: Any = self.table.decide(
            msg.dst_id, msg.src_id, msg.auth_id, msg.size(), stream, self.unidirectional, msg.reply_to
        )
        if out is DELIVER:
            if stream:
                self._dispatch(msg, stream)
            else:
                self.broker.defer(self._dispatch, msg, None)
        elif type(out) is Refusal:
            reason = self.table.explain(out, msg.dst_id, msg.src_id)
            if stream:
                self._complain("refused %r from %s: %s", msg, stream.name, reason)
            elif out is TOO_LARGE:
                raise Error("%s: it has %d", reason, msg.size())
            if out is not SPOOFED:
                self._refuse(msg, reason)
        else:
            if out.queued and (
                stream
                or (
                    out.queued > self.high_water_mark
                    and msg.handle != handles.GET_MODULE
                    and get_ident() != self.broker._thread_id
                )
            ):
                # Outside the bundle, as most links are never full: see `mitogen.core.pressure`. So
                # neither what asks for it may wait for it, nor the thread that receives it. One link may
                # have brought enough for another long before that is full.
                self.hold_back(out, msg, stream, timeout)
            if not out.send(msg):
                self._refuse(msg, out.reason)

    def _complain(self, fmt: str, *args: object) -> None:
        """Warn about what a peer sent, at most once a second: a hostile one could fill a disk."""
        now = monotonic()
        if now - self._last_complaint >= 1.0:
            self._last_complaint = now
            logs.log(logs.WARNING, fmt, *args)

    def _refuse(self, msg: Message, reason: str) -> None:
        """Answer a message that goes no further. A dead message is never answered."""
        if msg.reply_to and not msg.is_dead:
            self.route(self._dead(reason, msg.src_id, msg.reply_to))

    def _dispatch(self, msg: Message, stream: Stream | None) -> None:
        """Hand `msg` to its handler. Broker thread only."""
        handle = msg.handle
        msg.router = self
        entry = self._handlers.get(handle)
        if entry is None:
            if handle:  # Any but NOTICE.
                self._refuse(msg, "context %d has no handle %d" % (self.context_id, handle))
            return
        fn, persist, respondent, policy = entry
        is_expected = (
            not (stream and respondent)
            or msg.src_id == respondent.context_id
            # Whoever could not pass on what was asked says so in its own name; on the way to a parent,
            # that can only be another one.
            or (
                msg.is_dead
                and stream is self.table.link_to(respondent.context_id)
                and (msg.src_id in self.parent_ids) >= (respondent.context_id in self.parent_ids)
            )
        )
        if not is_expected or (policy and not logs.attempt(policy, policy, msg, stream)):
            text = "handle %d of context %d refused %r by its policy" % (handle, self.context_id, msg)
            self._complain("%s", text)
            msg.reply(CallError("mitogen.core.Error", text))
        elif persist or self._handlers.pop(handle, None) is entry:
            try:
                fn(msg)
            except Exception:
                logs.log_exception("%s failed", fn)
                self._refuse(msg, "its handler failed")
