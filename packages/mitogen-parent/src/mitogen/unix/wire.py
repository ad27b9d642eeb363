"""What both ends of a UNIX socket need: who is at the other one, and what is said before frames.

The client sends one line: `MAGIC`, the version, and its process id. So does the host: `MAGIC`, the
version, and then the client's id, the largest message, the host's process id, and the ids of the host
and its parents; or why it refuses. The first two words are the same in every version, so that two
versions that differ can say so.

No thread of its own: any may call.
"""

from __future__ import annotations

import os
import socket
import struct
import sys

import mitogen
from mitogen.core.errors import StreamError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    AnyPath = Union[str, bytes, os.PathLike[str], os.PathLike[bytes]]
    #: The client's id, the largest message, the host's process id, and its id and those of its parents.
    Answer = tuple[int, int, int, list[int]]

#: First word of both lines.
MAGIC = "MITOGEN-UNIX"
#: What the third word of a refusal is.
_REFUSED = "refused:"
#: Bytes in a path that the system takes, without the NUL.
PATH_LIMIT = 107 if sys.platform == "linux" else 103
#: Value on Linux, for interpreters that do not name it; and on macOS and the BSDs that have it.
_SO_PEERCRED, _LOCAL_PEERCRED = 17, 1


def peer_uid(sock: socket.socket, platform: str = sys.platform) -> int | None:
    """Return the effective user id of the process at the other end, or None if the system won't tell."""
    try:
        if platform == "linux":
            option = getattr(socket, "SO_PEERCRED", _SO_PEERCRED)
            uid: int = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, option, 12))[1]
            return uid
        if platform.startswith(("darwin", "freebsd", "dragonfly")):
            # How a struct xucred begins, in its version 0.
            version, uid = struct.unpack_from("II", sock.getsockopt(0, _LOCAL_PEERCRED, 256))
            return None if version else uid
    except (OSError, struct.error):
        pass
    return None


def checked_path(path: AnyPath) -> str:
    """Return the absolute path for a socket.

    :raises StreamError: it can't be one.
    """
    full = os.path.abspath(os.fsdecode(path))
    size = len(os.fsencode(full))
    if size > PATH_LIMIT:
        raise StreamError(
            "the path of a UNIX socket has at most %d bytes, and %s has %d: choose a shorter one,"
            " in /tmp for example",
            PATH_LIMIT,
            full,
            size,
        )
    if "\0" in full:
        raise StreamError("the path of a UNIX socket can't hold a NUL byte: %r", full)
    return full


def line(text: str) -> bytes:
    """Return the line that one end sends."""
    return ("%s %s %s\n" % (MAGIC, mitogen.__version__, text)).encode("utf-8", "replace")


def refusal(reason: str) -> bytes:
    """Return the line of a host that refuses."""
    return line("%s %s" % (_REFUSED, reason))


def differ(version: str) -> str:
    """Return what is said to, and about, the other end when its version is not this one."""
    text = "its mitogen is version %s, and the one here is %s: use the same in both programs"
    return text % (version, mitogen.__version__)


def understand(said: bytes) -> Answer | str:
    """Return what a host answered, or why its tree can't be joined."""
    magic, _, rest = said.decode("utf-8", "replace").partition(" ")
    version, _, text = rest.partition(" ")
    if magic != MAGIC:
        return "what listens there is not mitogen.unix, or ended before it answered"
    if version != mitogen.__version__:
        return differ(version)
    if text.startswith(_REFUSED):
        return text
    try:
        context_id, limit, pid, above = text.split(" ")
        return int(context_id), int(limit), int(pid), [int(number) for number in above.split(",")]
    except ValueError:
        return "its answer makes no sense: %r" % text[:100]
