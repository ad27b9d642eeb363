"""This library and the existing one, whose interface it has, by that interface alone."""

from __future__ import annotations

import importlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: Starts at a time where each blocks a thread.
STARTERS = 4


class Library:
    """What `tests.benchmarks.works` measures; contexts are what `local` and the like return."""

    def __init__(self) -> None:
        import mitogen.core
        import mitogen.master

        self._core = mitogen.core
        self._broker = mitogen.master.Broker()
        self._router: Any = mitogen.master.Router(self._broker)
        # By this name the children import it, which `tests.benchmarks.driver` put on sys.path.
        self._far: Any = importlib.import_module("far_end")
        self._receivers: dict[Any, tuple[Any, Any]] = {}

    def local(self) -> Any:
        return self._router.local()

    def fork(self) -> Any:
        return self._router.fork()

    def ssh(self, config: str, host: str, python: str) -> Any:
        return self._router.ssh(hostname=host, ssh_args=["-F", config], python_path=python)

    def below(self, context: Any) -> Any:
        return self._router.local(via=context)

    def many(self, count: int) -> list[Any]:
        if hasattr(type(self._router), "connect_async"):
            futures = [self._router.connect_async("local") for _ in range(count)]
            return [future.result() for future in futures]
        with ThreadPoolExecutor(STARTERS) as pool:
            return list(pool.map(lambda _: self.local(), range(count)))

    def call(self, context: Any) -> int:
        pid: int = context.call(os.getpid)
        return pid

    def in_flight(self, contexts: list[Any], count: int) -> None:
        answers = [context.call_async(os.getpid) for _ in range(count) for context in contexts]
        for answer in answers:
            answer.get().unpickle()

    def flood(self, context: Any, count: int, size: int) -> None:
        if context not in self._receivers:
            receiver = self._core.Receiver(self._router)
            self._receivers[context] = receiver, receiver.to_sender()
        receiver, sender = self._receivers[context]
        done = context.call_async(self._far.flood, sender, count, size)
        for _ in range(count):
            receiver.get().unpickle()
        done.get().unpickle()

    def size(self, context: Any, data: bytes) -> int:
        size: int = context.call(self._far.size, data)
        return size

    def make(self, context: Any, size: int) -> bytes:
        data: bytes = context.call(self._far.make, size)
        return data

    def fetch(self, context: Any, load: Callable[[str], object], package: str) -> None:
        context.call(load, package)

    def close(self) -> None:
        self._broker.shutdown()
        self._broker.join()
