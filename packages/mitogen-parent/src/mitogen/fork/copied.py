"""What becomes of a copy of this process: `run_copy`, which makes a context of it.

Owns what is put in order before the copy is a context like any other. In this order:

* Descriptors: brokers close theirs. All others become /dev/null, under the same numbers. Were they
  closed, objects of the program that still hold them would sooner or later write to, or close, whatever
  got the numbers next, such as the link to the parent. What they have buffered goes nowhere, so nothing
  is written twice.
* Signals: none is blocked; SIGINT interrupts calls, as in any child. Handlers of the program stay.
* Exit functions, and handlers of `logging`, are the parent's, and forgotten. Records are sent to it.
* Cyclic garbage of the parent's is never collected: looking for it would copy all of the memory.
* `random` and, if it is loaded, `ssl` get new seeds.
* Finders that asked the parent's parent go. Modules, `__main__` among them, and `sys.argv` stay.

Then it is the program's turn, by `on_fork`. At last the copy gets an identity, a broker, a router and
the rest from `mitogen.core.child`. Locks need no care: nobody held one, see `mitogen.fork.alone`.

The thread that forked is the main thread of the copy; the frames below it are never returned to.
"""

from __future__ import annotations

# The C module alone: `signal` imports `enum` for the names of constants.
import _signal  # type: ignore[import-not-found]
import atexit
import gc
import os
import sys

import mitogen.core.callloop
import mitogen.core.loghandler  # noqa: F401 - these two so that no copy has to.
from mitogen.core import logs
from mitogen.core.boot import Finder
from mitogen.core.broker import Broker, _after_fork_in_child
from mitogen.core.calls import CallInterrupted, Dispatcher
from mitogen.core.child import ExternalContext
from mitogen.core.importer import Importer
from mitogen.core.message import make

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from mitogen.core.message import Message
    from mitogen.fork import ForkConnection

ON_START_FAILED = "on_start() failed"
#: Seconds that `on_start` may run before it is taken for a main function, which nobody waits for.
_ON_START_WAIT = 0.1
#: Descriptors that are looked at where the system has no list of them.
_LAST_FD = 4096
#: Where a child looks whether it has the parent half: a copy of a master has it in files.
_HALF = "mitogen.core.parent_half"


def run_copy(connection: ForkConnection, config: dict[str, Any], opened: list[int]) -> None:
    """Be the copy; does not return.

    :param connection: what it was forked by.
    :param config: what it is to be, see `Connection.child_config`.
    :param opened: see `mitogen.parent.process.open_pipes`.
    """
    try:
        _be_copy(connection, config, opened)
    finally:
        # Whatever was raised, by a handler of a signal for example: the frames below are the parent's.
        os._exit(1)


def _be_copy(connection: ForkConnection, config: dict[str, Any], opened: list[int]) -> None:
    errors = opened[5]
    what = "the copy could not be set up"
    try:
        # As others are: a Ctrl-C at the terminal is for the master.
        os.setsid()
        if not hasattr(os, "register_at_fork"):
            _after_fork_in_child()
        link, errors = _leave_descriptors(opened)
        _leave_state()
        econtext = ForkedContext(config, connection.router.__dict__.get("econtext"))
        what = "on_fork() failed"
        if connection.on_fork:
            connection.on_fork()
        what = "the copy could not be set up"
        _flush()
        for standard, fd in enumerate(link):
            os.dup2(fd, standard)
            os.close(fd)
        econtext._set_up()
        what = ON_START_FAILED
        econtext.start(connection, errors)
    except BaseException:
        import traceback

        # The end of a long one says most.
        os.write(errors, ("%s: %s" % (what, traceback.format_exc()[-3000:])).encode("utf-8", "replace"))
        if what is ON_START_FAILED:
            econtext.leave(1)
        return
    econtext.dispatcher.run()
    econtext._exit()


def _leave_descriptors(opened: list[int]) -> tuple[list[int], int]:
    """Let go of the parent's descriptors; return those of the link, and of the pipe for errors."""
    for index in 0, 3, 4:
        os.close(opened[index])
    kept = []
    for fd in opened[2], opened[1], opened[5]:
        # A program may have closed its standard streams.
        while fd < 3:
            fd = os.dup(fd)
        kept.append(fd)
    try:
        fds = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        # Not every system's /dev/fd has them all.
        fds = list(filter(_is_open, range(_LAST_FD)))
    # Gets the number of the folder that was just read.
    null = os.open(os.devnull, os.O_RDWR)
    for fd in {0, 1, 2, *fds} - {null, *kept}:
        os.dup2(null, fd, fd < 3)
    if null > 2:
        os.close(null)
    # What the parent's objects for these have buffered.
    _flush()
    errors = kept.pop()
    for fd in (1, 2):
        os.dup2(errors, fd)
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # type: ignore[misc] # noqa: SIM115
    return kept, errors


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            stream.flush()  # type: ignore[union-attr]
        except Exception:
            pass  # None, closed, or of the program's own making.


def _leave_state() -> None:
    """Undo what belongs to the parent alone."""
    modules = sys.modules
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    _signal.set_wakeup_fd(-1)
    sys.setprofile(None)
    if hasattr(gc, "freeze"):
        gc.freeze()
    atexit._clear()
    if "weakref" in modules:
        # Run at exit, but once only registered for that.
        finalize: Any = modules["weakref"].finalize
        for one in list(finalize._registry):
            one.atexit = False
        finalize._registered_with_atexit = False
    if "random" in modules and sys.version_info < (3, 7):
        modules["random"].seed()  # Newer ones do so themselves.
    if "ssl" in modules:
        modules["ssl"].RAND_add(os.urandom(32), 32.0)
    logs.sink = lambda level, name, text: None
    if "logging" in modules:
        _leave_logging(modules["logging"])
    gone = (Importer, logs._LoggingWatcher)
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, gone)]


def _leave_logging(logging: Any) -> None:
    """Take away all handlers: records are sent to the parent, whose handlers then get them."""
    for logger in [logging.root, *logging.root.manager.loggerDict.values()]:
        if getattr(logger, "handlers", None):
            del logger.handlers[:]
            logger.propagate = True
    atexit.register(logging.shutdown)


class _StartCall:
    """Stands for the message of a call, which has `on_start` run, and keeps its error."""

    src_id, reply_to = -1, 0

    def __init__(self, econtext: ExternalContext, on_start: Callable[[ExternalContext], object]) -> None:
        self.econtext = econtext
        self.on_start = on_start
        self.error: BaseException | None = None

    def unpickle(self) -> tuple[object, ...]:
        """Return the call, as the dispatcher makes it."""
        return None, __name__, "_StartCall", "run", (self,), {}

    def run(self) -> None:
        """Be the call."""
        try:
            self.on_start(self.econtext)
        except CallInterrupted:
            pass  # The context must end.
        except BaseException as e:
            self.error = e


class ForkedContext(ExternalContext):
    """The context that a copy is.

    :param old: what it is a copy of; None for a master.
    """

    def __init__(self, config: dict[str, Any], old: ExternalContext | None) -> None:
        if old is None:
            finder = Finder({_HALF: (None, None, None)})  # type: ignore[dict-item]
            sys.meta_path.insert(0, finder)
        else:
            finder = old.finder
        ExternalContext.__init__(self, config, finder)
        self._main = sys.modules.get("__main__")
        self._argv = sys.argv[:]

    def _set_up(self) -> None:
        config = self.config
        # It reads its calls, writes profiles, and prefers the master's modules, like the context that it
        # is a copy of; the master itself has no calls, and has preferred its own modules all the time.
        done = {Broker._run.__module__, Dispatcher.run.__module__}
        wanted = ("mitogen.core.callloop", "mitogen.core.profiling")
        extras = [name for name in config["extras"] if name in wanted and not {name, wanted[1]} & done]
        self.config = dict(config, extras=extras)
        ExternalContext._set_up(self)
        self.config = config

    @property
    def _streams(self) -> Any:
        return self.__dict__["_streams"]

    @_streams.setter
    def _streams(self, streams: Any) -> None:
        # The last step of the set-up before calls may arrive, which may be for functions of `__main__`.
        # That is the program itself here, and not to be fetched.
        self.__dict__["_streams"] = streams
        if self._main is not None:
            sys.modules["__main__"] = self._main
        sys.argv[:] = self._argv

    def start(self, connection: ForkConnection, errors: int) -> None:
        """Run `on_start`, if there is one, like a call: it is interrupted when this context must end.

        :param errors: the descriptor for the text of an exception; closed if there is none.
        """
        if connection.on_start:
            started = make(
                self.parent.context_id,
                self.router.context_id,
                self.router.context_id,
                connection.started_handle,
                0,
                b"",
            )
            timer = self.broker.defer_sync(
                lambda: self.broker.call_later(_ON_START_WAIT, lambda: self.router.route(started))
            )
            call: Any = _StartCall(self, connection.on_start)
            self.dispatcher._run_call(call)
            if call.error is not None:
                raise call.error
            self.broker.defer(self._announce, timer, started)
        os.close(errors)

    def _announce(self, timer: Any, started: Message) -> None:
        if timer.active:
            timer.cancel()
            self.router._async_route(started)

    def leave(self, status: int) -> None:
        """End the process, after what was logged and printed has been sent."""
        try:
            self._streams.close()
            self.broker.shutdown()
            self.broker.join()
        finally:
            os._exit(status)
