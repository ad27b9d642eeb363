"""Which names a module uses, and so which of its typing imports and casts may go.

Owns the sets of names; knows expressions, but no statements.
"""

from __future__ import annotations

import ast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mitogen.minify.edits import Edits

TYPING_MODULES = frozenset(["typing", "typing_extensions"])

#: Modules that are imported for annotations alone; what nothing else uses of them is cut.
TYPING = TYPING_MODULES | {"collections.abc"}


class Names:
    """Names of one module, and the edits that depend on them."""

    def __init__(self, tree: ast.Module, edits: Edits) -> None:
        self._edits = edits
        #: Names that the remaining code uses, and strings that are names, for ``__all__``'s sake.
        self.used: set[str] = set()
        #: Names bound otherwise than by a typing import.
        self.bound: set[str] = set()
        #: What names imported from a typing module stand for: {local name: name there}.
        self._typing: dict[str, str] = {}
        self._typing_modules: set[str] = set()
        #: Imports that may go, and whether each is all that is left of its suite.
        self._imports: list[tuple[ast.Import | ast.ImportFrom, bool]] = []
        self._casts: list[ast.Call] = []
        self._find_typing(tree)

    def _find_typing(self, tree: ast.Module) -> None:
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and node.module in TYPING and not node.level:
                for alias in node.names:
                    self._typing[alias.asname or alias.name] = alias.name
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name in TYPING_MODULES:
                        self._typing_modules.add(alias.asname or alias.name)

    def typing_name(self, node: ast.expr) -> str:
        """Return the name in `typing` of what an expression refers to, or an empty string."""
        if isinstance(node, ast.Name):
            return self._typing.get(node.id, "")
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            return node.attr if node.value.id in self._typing_modules else ""
        return ""

    def is_type_check(self, node: ast.If) -> bool:
        """Return True for ``if TYPE_CHECKING:`` and ``if not TYPE_CHECKING:``."""
        test = node.test
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            test = test.operand
        if isinstance(test, ast.Name) and test.id == "TYPE_CHECKING":
            return True
        return self.typing_name(test) == "TYPE_CHECKING"

    def expression(self, root: ast.expr, with_casts: bool = True) -> None:
        """Note the names that an expression uses and binds, and its calls of `typing.cast`."""
        pending: list[ast.AST] = [root]
        while pending:
            node = pending.pop()
            if isinstance(node, ast.Name):
                (self.used if isinstance(node.ctx, ast.Load) else self.bound).add(node.id)
            elif isinstance(node, ast.Constant):
                if isinstance(node.value, str) and node.value.isidentifier():
                    self.used.add(node.value)
            elif isinstance(node, ast.JoinedStr):
                # Before 3.12, positions within them can't be relied upon.
                self.used |= names_in(node)
            elif isinstance(node, ast.arg):
                self.bound.add(node.arg)
            elif with_casts and isinstance(node, ast.Call) and self._is_plain_cast(node):
                self._casts.append(node)
                pending.append(node.args[1])
            else:
                pending.extend(ast.iter_child_nodes(node))

    def may_cut(self, node: ast.Import | ast.ImportFrom) -> bool:
        """Return True for an import that may go; note the names that any other binds."""
        if isinstance(node, ast.Import):
            may_cut = all(alias.name in TYPING_MODULES for alias in node.names)
        else:
            is_typing = node.module in TYPING and not node.level and node.names[0].name != "*"
            may_cut = is_typing or node.module == "__future__"
        if not may_cut:
            self.bound.update(alias.asname or alias.name for alias in node.names)
        return may_cut

    def cut_import(self, node: ast.Import | ast.ImportFrom, is_alone: bool) -> None:
        """Cut an import, or what nothing uses of it, once all uses are known."""
        self._imports.append((node, is_alone))

    def finish(self) -> None:
        """Plan the edits that depend on all of the module's code."""
        for call in self._casts:
            self._finish_cast(call)
        for node, is_alone in self._imports:
            self._finish_import(node, is_alone)

    def _is_plain_cast(self, node: ast.Call) -> bool:
        """Return True for ``cast(type, value)`` written so that cutting leaves ``(value)``."""
        if self.typing_name(node.func) != "cast" or len(node.args) != 2 or node.keywords:
            return False
        if isinstance(node.args[1], (ast.Starred, ast.GeneratorExp)):
            return False
        before = self._edits.between(node.func, node.args[0])
        comma = self._edits.between(node.args[0], node.args[1])
        after = self._edits.rest(node.args[1], node)
        return before == "(" and comma.strip("( ") == "," and not after.strip(") ")

    def _finish_cast(self, node: ast.Call) -> None:
        if names_in(node.func) & self.bound:
            # The name may mean something else than it does in `typing`.
            self.used |= names_in(node.func) | names_in(node.args[0])
            return
        self._edits.cut(node.func)
        start, end = self._edits.start(node.args[0]), self._edits.end(node.args[0])
        comma = self._edits.lines[end[0] - 1].index(",", end[1])
        self._edits.add(start, (end[0], comma + 1))

    def _finish_import(self, node: ast.Import | ast.ImportFrom, is_alone: bool) -> None:
        """Cut from an import what nothing uses."""
        keep = [self._is_needed(node, alias) for alias in node.names]
        if not any(keep):
            self._edits.cut(node, "pass" if is_alone else "")
            return
        last = max(i for i, kept in enumerate(keep) if kept)
        for i, alias in enumerate(node.names[:last]):
            if not keep[i]:
                self._edits.add(self._edits.start(alias), self._edits.start(node.names[i + 1]))
        if last + 1 < len(keep):
            # With the comma before it; one behind it may stay, within parentheses.
            self._edits.add(self._edits.end(node.names[last]), self._edits.end(node.names[-1]))

    def _is_needed(self, node: ast.Import | ast.ImportFrom, alias: ast.alias) -> bool:
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            return alias.name != "annotations"
        # Bound elsewhere too: a fallback for an old Python, whose `try` must keep its meaning.
        local = alias.asname or alias.name
        return local in self.used or local in self.bound


def names_in(node: ast.AST) -> set[str]:
    """Return all names and attribute names within a node."""
    return {getattr(n, "id", getattr(n, "attr", "")) for n in ast.walk(node)}
