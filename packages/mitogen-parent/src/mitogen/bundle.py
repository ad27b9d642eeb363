"""What a child is started with: the core's modules as one payload.

Owns which modules belong to the bundle, and its two forms: code objects for a child of the same
interpreter version, which has nothing to compile, and one compressed text of minified sources for any
other. Knows nothing of connections.

Code objects come from the import system, which has them compiled on disk; minifying and compiling here
would cost more than a whole local child. The text is made beforehand (`make bundle`) and lies in the
folder of `mitogen.parent`: minifying takes a third of a second, and compressing well takes minutes. It
names the digest of the sources that it was made from. With any other sources it is not used: a text that
is larger by a tenth is made on the spot then.

A child that starts others has no files of the core, but what it was sent itself. What it lacks, `missing`
tells before it is needed: it is used on the broker thread, which can't wait for an import.
"""

from __future__ import annotations

import marshal
import sys
import zlib

import mitogen.core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

#: Modules of the core that few children need. They are imported over the wire when they are, or sent
#: along to those that need them to start: see `extras`.
ON_DEMAND = frozenset(
    [
        "boot",
        "callloop",
        "channel",
        "credit",
        "data",
        "datafile",
        "debuglog",
        "defer",
        "describe",
        "detach",
        "explain",
        "forwarding",
        "imports",
        "keepalive",
        "leading",
        "locallog",
        "loghandler",
        "metadata",
        "names",
        "oldpython",
        "opening",
        "pollers",
        "preference",
        "pressure",
        "profiling",
        "receiver",
        "receiving",
        "sending",
        "serving",
        "spawning",
        "stats",
        "stdtypes",
        "targets",
        "upgrade",
        "watching",
    ]
)

#: Packages among the modules of the bundle.
PACKAGES = ("mitogen", "mitogen.core")

BOOT = "mitogen.core.boot"

#: The version of marshal's format that every supported Python reads; good for anything but code.
PORTABLE = 2

#: Boot code around code objects, marshalled on their own; and around compressed ones.
_LOAD = "t=marshal.loads(t[1])+t[2:];exec(t[0])"
_DECOMPRESS = "import zlib;t=marshal.loads(zlib.decompress(t[1]))+t[2:];exec(t[0])"
#: For zlib: a higher one takes three times as long, and saves 1 KiB.
_LEVEL = 6

#: Boot code around the text: it takes back the substitutions in front of it, each one byte and what that
#: stands for. What follows the text in the payload's list comes as it is.
_UNPACK = """\
import zlib
w,d=zlib.decompress(t[1]).split(b'\\r\\r')
for c in w.split(b'\\r'):d=d.replace(c[:1],c[1:])
t=d.decode().split('\\0')+t[2:];exec(t[0])"""

#: The text as a module, which masters make up for children that start children of other versions.
TEXT_MODULE = "mitogen.core.core_text"

#: What makes a child a parent, as one module, which masters make up: it holds the sources of these, since
#: they compress better together, and come in one round trip.
PARENT_MODULE = "mitogen.core.parent_half"
PARENT_NAMES = (
    *("mitogen.parent", "mitogen.parent.bootstrap", "mitogen.parent.config"),
    *("mitogen.parent.connection", "mitogen.parent.handshake", "mitogen.parent.link"),
    *("mitogen.parent.local", "mitogen.parent.options", "mitogen.parent.process"),
    *("mitogen.parent.routes", "mitogen.parent.starter", "mitogen.bundle"),
    *("mitogen.core.boot", "mitogen.core.forwarding", "mitogen.core.credit"),
    *("mitogen.core.pressure", "mitogen.core.receiver", "mitogen.core.targets"),
    *("mitogen.core.deadlines", "mitogen.core.serving", "mitogen.core.watching"),
)

#: Modules of the bundle, within `mitogen.core`. That the list is complete, a test tells.
_NAMES = (
    "broker calls child context errors framing handles importer latch logs message poller router routing"
    " serialization signals stdio stream timers"
)

#: In the folder of `mitogen.parent`: a digest, a newline, and the text.
FILE = "parent/core.bundle"

_modules: dict[tuple[str, bool], tuple[str | None, Any]] = {}
_text: list[bytes] = []
#: Code objects as they are sent, by the names besides those that all get, and whether compressed: the
#: same for each child, and too slow to be made again for hundreds.
_packed: dict[tuple[tuple[str, ...], bool], bytes] = {}


def names() -> list[str]:
    """Return the full names of the modules that every child is sent."""
    return list(PACKAGES) + ["mitogen.core." + name for name in _NAMES.split()]


def all_names() -> list[str]:
    """Return the full names of all modules of the core, packages first."""
    return list(PACKAGES) + sorted([*names()[2:], *("mitogen.core." + name for name in ON_DEMAND)])


def _shipped() -> dict[str, Any] | None:
    """Return the modules that this process was sent, by name; None if it has files."""
    spec: Any = mitogen.core.__spec__
    return getattr(spec.loader, "modules", None)


def has_code() -> bool:
    """Return True if code objects for other children of this Python are at hand."""
    modules = _shipped()
    return modules is None or not isinstance(modules["mitogen.core"][2], (str, bytes))


def has_files() -> bool:
    """Return True if the core's files are here, so that an installed core can be compared with them."""
    return _shipped() is None


def missing(as_code: bool, extra_names: Iterable[str]) -> list[str]:
    """Return the modules that must be fetched before `payload` can be called in the same way."""
    modules = _shipped()
    if modules is None:
        return []
    wanted = [BOOT, *extra_names]
    if not as_code and has_code():
        wanted.append(TEXT_MODULE)
    return [name for name in wanted if name not in modules]


def extras(version: tuple[int, ...], platform: str, config: dict[str, Any]) -> list[str]:
    """Return what a child needs besides, to start.

    :param version: of its Python.
    :param platform: its `sys.platform`.
    :param config: what it is told; the names of `extras` are among them.
    """
    installed = list(config.get("extras", ()))
    wanted = (
        ("oldpython", version < (3, 8)),
        ("pollers", not platform.startswith("linux")),
        *((name, "mitogen.core.callloop" in installed) for name in ("leading", "receiving", "sending")),
    )
    return ["mitogen.core." + name for name, is_wanted in wanted if is_wanted] + installed


def _load(name: str) -> tuple[Any, str]:
    """Return the loader and path of a module of the core, loaded or not."""
    module = sys.modules.get(name)
    if module is None or not has_files():
        spec: Any = mitogen.core.__spec__
        if not has_files():
            return spec.loader, spec.loader.get_filename(name)
        path = "%s/%s.py" % (spec.submodule_search_locations[0], name.rpartition(".")[2])
        return type(spec.loader)(name, path), path
    spec = module.__spec__
    return spec.loader, spec.origin


def source(name: str) -> str:
    """Return the minified source of one module of the core."""
    if not has_files():
        # It came minified.
        found: Any = _load(name)[0].modules[name][2]
        return found if isinstance(found, str) else found.decode()
    # Only children of another Python version make this necessary.
    from mitogen.minify import minify

    return minify(_load(name)[0].get_source(name), own=True)


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
    :param compress: True where a network is slower than zlib; the text is always compressed.
    :param extra_names: modules to send besides those that every child is sent.
    """
    if not as_code:
        return frame([_UNPACK, compressed_text(), *_texts(extra_names), config])
    key = tuple(extra_names), compress
    if key not in _packed:
        shipped = {
            name: (() if name in PACKAGES else None,) + content(name, True)
            for name in [*names(), *key[0]]
        }
        data = marshal.dumps((content(BOOT, True)[1], shipped), marshal.version)
        _packed[key] = zlib.compress(data, _LEVEL) if compress else data
    return frame((_DECOMPRESS if compress else _LOAD, _packed[key], config))


def frame(parts: Any) -> bytes:
    """Marshal `parts` for the first stage, and put its length in front."""
    data = marshal.dumps(parts, PORTABLE)
    return b"%08x" % len(data) + data


def text() -> str:
    """Return the boot code and the names and minified sources of the bundle, with NUL between them."""
    return "\0".join([source(BOOT), *_texts(names())])


def _texts(some_names: Iterable[str]) -> list[str]:
    return [part for name in some_names for part in (name, content(name, False)[1])]


def compressed_text() -> bytes:
    """Return `text`, compressed and with its substitutions: from the file, if that is up to date."""
    if not _text:
        if has_code() and not has_files():
            _text.append(__import__(TEXT_MODULE, None, None, ["TEXT"]).TEXT)
        else:
            _text.append(_read_file() or zlib.compress(b"\r\r" + text().encode(), 9))
    return _text[0]


def _read_file() -> bytes | None:
    spec: Any = __spec__
    # A context that was sent this module has no files; it was sent the sources minified.
    get_data = getattr(spec.loader, "get_data", None)
    if get_data is None:
        return None
    try:
        found = get_data(spec.origin.rpartition("/")[0] + "/" + FILE)
    except OSError:
        return None
    made_from, _, data = found.partition(b"\n")
    return data if made_from == digest().encode() else None
