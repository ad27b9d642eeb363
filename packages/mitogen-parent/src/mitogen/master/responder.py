"""Modules for children: `ModuleResponder`, which answers GET_MODULE in the master.

Owns what children are told; the finder knows where modules are. A child asks with a module's name,
and gets LOAD_MODULE: ``(name, children of a package or None, path, compressed source, related)``. For a
module that is not there, or can't be sent, source is None, and in place of the path stands the reason.

Runs on the broker thread, which finds and compresses each module once. A child may ask for what it likes,
as often as it likes, and read no answer: see `mitogen.core.pressure.Turns`.
"""

from __future__ import annotations

import zlib

from mitogen import bundle
from mitogen.core import handles, logs, serialization
from mitogen.core.errors import Error
from mitogen.core.message import make
from mitogen.core.pressure import Turns
from mitogen.core.signals import listen
from mitogen.master.finder import ModuleFinder, NotServable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Union

    from mitogen.core.context import Context
    from mitogen.core.message import Message
    from mitogen.core.router import Router

    Answer = tuple[str, Union[tuple[str, ...], None], Union[str, None], Union[bytes, None], tuple[()]]

#: In front of the path of a module in a child, so that it is never taken for a file there: tracebacks
#: then get the source from the importer.
PATH_PREFIX = "master:"

#: Answers kept. More than any program has modules: only a child that makes up names gets there.
MAX_ANSWERS = 20000
#: Bytes in the longest name that is looked for.
MAX_NAME = 999


def made_up(name: str, source: bytes) -> Answer:
    """Return the answer for a module that is in no file."""
    return name, None, PATH_PREFIX + name, zlib.compress(source, 9), ()


def parent_half(finder: ModuleFinder, names: Iterable[str]) -> bytes:
    """Return the source of a module that holds those of `names`, as a child's finder keeps them."""
    modules = {}
    for name in names:
        found = finder.find(name)
        if found is None:
            raise Error("module %s of this library is missing: is the installation complete?", name)
        children = () if found.is_package else None
        # Without a path, a child makes one of the name.
        modules[name] = children, None, found.source.decode()
    return b"MODULES=%r" % modules


class ModuleResponder:
    """Answer the requests of children for modules.

    :ivar finder: the `ModuleFinder` that looks for them.
    """

    def __init__(self, router: Router) -> None:
        self.finder = ModuleFinder()
        self._answers: dict[str, Answer] = {}
        self._router = router
        #: Names of what was sent to each child.
        self._sent: dict[int, set[str]] = {}
        router.add_handler(Turns(router, self._on_get_module).take, handles.GET_MODULE)
        listen(router, "lost", self._on_lost)

    def _on_lost(self, ids: list[int], reason: str) -> None:
        for context_id in ids:
            self._sent.pop(context_id, None)

    def forward_modules(self, context: Context, names: Iterable[str]) -> None:
        """Send modules to a context before it asks, each of them once over each connection.

        Any thread. What is sent to the context after this returned finds them there.

        They are there when it imports them, so that this costs no round trip. What does not exist, or
        can't be sent, is left out.

        :param context: where they will be needed; whatever is on the way there gets them as well.
        :param names: full names, packages before what is in them.
        """
        wanted = list(names)
        self._router.broker.defer_sync(lambda: self._forward(context.context_id, wanted))

    def _forward(self, context_id: int, names: list[str]) -> None:
        link = self._router.stream_by_id(context_id)
        if link is None:
            return  # It went.
        for name in names:
            if name not in self._sent.get(link.remote_id, ()) and self._answer(name)[3] is not None:
                self._send(link.remote_id, self._answer(name))
            if link.remote_id != context_id:
                data = ("%d:%s" % (context_id, name)).encode()
                here = self._router.context_id
                msg = make(link.remote_id, here, here, handles.FORWARD_MODULE, 0, data)
                self._router._async_route(msg)

    def _on_get_module(self, msg: Message) -> None:
        name = msg.data.decode("utf-8", "replace")
        if len(msg.data) > MAX_NAME:
            text = "module names of %d bytes are not looked for" % len(msg.data)
            self._send(msg.src_id, (name, None, text, None, ()))
        else:
            self._send(msg.src_id, self._answer(name))

    def _answer(self, name: str) -> Answer:
        answer = self._answers.get(name)
        if answer is None:
            if len(self._answers) >= MAX_ANSWERS:
                self._answers.clear()
            answer = self._answers[name] = self._find(name)
        return answer

    def _send(self, context_id: int, answer: Answer) -> None:
        here = self._router.context_id
        name = answer[0]
        try:
            body = serialization.dumps(answer)
            self._router._async_route(make(context_id, here, here, handles.LOAD_MODULE, 0, body))
            if answer[3] is not None:
                self._sent.setdefault(context_id, set()).add(name)
        except Error as e:
            # Larger than a message may be. Without any answer the import would wait for ever.
            answer = self._answers[name] = name, None, "module %s can't be sent: %s" % (name, e), None, ()
            self._send(context_id, answer)

    def _find(self, name: str) -> Answer:
        if name == bundle.TEXT_MODULE:
            return made_up(name, b"TEXT=%r" % bundle.compressed_text())
        if name == bundle.PARENT_MODULE:
            return made_up(name, parent_half(self.finder, bundle.PARENT_NAMES))
        try:
            found = self.finder.find(name)
        except NotServable as e:
            return name, None, str(e), None, ()
        except Exception as e:
            logs.log_exception("looking for module %r failed", name)
            return name, None, "the master failed to look for module %s: %s" % (name, e), None, ()
        if found is None:
            return name, None, None, None, ()
        children = self.finder.children(name) if found.is_package else None
        return name, children, PATH_PREFIX + found.path, zlib.compress(found.source), ()
