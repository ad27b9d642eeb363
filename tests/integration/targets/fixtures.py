"""The fixtures of all targets, which `tests/integration/conftest.py` offers to tests.

What takes long to start lives as long as the run and is started by the first test that asks for it. The
environment of this process then names it, so that programs find it without an option (`DOCKER_HOST` ...).
Ask for them as arguments only: `request.getfixturevalue` would start them within the check for leaks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.targets import (
    accounts,
    containers,
    docker,
    lxc,
    place,
    podman,
    slurm,
    sshd,
    standins,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def targets() -> Iterator[None]:
    """Fail the run if a target leaves a mount, a user or a file: all the others are begun after it."""
    yield
    left = place.leftovers()
    if left:
        pytest.fail("left behind by targets:\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture(scope="session")
def user(targets: None) -> Iterator[accounts.Account]:
    """A user of this machine, with a password."""
    with accounts.account("u") as account:
        yield account


@pytest.fixture(scope="session")
def other_user(targets: None) -> Iterator[accounts.Account]:
    """Another one, to become."""
    with accounts.account("o") as account:
        yield account


@pytest.fixture(scope="session")
def ssh_server(targets: None) -> Iterator[sshd.Server]:
    """A server that lets in every user, by key, password and keyboard-interactive."""
    with sshd.serve() as server:
        yield server


@pytest.fixture(scope="session")
def docker_server(targets: None) -> Iterator[None]:
    """A dockerd with an image, `docker.IMAGE`; `DOCKER_HOST` names it."""
    with docker.serve():
        yield


@pytest.fixture(scope="session")
def docker_container(docker_server: None) -> Iterator[containers.Container]:
    """A container of Docker."""
    with docker.container() as container:
        yield container


@pytest.fixture(scope="session")
def podman_settings(targets: None) -> Iterator[str]:
    """The folder where Podman and Buildah work."""
    with podman.settings() as path:
        yield path


@pytest.fixture(scope="session")
def podman_container(podman_settings: str) -> Iterator[containers.Container]:
    """A container of Podman."""
    with podman.container(podman_settings) as container:
        yield container


@pytest.fixture(scope="session")
def buildah_container(podman_settings: str) -> Iterator[containers.Container]:
    """A container of Buildah."""
    with podman.working_container(podman_settings) as container:
        yield container


@pytest.fixture(scope="session")
def lxc_container(targets: None) -> Iterator[containers.Container]:
    """A container of LXC."""
    with lxc.container() as container:
        yield container


@pytest.fixture(scope="session")
def lxd_container(targets: None) -> Iterator[containers.Container]:
    """A container of LXD; `LXD_DIR` names its daemon."""
    with lxc.lxd(), lxc.lxd_container() as container:
        yield container


@pytest.fixture(scope="session")
def slurm_job(targets: None) -> Iterator[str]:
    """The id of an allocation of a Slurm of this machine alone; `SLURM_CONF` names it."""
    with slurm.serve(), slurm.allocation() as job:
        yield job


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> standins.StandIns:
    """The stand-ins, in front of `PATH`."""
    log = tmp_path / "calls"
    log.touch()
    found = standins.StandIns(str(log))
    for name, value in found.environ.items():
        monkeypatch.setenv(name, value)
    return found
