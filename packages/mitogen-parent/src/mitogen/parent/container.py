"""What the transports into containers have in common: `ContainerOptions` and `ContainerConnection`."""

from __future__ import annotations

from mitogen.core.errors import StreamError
from mitogen.parent.transport import Connection, Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ContainerOptions(Options):
    """Options of a transport into containers.

    :param container: its name or id.
    :param username: account within it; by default the one that the program chooses.
    :param path: the program, in place of `program`.
    """

    #: The program that runs commands in containers.
    program = ""

    def __init__(
        self,
        container: str | None = None,
        username: str | None = None,
        path: str | None = None,
        **common: Any,
    ) -> None:
        Options.__init__(self, **common)
        for what, value in (("container", container), ("username", username)):
            if value is not None and value.startswith("-"):
                raise StreamError("%s %r begins with a dash", what, value)
        self.container = container
        self.username = username
        self.path = path or self.program


class ContainerConnection(Connection):
    """Start a context in a container."""

    options: ContainerOptions

    @property
    def target(self) -> str:
        return self.options.container or ""

    def user_arguments(self, flag: str) -> list[str]:
        """Return what makes it the account that was asked for, if one was."""
        username = self.options.username
        return [] if username is None else [flag, username]
