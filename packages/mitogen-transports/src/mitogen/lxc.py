"""Contexts in LXC containers, the classic ones: the transport `lxc`."""

from __future__ import annotations

from mitogen.parent.container import ContainerConnection, ContainerOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class LXCOptions(ContainerOptions):
    """See `mitogen.parent.signatures.Transports.lxc`."""

    program = "lxc-attach"

    def __init__(
        self,
        container: str,
        lxc_attach_path: str | None = None,
        **common: Any,
    ) -> None:
        ContainerOptions.__init__(self, container, None, lxc_attach_path, **common)


class LXCConnection(ContainerConnection):
    """Start a context with ``lxc-attach -n CONTAINER COMMAND``."""

    transport = "lxc"
    options_class = LXCOptions

    def wrap(self, argv: list[str]) -> list[str]:
        path = self.options.path
        return [path, "--clear-env", "--name", self.target, "--", *argv]
