"""Large files where they are written: `LargeFile`, which comes in chunks, and `CompleteFile`.

What is there of a file, from a copy that ended early or from an older one, need not be written
again: `open_complete` and `candidate` say what there is.
"""

from __future__ import annotations

import os
import stat
from zlib import crc32

from mitogen.core.errors import Error
from mitogen.parent.copying.errors import BadStream
from mitogen.parent.copying.partial import Partial
from mitogen.parent.copying.source import MODES, digest_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: Bytes after which what was written is brought to the disk: the system would keep any amount, and stop
#: everybody for a long time in the end.
SYNC_EVERY = 1 << 26

FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC

_sync_data = getattr(os, "fdatasync", os.fsync)


class CompleteFile:
    """A large file that is there already; what comes for others is not needed."""

    def __init__(self, folder: int, name: bytes, meta: Any, at: int) -> None:
        self._folder, self._name, self._meta = folder, name, meta
        self._at = at

    def write(self, data: bytes, on_alive: Callable[[int], object]) -> None:
        """Do nothing with a chunk."""
        on_alive(0)

    def finish(self, crc: int) -> None:
        """Give the file the mode of the other one."""
        fd = os.open(self._name, FILE, dir_fd=self._folder)
        try:
            os.fchmod(fd, self._meta[0] & MODES)
            os.utime(fd, ns=self._meta[1:3])
        finally:
            os.close(fd)

    def close(self, to_go_on: bool) -> None:
        """Do nothing: it is complete."""


class LargeFile:
    """A file that comes in chunks.

    :param there: bytes of it that are there, and right.
    :param at: the position of the next chunk.
    """

    def __init__(self, partial: Partial, meta: Any, there: int, at: int) -> None:
        self._partial = partial
        self._meta = meta
        self._at = at
        self._written = there
        self._crc = self._unsynced = 0
        try:
            if not 0 <= at <= there <= meta[3]:
                raise BadStream("a file begins at byte %r, and %d are there" % (at, there))
            os.ftruncate(partial.fd, there)
            os.lseek(partial.fd, there, os.SEEK_SET)
        except BaseException:
            self.close(to_go_on=True)
            raise

    def write(self, data: bytes, on_alive: Callable[[int], object]) -> None:
        """Write what is new of a chunk."""
        self._crc = crc32(data, self._crc)
        self._at += len(data)
        if self._at > self._meta[3]:
            raise BadStream("a file is longer than it was said to be")
        new = self._at - self._written
        if new > 0:
            write_all(self._partial.fd, data if new == len(data) else memoryview(data)[-new:])
            self._written = self._at
            self._unsynced += new
            if self._unsynced >= SYNC_EVERY:
                self._unsynced = 0
                _sync_data(self._partial.fd)
        on_alive(0)

    def finish(self, crc: int) -> None:
        """Give the file its name."""
        partial, meta = self._partial, self._meta
        if crc != self._crc or self._at != meta[3]:
            raise Error("the content of %s is not what was sent", os.fsdecode(partial.name))
        partial.finish(meta[0] & MODES, meta[1:3])
        os.fsync(partial.fd)
        partial.commit()

    def close(self, to_go_on: bool) -> None:
        """Let go of it before it is complete."""
        if self._partial.fd < 0:
            return
        if to_go_on and self._written:
            self._partial.keep()
        else:
            self._partial.discard()


def open_complete(folder: int, name: bytes, size: int, mtime: int) -> int | None:
    """Open a file that may be what is to be copied, by its size and time."""
    try:
        fd = os.open(name, FILE, dir_fd=folder)
    except OSError:
        return None
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode) and (status.st_size, status.st_mtime_ns) == (size, mtime):
        return fd
    os.close(fd)
    return None


def candidate(fd: int, size: int, on_alive: Callable[[int], object]) -> tuple[int, bytes] | None:
    """Return how much of a file is there, at most `size` bytes, and the digest of that."""
    there = min(os.fstat(fd).st_size, size)
    digest = digest_of(fd, there, on_alive)
    return (there, digest) if there and digest is not None else None


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of `data`."""
    while len(data):
        count = os.write(fd, data)
        data = memoryview(data)[count:]
