"""Measures one library in one process, and prints JSON: ``python driver.py PEER SETTINGS``.

Owns the loops around the clock, the same for every library, and how each library is used: by its public
interface alone. Run as a script by the interpreter of the environment that has the library, so it
imports nothing of this project but where the project is what it measures. Times are in seconds.

Every library calls `os.getpid`: what is measured is the way there and back.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Mitogen:
    """This library and the existing one, whose interface it has."""

    def __init__(self) -> None:
        import mitogen.master

        self._broker = mitogen.master.Broker()
        self._router = mitogen.master.Router(self._broker)

    def start(self) -> None:
        """Start one more child; later calls go there."""
        self._context = self._router.local()

    def call(self) -> object:
        """Make one call."""
        return self._context.call(os.getpid)

    def pipeline(self, count: int) -> None:
        """Make `count` calls without waiting for answers in between, then take all the answers."""
        answers = [self._context.call_async(os.getpid) for _ in range(count)]
        for answer in answers:
            answer.get()

    def fetch(self, load: Callable[[str], object], package: str) -> None:
        """Have the child import a package that it does not have, with a function of a loaded module."""
        self._context.call(load, package)

    def close(self) -> None:
        """End everything."""
        self._broker.shutdown()
        self._broker.join()


class Execnet:
    """Gateways, with a loop at the far end."""

    fetch = None
    LOOP = "import os\nfor _ in channel: channel.send(os.getpid())"

    def __init__(self) -> None:
        import execnet  # type: ignore[import-not-found,unused-ignore]

        self._execnet: Any = execnet

    def start(self) -> None:
        self._channel = self._execnet.makegateway("popen").remote_exec(self.LOOP)

    def call(self) -> object:
        self._channel.send(None)
        return self._channel.receive()

    def pipeline(self, count: int) -> None:
        for _ in range(count):
            self._channel.send(None)
        for _ in range(count):
            self._channel.receive()

    def close(self) -> None:
        self._execnet.default_group.terminate(1)


class Rpyc:
    """The classic, symmetric mode over the standard streams of a child."""

    LOOP = """
import os, rpyc
rpyc.utils.factory.connect_stdpipes(rpyc.SlaveService).serve_all()
os._exit(0)  # An ordinary exit complains about what stands in for standard output.
"""

    fetch = None

    def __init__(self) -> None:
        import rpyc  # type: ignore[import-not-found,unused-ignore]

        self._rpyc: Any = rpyc
        self._connections: list[Any] = []

    def start(self) -> None:
        argv = [sys.executable, "-c", self.LOOP]
        self._connections.append(self._rpyc.connect_subproc(argv, self._rpyc.SlaveService))
        self._getpid = self._connections[-1].root.getmodule("os").getpid

    def call(self) -> object:
        return self._getpid()

    #: Its sender does not read, so thousands of calls in flight would fill both pipes for ever.
    pipeline = None

    def close(self) -> None:
        for connection in self._connections:
            process = connection.proc
            connection.close()
            process.wait()


class Raw:
    """The limit: two processes with one thread each, pickles over a socket pair, nothing else."""

    LOOP = """
import os, pickle, socket, sys
sock = socket.socket(fileno=int(sys.argv[1]))
file = sock.makefile("rb")
while file.peek(1):
    name, args = pickle.load(file)
    sock.sendall(pickle.dumps(getattr(os, name)(*args), 4))
"""

    fetch = None

    def __init__(self) -> None:
        import pickle
        import socket
        import subprocess

        self._pickle, self._socket, self._subprocess = pickle, socket, subprocess
        self._ends: list[Any] = []

    def start(self) -> None:
        ours, theirs = self._socket.socketpair()
        argv = [sys.executable, "-S", "-E", "-c", self.LOOP, str(theirs.fileno())]
        process = self._subprocess.Popen(argv, pass_fds=[theirs.fileno()])
        theirs.close()
        self._sock, self._file = ours, ours.makefile("rb")
        self._ends.append((process, ours, self._file))

    def call(self) -> object:
        self._sock.sendall(self._pickle.dumps(("getpid", ()), 4))
        return self._pickle.load(self._file)

    def pipeline(self, count: int) -> None:
        import threading

        def send() -> None:
            for _ in range(count):
                self._sock.sendall(self._pickle.dumps(("getpid", ()), 4))

        thread = threading.Thread(target=send)
        thread.start()
        for _ in range(count):
            self._pickle.load(self._file)
        thread.join()

    def close(self) -> None:
        for process, sock, file in self._ends:
            file.close()
            sock.close()
            process.wait()


PEERS: dict[str, Callable[[], Any]] = {
    "this": Mitogen,
    "mitogen": Mitogen,
    "execnet": Execnet,
    "rpyc": Rpyc,
    "raw": Raw,
}


def timed(fn: Callable[..., object], *args: Any) -> float:
    """Return how long one call of `fn` takes."""
    begin = time.perf_counter()
    fn(*args)
    return time.perf_counter() - begin


def calls(peer: Any, count: int) -> None:
    """Make `count` calls, one after the other."""
    call = peer.call
    for _ in range(count):
        call()


#: Functions of each module of the package that is imported; ten make 200 lines.
FUNCTION = '''
def function_%(n)d(first, second=%(n)d, *rest, **options):
    """Do what this function is for, and tell about it in a few words."""
    total = 0
    for index, item in enumerate(rest):
        if item is None:
            continue
        elif isinstance(item, str):
            total += len(item) * index
        else:
            total += index %% (second or 1)
    names = sorted(options, key=lambda name: (len(name), name))
    found = {name: options[name] for name in names if options[name] != first}
    try:
        result = [total, first, second] + [found.get(name) for name in names]
    except (KeyError, TypeError) as e:
        raise ValueError("function %(n)d: %%s" %% (e,))
    return result
'''


def write_package(folder: str, modules: int) -> str:
    """Write a package whose modules import each other, and one that loads it; return its name."""
    name = "package_%d" % os.getpid()
    os.mkdir(os.path.join(folder, name))
    body = "".join(FUNCTION % {"n": n} for n in range(10))
    for i in range(modules):
        path = os.path.join(folder, name, "m%d.py" % i if i else "__init__.py")
        with open(path, "w") as f:
            # A tree: each imports two more.
            for other in (2 * i + 1, 2 * i + 2):
                if other < modules:
                    f.write("from %s import m%d\n" % (name, other))
            f.write(body)
    with open(os.path.join(folder, "loader_of_%s.py" % name), "w") as f:
        f.write("import sys\ndef load(name):\n    __import__(name)\n")
        f.write("    return len([1 for m in sys.modules if m.startswith(name)])\n")
    return name


def fetches(peer: Any, modules: int) -> tuple[float, float]:
    """Return what the import of a package takes: one that the parent did not import either, and has."""
    import importlib
    import shutil
    import tempfile

    folder = tempfile.mkdtemp()
    sys.path.insert(0, folder)
    try:
        name = write_package(folder, modules)
        load = importlib.import_module("loader_of_" + name).load
        start(peer)
        cold = timed(peer.fetch, load, name)
        importlib.import_module(name)
        times = []
        for _ in range(3):
            start(peer)
            times.append(timed(peer.fetch, load, name))
        return cold, statistics.median(times)
    finally:
        shutil.rmtree(folder)


def start(peer: Any) -> None:
    """Start a child, and wait for its first answer."""
    peer.start()
    peer.call()


def measure(peer: Any, settings: dict[str, int]) -> dict[str, float]:
    """Return the figures that `settings` asks for; each is the median of batches after a warm-up."""
    found = {}
    start(peer)
    if "starts" in settings:
        found["start"] = statistics.median(timed(start, peer) for _ in range(settings["starts"]))
    if "calls" in settings:
        batch = settings["calls"] // 10
        calls(peer, batch)
        found["call"] = statistics.median(timed(calls, peer, batch) for _ in range(10)) / batch
    if "in_flight" in settings and peer.pipeline:
        count = settings["in_flight"]
        peer.pipeline(count // 5)
        found["pipelined"] = statistics.median(timed(peer.pipeline, count) for _ in range(3)) / count
    if "modules" in settings and peer.fetch:
        found["cold import"], found["import"] = fetches(peer, settings["modules"])
    if "exactly" in settings:
        calls(peer, settings["exactly"])
    return found


def main(name: str, settings: str) -> None:
    """Measure the library called `name`."""
    peer = PEERS[name]()
    try:
        print(json.dumps(measure(peer, json.loads(settings))))
    finally:
        peer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
