"""Timers: what is to be called when, in order of time. Pure: the clock comes in as an argument.

The broker asks `next_due` for how long it may sleep, and `take_due` for what to call. Broker thread only,
except `Timer.cancel`, which any thread may call.
"""

from __future__ import annotations

from heapq import heappop, heappush

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Timer:
    """One call to be made at a time; made at most once.

    :ivar active: False once the timer ran or was cancelled.
    """

    __slots__ = ("active", "func", "when")

    def __init__(self, when: float, func: Callable[[], object]) -> None:
        self.when = when
        self.func = func
        self.active = True

    def __lt__(self, other: Timer) -> bool:
        return self.when < other.when

    def cancel(self) -> None:
        """Make sure the call is not made, if it has not been. Idempotent."""
        self.active = False


class TimerList:
    """Timers in order of time. Those of the same time come in any order."""

    def __init__(self) -> None:
        self._heap: list[Timer] = []

    def schedule(self, when: float, func: Callable[[], object]) -> Timer:
        """Have `func()` called at the time `when`, in seconds of the caller's clock."""
        timer = Timer(when, func)
        heappush(self._heap, timer)
        return timer

    def next_due(self) -> float | None:
        """Return when the next timer is due, or None if there is none."""
        heap = self._heap
        while heap and not heap[0].active:
            heappop(heap)
        return heap[0].when if heap else None

    def take_due(self, now: float) -> list[Timer]:
        """Remove and return the timers due at `now`. The caller checks `active` before each call:
        one may cancel the next."""
        due = []
        while self._heap and self._heap[0].when <= now:
            due.append(heappop(self._heap))
        return due
