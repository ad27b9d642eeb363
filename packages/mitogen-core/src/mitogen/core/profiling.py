"""Profiles of a process's own threads: `profile`, `install`.

Outside the bundle: it goes along to children that are started with `profiling`.
"""

from __future__ import annotations

import os
import sys

from mitogen.core.broker import Broker
from mitogen.core.calls import Dispatcher

if sys.version_info < (3, 12):
    from cProfile import Profile
else:
    # There may be only one cProfile at a time in a process; this one is for a thread.
    from profile import Profile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def profile(func: Callable[[], object], thread_name: str, folder: str = "/tmp") -> None:
    """Call `func()`, and write its profile to ``FOLDER/mitogen.stats.PID.THREAD_NAME.log``.

    The file is in the format of `cProfile` (read it with `pstats`), and is replaced if it exists.
    """
    profiler = Profile()
    if sys.version_info >= (3, 12):
        # Where another thread is profiled, the return of the call that starts it is told as well.
        dispatch = profiler.dispatcher
        profiler.dispatcher = lambda f, e, a: a is sys.setprofile or dispatch(f, e, a)
    try:
        profiler.runcall(func)
    finally:
        path = os.path.join(folder, "mitogen.stats.%d.%s.log" % (os.getpid(), thread_name))
        # Written under a name that nobody can have planted, then moved into place.
        temporary = "%s.%s" % (path, os.urandom(8).hex())
        profiler.dump_stats(temporary)
        os.replace(temporary, path)


def install(config: dict[str, Any]) -> None:
    """Have the broker and main threads of this process, a child, write profiles when they end."""
    for cls, name, thread_name in ((Broker, "_run", "broker"), (Dispatcher, "run", "main")):
        setattr(cls, name, _profiled(getattr(cls, name), thread_name))


def _profiled(run: Callable[[Any], None], thread_name: str) -> Callable[[Any], None]:
    return lambda self: profile(lambda: run(self), thread_name)
