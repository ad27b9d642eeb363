"""Start copies of this program elsewhere, and call functions in them.

This package module owns the identity of the running process within its tree of contexts: the few
documented attributes below. In a master they keep their defaults; in a child the wiring
(`mitogen.core.child`) sets each of them once, before any user code runs. Inside the library identity is
handed on as constructor arguments, so nothing but user code needs to read these.

The other modules of the package come from sibling distributions; `extend_path` finds them wherever each
was installed. A child is sent this module with an empty `__path__` and asks its parent for the siblings.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")

if __path__:
    __path__ = __import__("pkgutil").extend_path(__path__, __name__)

#: Version of the distribution that this file belongs to; siblings are pinned to exactly this one.
__version__ = "0.1.0"

#: False in a context that was started by another one.
is_master = True

#: Id of this context in its tree; the master's is 0.
context_id = 0

#: Id of the context that started this one, or None in the master.
parent_id: int | None = None

#: Ids of all contexts above this one, the immediate parent first, the master last.
parent_ids: list[int] = []


def main(log_level: str = "INFO", profiling: bool = False) -> Callable[[Callable[..., T]], Any]:
    """Run the decorated function as the main function of a program.

    The function is called with a new `mitogen.master.Router` when, and only when, its module is run as
    a program; in children, which import the same module to find its functions, nothing happens. The
    router is shut down when the function returns or raises::

        @mitogen.main()
        def main(router):
            print(router.local().call(os.getpid))

    :param log_level: name of the lowest `logging` level written to standard error.
    :param profiling: write `cProfile` dumps of the broker and main threads of all contexts.
    :returns: a decorator; what it returns is the function's result where it ran, else the function.
    """

    def decorator(func: Callable[..., T]) -> Any:
        if func.__module__ != "__main__" or not is_master:
            return func
        # Imported here because a child that imports the user's module must not need the master.
        from mitogen.utils import run_main

        return run_main(func, log_level, profiling)

    return decorator
