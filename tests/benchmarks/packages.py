"""The package that children import: modules that import each other, 200 lines each."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import sys
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Functions of each module: 200 lines.
FUNCTIONS = 10

FUNCTION = '''
def function_%(n)d(first, second=%(n)d, *rest, **options):
    """Do what this function is for, and tell about it in a few words."""
    total = 0
    for index, item in enumerate(rest):
        if item is None:
            continue
        elif isinstance(item, str):
            total += len(item) * index
        else:
            total += index %% (second or 1)
    names = sorted(options, key=lambda name: (len(name), name))
    found = {name: options[name] for name in names if options[name] != first}
    try:
        result = [total, first, second] + [found.get(name) for name in names]
    except (KeyError, TypeError) as e:
        raise ValueError("function %(n)d: %%s" %% (e,))
    return result
'''


@contextlib.contextmanager
def written(
    names: list[str], modules: int, functions: int = FUNCTIONS
) -> Iterator[Callable[[str], object]]:
    """Write a package under each of `names`, and yield a function that imports one in a child.

    :param functions: how many each module has.
    """
    folder = tempfile.mkdtemp()
    sys.path.insert(0, folder)
    try:
        for name in names:
            _write(os.path.join(folder, name), modules, functions)
        with open(os.path.join(folder, "bench_loader.py"), "w") as f:
            f.write("def load(name):\n    if name:\n        __import__(name)\n")
        importlib.invalidate_caches()
        load: Callable[[str], object] = importlib.import_module("bench_loader").load
        yield load
    finally:
        sys.path.remove(folder)
        sys.modules.pop("bench_loader", None)
        shutil.rmtree(folder)


def _write(folder: str, modules: int, functions: int) -> None:
    os.mkdir(folder)
    name = os.path.basename(folder)
    body = "".join(FUNCTION % {"n": n} for n in range(functions))
    for i in range(modules):
        with open(os.path.join(folder, "m%d.py" % i if i else "__init__.py"), "w") as f:
            # A tree: each imports two more.
            for other in (2 * i + 1, 2 * i + 2):
                if other < modules:
                    f.write("from %s import m%d\n" % (name, other))
            f.write(body)
