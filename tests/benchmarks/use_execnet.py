"""execnet: gateways, with a loop at the far end. A context is a channel to such a loop."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import execnet  # type: ignore[import-not-found,unused-ignore]

if TYPE_CHECKING:
    from typing import Any

#: Starts at a time: each blocks a thread.
STARTERS = 4

LOOP = """
import os
for order in channel:
    if order is None:
        channel.send(os.getpid())
    elif order[0] == "size":
        channel.send(len(order[1]))
    elif order[0] == "make":
        channel.send(b"x" * order[1])
    else:
        _, count, size = order
        item = b"x" * size if size else count
        for _ in range(count):
            channel.send(item)
"""


class Library:
    """What `tests.benchmarks.works` measures. It can't fork, and imports nothing from its parent."""

    def _start(self, spec: str) -> Any:
        return execnet.makegateway(spec).remote_exec(LOOP)

    def local(self) -> Any:
        return self._start("popen")

    def ssh(self, config: str, host: str, python: str) -> Any:
        return self._start("ssh=%s//ssh_config=%s//python=%s" % (host, config, python))

    def below(self, context: Any) -> Any:
        return self._start("popen//via=%s" % context.gateway.id)

    def many(self, count: int) -> list[Any]:
        with ThreadPoolExecutor(STARTERS) as pool:
            return list(pool.map(lambda _: self.local(), range(count)))

    def call(self, context: Any) -> int:
        context.send(None)
        pid: int = context.receive()
        return pid

    def in_flight(self, contexts: list[Any], count: int) -> None:
        for _ in range(count):
            for context in contexts:
                context.send(None)
        for _ in range(count):
            for context in contexts:
                context.receive()

    def flood(self, context: Any, count: int, size: int) -> None:
        context.send(("flood", count, size))
        for _ in range(count):
            context.receive()

    def size(self, context: Any, data: bytes) -> int:
        context.send(("size", data))
        size: int = context.receive()
        return size

    def make(self, context: Any, size: int) -> bytes:
        context.send(("make", size))
        data: bytes = context.receive()
        return data

    def close(self) -> None:
        execnet.default_group.terminate(5)
