"""The first code of a child: put the shipped core in place and start it. Runs as `__main__`.

The first stage leaves a sequence `t` in the globals: see `boot`. Modules are (children of a package or
None, path, content), by name. Content is a code object, source, or NUL and a marshalled code object.

Owns `Finder`, which stays in front of `sys.meta_path` and imports the library's own modules. It keeps
every module that was ever sent to this process; the importer adds to it. Whatever this process was
started from it can hand on to its own children, so nothing is dropped.

Must not import: this runs before anything else is there, on every supported Python.
"""

from __future__ import annotations

import sys
from _frozen_importlib import ModuleSpec  # Plain `importlib.machinery` costs an import more.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, ModuleType
    from typing import Any, Union

    #: (names of a package's children, or None for a module; path, if not from the name; source or code)
    Shipped = tuple[Union[tuple[str, ...], None], Union[str, None], Union[bytes, str, CodeType]]


class Finder:
    """Import modules that were sent to this process. An `importlib` finder and loader in one.

    :param modules: what was sent, by full name.
    """

    def __init__(self, modules: dict[str, Shipped]) -> None:
        self.modules = modules

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        """Return the spec of a module that was sent, else None."""
        if fullname not in self.modules or (fullname + ".")[:8] != "mitogen.":
            # The others come last: what is installed here goes before.
            return None
        loader: Any = self
        spec = ModuleSpec(
            fullname, loader, origin=self.get_filename(fullname), is_package=self.is_package(fullname)
        )
        spec.has_location = True
        return spec

    def create_module(self, spec: Any) -> None:
        """Let the import system make the module as usual."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the code of a module, compiling it if it came as source."""
        exec(self.get_code(module.__name__), module.__dict__)

    def get_code(self, fullname: str) -> Any:
        """Return the code object of a module."""
        code = self.modules[fullname][2]
        if isinstance(code, bytes) and code[:1] == b"\0":
            from marshal import loads

            return loads(code[1:])
        if isinstance(code, (str, bytes)):
            return compile(code, self.get_filename(fullname), "exec", 0, True)
        return code

    def get_filename(self, fullname: str) -> str:
        """Return the path that was sent, or one made from the name."""
        return self.modules[fullname][1] or fullname.replace(".", "/") + ".py"

    def get_source(self, fullname: str) -> str | None:
        """Return the source, for tracebacks and `inspect`, of what was sent as text; else None."""
        source = self.modules[fullname][2]
        return source if isinstance(source, str) else None

    def is_package(self, fullname: str) -> bool:
        """Return True for a package."""
        return self.modules[fullname][0] is not None


def boot(t: Any) -> None:
    """Start the child's core; does not return.

    :param t: this code, what was shipped, and the configuration. What was shipped is one dictionary, or
        names and sources in turn, which compress best like that.
    """
    modules = t[1]
    if type(modules) is str:
        names = t[1:-1:2]
        children = [() if name in ("mitogen", "mitogen.core") else None for name in names]
        modules = dict(zip(names, zip(children, [None] * len(names), t[2:-1:2])))
    finder = Finder(modules)
    sys.meta_path.insert(0, finder)
    from mitogen.core.child import ExternalContext

    ExternalContext(t[-1], finder).main()


if "t" in globals():
    boot(globals()["t"])
