"""Which part of a value can't be sent: `explain`. Outside the bundle: imported by what can't be sent."""

from __future__ import annotations

from mitogen.core.describe import type_name
from mitogen.core.errors import SerializationError, cut, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def explain(
    obj: object,
    label: str,
    error: Exception,
    basic: frozenset[type],
    reduce_value: Callable[[Any], tuple[Any, tuple[Any, ...]]],
) -> str:
    """Say which part of `obj` made pickling fail with `error`.

    :param label: what to call `obj` in the text.
    :param basic: types that can be sent as they are.
    :param reduce_value: takes apart any other value that can be sent, and raises SerializationError for
        one that can't.
    """
    if isinstance(error, RecursionError):
        return "%s: nested too deeply to be sent" % label
    hint = "; only plain values can be sent (see mitogen.utils.cast for subclasses of them)"
    # Values by id: arguments that a reducer gave live no longer than this keeps them.
    seen = {}
    pending = [(label, obj)]
    while pending:
        path, value = pending.pop()
        cls = type(value)
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if cls in (list, tuple, set, frozenset):
            pending.extend([("%s[%d]" % (path, i), v) for i, v in enumerate(value)][::-1])  # type: ignore[var-annotated,arg-type]
        elif cls is dict:
            for key, item in reversed(list(value.items())):  # type: ignore[attr-defined]
                pending.append(("%s[%s]" % (path, cut(text_of(key, repr), 100)), item))
                pending.append(("key of " + path, key))
        else:
            try:
                if cls not in basic:
                    pending.append((path, reduce_value(value)[1]))
            except SerializationError as e:
                return "%s: %s%s" % (path, e, hint)
            except Exception as e:
                return "%s: %s: %s" % (path, type_name(cls), type(e).__name__)
    return "%s: %s: %s" % (label, type(error).__name__, error)
