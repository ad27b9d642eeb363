"""Exceptions to text: `describe`, and `type_name`. Outside the bundle: few calls fail."""

from __future__ import annotations

import traceback

from mitogen.core.errors import CallError, cut, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def type_name(cls: type) -> str:
    """Return the dotted name of a class, as tracebacks print it."""
    if cls.__module__ == "builtins":
        return cls.__name__
    return "%s.%s" % (cls.__module__, cls.__qualname__)


def describe(exc: BaseException, depth: int = 8) -> CallError:
    """Describe `exc`, its traceback and up to `depth` causes as a `CallError`; never raises.

    Only for exceptions that were caught in this process; any thread may call it.
    """
    if type(exc) is CallError:
        return exc
    try:
        cause = exc.__cause__
        if cause is None and not exc.__suppress_context__:
            cause = exc.__context__
        return CallError(
            type_name(type(exc)),
            cut(text_of(exc)),
            text_of(exc, _traceback_of),
            describe(cause, depth - 1) if cause is not None and depth else None,
        )
    except BaseException:
        # Its class, or what stands in its place, may do anything when it is looked at.
        return CallError("<unprintable exception>")


def _traceback_of(exc: Any) -> str:
    return cut("".join(traceback.format_tb(exc.__traceback__)))
