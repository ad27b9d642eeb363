"""The first code of a child: put the shipped core in place and start it. Runs as `__main__`.

The first stage leaves a tuple `t` in the globals: (this code, shipped modules, configuration). The
modules map names to (children of a package or None, path, code object or source).

Owns `Finder`, which stays in front of `sys.meta_path` and serves every module that was ever sent to this
process; the importer adds to it. Whatever this process was started from it can hand on to its own
children, so nothing is dropped.

Must not import: this runs before anything else is there, on every supported Python.
"""

from __future__ import annotations

import sys
from _frozen_importlib import ModuleSpec  # Plain `importlib.machinery` costs an import more.
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import CodeType, ModuleType
    from typing import Any, Union

    #: (names of a package's children, or None for a module; path, if not from the name; source or code)
    Shipped = tuple[Union[tuple[str, ...], None], Union[str, None], Union[bytes, str, CodeType]]


class LazyModule(type(sys)):  # type: ignore[misc]
    """A module whose `__getattr__` function is asked for what is missing; Python 3.7 does so itself."""

    def __getattr__(self, name: str) -> object:
        if "__getattr__" not in self.__dict__:
            raise AttributeError(name)
        return self.__dict__["__getattr__"](name)


class Finder:
    """Import modules that were sent to this process. An `importlib` finder and loader in one.

    :param modules: what was sent, by full name.
    """

    def __init__(self, modules: dict[str, Shipped]) -> None:
        self.modules = modules

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        """Return the spec of a module that was sent, else None."""
        if fullname not in self.modules:
            return None
        children = self.modules[fullname][0]
        origin = self.get_filename(fullname)
        loader: Any = self
        spec = ModuleSpec(fullname, loader, origin=origin, is_package=children is not None)
        spec.has_location = True
        return spec

    def create_module(self, spec: Any) -> Any:
        """Let the import system make the module as usual, except for one case on Python 3.6."""
        if spec.name == "mitogen.core" and sys.version_info < (3, 7):
            return LazyModule(spec.name)
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Run the code of a module, compiling it if it came as source."""
        exec(self.get_code(module.__name__), module.__dict__)

    def get_code(self, fullname: str) -> Any:
        """Return the code object of a module."""
        code = self.modules[fullname][2]
        if isinstance(code, (str, bytes)):
            return compile(code, self.get_filename(fullname), "exec", 0, True)
        return code

    def get_filename(self, fullname: str) -> str:
        """Return the path that was sent, or one made from the name."""
        return self.modules[fullname][1] or fullname.replace(".", "/") + ".py"

    def get_source(self, fullname: str) -> str | None:
        """Return the source that was sent, for tracebacks and `inspect`; None if code was sent."""
        source = self.modules[fullname][2]
        if isinstance(source, bytes):
            from importlib.util import decode_source

            return decode_source(source)
        return source if isinstance(source, str) else None

    def is_package(self, fullname: str) -> bool:
        """Return True for a package."""
        return self.modules[fullname][0] is not None


def boot(t: tuple[Any, dict[str, Shipped], dict[str, Any]]) -> None:
    """Start the child's core; does not return."""
    finder = Finder(t[1])
    sys.meta_path.insert(0, finder)
    from mitogen.core.child import ExternalContext

    ExternalContext(t[2], finder).main()


if "t" in globals():
    boot(globals()["t"])
