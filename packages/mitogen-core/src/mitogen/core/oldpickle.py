"""Pickling on Python 3.6 and 3.7, which lack `reducer_override`. Sent to children of those only.

Instances of unknown types come by a dispatch table that knows every type; classes and functions, which
are saved by name before that table is asked, are caught by `persistent_id`, which is asked about every
object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class _Table(dict):  # type: ignore[type-arg]
    """A dispatch table with the same reducer for every type."""

    def __init__(self, reduce: Any) -> None:
        self._reduce = reduce

    def __getitem__(self, cls: type) -> Any:
        return self._reduce


def adapt(base: Any, own_types: frozenset[type], refuse: Callable[[Any], object]) -> Any:
    """Return a class derived from the pickler `base` that works with the older interface.

    :param own_types: types of values that are allowed although they can be called.
    :param refuse: raises the error for a class or function.
    """

    class OldPickler(base):  # type: ignore[misc]
        def __init__(self, file: Any, protocol: int) -> None:
            base.__init__(self, file, protocol)
            self.dispatch_table = _Table(self.reduce)

        def persistent_id(self, obj: Any) -> None:
            if callable(obj) and obj is not self._maker and type(obj) not in own_types:
                refuse(obj)

    return OldPickler
