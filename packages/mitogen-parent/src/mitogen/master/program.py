"""The part of a program's `__main__` module that contexts may have: `importable`, and `main_file`.

Owns the search for the line up to which a script only defines things. Source in, source out.

A context that imports the master's `__main__` executes it. Code that starts contexts must not run
there again, so all from the ``if __name__ == "__main__":`` guard on is cut, and a script without
one is refused. Rejected: to send the definitions alone (a constant may need any code before it).
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast

NO_GUARD = (
    "its code would run again in the context, since it has no guard: begin the part that only the "
    "program itself should run with the line `if __name__ == '__main__':`, or decorate its main "
    "function with `@mitogen.main()`"
)


def main_file() -> str | None:
    """Return the file that the program is in, or None: it was typed, or given with -c or on stdin."""
    module = sys.modules["__main__"]
    spec = getattr(module, "__spec__", None)
    loader = spec.loader if spec else getattr(module, "__loader__", None)
    # Python deletes `__file__` once a script has run to its end, while threads of it may go on.
    path = getattr(module, "__file__", None) or getattr(loader, "path", None)
    if path is None or path.startswith("<") or (hasattr(sys, "ps1") and "_pyrepl" in path):
        return None  # <stdin>; or the prompt of Python 3.13, which is a module itself.
    return str(path)


def importable(source: bytes) -> bytes | None:
    """Return the part of a script that may run in contexts, or None if it has no guard.

    :param source: the script; the lines of what is returned are numbered like its own.
    :raises SyntaxError: the script is not valid, so it has been edited since it was started.
    """
    # Imported here, like all else that only answering a context's request takes: the time to start
    # a program is dear.
    import ast

    tree = ast.parse(source)
    names = _Names()
    is_decorated = False
    for node in tree.body:
        if isinstance(node, ast.If) and _is_guard(node.test):
            return b"".join(source.splitlines(True)[: node.lineno - 1])
        names.add(node)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            is_decorated = is_decorated or any(map(names.is_main, node.decorator_list))
    return source if is_decorated else None


def absolute(source: bytes, package: str) -> bytes:
    """Return a script of a package with absolute imports: in a context, `__main__` has no package."""
    import ast
    import re

    lines = source.splitlines(True)
    found = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ImportFrom) and n.level]
    for node in sorted(found, key=lambda n: (n.lineno, n.col_offset), reverse=True):
        above = package.rsplit(".", node.level - 1)[0] + ("." if node.module else " ")
        line, start = lines[node.lineno - 1], node.col_offset
        new = re.sub(rb"from\s*\.[.\s]*", b"from " + above.encode(), line[start:], count=1)
        lines[node.lineno - 1] = line[:start] + new
    return b"".join(lines)


def _is_guard(test: ast.expr) -> bool:
    """Return True for a test that holds in the program itself only."""
    import ast

    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return any(map(_is_guard, test.values))
    if not isinstance(test, ast.Compare) or len(test.ops) != 1:
        return False
    sides = [test.left, *test.comparators]
    return (
        isinstance(test.ops[0], ast.Eq)
        and any(isinstance(side, ast.Name) and side.id == "__name__" for side in sides)
        and any(isinstance(side, ast.Constant) and side.value == "__main__" for side in sides)
    )


class _Names:
    """What a script calls the `mitogen` package, and its `main` decorator."""

    def __init__(self) -> None:
        self._modules: set[str] = set()
        self._decorators: set[str] = set()

    def add(self, node: ast.stmt) -> None:
        """Note what an import binds."""
        import ast

        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name == "mitogen" or (alias.name.startswith("mitogen.") and not alias.asname):
                    self._modules.add(alias.asname or "mitogen")
        elif isinstance(node, ast.ImportFrom) and node.module == "mitogen" and not node.level:
            for alias in node.names:
                if alias.name == "main":
                    self._decorators.add(alias.asname or alias.name)

    def is_main(self, decorator: ast.expr) -> bool:
        """Return True for ``@mitogen.main()``, whatever its arguments."""
        import ast

        if not isinstance(decorator, ast.Call):
            return False
        func = decorator.func
        if isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name):
            return func.attr == "main" and func.value.id in self._modules
        return isinstance(func, ast.Name) and func.id in self._decorators
