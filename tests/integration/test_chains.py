"""Contexts behind contexts: ways that users go through machines, accounts and containers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mitogen.core import CallError
from tests.integration import remote
from tests.integration.targets import roots
from tests.integration.targets import sudo as sudoers
from tests.integration.test_ssh import options

if TYPE_CHECKING:
    from mitogen.master import Router
    from mitogen.parent import Context
    from tests.integration.targets.accounts import Account
    from tests.integration.targets.containers import Container
    from tests.integration.targets.sshd import Server


def works(context: Context) -> None:
    """Call, import what is only here, send 16 MiB both ways, and fail in a call."""
    data = os.urandom(1 << 24)
    assert context.call(remote.identity, data) == data
    try:
        context.call(remote.raise_chain)
    except CallError as e:
        assert "raise_chain" in e.traceback
    assert context.call(remote.echo, 1, a=2) == ((1,), {"a": 2})


def set_environment(values: dict[str, str]) -> None:
    """Have the programs that a context starts from now on find these."""
    os.environ.update(values)


def test_ssh_then_sudo_then_docker(
    docker_container: Container, router: Router, ssh_server: Server, user: Account
) -> None:
    machine = router.ssh(**options(ssh_server, username=user.name, password=user.password))
    with sudoers.rule(user.name):
        root = router.sudo(password=user.password, via=machine)
    root.call(set_environment, {"DOCKER_HOST": os.environ["DOCKER_HOST"]})
    context = router.docker(docker_container.name, via=root)
    assert context.name == "%s.sudo.root.docker.%s" % (machine.name, docker_container.name)
    assert context.call(os.path.exists, "/.dockerenv")
    works(context)
    # The other way round: what it is connected through goes first.
    machine.shutdown(wait=True)
    assert context.reason


def test_local_then_ssh_then_su_then_local(
    router: Router, ssh_server: Server, user: Account, other_user: Account
) -> None:
    here = router.local()
    machine = router.ssh(**options(ssh_server, username=user.name, password=user.password), via=here)
    other = router.su(other_user.name, password=other_user.password, via=machine)
    context = router.local(via=other)
    assert context.call(os.getppid) == other.call(os.getpid)
    assert context.call(os.getenv, "USER") == other_user.name
    works(context)


def test_sudo_inside_lxc(lxc_container: Container, router: Router) -> None:
    inside: Any = router.lxc(lxc_container.name)
    assert inside.call(os.getuid) == 0
    tester = router.su(roots.USER, via=inside)
    assert tester.call(os.getuid) != 0
    context = router.sudo(password=roots.PASSWORD, via=tester)
    assert context.call(os.getuid) == 0
    works(context)
