"""Files for other contexts: `FileService`, which sends those that were registered, and no others.

A file goes out in chunks to a `Sender` of whoever asked, who acknowledges the bytes that it took: no more
than `WINDOW` are on their way. Nothing here ever waits for a requester: what is read next is sent by the
thread that takes in the acknowledgement. So a thousand who read nothing cost a thousand descriptors, and
no thread; and each link has a limit of those.
"""

from __future__ import annotations

import grp
import os
import pwd
from _thread import allocate_lock

from mitogen.core import handles, logs
from mitogen.core.errors import ChannelError, Error
from mitogen.core.message import Message, make
from mitogen.core.receiver import Receiver, Sender
from mitogen.core.serialization import RAW
from mitogen.core.signals import listen, unlisten
from mitogen.service.allowed import AllowedPaths, Refused
from mitogen.service.base import Service, arg_spec, expose
from mitogen.service.calls import call_service_async, tell_service
from mitogen.service.policies import AllowAny

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, BinaryIO

    from mitogen.core.context import Context
    from mitogen.core.router import Router

#: Bytes of one message, and bytes on their way to one requester.
CHUNK, WINDOW = 1 << 18, 1 << 21
#: Files on their way to one context.
MAX_OPEN = 50


class _Transfer:
    """One file on its way."""

    def __init__(self, sender: Sender, fd: int, size: int) -> None:
        self.context = sender.context
        self.handle = sender.dst_handle
        self.lock = allocate_lock()
        self.fd = fd
        self.left = size
        self.unacknowledged = 0
        self.on_gone: Callable[[], object] = int

    def send_more(self, router: Router) -> bool:
        """Send what the window has room for; return False if that was the last."""
        with self.lock:
            size = min(CHUNK, max(1, router.max_message_size // 2))
            while self.left and self.fd >= 0 and self.unacknowledged + size <= WINDOW:
                data = os.read(self.fd, min(size, self.left))
                if not data:
                    self._send(router, b"it became shorter while it was read", handles.IS_DEAD)
                    return False
                self.left -= len(data)
                self.unacknowledged += len(data)
                self._send(router, [RAW, data], 0)
            return self.left > 0

    def _send(self, router: Router, body: Any, reply_to: int) -> None:
        here = router.context_id
        msg = make(self.context.context_id, here, here, self.handle, reply_to, body)
        # By the thread that never waits for a link: there is a window.
        router.broker.defer(router.route, msg)

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        with self.lock:
            if self.fd >= 0:
                os.close(self.fd)
            self.fd = -1
        try:
            unlisten(self.context, "disconnect", self.on_gone)
        except ValueError:
            pass  # It was closed before, or nobody listened yet.


class FileService(Service):
    """Send files to any context that asks, if they were registered.

    Other contexts get one with `FileService.get`, from the context that has the service.
    """

    def __init__(self, router: Router) -> None:
        Service.__init__(self, router)
        self._paths = AllowedPaths()
        self._lock = allocate_lock()
        #: By the id of whoever asked, and the handle that it receives on.
        self._transfers: dict[tuple[int, int], _Transfer] = {}

    @classmethod
    def name(cls) -> str:
        """Return the documented address of the class."""
        return "mitogen.service." + cls.__qualname__

    def register(self, path: str) -> None:
        """Let others have one file. Any thread.

        :param path: it may be a symbolic link, which is followed now.
        """
        self._paths.add_file(path)

    def register_prefix(self, path: str) -> None:
        """Let others have all files below a folder. Any thread.

        Symbolic links in it are followed as long as they lead to somewhere below it.
        """
        self._paths.add_folder(path)

    @expose(AllowAny())
    @arg_spec({"path": str, "sender": Sender})
    def fetch(self, path: str, sender: Sender, msg: Message) -> dict[str, Any]:
        """Begin to send a file; `acknowledge` goes on with it.

        :param path: an absolute path.
        :param sender: of a receiver of the context that calls. It gets the content, as bytes.
        :returns: `size`, `mode` (the permission bits), `owner` and `group` (names, or None), `mtime` and
            `atime` (seconds).
        :raises Error: the file is not registered, or can't be read.
        """
        key = msg.src_id, sender.dst_handle
        if sender.context.context_id != msg.src_id or key[1] < handles.FIRST_DYNAMIC_HANDLE:
            # With our authority, it would be a message to whatever handle the caller likes.
            raise self._refusal(path, msg, "the sender is not one of the context that asks")
        try:
            fd = self._paths.open(path)
        except (Refused, OSError) as e:
            why = "there is no such file, or it can't be read" if isinstance(e, OSError) else str(e)
            raise self._refusal(path, msg, why) from None
        status = os.fstat(fd)
        transfer = _Transfer(sender, fd, status.st_size)
        try:
            with self._lock:
                if sum(src_id == msg.src_id for src_id, _ in self._transfers) >= MAX_OPEN:
                    raise self._refusal(path, msg, "%d files are on their way there" % MAX_OPEN)
                if key in self._transfers:
                    raise self._refusal(path, msg, "another file is on its way to that receiver")
                self._transfers[key] = transfer
        except BaseException:
            transfer.close()
            raise
        transfer.on_gone = lambda: self._end(key)
        listen(transfer.context, "disconnect", transfer.on_gone)
        if transfer.context.reason or not transfer.send_more(self.router):
            self._end(key)
        return {
            "size": status.st_size,
            "mode": status.st_mode & 0o7777,
            "owner": _name_of(lambda: pwd.getpwuid(status.st_uid).pw_name),
            "group": _name_of(lambda: grp.getgrgid(status.st_gid).gr_name),
            "mtime": status.st_mtime,
            "atime": status.st_atime,
        }

    @expose(AllowAny())
    @arg_spec({"size": int, "handle": int})
    def acknowledge(self, size: int, handle: int, msg: Message) -> None:
        """Take note that so many bytes arrived, and send more.

        :param size: 0 for a requester that wants no more.
        :param handle: the handle that they arrived on.
        """
        key = msg.src_id, handle
        with self._lock:
            transfer = self._transfers.get(key)
        if transfer is None:
            return  # All was sent.
        with transfer.lock:
            is_honest = 0 < size <= transfer.unacknowledged
            transfer.unacknowledged -= size if is_honest else 0
        if not is_honest or not transfer.send_more(self.router):
            self._end(key)

    def on_shutdown(self) -> None:
        """Close all files."""
        for key in list(self._transfers):
            self._end(key)

    def _end(self, key: tuple[int, int]) -> None:
        with self._lock:
            transfer = self._transfers.pop(key, None)
        if transfer is not None:
            transfer.close()

    def _refusal(self, path: str, msg: Message, why: str) -> Error:
        logs.log(logs.WARNING, "refused file %.200r to context %d: %s", path, msg.src_id, why)
        return Error("context %d does not get %.200r: %s", msg.src_id, path, why)

    @classmethod
    def get(cls, context: Context, path: str, out_fp: BinaryIO) -> dict[str, Any]:
        """Get a file from the service of another context, such as the parent. Waits for it.

        :param context: the context that has the service.
        :param path: an absolute path there.
        :param out_fp: a binary file, which the content is written to.
        :returns: what `fetch` does.
        :raises CallError: it is not registered, or can't be read.
        :raises ChannelError: the context is gone, has no services, or the file became shorter.
        """
        router = context._router()
        receiver = Receiver(router, respondent=context)
        done = -1
        try:
            kwargs = {"path": path, "sender": receiver.to_sender()}
            found: dict[str, Any] = call_service_async(context, cls, "fetch", kwargs).get_data()
            done, unacknowledged = 0, 0
            while done < found["size"]:
                data = receiver.get_data()
                out_fp.write(data)
                done += len(data)
                unacknowledged += len(data)
                if unacknowledged >= WINDOW // 4 and done < found["size"]:
                    tell_service(context, cls, "acknowledge", size=unacknowledged, handle=receiver.handle)
                    unacknowledged = 0
            return found
        except BaseException:
            if done >= 0:
                try:
                    tell_service(context, cls, "acknowledge", size=0, handle=receiver.handle)
                except ChannelError:
                    pass  # It is gone.
            raise
        finally:
            receiver.close()


def _name_of(find: Callable[[], str]) -> str | None:
    try:
        return find()
    except KeyError:
        return None
