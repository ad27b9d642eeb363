"""The file of a UNIX socket: `listen` makes it, `remove` removes it, and neither touches another's.

A socket stays behind when its program is killed. It can be told from a live one only by connecting to
it, so replacing it takes three steps, and two programs that take them at once could each remove what
the other one made. A lock on the folder keeps them apart; unlike a lock file it leaves nothing behind.

Blocks; not for the broker thread, but for `remove`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from time import monotonic, sleep

from mitogen.core.errors import StreamError

#: Seconds to wait for others that are about to listen in the same folder. They take milliseconds.
LOCK_TIMEOUT = 5.0


def listen(path: str, backlog: int) -> socket.socket:
    """Return a socket that listens on `path`, where only its owner may connect.

    :raises StreamError: it can't.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    lock = None
    try:
        lock = _lock_folder(path)
        _bind(sock, path)
        # Before the lock goes: until then the socket looks stale.
        sock.listen(backlog)
    except BaseException as e:
        if sock.getsockname():
            os.unlink(path)
        sock.close()
        if not isinstance(e, OSError):
            raise
        raise StreamError(
            "can't listen on %s: %s; choose a path in a folder that this user may write to",
            path,
            e.strerror or e,
        ) from e
    finally:
        if lock is not None:
            os.close(lock)
    return sock


def _lock_folder(path: str) -> int | None:
    """Lock the folder of `path`; return the descriptor to close, or None where it can't be locked."""
    try:
        fd = os.open(os.path.dirname(path), os.O_RDONLY)
    except OSError:
        return None
    deadline = monotonic() + LOCK_TIMEOUT
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return fd
            except BlockingIOError:
                if monotonic() > deadline:
                    raise StreamError(
                        "can't listen on %s: another program keeps its folder locked; choose a path in"
                        " another folder",
                        path,
                    ) from None
                sleep(0.01)
    except BaseException as e:
        os.close(fd)
        if not isinstance(e, OSError):
            raise
        return None  # Not every file system has such locks.


def _bind(sock: socket.socket, path: str) -> None:
    """Make `sock` the socket at `path`."""
    try:
        # Where the system allows it, the file never has another mode.
        os.fchmod(sock.fileno(), 0o600)
    except OSError:
        pass
    try:
        sock.bind(path)
    except OSError as e:
        if e.errno != errno.EADDRINUSE:
            raise
        _remove_stale(path)
        sock.bind(path)
    if os.lstat(path).st_mode & 0o177:
        os.chmod(path, 0o600)


def _remove_stale(path: str) -> None:
    """Remove the socket at `path` if nobody listens there.

    :raises StreamError: somebody does, or it is not a socket.
    """
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise StreamError(
                "can't listen on %s: what is there is not a socket, and was left alone; remove it, or"
                " choose another path",
                path,
            )
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            probe.connect(path)
    except ConnectionRefusedError:
        os.unlink(path)
        return
    except FileNotFoundError:
        return  # Somebody else removed it.
    except BlockingIOError:
        pass  # It is alive, and its queue is full.
    raise StreamError(
        "can't listen on %s: a program listens there already; end it first, or choose another path", path
    )


def identity(path: str) -> tuple[int, int] | None:
    """Return what tells the file from any other that is at `path` as long as it exists; None if there is
    none."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def remove(path: str, known: tuple[int, int] | None, folder: str | None) -> None:
    """Remove the socket at `path`, if it still is the one that was `known`, and its `folder`."""
    try:
        if known is not None and identity(path) == known:
            os.unlink(path)
        if folder is not None:
            os.rmdir(folder)
    except OSError:
        pass  # Somebody removed it just now, or put something into the folder.
