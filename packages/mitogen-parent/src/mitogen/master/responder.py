"""Modules for children: `ModuleResponder`, which answers GET_MODULE in the master.

Owns what children are told; the finder knows where modules are, `mitogen.core.serving` how they are
sent. Related to a module are those that it imports, as far as they are loaded here or belong to the same
package, and a child can be without them: the standard library is never sent unasked. What the rules deny
is not looked for, and answered like what is not there.

Runs on the broker thread, which finds and compresses each module once. A child may ask for what it likes,
as often as it likes, and read no answer: see `mitogen.core.pressure.Turns`.
"""

from __future__ import annotations

import marshal
import sys
from _imp import _fix_co_filename  # type: ignore[attr-defined]  # As for caches that were moved.

from mitogen import bundle
from mitogen.core import handles, logs
from mitogen.core.errors import Error
from mitogen.core.message import make
from mitogen.core.serving import ModuleServer
from mitogen.master.finder import ModuleFinder
from mitogen.master.found import NotServable
from mitogen.master.prompt import PREFIX, PromptModules
from mitogen.master.rules import Rules
from mitogen.master.search import loaded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import CodeType
    from typing import Union

    from mitogen.core.context import Context
    from mitogen.core.router import Router
    from mitogen.master.found import FoundModule
    from mitogen.master.rules import Rule

    Answer = tuple[
        str, Union[tuple[str, ...], None], Union[str, None], Union[bytes, None], tuple[str, ...]
    ]

#: In front of the path of a module in a child, so that it is never taken for a file there: tracebacks
#: then get the source from the importer.
PATH_PREFIX = "master:"
#: The same for the standard library, which is of no use to a child of another version.
STDLIB_PREFIX = "master-%d.%d:" % sys.version_info[:2]
#: What a child needs to import anything but the library itself.
IMPORTS = "mitogen.core.imports"
#: What a module that imports these will need soon.
_HELPERS = {
    "pkgutil": "mitogen.core.data",
    "importlib.resources": "mitogen.core.data",
    "importlib.metadata": "mitogen.core.metadata",
    "logging": "mitogen.core.loghandler",
}
#: Modules of the core that a context may have to send on to a child of another version.
_SOURCE_ONLY = frozenset(
    "mitogen.core." + name for name in ("boot", "oldpython", "pollers", "preference", "profiling")
)

#: Answers kept. More than any program has modules: only a child that makes up names gets there.
MAX_ANSWERS = 20000
#: Bytes in the longest name that is looked for.
MAX_NAME = 999


def made_up(name: str, source: bytes) -> Answer:
    """Return the answer for a module that is in no file."""
    return name, None, PATH_PREFIX + name, source, ()


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


class ModuleResponder(ModuleServer):
    """Answer the requests of children for modules.

    :ivar finder: the `ModuleFinder` that looks for them.
    :ivar prompt: modules that were made up for functions of the program; the rules for `__main__` hold.
    """

    def __init__(self, router: Router) -> None:
        self.finder = ModuleFinder(self._forget)
        self.rules = Rules(self._forget)
        self.prompt = PromptModules()
        #: By name, with ``:source`` if it must not be code.
        self._answers: dict[str, Answer] = {}
        self._core = frozenset(bundle.names())
        ModuleServer.__init__(self, router)

    def allow(self, *rules: Rule) -> None:
        """Let contexts have only what one of the allow rules matches, and no deny rule. Any thread.

        Without any allow rule they may have whatever the program could import. `mitogen` is always
        allowed; functions of the program itself are in `__main__`, also those typed at a prompt. For a
        module of a package, contexts get the packages around it as well, since they could not import it
        otherwise.

        Set rules before contexts are started: these keep what they got, and what they were told is
        missing.

        :param rules: each the full name of a module, which stands for what is in it as well, or a
            function, which the broker thread calls with a full name, and which returns whether the rule
            matches. If it raises, that is logged once, and it does not match.
        :raises TypeError: a rule is neither text nor a function; or there is none.
        :raises ValueError: a text is not the name of a module.
        """
        self.rules.allow(*rules)

    def deny(self, *rules: Rule) -> None:
        """Keep modules from contexts, which are told that there are none of these names. Any thread.

        Also what an allow rule matches. See `allow` for when to call it.

        :param rules: as for `allow`; but a function that raises denies.
        :raises TypeError: a rule is neither text nor a function; or there is none.
        :raises ValueError: a text is not the name of a module.
        """
        self.rules.deny(*rules)

    def _forget(self) -> None:
        """Forget answers. An answer that is being found by the old rules goes with the old ones."""
        self._answers = {}

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
            if name not in self._sent.get(link.remote_id, ()) and self.find(name)[3] is not None:
                # At once: a call that needs it may be next.
                self._answer(link.remote_id, name)
            if link.remote_id != context_id:
                data = ("%d:%s" % (context_id, name)).encode()
                here = self._router.context_id
                msg = make(link.remote_id, here, here, handles.FORWARD_MODULE, 0, data)
                self._router._async_route(msg)

    def find(self, key: str) -> Answer:
        name, _, form = key.partition(":")
        if len(name) > MAX_NAME:
            text = "module names of %d characters are not looked for" % len(name)
            return name, None, text, None, ()
        key = name + (form and ":source")
        answers = self._answers
        answer = answers.get(key)
        if answer is None or not self.finder.is_current(name):
            if len(answers) >= MAX_ANSWERS:
                answers.clear()
            try:
                answer = self._make(name, bool(form))
            except NotServable as e:
                # What the child's Python does not have of its own library is simply not there.
                is_stdlib = name.partition(".")[0] in sys.stdlib_module_names
                answer = name, None, None if is_stdlib else str(e), None, ()
            except Exception as e:
                # Without any answer the import would wait for ever.
                logs.log_exception("looking for module %r failed", name)
                answer = name, None, "the master failed to look for module %s: %s" % (name, e), None, ()
            # What is not there may be there when it is asked for again. The finder knows that.
            if answer[2] is not None or answer[3] is not None:
                answers[key] = answer
        return answer

    def send(self, context_id: int, answer: Answer) -> None:
        try:
            ModuleServer.send(self, context_id, answer)
        except Error as e:
            # Larger than a message may be. Without any answer the import would wait for ever.
            name = answer[0]
            answer = name, None, "module %s can't be sent: %s" % (name, e), None, ()
            self._answers[name] = answer
            ModuleServer.send(self, context_id, answer)

    def _make(self, name: str, as_source: bool) -> Answer:
        if name == bundle.TEXT_MODULE:
            return made_up(name, b"TEXT=%r" % bundle.compressed_text())
        if name == bundle.PARENT_MODULE:
            return made_up(name, parent_half(self.finder, bundle.PARENT_NAMES))
        if name.startswith(PREFIX):
            source = self.prompt.source_of(name)
            if source is not None and self.rules.is_allowed("__main__"):
                return made_up(name, source)
        if not self.rules.is_importable(name):
            return name, None, None, None, ()
        found = self.finder.find(name)
        if found is None:
            return name, None, None, None, ()
        prefix = STDLIB_PREFIX if name.partition(".")[0] in sys.stdlib_module_names else PATH_PREFIX
        path = prefix + found.path
        code = None if name in _SOURCE_ONLY else found.code()
        # A child runs asserts, and what `__debug__` guards.
        if code is not None and not as_source and not sys.flags.optimize:
            _fix_co_filename(code, path)
            content = b"\0" + marshal.dumps(code)
        else:
            content = found.source
            if content[:1] == b"\0":
                # No code, but a damaged file. The context that imports it will see the error.
                content = b" " + content
        children = None
        if found.is_package:
            names = self.finder.children(name)
            children = tuple(c for c in names if self.rules.is_importable("%s.%s" % (name, c)))
            if children:
                # Some packages import from themselves like that, and what is not listed is not asked for.
                children += ("__init__",)
        return name, children, path, content, tuple(self._related(found, code))

    def _related(self, found: FoundModule, code: CodeType | None) -> Iterable[str]:
        # Here: most programs' contexts never ask.
        from mitogen.master.scan import imports_of

        head = found.fullname.partition(".")[0]
        if head != "mitogen":
            yield IMPORTS
        for name in imports_of(code, found.package) if code is not None else ():
            if name in _HELPERS:
                yield _HELPERS[name]
            top = name.partition(".")[0]
            if top in sys.stdlib_module_names or name in self._core or name == found.fullname:
                continue
            if not self.rules.is_importable(name):
                continue
            if loaded(name) is not None:
                yield name
            elif top == head and top != "mitogen":
                package, _, child = name.rpartition(".")
                if child in self.finder.children(package):
                    yield name
