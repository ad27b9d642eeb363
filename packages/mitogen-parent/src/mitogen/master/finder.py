"""Finds the source code of modules, for contexts that ask for them: `ModuleFinder`.

Owns the question "what would a context need to import this, and may it have it?" for every kind of
module that a master has loaded or could load: files, zip files, other loaders that know their
source, namespace packages, and the program itself. Knows no messages, contexts or policy: who may
ask for what, and what is sent unasked, is the responder's business. Runs in the master only, on one
thread at a time; it reads files, so a slow file system is felt there.

It never imports a module that it is asked for. The price: a package that changes its `__path__`
while it is imported is seen through only once the master has imported it.

Modules that do the work are imported inside functions, on purpose: programs whose contexts have all
they need never ask, and should not pay for `ast`, `pkgutil` and `zipfile` at start-up.

Rejected: `inspect.getsource` (goes through linecache, loses the encoding), and
`importlib.util.find_spec` (imports parent packages, raises for odd entries of `sys.modules`).
"""

from __future__ import annotations

import sys

from mitogen.core.errors import Error
from mitogen.master.program import NO_GUARD, absolute, importable
from mitogen.master.search import children, loaded, locations, search

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any


#: Names that are remembered, found or not.
CACHE_LIMIT = 20000


class NotServable(Error):
    """A module exists in the master, but its source can't be given to a context.

    :ivar fullname: the module's name.
    :ivar reason: why, and what to do, as the end of a sentence.
    """

    def __init__(self, fullname: str, reason: str) -> None:
        self.fullname = fullname
        self.reason = reason
        Error.__init__(self, "module %s can't be sent to a context: %s", fullname, reason)


class FoundModule:
    """What a context needs to import a module. Immutable.

    :ivar fullname: the name that it was asked for.
    :ivar path: file that the source is from; within a zip file ``x.zip/pkg/mod.py``; the folder of
        a namespace package.
    :ivar source: source code as in the file, minified for modules of this library; empty for a
        namespace package.
    :ivar is_package: whether it may have submodules.
    :ivar children: for a package, the sorted names of its direct submodules, without dots.
    :ivar package: value of ``__package__``, where that can't be told from the name: `__main__` of
        ``python -m package`` may import relative to it.
    """

    __slots__ = ("children", "fullname", "is_package", "package", "path", "source")

    def __init__(
        self,
        fullname: str,
        path: str,
        source: bytes,
        children: tuple[str, ...] | None = None,
        package: str | None = None,
    ) -> None:
        self.fullname = fullname
        self.path = path
        self.source = source
        self.is_package = children is not None
        self.children = children or ()
        self.package = fullname if self.is_package else fullname.rpartition(".")[0]
        if package is not None:
            self.package = package

    def __repr__(self) -> str:
        return "FoundModule(%r, %r, %d bytes)" % (self.fullname, self.path, len(self.source))


class ModuleFinder:
    """Finds modules by name. Not thread-safe; results are kept, so files are read once."""

    def __init__(self) -> None:
        self._cache: dict[str, FoundModule | str | None] = {}

    def find(self, fullname: str) -> FoundModule | None:
        """Return what a context needs to import `fullname`; None if there is no such module.

        :raises NotServable: there is one, but it can't be sent.
        """
        if fullname not in self._cache:
            if len(self._cache) >= CACHE_LIMIT:
                # Only a context that makes up names gets here.
                self._cache.clear()
            try:
                self._cache[fullname] = self._find(fullname)
            except NotServable as e:
                # The reason alone, since an exception would keep frames alive, and grow.
                self._cache[fullname] = e.reason
        found = self._cache[fullname]
        if isinstance(found, str):
            raise NotServable(fullname, found)
        return found

    def children(self, fullname: str) -> tuple[str, ...]:
        """Return the names of the direct submodules of a package, without dots, sorted.

        Empty for anything that is no package, does not exist or can't be sent.
        """
        try:
            found = self.find(fullname)
        except NotServable:
            return ()
        return found.children if found else ()

    def _find(self, fullname: str) -> FoundModule | None:
        if fullname == "__main__":
            return _find_main()
        if not all(part.isidentifier() for part in fullname.split(".")):
            # Contexts are not trusted: no path may hide in a name.
            return None
        module = loaded(fullname)
        if module is not None:
            found = _from_module(fullname, module)
            if found:
                return found
        spec = search(fullname)
        found = _from_spec(fullname, spec) if spec else None
        if found is None and module is not None:
            raise NotServable(
                fullname,
                "it was made while the program ran, or its loader does not give its source",
            )
        return found


def _from_module(fullname: str, module: ModuleType) -> FoundModule | None:
    # Not by getattr: modules with a __getattr__ of their own answer anything.
    known = module.__dict__
    spec = known.get("__spec__")
    if spec is not None:
        return _from_spec(fullname, spec, known.get("__path__"))
    path = known.get("__file__")
    if not isinstance(path, str):
        return None
    return _from_file(fullname, known.get("__loader__"), fullname, path, known.get("__path__"))


def _find_main() -> FoundModule | None:
    module = sys.modules["__main__"]
    spec = getattr(module, "__spec__", None)
    loader = spec.loader if spec else getattr(module, "__loader__", None)
    # Python deletes `__file__` once a script has run to its end, while threads of it may go on.
    path = getattr(module, "__file__", None) or getattr(loader, "path", None)
    if path is not None and path.startswith("<"):
        path = None  # <stdin>
    if hasattr(sys, "ps1") and (path is None or "_pyrepl" in path):
        raise NotServable(
            "__main__",
            "what was typed at an interactive prompt has no file; put the functions into a "
            "module or a script",
        )
    if path is None:
        raise NotServable(
            "__main__",
            "the program was given with -c or on standard input, so it has no file; save it as a "
            "script with an `if __name__ == '__main__':` guard",
        )
    name = spec.name if spec else "__main__"
    found = _from_file("__main__", loader, name, path, None)
    if found is None:
        raise NotServable("__main__", "its file %s can't be read as source code" % path)
    try:
        source = importable(found.source)
    except SyntaxError as e:
        raise NotServable("__main__", "its file %s was changed: %s" % (path, e)) from None
    if source is None:
        raise NotServable("__main__", "%s: %s" % (path, NO_GUARD))
    package = getattr(module, "__package__", None) or ""
    if package:
        source = absolute(source, package)
    return FoundModule("__main__", found.path, source, package=package)


# Specs to sources.


def _from_spec(fullname: str, spec: ModuleSpec, path: Any = None) -> FoundModule | None:
    """Return the module of a spec; None if its source can't be had in any way.

    :param path: the `__path__` of the loaded module, which may have grown since.
    """
    from importlib.machinery import EXTENSION_SUFFIXES

    path = list(path) if path is not None else locations(spec)
    origin = spec.origin or ""
    if origin in ("built-in", "frozen"):
        reason = "it is %s, part of the master's interpreter" % origin
        raise NotServable(fullname, reason)
    if path and spec.loader is None:
        return FoundModule(fullname, path[0], b"", children(fullname, path))
    if origin.endswith(tuple(EXTENSION_SUFFIXES)):
        raise NotServable(
            fullname,
            "%s is compiled for the master's platform; install it on the target" % origin,
        )
    return _from_file(fullname, spec.loader, spec.name, origin, path)


def _from_file(fullname: str, loader: Any, name: str, file: str, path: Any) -> FoundModule | None:
    for get in (_data_of_loader, _source_of_loader, _data_of_file):
        try:
            found = get(loader, name, file)
        except Exception:
            # Loaders raise whatever they like for what they don't have.
            continue
        if found is not None:
            file, source = found
            if not file and path:
                # A namespace package, whose loader gives an empty text.
                file = path[0]
            if fullname.partition(".")[0] == "mitogen":
                source = _minified(source)
            names = None if path is None else children(fullname, list(path))
            return FoundModule(fullname, file, source, names)
    if file.endswith(".pyc"):
        raise NotServable(fullname, "there is byte code only (%s), and no source" % file)
    return None


def _data_of_loader(loader: Any, name: str, path: str) -> tuple[str, bytes] | None:
    """Return bytes as they are in the file or zip file, so that any encoding is kept."""
    if not path.endswith(".py"):
        path = loader.get_filename(name)
    return (path, loader.get_data(path)) if path.endswith(".py") else None


def _source_of_loader(loader: Any, name: str, path: str) -> tuple[str, bytes] | None:
    """Return the text that a loader gives, encoded as the text itself says."""
    import tokenize

    text = loader.get_source(name)
    if text is None:
        return None
    lines = iter(text.encode("utf-8").splitlines(True)[:2])
    encoding = tokenize.detect_encoding(lambda: next(lines, b""))[0]
    return path, text.encode(encoding)


def _data_of_file(loader: Any, name: str, path: str) -> tuple[str, bytes] | None:
    import importlib.util

    if path.endswith(".pyc"):
        try:
            path = importlib.util.source_from_cache(path)
        except ValueError:
            path = path[:-1]
    elif not path.endswith((".py", ".pyw")) and name != "__main__":
        return None
    with open(path, "rb") as f:
        return path, f.read()


def _minified(source: bytes) -> bytes:
    import importlib.util

    from mitogen.minify import minify

    return minify(importlib.util.decode_source(source), own=True).encode("utf-8")
