"""`multiprocessing` in a child: what it needs there, and in the processes that it starts.

Outside the bundle: imported when a child imports `multiprocessing`, which the same finder notices that
waits for `logging`, see `mitogen.core.logs`.

*In the child* `multiprocessing` looks at `sys.modules["__main__"]`, which a child has only once a
function of the program itself was called. `Main` stands there meanwhile.

*A process that it starts anew*, by "spawn" or "forkserver", is none of ours: it has no connection, and
could import nothing that the child got over the wire. So it is given all modules that the child has got
by then. They travel with the key that each such process is sent before anything else, by a reducer that
is registered for the type of that. The code of this very module is run there first; so it imports
nothing but the standard library.

Rejected: a reducer for functions (pickle never asks for one); a class derived from the pickler of
`multiprocessing` (its name is bound in several of its modules); files (a child writes none).
"""

from __future__ import annotations

import sys
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MISSING = (
    "%s is not here: a process that multiprocessing starts has the modules that the context had imported"
    " by then; import it there first, or use Router.fork() or a context of its own"
)

#: What a started process evaluates, with `_reduce_key`'s dictionary for globals: it returns the key.
_UNPACK = "exec(__import__('marshal').loads(code), own) or own['receive'](modules) or kind(key)"

_lock = allocate_lock()


class Main(type(sys)):  # type: ignore[misc]
    """Stands for `__main__` until somebody looks for something in it, and then has it imported."""

    def __getattr__(self, name: str) -> Any:
        if name[:2] == "__":
            raise AttributeError(name)
        with _lock:
            if sys.modules.get("__main__") is self:
                del sys.modules["__main__"]
        try:
            return getattr(__import__("__main__"), name)
        except ImportError as e:
            # Many a library only looks whether there is such a name.
            raise AttributeError(str(e)) from None
        finally:
            sys.modules.setdefault("__main__", self)


# -- In the child ------------------------------------------------------------------------------


def prepare() -> None:
    """Make ready for `multiprocessing`, which is about to be imported."""
    sys.modules.setdefault("__main__", Main("__main__"))


def register(multiprocessing: object) -> None:
    """Have processes that are started get our modules: `multiprocessing` is imported."""
    from multiprocessing.process import AuthenticationString  # type: ignore[attr-defined]
    from multiprocessing.reduction import ForkingPickler

    ForkingPickler.register(AuthenticationString, _reduce_key)


def _reduce_key(key: Any) -> Any:
    usual = key.__reduce__()  # Raises if no process is being started.
    modules: dict[str, Any] = {}
    for finder in sys.meta_path:
        known = getattr(finder, "modules", None)
        if type(known) is dict:
            modules.update((name, known[name]) for name in list(known) if known[name][2] is not None)
    if not modules:
        return usual
    import marshal

    spec: Any = __spec__
    values = {
        "code": marshal.dumps(spec.loader.get_code(__name__)),
        "own": {"__name__": __name__},
        "modules": marshal.dumps(modules),
        "kind": type(key),
        "key": bytes(key),
    }
    return eval, (_UNPACK, values)


# -- In a process that it started --------------------------------------------------------------


def receive(data: bytes) -> None:
    """Make modules importable, with `__main__` among them."""
    import marshal

    finder = _Finder(marshal.loads(data))
    sys.meta_path.append(finder)
    # As in a child: copies of its own win, except of this library, which might be another version.
    ours = [name for name in finder.modules if name.partition(".")[0] == "mitogen"]
    sys.meta_path.insert(0, _Finder({name: finder.modules[name] for name in ours}))
    if "mitogen.core.oldpython" in finder.modules:
        # It completes what the oldest versions lack in modules that are made from here on.
        __import__("mitogen.core.oldpython")
    if "__main__" in finder.modules:
        # As `multiprocessing` has it; it is run when it is needed, since the path is not set up yet.
        main = _StartedMain("__mp_main__")
        main.__dict__.update(_finder=finder, _before=sys.modules["__main__"])
        sys.modules["__main__"] = sys.modules["__mp_main__"] = main


class _StartedMain(type(sys)):  # type: ignore[misc]
    """The program's `__main__`, run when it is first needed."""

    def __getattr__(self, name: str) -> Any:
        finder = None if name[:2] == "__" else self.__dict__.pop("_finder", None)
        if finder:
            exec(finder.get_code("__main__"), self.__dict__)
        try:
            return self.__dict__[name]
        except KeyError:
            raise AttributeError("module '__main__' has no attribute %r" % name) from None


class _Finder:
    """Import modules that came with the key. An `importlib` finder and loader in one."""

    def __init__(self, modules: dict[str, Any]) -> None:
        self.modules = modules

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname in self.modules:
            from importlib.machinery import ModuleSpec

            is_package = self.modules[fullname][0] is not None
            loader: Any = self
            origin = self.get_filename(fullname)
            spec = ModuleSpec(fullname, loader, origin=origin, is_package=is_package)
            spec.has_location = True
            return spec
        package, _, child = fullname.rpartition(".")
        if package in self.modules and child in (self.modules[package][0] or ()):
            raise ImportError(_MISSING % fullname, name=fullname)
        return None

    def create_module(self, spec: Any) -> None:
        """Let the import system make the module as usual."""

    def exec_module(self, module: Any) -> None:
        exec(self.get_code(module.__name__), vars(module))

    def get_filename(self, fullname: str) -> str:
        return self.modules[fullname][1] or fullname.replace(".", "/") + ".py"

    def get_code(self, fullname: str) -> Any:
        code = self.modules[fullname][2]
        if isinstance(code, bytes) and code[:1] == b"\0":
            import marshal

            return marshal.loads(code[1:])
        if isinstance(code, (str, bytes)):
            return compile(code, self.get_filename(fullname), "exec", 0, True)
        return code

    def get_source(self, fullname: str) -> Any:
        source = self.modules.get(fullname + ":source", self.modules[fullname])[2]
        if isinstance(source, bytes) and source[:1] != b"\0":
            from importlib.util import decode_source

            return decode_source(source)
        return source if isinstance(source, str) else None
