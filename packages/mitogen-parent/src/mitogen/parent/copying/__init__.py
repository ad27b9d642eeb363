"""Copying files and folder trees between contexts: `put` to one or many, `get` from one.

How a copy travels. The side that reads (`source`) makes a stream of items: batches of folders, links and
small files, and large files in chunks. The side that writes (`sink`) acts on them. A context on the way
(`relay`) passes each item on, once over each link, however many targets are behind it (`branches`). Every
receiver has a `maxsize`, so that a sender waits for whoever is slower, and no context holds more than
some chunks, whatever the size of the file.

What comes back goes straight to the origin, past the relays: what a target has already, that it is done,
or why it is not.

Names are bytes, as in the file system. Re-exports the documented names.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mitogen.parent.copying.errors import CopyError as CopyError
    from mitogen.parent.copying.origin import get as get
    from mitogen.parent.copying.origin import put as put

_HOMES = {"CopyError": "errors", "get": "origin", "put": "origin"}
__all__ = sorted(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError("mitogen.parent.copying has no attribute %r" % name)
    # Contexts that only write, or pass on, need no origin.
    module = __import__("mitogen.parent.copying." + _HOMES[name], None, None, [name])
    value = globals()[name] = getattr(module, name)
    return value
