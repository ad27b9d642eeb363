"""Fixtures of the integration tests: the real counterparts of transports."""

from __future__ import annotations

from tests.integration.targets.fixtures import (
    buildah_container,
    docker_container,
    docker_server,
    lxc_container,
    lxd_container,
    other_user,
    podman_container,
    podman_settings,
    slurm_job,
    ssh_server,
    stand_ins,
    targets,
    user,
)

__all__ = [
    "buildah_container",
    "docker_container",
    "docker_server",
    "lxc_container",
    "lxd_container",
    "other_user",
    "podman_container",
    "podman_settings",
    "slurm_job",
    "ssh_server",
    "stand_ins",
    "targets",
    "user",
]
