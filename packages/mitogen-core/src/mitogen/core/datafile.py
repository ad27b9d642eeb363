"""Questions to the master about data, and `File`, a file of the master that is read chunk by chunk.

The master is asked (GET_DATA), wherever it is in the tree; contexts in between just pass the messages on.
A request is ``(what, kind, name, ...)``: `kind` and `name` say whose files are meant, those of a
``"package"`` or of the metadata of a ``"distribution"``. The answer starts with None, or is the name of
an error number and a text.

Nothing is kept. The chunk after the next is on its way while one is read, so that a large file costs the
memory of two chunks at any time. The master keeps nothing either: it is told where each chunk begins.

Any thread but the broker's. On demand.
"""

from __future__ import annotations

import errno
import io

from mitogen.core import serialization
from mitogen.core.errors import Error
from mitogen.core.message import make
from mitogen.core.receiver import send_async

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mitogen.core.data import Resource
    from mitogen.core.imports import Modules
    from mitogen.core.receiver import Receiver

#: The handle of the master that answers. One of the standard handles, but no concern of the bundle.
GET_DATA = 113

#: Most bytes in one answer.
CHUNK = 1 << 20


def _send(loader: Modules, request: tuple[object, ...]) -> Receiver:
    """Ask the master; return the receiver of the answer."""
    importer = loader.importer
    if importer is None:
        raise OSError(errno.ENOTCONN, "this process is no context any more: the master can't be asked")
    router = importer._router
    here = router.context_id
    master = router.make_context(router.parent_ids[-1])
    msg = make(0, here, here, GET_DATA, 0, serialization.dumps(request))
    try:
        return send_async(master, msg, False)
    except Error as e:
        raise OSError(errno.ENOTCONN, "the master can't be asked: %s" % e) from None


def _get(receiver: Receiver, path: str | None = None) -> Any:
    """Return what was answered, without the None in front of it.

    :param path: the file in question, for errors.
    """
    try:
        answer = receiver.get_data()
    except Error as e:
        raise OSError(errno.ENOTCONN, "the master can't be asked: %s" % e) from None
    finally:
        receiver.close()
    if answer[0] is not None:
        raise OSError(getattr(errno, answer[0], errno.EIO), answer[1], path)
    return answer[1:]


def ask(loader: Modules, *request: object, path: str | None = None) -> Any:
    """Return what the master answers to a request.

    :param path: the file in question, for errors.
    :raises OSError: what it says it is, such as `FileNotFoundError`; or the master can't be asked.
    """
    return _get(_send(loader, request), path)


class File(io.RawIOBase):
    """A file of the master, for reading. One thread at a time.

    :param resource: which one.
    :raises OSError: it can't be read.
    """

    def __init__(self, resource: Resource) -> None:
        io.RawIOBase.__init__(self)
        self.name = str(resource)
        self.mode = "rb"
        self._resource = resource
        self._at = 0
        #: The chunk that was got last, where it begins, and the receiver of the one after it.
        self._chunk = b""
        self._start = 0
        self._next: Receiver | None = None
        self._stamp: object = None
        self._size = 0
        self._fetch()

    def _request(self, start: int) -> Receiver:
        resource = self._resource
        importer: Any = resource.loader.importer
        limit = importer._router.max_message_size // 2 if importer else CHUNK
        whose = resource.kind, resource.owner, "/".join(resource.parts)
        return _send(resource.loader, ("read", *whose, start, min(CHUNK, limit)))

    def _fetch(self) -> None:
        """Get the chunk that begins where we are, and ask for the one after it if we go on reading."""
        goes_on = 0 < self._at == self._start + len(self._chunk)
        receiver, self._next = self._next, None
        if receiver is not None and not goes_on:
            receiver.close()
            receiver = None
        stamp, size, chunk = _get(receiver or self._request(self._at), self.name)
        if self._stamp not in (None, stamp):
            raise OSError(errno.ESTALE, "the file was changed while it was read", self.name)
        self._stamp, self._size, self._chunk, self._start = stamp, size, chunk, self._at
        end = self._at + len(chunk)
        if goes_on and chunk and end < size:
            self._next = self._request(end)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the number of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go on reading elsewhere; nothing is asked for before that."""
        at = (0, self._at, self._size)[whence] + offset
        if at < 0:
            raise OSError(errno.EINVAL, "negative seek position", self.name)
        self._at = at
        return at

    def _more(self) -> memoryview:
        """Return what there is of the file from here on, without waiting if there is something."""
        if self.closed:
            raise ValueError("I/O operation on closed file")
        if not self._start <= self._at < self._start + len(self._chunk) and self._at < self._size:
            self._fetch()
        return memoryview(self._chunk)[max(self._at - self._start, 0) :]

    def readinto(self, buffer: Any) -> int:
        """Read what is here, or else the next chunk, as far as there is room for it."""
        view = memoryview(buffer).cast("B")
        part = self._more()[: len(view)]
        view[: len(part)] = part
        self._at += len(part)
        return len(part)

    def readall(self) -> bytes:
        """Return all that is left."""
        # By way of a buffer, whose content can be had without another copy.
        whole = io.BytesIO()
        while True:
            part = self._more()
            if not part:
                return whole.getvalue()
            whole.write(part)
            self._at += len(part)

    def close(self) -> None:
        """Forget what is on its way."""
        if self._next is not None:
            self._next.close()
            self._next = None
        self._chunk = b""
        io.RawIOBase.close(self)
