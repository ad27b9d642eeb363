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
    from typing import Any

#: Modules of the core that few children need. They are imported over the wire when they are.
ON_DEMAND = frozenset(["boot", "debuglog", "detach", "profiling"])

#: Packages among the modules of the bundle.
PACKAGES = ("mitogen", "mitogen.core")

#: The version of marshal's format that every supported Python reads; good for anything but code.
PORTABLE = 2

#: Boot code around a compressed payload.
_DECOMPRESS = "import zlib;t=marshal.loads(zlib.decompress(t[1]));exec(t[0])"

_modules: dict[bool, tuple[Any, dict[str, Any]]] = {}


def names() -> list[str]:
    """Return the full names of the modules in the bundle, packages first."""
    found = sorted(m.name for m in pkgutil.iter_modules(mitogen.core.__path__))
    return list(PACKAGES) + ["mitogen.core." + name for name in found if name not in ON_DEMAND]


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


def modules(as_code: bool) -> tuple[Any, dict[str, Any]]:
    """Return the boot code and the modules of the bundle, as `mitogen.core.boot` takes them.

    :param as_code: code objects of this interpreter version; else minified source.
    """
    if as_code not in _modules:
        shipped = {}
        children = {
            "mitogen": ("core",),
            "mitogen.core": tuple(m.name for m in pkgutil.iter_modules(mitogen.core.__path__)),
        }
        for name in names():
            loader, path = _load(name)
            content = loader.get_code(name) if as_code else source(name)
            shipped[name] = (children.get(name), path, content)
        boot = "mitogen.core.boot"
        first = _load(boot)[0].get_code(boot) if as_code else source(boot)
        _modules[as_code] = first, shipped
    return _modules[as_code]


def files() -> list[str]:
    """Return the files of the bundle, relative to the folder that the core is installed in."""
    return [name.replace(".", "/") + ("/__init__.py" if name in PACKAGES else ".py") for name in names()]


def digest() -> str:
    """Return a digest of those files, which tells equal versions of different content apart."""
    import hashlib

    total = hashlib.sha256()
    for name in names():
        loader, path = _load(name)
        total.update(loader.get_data(path))
    return total.hexdigest()


def payload(as_code: bool, config: dict[str, Any], compress: bool) -> bytes:
    """Return all that the first stage reads: a length, then the boot code, modules and `config`.

    :param as_code: see `modules`.
    :param compress: True where a network is slower than zlib.
    """
    first, shipped = modules(as_code)
    return frame((first, shipped, config), as_code, compress)


def frame(content: tuple[Any, ...], as_code: bool, compress: bool) -> bytes:
    """Marshal `content` for the first stage, and put its length in front."""
    version = marshal.version if as_code else PORTABLE
    data = marshal.dumps(content, version)
    if compress:
        data = marshal.dumps((_DECOMPRESS, zlib.compress(data, 9)), PORTABLE)
    return b"%08x" % len(data) + data
