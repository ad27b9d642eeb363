"""The life of a child: `ExternalContext` puts everything together, runs calls, and ends the process.

Owns the wiring of a child process, and nothing else: the one place where broker, router, importer, log
forwarding, standard streams and dispatcher are made. The main thread runs `main`, which does not return.

How a child ends:

===================  ==================================================================================
the event            what follows
===================  ==================================================================================
parent is gone       the running call is interrupted, queued ones are dropped, the process exits
SHUTDOWN, data b""   queued calls are finished for up to `Broker.shutdown_timeout` seconds; then as above
SHUTDOWN, other      as if the parent were gone, except that log lines still reach it
main thread hangs    `interrupt_grace` seconds after the interruption SIGTERM, then `os._exit`
===================  ==================================================================================

An interrupted call may need a moment to clean up, but a lost master must not leave processes behind:
three seconds after the parent went, this process is gone.
"""

from __future__ import annotations

# The C module alone: `signal` imports `enum` for the names of constants.
import _signal  # type: ignore[import-not-found]
import os
import sys

import mitogen
from mitogen.core import handles, logs
from mitogen.core.broker import Broker
from mitogen.core.calls import Dispatcher
from mitogen.core.importer import Importer
from mitogen.core.router import Router, has_parent_authority
from mitogen.core.signals import listen
from mitogen.core.stdio import StandardStreams
from mitogen.core.stream import Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mitogen.core.boot import Finder
    from mitogen.core.message import Message

#: What the parent reads once the core runs; frames follow.
READY = b"MITOGEN-READY\n"

#: Inherited descriptors below this are closed; one system call where there is `close_range`.
_MAX_FD = 4096

#: Seconds from SIGTERM to `os._exit`.
_TERM_GRACE = 0.5


class ExternalContext:
    """A context that was started by another one; functions get it with `takes_econtext`.

    :param config: what the parent sent; see `mitogen.parent.connection.Connection.child_config`.
    :param finder: the finder that the child was booted with.
    :ivar config: as passed.
    :ivar broker: the `Broker`.
    :ivar router: the `Router`.
    :ivar parent: `Context` of the parent.
    :ivar master: `Context` of the master.
    :ivar stream: the `Stream` to the parent.
    :ivar importer: the `Importer`.
    :ivar dispatcher: the `Dispatcher`, which runs calls.
    """

    #: Contexts that may call functions here besides the parents: see `mitogen.core.targets.allow_calls`.
    callers: set[int]
    #: Seconds for an interrupted call to clean up before SIGTERM.
    interrupt_grace = 2.0

    def __init__(self, config: dict[str, Any], finder: Finder) -> None:
        self.config = config
        self.finder = finder
        self.detached = False
        self._ending = False

    def _set_up(self) -> None:
        config = self.config
        parent_ids = config["parent_ids"]
        mitogen.is_master = False
        mitogen.context_id = config["context_id"]
        mitogen.parent_ids = parent_ids
        mitogen.parent_id = parent_ids[0]
        del sys.argv[1:]
        if config["close_fds"]:
            # Whatever the starting process had open and inheritable.
            os.closerange(3, _MAX_FD)
        # Moved away from 0 and 1, which user code may write to; not inherited by its programs.
        receive_fd, transmit_fd = os.dup(0), os.dup(1)
        if config["python"]:
            sys.executable = config["python"]
        for name in config["extras"]:
            # Outside the bundle: few children need one.
            __import__(name, None, None, [name]).install(config)
        self.broker = Broker()
        self.router = Router(
            self.broker,
            config["context_id"],
            parent_ids,
            config["max_message_size"],
            config["unidirectional"],
        )
        self.parent = self.router.make_context(parent_ids[0], "parent")
        self.master = self.router.make_context(parent_ids[-1], "master")
        self.stream = Stream(self.router, parent_ids[0], "parent", receive_fd, transmit_fd)
        listen(self.stream, "disconnect", self._on_parent_gone)
        self.stream.write([READY])
        # Nothing is received before everything below is in place, but what waits for the parent must
        # find that there is a way to it.
        self.router.add_link(self.parent, self.stream)
        self.dispatcher = Dispatcher(self.router, self)
        self.router.econtext = self
        # A loop that fails takes the connection with it; nothing must wait on for calls then.
        listen(self.broker, "exit", self.dispatcher.stop)
        self.router.add_handler(self._on_shutdown, handles.SHUTDOWN, policy=has_parent_authority)
        self.importer = Importer(
            self.router, self.parent, self.finder, bool(sys.flags.no_site), config["missing"]
        )
        sys.meta_path.append(self.importer)
        # Functions of the program itself are looked up in a `__main__` that the master sends.
        sys.modules.pop("__main__", None)
        logs.forward_to(self.router, self.master.context_id, config["log_level"])
        self._streams = StandardStreams(self.broker, self.stream) if config["stdio"] else None
        self.broker.start_receive(self.stream)

    def main(self) -> None:
        """Run the child until its parent lets it go; then exit the process."""
        try:
            self._set_up()
        except BaseException:
            # Nothing else may keep this process, or tell its parent why it could not live.
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        self.dispatcher.run()
        self._exit()

    def _exit(self) -> None:
        try:
            # What user code registered; a normal exit would also wait for its threads, and finalise
            # an interpreter that is about to go anyway.
            import atexit

            atexit._run_exitfuncs()
        except BaseException:
            logs.log_exception("an exit function failed")
        try:
            if self._streams:
                self._streams.close()
            self.broker.shutdown()
            self.broker.join()
        finally:
            os._exit(0)

    # -- Ends; broker thread -------------------------------------------------------------------

    def _on_parent_gone(self) -> None:
        if not self.detached:
            self._end_now()

    def _on_shutdown(self, msg: Message) -> None:
        if msg.is_dead:
            return
        if msg.data:
            self._end_now()
        else:
            self.dispatcher.finish()
            self.broker.call_later(self.broker.shutdown_timeout, self._end_now)

    def _end_now(self) -> None:
        if self._ending:
            return
        self._ending = True
        self.dispatcher.stop()
        pid = os.getpid()
        self.broker.call_later(self.interrupt_grace, lambda: os.kill(pid, _signal.SIGTERM))
        self.broker.call_later(self.interrupt_grace + _TERM_GRACE, lambda: os._exit(1))

    def detach(self) -> None:
        """Leave the parent, and live on without it. From a called function, in the main thread.

        The connection is closed when this returns; see `mitogen.core.detach`.
        """
        from mitogen.core.detach import detach

        detach(self)
