"""Contexts in Buildah's working containers: the transport `buildah`."""

from __future__ import annotations

from mitogen.parent.container import ContainerConnection, ContainerOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class BuildahOptions(ContainerOptions):
    """See `mitogen.parent.signatures.Transports.buildah`."""

    program = "buildah"

    def __init__(
        self,
        container: str,
        buildah_path: str | None = None,
        username: str | None = None,
        **common: Any,
    ) -> None:
        ContainerOptions.__init__(self, container, username, buildah_path, **common)


class BuildahConnection(ContainerConnection):
    """Start a context with ``buildah run CONTAINER COMMAND``."""

    transport = "buildah"
    options_class = BuildahOptions

    def wrap(self, argv: list[str]) -> list[str]:
        path = self.options.path
        return [path, "run", *self.user_arguments("--user"), "--", self.target, *argv]
