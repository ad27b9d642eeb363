"""Contexts in other root file systems: the transport `chroot`."""

from __future__ import annotations

from mitogen.core import StreamError
from mitogen.parent.transport import Connection, Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ChrootOptions(Options):
    """Where to, and as whom."""

    def __init__(self, root: str, username: str | None = None, **common: Any) -> None:
        Options.__init__(self, **common)
        if not root.startswith("/"):
            raise StreamError("root must be an absolute path, not %r", root)
        self.root = root
        self.username = username


class ChrootConnection(Connection):
    """Start a context with ``chroot ROOT COMMAND``."""

    transport = "chroot"
    options_class = ChrootOptions
    options: ChrootOptions

    @property
    def target(self) -> str:
        return self.options.root

    def wrap(self, argv: list[str]) -> list[str]:
        username = self.options.username
        user = [] if username is None else ["--userspec=" + username]
        return ["chroot", *user, self.options.root, *argv]
