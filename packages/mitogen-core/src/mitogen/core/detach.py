"""Leaving the parent on purpose: what `ExternalContext.detach` does.

Outside the bundle that every child is started with: few contexts detach. It brings along what else lies
outside, and a context may need at any time: to use `logging` and `multiprocessing`, to describe errors,
also for its own children, to send values of all types. Nobody could be asked for that later.
"""

from __future__ import annotations

import atexit
import os
import sys

import mitogen.core.defer
import mitogen.core.describe
import mitogen.core.explain
import mitogen.core.loghandler
import mitogen.core.spawning
import mitogen.core.stdtypes  # noqa: F401
from mitogen.core import handles
from mitogen.core.errors import Error
from mitogen.core.latch import Latch
from mitogen.core.message import Message
from mitogen.core.signals import listen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mitogen.core.child import ExternalContext

#: Seconds for the parent to let go.
_TIMEOUT = 10.0


def detach(econtext: ExternalContext) -> None:
    """Tell the parent, wait until it closed the connection, and become a session of our own.

    The process then lives as long as the function that detached, and the threads it started.

    Standard output and error go to /dev/null from here on: there is nobody to read them.

    :raises TimeoutError: the parent did not let go; the context stays attached.
    :raises Error: the context is detached already.
    """
    if econtext.detached:
        raise Error("context %d is detached already", econtext.router.context_id)
    gone = Latch()
    econtext.detached = True
    listen(econtext.stream, "disconnect", gone.put)
    try:
        econtext.parent.send(Message(handle=handles.DETACHING))
        gone.get(_TIMEOUT)
    except BaseException:
        econtext.detached = False
        raise
    try:
        os.setsid()
    except OSError:
        pass  # Already the leader of its session: children are started as one.
    if econtext._streams:
        econtext._streams.close()
    atexit.register(_join_threads)
    # Nobody can call any more: the process ends with the function that runs now, and its threads.
    econtext.dispatcher.finish()


def _join_threads() -> None:
    """End as any program does: once its threads have ended."""
    if "threading" in sys.modules:
        sys.modules["threading"]._shutdown()
