"""Contexts in Incus containers: the transport `incus`."""

from __future__ import annotations

from mitogen.parent.container import ContainerConnection, ContainerOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class IncusOptions(ContainerOptions):
    """See `mitogen.parent.signatures.Transports.incus`."""

    program = "incus"

    def __init__(
        self,
        container: str,
        incus_path: str | None = None,
        **common: Any,
    ) -> None:
        ContainerOptions.__init__(self, container, None, incus_path, **common)


class IncusConnection(ContainerConnection):
    """Start a context with ``incus exec CONTAINER COMMAND``."""

    transport = "incus"
    options_class = IncusOptions

    def wrap(self, argv: list[str]) -> list[str]:
        path = self.options.path
        return [path, "exec", "--mode=non-interactive", self.target, "--", *argv]
