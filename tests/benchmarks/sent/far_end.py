"""What children run for `use_mitogen`; each imports it from its parent, as a module of its own name."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def size(data: bytes) -> int:
    """Take a large argument."""
    return len(data)


def make(size: int) -> bytes:
    """Return a large result."""
    return b"x" * size


def flood(sender: Any, count: int, size: int) -> None:
    """Send so many messages: bytes, or numbers if `size` is 0."""
    item: object = b"x" * size if size else count
    for _ in range(count):
        sender.send(item)
