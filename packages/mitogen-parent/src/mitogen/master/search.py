"""Looks for modules as the import system would, without importing any: `search`, `children`.

Owns the walk along `sys.meta_path` and package paths. Knows nothing of source code. A question from
a remote machine must not run code here, so the packages above a module are not executed.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.machinery import ModuleSpec
    from types import ModuleType

# `pkgutil`, `zipfile` and their like are imported inside functions: see the finder.


def loaded(fullname: str) -> ModuleType | None:
    """Return a loaded module; None for other things that programs put into `sys.modules`."""
    module = sys.modules.get(fullname)
    return module if isinstance(module, type(sys)) else None


def search(fullname: str) -> ModuleSpec | None:
    """Find a module's spec as the import system would, without importing packages above it."""
    path: Iterable[str] | None = None
    spec: ModuleSpec | None = None
    names = fullname.split(".")
    for i in range(len(names)):
        name = ".".join(names[: i + 1])
        module = loaded(name) if i + 1 < len(names) else None
        if module is not None and "__path__" in module.__dict__:
            path = path_of(module.__dict__["__path__"])
            continue
        spec = _search_one(name, path)
        if spec is None:
            return None
        path = locations(spec)
        if path is None and i + 1 < len(names):
            return None
    return spec


def _search_one(fullname: str, path: Iterable[str] | None) -> ModuleSpec | None:
    from importlib.machinery import PathFinder

    for finder in list(sys.meta_path):
        if finder is PathFinder:
            spec = _search_path(fullname, sys.path if path is None else path)
        else:
            try:
                spec = finder.find_spec(fullname, path if path is None else list(path))
            except Exception:
                # Programs put all kinds of things there; one that fails here finds nothing.
                spec = None
        if spec is not None:
            return spec
    return None


def _search_path(fullname: str, path: Iterable[str]) -> ModuleSpec | None:
    """Do as PathFinder does, which looks at the loaded parent of a namespace package."""
    import pkgutil
    from importlib.machinery import ModuleSpec

    portions: list[str] = []
    for entry in path:
        try:
            finder = pkgutil.get_importer(entry or os.getcwd()) if isinstance(entry, str) else None
        except FileNotFoundError:
            continue  # The current folder was deleted.
        if finder is None or not hasattr(finder, "find_spec"):
            continue
        spec = finder.find_spec(fullname)
        if spec is None:
            continue
        if spec.loader is not None:
            return spec
        portions.extend(spec.submodule_search_locations or ())
    if not portions:
        return None
    namespace = ModuleSpec(fullname, None, is_package=True)
    namespace.submodule_search_locations = portions
    return namespace


def locations(spec: ModuleSpec) -> list[str] | None:
    """Return where a package's submodules are; None for other modules."""
    found = spec.submodule_search_locations
    return None if found is None else path_of(found)


def path_of(path: Iterable[str]) -> list[str]:
    """Return the entries of a package's `__path__`."""
    try:
        return list(path)
    except KeyError:
        # A namespace package that outlived the package it is in: it has no more than it had before.
        return list(getattr(path, "_path", ()))


# Submodules.


def children(fullname: str, path: list[str]) -> tuple[str, ...]:
    """Return the names of what can be imported from a package.

    Extension modules are among them, although they can't be sent: a context that asks for one
    learns why. Nothing is returned for a package whose submodules only an import hook knows: then a
    context has to ask for each.

    :param path: the package's `__path__`.
    """
    import pkgutil

    if not any(map(pkgutil.get_importer, path)):
        return ()
    names = {module.name for module in pkgutil.iter_modules(path)}
    for location in path:
        names.update(_folders(location))
    prefix = fullname + "."
    for name in list(sys.modules):
        if name.startswith(prefix) and loaded(name) and "." not in name[len(prefix) :]:
            names.add(name[len(prefix) :])
    return tuple(sorted(names))


def _folders(location: str) -> list[str]:
    """Return the folders in a location: each may be a namespace package."""
    try:
        with os.scandir(location) as entries:
            names = [entry.name for entry in entries if entry.is_dir()]
    except OSError:
        names = _zip_folders(location)
    return [name for name in names if name.isidentifier() and name != "__pycache__"]


def _zip_folders(location: str) -> list[str]:
    import pkgutil
    import zipfile

    importer = pkgutil.get_importer(location)
    archive = getattr(importer, "archive", None)
    if archive is None:
        return []
    prefix = location[len(archive) :].replace(os.sep, "/").strip("/")
    prefix = prefix and prefix + "/"
    with zipfile.ZipFile(archive) as opened:
        members = [n[len(prefix) :] for n in opened.namelist() if n.startswith(prefix)]
    return sorted({name.partition("/")[0] for name in members if "/" in name})
