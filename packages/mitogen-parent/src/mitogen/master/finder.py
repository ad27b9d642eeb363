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

import os
import sys
from _thread import allocate_lock
from functools import partial

from mitogen.core import logs
from mitogen.master.found import FoundModule, NotServable
from mitogen.master.program import NO_GUARD, absolute, importable, main_file
from mitogen.master.rules import own_name
from mitogen.master.search import children, loaded, locations, path_of, search

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

    Modifier = Callable[[str, str], str]


#: Modules of the loaders whose code objects are sure to be those of their source.
_HONEST_LOADERS = ("_frozen_importlib_external", "zipimport")

#: What is in no name of a module.
_NO_NAME = frozenset("/\\:\0\n")

#: Names that are remembered, found or not.
CACHE_LIMIT = 20000


class ModuleFinder:
    """Finds modules by name. One thread at a time; results are kept, so files are read once; but again
    once the program has imported a module, or reloaded it.

    :param on_change: called when results may be others from now on, by any thread.
    """

    def __init__(self, on_change: Callable[[], object] | None = None) -> None:
        #: By name: the spec of the module, if it was loaded then; and what was found, or why nothing can
        #: be sent.
        self._cache: dict[str, tuple[object, FoundModule | str | None]] = {}
        self._on_change = on_change
        self._lock = allocate_lock()
        self._modifiers: tuple[Modifier, ...] = ()

    def add_modifier(self, modifier: Modifier) -> None:
        """Have the source of modules changed before contexts get it. Any thread.

        Modifiers are called in the order in which they were added, each with what the one before it
        returned, by the thread that looks for modules: in a master, that is the broker thread. A module
        is served as `modifier` first left it. What it gets of `__main__` is the part above the guard.
        Modules of this library are left alone, and so are namespace packages, which have no source.

        If it raises, or returns something else than text, that is logged, and the module can't be sent.

        :param modifier: called with the full name of a module and its source; returns the source that
            contexts are to have. Tracebacks from contexts show the lines of that.
        :raises TypeError: it can't be called.
        """
        if not callable(modifier):
            raise TypeError(
                "a modifier is a function of a module's name and source, not %r" % (modifier,)
            )
        with self._lock:
            self._modifiers += (modifier,)
        self._cache = {}
        if self._on_change:
            self._on_change()

    def find(self, fullname: str) -> FoundModule | None:
        """Return what a context needs to import `fullname`; None if there is no such module.

        :raises NotServable: there is one, but it can't be sent.
        """
        # Another thread that adds a modifier replaces it.
        cache = self._cache
        if fullname not in cache or not self.is_current(fullname):
            if len(cache) >= CACHE_LIMIT:
                # Only a context that makes up names gets here.
                cache.clear()
            if fullname in cache and self._on_change:
                self._on_change()
            spec = _loaded_spec(fullname)
            try:
                cache[fullname] = spec, self._modified(self._find(fullname))
            except NotServable as e:
                # The reason alone, since an exception would keep frames alive, and grow.
                cache[fullname] = spec, e.reason
        found = cache[fullname][1]
        if isinstance(found, str):
            raise NotServable(fullname, found)
        return found

    def is_current(self, fullname: str) -> bool:
        """Return False if the program has imported or reloaded a module since it was found or missed."""
        known = self._cache.get(fullname)
        return known is None or known[0] is _loaded_spec(fullname)

    def children(self, fullname: str) -> tuple[str, ...]:
        """Return the names of the direct submodules of a package, without dots, sorted.

        Empty for anything that is no package, does not exist or can't be sent.
        """
        try:
            found = self.find(fullname)
        except NotServable:
            return ()
        return found.children if found else ()

    def _modified(self, found: FoundModule | None) -> FoundModule | None:
        """Return a module with the source that modifiers make of its own."""
        modifiers = self._modifiers
        if found is None or not modifiers or found.fullname.partition(".")[0] == "mitogen":
            return found
        if not found.source and not found.path.endswith(".py"):
            return found  # A namespace package.
        import importlib.util

        name, source = found.fullname, found.source
        try:
            text = importlib.util.decode_source(source)
        except (SyntaxError, UnicodeError) as e:
            raise NotServable(name, "its source can't be decoded: %s" % e) from None
        for modifier in modifiers:
            try:
                text = modifier(own_name(name), text)
                # By the coding that it now has: a context decodes it by that.
                source = encoded(text)
            except Exception as e:
                label = getattr(modifier, "__qualname__", None) or repr(modifier)
                logs.log_exception("the source modifier %s failed for module %s", label, name)
                reason = "the source modifier %s failed for it (%s)" % (label, type(e).__name__)
                raise NotServable(name, reason) from None
        children = found.children if found.is_package else None
        return FoundModule(name, found.path, source, children, found.package)

    def _find(self, fullname: str) -> FoundModule | None:
        if fullname == "__main__":
            return _find_main()
        if "" in fullname.split(".") or _NO_NAME & set(fullname):
            # Contexts are not trusted: no path may hide in a name. Identifiers they need not be: some
            # packages have modules that only `import_module` can get.
            return None
        module = loaded(fullname)
        if module is not None:
            found = _from_module(fullname, module)
            if found:
                return found
        spec = search(fullname)
        found = _from_spec(fullname, spec) if spec else None
        if found is None and (module is not None or spec is not None):
            raise NotServable(
                fullname,
                "it was made while the program ran, or its loader does not give its source",
            )
        return found


def _loaded_spec(fullname: str) -> object:
    module = loaded(fullname)
    return None if module is None else module.__dict__.get("__spec__")


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
    path = main_file()
    if path is None and hasattr(sys, "ps1"):
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

    path = path_of(path) if path is not None else locations(spec)
    origin = spec.origin or ""
    if origin in ("built-in", "frozen"):
        reason = "it is %s, part of the master's interpreter" % origin
        raise NotServable(fullname, reason)
    if path and spec.loader is None:
        return _namespace(fullname, path)
    if origin.endswith(tuple(EXTENSION_SUFFIXES)):
        # Some are compiled from Python, which lies beside them.
        folder, _, file = origin.rpartition(os.sep)
        python = os.path.join(folder, file.partition(".")[0] + ".py")
        found = _from_file(fullname, None, spec.name, python, path)
        if found is not None:
            return found
        raise NotServable(
            fullname,
            "%s is compiled for the master's platform; install it on the target" % origin,
        )
    return _from_file(fullname, spec.loader, spec.name, origin, path)


def _namespace(fullname: str, path: list[str]) -> FoundModule:
    # Without code: that is what tells a child that it is no regular package.
    return FoundModule(fullname, path[0], b"", children(fullname, path), get_code=lambda: None)


def _from_file(fullname: str, loader: Any, name: str, file: str, path: Any) -> FoundModule | None:
    for get in (_data_of_loader, _source_of_loader, _data_of_file):
        try:
            found = get(loader, name, file)
        except Exception:
            # Loaders raise whatever they like for what they don't have.
            continue
        if found is not None:
            file, source = found
            if path and not file and not source:
                # Loaded, it has a loader, which gives an empty text.
                return _namespace(fullname, path)
            names = None if path is None else children(fullname, path_of(path))
            get_code = None
            if get is _data_of_loader and type(loader).__module__ in _HONEST_LOADERS:
                get_code = partial(loader.get_code, name)
            return FoundModule(fullname, file, source, names, get_code=get_code)
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
    text = loader.get_source(name)
    return None if text is None else (path, encoded(text))


def encoded(source: str) -> bytes:
    """Return source code in the encoding that it says it has.

    :raises SyntaxError: there is no such encoding.
    :raises UnicodeError: it does not have all that is in the source.
    """
    import tokenize

    lines = iter(source.encode("utf-8").splitlines(True)[:2])
    return source.encode(tokenize.detect_encoding(lambda: next(lines, b""))[0])


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
