"""Every transport passes the conformance kit, with the real program wherever that runs on Linux.

Where it does not, a stand-in checks the exact command line and runs its command here.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

import mitogen.core
import mitogen.master
from mitogen.parent import testing
from mitogen.parent.testing import CHECKS, check_transport
from tests.integration.targets import doas, docker, sshd, standins

if TYPE_CHECKING:
    from pathlib import Path

    from mitogen.master import Router
    from tests.integration.targets.accounts import Account
    from tests.integration.targets.containers import Container

#: A fork has no program, no interpreter of its own, and no options that name one.
NOT_FOR_FORKS = {
    *("name", "interpreter", "missing interpreter"),
    *("missing program", "wrong program", "deadline"),
}


@pytest.mark.parametrize("check", CHECKS)
def test_local(router: Router, check: str) -> None:
    check_transport(router, "local", checks=[check])


def test_fork(router: Router) -> None:
    checks = [check for check in CHECKS if check not in NOT_FOR_FORKS]
    check_transport(router, mitogen.master.Router.fork, checks=checks)


def test_via(router: Router) -> None:
    """Whatever starts it, the kit can also have it started elsewhere."""
    check_transport(router, "local", via=router.local())


# -- Other machines and accounts ---------------------------------------------------------------


def test_ssh(router: Router, ssh_server: sshd.Server, tmp_path: Path) -> None:
    known = ssh_server.known_hosts(str(tmp_path / "known"))
    check_transport(
        router,
        "ssh",
        hostname=sshd.HOST,
        port=ssh_server.port,
        username="root",
        identity_file=ssh_server.key,
        ssh_args=["-F", "/dev/null", "-o", "UserKnownHostsFile=" + known],
    )


def test_sudo(router: Router, user: Account) -> None:
    check_transport(router, "sudo", username=user.name)


def test_su(router: Router, user: Account) -> None:
    check_transport(router, "su", username=user.name)


def test_doas(router: Router, user: Account) -> None:
    with doas.rule("root", "nopass"):
        check_transport(router, "doas", username=user.name)


# -- Containers --------------------------------------------------------------------------------


def test_docker(router: Router, docker_container: Container) -> None:
    check_transport(router, "docker", container=docker_container.name)


def test_docker_image(router: Router, docker_server: None) -> None:
    """Where it is the first process, which the kernel treats in its own way."""
    checks = ["start", "call", "output", "kill", "lost program", "exit", "nothing is left"]
    check_transport(router, "docker", checks, image=docker.IMAGE)


def test_podman(router: Router, podman_container: Container) -> None:
    check_transport(router, "podman", container=podman_container.name)


def test_buildah(router: Router, buildah_container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where all processors are busy, it passes on some 2 MB/s.
    monkeypatch.setattr(testing, "LARGE", 1 << 20)
    # It may lose what the container's side of it wrote last, such as that there is no such program.
    checks = [check for check in CHECKS if check != "missing interpreter"]
    check_transport(router, "buildah", checks, container=buildah_container.name)


def test_lxc(router: Router, lxc_container: Container) -> None:
    check_transport(router, "lxc", container=lxc_container.name)


def test_lxd(router: Router, lxd_container: Container) -> None:
    check_transport(router, "lxd", container=lxd_container.name)


def test_the_account_in_a_container(
    router: Router,
    docker_container: Container,
    podman_container: Container,
    buildah_container: Container,
) -> None:
    for name, container in (
        ("docker", docker_container),
        ("podman", podman_container),
        ("buildah", buildah_container),
    ):
        context = router.connect(name, container.name, username="tester")
        assert context.call(os.getuid) == 1000


@pytest.mark.parametrize("name", ["docker", "podman", "buildah", "lxc", "lxd"])
def test_no_such_container(
    router: Router, name: str, docker_server: None, podman_settings: str, lxd_container: Container
) -> None:
    with pytest.raises(mitogen.core.StreamError, match=r"^%s context %s\.nowhere" % (name, name)) as info:
        router.connect(name, container="nowhere")
    assert any(
        words in str(info.value).lower() for words in ("no such", "not found", "not known", "failed to")
    )


# -- Stand-ins ---------------------------------------------------------------------------------

#: What each is started with, and what it is then told before the command.
COMMAND_LINES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "jail": (
        {"container": "a jail", "username": "someone", "jexec_path": "jexec"},
        ["-U", "someone", "a jail"],
    ),
    "kubectl": (
        {"pod": "a-pod", "kubectl_args": ["-n", "web", "-c", "box"]},
        ["exec", "-n", "web", "-c", "box", "--stdin", "a-pod", "--"],
    ),
    "incus": ({"container": "a-container"}, ["exec", "--mode=non-interactive", "a-container", "--"]),
}


@pytest.mark.parametrize("name", COMMAND_LINES)
def test_stand_in(router: Router, stand_ins: standins.StandIns, name: str) -> None:
    options, words = COMMAND_LINES[name]
    check_transport(router, name, **options)
    for program, *call in stand_ins.calls:
        assert os.path.dirname(program) == standins.FOLDER
        assert call[: len(words)] == words
        assert "-S" in call
    # Its first call looks for an interpreter.
    assert stand_ins.calls[0][1 + len(words) :][:2] == ["sh", "-c"]


def test_programs_of_stand_ins_by_default(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    for name, program in (("jail", "/usr/sbin/jexec"), ("kubectl", "kubectl"), ("incus", "incus")):
        with pytest.raises(mitogen.core.StreamError, match="can't start %s: No such file" % program):
            router.connect(name, "a-name")


def test_names_that_would_be_options(router: Router) -> None:
    for name in ("docker", "podman", "buildah", "lxc", "lxd", "incus", "jail", "kubectl"):
        with pytest.raises(mitogen.core.StreamError, match="'--help' begins with a dash"):
            router.connect(name, "--help")
    with pytest.raises(mitogen.core.StreamError, match="pass either container, .* or image"):
        router.docker()
    with pytest.raises(mitogen.core.StreamError, match="pass either container, .* or image"):
        router.docker("one", "two")
