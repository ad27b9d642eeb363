"""Processes that this context started: `Process`, which starts one and reaps it for certain.

Owns the process id until the process was waited for, so that no signal ever hits a process that took over
the number. Exits are noticed through a pidfd where the system has them, else by asking at intervals;
`SIGCHLD` and waiting for any child are left to the program that uses this library.

Started with `posix_spawn`, which does not copy a large parent's page tables and needs no `subprocess`;
systems without it fall back to that. A child is the leader of its own session: a Ctrl-C at the terminal
reaches the master alone, which ends its children in good order.

`spawn` may run on any thread; the rest is for the broker thread. Fires `exit`.
"""

from __future__ import annotations

# The C module alone: `signal` imports `enum` for the names of constants.
import _signal  # type: ignore[import-not-found]
import os
import time
from functools import partial
from itertools import chain, starmap

from mitogen.core.signals import fire
from mitogen.core.stream import BasicStream, Side

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mitogen.core.broker import Broker

SIGTERM: int = _signal.SIGTERM
SIGKILL: int = _signal.SIGKILL

#: Seconds between looks at a process, where there is no pidfd: first, and longest.
_FIRST_LOOK, _LAST_LOOK = 0.01, 0.5
#: Looks at a killed process before it is given up, when the broker ends.
_LAST_WAITS = 50

#: Bytes that the pipe from a child holds, and the one to it; an unprivileged user may have 1 MiB at most.
#: By default they hold less than sockets do, and large payloads would be passed on in small pieces. But
#: what a child floods its parent with waits in there, with the messages of others behind it.
_SAYS, _IS_TOLD = 1 << 18, 1 << 20
#: Not in the `fcntl` of the oldest versions.
_F_SETPIPE_SZ = 1031


def spawn(
    argv: list[str],
    executable: str,
    fds: tuple[int, int, int],
    pids: list[int],
    env: Any = os.environ,
    more: tuple[Any, ...] = (),
    before: Any = None,
) -> Any:
    """Start a program; return a `Popen` if `subprocess` had to be used.

    :param argv: its arguments; the first one is only a name.
    :param executable: the program, looked up on PATH unless it has a slash.
    :param fds: what becomes its descriptors 0, 1 and 2.
    :param pids: gets its process id, even if an exception of a signal's handler comes right afterwards.
    :param env: its environment.
    :param more: what is done in it before, as for `os.posix_spawn`; only where the system has that.
    :param before: called in it before instead; then it inherits descriptors that are inheritable.
    :raises OSError: it can't be started.
    """
    if before or not hasattr(os, "posix_spawnp"):
        import subprocess

        popen = subprocess.Popen(
            argv,
            executable=executable,
            stdin=fds[0],
            stdout=fds[1],
            stderr=fds[2],
            start_new_session=True,
            env=env,
            preexec_fn=before,
            close_fds=not before,
        )
        pids.append(popen.pid)
        return popen
    actions = [(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate(fds)] + list(more)
    options: dict[str, Any] = {"file_actions": actions, "setsigmask": (), "setsid": True}
    what = [(executable, argv, env)]
    try:
        pids.extend(starmap(partial(os.posix_spawnp, **options), what))
    except NotImplementedError:
        # No session of its own on this system: a Ctrl-C then also reaches the child, which copes.
        del options["setsid"]
        pids.extend(starmap(partial(os.posix_spawnp, **options), what))


def open_pipes(opened: list[int]) -> None:
    """Open what connects this process with one that it starts.

    :param opened: gets the descriptors of three pipes, to read and to write each: what the process says,
        what it is told, and its stderr; also if an exception of a signal's handler comes in between.
    :raises OSError: there are no more descriptors.
    """
    opened.extend(chain.from_iterable(starmap(os.pipe, [()] * 3)))
    _enlarge(opened[1], _SAYS)
    _enlarge(opened[3], _IS_TOLD)


def _enlarge(fd: int, size: int) -> None:
    """Let a pipe hold `size` bytes, where the system can do that. Only what is in it takes memory."""
    try:
        import fcntl

        fcntl.fcntl(fd, getattr(fcntl, "F_SETPIPE_SZ", _F_SETPIPE_SZ), size)
    except (ImportError, OSError):
        pass  # Not Linux, or the user has many pipes: it works all the same.


def describe_status(status: int) -> str:
    """Return a wait status in words: ``exited with status 1``, ``was killed by signal 9``."""
    if os.WIFSIGNALED(status):
        return "was killed by signal %d" % os.WTERMSIG(status)
    return "exited with status %d" % os.WEXITSTATUS(status)


class Process(BasicStream):
    """A child process, watched by a broker until it has exited and was waited for.

    :ivar pid: its id; only valid while `status` is None.
    :ivar status: its wait status once it exited, else None.
    """

    def __init__(self, broker: Broker, pid: int, popen: Any = None) -> None:
        self.broker = broker
        self.pid = pid
        self.status: int | None = None
        self._popen = popen
        self._abandoned = False
        self._interval = _FIRST_LOOK

    def __repr__(self) -> str:
        return "Process(%d)" % self.pid

    def watch(self) -> None:
        """Begin to watch. Broker thread only."""
        try:
            self.receive_side = Side(self, os.pidfd_open(self.pid))
            self.broker._start_receive(self)
        except (AttributeError, OSError):
            self._look()

    def _look(self) -> None:
        # Registered as a stream all the same, so that a shutdown of the broker waits for the exit.
        self.broker.streams[self] = None
        if self.poll() is None:
            self.broker.call_later(self._interval, self._look)
            self._interval = min(self._interval * 2, _LAST_LOOK)

    def on_receive(self, broker: Broker) -> None:
        self.poll()

    def poll(self) -> int | None:
        """Return the wait status if the process has exited, else None; fires `exit` the first time."""
        if self.status is None:
            if self._popen is not None:
                code = self._popen.poll()
                status = None if code is None else (-code if code < 0 else code << 8)
            else:
                try:
                    pid, status = os.waitpid(self.pid, os.WNOHANG)
                except ChildProcessError:
                    # Somebody waited for all children: it is gone, and nobody knows how.
                    pid, status = self.pid, 0
                status = status if pid else None
            if status is not None:
                self.status = status
                BasicStream.on_disconnect(self, self.broker)
                fire(self, "exit")
        return self.status

    def kill(self, signum: int, group: bool = False) -> None:
        """Send a signal, unless the process has exited.

        :param group: send it to what the process started, too, as far as it stayed in its group.
        """
        if self.poll() is None and not self._abandoned:
            # Where it can't be started as the leader of a session, it has no group of its own.
            for send in (os.killpg, os.kill)[not group :]:
                try:
                    send(self.pid, signum)
                    break
                except OSError:
                    pass  # Or another user's by now (su, sudo): its connection ends it.

    def abandon(self) -> None:
        """Leave the process alone: it lives on, and is waited for only while the broker runs."""
        self._abandoned = True

    @property
    def keep_alive(self) -> bool:
        """A shutdown of the broker waits for the exit, with a pidfd or without."""
        return self.status is None and not self._abandoned

    def on_shutdown(self, broker: Broker) -> None:
        """Wait for the exit; the broker's grace period is the limit."""

    def on_disconnect(self, broker: Broker) -> None:
        """The broker ends: so must the process."""
        self.kill(SIGKILL)
        for _ in range(_LAST_WAITS):
            if not self.keep_alive:
                break
            time.sleep(_FIRST_LOOK)
            self.poll()
        if self.status is None:
            # Detached, or another user's process, out of reach of signals: it ends with its connection.
            self.abandon()
            BasicStream.on_disconnect(self, broker)
