"""Which files others may have: `AllowedPaths`. Opens them so that no race leads anywhere else.

A path is walked component by component, each opened relative to the descriptor of the folder before it,
and never through a symbolic link that the system would follow. A link is read and walked in the same way;
one that leads out of what is allowed is refused. So what was checked is what is opened, whatever
somebody renames meanwhile.

The last component is opened without blocking, which a fifo would do, and without following a link; only
then it is looked at. Anything but a regular file is refused.
"""

from __future__ import annotations

import errno
import os
import stat

from mitogen.core.errors import Error

#: Links on the way to one file; as many as Linux follows.
MAX_LINKS = 40

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC


class Refused(Error):
    """A path may not be had, or is no regular file."""


def split(path: object) -> list[str]:
    """Return the components of an absolute path.

    :raises Refused: it is not one, or has components that do not name anything.
    """
    if not isinstance(path, str) or path[:1] != "/" or "\0" in path:
        raise Refused("it is not an absolute path")
    parts = path[1:].split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise Refused("it has a component that is empty, . or ..")
    return parts


class AllowedPaths:
    """Files, and folders with all below, that were registered. Any thread."""

    def __init__(self) -> None:
        #: Where each file or folder really is, by the components of the path that it was registered with.
        self._files: dict[tuple[str, ...], list[str]] = {}
        self._folders: dict[tuple[str, ...], list[str]] = {}

    def add_file(self, path: str) -> None:
        """Allow one file; a symbolic link is followed now, and not again."""
        self._files[tuple(_absolute(path))] = _absolute(os.path.realpath(path))

    def add_folder(self, path: str) -> None:
        """Allow all that is below a folder; symbolic links on the way to it are followed now."""
        self._folders[tuple(_absolute(path))] = _absolute(os.path.realpath(path))

    def open(self, path: str) -> int:
        """Open a file for reading; return its descriptor, which the caller closes.

        :raises Refused: it is not allowed, or no regular file.
        :raises OSError: there is no such file, or it can't be read.
        """
        parts = split(path)
        real = self._files.get(tuple(parts))
        if real is not None:
            return _open_regular(real[:-1], real[-1:], 0)
        for end in range(len(parts) - 1, -1, -1):
            root = self._folders.get(tuple(parts[:end]))
            if root is not None:
                return _open_regular(root, parts[end:], MAX_LINKS)
        raise Refused("it is not registered, nor below a folder that is")


def _absolute(path: str) -> list[str]:
    return [part for part in os.path.abspath(path).split("/") if part]


def _open_regular(root: list[str], parts: list[str], max_links: int) -> int:
    folders = [os.open("/", _FOLDER)]
    try:
        for name in root:
            folders.append(os.open(name, _FOLDER, dir_fd=folders[-1]))
            os.close(folders.pop(0))
        fd = _walk(folders, root, parts, max_links)
    except OSError as e:
        if e.errno in (errno.ELOOP, errno.ENOTDIR, errno.EMLINK):
            raise Refused("a folder on the way to it is none, or was replaced") from None
        if e.errno in (errno.ENXIO, errno.EISDIR, errno.ENODEV):
            raise Refused("it is not a regular file") from None
        raise
    finally:
        for folder in folders:
            os.close(folder)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise Refused("it is not a regular file")
        os.set_blocking(fd, True)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _walk(folders: list[int], root: list[str], parts: list[str], max_links: int) -> int:
    """Open what `parts` lead to, from the last of `folders`; those entered are added there."""
    todo = parts[::-1]
    links = 0
    while True:
        name = todo.pop()
        if name == "..":
            # Only a link has these. What is above the folder that is allowed is not.
            if len(folders) == 1:
                raise Refused("a symbolic link leads out of what is registered")
            os.close(folders.pop())
        elif stat.S_ISLNK(_mode(name, folders[-1])):
            links += 1
            if links > max_links:
                raise Refused("there are too many symbolic links, or one that was not there before")
            target = os.readlink(name, dir_fd=folders[-1])
            new = [part for part in target.split("/") if part not in ("", ".")]
            if target[:1] == "/":
                if new[: len(root)] != root:
                    raise Refused("a symbolic link leads out of what is registered")
                new = new[len(root) :]
                while len(folders) > 1:
                    os.close(folders.pop())
            todo.extend(new[::-1])
        elif todo:
            folders.append(os.open(name, _FOLDER, dir_fd=folders[-1]))
        else:
            return os.open(name, _FILE, dir_fd=folders[-1])
        if not todo:
            raise Refused("it is not a regular file")


def _mode(name: str, folder: int) -> int:
    return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
