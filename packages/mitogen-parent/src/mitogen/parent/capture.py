"""`run`: a program in another context from its start to its end, in the shape of `subprocess.run`.

On top of `mitogen.parent.running`. All is done by the calling thread, but for input: a thread writes
that, since a program may write much before it reads.
"""

from __future__ import annotations

import subprocess
import threading
from time import monotonic

from mitogen.core.deadlines import deadline_of, left_until
from mitogen.core.errors import ChannelError, TimeoutError
from mitogen.parent.programs import PIECE
from mitogen.parent.running import NAMES, Lines, RunningProgram, popen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from os import PathLike
    from typing import IO, Any, Literal, Union, overload

    from mitogen.core.context import Context
    from mitogen.parent.running import Args

    Input = Union[bytes, str, IO[bytes], IO[str], Iterable[bytes], Iterable[str]]

#: Seconds for a program that was killed to be gone, and for the rest of its output to come.
_LAST_WAIT = 1.0


if TYPE_CHECKING:

    @overload
    def run(
        context: Context,
        args: Args,
        *,
        input: Input | None = ...,
        timeout: float | None = ...,
        check: bool = ...,
        text: Literal[False] = ...,
        encoding: str = ...,
        errors: str = ...,
        on_stdout: Callable[[bytes], object] | None = ...,
        on_stderr: Callable[[bytes], object] | None = ...,
        stdout: int | None = ...,
        stderr: int | None = ...,
        shell: bool = ...,
        cwd: str | PathLike[str] | None = ...,
        env: Mapping[str, str] | None = ...,
    ) -> subprocess.CompletedProcess[bytes]: ...

    @overload
    def run(
        context: Context,
        args: Args,
        *,
        input: Input | None = ...,
        timeout: float | None = ...,
        check: bool = ...,
        text: Literal[True],
        encoding: str = ...,
        errors: str = ...,
        on_stdout: Callable[[str], object] | None = ...,
        on_stderr: Callable[[str], object] | None = ...,
        stdout: int | None = ...,
        stderr: int | None = ...,
        shell: bool = ...,
        cwd: str | PathLike[str] | None = ...,
        env: Mapping[str, str] | None = ...,
    ) -> subprocess.CompletedProcess[str]: ...


def run(
    context: Context,
    args: Args,
    *,
    input: Input | None = None,
    timeout: float | None = None,
    check: bool = False,
    text: bool = False,
    encoding: str = "utf-8",
    errors: str = "strict",
    on_stdout: Callable[[Any], object] | None = None,
    on_stderr: Callable[[Any], object] | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    shell: bool = False,
    cwd: str | PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[Any]:
    """Run a program in `context`, wait for it, and return what it wrote. Any thread but the broker's.

    Like `subprocess.run` with ``capture_output=True``; see `popen` for `stdout`, `stderr`, `shell`, `cwd`
    and `env`.

    :param args: the program and its arguments; or, with `shell`, a line for ``/bin/sh``.
    :param input: what it reads: bytes or text, a file, or something that yields either, which a thread
        then goes through; nothing by default.
    :param timeout: seconds, from the call on; then the program is killed, and all that is in its process
        group.
    :param check: raise an error if it fails.
    :param text: make its output `str`, and line ends ``\\n``.
    :param encoding: what text is encoded with.
    :param errors: what becomes of bytes that it can't decode.
    :param on_stdout: called with each line as it comes, newline included, by the calling thread; the line
        is then not kept. Lines of more than a MiB come in parts. What it raises ends the program.
    :param on_stderr: likewise.
    :returns: `args`, `returncode` (negative: the number of the signal that ended it), `stdout` and
        `stderr`, which are None where nothing was kept.
    :raises subprocess.TimeoutExpired: with what came until then, as bytes.
    :raises subprocess.CalledProcessError: it failed, and `check` is set.
    :raises OSError: it can't be started there.
    :raises ChannelError: the context is gone.
    """
    deadline = deadline_of(timeout)

    def decode(data: bytes) -> str:
        return data.decode(encoding, errors).replace("\r\n", "\n").replace("\r", "\n")

    takers: dict[str, Any] = {}
    for name, callback, target in (("stdout", on_stdout, stdout), ("stderr", on_stderr, stderr)):
        if callback is not None:
            takers[name] = Lines(callback, decode if text else None)
        elif target is None:
            takers[name] = _Pieces()
    try:
        program = popen(
            context,
            args,
            stdin=input is not None,
            stdout=stdout,
            stderr=stderr,
            shell=shell,
            cwd=cwd,
            env=env,
            timeout=timeout,
        )
    except TimeoutError:
        raise subprocess.TimeoutExpired(args, timeout or 0) from None
    feeder = None if input is None else _Feeder(program, input, encoding)
    try:
        if feeder is not None:
            feeder.start()
        in_time = _take_all(program, takers, deadline)
        if not in_time:
            program.kill()
            _take_all(program, takers, monotonic() + _LAST_WAIT)
    finally:
        program.close()
        if feeder is not None:
            feeder.join(_LAST_WAIT)
    if feeder is not None and feeder.error is not None:
        raise feeder.error
    results: list[Any] = [takers[name].finish() if name in takers else None for name in NAMES.values()]
    if not in_time:
        raise subprocess.TimeoutExpired(args, timeout or 0, *results)
    if text:
        results = [None if data is None else decode(data) for data in results]
    if check and program.returncode:
        raise subprocess.CalledProcessError(program.returncode, args, *results)
    return subprocess.CompletedProcess(args, program.returncode or 0, *results)


def _take_all(program: RunningProgram, takers: dict[str, Any], deadline: float | None) -> bool:
    """Take the output until the program has exited; return False if the time passed before that."""
    while True:
        left = left_until(deadline)
        if left is not None and left <= 0:
            return False  # There may be more to read at any time.
        try:
            piece = program.read(left)
        except TimeoutError:
            return False
        if piece is None:
            return True
        takers[piece[0]].append(piece[1])


class _Pieces(list):  # type: ignore[type-arg]
    """Output that is kept."""

    def finish(self) -> bytes:
        """Return all of it."""
        return b"".join(self)


class _Feeder(threading.Thread):
    """Writes the input, until it or the program ends."""

    def __init__(self, program: RunningProgram, source: Any, encoding: str) -> None:
        threading.Thread.__init__(self, name="mitogen.feeder", daemon=True)
        self._program = program
        self._source = source
        self._encoding = encoding
        #: What the source raised.
        self.error: BaseException | None = None

    def run(self) -> None:
        """Be the thread."""
        source = self._source
        try:
            if isinstance(source, (bytes, bytearray, memoryview, str)):
                source = [source]
            elif hasattr(source, "read"):
                # What is there, rather than a whole piece.
                read = getattr(source, "read1", source.read)
                source = iter(lambda: read(PIECE), type(read(0))())
            for data in source:
                data = data.encode(self._encoding) if isinstance(data, str) else data
                try:
                    self._program.write(data)
                except ChannelError:
                    return  # It does not want it, or has ended.
            self._program.close_stdin()
        except ChannelError:
            pass
        except BaseException as e:
            self.error = e
            self._program.kill()
