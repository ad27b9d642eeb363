"""The root file system of containers, which `.ci/make_rootfs` makes and all share."""

from __future__ import annotations

import os
import subprocess

from tests.integration.targets import place

#: The first process of a container: idle, and the parent that reaps orphans.
INIT = "/sbin/idle"

#: The user of a container who needs the password to run sudo.
USER = PASSWORD = "tester"


def find() -> str:
    """Return the path of the root file system, which nobody writes to."""
    place.need("mount", "mount")
    script = os.path.join(os.path.dirname(__file__), "../../../.ci/make_rootfs")
    path = subprocess.run(
        [script, "--path"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()
    if not os.path.exists(path + INIT):
        place.missing("no root file system for containers at %s: run .ci/make_rootfs" % path)
    return path


def enter_host_name(root: str, name: str) -> None:
    """Make a host's name known in its own root: sudo warns about one that is not."""
    with open(os.path.join(root, "etc/hosts"), "w") as f:
        f.write("127.0.0.1 localhost %s\n" % name)
