"""What goes wrong with a copy: `CopyError`."""

from __future__ import annotations

import os

from mitogen.core.errors import Error, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mitogen.core.context import Context


class CopyError(Error):
    """A copy was not made, or not to all targets. What is there under its final name is complete.

    :ivar failed: why, by context.
    :ivar done: the contexts that have the copy.
    """

    def __init__(self, failed: dict[Context, str], done: list[Context]) -> None:
        self.failed = failed
        self.done = done
        lines = ["%s: %s" % (context.name, reason) for context, reason in failed.items()]
        if done:
            lines.append("(%d others have the copy)" % len(done))
        Error.__init__(self, "%s", "\n".join(lines))


class BadStream(Error):
    """The other side sent what is no part of a copy, or would lead out of the folder that is written."""


def reason_of(exc: BaseException) -> str:
    """Return what is told of an exception: paths as text, and no type where its text is enough."""
    if isinstance(exc, OSError) and exc.strerror:
        name = exc.filename
        return "%s: %s" % (os.fsdecode(name), exc.strerror) if name else exc.strerror
    if isinstance(exc, Error):
        return text_of(exc)
    return "%s: %s" % (type(exc).__name__, text_of(exc))
