# ruff: noqa: I002 - Python 3.6 has no `annotations` in `__future__`, and this module runs there as it is.
# mypy: allow-untyped-defs, allow-untyped-calls, allow-any-generics
"""Functions about modules, and processes that `multiprocessing` starts, to be called in contexts."""

import math
import sys

import mitogen.core


class Point:
    """A class of the program's own."""

    def __init__(self, x):
        self.x = x

    def __eq__(self, other):
        return self.x == other.x

    __hash__ = None  # type: ignore[assignment]


def double(x):
    return 2 * x


def moved(point):
    return Point(point.x + 1)


def import_late(name):
    """Import what the context had not imported."""
    return __import__(name, None, None, ["x"]).__name__


def has_core(x):
    import mitogen.core

    return mitogen.core.__name__


def tell(queue, value):
    queue.put((value, sys.modules["__main__"].__name__))


def in_pool(method, fn, values):
    """Run a function in processes that are started in one of three ways."""
    import multiprocessing

    with multiprocessing.get_context(method).Pool(2) as pool:
        results = pool.map(fn, values)
    pool.join()
    return results


def factorials(method):
    return in_pool(method, math.factorial, range(5))


def doubles(method):
    return in_pool(method, double, range(3))


def points(method):
    return in_pool(method, moved, [Point(1)]) == [Point(2)]


def cores(method):
    return in_pool(method, has_core, [0])


def late(method, name):
    return in_pool(method, import_late, [name])


def from_process(method):
    """Have a process of its own send something, over a queue with locks."""
    import multiprocessing

    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=tell, args=(queue, 3))
    process.start()
    result = queue.get()
    process.join()
    queue.close()
    queue.join_thread()
    return result[0], process.exitcode


def main_module():
    """Return what stands in the place of `__main__`."""
    import multiprocessing  # noqa: F401

    main = sys.modules["__main__"]
    return type(main).__name__, main.__spec__ is None, hasattr(main, "__file__"), hasattr(main, "no_such")


def load(name):
    """Import a module."""
    __import__(name)


def look_for(name):
    """Look where a module is, without importing it."""
    import importlib.util

    return importlib.util.find_spec(name) is not None


def value_of(name):
    """Return what a module has under the name `value`."""
    __import__(name)
    return sys.modules[name].value


@mitogen.core.takes_router
def ask_for(name, router):
    """Ask the parent for a module, which an honest child would not."""
    data = name.encode()
    router.route(mitogen.core.Message(dst_id=0, handle=mitogen.core.GET_MODULE, data=data))


@mitogen.core.takes_router
def starts_child(router):
    """Start a child from here."""
    return router.local().call(math.factorial, 3) == 6
