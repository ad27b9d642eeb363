"""Modules for children: `ModuleServer`, of each context that has some; `ModuleForwarder`, in a child.

A child asks its parent for modules, by name, and gets LOAD_MODULE: ``(name, children of a package or
None, path, compressed content, related)``. Content is source, or NUL and a marshalled code object for a
child whose Python is ours. ``name:source`` asks for the source of such a module, and ``name:sources`` for
that of what is related to it as well, for a child of another Python further down; the answers are named
like that. For a module that is not there, or can't be sent, content is None, and in place of the path
stands the reason, or None.

`related` are the modules that it imports. They follow, so that the child waits for them instead of
asking, and runs what it has while the rest is on its way. Each goes over a link once.

A context between master and child asks its own parent for what it lacks, once, however many of its
children ask, and answers all when it has the answer, be it a negative one. Unasked it also sends what its
parent has it preload (FORWARD_MODULE: the id of a descendant, a colon, and a name).

All of it runs on the broker thread. Outside the bundle: part of what makes a child a parent.
"""

from __future__ import annotations

import zlib
from collections import deque
from types import SimpleNamespace

from mitogen.core import handles, serialization
from mitogen.core.message import make
from mitogen.core.pressure import Turns
from mitogen.core.router import has_parent_authority
from mitogen.core.signals import listen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from mitogen.core.importer import Importer
    from mitogen.core.message import Message
    from mitogen.core.router import Router

#: What may stand behind the name of a module. Whatever else a child puts there would be remembered.
_FORMS = ("", "source", "sources")
#: Names that a child may make us remember.
_MAX_MISSING = 20000


def _name(key: str) -> str:
    """Return the name of a module that is asked for by `key`."""
    return key.partition(":")[0]


class ModuleServer:
    """Answer GET_MODULE, and send what is related to an answer after it."""

    def __init__(self, router: Router) -> None:
        self._router = router
        #: What was sent to each child: names, with ``:sources`` if they were asked for like that.
        self._sent: dict[int, set[str]] = {}
        #: By what was compressed.
        self._compressed: dict[bytes, bytes] = {}
        #: Context ids, and what is to be sent there.
        self._queue: deque[tuple[int, str]] = deque()
        self._turns = Turns(router, self._on_get_module)
        router.add_handler(self._turns.take, handles.GET_MODULE)
        listen(router, "lost", self._on_lost)

    def find(self, key: str) -> Any:
        """Return what LOAD_MODULE says of a module; None if that has to be asked for.

        The content is not yet compressed, and the related modules go by their names, whatever the key.

        :param key: its name, with a colon and a form if it must not be code.
        """
        raise NotImplementedError

    def ask(self, key: str, then: Callable[[], object]) -> None:
        """Call ``then()`` when `find` knows what it says of `key`."""
        raise NotImplementedError

    def _on_lost(self, ids: list[int], reason: str) -> None:
        for context_id in ids:
            self._sent.pop(context_id, None)

    def _on_get_module(self, msg: Message) -> None:
        key = msg.data.decode("utf-8", "replace")
        if key.partition(":")[2] not in _FORMS:
            return
        link: Any = self._router.stream_by_id(msg.src_id)
        if link is not None:
            link.modules_asked = getattr(link, "modules_asked", 0) + 1
        self._answer(msg.src_id, key, self._turns.until(str, msg))

    def _answer(self, context_id: int, key: str, then: Callable[[str], object] = str) -> None:
        """Send a child what is known about a module once that is here, and call ``then(key)``."""
        link: Any = self._router.table.links.get(context_id)
        if link is None:
            then(key)  # It went meanwhile.
            return
        name, _, form = key.partition(":")
        wanted = key
        if link.remote_id != context_id or not getattr(link, "takes_code", False):
            # Nor is more known of contexts that are further away.
            wanted = name + ":sources"
        answer = self.find(wanted)
        if answer is None:
            self.ask(wanted, lambda: self._answer(context_id, key, then))
            return
        then(key)
        _, children, path, content, related = answer
        if content is not None:
            content = self._compress(content, link)
        # Of one that went there as code, the others did as well.
        related = () if form == "source" else tuple([other + key[len(name) :] for other in related])
        self.send(context_id, (key, children, path, content, related))
        sent = self._sent.setdefault(context_id, set())
        if content is not None:
            sent.add(key)
        for other in related:
            if other not in sent:
                sent.add(other)
                self._queue.append((context_id, other))
                if len(self._queue) == 1:
                    self._router.broker.call_later(0, self._send_next)

    def _compress(self, content: bytes, link: Any) -> bytes:
        if not getattr(link, "compress", True):
            # Compressing takes longer than sending it all.
            return zlib.compress(content, 0)
        if content not in self._compressed:
            self._compressed[content] = zlib.compress(content)
        return self._compressed[content]

    def send(self, context_id: int, answer: Any) -> None:
        """Send a child an answer."""
        here = self._router.context_id
        body = serialization.dumps(answer)
        self._router._async_route(make(context_id, here, here, handles.LOAD_MODULE, 0, body))

    def _send_next(self) -> None:
        """Send one, so that others have their turn before the next."""
        try:
            self._answer(*self._queue[0])
        finally:
            self._queue.popleft()
            if self._queue:
                self._router.broker.call_later(0, self._send_next)


class ModuleForwarder(ModuleServer):
    """Answer GET_MODULE and FORWARD_MODULE with what the importer has, or gets."""

    def __init__(self, router: Router, importer: Importer) -> None:
        ModuleServer.__init__(self, router)
        self._importer = importer
        self._modules: dict[str, Any] = importer._finder.modules
        #: Names of the modules that follow each.
        self._related: dict[str, tuple[str, ...]] = {}
        #: All of these, as they were announced: each is told of once.
        self._announced: set[str] = set()
        #: Whether this context was started with code, so that what it is sent now is code too.
        self._takes_code = not isinstance(self._modules.get("mitogen.core", (0, 0, 0))[2], (str, bytes))
        entry = router._handlers[handles.LOAD_MODULE]
        router._handlers[handles.LOAD_MODULE] = (self._on_load_module, *entry[1:])
        router.add_handler(self._on_forward_module, handles.FORWARD_MODULE, policy=has_parent_authority)

    def _on_load_module(self, msg: Message) -> None:
        if not msg.is_dead:
            name, children, path, content, related = msg.unpickle()
            if content is not None and ":" in name:
                # What is good for any Python will do here too, rather than to ask for code.
                self._modules.setdefault(_name(name), (children, path, zlib.decompress(content)))
            # Most have none; nor has what there is not, of which children may ask for any number.
            if related:
                self._related[_name(name)] = tuple(map(_name, related))
                self._announced.update(related)
        self._importer._on_load_module(msg)

    def _content(self, key: str) -> bytes | None:
        """Return what was sent here under `key`; None for the code objects that a context starts from."""
        content = self._modules.get(key, (None, None, None))[2]
        return (
            content.encode() if isinstance(content, str) else content if type(content) is bytes else None
        )

    def find(self, key: str) -> Any:
        name = _name(key)
        importer = self._importer
        for known in (name, name + ":sources", name + ":source"):
            content = self._content(known)
            # What comes as code is no use to a child of another Python.
            if content is not None and (key == name or content[:1] != b"\0"):
                children, path, _ = self._modules[known]
                return key, children, path, content, self._related.get(name, ())
        # Nor is a name remembered that only a hostile child asks for.
        missing = importer._missing
        if key in missing or name in missing or importer._gone or name[999:]:
            reason = missing.get(key) or missing.get(name) or importer._gone
            if len(missing) > _MAX_MISSING:
                for other in set(missing) - self._announced:
                    del missing[other]
            return key, None, reason, None, ()
        return None

    def ask(self, key: str, then: Callable[[], object]) -> None:
        importer = self._importer
        if not self._takes_code:
            # All comes as source, as this context did itself.
            key = _name(key)
        with importer._lock:
            is_asked = key in importer._waiting
            importer._waiting.setdefault(key, []).append(SimpleNamespace(put=then))
        if not is_asked:
            parent, here = self._router.parent_ids[0], self._router.context_id
            ask = make(parent, here, here, handles.GET_MODULE, handles.LOAD_MODULE, key.encode())
            self._router._async_route(ask)

    def _on_forward_module(self, msg: Message) -> None:
        """Preload a module that is here already on the way to a descendant."""
        if msg.is_dead:
            return
        number, _, name = msg.data.decode("utf-8", "replace").partition(":")
        link = self._router.table.links.get(int(number))
        if link is None:
            return
        if name not in self._sent.get(link.remote_id, ()) and name in self._modules:
            self._answer(link.remote_id, name)
        if link.remote_id != int(number):
            here = self._router.context_id
            forward = make(link.remote_id, here, here, handles.FORWARD_MODULE, 0, msg.body)
            self._router._async_route(forward)
