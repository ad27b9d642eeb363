"""Where lines of a master go: to `logging`. Any thread.

Outside the bundle: children send theirs to the master, see `mitogen.core.logs`.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: As in `mitogen.core.logs`.
WARNING = 30


def is_shown(level: int) -> bool:
    """Return True if `logging` would show a line of `level` of the library's own."""
    if level >= WARNING:
        return True
    # A program that never imported logging has not asked for anything below a warning.
    logging: Any = sys.modules.get("logging")
    return bool(logging and logging.getLogger("mitogen").isEnabledFor(level))


def write(level: int, name: str, text: str) -> None:
    """Log a line of the logger `name`."""
    import logging

    try:
        logging.getLogger(name).log(level, "%s", text)
    except Exception:
        # A handler or filter of the program's own. It must not end the thread that has something to say.
        pass
