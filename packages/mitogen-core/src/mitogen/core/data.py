"""Files of packages that came over the wire, in a child: what `importlib.resources` and `pkgutil` read.

Nothing is kept here: each question is a round trip to the master, and files are read chunk by chunk.

Any thread but the broker's. On demand: few children read data. Rejected: to have packages offer their
files when they are sent (nearly all have some, and nearly nobody reads them), and to fake `pathlib`
paths (whoever has one expects `open` to take it).
"""

from __future__ import annotations

import errno
import io
import posixpath

from mitogen.core.datafile import CHUNK, File, ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from mitogen.core.imports import Modules


class Resource:
    """A file or folder of the master: what `importlib.resources` calls a traversable. Immutable.

    :ivar loader: the loader of the package.
    :ivar kind: whose file it is: ``"package"`` or ``"distribution"``.
    :ivar owner: the name of that.
    :ivar parts: names from the folder of the owner on downward.
    """

    def __init__(
        self,
        loader: Modules,
        kind: str,
        owner: str,
        parts: tuple[str, ...] = (),
        is_folder: bool | None = None,
    ) -> None:
        self.loader = loader
        self.kind = kind
        self.owner = owner
        self.parts = parts
        #: None as long as it is not known.
        self._is_folder = is_folder

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.parts[-1] if self.parts else self.owner.rpartition(".")[2]

    def __str__(self) -> str:
        folder = "master:" + self.owner
        # Other threads import packages meanwhile.
        for path, owner in list(self.loader.folders.items()):
            if owner == self.owner and self.kind == "package":
                folder = path
        return "/".join((folder, *self.parts))

    def __repr__(self) -> str:
        return "%s(%r)" % (type(self).__name__, str(self))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Resource):
            return NotImplemented
        return (self.kind, self.owner, self.parts) == (other.kind, other.owner, other.parts)

    def __hash__(self) -> int:
        return hash((self.kind, self.owner, self.parts))

    def _ask(self, what: str) -> Any:
        return ask(self.loader, what, self.kind, self.owner, "/".join(self.parts), path=str(self))[0]

    def _has_kind(self, is_folder: bool) -> bool:
        try:
            known = self._is_folder
            return (self._ask("stat") if known is None else known) is is_folder
        except (FileNotFoundError, NotADirectoryError):
            return False

    def is_dir(self) -> bool:
        """Return True for a folder. Asks, unless this came from `iterdir`."""
        return self._has_kind(True)

    def is_file(self) -> bool:
        """Return True for a file. Asks, unless this came from `iterdir`."""
        return self._has_kind(False)

    def exists(self) -> bool:
        """Return True for a folder or file. Asks, unless this came from `iterdir`."""
        return self.is_dir() or self.is_file()

    def iterdir(self) -> Iterator[Resource]:
        """Yield what is in a folder, sorted by name.

        :raises OSError: it is no folder, or is not there.
        """
        return iter([self._below((name,), is_folder) for name, is_folder in self._ask("list")])

    def _below(self, names: tuple[str, ...], is_folder: bool | None = None) -> Resource:
        return Resource(self.loader, self.kind, self.owner, self.parts + names, is_folder)

    def joinpath(self, *descendants: Any) -> Resource:
        """Return what is below a folder, whether it is there or not.

        :param descendants: names, or relative paths with slashes.
        """
        names: list[str] = []
        for path in descendants:
            path = str(path)
            # The master refuses an empty name: the path was an absolute one.
            names += [""] * path.startswith("/") + [n for n in path.split("/") if n not in ("", ".")]
        return self._below(tuple(names)) if names else self

    def __truediv__(self, child: Any) -> Resource:
        return self.joinpath(child)

    def open(self, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        """Return a file object for reading.

        :param mode: ``r`` for text, ``rb`` for bytes; further arguments for text are those of
            `io.TextIOWrapper`.
        :raises OSError: there is no such file, or it can't be read.
        """
        if mode not in ("r", "rt", "rb"):
            raise ValueError("mode %r: files of the master can be read only" % mode)
        raw = io.BufferedReader(File(self))
        return raw if mode == "rb" else io.TextIOWrapper(raw, *args, **kwargs)

    def read_bytes(self) -> bytes:
        """Return the content of a file."""
        with File(self) as f:
            return f.readall()

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """Return the content of a text file."""
        with self.open("r", encoding, errors) as f:
            return f.read()  # type: ignore[no-any-return]


class Reader:
    """What `importlib.resources` asks of a loader: the files of one package.

    The methods other than `files` are for Pythons up to 3.9.
    """

    def __init__(self, root: Resource) -> None:
        self._root = root

    def files(self) -> Resource:
        """Return the folder of the package."""
        return self._root

    def open_resource(self, resource: Any) -> Any:
        """Return a file object."""
        return self._root.joinpath(resource).open("rb")

    def resource_path(self, resource: Any) -> str:
        """Say that there is no file here, so that one is made."""
        raise FileNotFoundError(errno.ENOENT, "it is in the master", str(resource))

    def is_resource(self, name: Any) -> bool:
        """Return True for a file."""
        return self._root.joinpath(name).is_file()

    def contents(self) -> Iterator[str]:
        """Yield names of files and folders."""
        return iter([resource.name for resource in self._root.iterdir()])


def get_resource_reader(loader: Modules, fullname: str) -> Reader | None:
    """Return the reader of the package that a module is, or is in; None for a module in no package."""
    if loader.modules[fullname][0] is None:
        fullname = fullname.rpartition(".")[0]
        if not fullname:
            # What lies beside it may be the folder of a whole site, or of a project.
            return None
    _teach_as_file()
    return Reader(Resource(loader, "package", fullname, (), True))


def _teach_as_file() -> None:
    """Have `as_file` write what it reads chunk by chunk; and take folders, which it does from 3.12 on."""
    import sys

    for name in ("importlib.resources", "importlib_resources"):
        as_file = getattr(sys.modules.get(name), "as_file", None)
        registry = getattr(as_file, "registry", None)
        if registry is not None and Resource not in registry:
            as_file.register(Resource, local_copy)  # type: ignore[union-attr]


class local_copy:
    """A context manager that gives the path of a temporary copy of a file or folder.

    :param resource: which one.
    """

    def __init__(self, resource: Resource) -> None:
        self._resource = resource
        self._folder: Any = None

    def __enter__(self) -> Any:
        import pathlib
        import tempfile

        self._folder = tempfile.TemporaryDirectory()
        try:
            return _copy(self._resource, pathlib.Path(self._folder.name) / self._resource.name)
        except BaseException:
            self._folder.cleanup()
            raise

    def __exit__(self, *exc_info: object) -> None:
        self._folder.cleanup()


def _copy(resource: Resource, target: Any) -> Any:
    import shutil

    if resource.is_dir():
        target.mkdir()
        for child in resource.iterdir():
            _copy(child, target / child.name)
    else:
        with File(resource) as source, target.open("wb") as f:
            shutil.copyfileobj(source, f, CHUNK)
    return target


def get_data(loader: Modules, path: str) -> bytes:
    """Return the content of a file of a package, by a path as in `__file__`, for `pkgutil.get_data`.

    :raises OSError: there is none.
    """
    path = posixpath.normpath(path)
    end = path.rfind("/")
    while end > 0:
        package = loader.folders.get(path[:end])
        if package is not None:
            parts = tuple(path[end + 1 :].split("/"))
            return Resource(loader, "package", package, parts).read_bytes()
        end = path.rfind("/", 0, end)
    for fullname, (_, origin, _) in list(loader.modules.items()):
        if origin == path:
            loader.get_source(fullname)
            content = loader.modules.get(fullname + ":source", loader.modules[fullname])[2]
            if isinstance(content, bytes) and content[:1] != b"\0":
                return content
    raise FileNotFoundError(errno.ENOENT, "no file of a package that was sent", path)


def iter_modules(loader: Modules, fullname: str, prefix: str) -> Iterator[tuple[str, bool]]:
    """Yield names of submodules and whether they are packages; nothing if the package is gone."""
    try:
        found = ask(loader, "modules", "package", fullname)[0]
    except OSError:
        return  # As for a folder that can't be read.
    for name, is_package in found:
        yield prefix + name, is_package


def archive(loader: Modules, fullname: str) -> Any:
    """Return what `importlib.resources.files` of Python 3.9 takes for the zip file that a package is in.

    That version knows files and zip files only, and asks no reader: it takes a loader's `archive`,
    the path from there to the folder of the package.
    """
    import zipfile

    root = Resource(loader, "package", fullname, (), True)
    folder, _, last = str(root).rpartition("/")

    class Archive(zipfile.FastLookup):  # type: ignore[name-defined,misc]
        """Acts as if it had the names of all files, which the master tells when they are looked at."""

        fp = None
        filename = folder

        def __init__(self) -> None:
            """Open nothing."""

        def __fspath__(self) -> str:
            return folder

        @property
        def filelist(self) -> list[Any]:
            """All files; folders are implied, but for empty ones."""
            return [zipfile.ZipInfo("%s/%s" % (last, name)) for name in root._ask("walk")]

        def open(self, name: str, mode: str = "r", pwd: None = None) -> Any:
            """Return a file object."""
            return root.joinpath(name[len(last) + 1 :]).open("rb")

    return Archive()
