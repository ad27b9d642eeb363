"""What a process holds: `Resources`, taken before and after each test by the fixture in `conftest`.

Owns the looking, through `/proc`: processes, threads, file descriptors, and the files that the library
may write to `/tmp`. Nothing here knows the library, but for the pipes that its latches keep for reuse.

A process counts as ours if it descends from this one, or carries the mark of this run in its environment:
a grandchild whose parent died belongs to init, and would pass unseen otherwise. In a container of a test
all processes are ours: what starts them there may neither be our child nor pass the mark on.

A daemon that tests share is there before each of them, and so is no leak of theirs; what it starts for
them is, if it stays.
"""

from __future__ import annotations

import glob
import os
import re
import signal
import sys
import time
import uuid

#: Environment variable that all processes of this test run inherit.
MARK = "MITOGEN_TEST_RUN"

#: Seconds for what is ending already to be gone: the kernel's part of the end of a thread or process.
#: Less than the 2 seconds after which a child that does not end by itself gets its SIGTERM.
GRACE = 1.8


def mark_this_run() -> None:
    """Put the mark into the environment, once."""
    os.environ.setdefault(MARK, uuid.uuid4().hex)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError:
        return b""  # Gone in between, or a kernel thread.


#: Processes without the mark, by id and when they started: no process gets it later.
_foreign: set[tuple[int, bytes]] = set()


#: The PID namespaces of the containers of this run.
_containers: set[str] = set()


def _namespace(pid: int) -> str:
    try:
        return os.readlink("/proc/%d/ns/pid" % pid)
    except OSError:
        return ""  # Gone in between.


def watch_container(pid: int) -> None:
    """Count all processes of a container among ours from now on; `pid` is one of them."""
    namespace = _namespace(pid)
    if namespace == _namespace(os.getpid()):
        raise ValueError("process %d is in no container, or not in one with processes of its own" % pid)
    _containers.add(namespace)
    _foreign.clear()


def _parents() -> dict[int, tuple[int, str, bytes]]:
    """Return the parent, the state and the start of every process."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            # The name in parentheses may itself hold spaces and parentheses.
            fields = _read("/proc/%s/stat" % name).rpartition(b") ")[2].split()
            if fields:
                found[int(name)] = int(fields[1]), fields[0].decode(), fields[19]
    return found


def _describe(pid: int, state: str) -> str:
    words = _read("/proc/%d/cmdline" % pid).split(b"\0")
    shown = b" ".join(word for word in words if b"\n" not in word).decode("utf-8", "replace").strip()
    return "process %d (state %s): %s" % (pid, state, shown or "<no command line>")


def processes() -> dict[int, str]:
    """Return the processes of this run but for this one, with a description of each."""
    here = os.getpid()
    mark = ("%s=%s" % (MARK, os.environ.get(MARK))).encode()
    parents = _parents()
    found = {}
    for pid, (parent, state, start) in parents.items():
        if state == "Z" and parent == 1:
            continue  # It has ended. That nobody notes it is up to the first process of this machine.
        ancestor = pid
        while ancestor in parents and ancestor != here:
            ancestor = parents[ancestor][0]
        if pid == here:
            continue
        ours = ancestor == here
        if not ours and (pid, start) not in _foreign:
            # Empty for the kernel's, and for one that begins another program at this moment.
            environ = _read("/proc/%d/environ" % pid)
            # A process stays in its namespace, as it stays without the mark.
            inside = bool(_containers) and _namespace(pid) in _containers
            if environ and not inside and mark not in environ.split(b"\0"):
                _foreign.add((pid, start))
            else:
                ours = inside or bool(environ)
        if ours:
            found[pid] = _describe(pid, state)
    return found


def threads() -> dict[str, str]:
    """Return the threads of this process: Python's, and the system's for those that Python can't see."""
    import threading

    found = {"task %s" % task: "" for task in os.listdir("/proc/self/task")}
    for thread in threading.enumerate():
        task = "task %s" % thread.native_id
        # Until Python 3.13, `threading` never forgets a thread that logged and that it did not start.
        if task in found or not isinstance(thread, threading._DummyThread):
            found[task] = "thread %s" % thread.name
    return found


def _close_idle_pipes() -> None:
    """Have latches close the pipes that they keep for as long as a broker lives, if none does.

    A test of a latch alone has no broker whose end would do it.
    """
    broker = sys.modules.get("mitogen.core.broker")
    latch = sys.modules.get("mitogen.core.latch")
    if latch is not None and not (broker and broker._running):
        latch.close_idle_pipes()


def descriptors() -> dict[str, str]:
    """Return what the open descriptors of this process lead to."""
    _close_idle_pipes()
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink("/proc/self/fd/%s" % name)
        except OSError:
            continue  # The one that listed the folder.
        # Equal numbers may be other files by now.
        found["fd %s -> %s" % (name, target)] = ""
    return found


def files() -> dict[str, str]:
    """Return the files in /tmp that have the library's prefix.

    Not those named after a process that runs and is none of ours: another program on this machine may use
    the library, such as another run of these tests.
    """
    paths = glob.glob("/tmp/mitogen.*")
    ours = {os.getpid(), *processes()} if paths else set()
    found = {}
    for path in paths:
        numbers = re.findall(r"\.(\d+)\.", path)
        pid = int(numbers[0]) if numbers else 0
        if pid in ours or not os.path.exists("/proc/%d" % pid):
            found[path] = ""
    return found


class Resources:
    """What there was at one moment."""

    def __init__(self) -> None:
        self.processes = processes()
        self.threads = threads()
        self.descriptors = descriptors()
        self.files = files()

    def added(self, since: Resources) -> list[str]:
        """Return descriptions of all that is here and was not there."""
        lines = [text for pid, text in self.processes.items() if pid not in since.processes]
        for now, then in (
            (self.threads, since.threads),
            (self.descriptors, since.descriptors),
            (self.files, since.files),
        ):
            lines += ["%s %s" % (key, now[key]) for key in now if key not in then]
        return lines


def wait_for_none(before: Resources, grace: float = GRACE) -> list[str]:
    """Return what is left since `before` after at most `grace` seconds; processes left are killed."""
    deadline = time.monotonic() + grace
    while True:
        after = Resources()
        left = after.added(before)
        if not left or time.monotonic() > deadline:
            break
        time.sleep(0.01)
    for pid in after.processes:
        if pid not in before.processes:
            kill(pid)
    return left


def kill(pid: int) -> None:
    """Kill a process that a test left behind, and reap it if it is our child."""
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass
