"""Values to bytes and back: pickle with an allow-list at both ends.

Owns which types may cross, and the errors for those that may not. Pure: no I/O, no thread, no clock. The
unpickler creates nothing but what is listed here, whatever a hostile peer names.

The body of a message is either a pickle (protocol 4, the newest that every supported Python reads; it
starts with the byte 0x80) or, for a plain `bytes` value, the byte 0x00 and the value itself: raw bytes
need no pickle, and are not copied on the way to the socket.

A peer must not be able to change what later messages mean. Pickle's BUILD operation sets attributes of
whatever is on its stack, so `find_class` hands out neither classes nor functions: only a `_Maker` tuple,
which has no attributes to set. For the same reason makers return fresh objects, never ones that the
program shares. Makers take what reducers give and nothing else: `bytearray(1 << 40)` is a bomb.

Nothing that a user could send is saved by name, only `remake` with the name of a type: a class that was
the callable of one value would be in the pickler's memo, and pass unasked as a value of its own. The one
exception is `bytearray`: from Python 3.8 on the C pickler saves those by itself, with their class.

Rejected: `pickle.dumps` and a check of its result (a class that is pickled by name can't be told from
data without a second parse); walking every value before pickling (twice the time of the pickling); other
formats (they lose types that users send: tuples, sets, int keys).
"""

from __future__ import annotations

import sys
from io import BytesIO

from mitogen.core.errors import CallError, SerializationError, cut

try:
    # The C module alone: `pickle` itself adds `re` and other modules, some milliseconds.
    from _pickle import Pickler, Unpickler
except ImportError:
    from pickle import Pickler, Unpickler

TYPE_CHECKING = False
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
BASIC = frozenset([type(None), bool, int, float, str, bytes, tuple, list, dict, set, frozenset])


#: How to take apart a value of a type: fn(value) gives the arguments for its maker.
REDUCERS: dict[type, Callable[[Any], tuple[Any, ...]]] = {}

#: Types by (module, name), and what makes their values: fn(router, *arguments).
MAKERS: dict[tuple[str, str], Callable[..., Any]] = {}


def register(cls: type, reducer: Callable[[Any], tuple[Any, ...]], maker: Callable[..., Any]) -> None:
    """Allow `cls` to cross: `maker(router, *arguments)` remakes it from what `reducer` gave.

    For the library's own types, while their modules are imported.
    """
    REDUCERS[cls] = reducer
    MAKERS[cls.__module__, cls.__qualname__] = maker


register(
    CallError,
    lambda obj: CallError.__reduce__(obj)[1],  # type: ignore[arg-type, return-value]
    lambda router, *args: CallError(*args),
)


def remake(*args: Any) -> Any:
    """Stand in a pickle for the `_Maker` that its reader uses; never called."""


class _Maker(tuple):  # type: ignore[type-arg]
    """What `remake` stands for, without attributes: (router, *arguments that come first)."""

    __slots__ = ()

    def __call__(self, *args: Any) -> Any:
        module, name, *args = self[1:] + args  # type: ignore[assignment]
        maker = MAKERS.get((module, name))
        if maker is None:
            # Outside the bundle: most values are of none of the other types.
            from mitogen.core.stdtypes import find_maker

            # What is found may be a type of our own, which registered itself.
            maker = MAKERS.setdefault((module, name), find_maker(module, name))
        return maker(self[0], *args)


def reduce_value(obj: Any) -> Reduced:
    """Take apart a value that pickle does not handle by itself, or refuse it."""
    for base in type(obj).__mro__:
        # Subclasses of the library's own types (a parent's Context) travel as their base; a subclass
        # of anything else would silently lose what it adds.
        if base in REDUCERS and (base is type(obj) or base.__module__[:8] == "mitogen."):
            return base, REDUCERS[base](obj)
    from mitogen.core.stdtypes import reduce_other

    return reduce_other(obj)


class _Pickler(Pickler):
    def reduce(self, obj: Any) -> Reduced:
        """Return what stands in the pickle for `obj`."""
        cls, args = reduce_value(obj)
        return remake, (cls.__module__, cls.__qualname__) + args

    def reducer_override(self, obj: Any) -> Any:
        """Do so for all but what the pickler handles by itself."""
        # Only the pure Python pickler asks about basic types.
        if type(obj) in BASIC or obj is remake or obj is bytearray:
            return NotImplemented
        return self.reduce(obj)


if sys.version_info < (3, 8):
    # Sent along with the bundle where it is needed.
    from mitogen.core.oldpython import adapt

    _make_pickler = adapt(_Pickler, frozenset(REDUCERS), reduce_value, remake)
else:
    _make_pickler = _Pickler


class _Parts(list):  # type: ignore[type-arg]
    """The file that a pickler writes to. It writes large bytes objects as they are, so keeping its
    writes apart keeps them uncopied."""

    write = list.append


class _Unpickler(Unpickler):
    router: Router | None

    # The pure Python one, PyPy's, would let BUILD change shared values such as `timezone.utc`.
    dispatch = {op: load for op, load in getattr(Unpickler, "dispatch", {}).items() if op != ord("b")}

    def find_class(self, module: str, name: str) -> Any:
        if name == "remake" and module == __name__:
            return _Maker((self.router,))
        if name == "bytearray" and module == "builtins":
            return _Maker((self.router, module, name))
        raise SerializationError("refused to create %s.%s: not an allowed type", module, name)


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
        _make_pickler(parts, PROTOCOL).dump(obj)
    except Exception as e:
        # Outside the bundle: few children ever try to send what can't be sent.
        from mitogen.core.explain import explain

        raise SerializationError("%s", explain(obj, label, e, BASIC, reduce_value)) from None
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
