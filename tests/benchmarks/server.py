"""An ssh server on this machine, and a client's configuration with three ways to it.

``near`` leads straight to it, ``line`` through `tests.benchmarks.slow_line` without delay, ``far`` with
it.
The line stands in for the kernel's own (`tc netem`), which few kernels in virtual machines have.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.targets import sshd

if TYPE_CHECKING:
    from collections.abc import Iterator

LINE = Path(__file__).with_name("slow_line.py")
HOST = """
Host {name}
    HostName {address}
    Port {port}
    User root
    IdentityFile {key}
    UserKnownHostsFile {known_hosts}
    BatchMode yes
"""


@contextlib.contextmanager
def serving(delay: float) -> Iterator[str]:
    """Yield the path of the configuration; of no file, which is said, where no server can run.

    :param delay: seconds each way to ``far``.
    """
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(sshd.serve())
        except (pytest.skip.Exception, pytest.fail.Exception) as e:
            print("nothing is measured by ssh: %s" % e, file=sys.stderr)
            yield ""
            return
        path = os.path.join(server.path, "client")
        known_hosts = server.known_hosts(os.path.join(server.path, "known"))
        with open(path, "w") as f:
            for name, seconds in (("near", None), ("line", 0.0), ("far", delay)):
                f.write(
                    HOST.format(
                        name=name,
                        address=sshd.HOST,
                        port=server.port,
                        key=server.key,
                        known_hosts=known_hosts,
                    )
                )
                if seconds is not None:
                    line = "%s -S -E %s %%h %%p %s" % (sys.executable, LINE, seconds)
                    f.write("    ProxyCommand %s\n" % line)
        yield path
