"""Folders that data is read from: `DiskFolder`, `ZipFolder`, `LoaderFolder`, all used alike.

They know what may be read below one folder, and how; not who may ask for it. Names that they are given
are single ones, checked before: no separators, no "..". What takes long is done in steps: a generator
yields None in between, and returns a piece of a file at last: its version, its size, and the bytes. All
errors are `OSError`. Runs on the broker thread.

A file is opened for each piece, so that whoever stops reading leaves nothing open. Zip files are the
exception: to go on in the middle of a compressed file means to decompress all that comes before, so they
stay open for a while.

Symbolic links are followed where they lead to something in the same folder, and refused where they leave
it: to what else is on the disk, a link in a package is no invitation. There are installers that put links
to a store into a package. Its ``__init__.py`` is one then, too, and what lies beside that in the store is
read as well.
"""

from __future__ import annotations

import errno
import os
from stat import S_ISDIR, S_ISREG
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any, Union
    from zipfile import ZipFile

    #: Version, size in bytes, and content of a piece; after None for each step.
    Piece = tuple[Union[int, str], int, bytes]
    Steps = Generator[None, None, Piece]
    #: Names from a folder on downward.
    Parts = tuple[str, ...]

#: Bytes that are read, or decompressed, in one step.
STEP = 1 << 20
#: Zip files that are kept open, at most, and for how many seconds after their last use.
MAX_OPEN, IDLE = 4, 5.0
#: Files of one zip file that were read in part, and may be gone on with. Nobody reads that many at once,
#: but for a context in other hands.
MAX_READERS = 64


def error(number: int, text: str = "") -> OSError:
    """Return an error of the file system."""
    return OSError(number, text or os.strerror(number))


class DiskFolder:
    """A folder on the disk.

    :param path: of the folder.
    :param module: path of the package's own file, or "".
    """

    def __init__(self, path: str, module: str = "") -> None:
        self.path = path
        roots = {os.path.realpath(path)}
        if module and os.path.islink(module):
            roots.add(os.path.dirname(os.path.realpath(module)))
        self._roots = roots

    def _is_inside(self, real: str) -> bool:
        return any(real == root or real.startswith(root.rstrip("/") + "/") for root in self._roots)

    def _find(self, parts: Parts) -> str:
        real = os.path.realpath(os.path.join(self.path, *parts))
        if not self._is_inside(real):
            raise error(errno.EACCES, "a symbolic link that leads out of the package's folder")
        return real

    def is_folder(self, parts: Parts) -> bool:
        """Return whether it is a folder or a file."""
        mode = os.stat(self._find(parts)).st_mode
        if not S_ISDIR(mode) and not S_ISREG(mode):
            raise error(errno.EACCES, "neither a file nor a folder")
        return S_ISDIR(mode)

    def list(self, parts: Parts) -> dict[str, bool]:
        """Return what is in a folder: names, and whether they are folders."""
        found = {}
        with os.scandir(self._find(parts)) as entries:
            for entry in entries:
                if entry.is_symlink() and not self._is_inside(os.path.realpath(entry.path)):
                    continue
                if entry.is_dir() or entry.is_file():
                    found[entry.name] = entry.is_dir()
        return found

    def read(self, parts: Parts, offset: int, size: int) -> Steps:
        """Return a piece of a file."""
        # A generator like the others; its one step is none that takes long.
        yield from ()
        # Not to wait for somebody to write to what turns out to be a pipe.
        fd = os.open(self._find(parts), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(fd)
            if S_ISDIR(status.st_mode):
                raise error(errno.EISDIR)
            if not S_ISREG(status.st_mode):
                raise error(errno.EACCES, "neither a file nor a folder")
            return status.st_mtime_ns, status.st_size, os.pread(fd, size, offset)
        finally:
            os.close(fd)


class Archive:
    """An open zip file."""

    def __init__(self, path: str, version: tuple[int, int]) -> None:
        import zipfile

        self.version = version
        self.used_at = monotonic()
        try:
            self.opened: ZipFile = zipfile.ZipFile(path)
        except zipfile.BadZipFile as e:
            raise error(errno.EIO, str(e)) from None
        #: What is in each folder, by its path: names, and whether they are folders.
        self.folders: dict[str, dict[str, bool]] = {"": {}}
        for name in self.opened.namelist():
            path, is_folder = name.rstrip("/"), name.endswith("/")
            while path:
                folder, _, last = path.rpartition("/")
                if is_folder:
                    self.folders.setdefault(path, {})
                known = self.folders.setdefault(folder, {})
                if last in known:
                    break
                known[last] = is_folder
                path, is_folder = folder, True
        #: Files that were read in part, by their names; each at the end of that.
        self.readers: dict[str, Any] = {}

    def close(self) -> None:
        """Close it, once nobody is about to read from it."""
        for reader in self.readers.values():
            reader.close()
        self.readers.clear()
        self.opened.close()


class Archives:
    """Zip files that are kept open for a while. Broker thread only.

    :param call_later: as `Broker.call_later`.
    """

    def __init__(self, call_later: Any) -> None:
        self._call_later = call_later
        self._open: dict[str, Archive] = {}

    def get(self, path: str) -> Archive:
        """Return an archive, as it is now."""
        status = os.stat(path)
        version = status.st_mtime_ns, status.st_size
        archive = self._open.pop(path, None)
        if archive is not None and archive.version != version:
            archive.close()
            archive = None
        if archive is None:
            archive = Archive(path, version)
            if not self._open:
                self._call_later(IDLE, self._close_idle)
            elif len(self._open) >= MAX_OPEN:
                self._open.pop(next(iter(self._open))).close()
        # The one that was used last comes last.
        self._open[path] = archive
        archive.used_at = monotonic()
        return archive

    def _close_idle(self) -> None:
        for path, archive in list(self._open.items()):
            if monotonic() - archive.used_at >= IDLE:
                self._open.pop(path).close()
        if self._open:
            self._call_later(IDLE, self._close_idle)

    def close(self) -> None:
        """Close all."""
        while self._open:
            self._open.popitem()[1].close()


class ZipFolder:
    """A folder in a zip file.

    :param path: of the zip file.
    :param prefix: names in it from its top to the folder.
    """

    def __init__(self, archives: Archives, path: str, prefix: Parts) -> None:
        self._archives = archives
        self._path = path
        self._prefix = prefix

    def _find(self, parts: Parts) -> tuple[Archive, str, bool]:
        archive = self._archives.get(self._path)
        name = "/".join((*self._prefix, *parts))
        if name in archive.folders:
            return archive, name, True
        folder, _, last = name.rpartition("/")
        if last not in archive.folders.get(folder, ()):
            raise error(errno.ENOENT)
        return archive, name, False

    def is_folder(self, parts: Parts) -> bool:
        """Return whether it is a folder or a file."""
        return self._find(parts)[2]

    def list(self, parts: Parts) -> dict[str, bool]:
        """Return what is in a folder: names, and whether they are folders."""
        archive, name, is_folder = self._find(parts)
        if not is_folder:
            raise error(errno.ENOTDIR)
        return dict(archive.folders[name])

    def read(self, parts: Parts, offset: int, size: int) -> Steps:
        """Return a piece of a file."""
        archive, name, is_folder = self._find(parts)
        if is_folder:
            raise error(errno.EISDIR)
        info = archive.opened.getinfo(name)
        reader = archive.readers.pop(name, None)
        try:
            if reader is None or reader.tell() > offset:
                reader = archive.opened.open(info)
            while reader.tell() < min(offset, info.file_size):
                reader.read(min(STEP, offset - reader.tell()))
                yield
            content = reader.read(size)
            if reader.tell() < info.file_size and self._archives.get(self._path) is archive:
                # Others may have read the same file meanwhile.
                archive.readers[name], reader = reader, archive.readers.get(name)
                if len(archive.readers) > MAX_READERS:
                    archive.readers.pop(next(iter(archive.readers))).close()
            return "%d %d" % (archive.version[0], info.CRC), info.file_size, content
        except OSError:
            raise
        except Exception as e:
            # Damaged, encrypted, or compressed in a way that Python does not know.
            raise error(errno.EIO, "%s: %s" % (type(e).__name__, e)) from None
        finally:
            if reader is not None:
                reader.close()


class LoaderFolder:
    """The files of a package that only its loader knows.

    :param file: path of the package's own file, as the loader calls it.
    """

    def __init__(self, loader: Any, fullname: str, file: str) -> None:
        self._loader = loader
        self._folder = os.path.dirname(file)
        make_reader = getattr(loader, "get_resource_reader", None)
        self._reader: Any = self._call(make_reader, fullname) if make_reader else None

    def _call(self, fn: Any, *args: Any) -> Any:
        try:
            return fn(*args)
        except OSError as e:
            raise error(e.errno or errno.ENOENT, e.strerror or str(e)) from None
        except Exception as e:
            raise error(errno.EIO, "%s: %s" % (type(e).__name__, e)) from None

    def _find(self, parts: Parts) -> Any:
        """Return what a newer reader has: something like a path; None if there is none."""
        if not hasattr(self._reader, "files"):
            return None
        found = self._call(self._reader.files)
        for part in parts:
            found = self._call(found.joinpath, part)
        return found

    def is_folder(self, parts: Parts) -> bool:
        """Return whether it is a folder or a file."""
        found = self._find(parts)
        if found is not None:
            if self._call(found.is_dir):
                return True
            if self._call(found.is_file):
                return False
            raise error(errno.ENOENT)
        if not parts:
            return True
        if self._reader is None:
            self._get_data(parts)
        elif len(parts) > 1 or not self._call(self._reader.is_resource, parts[0]):
            raise error(errno.ENOENT)
        return False

    def list(self, parts: Parts) -> dict[str, bool]:
        """Return what is in a folder: names, and whether they are folders."""
        found = self._find(parts)
        if found is not None:
            return {str(child.name): bool(child.is_dir()) for child in self._call(found.iterdir)}
        if self._reader is None:
            raise error(errno.ENOTSUP, "the loader of this package does not tell which files there are")
        if parts:
            raise error(errno.ENOENT)
        names = [str(name) for name in self._call(self._reader.contents)]
        return {name: not self._call(self._reader.is_resource, name) for name in names}

    def _get_data(self, parts: Parts) -> bytes:
        if not hasattr(self._loader, "get_data"):
            raise error(errno.ENOENT)
        path = os.path.join(self._folder, *parts)
        return bytes(self._call(self._loader.get_data, path))

    def read(self, parts: Parts, offset: int, size: int) -> Steps:
        """Return a piece of a file."""
        found = self._find(parts)
        if found is not None:
            stream = self._call(found.open, "rb")
        elif self._reader is not None and len(parts) == 1:
            stream = self._call(self._reader.open_resource, parts[0])
        else:
            content = self._get_data(parts)
            return 0, len(content), content[offset : offset + size]
        with stream:
            # Such a file may have no size but by reading all of it, nor be able to begin in its middle.
            at, content = 0, b""
            while True:
                part = self._call(stream.read, STEP)
                if not part:
                    return 0, at, content
                if at < offset + size and at + len(part) > offset:
                    content += part[max(offset - at, 0) : offset + size - at]
                at += len(part)
                yield
