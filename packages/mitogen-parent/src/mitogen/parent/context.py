"""A context that can be called: `Context`, for masters and for children that start others."""

from __future__ import annotations

import mitogen.core
from mitogen.core import handles
from mitogen.core.errors import Error
from mitogen.core.latch import Latch
from mitogen.core.message import Message
from mitogen.core.opening import OpenedChannel, serve
from mitogen.core.signals import listen
from mitogen.core.stats import stats
from mitogen.core.targets import allow_calls
from mitogen.parent.callchain import Aside, CallChain, function_path, unwrapped
from mitogen.parent.childstart import ChildStart
from mitogen.parent.requests import end_here

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike
    from typing import Any, Concatenate, ParamSpec, TypeVar, Union

    from mitogen.core.channel import Channel
    from mitogen.core.receiver import Receiver
    from mitogen.core.router import Router as CoreRouter
    from mitogen.parent.connection import Connection
    from mitogen.parent.options import Options
    from mitogen.parent.starter import Starter
    from mitogen.service.base import Service

    P = ParamSpec("P")
    T = TypeVar("T")
    Path = Union[str, bytes, PathLike[str]]


class Context(mitogen.core.Context):
    """A context whose functions can be called. Any thread may use it.

    :ivar default_call_chain: the `CallChain`, not pipelined and without a time-out, that `call`,
        `call_async` and `call_no_reply` use.
    :ivar python_version: version of its interpreter, as in ``(3, 11, 7)``, where this process started it.
    :ivar via: the context that started it at the request of this process.
    """

    python_version: tuple[int, ...] | None = None
    via: Context | None = None
    #: It was forked from this process, so it has the program's `__main__` as it is.
    _is_copy = False

    def __init__(self, router: CoreRouter | None, context_id: int, name: str | None = None) -> None:
        mitogen.core.Context.__init__(self, router, context_id, name)
        if router is not None:
            self.default_call_chain = CallChain(self)

    def call_async(self, fn: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> Receiver:
        """See `CallChain.call_async`."""
        return self.default_call_chain.call_async(fn, *args, **kwargs)

    def call(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See `CallChain.call`."""
        return self.default_call_chain.call(fn, *args, **kwargs)

    def call_no_reply(self, fn: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """See `CallChain.call_no_reply`."""
        self.default_call_chain.call_no_reply(fn, *args, **kwargs)

    def open_channel(
        self, fn: Callable[Concatenate[Channel, P], object], *args: P.args, **kwargs: P.kwargs
    ) -> OpenedChannel:
        """Call ``fn(channel, *args, **kwargs)`` in the context, and return the other end of `channel`.

        Both ends send and receive, at once and until one is closed, the function ends, or a context is
        gone; then waits on either end fail with `ChannelError` and the reason. It is a call like any
        other, so others wait for its end; `OpenedChannel.result` waits for it, too.

        :raises SerializationError: an argument can't be sent.
        :raises TypeError: `fn` can't be found by name in another context.
        """
        channel = OpenedChannel(self._router(), self)
        try:
            target: tuple[Any, ...] = unwrapped(fn, args, kwargs)
            target = (channel.to_sender(), *function_path(target[0], self), *target[1:])
            channel.begin(self.call_async(serve, *target))
        except BaseException:
            channel.close()
            raise
        return channel

    def call_aside(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `call`, but run `fn` in a thread of its own, whatever else the context runs meanwhile.

        For looking into a context that is busy. Such a call can't be interrupted.
        """
        return Aside(self).call(fn, *args, **kwargs)

    def call_service_async(
        self, service_name: str | type[Service], method_name: str, **kwargs: Any
    ) -> Receiver:
        """Call a method of a service in the context, and return a `Receiver` for its result at once.

        :param service_name: the service: module and class with a dot between, or the class itself. A
            context below this one imports it if need be; elsewhere it has to be registered.
        :param kwargs: the arguments, by their names.
        :raises SerializationError: an argument can't be sent.
        """
        # Outside the parent half: few programs use services.
        from mitogen.service.calls import call_service_async

        return call_service_async(self, service_name, method_name, kwargs)

    def call_service(self, service_name: str | type[Service], method_name: str, **kwargs: Any) -> Any:
        """Call a method of a service in the context, and return its result.

        For the parameters see `call_service_async`.

        :raises CallError: the method raised, or may not be called by this context.
        :raises ChannelError: the context is gone, or has no services.
        :raises SerializationError: an argument can't be sent.
        """
        return self.call_service_async(service_name, method_name, **kwargs).get_data()

    def put(
        self,
        local_path: Path,
        remote_path: Path,
        progress: Callable[[int, int, float], object] | None = None,
    ) -> None:
        """Copy a file or a folder tree to the context, which may be busy with calls.

        Each file appears under its name once it is complete, verified and on the disk. Its mode (without
        set-user-id and set-group-id) and times are kept; the owner is who runs the context. Symbolic
        links in a tree are copied as links. What is no file, folder or link is left out, with a warning.
        What is in the folder besides stays. A copy that ended early, made again, goes on where it was.

        To many contexts at once: `mitogen.parent.copying.put`.

        :param local_path: a file or a folder.
        :param remote_path: the path of its copy, in a folder that exists.
        :param progress: None, or called as ``progress(done, total, rate)`` some times a second in this
            thread: bytes, and bytes per second.
        :raises CopyError: it could not be written, or the context is gone: see `mitogen.parent.copying`.
        :raises OSError: it can't be read.
        :raises Error: it is no file or folder, or changed while it was copied.
        """
        # Outside the parent half: few programs copy files.
        from mitogen.parent.copying.origin import put

        put([self], local_path, remote_path, progress)

    def get(
        self,
        remote_path: Path,
        local_path: Path,
        progress: Callable[[int, int, float], object] | None = None,
    ) -> None:
        """Copy a file or a folder tree from the context, in the same way as `put`.

        The context is not trusted: nothing is written but `local_path` and what is below it.

        :raises CopyError: it can't be read, changed meanwhile, or the context is gone.
        :raises OSError: it can't be written.
        """
        from mitogen.parent.copying.origin import get

        get(self, remote_path, local_path, progress)

    def start_child(self, cls: type[Connection], options: Options) -> Context:
        """Have the context start another one: what the factories do with `via`.

        :param cls: the connection class of the transport, which travels there like any other code.
        :param options: what was asked for.
        :raises StreamError: it could not be started, or did not come up in time.
        """
        start = ChildStart(self, cls, options)
        try:
            return start.child(start.begin().get(start.timeout))
        except BaseException as e:
            raise start.error(e) from None

    def shutdown(self, wait: bool = False) -> Latch | None:
        """Ask the context to finish its calls and go. A hung one is ended by force: its running call is
        interrupted after its grace period, and its process gets SIGTERM, then SIGKILL.

        :param wait: return once the context has ended.
        :returns: a `Latch` that gets None when the context has ended; None if `wait` is set.
        :raises ChannelError: the broker has ended, and the context with it.
        """
        ended = Latch()
        router: Any = self._router()
        if self.via is not None:
            receiver = Aside(self.via).call_async(end_here, self.context_id)
            # Whatever the answer is: also with the one that asked, all that it started is gone.
            receiver.notify = lambda receiver: ended.put(None)
            if not receiver.empty():
                ended.put(None)
        else:
            router.broker.defer_sync(lambda: self._end(router.starter, ended))
        if wait:
            ended.get()
            return None
        return ended

    def _end(self, starter: Starter, ended: Latch) -> None:
        try:
            starter.end_context(self.context_id, ended.put)
        except Error:
            # Somebody else started it. It has our authority to go, and the routes tell when it went.
            listen(self, "disconnect", ended.put)
            if self.reason:
                ended.put(None)
            self.send_shutdown(now=False)

    def allow_calls_from(self, other: Context) -> None:
        """Let another context call functions in this one, as its parents may, until it ends.

        :param other: any context of the tree. Whoever controls it controls this one from then on.
        :raises ChannelError: the context is gone.
        """
        self.call(allow_calls, other.context_id)

    def stats(self) -> dict[str, Any]:
        """Return the figures of the context's router, also while it is busy: see `Router.stats`.

        :raises ChannelError: the context is gone.
        """
        return self.call_aside(stats)

    def send_shutdown(self, now: bool) -> None:
        """Send the SHUTDOWN message alone.

        :param now: do not let it finish what it runs.
        """
        self.send(Message(handle=handles.SHUTDOWN, data=b"now" if now else b""))
