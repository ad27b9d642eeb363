"""rpyc: the classic, symmetric mode over the standard streams of a child. A context is a connection."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import rpyc  # type: ignore[import-not-found,unused-ignore]

if TYPE_CHECKING:
    from typing import Any

#: Starts at a time: each blocks a thread.
STARTERS = 4
#: Calls in flight at a time: its sender does not read, so thousands would fill both pipes for ever.
WINDOW = 500

LOOP = """
import os, rpyc
rpyc.utils.factory.connect_stdpipes(rpyc.SlaveService).serve_all()
os._exit(0)  # An ordinary exit complains about what stands in for standard output.
"""
FLOOD = """
def flood(take, count, size):
    import rpyc
    send = rpyc.async_(take)
    item = b"x" * size if size else count
    while count:
        answers = [send(item) for _ in range(min(count, %d))]
        for answer in answers:
            answer.wait()
        count -= len(answers)
""" % min(WINDOW, 100)


class Library:
    """What `tests.benchmarks.works` measures. It can't fork, and imports nothing from its parent."""

    #: Bytes of the largest payload that is worth the wait.
    largest = 2 << 20

    def __init__(self) -> None:
        self._connections: list[Any] = []

    def _start(self, argv: list[str]) -> Any:
        connection = rpyc.connect_subproc(argv, rpyc.SlaveService)
        self._connections.append(connection)
        connection.bench_getpid = connection.root.getmodule("os").getpid
        connection.bench_flood = None
        return connection

    def local(self) -> Any:
        return self._start([sys.executable, "-c", LOOP])

    def ssh(self, config: str, host: str, python: str) -> Any:
        # It has to be installed there, so the interpreter is its own.
        quoted = "'%s'" % LOOP
        return self._start(["ssh", "-F", config, host, sys.executable, "-c", quoted])

    def many(self, count: int) -> list[Any]:
        with ThreadPoolExecutor(STARTERS) as pool:
            return list(pool.map(lambda _: self.local(), range(count)))

    def call(self, context: Any) -> int:
        pid: int = context.bench_getpid()
        return pid

    def in_flight(self, contexts: list[Any], count: int) -> None:
        senders = [rpyc.async_(context.bench_getpid) for context in contexts]
        while count > 0:
            answers = [send() for _ in range(min(count, WINDOW)) for send in senders]
            for answer in answers:
                answer.wait()
            count -= WINDOW

    def flood(self, context: Any, count: int, size: int) -> None:
        if context.bench_flood is None:
            context.root.execute(FLOOD)
            context.bench_flood = context.root.eval("flood")
        context.bench_flood(lambda item: None, count, size)

    def size(self, context: Any, data: bytes) -> int:
        size: int = context.root.getmodule("builtins").len(data)
        return size

    def make(self, context: Any, size: int) -> bytes:
        data: bytes = context.root.eval("b'x' * %d" % size)
        return data

    def close(self) -> None:
        for connection in self._connections:
            process = connection.proc
            connection.close()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
