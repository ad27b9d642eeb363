"""Debug logs in a file: `enable_debug`. Outside the bundle: imported where it is asked for."""

from __future__ import annotations

import logging
import os

FORMAT = "%(asctime)s %(levelname).1s %(name)s: %(message)s"


def enable_debug(folder: str = "/tmp") -> str:
    """Write everything from DEBUG up to ``FOLDER/mitogen.PID.log``, and return that path.

    Any thread. A second call of a process changes nothing. The name is easy to guess and the folder may
    be open to all, so the file is created for its owner only, and an existing one of another user, or a
    link, is refused.

    :raises OSError: the file can't be created.
    """
    path = os.path.join(folder, "mitogen.%d.log" % os.getpid())
    root = logging.getLogger()
    for handler in root.handlers:
        if getattr(handler, "mitogen_path", None) == path:
            return path
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    if os.fstat(fd).st_uid != os.geteuid():
        os.close(fd)
        raise PermissionError("%s belongs to another user" % path)
    stream = logging.StreamHandler(os.fdopen(fd, "a", encoding="utf-8"))
    stream.mitogen_path = path  # type: ignore[attr-defined]
    stream.setFormatter(logging.Formatter(FORMAT))
    root.addHandler(stream)
    root.setLevel(logging.DEBUG)
    return path
