"""A real dockerd with data, state and socket of its own, an image of the root, and a container.

It makes no bridge and no firewall rules, which would be this machine's: containers have no network.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING

from tests.integration.targets import containers, place, roots

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The image that containers are made of.
IMAGE = place.TAG + ":1"


@contextlib.contextmanager
def serve() -> Iterator[None]:
    """Run dockerd, with `DOCKER_HOST` set, and make the image."""
    program = place.need("dockerd", "docker.io")
    docker = place.need("docker", "docker.io")
    root = roots.find()
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(place.folder("dock"))
        host = "unix://%s/socket" % path
        # Podman reads the client's settings too, and fails if there are none where they should be.
        config = os.path.join(path, "config")
        os.mkdir(config)
        with open(os.path.join(config, "config.json"), "w") as f:
            f.write("{}\n")
        stack.enter_context(place.environ(DOCKER_HOST=host, DOCKER_CONFIG=config))
        command = [program, "--iptables=false", "--ip6tables=false", "--bridge=none", "--host", host]
        command += ["--exec-opt", "native.cgroupdriver=cgroupfs", "--pidfile", os.path.join(path, "pid")]
        command += ["--data-root", os.path.join(path, "data"), "--exec-root", os.path.join(path, "exec")]
        stack.enter_context(
            place.daemon(command, os.path.join(path, "log"), lambda: place.succeeds(docker, "version"))
        )
        tar = subprocess.Popen(["tar", "--directory", root, "--create", "."], stdout=subprocess.PIPE)
        with tar:
            subprocess.run(
                [docker, "import", "-", IMAGE], stdin=tar.stdout, stdout=subprocess.DEVNULL, check=True
            )
        yield


@contextlib.contextmanager
def container(suffix: str = "docker") -> Iterator[containers.Container]:
    """Run a container of the image."""
    name = place.TAG + suffix
    place.run("docker", "run", "--detach", "--network", "none", "--name", name, IMAGE, roots.INIT)
    try:
        pid = int(place.run("docker", "inspect", "--format", "{{.State.Pid}}", name))
        yield containers.running(name, pid)
    finally:
        place.run("docker", "rm", "--force", name)
