"""Values to bytes and back: pickle with an allow-list at both ends.

Owns which types may cross, and the errors for those that may not. Pure: no I/O, no thread, no clock. The
unpickler creates nothing but what is listed here, whatever a hostile peer names.

The body of a message is either a pickle (protocol 4, the newest that every supported Python reads; it
starts with the byte 0x80) or, for a plain `bytes` value, the byte 0x00 and the value itself: raw bytes
need no pickle, and are not copied on the way to the socket.

A peer must not be able to change what later messages mean. Pickle's BUILD operation sets attributes of
whatever is on its stack, so `find_class` never hands out a mutable class or function: only immutable
built-in types, and `_Maker` tuples, which have no attributes to set. For the same reason makers return
fresh objects, never ones that the program shares.

Rejected: `pickle.dumps` and a check of its result (a class that is pickled by name can't be told from
data without a second parse); walking every value before pickling (twice the time of the pickling); other
formats (they lose types that users send: tuples, sets, int keys).
"""

from __future__ import annotations

import sys
from io import BytesIO
from typing import TYPE_CHECKING

from mitogen.core.errors import CallError, SerializationError, cut, type_name

try:
    # The C module alone: `pickle` itself adds `re` and other modules, some milliseconds.
    from _pickle import Pickler, Unpickler
except ImportError:
    from pickle import Pickler, Unpickler

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Union

    from mitogen.core.router import Router

    #: What a message body may be: bytes, or buffers to be sent one after the other.
    Body = Union[bytes, list[bytes]]
    Reduced = tuple[Any, tuple[Any, ...]]

PROTOCOL = 4

#: First byte of a body that is plain bytes. A pickle of protocol 2 or later starts with 0x80.
RAW = b"\x00"

#: Below this many bytes, joining the parts of a body costs less than handling a list of them.
JOIN_LIMIT = 16384

#: Types that pickle handles by itself. Instances of subclasses are refused: the receiver would need
#: the class.
BASIC = frozenset(
    [type(None), bool, int, float, str, bytes, tuple, list, dict, set, frozenset],
)


class Blob(bytes):
    """Bytes whose repr shows only their length, so that a payload never floods a log."""

    def __repr__(self) -> str:
        return "Blob(%d bytes)" % len(self)


class Secret(str):
    """Text that must not be seen: its repr hides it, so that no log or traceback shows it."""

    def __repr__(self) -> str:
        return "Secret(...)"


#: How to take apart a value of a type: (callable to name on the wire, its arguments).
REDUCERS: dict[type, Callable[[Any], Reduced]] = {
    complex: lambda obj: (complex, (obj.real, obj.imag)),
    bytearray: lambda obj: (bytearray, (bytes(obj),)),
    Blob: lambda obj: (Blob, (bytes(obj),)),
    Secret: lambda obj: (Secret, (str.__str__(obj),)),
    CallError: lambda obj: obj.__reduce__(),
}

#: Global names that a pickle may use, and what makes the value: fn(router, *arguments).
MAKERS: dict[tuple[str, str], Callable[..., Any]] = {}

#: Immutable types that may be handed to the unpickler as they are.
BUILTINS: dict[str, Any] = {
    "bytearray": bytearray,
    "complex": complex,
    "set": set,
    "frozenset": frozenset,
}

#: Standard library types that are imported with the first value of them.
_LAZY = {
    "datetime": ("date", "datetime", "time", "timedelta", "timezone"),
    "decimal": ("Decimal",),
    "uuid": ("UUID",),
}


def register(cls: type, reducer: Callable[[Any], Reduced], maker: Callable[..., Any]) -> None:
    """Allow `cls` to cross: `maker(router, *arguments)` remakes it from what `reducer` gave.

    For the library's own types, while their modules are imported.
    """
    REDUCERS[cls] = reducer
    MAKERS[cls.__module__, cls.__qualname__] = maker


register(Blob, REDUCERS[Blob], lambda router, value: Blob(value))
register(Secret, REDUCERS[Secret], lambda router, value: Secret(value))
register(CallError, REDUCERS[CallError], lambda router, *args: CallError(*args))


class _Maker(tuple):  # type: ignore[type-arg]
    """A callable without attributes: (function, router)."""

    __slots__ = ()

    def __call__(self, *args: Any) -> Any:
        return self[0](self[1], *args)


def _reduce(obj: Any) -> Reduced:
    """Take apart a value that pickle does not handle by itself, or refuse it."""
    cls = type(obj)
    for base in cls.__mro__:
        # Subclasses of the library's own types (a parent's Context) travel as their base; a subclass
        # of anything else would silently lose what it adds.
        if base in REDUCERS and (base is cls or base.__module__[:8] == "mitogen."):
            return REDUCERS[base](obj)
    if cls.__qualname__ in _LAZY.get(cls.__module__, ()):
        return (cls, (str(obj),)) if cls.__name__ == "UUID" else obj.__reduce_ex__(PROTOCOL)[:2]
    raise SerializationError("%s", type_name(cls))


class _Pickler(Pickler):
    #: The callable named by the value being reduced: the one class that may be saved by name.
    _maker: Any = None

    def _reduce(self, obj: Any) -> Reduced:
        reduced = _reduce(obj)
        self._maker = reduced[0]
        return reduced

    if sys.version_info >= (3, 8):

        def reducer_override(self, obj: Any) -> Any:
            # Only the pure Python pickler asks about basic types.
            if type(obj) in BASIC or obj is self._maker:
                return NotImplemented
            return self._reduce(obj)

    else:

        def __init__(self, *args: Any) -> None:
            Pickler.__init__(self, *args)
            self.dispatch_table = _Table(self)

        def persistent_id(self, obj: Any) -> None:
            # Classes and functions never get to the dispatch table.
            if callable(obj) and obj is not self._maker and type(obj) not in REDUCERS:
                _reduce(obj)


class _Table(dict):  # type: ignore[type-arg]
    """A dispatch table that knows a reducer for every type; for Python 3.6 and 3.7."""

    def __init__(self, pickler: _Pickler) -> None:
        self._pickler = pickler

    def __getitem__(self, cls: type) -> Any:
        return self._pickler._reduce


class _Parts(list):  # type: ignore[type-arg]
    """The file that a pickler writes to. It writes large bytes objects as they are, so keeping its
    writes apart keeps them uncopied."""

    write = list.append


class _Unpickler(Unpickler):
    router: Router | None

    def find_class(self, module: str, name: str) -> Any:
        if module == "builtins" and name in BUILTINS:
            return BUILTINS[name]
        maker = MAKERS.get((module, name))
        if maker is None and name in _LAZY.get(module, ()):
            maker = MAKERS[module, name] = _lazy_maker(module, name)
        if maker is None:
            raise SerializationError("refused to create %s.%s: not an allowed type", module, name)
        return _Maker((maker, self.router))


def _lazy_maker(module: str, name: str) -> Callable[..., Any]:
    cls = getattr(__import__(module), name)
    return lambda router, *args: cls(*args)


def dumps(obj: object, label: str = "value") -> Body:
    """Serialize `obj`.

    :param label: what to call the value in errors: ``result``, ``args``.
    :returns: bytes, or a list of buffers when the value holds large bytes objects.
    :raises SerializationError: something in `obj` can't be sent; the text gives the path to it.
    """
    if type(obj) is bytes:
        return RAW + obj if len(obj) < JOIN_LIMIT else [RAW, obj]
    parts = _Parts()
    try:
        _Pickler(parts, PROTOCOL).dump(obj)
    except Exception as e:
        raise SerializationError("%s", _explain(obj, label, e)) from None
    if len(parts) == 1:
        return parts[0]  # type: ignore[no-any-return]
    return list(parts) if sum(map(len, parts)) > JOIN_LIMIT else b"".join(parts)


def loads(data: bytes, router: Router | None) -> Any:
    """Return the value that `data` holds.

    :param router: the router that received it, to which Contexts and Senders in it are bound.
    :raises SerializationError: the data is damaged or names a type that is not allowed.
    """
    if data[:1] == RAW:
        return data[1:]
    unpickler = _Unpickler(BytesIO(data))
    unpickler.router = router
    try:
        return unpickler.load()
    except SerializationError:
        raise
    except Exception as e:
        raise SerializationError(
            "the message can't be unpickled: %s: %s", type(e).__name__, cut(str(e), 500)
        ) from e


def _explain(obj: object, label: str, error: Exception) -> str:
    """Say which part of `obj` made pickling fail."""
    if isinstance(error, RecursionError):
        return "%s: nested too deeply to be sent" % label
    hint = "; only plain values can be sent (see mitogen.utils.cast for subclasses of them)"
    seen = set()
    pending = [(label, obj)]
    while pending:
        path, value = pending.pop()
        cls = type(value)
        if id(value) in seen:
            continue
        seen.add(id(value))
        if cls in (list, tuple, set, frozenset):
            pending.extend([("%s[%d]" % (path, i), v) for i, v in enumerate(value)][::-1])  # type: ignore[var-annotated,arg-type]
        elif cls is dict:
            for key, item in reversed(list(value.items())):  # type: ignore[attr-defined]
                pending.append(("%s[%s]" % (path, cut(repr(key), 100)), item))
                pending.append(("key of " + path, key))
        elif cls not in BASIC:
            try:
                _reduce(value)
            except SerializationError as e:
                return "%s: %s%s" % (path, e, hint)
            except Exception as e:
                return "%s: %s: %s" % (path, type_name(cls), type(e).__name__)
    return "%s: %s: %s" % (label, type(error).__name__, error)
