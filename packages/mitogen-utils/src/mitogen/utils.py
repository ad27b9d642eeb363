"""Helpers for masters and children: plain copies of data, logging to a file, a router for a function, and
programs in other contexts.

Owns nothing but what the functions do; each runs in the thread that calls it. It is imported in children
as well, so `logging` and `mitogen.master` are imported by the functions that need them: a child that
casts its results should pay for neither, and must not ask its parent for the master's half. What runs
programs is in `mitogen.parent.running` and `mitogen.parent.capture`, and is imported when it is used.
"""

from __future__ import annotations

import functools
import os
import sys

import mitogen.core
from mitogen.core import describe, errors, stdtypes

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    from collections.abc import Callable
    from typing import Any, Concatenate, ParamSpec, TypeVar

    import mitogen.master
    from mitogen.parent.capture import run as run
    from mitogen.parent.running import popen as popen

    P = ParamSpec("P")
    R = TypeVar("R")

#: Like ``19:11:32 I mitogen.ctx.local.32466: stdout: text``.
LOG_FORMAT = "%(asctime)s %(levelname).1s %(name)s: %(message)s"
LOG_TIME_FORMAT = "%H:%M:%S"

#: Values of MITOGEN_LOG_IO that mean no.
_FALSE = ("", "0", "false", "no", "off")

#: Types of the library that can be sent; `cast` leaves them as they are.
_OWN = (
    mitogen.core.Context,
    mitogen.core.Sender,
    mitogen.core.CallError,
    stdtypes.Blob,
    stdtypes.Secret,
)

#: Types of the standard library that can be sent as they are, by module, so that none is imported.
_STANDARD = {
    "datetime": ("date", "datetime", "time", "timedelta", "timezone"),
    "decimal": ("Decimal",),
    "uuid": ("UUID",),
}

#: Characters of a dictionary key that a path shows.
_KEY_LIMIT = 100


def __getattr__(name: str) -> object:
    if name not in ("run", "popen"):
        raise AttributeError(name)
    home = "mitogen.parent.capture" if name == "run" else "mitogen.parent.running"
    value = globals()[name] = getattr(__import__(home, None, None, [name]), name)
    return value


def cast(obj: Any) -> Any:
    """Return a copy of `obj` made of plain types that can be sent to any context.

    Subclasses of dict, list, tuple, set, frozenset, str, bytes, bytearray, int, float and complex
    become those types, at any depth; named tuples become tuples, enum members of those types their
    values. What the library itself can send (`Context`, `Sender`, `CallError`, `Blob`, `Secret`), dates
    and times, Decimal and UUID stay as they are. An object that occurs twice in `obj` occurs twice in
    the copy, and lists and dictionaries may contain themselves.

    :raises TypeError: `obj` holds something else; the text names its type and the path to it.
    :raises ValueError: a tuple, set or frozenset contains itself, or `obj` is nested too deeply.
    """
    try:
        return _Caster().cast(obj, "obj")
    except RecursionError:
        raise ValueError("obj is nested too deeply to be copied") from None


class _Caster:
    def __init__(self) -> None:
        #: What was copied: {id: (original, copy)}. The originals are kept so that ids stay theirs.
        self._copies: dict[int, tuple[Any, Any]] = {}
        #: Tuples and sets that are being copied, which can't be referred to before they are complete.
        self._unfinished: set[int] = set()

    def cast(self, obj: Any, path: str) -> Any:
        """Return the copy of `obj`, which is at `path`."""
        # Unbound methods of the plain types, since subclasses may override them.
        if obj is None or isinstance(obj, (bool, _OWN)):
            return obj
        if isinstance(obj, str):
            return str.__str__(obj)
        if isinstance(obj, bytes):
            return b"".join((obj,))
        if isinstance(obj, int):
            return int.__int__(obj)
        if isinstance(obj, float):
            return float.__float__(obj)
        if isinstance(obj, complex):
            return complex(obj.real, obj.imag)
        known = self._copies.get(id(obj))
        if known is not None:
            return known[1]
        return self._container(obj, path)

    def _container(self, obj: Any, path: str) -> Any:
        if isinstance(obj, dict):
            pairs = self._keep(obj, {})
            for key, value in obj.items():
                new = self.cast(key, "key of " + path)
                pairs[new] = self.cast(value, "%s[%s]" % (path, _shown(key)))
            return pairs
        if isinstance(obj, list):
            items = self._keep(obj, [])
            items.extend(self.cast(item, "%s[%d]" % (path, i)) for i, item in enumerate(obj))
            return items
        if isinstance(obj, bytearray):
            return self._keep(obj, bytearray(obj))
        for cls in (tuple, set, frozenset):
            if isinstance(obj, cls):
                return self._keep(obj, cls(self._members(obj, path)))
        cls = type(obj)
        if cls.__qualname__ in _STANDARD.get(cls.__module__, ()):
            return obj
        raise TypeError("%s: %s can't be cast to a plain type" % (path, describe.type_name(cls)))

    def _members(self, obj: Any, path: str) -> list[Any]:
        if id(obj) in self._unfinished:
            raise ValueError("%s: a %s that contains itself" % (path, type(obj).__name__))
        self._unfinished.add(id(obj))
        members = [self.cast(item, "%s[%d]" % (path, i)) for i, item in enumerate(obj)]
        self._unfinished.discard(id(obj))
        return members

    def _keep(self, obj: Any, copy: Any) -> Any:
        self._copies[id(obj)] = (obj, copy)
        return copy


def _shown(key: object) -> str:
    try:
        return errors.cut(repr(key), _KEY_LIMIT)
    except Exception:
        return "<unprintable %s>" % type(key).__name__


def disable_site_packages() -> None:
    """Remove from `sys.path` all entries that mention ``site-packages`` or ``Extras``.

    For programs that must not see what happens to be installed. Modules that are loaded stay loaded.
    """
    for entry in list(sys.path):
        if "site-packages" in str(entry) or "Extras" in str(entry):
            sys.path.remove(entry)


def log_to_file(path: str | None = None, io: bool = False, level: str = "INFO") -> None:
    """Write the log records of the program, the library and all contexts to a file.

    Calling it again for the same file only changes the levels. The environment variables
    MITOGEN_LOG_LEVEL and MITOGEN_LOG_IO, where set, take the place of `level` and `io`.

    :param path: file to append to, created if it is not there; None writes to `sys.stderr`.
    :param io: also write what the library logs of each read and write, under ``mitogen.io``.
    :param level: name of the lowest level to write: DEBUG, INFO, WARNING, ERROR.
    :raises OSError: the file can't be opened.
    :raises ValueError: there is no such level.
    """
    import logging

    if path is not None and not isinstance(path, (str, os.PathLike)):
        raise TypeError("path must be the name of a file, or None, not %r" % (path,))
    number = _level(os.environ.get("MITOGEN_LOG_LEVEL") or level)
    wants_io = os.environ.get("MITOGEN_LOG_IO")
    if wants_io is not None:
        io = wants_io.strip().lower() not in _FALSE
    root = logging.getLogger()
    handler = _handler(path)
    # Opened first: if that fails, the former one stays.
    for old in list(root.handlers):
        if _target(old) == _target(handler) is not None:
            root.removeHandler(old)
            old.close()
    root.addHandler(handler)
    root.setLevel(number)
    logging.getLogger("mitogen").setLevel(number)
    # Its records are at DEBUG, and far too many for anybody who just wants to see those.
    quiet = max(number, logging.INFO)
    logging.getLogger("mitogen.io").setLevel(logging.DEBUG if io else quiet)


def _level(name: str) -> int:
    import logging

    text = str(name).strip().upper()
    number = int(text) if text.isdigit() else logging.getLevelName(text)
    if not isinstance(number, int):
        raise ValueError("%r is no log level; use DEBUG, INFO, WARNING, ERROR or CRITICAL" % (name,))
    return number


def _handler(path: str | None) -> logging.Handler:
    import logging

    handler: Any
    if path is None:
        handler = logging.StreamHandler(sys.stderr)
    else:
        handler = logging.FileHandler(path, delay=True)
        # Opened here, since the handler's own `errors` is newer than the oldest child, and texts from
        # elsewhere may hold what UTF-8 can't. The handler closes it.
        handler.stream = open(path, "a", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
    handler.setFormatter(logging.Formatter(LOG_FORMAT, LOG_TIME_FORMAT))
    # Not the handler's name, which is the user's.
    handler.mitogen_target = "" if path is None else os.path.abspath(path)
    return handler  # type: ignore[no-any-return]


def _target(handler: logging.Handler) -> str | None:
    """Return the file that one of our handlers writes to, "" for stderr; None if it isn't ours."""
    return getattr(handler, "mitogen_target", None)


def run_with_router(
    func: Callable[Concatenate[mitogen.master.Router, P], R], *args: P.args, **kwargs: P.kwargs
) -> R:
    """Call ``func(router, *args, **kwargs)`` with a new `mitogen.master.Router`; return its result.

    The router's broker, and with it every context, has ended when this returns or raises.
    """
    # Not at the top: see the module's docstring.
    import mitogen.master

    broker = mitogen.master.Broker()
    try:
        return func(mitogen.master.Router(broker), *args, **kwargs)
    finally:
        broker.shutdown()
        broker.join()


def run_main(func: Callable[[mitogen.master.Router], R], log_level: str, profiling: bool) -> R:
    """Run the main function of a program: see `mitogen.main`."""
    import mitogen.master

    log_to_file(level=log_level)
    mitogen.master.Router.profiling = profiling
    return run_with_router(func)


def with_router(
    func: Callable[Concatenate[mitogen.master.Router, P], R],
) -> Callable[P, R]:
    """Decorate a function that takes a router first, so that it is called without one.

    ::

        @with_router
        def version(router, python_path):
            return router.local(python_path=python_path).call(platform.python_version)

        version("/usr/bin/python3")
    """

    @functools.wraps(func)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        return run_with_router(func, *args, **kwargs)

    return wrapper
