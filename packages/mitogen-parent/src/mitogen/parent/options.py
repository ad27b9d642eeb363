"""What every way to start a context can be told: `Options`. Transports derive their own from it.

Plain classes rather than dataclasses: options travel to contexts that run Python 3.6.
"""

from __future__ import annotations

import os

from mitogen.core.errors import StreamError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

#: Seconds for a target to become usable.
CONNECT_TIMEOUT = 30.0


class Options:
    """Options common to all transports.

    :param remote_name: what follows ``mitogen:`` in the process list of the target; by default who
        started it: ``user@host:pid``.
    :param python_path: the interpreter, or a list: a command that ends with one.
    :param debug: write debug logs there, see `Router.enable_debug`.
    :param connect_timeout: seconds for the target to become usable.
    :param profiling: write profiles there, see `Router.profiling`.
    :param unidirectional: let its children talk to it and its parents only.
    :param name: name of the context; by default one made from the transport and the target.
    """

    def __init__(
        self,
        remote_name: str | None = None,
        python_path: str | Sequence[str] | None = None,
        debug: bool = False,
        connect_timeout: float | None = None,
        profiling: bool = False,
        unidirectional: bool | None = None,
        name: str | None = None,
    ) -> None:
        if remote_name is not None and "/" in remote_name:
            raise StreamError(
                "remote_name %r has a slash, but becomes part of a path: use another character",
                remote_name,
            )
        if connect_timeout is not None and connect_timeout <= 0:
            raise StreamError("connect_timeout must be more than 0 seconds, not %r", connect_timeout)
        self.remote_name = remote_name or default_remote_name()
        self.python_path = python_path
        self.debug = debug
        self.connect_timeout = CONNECT_TIMEOUT if connect_timeout is None else connect_timeout
        self.profiling = profiling
        self.unidirectional = unidirectional
        self.name = name
        #: With `via`, what the start is called by whoever asked for it.
        self.request = ""
        #: What a name made from the transport and the target begins with.
        self.name_prefix = ""


_default_remote_name = ""


def default_remote_name() -> str:
    """Return ``user@host:pid`` of this process, without characters that would end a path."""
    global _default_remote_name

    suffix = ":%d" % os.getpid()
    if not _default_remote_name.endswith(suffix):
        _default_remote_name = "%s@%s%s" % (_user_name(), os.uname().nodename, suffix)
    return _default_remote_name.replace("/", "_")


def _user_name() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
