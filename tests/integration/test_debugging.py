"""Debug logs and profiles of real contexts."""

from __future__ import annotations

import os
import pstats
import sys
import time
from typing import TYPE_CHECKING

import pytest

import mitogen.master
from tests.integration import remote
from tests.integration.programs import wait_gone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mitogen.master import Router


@pytest.fixture
def files() -> Iterator[list[str]]:
    """Paths to remove."""
    paths: list[str] = []
    yield paths
    for path in paths:
        if os.path.exists(path):
            os.unlink(path)


def log_path(pid: int) -> str:
    return "/tmp/mitogen.%d.log" % pid


def stats_path(pid: int, thread: str) -> str:
    return "/tmp/mitogen.stats.%d.%s.log" % (pid, thread)


def test_a_context_started_for_debugging_writes_a_log(router: Router, files: list[str]) -> None:
    context = router.local(debug=True)
    pid = context.call(os.getpid)
    files.append(log_path(pid))
    context.call(remote.log, "remote", 10, "a line of its own")
    context.shutdown(wait=True)
    with open(files[0], encoding="utf-8") as f:
        assert "a line of its own" in f.read()
    assert os.stat(files[0]).st_mode & 0o077 == 0


def test_a_context_started_for_debugging_ends_with_its_master(files: list[str]) -> None:
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            child = mitogen.master.Router().local(debug=True).call(os.getpid)
            os.write(write_fd, b"%d" % child)
            time.sleep(60)
        finally:
            os._exit(1)
    child = int(os.read(read_fd, 20))
    files.append(log_path(child))
    os.close(read_fd)
    os.close(write_fd)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    wait_gone(child, 20.0)


@pytest.mark.parametrize("executable", [sys.executable, "3.9", "3.13"])
def test_a_profiled_context_writes_the_profiles_of_both_threads(
    router: Router, files: list[str], executable: str
) -> None:
    from tests import interpreters

    if executable != sys.executable:
        executable = interpreters.find(executable)
    context = router.local(python_path=executable, profiling=True)
    pid = context.call(os.getpid)
    files += [stats_path(pid, "main"), stats_path(pid, "broker")]
    context.shutdown(wait=True)
    assert all(map(os.path.exists, files))
    if executable == sys.executable:
        names = [{name for _, _, name in pstats.Stats(path).stats} for path in files]  # type: ignore[attr-defined]
        assert "_run_call" in names[0]
        assert "_loop_once" in names[1]
        assert "_run_call" not in names[1]


def test_a_profiled_master_has_written_its_profile_when_it_was_joined(
    monkeypatch: pytest.MonkeyPatch, files: list[str]
) -> None:
    monkeypatch.setattr(mitogen.master.Router, "profiling", True)
    path = stats_path(os.getpid(), "broker")
    files.append(path)
    with mitogen.master.Router() as router:
        pid = router.local().call(os.getpid)
        files += [stats_path(pid, "main"), stats_path(pid, "broker")]
    assert os.path.exists(path)
