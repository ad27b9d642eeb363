"""Transports by name: `find`, which knows those of this library and those that others bring.

Others register theirs as entry points of their distributions, in the group ``mitogen.transports``. The
transports of this library are found without that, since it takes some 10 ms to look into every
installed distribution, and since a context that was sent this module has none.

Any thread. No state but what the import system keeps.
"""

from __future__ import annotations

import sys
from importlib import import_module

from mitogen.core.errors import StreamError
from mitogen.parent.connection import Connection
from mitogen.parent.options import Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

GROUP = "mitogen.transports"

#: Those of this library, with the classes of their connections.
BUILT_IN = {
    "local": "mitogen.parent.local:LocalConnection",
    "buildah": "mitogen.buildah:BuildahConnection",
    "doas": "mitogen.doas:DoasConnection",
    "docker": "mitogen.docker:DockerConnection",
    "incus": "mitogen.incus:IncusConnection",
    "jail": "mitogen.jail:JailConnection",
    "kubectl": "mitogen.kubectl:KubectlConnection",
    "lxc": "mitogen.lxc:LXCConnection",
    "lxd": "mitogen.lxd:LXDConnection",
    "podman": "mitogen.podman:PodmanConnection",
    "setns": "mitogen.setns:SetnsConnection",
    "ssh": "mitogen.ssh:SSHConnection",
    "su": "mitogen.su:SuConnection",
    "sudo": "mitogen.sudo:SudoConnection",
}


class UnknownTransportError(StreamError, AttributeError):
    """No transport that is installed here has this name."""


def find(name: str) -> type[Connection]:
    """Return the connection class of the transport `name`.

    :raises UnknownTransportError: there is none; the text names those that there are.
    :raises StreamError: what a distribution brings is not a transport.
    """
    if name in BUILT_IN:
        return _load_built_in(name)
    for entry in _entry_points():
        if entry.name == name:
            where = "%s of the distribution %s" % (entry.value, _distribution_of(entry))
            try:
                found = entry.load()
            except Exception as e:
                raise StreamError(
                    "transport %s: can't load %s: %s: %s", name, where, type(e).__name__, e
                ) from e
            return check(name, where, found)
    raise UnknownTransportError(
        "no transport, and no other attribute, is called %r; transports are %s, and others come with"
        " distributions that have entry points in the group %s",
        name,
        ", ".join(names()),
        GROUP,
    )


def names() -> list[str]:
    """Return the names of all transports that can be used here."""
    return sorted({"fork", *BUILT_IN, *(entry.name for entry in _entry_points())})


def check(name: str, where: str, found: Any) -> type[Connection]:
    """Return `found` if it is a transport.

    :param name: what it was registered as.
    :param where: where it is, for errors.
    :raises StreamError: it is none; the text says what it lacks.
    """
    wrong = _what_is_wrong(name, found)
    if wrong:
        raise StreamError("transport %s: %s %s; see mitogen.parent.transport", name, where, wrong)
    return found  # type: ignore[no-any-return]


def _what_is_wrong(name: str, found: Any) -> str:
    if not (isinstance(found, type) and issubclass(found, Connection)):
        return "is %r, and must be a class derived from mitogen.parent.transport.Connection" % (found,)
    if found.transport != name:
        return "must have transport = %r, not %r" % (name, found.transport)
    options: Any = found.options_class
    if not (isinstance(options, type) and issubclass(options, Options)):
        return "has %r as options_class, which is not derived from mitogen.parent.transport.Options" % (
            options,
        )
    if "<locals>" in found.__qualname__:
        return "is defined within a function, so a context that is to use it can't import it"
    if found.start is Connection.start and found.command is Connection.command:
        return "is derived from a class that starts local interpreters: use that of transports"
    for method in ("wrap", "target"):
        if getattr(found, method, None) is getattr(_base_of(found), method, None):
            return "does not define %s" % method
    return ""


def _base_of(cls: type[Connection]) -> Any:
    """Return the class of `mitogen.parent.transport` that `cls` is derived from, if it is."""
    for base in cls.__mro__:
        if base.__module__ == "mitogen.parent.transport":
            return base
    return None


def make_options(cls: type[Connection], args: Iterable[Any], given: dict[str, Any]) -> Options:
    """Return the options of a transport.

    :param cls: its connection class.
    :raises TypeError: an option is unknown, or missing; the text names those that there are.
    """
    try:
        return cls.options_class(*args, **given)
    except TypeError as e:
        from inspect import signature

        taken = {**signature(cls.options_class).parameters, **signature(Options).parameters}
        known = [
            one.name if one.default is one.empty else "%s=%r" % (one.name, one.default)
            for one in taken.values()
            if one.kind is one.POSITIONAL_OR_KEYWORD
        ]
        text = str(e).rpartition("__init__() ")[2]
        raise TypeError(
            "%s: %s; its options are %s" % (cls.transport, text, ", ".join([*known, "via=None"]))
        ) from None


def _load_built_in(name: str) -> type[Connection]:
    module, _, class_name = BUILT_IN[name].partition(":")
    try:
        found = import_module(module)
    except ModuleNotFoundError as e:
        if e.name != module:
            raise
        raise UnknownTransportError(
            "transport %s is not installed here: pip install mitogen-transports", name
        ) from None
    return getattr(found, class_name)  # type: ignore[no-any-return]


def _entry_points() -> list[Any]:
    if sys.version_info < (3, 10):
        return []  # A context, which has no distributions of ours.
    from importlib.metadata import entry_points

    return list(entry_points(group=GROUP))


def _distribution_of(entry: Any) -> str:
    return getattr(entry.dist, "name", None) or "(unknown)"
