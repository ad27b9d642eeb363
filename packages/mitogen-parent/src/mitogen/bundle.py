"""What a child is started with: the core's modules as one payload.

Owns which modules belong to the bundle, and its two forms: code objects for a child of the same
interpreter version, which has nothing to compile, and minified source for any other. Both are made once
per process. Knows nothing of connections.

Code objects come from the import system, which has them compiled on disk; minifying and compiling here
would cost more than a whole local child.
"""

from __future__ import annotations

import marshal
import pkgutil
import sys
import zlib
from typing import TYPE_CHECKING

import mitogen.core

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

#: Modules of the core that few children need. They are imported over the wire when they are, or sent
#: along to those that need them to start: see `extras`.
ON_DEMAND = frozenset(
    ["boot", "debuglog", "detach", "explain", "loghandler", "names", "oldpickle", "pollers"]
    + ["profiling", "receiver"]
)

#: Packages among the modules of the bundle.
PACKAGES = ("mitogen", "mitogen.core")

BOOT = "mitogen.core.boot"

#: The version of marshal's format that every supported Python reads; good for anything but code.
PORTABLE = 2

#: Boot code around a compressed payload.
_DECOMPRESS = "import zlib;t=marshal.loads(zlib.decompress(t[1]));exec(t[0])"

_modules: dict[tuple[str, bool], tuple[str | None, Any]] = {}


def all_names() -> list[str]:
    """Return the full names of all modules of the core, packages first."""
    found = sorted(m.name for m in pkgutil.iter_modules(mitogen.core.__path__))
    return list(PACKAGES) + ["mitogen.core." + name for name in found]


def names() -> list[str]:
    """Return the full names of the modules that every child is sent."""
    return [name for name in all_names() if name.rpartition(".")[2] not in ON_DEMAND]


def extras(version: tuple[int, ...], platform: str) -> list[str]:
    """Return what a child of that Python version and `sys.platform` needs besides, to start."""
    return ["mitogen.core.oldpickle"] * (version < (3, 8)) + ["mitogen.core.pollers"] * (
        not platform.startswith("linux")
    )


def _load(name: str) -> tuple[Any, str]:
    """Return the loader and path of a module of the core, loaded or not."""
    module = sys.modules.get(name)
    if module is None:
        spec: Any = sys.modules["mitogen.core"].__spec__
        path = "%s/%s.py" % (spec.submodule_search_locations[0], name.rpartition(".")[2])
        return type(spec.loader)(name, path), path
    spec = module.__spec__
    return spec.loader, spec.origin


def source(name: str) -> str:
    """Return the minified source of one module of the core."""
    # Only children of another Python version make this necessary.
    from mitogen.minify import minify

    return minify(_load(name)[0].get_source(name))


def content(name: str, as_code: bool) -> tuple[str | None, Any]:
    """Return path and content of a module, as code object or as minified source.

    Without a path, a child takes one from the name: ``mitogen/core/latch.py``.
    """
    key = name, as_code
    if key not in _modules:
        loader, path = _load(name)
        _modules[key] = (path, loader.get_code(name)) if as_code else (None, source(name))
    return _modules[key]


def files() -> list[str]:
    """Return the files of the core, relative to the folder that it is installed in."""
    return [
        name.replace(".", "/") + ("/__init__.py" if name in PACKAGES else ".py") for name in all_names()
    ]


def digest() -> str:
    """Return a digest of those files, which tells equal versions of different content apart."""
    import hashlib

    total = hashlib.sha256()
    for name in all_names():
        loader, path = _load(name)
        total.update(loader.get_data(path))
    return total.hexdigest()


def payload(
    as_code: bool, config: dict[str, Any], compress: bool, extra_names: Iterable[str] = ()
) -> bytes:
    """Return all that the first stage reads: a length, then the boot code, modules and `config`.

    :param as_code: code objects of this interpreter version; else minified source.
    :param compress: True where a network is slower than zlib.
    :param extra_names: modules to send besides those that every child is sent.
    """
    shipped = {}
    for name in names() + list(extra_names):
        shipped[name] = (() if name in PACKAGES else None,) + content(name, as_code)
    return frame((content(BOOT, as_code)[1], shipped, config), as_code, compress)


def frame(parts: tuple[Any, ...], as_code: bool, compress: bool) -> bytes:
    """Marshal `parts` for the first stage, and put its length in front."""
    data = marshal.dumps(parts, marshal.version if as_code else PORTABLE)
    if compress:
        data = marshal.dumps((_DECOMPRESS, zlib.compress(data, 9)), PORTABLE)
    return b"%08x" % len(data) + data
