"""The side of a copy that reads: `Source` makes the stream of items.

The items, in their order. A batch is a list of entries, each a tuple; metadata is ``(mode, access time,
change time, size)``, times in nanoseconds.

====================================== =========================================================
item                                   meaning
====================================== =========================================================
``("plan", bytes, large files)``       the first: how much there will be, and which files are large,
                                       as (index, path in names, size, change time)
``("go", valid)``                      the second: what of each large file a target may go on from
``[("d", name, mode), ...]``           a batch: make a folder and enter it
``[("u", metadata), ...]``             leave a folder, which is complete
``[("l", name, target, metadata)]``    make a symbolic link
``[("f", name, metadata, data, crc)]`` a small file
``("F", name, metadata, index, at)``   a large file begins, from byte `at` on; chunks follow as bytes
``("e", crc)``                         it ends; the CRC is that of all chunks
``None``                               the last
``str``                                the last as well: nothing more comes, and this is why
====================================== =========================================================

The checksum of what is sent is a CRC-32: it guards against errors of ours and of memory, disks and files
that change meanwhile, not against somebody who could as well send another file; and it is as fast as the
links are, where SHA-256 takes twice the time and BLAKE2 five times. What a target has already is another
matter: any file may be there, so that is compared by SHA-256, which only copies that go on pay for.
"""

from __future__ import annotations

import os
import stat
from hashlib import sha256
from zlib import crc32

from mitogen.core import logs
from mitogen.core.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

#: Bytes of a chunk, and of a batch. Files up to this size are small.
CHUNK = 1 << 20
#: Entries of a batch.
ENTRIES = 500
#: Permissions that are kept: not set-user-id and set-group-id, which would mean another user there.
MODES = 0o1777

_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC


class Changed(Error):
    """A file changed while it was copied."""


def metadata(status: os.stat_result) -> tuple[int, int, int, int]:
    """Return what is sent along with a file."""
    return status.st_mode & MODES, status.st_atime_ns, status.st_mtime_ns, status.st_size


def digest_of(fd: int, size: int, on_bytes: Callable[[int], object]) -> bytes | None:
    """Return the SHA-256 of the first bytes of a file; None if it has less.

    :param on_bytes: called with the number of each bytes that were read.
    """
    total = sha256()
    at = 0
    while at < size:
        data = os.pread(fd, min(CHUNK, size - at), at)
        if not data:
            return None
        total.update(data)
        at += len(data)
        on_bytes(len(data))
    return total.digest()


class Source:
    """Read a file or a folder tree.

    :param path: it may be a symbolic link; those in a tree are copied as links.
    :param chunk: bytes of a chunk.
    :ivar total: bytes of all files, after `plan`.
    :ivar done: bytes that were read, or that the targets have already.
    :raises OSError: it can't be read.
    """

    def __init__(self, path: bytes, chunk: int = CHUNK) -> None:
        self.path = os.path.realpath(path)
        self.chunk = chunk
        self.total = self.done = 0
        self.large: list[tuple[int, list[bytes], int, int]] = []
        self._indexes: dict[tuple[bytes, ...], int] = {}
        status = os.stat(self.path)
        self._is_folder = stat.S_ISDIR(status.st_mode)
        if not self._is_folder and not stat.S_ISREG(status.st_mode):
            raise Error("%s is neither a file nor a folder: it can't be copied", os.fsdecode(path))
        self._starts: dict[int, int] = {}

    def plan(self) -> tuple[Any, ...]:
        """Return the first item."""
        length = 0
        for kind, names, status in self._walk():
            if kind == "f":
                self.total += status.st_size
                if status.st_size > self.chunk:
                    length += 50 + sum(map(len, names))
                # The list is one message; those beyond can't be gone on with.
                if status.st_size > self.chunk and length < self.chunk:
                    index = len(self.large)
                    self._indexes[tuple(names)] = index
                    self.large.append((index, names, status.st_size, status.st_mtime_ns))
        return "plan", self.total, self.large

    def go(self, candidates: list[list[tuple[int, int, bytes]]]) -> tuple[Any, ...]:
        """Return the second item.

        :param candidates: what each target has: index of a large file, bytes of it, and their digest.
        """
        valid: dict[int, list[tuple[int, bytes]]] = {}
        known: dict[int, list[tuple[int, bytes]]] = {}
        for one in candidates:
            for index, size, digest in one:
                if 0 <= index < len(self.large) and 0 < size <= self.large[index][2]:
                    known.setdefault(index, []).append((size, digest))
        for index, pairs in known.items():
            right = self._right(index, set(pairs))
            valid[index] = sorted(right)
            matching = [size for size, digest in pairs if (size, digest) in right]
            if len(matching) == len(candidates):
                self._starts[index] = min(matching)
        return "go", valid

    def _right(self, index: int, pairs: set[tuple[int, bytes]]) -> set[tuple[int, bytes]]:
        """Return which of some (size, digest) are those of the file."""
        names = self.large[index][1]
        try:
            fd = os.open(b"/".join([self.path, *names]) if names else self.path, _OPEN)
        except OSError:
            return set()  # It went. That is noticed later.
        try:
            wanted = {size for size, _ in pairs}
            found = {size: digest_of(fd, size, bool) for size in wanted}
            return {(size, digest) for size, digest in pairs if found[size] == digest}
        finally:
            os.close(fd)

    def items(self) -> Iterator[Any]:
        """Yield the other items but the last.

        :raises Changed: a file changed meanwhile.
        :raises OSError: something can't be read.
        """
        batch: list[tuple[Any, ...]] = []
        size = 0
        for kind, names, status in self._walk(warn=True):
            name = names[-1] if names else b""
            if kind == "f" and (status.st_size > self.chunk or tuple(names) in self._indexes):
                if batch:
                    yield batch
                    batch, size = [], 0
                yield from self._large(names, name)
                continue
            if kind == "d":
                batch.append(("d", name, status.st_mode & MODES))
            elif kind == "u":
                batch.append(("u", metadata(status)))
            elif kind == "l":
                target = os.readlink(self._full(names))
                batch.append(("l", name, target, metadata(status)))
                size += len(target)
            else:
                entry = self._small(names, name)
                batch.append(entry)
                size += len(entry[3])
            size += len(name) + 60
            if size >= self.chunk // 2 or len(batch) >= ENTRIES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _full(self, names: list[bytes]) -> bytes:
        return b"/".join([self.path, *names])

    def _open(self, names: list[bytes]) -> tuple[int, os.stat_result]:
        fd = os.open(self._full(names), _OPEN)
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise Changed("%s is no regular file any more", os.fsdecode(self._full(names)))
        return fd, status

    def _small(self, names: list[bytes], name: bytes) -> tuple[Any, ...]:
        fd, status = self._open(names)
        try:
            data = os.read(fd, self.chunk + 1) if status.st_size else b""
            self._check(names, fd, status, len(data))
        finally:
            os.close(fd)
        self.done += len(data)
        return "f", name, metadata(status), data, crc32(data)

    def _large(self, names: list[bytes], name: bytes) -> Iterator[Any]:
        index = self._indexes.get(tuple(names), -1)
        at = self._starts.get(index, 0)
        fd, status = self._open(names)
        try:
            if at > status.st_size:
                raise Changed("%s became shorter", os.fsdecode(self._full(names)))
            yield "F", name, metadata(status), index, at
            self.done += at
            crc = 0
            os.lseek(fd, at, os.SEEK_SET)
            while at < status.st_size:
                data = os.read(fd, min(self.chunk, status.st_size - at))
                if not data:
                    break
                crc = crc32(data, crc)
                at += len(data)
                yield data
                self.done += len(data)
            self._check(names, fd, status, at)
            yield "e", crc
        finally:
            os.close(fd)

    def _check(self, names: list[bytes], fd: int, before: os.stat_result, size: int) -> None:
        now = os.fstat(fd)
        if size != before.st_size or (now.st_mtime_ns, now.st_size) != (before.st_mtime_ns, size):
            raise Changed("%s changed while it was copied; copy it again", os.fsdecode(self._full(names)))

    def _walk(self, warn: bool = False) -> Iterator[tuple[str, list[bytes], os.stat_result]]:
        """Yield all there is, as kind, names from `path` on, and status; "u" for a folder that ends."""
        if not self._is_folder:
            yield "f", [], os.stat(self.path)
            return
        status = os.stat(self.path)
        yield "d", [], status
        # What is left to be looked at, in reverse: an entry, or a folder that ends, with its status.
        todo: list[tuple[list[bytes], os.stat_result | None]] = [([], status)]
        self._push(todo, [])
        while todo:
            names, complete = todo.pop()
            if complete is not None:
                yield "u", names, complete
                continue
            status = os.lstat(self._full(names))
            if stat.S_ISDIR(status.st_mode):
                yield "d", names, status
                todo.append((names, status))
                self._push(todo, names)
            elif stat.S_ISLNK(status.st_mode):
                yield "l", names, status
            elif stat.S_ISREG(status.st_mode):
                yield "f", names, status
            elif warn:
                text = "not copied, since it is no file, folder or link: %s"
                logs.log(logs.WARNING, text, os.fsdecode(self._full(names)))

    def _push(self, todo: list[tuple[list[bytes], os.stat_result | None]], names: list[bytes]) -> None:
        found = sorted(os.listdir(self._full(names)), reverse=True)
        todo.extend(([*names, name], None) for name in found)
