"""Decides what to cut from a module: one walk over its statements.

Owns the rules for statements; what depends on the use of names is left to `Names`.
"""

from __future__ import annotations

import ast

from mitogen.minify.edits import Edits
from mitogen.minify.names import Names, names_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Union

    from mitogen.minify.edits import Edit

    Function = Union[ast.FunctionDef, ast.AsyncFunctionDef]

#: Bases and decorators of classes that read their own annotations when they are created.
_FIELD_READERS = frozenset(["NamedTuple", "TypedDict", "dataclass", "dataclass_transform"])

#: Annotations with a meaning of their own in such classes; they are kept as they are.
_FIELD_MARKS = frozenset(["ClassVar", "InitVar", "KW_ONLY"])

#: Nodes whose assignments bind nothing in the function around them.
_INNER_SCOPES = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Lambda,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
)


def plan(tree: ast.Module, lines: list[str], own: bool = False) -> list[Edit]:
    """Return the edits of a module, in the order of their positions.

    :param lines: the module's source, split at line breaks.
    :param own: cut ``TYPE_CHECKING = False`` as well.
    """
    edits = Edits(lines)
    names = Names(tree, edits)
    _Walk(edits, names, own).module(tree)
    names.finish()
    edits.edits.sort(key=lambda edit: edit.start)
    return edits.edits


class _Walk:
    """One walk over the statements. It never enters what is cut, so that edits don't overlap."""

    def __init__(self, edits: Edits, names: Names, own: bool) -> None:
        self._edits = edits
        self._names = names
        self._own = own

    def module(self, tree: ast.Module) -> None:
        """Plan the edits of a module."""
        self._suite(tree.body, None, False, needs_pass=False)

    def _suite(
        self,
        body: Sequence[ast.stmt],
        bound: set[str] | None,
        keeps_fields: bool,
        needs_pass: bool = True,
    ) -> None:
        """Plan the edits of a suite.

        :param bound: names that the enclosing function binds; None outside of functions.
        :param keeps_fields: the suite is part of a class that reads its own annotations.
        :param needs_pass: the suite may not become empty.
        """
        is_cut = [self._statement(node, bound, keeps_fields) for node in body]
        text = "pass" if needs_pass and all(is_cut) else ""
        for node, cut in zip(body, is_cut):
            if cut and isinstance(node, (ast.Import, ast.ImportFrom)):
                # What still uses it is known at the end.
                self._names.cut_import(node, bool(text))
            elif cut:
                self._edits.cut(node, text)
            text = ""

    def _statement(self, node: ast.stmt, bound: set[str] | None, keeps_fields: bool) -> bool:
        """Plan the edits within a statement; return True if the whole of it is to be cut."""
        if isinstance(node, ast.Expr):
            if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
                # All of them: the second string of a body would turn into its docstring.
                return True
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            return self._names.may_cut(node)
        elif self._own and isinstance(node, ast.Assign) and _is_flag(node):
            return True
        elif isinstance(node, ast.AnnAssign):
            return self._annotated(node, bound, keeps_fields)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return self._function(node)
        elif isinstance(node, ast.ClassDef):
            self._class(node)
            return False
        elif isinstance(node, ast.If) and self._names.is_type_check(node):
            return self._type_checking(node, bound, keeps_fields)
        self._children(node, bound, keeps_fields)
        return False

    def _children(self, node: ast.AST, bound: set[str] | None, keeps_fields: bool) -> None:
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                self._suite(value, bound, keeps_fields, not self._edits.is_elif(value[0]))
            elif name == "name" and isinstance(value, str):
                # An exception's name, or one that a pattern binds.
                self._names.bound.add(value)
            else:
                for child in value if isinstance(value, list) else [value]:
                    if isinstance(child, ast.expr):
                        self._names.expression(child)
                    elif isinstance(child, ast.AST):
                        self._children(child, bound, keeps_fields)

    def _annotated(self, node: ast.AnnAssign, bound: set[str] | None, keeps_fields: bool) -> bool:
        target = node.target
        if keeps_fields and isinstance(target, ast.Name):
            if names_in(node.annotation) & _FIELD_MARKS:
                self._names.expression(node.annotation)
            else:
                self._edits.cut(node.annotation, "None")
        elif node.value is not None:
            end = self._edits.end(node.annotation)
            self._edits.add(self._edits.end(target), end, first=":", last="=")
        elif isinstance(target, ast.Name):
            if bound is None or target.id in bound:
                return True
            # Nothing else makes this name local to the function: without it, an inner function's
            # `nonlocal` would be a syntax error. Local variables' annotations are never evaluated.
            self._edits.cut(node.annotation, "0")
        elif isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
            return True
        else:
            # Such a target's parts are evaluated.
            self._edits.cut(node.annotation, "0")
        self._names.expression(target)
        if node.value is not None:
            self._names.expression(node.value)
        return False

    def _function(self, node: Function) -> bool:
        if any(self._names.typing_name(d) == "overload" for d in node.decorator_list):
            return True
        self._names.bound.add(node.name)
        for decorator in node.decorator_list:
            self._names.expression(decorator, with_casts=False)
        bound = self._arguments(node.args)
        if node.returns is not None:
            # The writer begins this one at the "->".
            start, end = self._edits.start(node.returns), self._edits.end(node.returns)
            self._edits.add(start, end, last=":")
        for parameter in getattr(node, "type_params", ()):
            self._children(parameter, None, False)
        self._find_bound(node.body, bound)
        self._suite(node.body, bound, False)
        return False

    def _arguments(self, args: ast.arguments) -> set[str]:
        names = set()
        for arg in ast.iter_child_nodes(args):
            if isinstance(arg, ast.expr):
                self._names.expression(arg)
            elif isinstance(arg, ast.arg):
                names.add(arg.arg)
                if arg.annotation is not None:
                    # From past the first character of its name, so that the name stays.
                    line, column = self._edits.start(arg)
                    self._edits.add((line, column + 1), self._edits.end(arg))
        self._names.bound |= names
        return names

    def _find_bound(self, body: Sequence[ast.AST], bound: set[str]) -> None:
        """Add to `bound` what a function's body assigns to; may miss some, must not invent any."""
        pending = list(body)
        while pending:
            node = pending.pop()
            if isinstance(node, ast.Name):
                if isinstance(node.ctx, ast.Store):
                    bound.add(node.id)
            elif isinstance(node, ast.AnnAssign):
                if node.value is not None:
                    pending.append(node.target)
            elif isinstance(node, ast.If) and self._names.is_type_check(node):
                pending.extend(_branches(node)[1])
            elif not isinstance(node, _INNER_SCOPES):
                pending.extend(ast.iter_child_nodes(node))

    def _class(self, node: ast.ClassDef) -> None:
        self._names.bound.add(node.name)
        makers = set()
        for expression in [*node.decorator_list, *node.bases]:
            self._names.expression(expression, with_casts=False)
            makers |= names_in(expression.func if isinstance(expression, ast.Call) else expression)
        for keyword in node.keywords:
            self._names.expression(keyword.value)
        for parameter in getattr(node, "type_params", ()):
            self._children(parameter, None, False)
        self._suite(node.body, None, bool(makers & _FIELD_READERS))

    def _type_checking(self, node: ast.If, bound: set[str] | None, keeps_fields: bool) -> bool:
        dead, live = _branches(node)
        if not live:
            return True
        self._edits.cut(node.test, "1" if dead is node.orelse else "0")
        if dead:
            self._edits.cut_all(dead, "" if self._edits.is_elif(dead[0]) else "pass")
        self._suite(live, bound, keeps_fields, not self._edits.is_elif(live[0]))
        return False


def _is_flag(node: ast.Assign) -> bool:
    """Return True for ``TYPE_CHECKING = False``, which saves importing `typing`."""
    target = node.targets[0]
    is_named = isinstance(target, ast.Name) and target.id == "TYPE_CHECKING"
    return is_named and isinstance(node.value, ast.Constant) and node.value.value is False


def _branches(node: ast.If) -> tuple[list[ast.stmt], list[ast.stmt]]:
    """Return the dead and the live branch of a test of TYPE_CHECKING."""
    if isinstance(node.test, ast.UnaryOp):
        return node.orelse, node.body
    return node.body, node.orelse
