"""Programs that this context runs for others: `start_program`, and `Program`, one that runs.

The remote half of `mitogen.parent.running`, which says what users see. A thread of its own starts the
program, and then all is done on the broker thread: no thread waits for a program, however many there are.

What is said. To the handle of the program: bytes are its input, ``b""`` the end of that; a positive
number says that so many pieces of output were read, a negative one is a signal to send; a tuple names
outputs that nobody reads any more; a dead message ends the program. To the handle of who asked: ``(1,
bytes)`` and ``(2, bytes)`` are output, of which ``b""`` is the end; ``(0, None)`` comes first, so that a
program which nobody waits for any more is found out, and ``(0, return code)`` last.

Back-pressure. Pieces of output that were not read yet are limited by the `maxsize` of the receiver that
they go to, pieces of input by the credit of their sender, whose messages are answered as they are
written; and the outputs of a program are not read while the link to who asked is full.

Ends. A program is the leader of a session, and signals go to its process group. Whoever asked may be
gone, or this context may end: then the group gets SIGTERM, and a second later, or when the program has
exited, SIGKILL. When the program exits by itself, its outputs are read to their end. What it left running
may keep them open for ever, so they are given up when nothing came for `LINGER` seconds; what was left
running stays. Where the system allows that, the exited program is only waited for after that, so that the
number of its group remains its own.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from collections import deque

from mitogen.core import serialization
from mitogen.core.message import Message, make
from mitogen.core.stream import BasicStream, Side
from mitogen.core.targets import takes_router
from mitogen.core.watching import watch
from mitogen.parent.process import SIGKILL, SIGTERM, Process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mitogen.core.broker import Broker
    from mitogen.core.receiver import Sender
    from mitogen.core.router import Router

#: Bytes of a message. A larger one would only be cut by the links.
PIECE = 1 << 17
#: Messages of input, and of output, that may be unread.
WINDOW = 16
#: Seconds without a byte after which the outputs of a program that has exited are given up.
LINGER = 2.0
#: Seconds from SIGTERM to SIGKILL.
_GRACE = 1.0
#: Linux's number for setting the size of a pipe; the fcntl module has no name for it before 3.10.
_F_SETPIPE_SZ = 1031


@takes_router
def start_program(
    out: Sender, args: list[Any] | str, options: dict[str, Any], router: Router
) -> tuple[Any, ...]:
    """Start a program for the context that `out` sends to.

    :param args: as for `subprocess.Popen`.
    :param options: `cwd`, `env`, `shell`, `stdout` and `stderr` as there; `stdin`: False for /dev/null;
        `login`: `args` is a line for the account's login shell, or "", and runs as sshd would run it.
    :returns: its handle and its process id; or number, text and file name of an error of the system.
    """
    cwd, env, executable = options["cwd"], options["env"], None
    if options["login"]:
        executable, args, cwd, env = _login(args)
    ours: list[int] = []
    theirs: list[int] = []

    def pipe(reads: bool) -> int:
        ends = os.pipe()
        if len(ours) < 2:
            _enlarge(ends[0])  # Not that for errors: what a user's pipes may take is limited.
        theirs.append(ends[not reads])
        ours.append(ends[reads])
        return theirs[-1]

    try:
        popen: Any = subprocess.Popen(
            args,
            0,
            executable,
            pipe(True) if options["stdin"] else subprocess.DEVNULL,
            pipe(False) if options["stdout"] is None else options["stdout"],
            pipe(False) if options["stderr"] is None else options["stderr"],
            cwd=cwd,
            env=env,
            shell=options["shell"],
            start_new_session=True,
        )
    except BaseException as e:
        for fd in ours:
            os.close(fd)
        if isinstance(e, OSError):
            # Python 3.6 has the name in the text as well.
            return e.errno, os.strerror(e.errno) if e.errno else str(e), e.filename
        raise
    finally:
        for fd in theirs:
            os.close(fd)
    fds = [ours.pop(0) if is_piped else -1 for is_piped in _piped(options)]
    try:
        begun: tuple[int, int] = router.broker.defer_sync(
            lambda: Program(router, popen, out, fds).begin()
        )
        return begun
    except BaseException:
        # The broker has ended.
        popen.kill()
        popen.wait()
        raise


def _piped(options: dict[str, Any]) -> tuple[bool, bool, bool]:
    return options["stdin"], options["stdout"] is None, options["stderr"] is None


def _login(line: Any) -> tuple[str, list[str], str, dict[str, str]]:
    """Return program, arguments, folder and environment of a command as sshd runs it (sshd(8))."""
    env = dict(os.environ)
    shell, home = "", env.get("HOME", "/")
    try:
        entry = pwd.getpwuid(os.getuid())
        shell, home = entry.pw_shell, entry.pw_dir
        env["USER"] = env["LOGNAME"] = entry.pw_name
    except KeyError:
        pass  # A container may run under a number that has no name.
    if not os.access(shell, os.X_OK):
        shell = "/bin/sh"
    env["SHELL"], env["HOME"] = shell, home
    name = os.path.basename(shell)
    args = [name, "-c", line] if line else ["-" + name]
    return shell, args, home if os.access(home, os.X_OK) else "/", env


def _enlarge(fd: int) -> None:
    """Let a pipe take a whole piece, so that both sides work more and wait less."""
    try:
        import fcntl

        fcntl.fcntl(fd, _F_SETPIPE_SZ, PIECE)
    except (ImportError, OSError):
        pass  # Not Linux, or its user has very many pipes.


class Program(Process):
    """A program that runs for another context. Broker thread only.

    :param popen: the process.
    :param out: where its output goes.
    :param fds: our ends of its standard streams, -1 for those that are not ours.
    """

    def __init__(self, router: Router, popen: Any, out: Sender, fds: list[int]) -> None:
        Process.__init__(self, router.broker, popen.pid, popen)
        self.router = router
        self.credit = out.credit
        self._to = out.context.context_id, out.dst_handle
        self.handle = router.add_handler(self._on_message, respondent=out.context)
        watch(router, out.context, self.handle)
        self._input = _Input(self, fds[0]) if fds[0] >= 0 else None
        self._outputs = {n: _Output(self, n, fds[n]) for n in (1, 2) if fds[n] >= 0}
        #: Something was read since the last look.
        self.is_heard = False
        self._has_exited = self._is_ending = self._is_finished = False

    def begin(self) -> tuple[int, int]:
        """Begin to read and to watch; return the handle and the process id."""
        self._say((0, None), self.handle)
        for output in list(self._outputs.values()):
            self.broker.start_receive(output)
        self.watch()
        return self.handle, self.pid

    # -- Messages ------------------------------------------------------------------------------

    def _say(self, value: object, reply_to: int = 0) -> None:
        here = self.router.context_id
        dst, handle = self._to
        self.router.route(make(dst, here, here, handle, reply_to, serialization.dumps(value)))

    def tell(self, number: int, data: bytes) -> None:
        """Send output."""
        self.credit -= 1
        self.is_heard = True
        self._say((number, data), self.handle)

    def full_link(self) -> Any:
        """Return the link that the output takes if it is full, else None."""
        link = self.router.stream_by_id(self._to[0])
        is_full = link and link.queued > self.router.high_water_mark and not link.closed
        return link if is_full else None

    def _on_message(self, msg: Message) -> None:
        value = None if msg.is_dead else msg.unpickle()
        if value is None:
            self.end()
        elif type(value) is bytes:
            if self._input is None:
                msg.reply(Message.dead("the program has no input"))
            else:
                self._input.take(msg, value)
        elif type(value) is tuple:
            for number in value:
                if number in self._outputs:
                    self._outputs[number].on_disconnect(self.broker)
        elif value < 0:
            self.kill(-value)
        else:
            self.credit += value
            for output in list(self._outputs.values()):
                self.broker.start_receive(output)

    # -- The end -------------------------------------------------------------------------------

    def end(self) -> None:
        """Nobody waits for the program any more."""
        if not self._is_ending:
            self._is_ending = True
            self.kill(SIGKILL if self._has_exited else SIGTERM)
            self.broker.call_later(_GRACE, lambda: self.kill(SIGKILL))
            for stream in [self._input, *self._outputs.values()]:
                if stream is not None:
                    stream.on_disconnect(self.broker)

    def kill(self, signum: int, group: bool = True) -> None:
        """Send a signal to the group of the program."""
        Process.kill(self, signum, group)

    def poll(self) -> int | None:
        """Take notice of the exit; return the wait status once all is read."""
        if self.status is None and not self._has_exited and self._is_over():
            self._has_exited = True
            # A pidfd stays readable.
            self.broker._stop_receive(self)
            if self._is_ending:
                # What it had started has had its chance, too.
                self.kill(SIGKILL)
            # What is in the pipes by now was not looked at yet.
            self.is_heard = True
            self._linger()
        return self.status

    def _is_over(self) -> bool:
        try:
            found: Any = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except AttributeError:
            found = Process.poll(self)
        except ChildProcessError:
            found = 0
        return found is not None

    def _linger(self) -> None:
        """Give the outputs up if nothing came for a while, though somebody would have read it."""
        if not self.is_heard and self.credit > 0 and self.full_link() is None:
            for output in list(self._outputs.values()):
                output.on_disconnect(self.broker)
        self.is_heard = False
        self._finish()
        if self._outputs:
            self.broker.call_later(LINGER, self._linger)

    def on_end_of(self, number: int) -> None:
        """An output was closed."""
        if not self._is_ending:
            self._say((number, b""))
        del self._outputs[number]
        if not self._outputs and not self._has_exited and self.receive_side is None:
            # Most likely it exits now: look at once, and then at short intervals again.
            self._interval = 0.01
            self._look()
        self._finish()

    def _finish(self) -> None:
        """Say how it exited, once it has and all is read."""
        if self._has_exited and not self._outputs and not self._is_finished:
            self._is_finished = True
            # Unless the router has dropped it, since who asked is gone.
            self.router._handlers.pop(self.handle, None)
            Process.poll(self)
            if self._input is not None:
                self._input.on_disconnect(self.broker)
            if not self._is_ending:
                self._say((0, self._popen.returncode))

    def on_shutdown(self, broker: Broker) -> None:
        self.end()

    def on_disconnect(self, broker: Broker) -> None:
        self.end()
        if self.status is None:
            Process.on_disconnect(self, broker)


class _Output(BasicStream):
    """What a program writes to one of its descriptors."""

    def __init__(self, program: Program, number: int, fd: int) -> None:
        self._program = program
        self._number = number
        self.receive_side = Side(self, fd, keep_alive=False)

    def on_receive(self, broker: Broker) -> None:
        program, side = self._program, self.receive_side
        if side is None:
            return
        link = program.full_link()
        if program.credit <= 0:
            broker._stop_receive(self)  # It is started by what gives credit.
        elif link is not None:
            broker._stop_receive(self)
            link.held_back.append(lambda: broker._start_receive(self))
        else:
            data = side.read(PIECE)
            if data:
                program.tell(self._number, data)
            elif data is not None:
                self.on_disconnect(broker)

    def on_disconnect(self, broker: Broker) -> None:
        if self.receive_side is not None:
            BasicStream.on_disconnect(self, broker)
            self._program.on_end_of(self._number)


class _Input(BasicStream):
    """What a program reads."""

    def __init__(self, program: Program, fd: int) -> None:
        self.transmit_side = Side(self, fd)
        self._broker = program.broker
        self._queue: deque[tuple[Message, Any]] = deque()
        #: Messages that were written and not answered.
        self._unpaid = 0
        # So that it is told of the end.
        self._broker.streams[self] = None

    def take(self, msg: Message, data: bytes) -> None:
        """Write `data` once the program reads."""
        self._queue.append((msg, memoryview(data)))
        if len(self._queue) == 1 or self.transmit_side is None:
            self.on_transmit(self._broker)

    def on_transmit(self, broker: Broker) -> None:
        while self._queue:
            msg, data = self._queue[0]
            side = self.transmit_side
            try:
                if side is None or not data:
                    raise BrokenPipeError
                data = data[os.write(side.fd, data) :]
            except BlockingIOError:
                pass
            except OSError:
                self.on_disconnect(broker)
                return
            if data:
                self._queue[0] = msg, data
                broker._start_transmit(self)
                return
            self._queue.popleft()
            self._unpaid += 1
            if self._unpaid * 2 >= WINDOW:
                msg.reply(self._unpaid)
                self._unpaid = 0
        broker._stop_transmit(self)

    def on_disconnect(self, broker: Broker) -> None:
        if self.transmit_side is not None:
            BasicStream.on_disconnect(self, broker)
        while self._queue:
            self._queue.popleft()[0].reply(Message.dead("the program reads no more input"))
