"""Writes what remains of a module, each token on the line that it was on.

Owns white space: indentation, spaces between tokens, line breaks.
"""

from __future__ import annotations

import io
import tokenize
from token import DEDENT, INDENT, NAME, NEWLINE, NL, NUMBER, OP, STRING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mitogen.minify.edits import Edit, Position

#: Pairs of characters that read as one operator when two operators are written without a space.
_GLUED = frozenset(["**", "//", ">>", "<<", "<>", "->"] + [c + "=" for c in "<>=!:+-*/%&|^@"])

_LAYOUT = frozenset([tokenize.COMMENT, NL, tokenize.ENCODING, tokenize.ENDMARKER])
#: From 3.12 on f-strings, and from 3.14 on template strings, come as several tokens.
_STRING_START = (getattr(tokenize, "FSTRING_START", -1), getattr(tokenize, "TSTRING_START", -1))
_STRING_END = (getattr(tokenize, "FSTRING_END", -1), getattr(tokenize, "TSTRING_END", -1))


class Writer:
    """Writes the tokens that remain, each on the line that it was on.

    :param join: write what stands in brackets on one line; the next statement is on its own line again.
    """

    def __init__(self, lines: list[str], edits: list[Edit], join: bool = False) -> None:
        self._join = join
        self._lines = lines
        self._edits = edits
        self._out: list[str] = []
        self._row = 1
        self._level = 0
        #: Open brackets among what was written.
        self._depth = 0
        #: The last token written on this line: its kind, text and end; None at the line's begin.
        self._last: tuple[int, str, Position] | None = None
        #: Something of the current logical line was written.
        self._is_open = False

    def write(self, source: str) -> str:
        """Return what remains of `source` after all edits; may be called once."""
        edits = iter(self._edits)
        following = next(edits, None)
        cut: Edit | None = None
        strings: list[Position] = []
        for kind, text, start, end, _ in tokenize.generate_tokens(io.StringIO(source).readline):
            if kind in _LAYOUT:
                continue
            if kind == INDENT:
                self._level += 1
                continue
            if kind == DEDENT:
                self._level -= 1
                continue
            if cut is not None:
                if start < cut.end or (cut.last and not (kind == OP and text == cut.last)):
                    continue
                skip = cut.is_statement and kind == OP and text == ";"
                cut = None
                if skip:
                    continue
            if following is not None and not strings:
                begins = start >= following.start and following.first in ("", text)
                if begins or (kind == OP and text == "->"):
                    cut = following
                    following = next(edits, None)
                    if cut.text:
                        self._emit(NAME, cut.text, start, start)
                    continue
            if kind in _STRING_START:
                strings.append(start)
            elif kind in _STRING_END:
                # As it was written: the tokens between don't tell doubled braces.
                begin = strings.pop()
                if not strings:
                    self._emit(STRING, self._source(begin, end), begin, end)
            elif strings:
                continue
            elif kind == NEWLINE:
                self._is_open = False
                self._depth = 0
            else:
                self._emit(kind, text, start, end)
        return "".join(self._out) + "\n"

    def _source(self, start: Position, end: Position) -> str:
        if start[0] == end[0]:
            return self._lines[start[0] - 1][start[1] : end[1]]
        first, *middle, last = self._lines[start[0] - 1 : end[0]]
        return "\n".join([first[start[1] :], *middle, last[: end[1]]])

    def _emit(self, kind: int, text: str, start: Position, end: Position) -> None:
        #: The line that the token begins on in the result.
        row = start[0]
        if self._join and self._is_open and (self._depth or text == ":"):
            # The colon: of a function whose result was annotated on a later line.
            row = self._row
        if row > self._row:
            # What was cut may have held the brackets that made line breaks part of an expression.
            newline = "\\\n" if self._is_open and not self._depth else "\n"
            self._out.append(newline * (row - self._row))
            self._last = None
        if not self._is_open:
            # A statement behind a semicolon, whose predecessors were cut, gets here as well.
            self._out.append(" " * self._level)
            self._is_open = True
        elif self._last is not None and self._needs_space(kind, text, start):
            self._out.append(" ")
        self._out.append(text)
        self._row = row + end[0] - start[0]
        self._last = (kind, text, end)
        if kind == OP:
            if text in "([{":
                self._depth += 1
            elif text in ")]}":
                self._depth -= 1

    def _needs_space(self, kind: int, text: str, start: Position) -> bool:
        assert self._last is not None
        last_kind, last_text, last_end = self._last
        if last_end == start:
            # What stood side by side may stay so.
            return False
        if kind == OP:
            if last_kind == OP:
                return last_text[-1] + text[0] in _GLUED
            return last_kind == NUMBER and text[0] == "."
        if last_kind == STRING:
            # '' 'a' would read as the begin of a triple quoted string.
            return kind == STRING
        if last_kind == OP:
            return kind == NUMBER and last_text[-1] == "."
        # A name or number before: only a string without a prefix can be told from it.
        return not (kind == STRING and last_kind == NAME and text[0] in "'\"")
