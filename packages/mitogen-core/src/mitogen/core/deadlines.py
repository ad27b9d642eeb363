"""Deadlines of waits that have several steps: `deadline_of`, `left_until`. Any thread.

Outside the bundle.
"""

from __future__ import annotations

from time import monotonic


def deadline_of(timeout: float | None) -> float | None:
    """Return when `timeout` seconds will have passed; None for never."""
    return None if timeout is None else monotonic() + timeout


def left_until(deadline: float | None) -> float | None:
    """Return how many seconds are left of a wait; 0 or less for none."""
    return None if deadline is None else deadline - monotonic()
