"""A terminal for programs that ask for passwords: `Terminal`.

Owns a pseudo-terminal, which is the controlling terminal of the program: that is where ssh, sudo and the
like ask, whatever their standard streams are. The connection itself never crosses it, since a terminal
changes what goes through it, so nothing needs to be set up on it.

It is held open as long as the connection, both ends of it: who loses its terminal gets SIGHUP, and one
that no process has open at the moment reads as ended. Broker thread, but for `start_on_terminal`.
"""

from __future__ import annotations

import os
import sys

from mitogen.core.stream import Side
from mitogen.parent.link import ErrorOutput
from mitogen.parent.process import spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


#: The first of the two descriptors on which a program that reads its answers from stdin passes on the
#: connection.
PASSED_FD = 3


class Terminal(ErrorOutput):
    """Our end of a pseudo-terminal.

    :param fds: its descriptors: our end, and the program's.
    :param name: of the context.
    :param on_data: called with what the program wrote.
    """

    def __init__(self, fds: tuple[int, int], name: str, on_data: Callable[[bytes], object]) -> None:
        ErrorOutput.__init__(self, fds[0], name)
        # Never written to: it is held open, and closed along with the other one.
        self.transmit_side = Side(self, fds[1], keep_alive=False)
        self.on_data = on_data

    def take(self, data: bytes) -> None:
        self.on_data(data)

    def write(self, data: bytes) -> None:
        """Type `data`."""
        if self.receive_side:
            try:
                os.write(self.receive_side.fd, data)
            except OSError:
                pass  # The program is gone, which its connection tells.


def start_on_terminal(
    argv: list[str],
    executable: str,
    fds: tuple[int, int, int],
    pids: list[int],
    env: dict[str, str],
    on_stdin: bool,
) -> tuple[tuple[int, int], Any]:
    """Start a program with a terminal of its own; return its two ends, and a `Popen` if there is one.

    :param argv: its arguments.
    :param executable: the program.
    :param fds: what becomes its descriptors 0, 1 and 2.
    :param pids: gets its process id.
    :param env: its environment.
    :param on_stdin: make the terminal its descriptors 0, 1 and 2, and pass the link from `PASSED_FD` on.
    :raises OSError: it can't be started, or there are no more terminals.
    """
    ours, theirs = os.openpty()
    try:
        path = os.ttyname(theirs)
        if sys.platform == "linux" and hasattr(os, "posix_spawnp"):
            # The leader of a session gets the first terminal that it opens.
            more: tuple[Any, ...] = (
                (os.POSIX_SPAWN_OPEN, PASSED_FD, path, os.O_RDWR, 0),
                (os.POSIX_SPAWN_CLOSE, PASSED_FD),
            )
            if on_stdin:
                more = (
                    (os.POSIX_SPAWN_DUP2, 0, PASSED_FD),
                    (os.POSIX_SPAWN_DUP2, 1, PASSED_FD + 1),
                    (os.POSIX_SPAWN_OPEN, 0, path, os.O_RDWR, 0),
                    (os.POSIX_SPAWN_DUP2, 0, 1),
                    (os.POSIX_SPAWN_DUP2, 0, 2),
                )
            popen = spawn(argv, executable, fds, pids, env, more)
        else:
            popen = spawn(argv, executable, fds, pids, env, (), _terminal_taker(path, on_stdin))
    except BaseException:
        os.close(ours)
        os.close(theirs)
        raise
    return (ours, theirs), popen


def _terminal_taker(path: str, on_stdin: bool) -> Callable[[], None]:
    """Return what does the same, where a terminal must be asked for or `posix_spawn` is missing."""
    import fcntl
    import termios

    def take_terminal() -> None:
        if on_stdin:
            os.dup2(0, PASSED_FD)
            os.dup2(1, PASSED_FD + 1)
        fd = os.open(path, os.O_RDWR)
        fcntl.ioctl(fd, termios.TIOCSCTTY, 0)
        if on_stdin:
            for standard in range(3):
                os.dup2(fd, standard)
        os.close(fd)

    return take_terminal
