"""Contexts in LXD containers: the transport `lxd`."""

from __future__ import annotations

from mitogen.parent.container import ContainerConnection, ContainerOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class LXDOptions(ContainerOptions):
    """See `mitogen.parent.signatures.Transports.lxd`."""

    program = "lxc"

    def __init__(
        self,
        container: str,
        lxc_path: str | None = None,
        **common: Any,
    ) -> None:
        ContainerOptions.__init__(self, container, None, lxc_path, **common)


class LXDConnection(ContainerConnection):
    """Start a context with ``lxc exec CONTAINER COMMAND``."""

    transport = "lxd"
    options_class = LXDOptions

    def wrap(self, argv: list[str]) -> list[str]:
        path = self.options.path
        return [path, "exec", "--mode=non-interactive", self.target, "--", *argv]
