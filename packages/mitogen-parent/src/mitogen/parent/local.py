"""Contexts on this machine: the transport `local`, and the smallest example of one."""

from __future__ import annotations

import os
import sys

from mitogen.parent.connection import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def home_of(executable: str) -> str:
    """Return the folder from which an interpreter finds its library and its virtual environment.

    A virtual environment is recognised by where its interpreter is, link or not; any other interpreter by
    where the file really is.
    """
    folder = os.path.dirname(executable)
    for place in (folder, os.path.dirname(folder)):
        if os.path.exists(os.path.join(place, "pyvenv.cfg")):
            return folder
    return os.path.dirname(os.path.realpath(executable))


def add_leading(config: dict[str, Any]) -> None:
    """Let a child on this machine read its calls by the thread that runs them, if this process does."""
    if "mitogen.core.leading" in sys.modules:
        # First: what is profiled is what it replaces.
        config["extras"].insert(0, "mitogen.core.callloop")


class LocalConnection(Connection):
    """Start a subprocess of this process.

    With this process's own interpreter, the child is started under its final name, with one `exec`:
    ``mitogen:NAME`` in the interpreter's folder, from which Python finds where it is installed.
    """

    transport = "local"

    @property
    def _own(self) -> bool:
        return self.options.python_path in (None, sys.executable)

    @property
    def find_core(self) -> bool:  # type: ignore[override]
        """Another interpreter may have a core installed; our own is served faster from memory."""
        return not self._own

    def command(self) -> tuple[list[str], str]:
        if not self._own:
            return Connection.command(self)
        argv = self.python_argv()
        argv[0] = os.path.join(home_of(sys.executable), argv.pop())
        return argv, sys.executable

    def python_argv(self) -> list[str]:
        if self.options.python_path is None:
            self.options.python_path = sys.executable
        return Connection.python_argv(self)

    def child_config(self) -> dict[str, Any]:
        config = Connection.child_config(self)
        config["close_fds"] = True
        if self._own:
            config["python"] = sys.executable
            add_leading(config)
        return config
