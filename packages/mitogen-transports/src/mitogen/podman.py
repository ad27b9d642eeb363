"""Contexts in Podman containers: the transport `podman`."""

from __future__ import annotations

from mitogen.parent.container import ContainerConnection, ContainerOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class PodmanOptions(ContainerOptions):
    """See `mitogen.parent.signatures.Transports.podman`."""

    program = "podman"

    def __init__(
        self,
        container: str,
        podman_path: str | None = None,
        username: str | None = None,
        **common: Any,
    ) -> None:
        ContainerOptions.__init__(self, container, username, podman_path, **common)


class PodmanConnection(ContainerConnection):
    """Start a context with ``podman exec -i CONTAINER COMMAND``."""

    transport = "podman"
    options_class = PodmanOptions

    def wrap(self, argv: list[str]) -> list[str]:
        path = self.options.path
        return [path, "exec", "--interactive", *self.user_arguments("--user"), self.target, *argv]
