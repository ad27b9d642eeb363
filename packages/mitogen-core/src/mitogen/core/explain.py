"""Which part of a value can't be sent: `explain`. Outside the bundle: imported by what can't be sent."""

from __future__ import annotations

from mitogen.core.errors import SerializationError, cut, text_of, type_name
from mitogen.core.serialization import BASIC, reduce_value


def explain(obj: object, label: str, error: Exception) -> str:
    """Say which part of `obj` made pickling fail."""
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
        elif cls not in BASIC:
            try:
                pending.append((path, reduce_value(value)[1]))
            except SerializationError as e:
                return "%s: %s%s" % (path, e, hint)
            except Exception as e:
                return "%s: %s: %s" % (path, type_name(cls), type(e).__name__)
    return "%s: %s: %s" % (label, type(error).__name__, error)
