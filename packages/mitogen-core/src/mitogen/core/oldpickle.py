"""The pickler for Python 3.6 and 3.7, which lack `reducer_override`. Sent to children of those only.

Instances of unknown types come by a dispatch table that knows every type; classes and functions, which are
saved by name before that table is asked, are caught by `persistent_id`, which is called for every object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mitogen.core import serialization

if TYPE_CHECKING:
    from typing import Any


class _Table(dict):  # type: ignore[type-arg]
    """A dispatch table with the same reducer for every type."""

    def __init__(self, reduce: Any) -> None:
        self._reduce = reduce

    def __getitem__(self, cls: type) -> Any:
        return self._reduce


class OldPickler(serialization._Pickler):
    """As `serialization._Pickler`, for the older interface."""

    def __init__(self, file: Any, protocol: int) -> None:
        serialization._Pickler.__init__(self, file, protocol)
        self.dispatch_table = _Table(self.reduce)

    def persistent_id(self, obj: Any) -> None:
        """Refuse what is saved by name, except the class of the value being saved."""
        if callable(obj) and obj is not self._maker and type(obj) not in serialization.REDUCERS:
            serialization.reduce_value(obj)


def make_pickler(file: Any, protocol: int) -> Any:
    """Return a pickler."""
    return OldPickler(file, protocol)
