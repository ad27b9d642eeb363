"""`mitogen.fakessh`: programs that start ssh, over connections that are there."""

from __future__ import annotations

import os
import pwd
import random
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

import mitogen.core
from mitogen import fakessh
from tests.integration.targets import place
from tests.utils import remote_programs
from tests.utils.test_programs import is_running, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import mitogen.master
    from mitogen.parent import Context
    from tests.integration.targets import sshd


def start(dest: Any, args: Sequence[str], deadline: float | None = None) -> int:
    """Run a program here that reaches `dest` by ssh; return its exit status."""
    return fakessh.run(dest, dest.router, args, deadline)


def shell(dest: Any, script: str, *args: str, deadline: float | None = None) -> int:
    """Run a shell script here that calls ssh; return its exit status."""
    return start(dest, ["bash", "-c", script, "bash", *args], deadline)


# -- Command lines -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "options", "command"),
    [
        ("host", {}, ""),
        ("host ls -l", {}, "ls -l"),
        ("-l user host ls", {"l": "user"}, "ls"),
        ("-luser -p22 host ls", {"l": "user", "p": "22"}, "ls"),
        ("-Tqx -o A=b -oC=d host ls", {"T": "", "q": "", "x": "", "o": "C=d"}, "ls"),
        ("-Tp 22 host ls", {"T": "", "p": "22"}, "ls"),
        ("user@host -p 22 ls -p", {"p": "22"}, "ls -p"),
        ("host -- -x y", {}, "-x y"),
        ("-x -- host -x y", {"x": ""}, "-x y"),
        ("-n -- host", {"n": ""}, ""),
        # What programs say.
        ("-l u host rsync --server -e.LsfxC . dst/", {"l": "u"}, "rsync --server -e.LsfxC . dst/"),
        (
            "-x -oPermitLocalCommand=no -oClearAllForwardings=yes -oRemoteCommand=none"
            " -oRequestTTY=no -l u -- host scp -r -t dst",
            {"x": "", "o": "RequestTTY=no", "l": "u"},
            "scp -r -t dst",
        ),
        ("-o SendEnv=GIT_PROTOCOL -p 22 u@host git-upload-pack", {"o": "", "p": "22"}, "git-upload-pack"),
    ],
)
def test_a_command_line_is_read_as_ssh_does(line: str, options: dict[str, str], command: str) -> None:
    found, host, words = fakessh.parse(line.split(" "))
    assert found.keys() == options.keys()
    assert all(found[letter] == value for letter, value in options.items() if value)
    assert host.endswith("host")
    assert fakessh.command_of(found, words) == command


@pytest.mark.parametrize("line", ["", "-Z host", "-p", "-l", "-x", "--", "--version"])
def test_a_command_line_that_ssh_refuses(line: str) -> None:
    with pytest.raises(ValueError):
        fakessh.parse(line.split())


@pytest.mark.parametrize("line", ["-L 1:h:2 host", "-W h:1 host", "-N host", "-s host netconf"])
def test_what_needs_a_connection_of_its_own_is_refused(line: str) -> None:
    options, _, words = fakessh.parse(line.split())
    with pytest.raises(ValueError, match="not supported|no 'netconf'"):
        fakessh.command_of(options, words)


def test_sftp_gets_its_server_whatever_the_shell() -> None:
    options, _, words = fakessh.parse(["-oForwardX11=no", "-s", "--", "host", "sftp"])
    assert fakessh.command_of(options, words).startswith("exec /bin/sh -c '")


# -- Exit statuses -----------------------------------------------------------------------------


def test_everything_is_as_with_the_real_ssh(
    ssh_server: sshd.Server, local: Context, tmp_path: Path
) -> None:
    user = pwd.getpwuid(os.getuid()).pw_name
    scripts = [
        "true",
        "false",
        "exit 255",
        "no-such-program 2>/dev/null",
        "exec 2>/dev/null; sh -c 'kill -9 $$'; exit $?",
        "exec 1>&-; exit 3",
        "echo out; echo err >&2; exit 1",
        "wc -c; pwd; echo $0 $# $SHELL $HOME $USER $LOGNAME",
    ]
    for script in scripts:
        real = subprocess.run(
            ssh_server.command(user, script), input=b"x" * 100000, capture_output=True, check=False
        )
        to_file = 'head -c 100000 /dev/zero | ssh host "$1" >$2/out 2>$2/err'
        code = shell(local, to_file, script, str(tmp_path))
        found = code, (tmp_path / "out").read_bytes(), (tmp_path / "err").read_bytes()
        assert found == (real.returncode, real.stdout, real.stderr), script
    refused = subprocess.run(["ssh", "-Z", "host"], capture_output=True, check=False)
    assert refused.returncode == shell(local, "ssh -Z host 2>/dev/null") == 255
    assert shell(local, "ssh host 'kill -TERM $$'") == 128 + signal.SIGTERM


def test_a_signal_that_ends_the_local_program_is_told_as_a_shell_does(local: Context) -> None:
    assert shell(local, "kill -9 $$") == 137
    with pytest.raises(FileNotFoundError):
        start(local, ["/no/such/program"])


def test_without_a_command_a_shell_reads_its_input(local: Context) -> None:
    assert shell(local, "echo 'cd /; exit 4' | ssh -T host") == 4
    assert shell(local, "echo 'exit 4' | ssh -n -T host") == 0
    assert shell(local, "ssh -V 2>/dev/null") == 0


# -- Programs ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of all kinds."""
    root = tmp_path_factory.mktemp("tree")
    rng = random.Random(5)
    for i in range(30):
        folder = root / str(i % 7) / "sub folder"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ("file %d" % i)).write_bytes(rng.randbytes(rng.choice([0, 1, 5000, 140000])))
    (root / "large").write_bytes(rng.randbytes(3 << 20))
    (root / "large").chmod(0o755)
    return root


@pytest.fixture(params=["master", "child"])
def runner(request: pytest.FixtureRequest, router: mitogen.master.Router) -> Any:
    """Runs a program in the master, or in a child, which reaches a child of that child by ssh."""
    child = router.local()
    dest = router.local(via=child)

    def run(*args: str) -> None:
        if request.param == "master":
            assert fakessh.run(dest, router, args) == 0
        else:
            assert child.call(remote_programs.ssh, dest, list(args)) == 0

    return run


def assert_same(one: Path, other: Path) -> None:
    """Check that two folders have the same files, with the same modes."""
    for folder in (one, other):
        assert folder.is_dir()
    subprocess.run(["diff", "-r", str(one), str(other)], check=True)
    modes = [
        {path.relative_to(root): path.stat().st_mode for path in root.rglob("*")} for root in (one, other)
    ]
    assert modes[0] == modes[1]


def test_rsync(runner: Any, tree: Path, tmp_path: Path) -> None:
    place.need("rsync", "rsync")
    runner("rsync", "-a", "--delete", "%s/" % tree, "host:%s/up" % tmp_path)
    assert_same(tree, tmp_path / "up")
    (tmp_path / "up/large").write_bytes(b"another")
    (tmp_path / "up/more").write_bytes(b"too much")
    script = "rsync -a --delete -i %s/ user@host:%s/up >%s/log" % (tree, tmp_path, tmp_path)
    runner("sh", "-c", script)
    assert "*deleting   more" in (tmp_path / "log").read_text()
    assert_same(tree, tmp_path / "up")
    runner("sh", "-c", script)
    assert (tmp_path / "log").read_text() == ""
    runner("rsync", "-a", "host:%s/" % tree, "%s/down" % tmp_path)
    assert_same(tree, tmp_path / "down")


@pytest.mark.parametrize("protocol", ["-O", "-s"])
def test_scp(runner: Any, tree: Path, tmp_path: Path, protocol: str) -> None:
    place.need("scp", "openssh-client")
    runner("scp", "-q", "-p", "-r", protocol, str(tree), "user@host:%s/up" % tmp_path)
    assert_same(tree, tmp_path / "up")
    runner("scp", "-q", "-p", "-r", protocol, "host:%s" % tree, "%s/down" % tmp_path)
    assert_same(tree, tmp_path / "down")


def test_sftp_and_git(runner: Any, tree: Path, tmp_path: Path) -> None:
    place.need("git", "git")
    lines = ["cd %s" % tmp_path, "put -p %s/large up" % tree, "get -p up %s/down" % tmp_path, "-rm none"]
    (tmp_path / "batch").write_text("\n".join(lines) + "\n")
    runner("sftp", "-q", "-b", "%s/batch" % tmp_path, "host")
    assert (tmp_path / "down").read_bytes() == (tree / "large").read_bytes()
    source = tmp_path / "source"
    shutil.copytree(tree, source)
    git = ["git", "-C", str(source), "-c", "user.name=x", "-c", "user.email=x@y"]
    for args in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *args], check=True)
    runner("git", "clone", "-q", "ssh://user@host:22%s" % source, "%s/clone" % tmp_path)
    shutil.rmtree(source / ".git")
    shutil.rmtree(tmp_path / "clone/.git")
    assert_same(source, tmp_path / "clone")


@pytest.mark.parametrize("python", ["3.6", "pypy3"], indirect=True)
def test_other_interpreters(
    router: mitogen.master.Router, python: str, tree: Path, tmp_path: Path
) -> None:
    place.need("rsync", "rsync")
    child = router.local(python_path=python)
    dest = router.local(python_path=python, via=child)
    rsync = ["rsync", "-a", "%s/" % tree, "host:%s/up" % tmp_path]
    assert child.call(remote_programs.ssh, dest, rsync) == 0
    assert_same(tree, tmp_path / "up")


def test_many_at_once(local: Context, tmp_path: Path) -> None:
    script = """
        for i in {1..40}; do echo $i | ssh host "cat; exit $i" >$1/$i & pids[$i]=$!; done
        for i in {1..40}; do wait ${pids[$i]}; test $? = $i || exit 1; done
    """
    assert shell(local, script, str(tmp_path)) == 0
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        str(i): "%d\n" % i for i in range(1, 41)
    }


# -- Streams -----------------------------------------------------------------------------------


def test_large_streams_of_every_kind(local: Context, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(random.Random(1).randbytes(5 << 20))
    script = """
        ssh host cat <$1/in >$1/out1
        cat $1/in | ssh host cat | cat >$1/out2
        ssh host cat <$1/in 2>&1 >/dev/null
        ssh host 'cat >&2' <$1/in 2>$1/out3
        ssh host "cat $1/in" <&- >$1/out4 2>&-
        ssh host "exit 0" </dev/zero
    """
    assert shell(local, script, str(tmp_path)) == 0
    for name in ("out1", "out2", "out3", "out4"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "in").read_bytes(), name


def test_streams_that_are_sockets(local: Context, tmp_path: Path) -> None:
    script = """if 1:
        import socket, subprocess, threading
        a, b = socket.socketpair()
        p = subprocess.Popen(["ssh", "host", "cat"], stdin=b, stdout=b)
        b.close()
        data = bytes(range(256)) * 20000
        thread = threading.Thread(target=lambda: (a.sendall(data), a.shutdown(socket.SHUT_WR)))
        thread.start()
        assert a.makefile("rb").read() == data
        assert p.wait() == 0
    """
    args = [sys.executable, "-c", script]
    assert start(local, args) == 0


def test_a_reader_that_leaves_ends_the_command(local: Context) -> None:
    assert shell(local, "ssh host 'yes; exit 3' | head -n 1 >/dev/null; exit ${PIPESTATUS[0]}") == 3
    assert shell(local, "ssh host 'exec 1>&-; sleep 60' | cat & cat </dev/null; kill %1") == 0


def test_input_that_the_command_does_not_read(local: Context) -> None:
    assert shell(local, "yes | ssh host 'exec <&-; sleep 0.1; exit 5'; exit ${PIPESTATUS[1]}") == 5


# -- Ends --------------------------------------------------------------------------------------


@pytest.mark.parametrize("signum", ["TERM", "INT", "HUP", "KILL"])
def test_a_signal_to_ssh_ends_the_command(local: Context, tmp_path: Path, signum: str) -> None:
    script = """
        ssh host "echo \\$\\$ >$1/new; mv $1/new $1/pid; exec sleep 60" & pid=$!
        until test -e $1/pid; do sleep 0.01; done
        kill -$2 $pid; wait $pid
    """
    code = shell(local, script, str(tmp_path), signum)
    # A shell has what it starts in the background ignore SIGINT, but for Python.
    assert code == 128 + getattr(signal, "SIG" + signum)
    wait_until(lambda: not is_running(int((tmp_path / "pid").read_text())))


def test_a_lost_connection_is_told_and_gives_255(router: mitogen.master.Router, tmp_path: Path) -> None:
    context = router.local()
    pid = context.call(os.getpid)
    script = """
        mkfifo $1/fifo; exec 3<>$1/fifo
        ssh host 'echo up; exec cat' <&3 2>$1/err | (read x; kill -9 $2; cat); exit ${PIPESTATUS[0]}
    """
    assert shell(context, script, str(tmp_path), str(pid)) == 255
    text = (tmp_path / "err").read_text()
    assert text.startswith("ssh: ")
    assert "its process was killed by signal 9" in text
    assert shell(context, "ssh host true 2>/dev/null") == 255


def test_the_deadline_kills_everything(local: Context, tmp_path: Path) -> None:
    script = "ssh host 'echo $$ >%s/new; mv %s/new %s/pid; exec sleep 60' & sleep 60" % ((tmp_path,) * 3)
    path = tmp_path / "pid"
    started = time.monotonic()
    with pytest.raises(mitogen.core.TimeoutError, match="bash took more than 1.5 seconds"):
        shell(local, script, deadline=1.5)
    assert time.monotonic() - started < 20
    # On a busy machine it may not even have begun.
    wait_until(lambda: not path.exists() or not is_running(int(path.read_text())))


def test_the_deadline_holds_for_a_context_that_does_not_answer(router: mitogen.master.Router) -> None:
    context = router.local()
    pid = context.call(os.getpid)
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(mitogen.core.TimeoutError):
            shell(context, "ssh host true", deadline=0.5)
    finally:
        os.kill(pid, signal.SIGCONT)


def test_what_is_left_running_loses_its_ssh(local: Context, tmp_path: Path) -> None:
    """The program that was started is the one that counts."""
    script = "ssh host 'echo $$ >%s/new; mv %s/new %s/pid; exec sleep 60' & " % ((tmp_path,) * 3)
    assert shell(local, script + "until test -e $1/pid; do sleep 0.01; done", str(tmp_path)) == 0
    wait_until(lambda: not is_running(int((tmp_path / "pid").read_text())))


def test_the_next_run_tidies_up_after_one_that_was_killed(
    local: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    program = """if 1:
        import mitogen.master
        from mitogen import fakessh
        with mitogen.master.Router() as router:
            fakessh.run(router.local(), router, ["sh", "-c", "kill -9 $PPID"])
    """
    environ = dict(os.environ, PYTHONPATH=os.pathsep.join(p for p in sys.path if p))
    for _ in range(2):
        ended = subprocess.run([sys.executable, "-c", program], env=environ, timeout=50, check=False)
        assert ended.returncode == -9
        # The second has removed what the first left.
        assert len(list(tmp_path.glob("mitogen.*"))) == 1
    # Not those of others that run, nor what only has such a name.
    kept = [
        "mitogen.%d.a" % os.getppid(),
        "mitogen.99999999.empty",
        "mitogen.text",
        "mitogen.%d.b" % 2**70,
    ]
    for name in kept:
        (tmp_path / name).mkdir()
    assert shell(local, "ssh host true; exec 3<>/dev/null") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_an_ssh_that_says_nothing_holds_nobody_up(local: Context) -> None:
    script = """if 1:
        import os, socket
        path = os.path.join(os.environ["PATH"].split(":")[0], "socket")
        kept = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        for one in kept:
            one.connect(path)
        kept[0].send(b"nonsense")
        os.fork() or os._exit(os.system("ssh host true"))
        os.wait()
    """
    assert start(local, [sys.executable, "-c", script]) == 0
