"""Real containers of LXC and LXD (both have a program called lxc: the second's is its client)."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from tests.integration.targets import containers, place, roots

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONFIG = """\
lxc.rootfs.path = dir:{root}
lxc.net.0.type = empty
lxc.mount.auto = proc:mixed sys:mixed
lxc.pty.max = 64
lxc.init.cmd = {init}
lxc.apparmor.profile = unconfined
lxc.uts.name = {name}
"""


@contextlib.contextmanager
def container(suffix: str = "lxc") -> Iterator[containers.Container]:
    """Run a container of LXC, where programs look for one without any option."""
    program = place.need("lxc-start", "lxc")
    name = place.TAG + suffix
    with place.folder("lxc") as path, place.overlay(roots.find(), os.path.join(path, "fs")) as root:
        roots.enter_host_name(root, name)
        config = os.path.join(path, "config")
        with open(config, "w") as f:
            f.write(_CONFIG.format(root=root, init=roots.INIT, name=name))
        log = os.path.join(path, "log")
        place.run(program, "--name", name, "--rcfile", config, "--daemon", "--logfile", log)
        try:
            place.run("lxc-wait", "--name", name, "--state", "RUNNING", "--timeout", "20")
            pid = int(place.run("lxc-info", "--name", name, "--pid", "--no-humanize"))
            yield containers.running(name, pid)
        finally:
            place.run("lxc-stop", "--name", name, "--kill")
            place.wait_for(lambda: not os.path.exists("/proc/%d" % pid), "end of %s" % name)


@contextlib.contextmanager
def lxd() -> Iterator[None]:
    """Run LXD's daemon with its own storage pool and image, and `LXD_DIR` set."""
    program = place.need("lxd", "lxd")
    client = place.need("lxc", "lxd-client")
    root = roots.find()
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(place.folder("lxd"))
        data = os.path.join(path, "data")
        os.mkdir(data)
        stack.enter_context(place.environ(LXD_DIR=data, LXD_CONF=os.path.join(path, "client")))
        command = [program, "--group", "root", "--logfile", os.path.join(path, "lxd.log")]
        stack.enter_context(
            place.daemon(
                command, os.path.join(path, "log"), lambda: place.succeeds(client, "query", "/1.0")
            )
        )
        place.run(client, "storage", "create", "pool", "dir")
        with open(os.path.join(path, "metadata.yaml"), "w") as f:
            f.write("architecture: %s\ncreation_date: 1\n" % os.uname().machine)
        # An image without most files, which containers share with the root: to unpack all takes seconds.
        image = os.path.join(path, "image.tar")
        place.run(
            *("tar", "--create", "--file", image, "--directory", path, "metadata.yaml"),
            *("--exclude=./usr/*", "--transform", r"s,^\.,rootfs,", "--directory", root, "."),
        )
        place.run(client, "image", "import", image, "--alias", "base")
        yield


@contextlib.contextmanager
def lxd_container(suffix: str = "lxd") -> Iterator[containers.Container]:
    """Run a container of LXD, without a network and in the user namespace of this machine."""
    name = place.TAG + suffix
    config = ("--config", "security.privileged=true", "--config", "raw.lxc=lxc.init.cmd=" + roots.INIT)
    place.run("lxc", "init", "--quiet", "base", name, "--storage", "pool", *config)
    try:
        usr = ("source=%s/usr" % roots.find(), "path=/usr", "readonly=true")
        place.run("lxc", "config", "device", "add", name, "usr", "disk", *usr)
        place.run("lxc", "start", "--quiet", name)
        known = place.run("lxc", "info", name).splitlines()
        yield containers.running(
            name, next(int(line.split()[1]) for line in known if line.startswith("PID:"))
        )
    finally:
        place.run("lxc", "delete", "--force", name)
