"""Values of the standard library's types, beyond those that pickle handles: `reduce_other`, `find_maker`.

Outside the bundle: imported when the first such value is sent or received. Some of the types are imported
with the first value of them in turn.
"""

from __future__ import annotations

from mitogen.core.describe import type_name
from mitogen.core.errors import SerializationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: Types by module. Those of the library register themselves when they are imported.
_TYPES = {
    "builtins": ("complex", "bytearray"),
    "datetime": ("date", "datetime", "time", "timedelta", "timezone"),
    "decimal": ("Decimal",),
    "uuid": ("UUID",),
    "mitogen.core.receiver": ("Sender",),
    "mitogen.core.stdtypes": ("Blob", "Secret"),
}


class Blob(bytes):
    """Bytes whose repr shows only their length, so that a payload never floods a log."""

    def __repr__(self) -> str:
        return "Blob(%d bytes)" % len(self)


class Secret(str):
    """Text that must not be seen: its repr hides it, so that no log or traceback shows it."""

    def __repr__(self) -> str:
        return "Secret(...)"


def find_maker(module: str, name: str) -> Callable[..., Any]:
    """Return what makes values of a type: fn(router, *arguments).

    :raises SerializationError: values of that type are not allowed.
    """
    if name not in _TYPES.get(module, ()):
        raise SerializationError("refused to create %s.%s: not an allowed type", module, name)
    # Joining takes bytes only, where the constructors would take a number.
    if name == "bytearray":
        return lambda router, value=b"": bytearray().join([value])
    if name == "Blob":
        return lambda router, value: Blob(b"".join([value]))
    cls = getattr(__import__(module, None, None, [name]), name)
    return lambda router, *args: cls(*args)


def reduce_other(obj: Any) -> tuple[Any, tuple[Any, ...]]:
    """Take apart a value: return its type, and the arguments that remake it.

    :raises SerializationError: values of its type are not allowed.
    """
    cls = type(obj)
    if cls is complex:
        return cls, (obj.real, obj.imag)
    if cls is bytearray or cls is Blob:
        return cls, (bytes(obj),)
    if cls is Secret:
        return cls, (str.__str__(obj),)
    if cls.__qualname__ not in _TYPES.get(cls.__module__, ()):
        raise SerializationError("%s", type_name(cls))
    if cls.__name__ == "UUID":
        return cls, (str(obj),)
    return obj.__reduce_ex__(4)[:2]  # type: ignore[no-any-return]
