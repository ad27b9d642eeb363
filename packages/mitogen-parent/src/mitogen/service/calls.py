"""Calling services of other contexts: `call_service_async`, `tell_service`.

A context that never had to do with services has no pool. Whoever has authority there sees to that with
its first call: it asks for a pool, in a way that does not wait for the calls that run there, and the call
and those that follow wait in a `_Gate` meanwhile. So no caller blocks, and calls keep their order. A
parent or a sibling is not asked: it has a pool, or the call is refused.
"""

from __future__ import annotations

from _thread import allocate_lock

from mitogen.core import handles, serialization
from mitogen.core.errors import CallError, ChannelError, Error, TimeoutError
from mitogen.core.message import Message, make
from mitogen.core.receiver import Receiver
from mitogen.parent.callchain import Aside, note_senders
from mitogen.service.pool import get_or_create_pool, start_pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Union

    from mitogen.core.context import Context
    from mitogen.core.router import Router
    from mitogen.service.base import Service

    ServiceName = Union[str, type[Service]]

_making = allocate_lock()


class _Gate:
    """Holds back the calls of one context's services until there is a pool, or can't be one."""

    def __init__(self, router: Router, context: Context) -> None:
        self._router = router
        self._context_id = context.context_id
        self._lock = allocate_lock()
        self._waiting: list[Message] | None = []

    def start(self, context: Context) -> None:
        """Ask for a pool."""
        if self._context_id == self._router.context_id:
            get_or_create_pool(self._router)
        elif self._context_id not in self._router.parent_ids:
            call = Aside(context).call_async(start_pool)
            call.notify = self._on_started
            if not call.empty():
                self._on_started(call)
            return
        self._open(None)

    def _on_started(self, call: Receiver) -> None:
        try:
            found = call.get(block=False, throw_dead=False).unpickle(throw=False)
        except (ChannelError, TimeoutError):
            return  # Noticed twice.
        if isinstance(found, CallError) and found.type_name == "mitogen.core.Error":
            found = None  # Refused: it may have a pool nevertheless, and says so itself if not.
        self._open(found)

    def _open(self, error: Error | None) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    # Ask again the next time if it failed.
                    self._waiting = None if error is None else []
                    return
                msg = self._waiting.pop(0)
            if error is None:
                self._router.route(msg)
            else:
                self._fail(msg, error)

    def _fail(self, msg: Message, error: Error) -> None:
        here = self._router.context_id
        reply = Message.dead(str(error), dst_id=here, src_id=here, auth_id=here, handle=msg.reply_to)
        if isinstance(error, CallError):
            reply = make(here, here, here, msg.reply_to, 0, serialization.dumps(error))
        self._router.broker.defer(self._router._dispatch, reply, None)

    def send(self, msg: Message, context: Context) -> None:
        """Send a call, now or once there is a pool."""
        with self._lock:
            is_first = self._waiting == []
            if self._waiting is not None:
                self._waiting.append(msg)
                if not is_first:
                    return
        if is_first:
            self.start(context)
        else:
            self._router.route(msg)


def _send(
    context: Context, service: ServiceName, method: str, kwargs: dict[str, Any], reply_to: int
) -> None:
    router = context._router()
    name = service if isinstance(service, str) else service.name()
    body = serialization.dumps((name, method, kwargs), "call")
    note_senders(kwargs.values(), context)
    with _making:
        gate = context.__dict__.get("service_gate")
        if gate is None:
            gate = context.service_gate = _Gate(router, context)  # type: ignore[attr-defined]
    here = router.context_id
    gate.send(make(context.context_id, here, here, handles.CALL_SERVICE, reply_to, body), context)


def call_service_async(
    context: Context, service: ServiceName, method: str, kwargs: dict[str, Any]
) -> Receiver:
    """Do what `mitogen.parent.Context.call_service_async` says."""
    receiver = Receiver(context._router(), None, False, context)
    try:
        _send(context, service, method, kwargs, receiver.handle)
    except BaseException:
        receiver.close()
        raise
    return receiver


def tell_service(context: Context, service: ServiceName, method: str, **kwargs: Any) -> None:
    """Call a method of a service without asking for its result. What it raises is logged there."""
    _send(context, service, method, kwargs, 0)
