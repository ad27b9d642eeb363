"""The libraries that are compared, and the environment that they are installed in.

Owns `.bench` at the top of the workspace, where one virtual environment holds the libraries from PyPI. It
is made when it is first needed, and again when what it should hold changes; nothing else is ever
written. This library is measured as it is installed for the interpreter that runs the benchmarks.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).resolve().parents[2] / ".bench"

#: What is installed there; versions, so that figures of two days can be compared.
REQUIREMENTS = ["mitogen==0.3.54", "execnet==2.1.2", "rpyc==6.0.2"]

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


class Peer(NamedTuple):
    """One library to measure."""

    #: Its name in `tests.benchmarks.driver.PEERS`.
    name: str
    title: str
    #: The interpreter of its environment.
    python: str
    #: A whole program: start one child, make one call, end.
    program: str | None = None


def peers() -> list[Peer]:
    """Return all libraries, this one first, each ready to be measured.

    :raises subprocess.CalledProcessError: they could not be installed; pip has said why.
    """
    python = _environment()
    return [
        Peer("this", "this library", sys.executable, _MITOGEN),
        Peer("mitogen", "mitogen %s of PyPI" % REQUIREMENTS[0].partition("==")[2], python, _MITOGEN),
        Peer("execnet", "execnet", python, _EXECNET),
        Peer("rpyc", "rpyc", python),
        Peer("raw", "raw: the limit", python),
    ]


def _environment() -> str:
    """Return the interpreter of the virtual environment, which is made if need be."""
    wanted = "%s\n%s\n" % (sys.version, "\n".join(REQUIREMENTS))
    python = FOLDER / "bin/python"
    stamp = FOLDER / "made-for"
    if not stamp.exists() or stamp.read_text() != wanted:
        print("installing %s into %s ..." % (", ".join(REQUIREMENTS), FOLDER), file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(FOLDER)], check=True)
        pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", *REQUIREMENTS], check=True)
        stamp.write_text(wanted)
    return str(python)
