"""Named events between the library's own parts: `listen`, `unlisten`, `fire`.

Documented signals: Stream `disconnect`; Context `disconnect`; Router `shutdown`; Broker
`before_shutdown`, `shutdown`, `exit`; Process `exit`. Listeners run on the thread that fires, nearly
always the broker thread, so they must not block. They are kept on the object itself and go with it.
"""

from __future__ import annotations

from mitogen.core import logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_ATTR = "_mitogen_listeners"


def listen(obj: object, name: str, func: Callable[..., Any]) -> None:
    """Have `func` called whenever `obj` fires `name`. Any thread."""
    obj.__dict__.setdefault(_ATTR, {}).setdefault(name, []).append(func)


def unlisten(obj: object, name: str, func: Callable[..., Any]) -> None:
    """Undo one `listen`.

    :raises ValueError: `func` does not listen for `name` on `obj`.
    """
    obj.__dict__.get(_ATTR, {}).get(name, []).remove(func)


def fire(obj: object, name: str, *args: Any) -> None:
    """Call every listener for `name` on `obj`, in order. One that raises is logged; the rest run."""
    for func in list(obj.__dict__.get(_ATTR, {}).get(name, ())):
        logs.attempt("a listener for %r of %r" % (name, obj), func, *args)
