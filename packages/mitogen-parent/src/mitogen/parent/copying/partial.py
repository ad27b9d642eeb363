"""A file that is being written: `Partial`, which gets its name when it is complete.

It is written under a temporary name in the same folder, brought to the disk, and renamed: whoever opens
the final name finds the old file or the new one. The temporary name follows from the final one, so that
whoever copies the same file again finds what is left, goes on with it, or replaces it. Who writes holds a
lock on it, which ends with the process however that ends. Without the lock, two copies to one name
would write one file; a second one takes another name instead.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from hashlib import blake2b
from itertools import count

PREFIX, SUFFIX = b".", b".mitogen-part"
#: Bytes of a name that every file system takes.
_LONGEST = 255
#: For a file that is there already.
FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def temporary_name(name: bytes, number: int = 0) -> bytes:
    """Return the name that a file has until it is complete.

    :param number: 0, or the number of a copy of the same file that is made at the same time.
    """
    suffix = (b"-%d" % number if number else b"") + SUFFIX
    if len(name) + len(PREFIX) + len(suffix) > _LONGEST:
        name = blake2b(name, digest_size=16).hexdigest().encode()
    return PREFIX + name + suffix


class Partial:
    """A file under its temporary name.

    :param folder: descriptor of the folder, which must stay open.
    :param name: the final name.
    :param fd: of the temporary file, where it is open and locked already.
    :raises OSError: it can't be made.
    """

    def __init__(self, folder: int, name: bytes, fd: int | None = None) -> None:
        self.folder = folder
        self.name = name
        if fd is not None:
            self.fd = fd
            self.temporary = temporary_name(name)
            return
        for number in count():
            self.temporary = temporary_name(name, number)
            fd = open_locked(folder, self.temporary, FLAGS | os.O_CREAT)
            if fd is not None:
                self.fd = fd
                return
            if number > 1000:
                raise OSError(errno.EEXIST, "its temporary names are taken", os.fsdecode(self.temporary))

    def finish(self, mode: int, times: tuple[int, int]) -> None:
        """Give it its mode and times (of access and change, in nanoseconds)."""
        os.fchmod(self.fd, mode)
        os.utime(self.fd, ns=times)

    def commit(self) -> None:
        """Give it its name. It must be on the disk by now."""
        try:
            os.rename(self.temporary, self.name, src_dir_fd=self.folder, dst_dir_fd=self.folder)
        except BaseException:
            self.discard()
            raise
        self.keep()

    def discard(self) -> None:
        """Remove it."""
        remove(self.folder, self.temporary)
        self.keep()

    def keep(self) -> None:
        """Leave it where it is, for a copy that goes on with it. Idempotent."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def open_locked(folder: int, name: bytes, flags: int) -> int | None:
    """Open a temporary file and lock it; None if it is somebody else's, or no plain file of ours."""
    while True:
        try:
            fd = os.open(name, flags, 0o600, dir_fd=folder)
        except OSError as e:
            if e.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EMLINK):
                return None
            if e.errno in (errno.EACCES, errno.EPERM) and exists(folder, name):
                return None
            raise
        try:
            found = os.fstat(fd)
            # Somebody else may have put a file there: one that has another name as well, for example.
            if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink < 2:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return None
                except OSError:
                    pass  # This file system has no locks.
                # It may have been renamed or removed before it was locked.
                if os.fstat(fd).st_nlink == 1 and _is_named(folder, name, found):
                    fd, result = -1, fd
                    return result
                continue
            return None
        finally:
            if fd >= 0:
                os.close(fd)


def _is_named(folder: int, name: bytes, found: os.stat_result) -> bool:
    try:
        now = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return (now.st_dev, now.st_ino) == (found.st_dev, found.st_ino)


def remove(folder: int, name: bytes) -> None:
    """Remove a file, if it is there."""
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass


def exists(folder: int, name: bytes) -> bool:
    """Return True if there is something of that name."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def remove_stale(folder: int, keep: set[bytes], of: bytes = b"") -> None:
    """Remove what copies left in a folder that ended before they were done.

    :param keep: names to leave there.
    :param of: only what was to become a file of that name.
    """
    start = temporary_name(of)[: -len(SUFFIX)] if of else PREFIX
    for entry in os.listdir(folder):
        name = os.fsencode(entry)
        if not (name.startswith(start) and name.endswith(SUFFIX)) or name in keep:
            continue
        if of and name[len(start) : -len(SUFFIX)].strip(b"-0123456789"):
            continue
        try:
            if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                remove(folder, name)
                continue
            fd = open_locked(folder, name, FLAGS)
        except OSError:
            continue  # It went, or is none of ours.
        if fd is not None:
            remove(folder, name)
            os.close(fd)
