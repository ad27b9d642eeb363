"""Programs that start `ssh`, such as rsync, scp, sftp and git, over connections that are there: `run`.

The program is started with a folder of ours in front of its `PATH`. The `ssh` in there is a few lines
that give this process their arguments and their standard streams over a UNIX socket, and wait for a
status. So what is copied does not go through them, and there may be any number of them at once. For each,
a thread here parses the arguments, runs the command (`mitogen.parent.running`) and writes its output;
another one reads its input. One more waits for new ones, and for those that end.
"""

from __future__ import annotations

import os
import select
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from getopt import GetoptError, getopt

from mitogen.core.errors import TimeoutError
from mitogen.parent.running import RunningProgram
from mitogen.parent.streams import Streams
from mitogen.parent.temporary import SOCKET, make_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from mitogen.core.child import ExternalContext
    from mitogen.core.context import Context
    from mitogen.core.router import Router

#: Options of ssh(1); those before a colon take an argument.
_OPTIONS = "1246AaB:b:Cc:D:E:e:F:fGgI:i:J:KkL:l:Mm:NnO:o:P:p:Q:qR:S:sTtVvW:w:XxYy"
#: What is done with a connection that is not there; all others only say how to make one.
_REFUSED = "DLNOQRWw"

#: Seconds for a thread to end whose connection is closed.
_LAST_WAIT = 2.0

#: Where sftp-server(8) is installed.
_FIND_SFTP_SERVER = (
    "for i in /usr/lib/openssh /usr/libexec/openssh /usr/lib/ssh /usr/lib /usr/libexec"
    " /usr/local/libexec; do test -x $i/sftp-server && exec $i/sftp-server; done;"
    " echo no sftp-server found >&2; exit 127"
)

#: The `ssh` that is found. Closed standard streams would get the numbers of what is opened here.
_SSH = """
import os,sys,_signal,_socket as S
n=os.open("/dev/null",2)
while n<3:n=os.dup(n)
_signal.signal(2,_signal.SIG_DFL)
s=S.socket(S.AF_UNIX)
s.connect(%r)
b=bytes(1).join(map(os.fsencode,sys.argv[1:]))
f=b"".join(i.to_bytes(4,sys.byteorder)for i in range(3))
s.sendmsg([b"%%9d"%%len(b)],[(S.SOL_SOCKET,S.SCM_RIGHTS,f)])
s.sendall(b)
for i in range(3):os.dup2(n,i)
os._exit((s.recv(1)or b"\\xff")[0])
"""


def parse(words: list[str]) -> tuple[dict[str, str], str, list[str]]:
    """Return options, host and command of a command line, which is read as ssh(1) does.

    :param words: what follows ``ssh``.
    :returns: the options by their letters, each with its last argument, or ``""``; the host; the words of
        the command.
    :raises ValueError: ssh would refuse it.
    """
    try:
        options, rest = getopt(words, _OPTIONS)
        host = "".join(rest[:1])
        # There may be more of them behind it.
        at = len(words) - len(rest)
        rest = rest[1:]
        if words[at - 1 : at] != ["--"]:
            more, rest = getopt(rest, _OPTIONS)
            options += more
    except GetoptError as e:
        raise ValueError(str(e)) from None
    found = {name[1]: value for name, value in options}
    if not host and "V" not in found:
        raise ValueError("there is no host in %r" % " ".join(["ssh", *words]))
    return found, host, rest


def command_of(options: dict[str, str], words: list[str]) -> str:
    """Return what the login shell is to run, ``""`` for a shell that reads commands.

    :raises ValueError: it can't be done over a connection that is there.
    """
    for letter in options:
        if letter in _REFUSED:
            raise ValueError("-%s is not supported over a mitogen connection" % letter)
    line = " ".join(words)
    if "s" in options:
        if line != "sftp":
            raise ValueError("subsystem request failed: there is no %r" % line)
        line = "exec /bin/sh -c " + shlex.quote(_FIND_SFTP_SERVER)
    return line


def run(
    dest: Context,
    router: Router,
    args: Sequence[str],
    deadline: float | None = None,
    econtext: ExternalContext | None = None,
) -> int:
    """Run a program on this machine, for which each `ssh` that it starts runs its command in `dest`.

    Whatever host it names. It may start any number of them at once. Any thread but the broker's.

    :param dest: a context that this one may call: below it, as a rule.
    :param router: the router of this context.
    :param args: the program and its arguments. Its standard streams are those of this process.
    :param deadline: seconds; then it is killed, and all that it started. Where it has the terminal, what
        it started is left to notice that.
    :param econtext: what this process consists of, in a child; `router` knows it, too.
    :returns: its exit status; 128 and the number of the signal, if one ended it.
    :raises OSError: it can't be started.
    :raises TimeoutError: `deadline` passed.
    """
    folder = make_folder()
    server = None
    try:
        server = _Server(folder, dest)
        args = list(args)
        if os.path.basename(args[0]) in ("scp", "sftp"):
            # They don't look for it.
            args[1:1] = ["-S", server.ssh]
        env = dict(os.environ, RSYNC_RSH=server.ssh, GIT_SSH_COMMAND=shlex.quote(server.ssh))
        env["PATH"] = folder + os.pathsep + env.get("PATH", os.defpath)
        # A program that talks to the terminal has to stay in its session.
        is_alone = not os.isatty(0)
        process = subprocess.Popen(args, env=env, start_new_session=is_alone)
        try:
            code = process.wait(deadline)
        except subprocess.TimeoutExpired:
            text = "%s took more than %s seconds, and was killed"
            raise TimeoutError(text, args[0], deadline) from None
        finally:
            if process.returncode is None:
                if is_alone:
                    os.killpg(process.pid, signal.SIGKILL)
                process.kill()
                process.wait()
        return code if code >= 0 else 128 - code
    finally:
        if server is not None:
            server.close()
        shutil.rmtree(folder, ignore_errors=True)


class _Server:
    """Waits for each `ssh` that is started, and for its end."""

    def __init__(self, folder: str, dest: Context) -> None:
        self._dest = dest
        self._sessions: list[_Session] = []
        self._is_closed = False
        self._path = os.path.join(folder, SOCKET)
        self.ssh = os.path.join(folder, "ssh")
        with open(self.ssh, "w") as f:
            code = shlex.quote(_SSH % self._path)
            f.write('#!/bin/sh\nexec %s -SEc %s "$@"\n' % (shlex.quote(sys.executable), code))
        os.chmod(self.ssh, 0o700)
        self._listener = socket.socket(socket.AF_UNIX)
        try:
            self._listener.bind(self._path)
            self._listener.listen(128)
        except OSError:
            self._listener.close()
            raise
        self._thread = threading.Thread(target=self._main, daemon=True)
        self._thread.start()

    def _main(self) -> None:
        poller = select.poll()
        poller.register(self._listener, select.POLLIN)
        watched: dict[int, _Session] = {}
        while not self._is_closed:
            for fd, _ in poller.poll():
                if fd in watched:
                    poller.unregister(fd)
                    watched.pop(fd).end()
                    continue
                try:
                    conn = self._listener.accept()[0]
                except OSError:
                    # It gave up, or there is no descriptor left, which will not last.
                    time.sleep(0.02)
                    continue
                self._sessions = [one for one in self._sessions if one.thread.is_alive()]
                watched[conn.fileno()] = session = _Session(conn, self._dest)
                self._sessions.append(session)
                poller.register(conn, 0)  # For its end only.
        for session in watched.values():
            session.end()

    def close(self) -> None:
        """End all commands that run."""
        self._is_closed = True
        with socket.socket(socket.AF_UNIX) as waker:
            waker.connect(self._path)
        self._thread.join()
        self._listener.close()
        for session in self._sessions:
            session.thread.join(_LAST_WAIT)


class _Session:
    """One `ssh`: a thread that runs its command."""

    def __init__(self, conn: socket.socket, dest: Context) -> None:
        self._conn = conn
        self._dest = dest
        self._program: RunningProgram | None = None
        self._is_over = False
        #: Whoever takes the last one closes the connection: else its number would be another's by then.
        self._users = [1, 2]
        self.thread = threading.Thread(target=self._main, daemon=True)
        self.thread.start()

    def end(self) -> None:
        """The `ssh` has ended, or has to. By the thread that watches it."""
        self._is_over = True
        if self._program is not None:
            self._program.close()
        self._hang_up(b"")
        self._release()

    def _hang_up(self, status: bytes) -> None:
        try:
            self._conn.sendall(status)
            self._conn.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # It is gone.

    def _release(self) -> None:
        self._users.pop()
        if not self._users:
            self._conn.close()

    def _main(self) -> None:
        status = 255
        streams = None
        try:
            words, streams = self._receive()
            status = self._run(words, streams)
        except Exception as e:
            # Whatever it is, the one who waits for this `ssh` is to know.
            if streams is not None:
                streams.put("stderr", os.fsencode("ssh: %s\r\n" % e))
        if streams is not None:
            streams.close()
        self._hang_up(bytes([status]))
        if streams is not None:
            streams.join()
        self._release()

    def _receive(self) -> tuple[list[str], Streams]:
        """Return arguments and standard streams."""
        flags = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
        size, found, _, _ = self._conn.recvmsg(9, socket.CMSG_SPACE(12), flags)
        with self._conn.makefile("rb") as f:
            data = f.read(int(size))
        if len(data) < int(size):
            raise EOFError("half a command must not be run")
        fds = list(struct.unpack("3i", found[0][2]))
        return os.fsdecode(data).split("\0"), Streams(fds, self._conn)

    def _run(self, words: list[str], streams: Streams) -> int:
        options, _, words = parse(words)
        if "V" in options:
            streams.put("stderr", b"OpenSSH, as mitogen has it\r\n")
            return 0
        with_input = "n" not in options
        line = command_of(options, words)
        self._program = program = RunningProgram(self._dest, line, login=True, stdin=with_input)
        try:
            if self._is_over:
                return 255
            program.start()
            code = streams.connect(program, with_input)
        finally:
            program.close()
        return code if code >= 0 else 128 - code
