"""Scripts that stand in for programs which have nothing to talk to on a Linux machine of tests.

jexec needs FreeBSD, kubectl a cluster, machinectl systemd as the first process, and incus is no package
of Debian 12. Each script appends its exact command line to a file, and then becomes the command in it, on
this machine: a transport is tried with what it says, and with a real Python at the other end.
"""

from __future__ import annotations

import json
import os

FOLDER = os.path.dirname(os.path.abspath(__file__))

#: The environment variable that names the file with command lines, each a list in JSON on a line.
LOG = "MITOGEN_TEST_STAND_IN_LOG"

#: The environment variable with what machinectl knows: names of machines and their leaders, in JSON.
LEADERS = "MITOGEN_TEST_STAND_IN_LEADERS"


class StandIns:
    """What tests see of them, as long as they are found before the programs that they stand for."""

    def __init__(self, log: str) -> None:
        self._log = log
        self._leaders: dict[str, int] = {}
        #: The variables that the programs need.
        self.environ = {
            LOG: log,
            LEADERS: "{}",
            "PATH": FOLDER + os.pathsep + os.environ.get("PATH", os.defpath),
        }

    @property
    def calls(self) -> list[list[str]]:
        """The command lines so far, with the full path of the program."""
        with open(self._log) as f:
            return [json.loads(line) for line in f]

    def lead(self, machine: str, pid: int) -> None:
        """Make `pid` what machinectl says is the leader of `machine`."""
        self._leaders[machine] = pid
        os.environ[LEADERS] = json.dumps(self._leaders)
