"""The libraries that are compared, and their environments.

Owns `.bench` at the top of the workspace: a virtual environment for each library, one with no packages
for what is run at the far end of ssh, and one with what draws the charts. Each is made when it is first
needed, and again when what it should hold changes. This library is not installed there: a `.pth` file
names its sources.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".bench"

_MITOGEN = """
import os, mitogen.master
broker = mitogen.master.Broker()
try: print(mitogen.master.Router(broker).local().call(os.getpid))
finally: broker.shutdown(); broker.join()
"""
_EXECNET = """
import execnet
channel = execnet.makegateway("popen").remote_exec("import os; channel.send(os.getpid())")
print(channel.receive())
"""
_OTHER = """
import sys
sys.path.append(%r)
from tests.benchmarks.use_%s import Library
library = Library()
print(library.call(library.local()))
library.close()
"""


class Peer(NamedTuple):
    """One library to measure."""

    #: In tables, on the command line, and of its folder.
    name: str
    #: The module ``use_NAME`` that knows how it is used.
    use: str
    #: What is installed; versions, so that figures of two days can be compared.
    requirement: str | None
    #: A whole program: start one child, make one call, end.
    program: str

    @property
    def title(self) -> str:
        """With the version."""
        return " ".join((self.requirement or self.name).split("=="))

    @property
    def python(self) -> str:
        """The interpreter of its environment."""
        return python(self.name)


PEERS = [
    Peer("this", "mitogen", None, _MITOGEN),
    Peer("mitogen", "mitogen", "mitogen==0.3.54", _MITOGEN),
    Peer("execnet", "execnet", "execnet==2.1.2", _EXECNET),
    Peer("rpyc", "rpyc", "rpyc==6.0.2", _OTHER % (str(ROOT), "rpyc")),
    Peer("raw", "raw", None, _OTHER % (str(ROOT), "raw")),
]
#: For the charts only; nothing else of the project needs it.
DRAWING = "matplotlib==3.11.2"


def python(name: str) -> str:
    """Return the interpreter of an environment."""
    return str(FOLDER / name / "bin/python")


def prepare(peers: list[Peer]) -> None:
    """Make the environments of `peers`, as far as they are not there.

    :raises subprocess.CalledProcessError: they could not be installed; pip has said why.
    """
    for peer in peers:
        paths = [str(path) for path in sorted((ROOT / "packages").glob("*/src"))]
        environment(peer.name, peer.requirement, paths if peer.name == "this" else [])
    environment("bare")


def environment(name: str, requirement: str | None = None, paths: list[str] | None = None) -> str:
    """Return the interpreter of a virtual environment, which is made if need be."""
    folder = FOLDER / name
    wanted = "%s\n%s\n%s\n" % (sys.version, requirement, paths)
    stamp = folder / "made-for"
    if not stamp.exists() or stamp.read_text() != wanted:
        print("making %s with %s ..." % (folder, requirement or "no packages"), file=sys.stderr)
        with_pip = [] if requirement else ["--without-pip"]
        subprocess.run([sys.executable, "-m", "venv", "--clear", *with_pip, str(folder)], check=True)
        if requirement:
            pip = [python(name), "-m", "pip", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "install", requirement], check=True)
        if paths:
            (site,) = folder.glob("lib/python*/site-packages")
            (site / "sources.pth").write_text("\n".join(paths) + "\n")
        stamp.write_text(wanted)
    return python(name)
