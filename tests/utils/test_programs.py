"""`mitogen.utils.run` and `popen`: programs in other contexts."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

import mitogen.core
from mitogen.parent import programs
from mitogen.utils import popen, run
from tests.utils import remote_programs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    import mitogen.master
    from mitogen.parent import Context


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait for what must come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited %s seconds in vain" % seconds
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Return True if there is such a process, and it is no zombie."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as f:
            return f.read().rpartition(b") ")[2][:1] != b"Z"
    except OSError:
        return False


# -- run ---------------------------------------------------------------------------------------


def test_run_has_the_shape_of_subprocess_run(local: Context, tmp_path: Path) -> None:
    kwargs: list[dict[str, Any]] = [
        {"args": ["sh", "-c", "echo out; echo err >&2; exit 3"]},
        {"args": "echo $0; kill -9 $$", "shell": True},
        {"args": ["cat"], "input": b"\0\xff" * 10},
        {"args": ["pwd"], "cwd": tmp_path},
        {"args": "echo $A; echo $PATH", "shell": True, "env": {"A": "é"}},
        {"args": ["sh", "-c", "echo out; echo err >&2"], "stderr": subprocess.STDOUT},
        {
            "args": ["sh", "-c", "printf 'a\\r\\nb\\rc'; cat"],
            "text": True,
            "input": "ä",
            "encoding": "utf-8",
        },
        {"args": [b"printf", "%s\\n", os.fsencode("ü")]},
    ]
    for one in kwargs:
        theirs = dict(one)
        theirs.setdefault("stderr", subprocess.PIPE)
        expected = subprocess.run(stdout=subprocess.PIPE, check=False, **theirs)
        found = run(local, **one)
        assert vars(found) == dict(vars(expected), stderr=expected.stderr or found.stderr)
        assert not expected.stderr or found.stderr == expected.stderr
    assert run(local, ["sh", "-c", "cat; echo x"], stdout=subprocess.DEVNULL).stdout is None


@pytest.mark.parametrize("python", ["3.6", "3.13", "pypy3"], indirect=True)
def test_run_on_other_interpreters(router: mitogen.master.Router, python: str) -> None:
    context = router.local(python_path=python)
    remote_programs.check(context)  # type: ignore[no-untyped-call]
    data = os.urandom(3 << 20)
    assert run(context, ["cat"], input=data).stdout == data
    assert run(context, ["sh", "-c", "exit 7"]).returncode == 7
    assert run(context, "kill -TERM $$", shell=True).returncode == -signal.SIGTERM
    with pytest.raises(FileNotFoundError, match="No such file or directory: '/no/such/program'$"):
        run(context, ["/no/such/program"])
    with pytest.raises(subprocess.TimeoutExpired):
        run(context, ["sleep", "60"], timeout=0.2)


def test_what_fails_is_an_error_on_request(local: Context) -> None:
    with pytest.raises(subprocess.CalledProcessError) as info:
        run(local, "echo out; echo err >&2; exit 3", shell=True, check=True)
    assert (info.value.returncode, info.value.stdout, info.value.stderr) == (3, b"out\n", b"err\n")
    assert run(local, ["true"], check=True).returncode == 0


def test_what_can_not_be_started_raises_what_subprocess_would(local: Context, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as info:
        run(local, ["ls"], cwd="/no/such/folder")
    assert info.value.filename == "/no/such/folder"
    with pytest.raises(PermissionError):
        run(local, [tmp_path])
    with pytest.raises(mitogen.core.CallError, match="ValueError: embedded null byte"):
        run(local, ["a\0b"])


def test_time_out_kills_the_whole_group_and_keeps_what_came(local: Context) -> None:
    started = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired) as info:
        run(local, "sleep 60 & echo $!; trap '' TERM; sleep 60", shell=True, timeout=0.3)
    assert time.monotonic() - started < 10
    assert info.value.timeout == 0.3
    assert info.value.stdout is not None
    wait_until(lambda: not is_running(int(info.value.stdout or 0)))


def test_time_out_also_ends_what_never_stops_to_write(local: Context) -> None:
    lines = 0

    def count(line: str) -> None:
        nonlocal lines
        lines += line == "y\n"

    assert run(local, ["true"]).returncode == 0
    with pytest.raises(subprocess.TimeoutExpired) as info:
        run(local, ["yes"], timeout=0.5, text=True, on_stdout=count)
    assert info.value.stdout is None
    assert lines > 0


def test_time_out_of_a_context_that_does_not_answer(router: mitogen.master.Router) -> None:
    context = router.local()
    pid = context.call(os.getpid)
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            run(context, ["true"], timeout=0.2)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert run(context, ["true"]).returncode == 0


def test_lines_come_as_they_are_written(local: Context) -> None:
    lines: list[tuple[str, str]] = []
    seen = threading.Event()

    def questions() -> Iterator[str]:
        assert seen.wait(20)
        yield "answer\n"

    def on_stdout(line: str) -> None:
        lines.append(("out", line))
        seen.set()

    result = run(
        local,
        "printf 'question'; echo; read x; echo got $x; echo oops >&2; printf 'no newline'",
        shell=True,
        input=questions(),
        text=True,
        on_stdout=on_stdout,
        on_stderr=lambda line: lines.append(("err", line)),
    )
    assert [vars(result)[name] for name in ("stdout", "stderr")] == [None, None]
    assert sorted(lines) == [
        ("err", "oops\n"),
        ("out", "got answer\n"),
        ("out", "no newline"),
        ("out", "question\n"),
    ]


def test_a_callback_that_fails_ends_the_program(local: Context) -> None:
    pids = []

    def fail(line: bytes) -> None:
        pids.append(int(line))
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run(local, "echo $$; exec sleep 60", shell=True, on_stdout=fail)
    wait_until(lambda: not is_running(pids[0]))


def test_input_may_be_a_file_or_yield_and_what_it_raises_is_raised(local: Context) -> None:
    assert run(local, ["cat"], input=io.BytesIO(b"x" * 300000)).stdout == b"x" * 300000
    assert run(local, ["cat"], input=io.StringIO("ä\n")).stdout == "ä\n".encode()
    assert run(local, ["cat"], input=[b"a", b"", b"b"]).stdout == b"ab"
    with open("/proc/self/status", "rb") as f:
        assert run(local, ["head", "-c", "5"], input=f).stdout == b"Name:"

    def fail() -> Iterator[bytes]:
        yield b"x"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run(local, "cat; sleep 60", shell=True, input=fail())


def test_much_in_both_directions_blocks_nobody(local: Context) -> None:
    data = os.urandom(20 << 20)
    assert run(local, ["cat"], input=data).stdout == data
    # One that does not read, and one that reads when it has written.
    assert run(local, ["true"], input=data).returncode == 0
    script = "head -c 5000000 /dev/zero; head -c 5000000 /dev/zero >&2; exec cat"
    result = run(local, script, shell=True, input=data)
    assert (len(result.stdout), len(result.stderr)) == (5000000 + len(data), 5000000)


def test_output_of_what_outlives_the_program_is_kept_but_not_waited_for_for_ever(
    local: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "(sleep 0.3; echo late) & echo early"
    assert run(local, script, shell=True).stdout == b"early\nlate\n"
    started = time.monotonic()
    result = run(local, "sleep 60 & echo $!", shell=True)
    assert time.monotonic() - started < 20
    pid = int(result.stdout)
    # It was the caller's wish that it stays.
    assert is_running(pid)
    os.kill(pid, signal.SIGKILL)


def test_many_programs_run_beside_a_call(router: mitogen.master.Router) -> None:
    context = router.local()
    receiver = mitogen.core.Receiver(router)
    call = context.call_async(remote_programs.tell_and_wait, receiver.to_sender())
    receiver.get(20)
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(run(context, "sleep 0.1; exit 4", shell=True)))
        for _ in range(30)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [result.returncode for result in results] == [4] * 30
    context.default_call_chain.cancel(call)
    receiver.close()


# -- popen -------------------------------------------------------------------------------------


def test_a_running_program_is_read_written_to_and_signalled(local: Context) -> None:
    with popen(
        local, "trap 'echo bye; exit 5' TERM; echo $$; while read x; do echo $x; done", shell=True
    ) as p:
        assert p.read(20) == ("stdout", b"%d\n" % p.pid)
        p.write(b"hello\n")
        assert p.read(20) == ("stdout", b"hello\n")
        assert vars(p).get("returncode") is None
        with pytest.raises(mitogen.core.TimeoutError):
            p.read(0.01)
        with pytest.raises(mitogen.core.TimeoutError):
            p.wait(0.01)
        p.terminate()
        assert list(p.lines()) == [("stdout", b"bye\n")]
        assert p.returncode == p.wait() == 5
        p.kill()


def test_lines_are_whole_and_of_bounded_length(local: Context) -> None:
    script = "printf 'a\\r\\nb'; sleep 0.1; printf 'c\\n'; head -c 2500000 /dev/zero; printf 'e' >&2"
    with popen(local, script, shell=True, stdin=False) as program:
        lines = list(program.lines())
    assert lines[:2] == [("stdout", b"a\r\n"), ("stdout", b"bc\n")]
    assert b"".join(line for name, line in lines[2:] if name == "stdout") == bytes(2500000)
    assert max(len(line) for _, line in lines) < 1300000
    assert ("stderr", b"e") in lines


def test_a_program_that_nobody_reads_waits(local: Context) -> None:
    with popen(local, ["cat", "/dev/zero"], stdin=False) as program:

        def written() -> int:
            with open("/proc/%d/io" % program.pid) as f:
                return int(f.read().partition("wchar: ")[2].split()[0])

        def has_stopped() -> bool:
            before = written()
            time.sleep(0.2)
            return 0 < before == written()

        wait_until(has_stopped)
        assert written() <= (programs.WINDOW + 3) * programs.PIECE
    wait_until(lambda: not is_running(program.pid))


def test_a_program_that_reads_nothing_holds_its_writer_back(local: Context) -> None:
    with popen(local, ["sleep", "60"]) as program:
        with pytest.raises(mitogen.core.TimeoutError):
            program.write(bytes(1 << 26), timeout=0.2)
        program.kill()
        with pytest.raises(mitogen.core.ChannelError, match="the program"):
            program.write(bytes(1 << 26))
        assert program.wait(20) == -signal.SIGKILL


def test_leaving_the_with_statement_ends_the_program_and_all_of_its_group(local: Context) -> None:
    script = "trap '' TERM; (trap '' TERM; sleep 60) & echo $!; sleep 60"
    with popen(local, script, shell=True) as program:
        piece = program.read(20)
        assert piece is not None
    wait_until(lambda: not is_running(program.pid) and not is_running(int(piece[1])))
    with pytest.raises(mitogen.core.ChannelError):
        program.read()
    program.close()


def test_output_that_is_not_wanted_any_more(local: Context) -> None:
    with popen(local, "yes; echo $? >&2", shell=True, stdin=False) as program:
        program.close_output("stdout")
        assert [data for name, data in program if name == "stderr"] == [b"141\n"]


# -- Ends --------------------------------------------------------------------------------------


def test_the_loss_of_the_context_ends_every_wait(router: mitogen.master.Router) -> None:
    context = router.local()
    with popen(context, ["cat"]) as program:
        os.kill(context.call(os.getpid), signal.SIGKILL)
        with pytest.raises(mitogen.core.ChannelError, match="its process was killed by signal 9"):
            program.read()
    with pytest.raises(mitogen.core.ChannelError):
        run(context, ["true"])
    wait_until(lambda: not is_running(program.pid))


def test_a_context_that_ends_takes_its_programs_along(router: mitogen.master.Router) -> None:
    context = router.local()
    with popen(context, "trap '' TERM; sleep 60", shell=True) as program:
        context.shutdown(wait=True)
        assert not is_running(program.pid)


@pytest.mark.parametrize("how", ["interrupted", "killed"])
def test_a_program_ends_with_its_caller(router: mitogen.master.Router, how: str, tmp_path: Path) -> None:
    caller = router.local()
    context = router.local(via=caller)
    assert caller.call(remote_programs.run, context, ["echo", "x"]) == (0, b"x\n")
    path = tmp_path / "pid"
    pid_of_caller = caller.call(os.getpid)
    call = caller.call_async(
        remote_programs.start_and_wait, context, ["sh", "-c", "echo $$ > %s; exec sleep 60" % path]
    )
    wait_until(lambda: path.exists() and path.read_text())
    if how == "interrupted":
        caller.default_call_chain.cancel(call)
    else:
        os.kill(pid_of_caller, signal.SIGKILL)
    wait_until(lambda: not is_running(int(path.read_text())))
