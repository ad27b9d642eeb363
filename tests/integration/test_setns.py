"""`router.setns()`: in the namespaces of containers, without a program that enters them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

import mitogen.core
from mitogen.parent.testing import check_transport
from tests import interpreters
from tests.integration.remote_containers import describe
from tests.integration.targets import docker, place, standins
from tests.integration.targets import sudo as sudoers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mitogen.master import Router
    from tests.integration.targets.accounts import Account
    from tests.integration.targets.containers import Container

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def namespaces(pid: int | str) -> dict[str, str]:
    folder = "/proc/%s/ns/" % pid
    return {name: os.readlink(folder + name) for name in os.listdir(folder)}


def test_docker(router: Router, docker_container: Container) -> None:
    check_transport(router, "setns", container=docker_container.name, kind="docker")


def test_lxc(router: Router, lxc_container: Container) -> None:
    check_transport(router, "setns", container=lxc_container.name, kind="lxc")


#: What differs from one kind to the next.
SOME = ["start", "name", "call", "kill", "lost program", "exit"]


def test_podman(router: Router, podman_container: Container) -> None:
    name = podman_container.name
    check_transport(router, "setns", SOME, container=name, kind="docker", docker_path="podman")


def test_lxd(router: Router, lxd_container: Container) -> None:
    check_transport(router, "setns", SOME, container=lxd_container.name, kind="lxd")


def test_machinectl(router: Router, stand_ins: standins.StandIns, docker_container: Container) -> None:
    stand_ins.lead("a-machine", docker_container.pid)
    check_transport(router, "setns", SOME, container="a-machine", kind="machinectl")
    for program, *words in stand_ins.calls:
        assert os.path.basename(program) == "machinectl"
        assert words == ["show", "--property=Leader", "a-machine"]


def test_it_is_a_login_there(router: Router, docker_container: Container) -> None:
    context = router.setns(docker_container.name, "docker")
    found = context.call(describe)
    assert found["namespaces"] == namespaces(docker_container.pid)
    assert found["init"]  # The file is in the container's root only.
    assert found["folder"] == os.readlink("/proc/%d/cwd" % docker_container.pid)
    assert found["parent"] == 0  # Out of sight: nothing of ours is in the container but it.
    assert found["ids"] == [0] * 4
    environ = found["environ"]
    for name, value in (("HOME", "/root"), ("USER", "root"), ("LOGNAME", "root"), ("PATH", PATH)):
        assert environ[name] == value
    assert environ["SHELL"].endswith("sh")
    # What sh and Python set themselves.
    assert set(environ) - {"PWD", "OLDPWD", "SHLVL", "_", "LC_CTYPE"} == {
        *("HOME", "USER", "LOGNAME", "PATH", "SHELL")
    }


@pytest.mark.parametrize("version", ["3.6", "3.13"])
def test_another_account(router: Router, docker_container: Container, version: str) -> None:
    """Also with an interpreter that has no `os.setns`, which 3.12 was the first to have."""
    name = docker_container.name
    docker_ids = place.run("docker", "exec", "--user", "tester", name, "id", "-G").split()
    via = router.local(python_path=interpreters.find(version))
    context = router.setns(name, "docker", username="tester", via=via)
    found = context.call(describe)
    assert context.name == "%s.setns.%s" % (via.name, name)
    assert found["ids"] == [1000] * 4
    assert found["groups"] == sorted(map(int, docker_ids))
    assert [found["environ"][each] for each in ("HOME", "USER", "LOGNAME")] == [
        "/home/tester",
        "tester",
        "tester",
    ]
    with pytest.raises(mitogen.core.CallError, match="PermissionError"):
        context.call(os.listdir, "/root")


@contextlib.contextmanager
def user_namespace() -> Iterator[int]:
    """Yield the pid of a process whose root is an ordinary user of this machine."""
    command = ["unshare", "--user", "--uts", "--", "sleep", "1000"]
    with subprocess.Popen(command) as process:
        try:
            own = os.readlink("/proc/self/ns/uts")
            place.wait_for(lambda: namespaces(process.pid).get("uts") != own, "unshare")
            for kind in ("uid", "gid"):
                with open("/proc/%d/%s_map" % (process.pid, kind), "w") as f:
                    f.write("0 100000 65536")
            yield process.pid
        finally:
            process.kill()


def test_a_user_namespace(router: Router, stand_ins: standins.StandIns) -> None:
    """It is root of it, and nobody out of it; and those that it shares with us are left as they are."""
    with user_namespace() as pid:
        stand_ins.lead("a-machine", pid)
        context = router.setns("a-machine", "machinectl", python_path="/usr/bin/python3")
        found = context.call(describe)
        assert found["namespaces"] == namespaces(pid)
        assert found["ids"] == [0] * 4
        seen_from_here = os.stat("/proc/%d" % found["pid"])
        assert (seen_from_here.st_uid, seen_from_here.st_gid) == (100000, 100000)
        context.shutdown(wait=True)


def test_how_it_ended_is_passed_on(router: Router, lxc_container: Container) -> None:
    def start() -> Any:
        return router.setns(lxc_container.name, "lxc")

    def stand_by(context: Any) -> int:
        """Return the process between us and the context, which holds no end of the connection."""
        (connection,) = [
            one for one in router.connections.values() if one.context_id == context.context_id
        ]
        pid = connection.process.pid
        place.wait_for(
            lambda: not {"0", "1", "2"} & set(os.listdir("/proc/%d/fd" % pid)), "closed descriptors"
        )
        return pid

    context = start()
    with pytest.raises(mitogen.core.ChannelError, match="exited with status 7"):
        context.call(os._exit, 7)
    context = start()
    with pytest.raises(mitogen.core.ChannelError, match="killed by signal %d" % signal.SIGSEGV):
        context.call(os.kill, context.call(os.getpid), int(signal.SIGSEGV))
    # In the other direction: to the process in the container.
    context = start()
    os.kill(stand_by(context), signal.SIGTERM)
    with pytest.raises(mitogen.core.ChannelError, match="killed by signal %d" % signal.SIGTERM):
        context.call(os.getpid)
    # One that can't notice the end of its connection goes with the one that stands by.
    context = start()
    pid = stand_by(context)
    receiver = context.call_async(os.kill, context.call(os.getpid), int(signal.SIGSTOP))
    with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
        (child,) = f.read().split()
    place.wait_for(lambda: state(child) == "T", "stop")
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(mitogen.core.ChannelError):
        receiver.get()
    # It is this machine's first process that has to reap it.
    place.wait_for(lambda: not state(child), "end of %s" % child)


def state(pid: str) -> str:
    """Return the letter for the state of a process; none if there is no such process."""
    try:
        with open("/proc/%s/stat" % pid) as f:
            return f.read().rpartition(") ")[2][:1]
    except OSError:
        return ""


def refusal(router: Router, container: str, kind: str, **options: Any) -> str:
    with pytest.raises(mitogen.core.StreamError, match="setns") as info:
        router.setns(container, kind, **options)
    return str(info.value)


def test_errors(
    router: Router,
    stand_ins: standins.StandIns,
    docker_container: Container,
    lxc_container: Container,
    user: Account,
    tmp_path: Path,
) -> None:
    box = docker_container.name
    assert "kind must be one of docker, lxc, lxd, machinectl, not 'podman'" in refusal(
        router, box, "podman"
    )
    with pytest.raises(mitogen.core.StreamError, match="begins with a dash"):
        router.setns("--all", "docker")
    # The manager's own words.
    assert "can't find the container: docker inspect" in refusal(router, "nowhere", "docker")
    assert "No such container: nowhere" in refusal(router, "nowhere", "docker")
    assert "doesn't exist" in refusal(router, box, "lxc")
    assert "No machine 'nowhere' known" in refusal(router, "nowhere", "machinectl")
    place.run("docker", "create", "--name", box + "x", docker.IMAGE, "true")
    try:
        assert "the docker container is not running" in refusal(router, box + "x", "docker")
    finally:
        place.run("docker", "rm", box + "x")
    # No manager, and one that hangs.
    for option, kind in (("docker_path", "docker"), ("lxc_path", "lxd"), ("lxc_info_path", "lxc")):
        assert "'/nowhere'; check the program" in refusal(router, box, kind, **{option: "/nowhere"})
    hang = script(tmp_path / "hang", "exec sleep 100")
    options = {"machinectl_path": hang, "connect_timeout": 0.5}
    assert "timed out after 0.5 seconds" in refusal(router, box, "machinectl", **options)
    # Within.
    assert "no account nobody-here" in refusal(router, box, "docker", username="nobody-here")
    assert "no-python: No such file" in refusal(router, box, "docker", python_path="no-python")
    gone = script(tmp_path / "gone", "echo 4194305")
    assert "process 4194305, as only root can: No such file" in refusal(
        router, box, "docker", docker_path=gone
    )
    # Not as root.
    with sudoers.rule("root", password=False), place.folder("setns") as path:
        tell = script(path + "/tell", "echo %d" % docker_container.pid)
        via = router.sudo(user.name)
        text = refusal(router, box, "docker", docker_path=tell, via=via)
        assert "process %d, as only root can: Permission denied" % docker_container.pid in text
        via.shutdown(wait=True)


def script(path: Any, line: str) -> str:
    with open(path, "w") as f:
        f.write("#!/bin/sh\n%s\n" % line)
    os.chmod(path, 0o755)
    return str(path)
