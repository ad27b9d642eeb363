"""The side of a copy that writes: `Sink` acts on the items that `mitogen.parent.copying.source` lists.

The source is not trusted: a program may get a copy from a context that is in other hands. Names are
single components. All is opened relative to the descriptor of the folder that it belongs to, and never
through a symbolic link: what the stream made, or somebody else put there, leads nowhere.

Files get their names when they are complete and on the disk. Small ones are brought there together, by
some threads at once, as each has to wait for the disk.
"""

from __future__ import annotations

import errno
import os
from _thread import start_new_thread
from zlib import crc32

from mitogen.core.errors import Error
from mitogen.core.latch import Latch
from mitogen.parent.copying.errors import BadStream
from mitogen.parent.copying.large import CompleteFile, LargeFile, candidate, open_complete, write_all
from mitogen.parent.copying.partial import (
    FLAGS,
    Partial,
    open_locked,
    remove,
    remove_stale,
    temporary_name,
)
from mitogen.parent.copying.source import MODES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: Folders within folders: each is an open descriptor.
DEPTH = 200
#: Large files to go on with: each is an open descriptor. No more than one is left by a copy that ended.
FOUND = 16
#: Small files that wait to be brought to the disk, and threads that do it.
PENDING, THREADS = 64, 4
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def check_name(name: object) -> bytes:
    """Return `name` if it can be that of something in a folder, and leads nowhere else.

    :raises BadStream: it can't.
    """
    if not isinstance(name, bytes) or name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
        raise BadStream("the name %.200r leads out of the folder that is written", name)
    return name


class Sink:
    """Write a copy.

    :param path: what is made: a file, or a folder with all that is in it.
    :param on_alive: called now and then while this takes its time.
    :ivar done: bytes of files that were written here, or were there before.
    :raises OSError: the folder that it belongs to can't be opened.
    """

    def __init__(self, path: bytes, on_alive: Callable[[int], object] = bool) -> None:
        self._on_alive = on_alive
        parent, name = os.path.split(os.path.abspath(path))
        #: The name of what is made, which the stream does not know.
        self._name = name or b"."
        self._folders = [os.open(parent, _FOLDER)]
        self._pending: list[Partial] = []
        self._open: LargeFile | CompleteFile | None = None
        #: What there is of large files, by index, and whether that is a temporary file or the final one.
        self._candidates: dict[int, tuple[int, bytes]] = {}
        self._found: dict[int, int] = {}
        self._complete: set[int] = set()
        #: Temporary files that the copy will go on with.
        self._keep: set[bytes] = set()
        self.done = 0

    def candidates(self, large: list[tuple[int, list[bytes], int, int]]) -> list[tuple[int, int, bytes]]:
        """Return what there is of large files: index, bytes and their digest."""
        for index, names, size, mtime in large:
            found = self._find(index, [check_name(name) for name in names], size, mtime)
            if found is not None:
                self._candidates[index] = found
        return [(index, *found) for index, found in self._candidates.items()]

    def _find(self, index: int, names: list[bytes], size: int, mtime: int) -> tuple[int, bytes] | None:
        folder = os.dup(self._folders[0])
        fd = None
        try:
            for name in [self._name, *names][:-1]:
                flags = _FOLDER if name is self._name else _FOLDER | os.O_NOFOLLOW
                folder, parent = os.open(name, flags, dir_fd=folder), folder
                os.close(parent)
            name = names[-1] if names else self._name
            fd = open_complete(folder, name, size, mtime)
            if fd is not None:
                self._complete.add(index)
                return candidate(fd, size, self._on_alive)
            if len(self._found) < FOUND:
                self._keep.add(temporary_name(name))
                found = open_locked(folder, temporary_name(name), FLAGS)
                if found is not None:
                    # Kept open: nobody else may write it until this copy goes on with it.
                    self._found[index] = found
                    return candidate(found, size, self._on_alive)
        except OSError:
            pass  # There is no such folder, or file.
        finally:
            for one in (folder, fd):
                if one is not None:
                    os.close(one)
        return None

    def handle(self, item: Any) -> None:
        """Act on an item, but the first and the last.

        :raises Error: it is not what was sent, or no item at all.
        :raises OSError: it can't be written.
        """
        if isinstance(item, bytes):
            if self._open is None:
                raise BadStream("a chunk of no file")
            self._open.write(item, self._on_alive)
            self.done += len(item)
        elif isinstance(item, list):
            for entry in item:
                self._entry(*entry)
        elif item[0] == "go":
            for index, known in list(self._candidates.items()):
                if known not in [tuple(pair) for pair in item[1].get(index, ())]:
                    del self._candidates[index]
                    self._complete.discard(index)
            remove_stale(self._folders[0], self._keep, self._name)
        elif item[0] == "F":
            _, name, meta, index, at = item
            self._flush()
            there = self._candidates.get(index, (0,))[0]
            if index in self._complete:
                self._open = CompleteFile(self._here, self._named(name), meta, at)
            else:
                partial = Partial(self._here, self._named(name), self._found.pop(index, None))
                self._open = LargeFile(partial, meta, there, at)
            self.done += at
        elif item[0] == "e" and self._open is not None:
            self._open.finish(item[1])
            self._open = None
        else:
            raise BadStream("%.100r is no part of a copy", item)

    @property
    def _here(self) -> int:
        return self._folders[-1]

    def _named(self, name: bytes) -> bytes:
        """Return a name of the stream, or ours for what is at its top."""
        if len(self._folders) == 1:
            if name or self._name == b".":
                raise BadStream("%.200r is neither in a folder nor the one that is copied", name)
            return self._name
        return check_name(name)

    def _entry(self, kind: str, *rest: Any) -> None:
        if kind == "f":
            name, meta, data, crc = rest
            self._pending.append(Partial(self._here, self._named(name)))
            if crc32(data) != crc or len(data) != meta[3]:
                raise Error("the content of %s is not what was sent", os.fsdecode(name))
            fd = self._pending[-1].fd
            os.ftruncate(fd, 0)
            write_all(fd, data)
            self._pending[-1].finish(meta[0] & MODES, meta[1:3])
            self.done += len(data)
            if len(self._pending) >= PENDING:
                self._flush()
        elif kind == "d":
            self._enter(*rest)
        elif kind == "u":
            self._leave(*rest)
        elif kind == "l":
            name, target, meta = rest
            name = self._named(name)
            temporary = temporary_name(name)
            remove(self._here, temporary)
            os.symlink(target, temporary, dir_fd=self._here)
            try:
                os.utime(temporary, ns=meta[1:3], dir_fd=self._here, follow_symlinks=False)
                os.rename(temporary, name, src_dir_fd=self._here, dst_dir_fd=self._here)
            except BaseException:
                remove(self._here, temporary)
                raise
        else:
            raise BadStream("%.100r is no kind of entry" % kind)

    def _enter(self, name: bytes, mode: int) -> None:
        is_top = len(self._folders) == 1
        if is_top and not name:
            name = self._name
        else:
            name = self._named(name)
        if len(self._folders) > DEPTH:
            raise Error("there are more than %d folders within folders", DEPTH)
        try:
            os.mkdir(name, 0o700, dir_fd=self._here)
        except FileExistsError:
            pass
        try:
            fd = os.open(name, _FOLDER | (0 if is_top else os.O_NOFOLLOW), dir_fd=self._here)
        except OSError as e:
            if e.errno in (errno.ENOTDIR, errno.ELOOP):
                raise Error("%s is there, and is no folder", os.fsdecode(name)) from None
            raise
        self._folders.append(fd)
        remove_stale(fd, self._keep)

    def _leave(self, meta: tuple[int, int, int, int]) -> None:
        if len(self._folders) == 1:
            raise BadStream("a folder ends that did not begin")
        self._flush()
        fd = self._folders.pop()
        try:
            os.fchmod(fd, meta[0] & MODES)
            os.utime(fd, ns=meta[1:3])
            _sync_folder(fd)
        finally:
            os.close(fd)

    def _flush(self) -> None:
        """Bring small files to the disk, and give them their names."""
        if self._pending:
            _sync_all([partial.fd for partial in self._pending])
            self._on_alive(0)
        while self._pending:
            self._pending.pop(0).commit()

    def finish(self) -> None:
        """Complete the copy.

        :raises BadStream: the stream was not complete.
        """
        if self._open is not None or len(self._folders) != 1:
            raise BadStream("the copy ends in the middle of a file or folder")
        self._flush()
        _sync_folder(self._folders[0])

    def close(self, to_go_on: bool = False) -> None:
        """Let go of all that is open, and remove what is not complete. Idempotent.

        :param to_go_on: leave a large file for a copy that goes on with it.
        """
        if self._open is not None:
            self._open.close(to_go_on)
            self._open = None
        while self._pending:
            self._pending.pop().discard()
        for fd in [*self._folders, *self._found.values()]:
            os.close(fd)
        self._folders = []
        self._found = {}


def _sync_folder(fd: int) -> None:
    try:
        os.fsync(fd)
    except OSError:
        pass  # Not all file systems can.


def _sync_all(fds: list[int]) -> None:
    """Bring files to the disk, several at once."""
    if len(fds) < THREADS:
        for fd in fds:
            os.fsync(fd)
        return
    done = Latch()

    def sync(some: list[int]) -> None:
        try:
            for fd in some:
                os.fsync(fd)
            done.put(None)
        except OSError as e:
            done.put(e)

    for first in range(THREADS):
        start_new_thread(sync, (fds[first::THREADS],))
    errors = [done.get() for _ in range(THREADS)]
    for error in errors:
        if error is not None:
            raise error
