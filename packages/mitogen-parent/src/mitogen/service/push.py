"""Files for whole trees, sent before they are asked for: `PushFileService`.

For small files that many contexts want: they are kept in memory by each context on the way, so that each
link carries a file once, however many are behind it. Large ones are for `mitogen.parent.copying`.
"""

from __future__ import annotations

import os
from _thread import allocate_lock

from mitogen.core.errors import Error, LatchError, TimeoutError
from mitogen.core.latch import Latch
from mitogen.service.base import Service, arg_spec, expose, no_reply
from mitogen.service.calls import tell_service
from mitogen.service.invokers import SerializedInvoker
from mitogen.service.policies import AllowParents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mitogen.core.context import Context
    from mitogen.core.router import Router


class PushFileService(Service):
    """Send files to other contexts, each once over each link.

    The program calls `propagate_to`, code in the other contexts `get`; both find the service with
    ``mitogen.service.get_or_create_pool(router).get_service(PushFileService)``.
    """

    #: The file comes before the news that yet another context wants it.
    invoker_class = SerializedInvoker

    def __init__(self, router: Router) -> None:
        Service.__init__(self, router)
        self._lock = allocate_lock()
        self._files: dict[str, bytes] = {}
        #: What was sent to which neighbour.
        self._sent: dict[tuple[int, str], bytes] = {}
        #: Closed once the file is there.
        self._arrivals: dict[str, Latch] = {}

    @classmethod
    def name(cls) -> str:
        """Return the documented address of the class."""
        return "mitogen.service." + cls.__qualname__

    def propagate_to(self, context: Context, path: str) -> None:
        """Send a file to a context below this one; return before it is there. Any thread.

        :raises OSError: it can't be read.
        :raises Error: there is no way to the context, or the file is larger than a message may be.
        """
        with open(path, "rb") as f:
            if os.fstat(f.fileno()).st_size > self.router.max_message_size - 65536:
                raise Error("%s is too large to be pushed: use Context.put()", path)
            self.store(path, f.read())
        self._forward(path, context.context_id)

    def store(self, path: str, data: bytes) -> None:
        """Have `get` return `data` for a path. Any thread."""
        with self._lock:
            if self._files.get(path) != data:
                self._files[path] = data
            arrival = self._arrivals.pop(path, None)
        if arrival is not None:
            arrival.close()

    def get(self, path: str, timeout: float | None = None) -> bytes:
        """Return the content of a file that was, or will be, sent here by that path. Any thread.

        :param timeout: seconds to wait at most.
        :raises TimeoutError: the time passed.
        """
        with self._lock:
            if path in self._files:
                return self._files[path]
            arrival = self._arrivals.setdefault(path, Latch())
        try:
            arrival.get(timeout)
        except LatchError:
            pass
        except TimeoutError:
            raise TimeoutError("nobody sent %r to context %d", path, self.router.context_id) from None
        with self._lock:
            if path not in self._files:
                raise Error("context %d ends; nobody sent %r", self.router.context_id, path)
            return self._files[path]

    def on_shutdown(self) -> None:
        """Let nobody wait any more."""
        for arrival in list(self._arrivals.values()):
            arrival.close()

    @expose(AllowParents())
    @no_reply()
    @arg_spec({"path": str, "data": bytes, "context_id": int})
    def store_and_forward(self, path: str, data: bytes, context_id: int) -> None:
        """Take a file that comes by for the first time."""
        self.store(path, data)
        self._forward(path, context_id)

    @expose(AllowParents())
    @no_reply()
    @arg_spec({"path": str, "context_id": int})
    def forward(self, path: str, context_id: int) -> None:
        """Pass on a file that is here already."""
        self._forward(path, context_id)

    def _forward(self, path: str, context_id: int) -> None:
        router = self.router
        if context_id == router.context_id:
            return
        link = router.stream_by_id(context_id)
        if link is None or link is router.table.parent_link:
            raise Error("context %d is not below context %d", context_id, router.context_id)
        neighbour = router.make_context(link.remote_id)
        # One at a time, so that the file itself is sent before others rely on it.
        with self._lock:
            data = self._files[path]
            key = link.remote_id, path
            if self._sent.get(key) is data:
                tell_service(neighbour, type(self), "forward", path=path, context_id=context_id)
            else:
                kwargs = {"path": path, "data": data, "context_id": context_id}
                tell_service(neighbour, type(self), "store_and_forward", **kwargs)
                self._sent[key] = data
