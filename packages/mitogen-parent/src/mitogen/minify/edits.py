"""What to cut from a source text, and where things in it are.

Owns the vocabulary that the walk over the tree and the writer of the tokens share: positions and
edits.
"""

from __future__ import annotations

import ast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Union

    #: Line from 1, column in characters from 0, as tokenize counts them.
    Position = tuple[int, int]
    Located = Union[ast.stmt, ast.expr, ast.arg, ast.alias]


class Edit:
    """Cut the tokens that start within [start, end), and write `text` in their place.

    Syntax trees have no positions for operators, so a cut may say: begin only at the first `first`
    operator past `start`, and go on up to the first `last` operator at or past `end`.
    """

    __slots__ = ("end", "first", "is_statement", "last", "start", "text")

    def __init__(
        self,
        start: Position,
        end: Position,
        text: str = "",
        first: str = "",
        last: str = "",
        is_statement: bool = False,
    ) -> None:
        self.start = start
        self.end = end
        self.text = text
        self.first = first
        self.last = last
        self.is_statement = is_statement


class Edits:
    """The edits of one source text. They never overlap; each is added once, in any order."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.edits: list[Edit] = []

    def add(self, start: Position, end: Position, first: str = "", last: str = "") -> None:
        """Cut between positions, or between operators near them: see `Edit`."""
        self.edits.append(Edit(start, end, first=first, last=last))

    def cut(self, node: ast.stmt | ast.expr, text: str = "") -> None:
        """Replace a node by `text`."""
        self.cut_all([node], text)

    def cut_all(self, nodes: Sequence[ast.stmt | ast.expr], text: str = "") -> None:
        """Replace all from the first to the last of some nodes by `text`."""
        is_statement = isinstance(nodes[0], ast.stmt)
        self.edits.append(
            Edit(self.start(nodes[0]), self.end(nodes[-1]), text, is_statement=is_statement)
        )

    def _at(self, line: int, offset: int) -> Position:
        """Turn a position of the tree, which counts bytes, into one that counts characters."""
        text = self.lines[line - 1]
        if not text.isascii():
            offset = len(text.encode("utf-8")[:offset].decode("utf-8"))
        return line, offset

    def start(self, node: Located) -> Position:
        """Return where a node begins; a decorated definition begins with its decorators."""
        line, column = self._at(node.lineno, node.col_offset)
        decorators = getattr(node, "decorator_list", None)
        if decorators:
            # A statement begins at its first "@", which the tree has no position for.
            line = decorators[0].lineno
            while line > 1 and self.lines[line - 1][column : column + 1] != "@":
                line -= 1
        return line, column

    def end(self, node: Located) -> Position:
        """Return the position past the last character of a node."""
        return self._at(node.end_lineno or 0, node.end_col_offset or 0)

    def between(self, one: Located, other: Located) -> str:
        """Return the source between two nodes, without outer spaces; "#" if not on one line."""
        return self._slice(self.end(one), self.start(other))

    def rest(self, inner: Located, outer: Located) -> str:
        """Return the source from the end of `inner` to that of `outer`, likewise."""
        return self._slice(self.end(inner), self.end(outer))

    def _slice(self, start: Position, end: Position) -> str:
        return self.lines[start[0] - 1][start[1] : end[1]].strip() if start[0] == end[0] else "#"

    def is_elif(self, node: ast.stmt) -> bool:
        """Return True for an `if` that is written as `elif`; the tree doesn't tell them apart."""
        line, column = self.start(node)
        return isinstance(node, ast.If) and self.lines[line - 1].startswith("elif", column)
