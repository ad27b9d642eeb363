"""The threads that run the calls of services: `Pool`, one for a router at most.

The broker thread queues what arrives on CALL_SERVICE, ``(service name, method name, kwargs)``. Worker
threads follow one leader: whoever has `_turn` waits for the next call, decodes it and hands it to the
invoker of its service, in the order of arrival, and only then lets the next one lead and runs it. So an
invoker that serializes can rely on the order, and large arguments are not decoded by the broker thread.
Threads are started as they are needed.

A parent may call a service that nobody registered: it is then imported and made (`_Opening`). For any
other caller it does not exist, since whoever names a module to import runs its code.

A child in other hands could ask without end, and read no answer. So each link to a child has a share of
the threads, and a limit of calls that wait; parents have none.

Rejected: a thread for each call (a flood of them has no bound); calls in the main thread (a service is
there for calls that come while that is busy).
"""

from __future__ import annotations

import sys
from _thread import RLock, allocate_lock, start_new_thread
from collections import deque
from functools import partial

from mitogen.core import handles, logs
from mitogen.core.errors import Error, LatchError, TimeoutError, cut, text_of
from mitogen.core.latch import Latch
from mitogen.core.router import has_parent_authority
from mitogen.core.signals import listen
from mitogen.core.targets import takes_router
from mitogen.service.base import Service
from mitogen.service.invokers import Call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from mitogen.core.message import Message
    from mitogen.core.router import Router
    from mitogen.core.stream import Stream
    from mitogen.service.invokers import Invoker

#: Threads of a pool, by default.
SIZE = 16
#: Calls of one child, and of all behind it, that may wait for their turn.
MAX_WAITING = 1000

_making = allocate_lock()


class _Share:
    """What one link to a child may take of the pool."""

    def __init__(self) -> None:
        self.running = 0
        self.waiting: deque[Message] = deque()


class _Opening:
    """Stands in for the invoker of a service that is being imported, and keeps its calls."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.calls: list[Call] = []

    def take(self, call: Call) -> bool:
        """Keep a call; the thread of the first one imports the service."""
        self.calls.append(call)
        return len(self.calls) == 1

    def run(self, call: Call) -> None:
        """Import the service, and have the calls handed over."""
        self._pool.open(call.service, self)


class Pool:
    """Run services of this context, each call in one of several threads.

    Ends with the router. Other contexts call with `mitogen.parent.Context.call_service`.

    :param router: the router of this context; it has no other pool.
    :param services: services to register at first.
    :param size: threads at most.
    :raises Error: the router has a pool, or two services have one name.
    """

    def __init__(self, router: Router, services: Iterable[Service] = (), size: int = SIZE) -> None:
        self.router = router
        self.size = size
        #: What the leader does next, and the call that it is done for, if any.
        self._jobs = Latch()
        #: Held by the leader: who waits for a job, and does it.
        self._turn = allocate_lock()
        #: Held while a service is made, which may look for another one.
        self._making = RLock()
        self._services: dict[str, Service] = {}
        #: For the leader alone.
        self._invokers: dict[str, Invoker | _Opening] = {}
        #: Guards what follows.
        self._lock = allocate_lock()
        self._shares: dict[Stream, _Share] = {}
        self._threads = self._free = 0
        self._ended = Latch()
        for service in services:
            self.add(service)
        router.add_handler(self._on_call, handles.CALL_SERVICE)
        router.__dict__["service_pool"] = self
        listen(router, "shutdown", self._stop)

    def __repr__(self) -> str:
        return "Pool(%s)" % ", ".join(sorted(self._services))

    def add(self, service: Service) -> None:
        """Register a service. Any thread.

        :raises Error: one of that name is registered.
        """
        with self._making:
            if service.name() in self._services:
                raise Error("service %s is registered already", service.name())
            self._services[service.name()] = service

    def get_service(self, service: str | type[Service]) -> Any:
        """Return the service of that name or class, which is imported and made if need be. Any thread.

        :raises Error: it is not a service.
        """
        name = service if isinstance(service, str) else service.name()
        with self._making:
            if name not in self._services:
                self._services[name] = _make(name, self.router)
            return self._services[name]

    # -- Broker thread -------------------------------------------------------------------------

    def _on_call(self, msg: Message) -> None:
        if msg.is_dead:
            return
        router = self.router
        link = router.stream_by_id(msg.src_id)
        if link is None or link is router.table.parent_link:
            self._put_call(Call(msg, int))
            return
        with self._lock:
            share = self._shares.setdefault(link, _Share())
            is_flood = len(share.waiting) >= MAX_WAITING
            may_run = share.running < max(1, self.size // 2)
            if may_run:
                share.running += 1
            elif not is_flood:
                share.waiting.append(msg)
        if may_run:
            self._put_call(Call(msg, partial(self._release, link)))
        elif is_flood:
            text = "%d calls of services by %s wait already" % (MAX_WAITING, link.name)
            router._complain("refused a call of a service: %s", text)
            router._refuse(msg, text)

    def _release(self, link: Stream) -> None:
        """Let the next call of `link` run, as one has ended. Any thread."""
        with self._lock:
            share = self._shares[link]
            msg = share.waiting.popleft() if share.waiting and not link.closed else None
            if msg is None:
                share.running -= 1
                if not share.running:
                    del self._shares[link]
        if msg is not None:
            self._put_call(Call(msg, partial(self._release, link)))

    def _put_call(self, call: Call) -> None:
        self._put(partial(self._enter, call), call)

    def _put(self, job: Callable[[], Callable[[], object]], call: Call | None = None) -> None:
        try:
            self._jobs.put((job, call))
        except LatchError:
            if call is not None:
                self._refuse(call)
            return
        with self._lock:
            if self._free or self._threads >= self.size:
                return
            self._threads += 1
        start_new_thread(self._work, ())

    def _refuse(self, call: Call) -> None:
        text = "the services of context %d have been stopped" % self.router.context_id
        logs.attempt("refusing a call", self.router._refuse, call.msg, text)
        call.end()

    # -- Workers -------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while True:
                run = self._next()
                logs.attempt("a call of a service", run)
        except LatchError:
            pass  # It has stopped.
        with self._lock:
            self._threads -= 1
            is_last = not self._threads
        if is_last:
            self._finish()

    def _next(self) -> Callable[[], object]:
        """Lead, once it is this thread's turn, and return what it shall run then."""
        with self._lock:
            self._free += 1
        try:
            with self._turn:
                job, _ = self._jobs.get()
                return job()  # type: ignore[no-any-return]
        finally:
            with self._lock:
                self._free -= 1
                is_needed = bool(not self._free and self._jobs._queue and self._threads < self.size)
                self._threads += is_needed
            if is_needed:
                start_new_thread(self._work, ())

    def _enter(self, call: Call) -> Callable[[], object]:
        """Hand a call to its service, and return what is to be run for it now. Leader."""
        try:
            call.unpickle()
            return self._hand_over(self._invoker_for(call), call)
        except BaseException as e:
            self.router._complain(
                "refused a call of a service by context %d: %s", call.msg.src_id, text_of(e)
            )
            # Not now: an answer may have to wait.
            return partial(call.fail, e)

    def _invoker_for(self, call: Call) -> Invoker | _Opening:
        name = call.service
        if name not in self._invokers:
            service = self._services.get(name)
            if service is not None:
                self._invokers[name] = service.invoker_class(service)
            elif has_parent_authority(call.msg):
                self._invokers[name] = _Opening(self)
            else:
                raise Error(
                    "context %d may not start service %s, and nobody registered it in context %d",
                    call.msg.auth_id,
                    cut(name, 200),
                    self.router.context_id,
                )
        return self._invokers[name]

    def _hand_over(self, invoker: Invoker | _Opening, call: Call) -> Callable[[], object]:
        if not isinstance(invoker, _Opening):
            service = invoker.service
            call.method = service.method_of(call.method_name, call.kwargs, call.msg)
            marks = getattr(type(service), call.method_name)
            call.wants_reply = not getattr(marks, "mitogen_no_reply", False)
        return partial(invoker.run, call) if invoker.take(call) else int

    def open(self, name: str, opening: _Opening) -> None:
        """Make a service that a parent called, and let it have the calls that wait for it."""
        error = None
        try:
            self.get_service(name)
        except BaseException as e:
            error = e
        self._put(partial(self._settle, name, opening, error))
        if self._jobs.closed:
            for call in opening.calls:
                self._refuse(call)

    def _settle(self, name: str, opening: _Opening, error: BaseException | None) -> Callable[[], object]:
        """Put the invoker in the place of `opening`. Leader: so those that waited come first."""
        del self._invokers[name]
        for call in opening.calls:
            if error is None:
                run = self._enter(call)
            else:
                run = partial(call.fail, error)
            self._put(partial(_same, run))
        return int

    # -- The end; any thread -------------------------------------------------------------------

    def stop(self, join: bool = True) -> None:
        """Take no more calls, and refuse those that wait. Those that run are finished.

        :param join: return once none runs. Not from a service, which would wait for itself.
        """
        self._stop()
        if join:
            self.join()

    def _stop(self) -> None:
        self.router._handlers.pop(handles.CALL_SERVICE, None)
        with self._lock:
            was_stopped = self._jobs.closed
            self._jobs.close()
            is_idle = not self._threads
            waiting = [Call(msg, int) for share in self._shares.values() for msg in share.waiting]
            for share in self._shares.values():
                share.waiting.clear()
        while self._jobs._queue:
            call = self._jobs._queue.popleft()[1]
            if call is not None:
                waiting.append(call)
        for call in waiting:
            self._refuse(call)
        if is_idle and not was_stopped:
            self._finish()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the pool has stopped and no call runs.

        :param timeout: seconds to wait at most.
        :raises TimeoutError: the time passed.
        """
        try:
            self._ended.get(timeout)
        except LatchError:
            return
        except TimeoutError:
            raise TimeoutError("calls of %r still run after %s seconds", self, timeout) from None

    def _finish(self) -> None:
        for service in list(self._services.values()):
            logs.attempt(service.on_shutdown, service.on_shutdown)
        self.router.__dict__.pop("service_pool", None)
        self._ended.close()


def _same(run: Callable[[], object]) -> Callable[[], object]:
    return run


def _make(name: str, router: Router) -> Service:
    """Import and make a service.

    :raises Error: it is not a service.
    """
    module, _, class_name = name.rpartition(".")
    if not module:
        raise Error("there is no service %r: its name is that of its module, a dot, and its class", name)
    __import__(module)
    cls = getattr(sys.modules[module], class_name, None)
    if not (isinstance(cls, type) and issubclass(cls, Service)):
        raise Error("%s is not a service, a subclass of mitogen.service.Service", name)
    return cls(router)


def get_or_create_pool(router: Router, size: int = SIZE) -> Pool:
    """Return the pool of a router, which is made by the first call. Any thread.

    :param size: threads at most, if it has to be made.
    """
    with _making:
        pool = router.__dict__.get("service_pool")
        return pool or Pool(router, size=size)


@takes_router
def start_pool(router: Router) -> None:
    """Have a pool in this context."""
    get_or_create_pool(router)
