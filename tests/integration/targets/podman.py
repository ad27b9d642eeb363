"""Real Podman and Buildah, with storage of their own, and a container of each."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from tests.integration.targets import containers, place, roots

if TYPE_CHECKING:
    from collections.abc import Iterator

# The limits of a process here may not be raised; and crun refuses hybrid control groups, so runc.
_CONFIG = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
netns = "none"
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
lock_type = "file"
events_logger = "none"
tmp_dir = "{0}/tmp"
[engine.runtimes]
runc = ["/usr/bin/runc", "/usr/sbin/runc"]
"""

_STORAGE = """\
[storage]
driver = "vfs"
graphroot = "{0}/data"
runroot = "{0}/run"
"""


@contextlib.contextmanager
def settings() -> Iterator[str]:
    """Set what both programs read their settings from; yields the folder that they work in."""
    roots.find()
    with place.folder("pod") as path:
        for name, text in (("containers", _CONFIG), ("storage", _STORAGE)):
            with open(os.path.join(path, name + ".conf"), "w") as f:
                f.write(text.format(path))
        with place.environ(
            CONTAINERS_CONF=os.path.join(path, "containers.conf"),
            CONTAINERS_STORAGE_CONF=os.path.join(path, "storage.conf"),
            BUILDAH_ISOLATION="chroot",
        ):
            yield path


@contextlib.contextmanager
def container(path: str, suffix: str = "podman") -> Iterator[containers.Container]:
    """Run a container of Podman. `path` is the folder of `settings()`."""
    program = place.need("podman", "podman")
    place.need("runc", "runc")
    name = place.TAG + suffix
    with place.overlay(roots.find(), os.path.join(path, name)) as root:
        place.run(program, "run", "--detach", "--name", name, "--rootfs", root, roots.INIT)
        try:
            pid = int(place.run(program, "inspect", "--format", "{{.State.Pid}}", name))
            yield containers.running(name, pid)
        finally:
            place.run(program, "rm", "--force", "--time", "0", name)


@contextlib.contextmanager
def working_container(path: str, suffix: str = "buildah") -> Iterator[containers.Container]:
    """Make a container of Buildah, which has no process until something is run in it."""
    program = place.need("buildah", "buildah")
    name = place.TAG + suffix
    place.run(program, "from", "--name", name, "scratch")
    try:
        # To copy all files into it would take seconds.
        root = place.run(program, "mount", name).strip()
        with place.overlay(roots.find(), os.path.join(path, name), root):
            yield containers.Container(name, 0)
    finally:
        place.run(program, "rm", name)
