"""What all targets are made of: a folder, daemons, overlays; the word for what is missing; what is left.

Everything that a target makes bears `TAG`, which holds the pid of this run, wherever it is: two runs at
once do not meet, and at the end `leftovers` finds what was forgotten.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING, NoReturn

import pytest

from tests import leaks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

#: What begins the name of every user, container and file of this run; a valid user name.
TAG = "mt%d" % os.getpid()

#: Seconds for a daemon to be ready, or gone: an order of magnitude more than seen.
PATIENCE = 30.0

#: The mark of this run as a line of an environment: what becomes another user keeps no other variable.
MARK = "%s=%s" % (leaks.MARK, os.environ.get(leaks.MARK))


def missing(reason: str) -> NoReturn:
    """Skip the test, as this machine lacks something; under CI, fail it."""
    if os.environ.get("CI"):
        pytest.fail("this machine should have it under CI: %s" % reason, pytrace=False)
    pytest.skip(reason)


def need(program: str, package: str) -> str:
    """Return the path of a program that only root can make use of."""
    path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if os.getuid() != 0:
        missing("%s is started by root only" % program)
    if path is None:
        missing("no %s on this machine: apt-get install %s" % (program, package))
    return path


def run(*command: str, stdin: str | None = None, environ: Mapping[str, str] | None = None) -> str:
    """Return what a command writes; one that fails is an error that says what it wrote."""
    done = subprocess.run(
        command,
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        env={**os.environ, **(environ or {})},
        check=False,
    )
    if done.returncode:
        raise RuntimeError(
            "%s: exit status %d: %s" % (command, done.returncode, done.stderr or done.stdout)
        )
    return done.stdout


def wait_for(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Return when `condition()` is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("not within %.0f s: %s" % (seconds, what))
        time.sleep(0.02)


def succeeds(*command: str) -> bool:
    """Tell whether a command exits with 0; for conditions to wait on."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode == 0


@contextlib.contextmanager
def folder(name: str) -> Iterator[str]:
    """A temporary folder that other users can enter, gone at the end with all that is in it.

    Also with what is mounted below: some programs never undo that, others are killed before they do.
    """
    # Short, for the UNIX sockets in it.
    path = tempfile.mkdtemp(prefix="%s%s." % (TAG, name), dir="/tmp")
    os.chmod(path, 0o755)
    try:
        yield path
    finally:
        try:
            # Podman cleans up in processes of its own, after it said that all was done.
            wait_for(lambda: not users(path), "end of the processes that use %s" % path)
        finally:
            with open("/proc/mounts") as mounts:
                below = [line.split()[1] for line in mounts if line.split()[1].startswith(path + "/")]
            for mount in reversed(below):
                unmount(mount)
            shutil.rmtree(path)


def users(path: str) -> list[int]:
    """Return the processes whose command lines have a path in them."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open("/proc/%s/cmdline" % pid, "rb") as f:
            if path.encode() in f.read() and int(pid) != os.getpid():
                found.append(int(pid))
    return found


@contextlib.contextmanager
def environ(**values: str) -> Iterator[None]:
    """Set variables of this process, which the programs that it starts inherit, for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def daemon(command: list[str], log: str, ready: Callable[[], object]) -> Iterator[int]:
    """Run a program that stays in the foreground, from when `ready()` is true; yields its pid."""
    with open(log, "ab") as output:
        # A run that is killed can't clean up: the kernel ends its daemons then.
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        try:
            wait_for(lambda: process.poll() is not None or ready(), "start of %s" % command[0])
            if process.poll() is not None:
                raise RuntimeError("exit status %d" % process.returncode)
        except RuntimeError as exc:
            with open(log, errors="replace") as written:
                raise RuntimeError(
                    "%s: %s; its log: %s" % (command[0], exc, written.read()[-2000:])
                ) from exc
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        finally:
            process.kill()
            process.wait()


def unmount(path: str) -> None:
    """Unmount a file system, which the kernel may hold for a moment after its last process."""
    wait_for(lambda: succeeds("umount", path), "umount %s" % path)


@contextlib.contextmanager
def overlay(lower: str, path: str, at: str | None = None) -> Iterator[str]:
    """Mount a file system that shows `lower` and keeps what is written to it in the folder `path`.

    It is mounted at `at`, or else below `path`; yields where.
    """
    upper, work = (os.path.join(path, name) for name in ("upper", "work"))
    root = at or os.path.join(path, "root")
    for each in (upper, work, root):
        os.makedirs(each, exist_ok=True)
    run(
        "mount",
        "-t",
        "overlay",
        "overlay",
        "-o",
        "lowerdir=%s,upperdir=%s,workdir=%s" % (lower, upper, work),
        root,
    )
    try:
        yield root
    finally:
        unmount(root)


@contextlib.contextmanager
def machine_lock() -> Iterator[None]:
    """Hold off the other runs on this machine while a file that all share is changed."""
    with open("/run/lock/mitogen-tests", "ab") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


def leftovers() -> list[str]:
    """Return what the targets of this run have left on this machine, but for processes (see `leaks`)."""
    with open("/proc/mounts") as mounts:
        found = ["mount: %s" % line.split()[1] for line in mounts if "/%s" % TAG in line]
    found += ["user: %s" % user.pw_name for user in pwd.getpwall() if user.pw_name.startswith(TAG)]
    for pattern in (
        "/tmp/%s*",
        "/etc/sudoers.d/%s*",
        "/etc/pam.d/%s*",
        "/run/sudo/ts/%s*",
        "/var/lib/lxc/%s*",
    ):
        found += ["file: %s" % path for path in glob.glob(pattern % TAG)]
    if os.path.exists("/etc/doas.conf"):
        with open("/etc/doas.conf") as rules:
            found += ["rule of doas: %s" % line.strip() for line in rules if TAG in line]
    return found
