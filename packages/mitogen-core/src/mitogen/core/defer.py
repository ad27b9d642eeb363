"""Waiting for what the broker thread does: `defer_sync`. Outside the bundle."""

from __future__ import annotations

from _thread import get_ident

from mitogen.core.latch import Latch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from mitogen.core.broker import Broker


def defer_sync(broker: Broker, func: Callable[[], Any], timeout: float | None) -> Any:
    """Do what `Broker.defer_sync` says."""
    if get_ident() == broker._thread_id:
        return func()
    done = Latch()

    def call() -> None:
        try:
            done.put((func(), None))
        except BaseException as e:
            done.put((None, e))

    broker.defer(call)
    result, error = done.get(timeout)
    if error is not None:
        raise error
    return result
