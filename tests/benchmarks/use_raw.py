"""The limit: processes with one thread each, pickles over a socket pair, nothing else.

A context is a pair of files to a process that runs `LOOP`. Below another one, bytes are copied through:
what a chain costs at the least.
"""

from __future__ import annotations

import os
import pickle
import shlex
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Any

LOOP = """
import os, pickle, sys
fds = globals().get("fds") or [int(fd) for fd in sys.argv[1:]]
source, sink = open(fds[0], "rb"), open(fds[-1], "wb", closefd=len(fds) == 2)

def copy(from_fd, to_fd):
    while True:
        data = memoryview(os.read(from_fd, 1 << 20))
        if not data:
            break
        while data:
            data = data[os.write(to_fd, data):]

def relay(code):
    import socket, subprocess, threading
    ours, theirs = socket.socketpair()
    argv = [sys.executable, "-S", "-E", "-c", code, str(theirs.fileno())]
    process = subprocess.Popen(argv, pass_fds=[theirs.fileno()])
    theirs.close()
    answer(None)
    thread = threading.Thread(target=copy, args=(ours.fileno(), fds[-1]), daemon=True)
    thread.start()
    copy(fds[0], ours.fileno())
    ours.shutdown(1)
    process.wait()

def answer(value):
    pickle.dump(value, sink, 4)
    sink.flush()

while source.peek(1):
    name, args = pickle.load(source)
    if name == "getpid":
        answer(os.getpid())
    elif name == "size":
        answer(len(args[0]))
    elif name == "make":
        answer(b"x" * args[0])
    elif name == "flood":
        item = b"x" * args[1] if args[1] else args[0]
        for _ in range(args[0]):
            answer(item)
    elif name == "relay":
        relay(*args)
        break
    # Not to be held while the next one arrives.
    del args
"""


class Context(NamedTuple):
    """The near end of a connection."""

    source: Any
    sink: Any


class Library:
    """What `tests.benchmarks.works` measures. It imports nothing from its parent."""

    def __init__(self) -> None:
        self._contexts: list[Context] = []
        self._processes: list[subprocess.Popen[bytes]] = []

    def _opened(self, source: Any, sink: Any) -> Context:
        context = Context(source, sink)
        self._contexts.append(context)
        return context

    def local(self) -> Any:
        ours, theirs = socket.socketpair()
        argv = [sys.executable, "-S", "-E", "-c", LOOP, str(theirs.fileno())]
        self._processes.append(subprocess.Popen(argv, pass_fds=[theirs.fileno()]))
        theirs.close()
        with ours:
            return self._opened(ours.makefile("rb"), ours.makefile("wb"))

    def fork(self) -> Any:
        ours, theirs = socket.socketpair()
        if not os.fork():
            try:
                for context in self._contexts:
                    context.source.close()
                ours.close()
                exec(LOOP, {"fds": [theirs.detach()]})
            finally:
                os._exit(0)
        theirs.close()
        with ours:
            return self._opened(ours.makefile("rb"), ours.makefile("wb"))

    def ssh(self, config: str, host: str, python: str) -> Any:
        argv = ["ssh", "-F", config, host, "exec %s -S -E -c %s 0 1" % (python, shlex.quote(LOOP))]
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._processes.append(process)
        return self._opened(process.stdout, process.stdin)

    def below(self, context: Any) -> Any:
        # From now on, what is sent there arrives one further.
        self._do(context, "relay", LOOP)
        return context

    def many(self, count: int) -> list[Any]:
        return [self.local() for _ in range(count)]

    def _send(self, context: Context, name: str, *args: object) -> None:
        pickle.dump((name, args), context.sink, 4)
        context.sink.flush()

    def _do(self, context: Context, name: str, *args: object) -> Any:
        self._send(context, name, *args)
        return pickle.load(context.source)

    def call(self, context: Any) -> int:
        pid: int = self._do(context, "getpid")
        return pid

    def in_flight(self, contexts: list[Any], count: int) -> None:
        def send() -> None:
            for _ in range(count):
                for context in contexts:
                    self._send(context, "getpid")

        thread = threading.Thread(target=send)
        thread.start()
        for _ in range(count):
            for context in contexts:
                pickle.load(context.source)
        thread.join()

    def flood(self, context: Any, count: int, size: int) -> None:
        self._send(context, "flood", count, size)
        for _ in range(count):
            pickle.load(context.source)

    def size(self, context: Any, data: bytes) -> int:
        size: int = self._do(context, "size", data)
        return size

    def make(self, context: Any, size: int) -> bytes:
        data: bytes = self._do(context, "make", size)
        return data

    def close(self) -> None:
        for context in self._contexts:
            context.sink.close()
            context.source.close()
        for process in self._processes:
            process.wait()
