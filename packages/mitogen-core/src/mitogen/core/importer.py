"""Modules over the wire, in a child: `Importer`.

Owns the last place on `sys.meta_path`: what no other finder knows is asked of the parent, once, whatever
number of threads ask. An answer names what follows it unasked, and that is waited for, not asked for.
Answers are kept in the `Finder` that the child was booted with, negative ones here. That finder imports
the library's own modules; specs of all others are made by `mitogen.core.imports`, which comes along with
the first of them.

The child's interpreter was started with `-S`, since setting up site-packages costs up to five times what
starting Python does, and most children need nothing from there. It is made up for here, when an import
first misses: only then is it known to be needed. So the child's own copy of a module is preferred, as
Python would.

Importing threads wait in `find_spec`; the broker thread only delivers. The broker thread itself can't
import modules that are not there: it would wait for itself.
"""

from __future__ import annotations

import zlib
from _frozen_importlib import _find_spec  # type: ignore[attr-defined]
from _imp import acquire_lock, release_lock
from _thread import allocate_lock, get_ident

from mitogen.core import handles, logs
from mitogen.core.latch import Latch
from mitogen.core.message import make
from mitogen.core.router import has_parent_authority

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from mitogen.core.boot import Finder
    from mitogen.core.context import Context
    from mitogen.core.message import Message
    from mitogen.core.router import Router


class Importer:
    """A meta-path finder that asks the parent context.

    :param finder: where modules that arrive are put.
    :param site: set up site-packages before the first question to the parent.
    :param missing: names that the parent is not asked for.
    """

    def __init__(
        self,
        router: Router,
        parent: Context,
        finder: Finder,
        site: bool = False,
        missing: Iterable[str] = (),
    ) -> None:
        self._router = router
        self._parent = parent
        self._finder = finder
        self._site = site
        self._lock = allocate_lock()
        #: Latches of threads that wait for a name, and whatever else has a `put`.
        self._waiting: dict[str, list[Any]] = {}
        #: Names that the parent does not have: the reason it gave, or None.
        self._missing: dict[str, str | None] = dict.fromkeys(missing)
        #: Why the parent can't be asked any more, or None.
        self._gone: str | None = None
        router.add_handler(
            self._on_load_module, handles.LOAD_MODULE, respondent=parent, policy=has_parent_authority
        )

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        """Return the spec of `fullname`, from site-packages or the parent; None if it is nowhere.

        What the parent has but can't send is found as well: to import it is what fails.

        :raises ImportError: the parent can't be asked; the text says why.
        """
        if self._site and path is None and fullname != "__main__":
            self._site = False
            import site

            logs.attempt("site-packages", site.main)
            # By all finders once more: this one is among them, and goes on below.
            return _find_spec(fullname, None, target)
        package, _, child = fullname.rpartition(".")
        known = self._finder.modules.get(package)
        # Where the list is empty, nobody made one.
        if known and known[0] != () and child not in (known[0] or ()):
            return None
        if get_ident() == self._router.broker._thread_id:
            raise ImportError("the broker thread can't wait for %s" % fullname)
        self._fetch(fullname)
        if fullname not in self._finder.modules:
            reason = self._missing.get(fullname, self._gone)
            # What a package that is installed here lacks is simply not there.
            if not reason or (package and not known):
                return None
            if self._gone:
                raise ImportError(reason, name=fullname)
        if (fullname + ".")[:8] == "mitogen.":
            return self._finder.find_spec(fullname)
        from mitogen.core.imports import spec_of

        return spec_of(self, fullname)

    def _fetch(self, fullname: str) -> None:
        """Return once it is known whether the parent has `fullname`.

        With ``:source`` behind the name it is the source of a module that came as code.
        """
        data = fullname.encode()  # What fails here must not be among those that wait.
        latch = Latch()
        waiting: Any = ()
        held = 0
        try:
            with self._lock:
                if self._gone or fullname in self._finder.modules or fullname in self._missing:
                    return
                is_asked = fullname in self._waiting
                waiting = self._waiting.setdefault(fullname, [])
                waiting.append(latch)
            # The import system may hold its global lock here, which others need to import anything at
            # all; the broker thread among them, which is to bring the answer.
            try:
                while True:
                    release_lock()
                    held += 1
            except RuntimeError:
                pass  # Not held, or no more.
            if not is_asked:
                here = self._router.context_id
                parent = self._parent.context_id
                ask = make(parent, here, here, handles.GET_MODULE, handles.LOAD_MODULE, data)
                self._router.route(ask)
            latch.get()
        except BaseException:
            # Interrupted, maybe even before the question was sent: let the next one ask again.
            with self._lock:
                if latch in waiting:
                    waiting.remove(latch)
                    if not waiting:
                        self._waiting.pop(fullname, None)
            raise
        finally:
            for _ in range(held):
                acquire_lock()

    def _on_load_module(self, msg: Message) -> None:
        if msg.is_dead:
            with self._lock:
                # Who asks from here on sees this; who asked before is among those that wait.
                self._gone = "the parent can't be asked for modules: %s" % msg.unpickle(False)
            for fullname in list(self._waiting):
                self._wake(fullname)
            return
        fullname, children, path, source, related = msg.unpickle()
        modules = self._finder.modules
        if source is None:
            self._missing[fullname] = path
        else:
            modules[fullname] = children, path, zlib.decompress(source)
        for name in related:
            if name not in modules and name not in self._missing:
                self._waiting.setdefault(name, [])
        self._wake(fullname)

    def _wake(self, fullname: str) -> None:
        with self._lock:
            waiting = self._waiting.pop(fullname, ())
        for latch in waiting:
            latch.put()
