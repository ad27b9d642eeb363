"""Files of packages, and what is known of distributions, for contexts that ask: `DataServer`.

Answers GET_DATA, in the master alone. Requests are ``(what, kind, name, ...)``, where `kind` is
``package`` or ``distribution``:

* ``list, kind, name, path``: what is in a folder, as (name, whether it is a folder);
* ``stat, kind, name, path``: whether it is a folder;
* ``read, kind, name, path, offset, size``: a piece of a file: its version, its size, and bytes;
* ``walk, "package", name, path``: paths of all files in a folder and below;
* ``modules, "package", name``: its submodules, as (name, whether it is a package);
* ``distributions, "distribution", name``: name, version and entry points of those with that name, or of
  all for an empty one.

The answer is None and the value, or the name of an error number and a text.

Whoever asks is not trusted. Files are those in folders of packages that the finder would serve, within
the rules; of namespace packages only if they are loaded here, else any folder below one of `sys.path`
would be one. Modules among them are as the finder gives them, since it may have been told to change
something. There is no byte code. Of a distribution there are the files in its metadata's folder.

Runs on the broker thread, in steps where it takes long. It keeps nothing but a few open zip files.
"""

from __future__ import annotations

import errno
from time import monotonic

from mitogen.core.datafile import CHUNK, GET_DATA
from mitogen.core.signals import listen
from mitogen.master import distributions
from mitogen.master.folders import Archives, DiskFolder, LoaderFolder, ZipFolder, error
from mitogen.master.found import NotServable
from mitogen.master.questions import Questions
from mitogen.master.search import loaded, locations, search

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Union

    from mitogen.core.message import Message
    from mitogen.core.router import Router
    from mitogen.master.questions import Answering
    from mitogen.master.responder import ModuleResponder

    Folder = Union[DiskFolder, ZipFolder, LoaderFolder]

#: Characters in a name, and in a path.
MAX_NAME, MAX_PATH = 999, 4096
#: Names in the answer to one request.
MAX_NAMES = 100_000
#: Seconds in which a package is not looked for again (who reads a file reads another), and how many.
REMEMBER, MAX_SPECS = 1.0, 200
#: Bytes of a list of files that denied ones are taken from.
MAX_LIST = 1 << 24
#: Distributions, or folders, that are looked at in one step.
IN_ONE_STEP = 10
#: What is never given: byte code, which would show modules as they were before they were changed.
_HIDDEN = (".pyc", ".pyo")
#: What is there of modules: also what type checkers read, and what Cython compiles.
_OF_MODULES = (".py", ".pyi", ".pyx", ".so", ".pyd")


class DataServer:
    """Answer requests for data.

    :param responder: the one whose finder and rules hold.
    """

    def __init__(self, router: Router, responder: ModuleResponder) -> None:
        self._router = router
        self._responder = responder
        self._archives = Archives(router.broker.call_later)
        #: Packages that were asked for a moment ago: until when that counts, and what was found.
        self._specs: dict[str, tuple[float, Any]] = {}
        self._questions = Questions(router, self._answer, GET_DATA)
        listen(router, "shutdown", self._archives.close)

    def _answer(self, msg: Message) -> Answering:
        try:
            what, kind, name, *args = _checked(msg)
            answer = yield from getattr(self, "_%s_%s" % (what, kind))(name, *args)
        except OSError as e:
            return errno.errorcode.get(e.errno or 0, "EIO"), e.strerror or str(e)
        except Exception as e:
            # Whatever a loader, or a damaged file, made of it.
            text = "%s: %s" % (type(e).__name__, e)
            self._router._complain("reading data for context %d failed: %s", msg.src_id, text)
            return "EIO", "the master failed: " + text
        return (None, *answer)

    def _allowed(self, fullname: str) -> bool:
        return self._responder.rules.is_allowed(fullname)

    # -- Packages ------------------------------------------------------------------------------

    def _spec_of(self, fullname: str) -> Any:
        """Return something like the spec of a package that may be had, with its path as it is by now."""
        names = fullname.split(".")
        if not all(map(str.isidentifier, names)) or not self._allowed(fullname):
            raise error(errno.ENOENT)
        known = self._specs.get(fullname)
        if known is None or known[0] < monotonic():
            if len(self._specs) >= MAX_SPECS:
                self._specs.clear()
            known = self._specs[fullname] = monotonic() + REMEMBER, self._look_for(fullname)
        return known[1]

    def _look_for(self, fullname: str) -> Any:
        from types import SimpleNamespace

        try:
            found = self._responder.finder.find(fullname)
        except NotServable as e:
            raise error(errno.ENOENT, str(e)) from None
        if found is None or not found.is_package:
            raise error(errno.ENOENT)
        module = loaded(fullname)
        known = {} if module is None else module.__dict__
        spec = known.get("__spec__") or (search(fullname) if module is None else None)
        origin = getattr(spec, "origin", None) or known.get("__file__")
        path = list(known["__path__"]) if "__path__" in known else spec and locations(spec)
        if not path or (module is None and not origin):
            raise error(errno.ENOENT, "a namespace package that is not loaded in the master")
        loader = getattr(spec, "loader", None) or known.get("__loader__")
        return SimpleNamespace(path=path, loader=loader, origin=origin or "")

    def _folders(self, fullname: str) -> list[Folder]:
        spec = self._spec_of(fullname)
        folders: list[Folder] = []
        for i, path in enumerate(spec.path):
            folder = self._folder_at(path, spec.origin if not i else "")
            if folder is not None:
                folders.append(folder)
        if not folders and spec.loader is not None:
            folders.append(LoaderFolder(spec.loader, fullname, spec.origin))
        return folders

    def _folder_at(self, path: Any, module: str) -> Folder | None:
        import os
        import pkgutil

        if not isinstance(path, str):
            return None
        if os.path.isdir(path):
            return DiskFolder(path, module)
        archive = getattr(pkgutil.get_importer(path), "archive", None)
        if archive is None:
            return None
        inside = path[len(archive) :].replace(os.sep, "/")
        return ZipFolder(self._archives, archive, tuple(filter(None, inside.split("/"))))

    def _is_shown(self, fullname: str, parts: tuple[str, ...], is_folder: bool) -> bool:
        """Return True for what is neither denied, as a module would be, nor hidden."""
        if "__pycache__" in parts or (parts and not is_folder and parts[-1].endswith(_HIDDEN)):
            return False
        names = [part.partition(".")[0] for part in parts]
        if parts and not is_folder and names[-1] == parts[-1].rpartition(".")[0] == "__init__":
            names.pop()
        for i in range(len(names)):
            is_module = i < len(parts) - 1 or is_folder or parts[i].endswith(_OF_MODULES)
            if is_module and not self._allowed(".".join([fullname, *names[: i + 1]])):
                return False
        return True

    def _find(self, fullname: str, path: str) -> tuple[Folder, tuple[str, ...], bool]:
        """Return the first folder of a package that has what is asked for, and whether it is a folder."""
        parts = split(path)
        first_error: OSError | None = None
        for folder in self._folders(fullname):
            try:
                is_folder = folder.is_folder(parts)
            except OSError as e:
                first_error = first_error or e
                continue
            if not self._is_shown(fullname, parts, is_folder):
                break
            return folder, parts, is_folder
        else:
            # What is denied must not be told from what is missing by how it fails.
            if first_error is not None and self._is_shown(fullname, parts, True):
                raise first_error
        raise error(errno.ENOENT)

    def _stat_package(self, fullname: str, path: str) -> Answering:
        yield from ()
        return (self._find(fullname, path)[2],)

    def _list_package(self, fullname: str, path: str) -> Answering:
        parts = split(path)
        _, _, is_folder = self._find(fullname, path)
        if not is_folder:
            raise error(errno.ENOTDIR)
        names: dict[str, bool] = {}
        for folder in self._folders(fullname):
            try:
                # The first portion of a namespace package goes before the others.
                names = {**folder.list(parts), **names}
            except (FileNotFoundError, NotADirectoryError):
                continue
            yield
        shown = {n: f for n, f in names.items() if self._is_shown(fullname, (*parts, n), f)}
        if len(shown) > MAX_NAMES:
            raise error(errno.EFBIG, "there are more than %d names in this folder" % MAX_NAMES)
        return (sorted(shown.items()),)

    def _walk_package(self, fullname: str, top: str) -> Answering:
        found: list[str] = []
        waiting = [top]
        for count, path in enumerate(waiting):
            if count % IN_ONE_STEP == IN_ONE_STEP - 1:
                yield
            (names,) = yield from self._list_package(fullname, path)
            for name, is_folder in names:
                below = "%s/%s" % (path, name) if path else name
                (waiting if is_folder else found).append(below)
            if len(found) + len(waiting) > MAX_NAMES:
                raise error(errno.EFBIG, "there are more than %d files in this package" % MAX_NAMES)
        return (found,)

    def _read_package(self, fullname: str, path: str, offset: int, size: int) -> Answering:
        folder, parts, is_folder = self._find(fullname, path)
        if is_folder:
            raise error(errno.EISDIR)
        source = self._source_of(fullname, parts)
        if source is not None:
            return hash(source), len(source), source[offset : offset + size]
        return (yield from folder.read(parts, offset, size))

    def _source_of(self, fullname: str, parts: tuple[str, ...]) -> bytes | None:
        """Return a file that is a module as the finder gives it to contexts; None for other files.

        :raises OSError: a modifier failed, so nobody knows what contexts may see of it.
        """
        if not parts[-1].endswith(".py"):
            return None
        names = [*fullname.split("."), *parts[:-1], parts[-1][:-3]]
        if names[-1] == "__init__":
            names.pop()
        try:
            found = self._responder.finder.find(".".join(names))
        except NotServable as e:
            raise error(errno.EACCES, str(e)) from None
        # A package of the same name goes before a module.
        is_it = found is not None and found.path.endswith("/" + "/".join(parts))
        return found.source if found is not None and is_it else None

    def _modules_package(self, fullname: str) -> Answering:
        import pkgutil

        yield from ()
        spec = self._spec_of(fullname)
        found = pkgutil.iter_modules([path for path in spec.path if isinstance(path, str)])
        named = [(module.name, module.ispkg) for module in found]
        return ([(n, p) for n, p in named if self._allowed("%s.%s" % (fullname, n))],)

    # -- Distributions -------------------------------------------------------------------------

    def _distributions_distribution(self, name: str) -> Answering:
        listed: dict[str, tuple[str, str, str]] = {}
        for count, distribution in enumerate(distributions.find(name or None)):
            if count % IN_ONE_STEP == IN_ONE_STEP - 1:
                yield
            told = distributions.describe(distribution)
            if told and self._is_told(distribution, told[0]):
                listed.setdefault(distributions.normalized(told[0]), told)
        return (list(listed.values()),)

    def _is_told(self, distribution: Any, name: str) -> bool:
        # That reads a file more, for which there is no need where everything is allowed.
        if not self._responder.rules.exist():
            return True
        return distributions.is_allowed(distribution, name, self._allowed)

    def _metadata(self, name: str, path: str) -> tuple[Folder, tuple[str, ...]]:
        """Return a folder, and which file of it, for a file among a distribution's metadata."""
        distribution = next(distributions.find(name), None) if name else None
        if distribution is None or not self._is_told(distribution, name):
            raise error(errno.ENOENT)
        folder, parts = distributions.folder_of(distribution, self._archives)
        if parts and path:
            raise error(errno.ENOENT)
        return folder, parts or split(path)

    def _stat_distribution(self, name: str, path: str) -> Answering:
        yield from ()
        folder, parts = self._metadata(name, path)
        return (folder.is_folder(parts),)

    def _list_distribution(self, name: str, path: str) -> Answering:
        yield from ()
        folder, parts = self._metadata(name, path)
        return (sorted(folder.list(parts).items()),)

    def _read_distribution(self, name: str, path: str, offset: int, size: int) -> Answering:
        folder, parts = self._metadata(name, path)
        if path not in distributions.LISTS or not self._responder.rules.exist():
            return (yield from folder.read(parts, offset, size))
        _, total, text = yield from folder.read(parts, 0, MAX_LIST)
        if total > MAX_LIST:
            raise error(errno.EFBIG, "a list of files of more than %d bytes" % MAX_LIST)
        text = distributions.without_denied(text, self._allowed)
        return hash(text), len(text), text[offset : offset + size]


#: What may be asked, by what and kind, with the types of what follows the name.
_QUESTIONS: dict[tuple[str, str], tuple[type, ...]] = {
    ("list", "package"): (str,),
    ("stat", "package"): (str,),
    ("read", "package"): (str, int, int),
    ("walk", "package"): (str,),
    ("modules", "package"): (),
    ("list", "distribution"): (str,),
    ("stat", "distribution"): (str,),
    ("read", "distribution"): (str, int, int),
    ("distributions", "distribution"): (),
}


def _checked(msg: Message) -> Iterable[Any]:
    """Return a request whose parts have the types that they must have.

    :raises OSError: it makes no sense.
    """
    try:
        what, kind, name, *args = request = msg.unpickle()
        wanted = _QUESTIONS[what, kind]
    except Exception:
        raise error(errno.EINVAL, "no request for data") from None
    if type(name) is not str or len(name) > MAX_NAME or tuple(map(type, args)) != wanted:
        raise error(errno.EINVAL, "no request for data")
    if wanted[1:] and not (0 <= args[1] < 1 << 63 and 0 <= args[2] <= CHUNK):
        raise error(errno.EINVAL, "no part of a file")
    checked: Iterable[Any] = request
    return checked


def split(path: str) -> tuple[str, ...]:
    """Return the names in a path below a folder; none for the folder itself.

    :raises OSError: it is no such path.
    """
    if not path:
        return ()
    parts = tuple(path.split("/"))
    if len(path) > MAX_PATH or "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise error(errno.ENOENT, "no path below a folder")
    return parts
