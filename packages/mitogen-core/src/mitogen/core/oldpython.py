"""What Python 3.6 and 3.7 lack: `adapt`, for pickling, and `LazyModule`. Sent to children of those only.

Pickling: there is no `reducer_override`. Instances of unknown types come by a dispatch table that knows
every type; classes and functions, which are saved by name before that table is asked, are caught by
`persistent_id`, which is asked about every object.
"""

from __future__ import annotations

import sys
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class _Table(dict):  # type: ignore[type-arg]
    """A dispatch table with the same reducer for every type."""

    def __init__(self, reduce: Any) -> None:
        self._reduce = reduce

    def __getitem__(self, cls: type) -> Any:
        return self._reduce


def adapt(base: Any, own_types: frozenset[type], refuse: Callable[[Any], object], maker: object) -> Any:
    """Return a class derived from the pickler `base` that works with the older interface.

    :param own_types: types of values that are allowed although they can be called.
    :param refuse: raises the error for a class or function.
    :param maker: the one function that is saved by name.
    """

    class OldPickler(base):  # type: ignore[misc]
        def __init__(self, file: Any, protocol: int) -> None:
            base.__init__(self, file, protocol)
            self.dispatch_table = _Table(self.reduce)

        def persistent_id(self, obj: Any) -> None:
            if callable(obj) and obj is not maker and type(obj) not in own_types:
                refuse(obj)

    return OldPickler


class LazyModule(ModuleType):
    """A module whose `__getattr__` function is asked for what is missing; from 3.7 on all are."""

    def __getattr__(self, name: str) -> object:
        if "__getattr__" not in self.__dict__:
            raise AttributeError(name)
        return self.__dict__["__getattr__"](name)


if sys.version_info < (3, 7):
    sys.modules["mitogen.core"].__class__ = LazyModule
    for finder in sys.meta_path:
        if hasattr(finder, "modules"):
            # That of the child, which makes all modules that come over the wire.
            finder.create_module = lambda spec: LazyModule(spec.name)
