"""Short names for local variables: `rename`, for the library's own modules.

Owns the question which names are nobody's business but a function's. An outermost function, with all
that is inside it, is one unit: a name is replaced wherever it occurs in the unit, or nowhere. A name that
the outermost function itself assigns can't mean a global anywhere in the unit, and the new name occurs
nowhere in it, so there is no need to tell variables of inner functions apart.

Left alone is what others may know: parameters, since callers pass them by name, except `self`, `cls` and
those of lambdas, of functions whose name begins with an underscore and of those that `rename` is told
(nobody passes those by name; the module is searched for calls that do); what `import`, `def`, `class` and
`except` bind; globals and attributes. So is every unit that looks at its variables by name.

Not for programs of users: a debugger or `locals()` in a context would show names that they never wrote.
"""

from __future__ import annotations

import ast
import keyword
from collections import Counter
from string import ascii_lowercase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Union

    Function = Union[ast.FunctionDef, ast.AsyncFunctionDef]
    #: Line from 0, column in bytes, old name, new name.
    Change = tuple[int, int, str, str]

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
#: What is assigned within these is not assigned by the function around them.
_INNER_SCOPES = (*_FUNCTIONS, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
#: Before 3.12, positions of names within them can't be relied upon.
_STRINGS = (ast.JoinedStr, getattr(ast, "TemplateStr", ast.JoinedStr))

#: With any of these, names of variables are data.
_LOOKS_INSIDE = frozenset(["dir", "eval", "exec", "f_locals", "locals", "vars"])

#: Parameters that nobody passes by name, and what they become.
_RECEIVERS = {"self": "s", "cls": "c"}


def rename(source: str, positional: frozenset[str] = frozenset()) -> str:
    """Return `source` with short names for local variables; everything stays on its line.

    :param source: text of a whole module.
    :param positional: names of functions, and of classes for their constructors, whose arguments nobody
        passes by name.
    """
    lines = [line.encode("utf-8") for line in source.split("\n")]
    changes: list[Change] = []
    tree = ast.parse(source)
    passed = {node.arg or "" for node in ast.walk(tree) if isinstance(node, ast.keyword)}
    for function, name in _outermost(tree):
        changes += _changes(function, passed, lines, name in positional)
    return replace(lines, changes)


def replace(lines: list[bytes], changes: Iterable[Change]) -> str:
    """Return the text of `lines` with `changes` made."""
    # From the end, so that the positions before it stay right.
    for row, column, old, new in sorted(changes, reverse=True):
        line = lines[row]
        lines[row] = line[:column] + new.encode() + line[column + len(old) :]
    return b"\n".join(lines).decode("utf-8")


def _outermost(root: ast.AST) -> Iterator[tuple[Function, str]]:
    """Yield the functions that are inside no other function, and what they are called by."""
    for node in ast.iter_child_nodes(root):
        if isinstance(node, _FUNCTIONS):
            is_constructor = isinstance(root, ast.ClassDef) and node.name == "__init__"
            yield node, root.name if is_constructor else node.name  # type: ignore[attr-defined]
        elif not isinstance(node, ast.expr):
            yield from _outermost(node)


def _changes(
    function: Function, passed: set[str], lines: list[bytes], is_positional: bool
) -> list[Change]:
    """Return what to replace in one unit.

    :param passed: names that calls in the module pass arguments by.
    :param is_positional: nobody else passes arguments to it by name.
    """
    nodes = [node for statement in function.body for node in ast.walk(statement)]
    if any(isinstance(node, ast.ClassDef) or _LOOKS_INSIDE & set(_names(node)) for node in nodes):
        return []
    uses = [(n.id, n.lineno - 1, n.col_offset) for n in nodes if isinstance(n, ast.Name)]
    assigned = set(_assigned(function.body))
    free = _free_parameters(function, passed, is_positional)
    fixed = {n.arg for n in ast.walk(function) if isinstance(n, ast.arg) and n not in free}
    uses[:0] = [(n.arg, n.lineno - 1, n.col_offset) for n in free]
    assigned.update(n.arg for n in free)
    for node in nodes:
        if isinstance(node, _STRINGS):
            fixed.update(n.id for n in ast.walk(node) if isinstance(n, ast.Name))
        elif not isinstance(node, (ast.Name, ast.Attribute, ast.Constant, ast.keyword)):
            fixed.update(_names(node))
    for name, row, column in uses:
        if not lines[row].startswith(name.encode(), column) or name.startswith("__"):
            fixed.add(name)  # Written differently, or changed by the compiler.
    taken = fixed.union([name for name, _, _ in uses], keyword.kwlist)
    short = {}
    letters = (letter for letter in _short_names() if letter not in taken)
    for name, _ in Counter(name for name, _, _ in uses).most_common():
        if name in assigned and name not in fixed and len(name) > 1:
            letter = _RECEIVERS.get(name, "")
            short[name] = letter if letter and letter not in taken else next(letters)
            taken.add(short[name])
    return [(row, column, name, short[name]) for name, row, column in uses if name in short]


def _free_parameters(function: Function, passed: set[str], is_positional: bool) -> list[ast.arg]:
    """Return the parameters that may have other names."""
    args = function.args
    # With `**kwargs`, the new name could be that of an argument.
    if args.kwarg or args.posonlyargs or not args.args:
        return []
    if is_positional or (function.name[:1] == "_" and function.name[:2] != "__"):
        return [arg for arg in args.args if arg.arg not in passed]
    return args.args[: args.args[0].arg in _RECEIVERS]


def _assigned(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yield the names that are assigned in the scope of `nodes` itself."""
    for node in nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        if not isinstance(node, _INNER_SCOPES):
            yield from _assigned(ast.iter_child_nodes(node))


def _names(node: ast.AST) -> Iterator[str]:
    """Yield the names that are part of a node itself."""
    for value in (value for _, value in ast.iter_fields(node)):
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, str):
                yield item
            elif isinstance(item, ast.alias):
                yield (item.asname or item.name).partition(".")[0]


def _short_names() -> Iterator[str]:
    yield from ascii_lowercase
    for first in ascii_lowercase:
        for second in ascii_lowercase:
            yield first + second
