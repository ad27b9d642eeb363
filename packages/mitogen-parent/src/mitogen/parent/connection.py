"""Bringing a context to life: `Connection`.

Owns one target from the start of its process to the end: the command line, the handshake, the deadline,
what it wrote to stderr, the reason why it went, and the force that is used when it will not go.

A connection is made by any thread (`start`) and driven by the broker thread from then on, so that one
thread brings up many at a time. The context is handed out as soon as the target has said hello and
its core is on the way: calls may follow right behind it, which saves a round trip. If the core then fails
to come up, the calls end with `ChannelError` and the reason.

A transport derives from `Connection` and `Options`; see `local` in this package for the smallest one.
"""

from __future__ import annotations

import os

from mitogen.core import handles, serialization
from mitogen.core.errors import StreamError
from mitogen.core.latch import Latch, wait_readable
from mitogen.core.message import make
from mitogen.core.signals import listen
from mitogen.parent import bootstrap, config, handshake
from mitogen.parent.link import ChildStream, ErrorOutput
from mitogen.parent.options import Options
from mitogen.parent.process import SIGKILL, SIGTERM, Process, describe_status, open_pipes, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from mitogen.core.timers import Timer
    from mitogen.parent.context import Context
    from mitogen.parent.starter import Starter

#: The first call of a context that is to write debug logs.
_ENABLE_DEBUG: tuple[object, ...] = (None, "mitogen.core.debuglog", None, "enable_debug", (), {})
#: Seconds that a closed connection waits for the exit status of its process, so as to name it.
_STATUS_WAIT = 0.25
#: Seconds before the next look whether another thread has read what a process left.
_READER_WAIT = 0.001
#: Seconds that a process may outlive its connection before SIGTERM, and after that before SIGKILL. A
#: child that lost its parent ends itself within 2.5.
_TERM_AFTER = 3.0
_KILL_AFTER = 1.0
#: The latter for a process in which no core runs.
_KILL_UNBORN_AFTER = 0.3


class Connection:
    """Start one context. Transports override the class attributes and `command`.

    :param starter: the starter of the router that the context will belong to; in a master, that router.
    :param options: what was asked for.
    :ivar context: the `Context`, which is usable once `wait` returned it.
    :ivar result: what gets None then, or the error: a latch, or anything else with its ``put(obj)``.
    """

    #: For the names of contexts, and in errors.
    transport = "local"
    #: What holds the options of the transport.
    options_class: type[Options] = Options
    #: True if the other side may have another interpreter, and a core installed.
    find_core = False
    #: True if what is sent crosses a network.
    compress = False

    def __init__(self, starter: Starter, options: Options) -> None:
        self.starter = starter
        self.router = router = starter.router
        self.options = options
        self.broker = router.broker
        if self.broker.dead_reason:
            raise StreamError("%s", self.broker.dead_reason)
        self.context_id = starter.allocate_id()
        self.name = options.name or self._default_name(self.context_id)
        self.stream: ChildStream
        self.process: Process
        self.errors: ErrorOutput
        #: The process, once there is one.
        self._pids: list[int] = []
        self.result: Any = Latch()
        #: All that the broker is to watch is there, and may have been handed over.
        self._is_started = False
        self._deadline: Timer | None = None
        self._hello: bootstrap.Hello | None = None
        self._failed = False
        #: The context was handed out.
        self._up = False
        self._detached = False
        self._why_forced = ""

    def _default_name(self, number: int) -> str:
        return "%s%s.%d" % (self.options.name_prefix, self.transport, number)

    # -- For transports ------------------------------------------------------------------------

    def command(self) -> tuple[list[str], str]:
        """Return the arguments that start the first stage, and the program to execute."""
        argv = self.python_argv()
        return argv, argv[0]

    def python_argv(self) -> list[str]:
        """Return the command of the target's interpreter with the first stage.

        ``mitogen:NAME`` comes last: Python ignores it, and process lists show it.
        """
        path = self.options.python_path or "python3"
        argv = [path] if isinstance(path, str) else list(path)
        stage = bootstrap.first_stage(self.find_core)
        return argv + ["-S", "-c", stage, "mitogen:" + self.options.remote_name]

    def child_config(self) -> dict[str, Any]:
        """Return what the child's `ExternalContext` is made with; plain values only."""
        return config.child_config(self)

    def said(self) -> bytes:
        """Return what the target wrote in the place of frames: for errors. Broker thread."""
        return self.stream.handshake.noise + self.errors.tail

    def error(self, reason: str) -> StreamError:
        """Return what `wait` raises if the target did not come up for `reason`. Broker thread."""
        return StreamError("%s", reason)

    # -- Starting; any thread ------------------------------------------------------------------

    def launch(self, argv: list[str], executable: str, opened: list[int]) -> Any:
        """Start the process, and note its id in `_pids`; return a `Popen` if `subprocess` was used.

        :param argv: what `command` returned, as is `executable`.
        :param opened: what `open_pipes` opened.
        :raises OSError: the program can't be started.
        """
        return spawn(argv, executable, (opened[2], opened[1], opened[5]), self._pids)

    def start(self) -> None:
        """Start the process and hand it to the broker.

        :raises StreamError: the program can't be started.
        """
        argv, executable = self.command()
        opened: list[int] = []
        try:
            # Whatever there is to close or end is noted by what makes it, before an exception of a
            # signal's handler, such as KeyboardInterrupt, may come.
            open_pipes(opened)
            popen = self.launch(argv, executable, opened)
            # Those of the process.
            list(map(os.close, map(opened.pop, (5, 2, 1))))
            receive_fd, transmit_fd, error_fd = opened
            (pid,) = self._pids
            self.name = self.options.name or self._default_name(pid)
            # Whoever asked for it gets a reference of the class that the router works with.
            self.context: Any = self.router.make_context(self.context_id, self.name)
            self.stream = ChildStream(self, receive_fd, transmit_fd)
            self.process = Process(self.broker, pid, popen)
            self.errors = ErrorOutput(error_fd, self.name)
            if self.starter.keepalive_interval:
                # Here, since the broker thread can't wait for an import.
                from mitogen.core.keepalive import watch_child

                self._watch: Any = watch_child
            self._is_started = True
            self.broker.defer(self._attach)
        except BaseException as e:
            if self._is_started:
                raise  # The rest is for `give_up`.
            for fd in opened:
                os.close(fd)
            for pid in self._pids:
                Process(self.broker, pid).on_disconnect(self.broker)
            # ValueError: a NUL byte, or a character that the system's encoding lacks.
            if not isinstance(e, (OSError, ValueError)):
                raise
            raise StreamError(
                "%s: can't start %s: %s; check that it exists and may be executed, or pass another path",
                self._title(),
                executable,
                getattr(e, "strerror", None) or e,
            ) from e

    def give_up(self) -> None:
        """End what was started, if anything was: nobody waits for it any more."""

        def end() -> None:
            # Whether it was handed over is not known.
            if self._deadline is None:
                self._attach()
            self.fail("nobody waits for it any more")

        if self._is_started:
            if self.broker.dead_reason:
                end()
            else:
                self.broker.defer(end)

    def wait(self) -> Context:
        """Return the context once the target is alive. Not for the broker thread.

        :raises StreamError: it did not come up; the text says why, in the target's own words.
        """
        error = self.result.get()
        if error is not None:
            raise error
        return self.context  # type: ignore[no-any-return]

    @property
    def _ready(self) -> bool:
        """True once the core runs in the target."""
        return self.stream.handshake.state == handshake.FRAMES

    # -- Events; broker thread -----------------------------------------------------------------

    def _attach(self) -> None:
        if self.broker.is_ending:
            # It began to end while the process started.
            self.fail("the broker shut down")
            self.errors.on_disconnect(self.broker)
            self.process.on_disconnect(self.broker)
            return
        self.starter.connections[self.context_id] = self
        self._deadline = self.broker.call_later(self.options.connect_timeout, self._on_deadline)
        listen(self.process, "exit", self._on_exit)
        listen(self.stream, "disconnect", self._on_disconnect)
        self.broker._start_receive(self.errors)
        self.broker._start_receive(self.stream)
        self.process.watch()

    def on_event(self, event: bootstrap.Hello | str) -> None:
        """The handshake made a step."""
        if isinstance(event, bootstrap.Hello):
            self._on_hello(event)
        elif event == handshake.SEND_CORE and self._hello is not None:
            self._hello.core_path = None
            self._send_core(self._hello)
        elif event == handshake.READY:
            self._deadline.cancel()  # type: ignore[union-attr]
            self._hand_out()
            interval = self.starter.keepalive_interval
            if interval:
                self._watch(self.stream, interval)

    def _on_hello(self, hello: bootstrap.Hello) -> None:
        if hello.too_old:
            floor = "%d.%d" % bootstrap.FLOOR
            self.fail(
                "it runs Python %s, and children need %s or newer; pass the path of a newer interpreter"
                " as python_path" % (hello.version_text, floor)
            )
            return
        self._hello = hello
        self.stream.takes_code = hello.same_code
        self.context.python_version = hello.version
        self._send_core(hello)

    def _send_core(self, hello: bootstrap.Hello) -> None:
        config = self.child_config()
        names = bootstrap.missing(hello, config)
        if names:
            self.starter.fetch(names, lambda: self._answer(hello, config))
        else:
            self._answer(hello, config)

    def _answer(self, hello: bootstrap.Hello, config: dict[str, Any]) -> None:
        if self.stream.closed:
            return
        self.stream.write([bootstrap.answer(hello, config, self.compress)])
        if hello.core_path is None:
            self._hand_out()
        # Else it may ask for more yet, and would read a call in its place.

    def _hand_out(self) -> None:
        """Nothing but frames is sent from here on: let calls follow. Idempotent."""
        if not self._up:
            self._up = True
            self.router.add_link(self.context, self.stream)
            self.starter.routes.announce(self.context_id, self.name)
            if self.options.debug or self.starter.debug:
                self._send(handles.CALL_FUNCTION, serialization.dumps(_ENABLE_DEBUG))
            self.result.put(None)

    def _send(self, handle: int, body: serialization.Body) -> None:
        here = self.router.context_id
        self.stream.send(make(self.context_id, here, here, handle, 0, body))

    def _on_deadline(self) -> None:
        waited = "hello" if self._hello is None else "its core to start"
        self.fail(
            "timed out: waited %s seconds for %s; check the target, or raise connect_timeout"
            % (self.options.connect_timeout, waited)
        )

    def on_stream_end(self) -> None:
        """The target closed the connection: say why, if its process exits along with it."""
        self.broker._stop_receive(self.stream)
        if self.process.poll() is None:
            self.broker.call_later(_STATUS_WAIT, self._on_ended)
        else:
            self._on_ended()

    def _on_ended(self) -> None:
        if self.process.status is not None or self.process.poll() is not None:
            self.fail("its process %s" % describe_status(self.process.status or 0))
        else:
            self.fail("it closed the connection")

    def _on_exit(self) -> None:
        self.starter.connections.pop(self.context_id, None)
        # What it wrote last may still be unread; the end of that comes here again, by on_stream_end.
        for _ in range(1000):
            if self.stream.closed or self.stream.receive_side is None:
                return
            reader = self.stream.reader.get(0, self.broker)
            if reader is not self.broker and wait_readable(self.stream.receive_side.fd, 0):
                # Another thread is about to read it.
                self.broker.call_later(_READER_WAIT, self._on_exit)
                return
            before = self.stream.received
            self.stream.on_receive(self.broker)
            if self.stream.received == before:
                break
        # Something else holds the connection open, but nobody is left to speak on it.
        self._on_ended()

    def fail(self, reason: str) -> None:
        """End the connection for `reason`. Idempotent."""
        if self._failed:
            return
        self._failed = True
        self.errors.on_receive(self.broker)
        said = self.said().decode("utf-8", "replace").strip()
        if not self._ready:
            reason = "%s: %s" % (reason, said) if said else reason
        reason = "%s: %s" % (self._title(), self._why_forced or reason)
        self.stream.disconnect(self.broker, reason)
        if not self._up:
            self.result.put(self.error(reason))

    def _title(self) -> str:
        return "%s context %s" % (self.transport, self.name)

    def _on_disconnect(self) -> None:
        if not self._up and not self._failed:
            self.fail("the broker shut down")
        self._deadline.cancel()  # type: ignore[union-attr]
        if not self._detached:
            # Before there was a core, nobody is there who would end by itself.
            patience = _TERM_AFTER if self._ready else 0.0
            self.broker.call_later(patience, self._terminate)
        self.errors.on_disconnect(self.broker)

    # -- Endings; broker thread ----------------------------------------------------------------

    def send_shutdown(self, now: bool) -> None:
        """Ask the context to go.

        :param now: do not let it finish what it runs; nor come up, if it has not yet.
        """
        if now and not self._ready:
            self.fail("the broker is shutting down")
        self._send(handles.SHUTDOWN, b"now" if now else b"")

    def end(self, ended: Callable[[], object]) -> None:
        """Let the context finish; use force when it does not.

        :param ended: called once its process is gone.
        """
        if self.process.status is not None:
            ended()
        else:
            listen(self.process, "exit", ended)
        if not self.stream.closed:
            self.send_shutdown(now=False)
            patience = self.broker.shutdown_timeout + _TERM_AFTER
            self.broker.call_later(patience, self._terminate)

    def _terminate(self) -> None:
        if self.process.keep_alive:
            self._why_forced = "it did not end when it was asked to, and was killed"
            # Wrappers and probes of a start that failed go with it. What calls have started since is
            # none of our business.
            group = not self._ready
            self.process.kill(SIGTERM, group)
            patience = _KILL_AFTER if self._ready else _KILL_UNBORN_AFTER
            self.broker.call_later(patience, lambda: self.process.kill(SIGKILL, group))

    def detach(self) -> None:
        """Let the child live on by itself: close the connection, and leave its process alone."""
        self._detached = True
        self._failed = True
        self.starter.connections.pop(self.context_id, None)
        self.process.abandon()
        self.stream.disconnect(self.broker, "%s detached" % self._title())
