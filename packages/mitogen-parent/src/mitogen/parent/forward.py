"""Modules on their way through the tree: `ModuleForwarder`, in a child that has children.

A child asks its parent for modules. What that one has from its own parent already it answers at once;
the rest it asks for, once, however many of its children ask, and answers all when it has the answer, be
it a negative one. Unasked, it sends a child only what did not go there before: modules that are related
to an answer, and those that its parent has it preload (FORWARD_MODULE: the id of a descendant, a colon,
and a name).

All of it runs on the broker thread.
"""

from __future__ import annotations

import zlib

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

#: Names that a child may make us remember.
_MAX_MISSING = 20000


class _Request:
    """Stands among the latches of threads that wait for a module, and calls ``then(name)``."""

    def __init__(self, name: str, then: Callable[[str], object]) -> None:
        self._name = name
        self._then = then

    def put(self) -> None:
        """Go on: the module is here, or there is none."""
        self._then(self._name)


class ModuleForwarder:
    """Answer GET_MODULE and FORWARD_MODULE with what the importer has, or gets."""

    def __init__(self, router: Router, importer: Importer) -> None:
        self._router = router
        self._importer = importer
        self._modules: dict[str, Any] = importer._finder.modules
        #: Sources compressed once, by name.
        self._compressed: dict[str, bytes] = {}
        #: Names of what was sent to each child.
        self._sent: dict[int, set[str]] = {}
        #: Names of the modules that were sent ahead of each.
        self._related: dict[str, tuple[str, ...]] = {}
        entry = router._handlers[handles.LOAD_MODULE]
        router._handlers[handles.LOAD_MODULE] = (self._on_load_module, *entry[1:])
        self._turns = Turns(router, self._on_get_module)
        router.add_handler(self._turns.take, handles.GET_MODULE)
        router.add_handler(self._on_forward_module, handles.FORWARD_MODULE, policy=has_parent_authority)
        listen(router, "lost", self._on_lost)

    def _on_lost(self, ids: list[int], reason: str) -> None:
        for context_id in ids:
            self._sent.pop(context_id, None)

    def _on_load_module(self, msg: Message) -> None:
        if not msg.is_dead:
            name, _, _, _, related = msg.unpickle()
            # Most have none; nor has what there is not, of which children may ask for any number.
            if related:
                self._related[name] = related
        self._importer._on_load_module(msg)

    def _on_get_module(self, msg: Message) -> None:
        then = self._turns.until(lambda name: self.answer(name, msg.src_id), msg)
        self.want(msg.data.decode("utf-8", "replace"), then)

    def want(self, name: str, then: Callable[[str], object]) -> None:
        """Call ``then(name)`` once it is known what the parent has under `name`: now, or later."""
        importer = self._importer
        with importer._lock:
            # Nor is a name remembered that only a hostile child asks for.
            known = (
                name in importer._missing
                or importer._gone
                or self._source(name) is not None
                or name[999:]
            )
            is_asked = bool(importer._waiting.get(name))
            if not known:
                importer._waiting.setdefault(name, []).append(_Request(name, then))
        if known:
            then(name)
        elif not is_asked:
            parent, here = self._router.parent_ids[0], self._router.context_id
            ask = make(parent, here, here, handles.GET_MODULE, handles.LOAD_MODULE, name.encode())
            self._router._async_route(ask)

    def _source(self, name: str) -> bytes | None:
        """Return the source of a module that was sent here, if it is good for any Python."""
        source = self._modules.get(name, (None, None, None))[2]
        return source.encode() if isinstance(source, str) else source if type(source) is bytes else None

    def answer(self, name: str, context_id: int) -> None:
        """Send a child what is known about a module."""
        if context_id not in self._router.table.links:
            return  # It went meanwhile.
        source = self._source(name)
        importer = self._importer
        if source is None:
            if len(importer._missing) > _MAX_MISSING:
                importer._missing.clear()
            reason = importer._missing.get(name, importer._gone)
            self._send(context_id, (name, None, reason, None, ()))
            return
        children, path, _ = self._modules[name]
        related = [other for other in self._related.get(name, ()) if other in self._modules]
        # First, since modules may be related to each other.
        self._sent.setdefault(context_id, set()).add(name)
        for other in related:
            self._preload(other, context_id)
        if name not in self._compressed:
            self._compressed[name] = zlib.compress(source)
        self._send(context_id, (name, children, path, self._compressed[name], tuple(related)))

    def _preload(self, name: str, context_id: int) -> None:
        if name not in self._sent.get(context_id, ()) and self._source(name) is not None:
            self.answer(name, context_id)

    def _send(self, context_id: int, answer: Any) -> None:
        here = self._router.context_id
        body = serialization.dumps(answer)
        self._router._async_route(make(context_id, here, here, handles.LOAD_MODULE, 0, body))

    def _on_forward_module(self, msg: Message) -> None:
        """Preload a module that is here already on the way to a descendant."""
        if msg.is_dead:
            return
        number, _, name = msg.data.decode("utf-8", "replace").partition(":")
        link = self._router.stream_by_id(int(number))
        if link is None or link is self._router.table.parent_link:
            return
        self._preload(name, link.remote_id)
        if link.remote_id != int(number):
            here = self._router.context_id
            forward = make(link.remote_id, here, here, handles.FORWARD_MODULE, 0, msg.body)
            self._router._async_route(forward)
