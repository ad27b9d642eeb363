"""Contexts that start with what the program has in memory."""

from __future__ import annotations

import mitogen.master

table: dict[int, int] = {}


def look_up(key: int) -> int:
    """Run in a context: find what the program has put there."""
    return table[key]


if __name__ == "__main__":
    table.update((number, number**2) for number in range(100_000))
    with mitogen.master.Router() as router:
        contexts = [router.fork() for _ in range(3)]
        pending = [context.call_async(look_up, 1000 + n) for n, context in enumerate(contexts)]
        print(*[receiver.get().unpickle() for receiver in pending])
