"""Modules for children: `ModuleResponder`, which answers GET_MODULE in the master.

Owns what children are told; the finder knows where modules are. A child asks with a module's name,
and gets LOAD_MODULE: ``(name, children of a package or None, path, compressed source, related)``. For a
module that is not there, or can't be sent, source is None, and in place of the path stands the reason.

Runs on the broker thread, which finds and compresses each module once.
"""

from __future__ import annotations

import zlib

from mitogen.core import handles, logs
from mitogen.core.errors import Error
from mitogen.core.message import Message
from mitogen.master.finder import ModuleFinder, NotServable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    from mitogen.core.router import Router

    Answer = tuple[str, Union[tuple[str, ...], None], Union[str, None], Union[bytes, None], tuple[()]]

#: In front of the path of a module in a child, so that it is never taken for a file there: tracebacks
#: then get the source from the importer.
PATH_PREFIX = "master:"

#: Answers kept. More than any program has modules: only a child that makes up names gets there.
MAX_ANSWERS = 20000


class ModuleResponder:
    """Answer the requests of children for modules.

    :ivar finder: the `ModuleFinder` that looks for them.
    """

    def __init__(self, router: Router) -> None:
        self.finder = ModuleFinder()
        self._answers: dict[str, Answer] = {}
        router.add_handler(self._on_get_module, handles.GET_MODULE)

    def _on_get_module(self, msg: Message) -> None:
        if msg.is_dead:
            return
        name = msg.data.decode("utf-8", "replace")
        answer = self._answers.get(name)
        if answer is None:
            if len(self._answers) >= MAX_ANSWERS:
                self._answers.clear()
            answer = self._answers[name] = self._find(name)
        try:
            msg.reply(Message.pickled(answer, reply_to=0))
        except Error as e:
            # Larger than a message may be. Without any answer the import would wait for ever.
            answer = self._answers[name] = name, None, "module %s can't be sent: %s" % (name, e), None, ()
            msg.reply(Message.pickled(answer, reply_to=0))

    def _find(self, name: str) -> Answer:
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
