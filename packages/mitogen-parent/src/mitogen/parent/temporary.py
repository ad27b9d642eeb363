"""Folders for sockets among the temporary files: `make_folder`.

They bear the number of the process that made them, as those that it would have removed stay when it is
killed: whoever makes the next one removes them. There, a number that is unknown may be that of a process
in a container which shares the temporary files. Nobody listens on the socket of one that is gone.
"""

from __future__ import annotations

import errno
import os
import socket

_PREFIX = "mitogen."
#: The name of the socket in each of them.
SOCKET = "socket"


def make_folder() -> str:
    """Make a folder that other users can't enter, and remove those of processes that were killed.

    The caller removes it. Any thread.

    :returns: its path. A socket in it is to be called `SOCKET`.
    :raises OSError: it can't be made.
    """
    # Imported where they are needed: they import much else.
    import shutil
    import tempfile

    top = tempfile.gettempdir()
    for name in os.listdir(top):
        path = os.path.join(top, name)
        if name.startswith(_PREFIX) and _is_stale(path, name.split(".")[1]):
            shutil.rmtree(path, ignore_errors=True)
    return tempfile.mkdtemp(prefix="%s%d." % (_PREFIX, os.getpid()))


def _is_stale(path: str, pid: str) -> bool:
    """Return True if a folder is of this user, and the process that made it is gone."""
    try:
        if os.lstat(path).st_uid == os.geteuid():
            os.kill(int(pid), 0)
    except ProcessLookupError:
        with socket.socket(socket.AF_UNIX) as sock:
            # One that is stopped may have as many waiting as it takes.
            sock.setblocking(False)
            return sock.connect_ex(os.path.join(path, SOCKET)) == errno.ECONNREFUSED
    except (OSError, ValueError, OverflowError):
        pass  # It runs; or this is no folder of ours.
    return False
