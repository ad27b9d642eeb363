"""The fixture that fails a test which leaves something behind sees each kind of thing."""

from __future__ import annotations

import _thread
import os
import subprocess
import sys
import threading

from tests import leaks


def test_an_idle_test_leaves_nothing() -> None:
    before = leaks.Resources()
    assert leaks.wait_for_none(before) == []


def test_a_child_process_is_seen_and_killed() -> None:
    before = leaks.Resources()
    pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], os.environ)
    left = leaks.wait_for_none(before, 0)
    assert len(left) == 1
    assert "process %d" % pid in left[0]
    assert "sleep 60" in left[0]
    assert leaks.wait_for_none(before) == []


def test_an_orphan_is_seen_by_its_mark() -> None:
    before = leaks.Resources()
    script = (
        "import subprocess as s; p = s.Popen(['sleep', '60'], stdout=s.DEVNULL, start_new_session=True);"
        "print(p.pid); p.returncode = 0"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True)
    left = leaks.wait_for_none(before, 0)
    assert ["process %d" % int(done.stdout)] == [line.partition(" (")[0] for line in left]
    assert leaks.wait_for_none(before) == []


def test_a_zombie_is_seen() -> None:
    before = leaks.Resources()
    pid = os.posix_spawn("/bin/true", ["true"], os.environ)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert "process %d (state Z)" % pid in leaks.wait_for_none(before, 0)[0]
    assert leaks.wait_for_none(before) == []


def test_a_thread_is_seen_until_it_ends() -> None:
    before = leaks.Resources()
    event = threading.Event()
    thread = threading.Thread(target=event.wait, name="left-over", daemon=True)
    thread.start()
    assert any("left-over" in line for line in leaks.wait_for_none(before, 0))
    event.set()
    assert leaks.wait_for_none(before) == []


def test_a_thread_that_threading_did_not_start_is_seen_until_it_ends() -> None:
    before = leaks.Resources()
    known, event = threading.Event(), threading.Event()

    def run() -> None:
        threading.current_thread()  # As logging does: `threading` makes an entry for it.
        known.set()
        event.wait()

    _thread.start_new_thread(run, ())
    known.wait()
    assert any("thread Dummy" in line for line in leaks.wait_for_none(before, 0))
    event.set()
    assert leaks.wait_for_none(before) == []


def test_a_descriptor_is_seen_even_under_a_reused_number() -> None:
    first = os.open("/dev/null", os.O_RDONLY)
    before = leaks.Resources()
    os.close(first)
    second = os.open("/dev/zero", os.O_RDONLY)
    assert leaks.wait_for_none(before, 0) == ["fd %d -> /dev/zero " % second]
    os.close(second)
    assert leaks.wait_for_none(before) == []


def test_a_file_of_the_library_is_seen() -> None:
    before = leaks.Resources()
    path = "/tmp/mitogen.%d.test" % os.getpid()
    with open(path, "w"):
        pass
    assert leaks.wait_for_none(before, 0) == ["%s " % path]
    os.unlink(path)


def test_a_file_of_another_program_is_none_of_ours() -> None:
    before = leaks.Resources()
    environ = {name: value for name, value in os.environ.items() if name != leaks.MARK}
    script = (
        "import os, sys\n"
        "if os.fork(): os._exit(0)\n"  # Its parent is gone, and it belongs to init.
        "path = '/tmp/mitogen.%d.test' % os.getpid(); open(path, 'w').close()\n"
        "print(path, flush=True); sys.stdin.read(); os.unlink(path); print('gone', flush=True)"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(
        command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        path = process.stdout.readline().strip()
        process.wait()
        assert os.path.exists(path)
        assert path not in leaks.files()
        process.stdin.close()
        assert process.stdout.readline() == "gone\n"
    assert leaks.wait_for_none(before) == []
