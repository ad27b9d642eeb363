"""How a global of the program comes to be in another module: `literal`, `is_module`, `address`.

Pure, but for a look at what is loaded: an object in, source code or a place to import it from out.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Characters of a value in source code.
MAX_VALUE = 65536


def is_module(obj: Any) -> bool:
    """Return whether something is a module that can be imported by its name, other than the program."""
    if not isinstance(obj, type(sys)):
        return False
    return obj.__name__ != "__main__" and sys.modules.get(obj.__name__) is obj


def literal(obj: Any) -> str | None:
    """Return a plain value as source code; None if it is none, or is too long."""
    import ast

    try:
        if not _is_plain(obj, [MAX_VALUE]):
            return None
        text = repr(obj)
        return text if len(text) <= MAX_VALUE and ast.literal_eval(text) == obj else None
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None  # Numbers that are none; what is in itself; very long numbers.


def _is_plain(obj: Any, left: list[int]) -> bool:
    """Return whether something consists of plain types.

    :param left: how many characters it may have at most; is counted down.
    """
    kind = type(obj)
    left[0] -= len(obj) if kind in (str, bytes) else 1
    if left[0] < 0:
        return False
    if kind in (list, tuple, set):
        return all(_is_plain(item, left) for item in obj)
    if kind is dict:
        return all(_is_plain(key, left) and _is_plain(value, left) for key, value in obj.items())
    return kind in (type(None), bool, int, float, complex, str, bytes)


def address(obj: Any, name: str) -> tuple[str, str, str] | None:
    """Return where something can be imported from: module, name there, and attributes or an empty text.

    :param name: what it is called here, which is often its name there.
    """
    owner = getattr(obj, "__self__", None)
    own = getattr(obj, "__module__", None)
    modules = [own, getattr(owner, "__module__", None), type(obj).__module__]
    paths = [getattr(obj, "__qualname__", None), getattr(obj, "__name__", None), name]
    if isinstance(owner, type):
        paths.append("%s.%s" % (owner.__qualname__, getattr(obj, "__name__", "")))
    for module in modules:
        loaded = sys.modules.get(module) if isinstance(module, str) else None
        # Programs add names to `builtins`, IPython among them.
        if loaded is None or module == "__main__" or (module == "builtins" != own):
            continue
        others = [key for key, value in list(vars(loaded).items()) if value is obj]
        for path in paths + others:
            if isinstance(path, str) and _is_at(obj, loaded, path):
                return str(module), path.partition(".")[0], path.partition(".")[2]
    return None


def _is_at(obj: Any, found: Any, path: str) -> bool:
    import types

    for part in path.split("."):
        if not part.isidentifier():
            return False
        found = getattr(found, part, None)
    # Methods are new objects each time.
    methods = types.MethodType, types.BuiltinFunctionType
    return found is obj or (type(found) is type(obj) and isinstance(obj, methods) and found == obj)
