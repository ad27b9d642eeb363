"""Contexts in FreeBSD jails: the transport `jail`."""

from __future__ import annotations

from mitogen.parent.container import ContainerConnection, ContainerOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class JailOptions(ContainerOptions):
    """See `mitogen.parent.signatures.Transports.jail`."""

    program = "/usr/sbin/jexec"

    def __init__(
        self,
        container: str,
        jexec_path: str | None = None,
        username: str | None = None,
        **common: Any,
    ) -> None:
        ContainerOptions.__init__(self, container, username, jexec_path, **common)


class JailConnection(ContainerConnection):
    """Start a context with ``jexec JAIL COMMAND``."""

    transport = "jail"
    options_class = JailOptions

    def wrap(self, argv: list[str]) -> list[str]:
        path = self.options.path
        return [path, *self.user_arguments("-U"), self.target, *argv]
