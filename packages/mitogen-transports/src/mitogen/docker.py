"""Contexts in Docker containers, running or made for the purpose: the transport `docker`."""

from __future__ import annotations

from mitogen.core.errors import StreamError
from mitogen.parent.container import ContainerConnection, ContainerOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class DockerOptions(ContainerOptions):
    """See `mitogen.parent.signatures.Transports.docker`."""

    program = "docker"

    def __init__(
        self,
        container: str | None = None,
        image: str | None = None,
        docker_path: str | None = None,
        username: str | None = None,
        **common: Any,
    ) -> None:
        if (container is None) == (image is None):
            raise StreamError("docker: pass either container, of one that runs, or image, to run one")
        ContainerOptions.__init__(self, container, username, docker_path, **common)
        self.image = image


class DockerConnection(ContainerConnection):
    """Start a context with ``docker exec CONTAINER COMMAND`` or ``docker run --rm IMAGE COMMAND``."""

    transport = "docker"
    options_class = DockerOptions
    options: DockerOptions

    @property
    def target(self) -> str:
        return self.options.container or self.options.image or ""

    def wrap(self, argv: list[str]) -> list[str]:
        how = ["exec"] if self.options.container else ["run", "--rm"]
        user = self.user_arguments("--user")
        return [self.options.path, *how, "--interactive", *user, self.target, *argv]
