"""Programs in other contexts while they run: `popen`, and `RunningProgram`.

The caller's half of `mitogen.parent.programs`, which says what travels. Any thread but the broker's may
run programs, any number at a time. A program never waits for the calls that its context runs.

One receiver takes both outputs, so that what was written first comes first, as far as that can be seen
from outside. Rejected: a receiver for each, which would need a thread or a select for each program.
"""

from __future__ import annotations

from io import BytesIO

from mitogen.core.deadlines import deadline_of, left_until
from mitogen.core.errors import ChannelError
from mitogen.core.receiver import Receiver, Sender
from mitogen.parent.callchain import Aside
from mitogen.parent.programs import PIECE, WINDOW, start_program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from os import PathLike
    from types import TracebackType
    from typing import Any, Union

    from mitogen.core.context import Context

    Args = Union[str, bytes, "PathLike[str]", Sequence[Union[str, bytes, "PathLike[str]"]]]

#: Names of the outputs, by descriptor.
NAMES = {1: "stdout", 2: "stderr"}
_DEFAULTS: dict[str, object] = {
    "stdin": True,
    "stdout": None,
    "stderr": None,
    "shell": False,
    "login": False,
    "cwd": None,
    "env": None,
}
#: Bytes of a line. A longer one comes in parts, so that no output can fill the memory.
LINE_LIMIT = 1 << 20

_SIGTERM, _SIGKILL = 15, 9


class RunningProgram:
    """A program that runs in another context; made by `popen`. Use it in a ``with`` statement.

    One thread reads, one thread writes; every other method may be called by any thread.

    :ivar args: as given.
    :ivar pid: its process id there.
    :ivar returncode: None while it runs; then its exit status, or the negative number of the signal that
        ended it.
    """

    pid = 0
    returncode: int | None = None
    #: What the program is sent: its input, and all else; None before it has been started.
    _input: Any = None
    _control: Any = None
    _is_closed = False

    def __init__(
        self, context: Context, args: Any, timeout: float | None = None, **options: object
    ) -> None:
        self.context = context
        self.args = args
        self._out = Receiver(context._router(), respondent=context, maxsize=WINDOW)
        try:
            self._call = Aside(context, timeout=timeout).call_async(
                start_program, self._out.to_sender(), args, dict(_DEFAULTS, **options)
            )
        except BaseException:
            self._out.close()
            raise

    def start(self, timeout: float | None = None) -> None:
        """Wait until the program has been started: see `popen`."""
        try:
            found = self._call.get_data(timeout)
            if len(found) == 3:
                raise OSError(*found)
        except BaseException:
            # If it does start, what it says first is refused, which ends it.
            self.close()
            raise
        handle, self.pid = found
        self._input = Sender(self.context, handle, WINDOW)
        self._control = Sender(self.context, handle)

    def __repr__(self) -> str:
        return "RunningProgram(%r, pid %d in %s)" % (self.args, self.pid, self.context.name)

    def __enter__(self) -> RunningProgram:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- Output --------------------------------------------------------------------------------

    def read(self, timeout: float | None = None) -> tuple[str, bytes] | None:
        """Return the next piece of output, as ``("stdout", data)`` or ``("stderr", data)``.

        An output that has ended gives empty data, once; when the program has exited and all was read, the
        result is None. While nobody reads, the program waits, after some MiB.

        :param timeout: seconds to wait at most.
        :raises ChannelError: the context is gone, or `close` was called.
        :raises TimeoutError: the time passed.
        """
        deadline = deadline_of(timeout)
        while self.returncode is None:
            number, value = self._out.get_data(left_until(deadline))
            if number:
                return NAMES[number], value
            if value is not None:
                self.returncode = value
                self._out.close()
        return None

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        """Yield ``(name, data)``, as `read` returns it, as it comes, until the program has exited."""
        while True:
            piece = self.read()
            if piece is None:
                return
            if piece[1]:
                yield piece

    def lines(self) -> Iterator[tuple[str, bytes]]:
        """Yield ``(name, line)`` until the program has exited.

        Lines keep their newline, which the last one of an output may lack. One of more than a MiB comes
        in parts.
        """
        found: list[tuple[str, bytes]] = []
        splitters = {
            name: Lines(lambda line, name=name: found.append((name, line)))  # type: ignore[misc]
            for name in NAMES.values()
        }
        for name, data in self:
            splitters[name].append(data)
            yield from found
            del found[:]
        for splitter in splitters.values():
            splitter.finish()
        yield from found

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the program has exited, and return `returncode`. Output that was not read is
        dropped.

        :raises ChannelError: the context is gone, or `close` was called.
        :raises TimeoutError: the time passed; the program goes on.
        """
        deadline = deadline_of(timeout)
        while self.read(left_until(deadline)) is not None:
            pass
        return self.returncode  # type: ignore[return-value]

    # -- Input ---------------------------------------------------------------------------------

    def write(self, data: bytes, timeout: float | None = None) -> None:
        """Send input, of any size; waits while the program does not read.

        :param timeout: seconds to wait at most.
        :raises ChannelError: the program reads no more, or it or its context is gone.
        :raises TimeoutError: the time passed; a part may have been sent.
        """
        deadline = deadline_of(timeout)
        for start in range(0, len(data), PIECE):
            # Of bytes, the whole is itself.
            self._input.send(bytes(data[start : start + PIECE]), left_until(deadline))

    def close_stdin(self) -> None:
        """Let the program find the end of its input, after what was written.

        :raises ChannelError: as for `write`.
        """
        self._input.send(b"")

    # -- Ends ----------------------------------------------------------------------------------

    def _tell(self, value: object) -> None:
        if self.returncode is None:
            # By the thread that never waits for a link.
            self.context._router().broker.defer(self._control.send, value)

    def send_signal(self, signum: int) -> None:
        """Send a signal to the program, and to what it started in its process group.

        :raises ChannelError: this context's broker has ended.
        """
        self._tell(-signum)

    def terminate(self) -> None:
        """Send SIGTERM: see `send_signal`."""
        self.send_signal(_SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL: see `send_signal`."""
        self.send_signal(_SIGKILL)

    def close_output(self, name: str) -> None:
        """Read ``"stdout"`` or ``"stderr"`` no more: to write there fails then, or ends the program."""
        self._tell(tuple(number for number in NAMES if NAMES[number] == name))

    def close(self) -> None:
        """End the program if it runs: SIGTERM, then SIGKILL. Waits of other threads end. Idempotent."""
        try:
            if self._control and self.returncode is None and not self._is_closed:
                self._is_closed = True
                self._control.close("nobody waits for the program any more")
        except ChannelError:
            pass  # The broker has ended.
        self._call.close()
        self._out.close()
        credit = self._input and self._input._credit
        if credit:
            credit.end("the program has ended")


def popen(
    context: Context,
    args: Args,
    *,
    stdin: bool = True,
    stdout: int | None = None,
    stderr: int | None = None,
    shell: bool = False,
    login: bool = False,
    cwd: str | PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> RunningProgram:
    """Start a program in `context`, and return it while it runs. Any thread but the broker's.

    It is the leader of a session and a process group of its own. It ends with this process, with
    `context` and with the connection between them, at the latest.

    :param args: the program and its arguments; or, with `shell`, a line for ``/bin/sh``.
    :param stdin: False gives it an empty input, which needs no `close_stdin`.
    :param stdout: None passes its output here; `subprocess.DEVNULL` drops it.
    :param stderr: likewise; `subprocess.STDOUT` mixes it into the other.
    :param login: `args` is a line that the login shell of the account runs in its home, as with `ssh`.
    :param cwd: the folder that it runs in; by default that of the context.
    :param env: its whole environment; by default that of the context.
    :param timeout: seconds for it to start.
    :raises OSError: it can't be started there: `FileNotFoundError` where there is no such program or
        `cwd`.
    :raises ChannelError: the context is gone.
    :raises TimeoutError: the context did not answer in time.
    """
    deadline = deadline_of(timeout)
    program = RunningProgram(
        context,
        _plain_args(args),
        timeout,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        shell=shell,
        login=login,
        cwd=None if cwd is None else _plain(cwd),
        env=None if env is None else dict(env),
    )
    program.start(left_until(deadline))
    return program


def _plain(arg: Any) -> Any:
    return arg.__fspath__() if hasattr(arg, "__fspath__") else arg


def _plain_args(args: Any) -> Any:
    args = _plain(args)
    return args if isinstance(args, (str, bytes)) else [_plain(arg) for arg in args]


class Lines:
    """Splits output into lines, which `func` is called with.

    :param decode: called with each line before that.
    """

    def __init__(self, func: Callable[[Any], object], decode: Any = None) -> None:
        self._func = func
        self._decode = decode
        self._rest: list[bytes] = []
        self._size = 0

    def append(self, data: bytes) -> None:
        """Take what was read next."""
        for line in BytesIO(data):
            self._rest.append(line)
            self._size += len(line)
            if line[-1:] == b"\n" or self._size >= LINE_LIMIT:
                self.finish()

    def finish(self) -> None:
        """Pass on what has no newline."""
        line = b"".join(self._rest)
        del self._rest[:]
        self._size = 0
        if line:
            self._func(self._decode(line) if self._decode else line)
