"""Text in, smaller text out: `minify`, which puts the parts together."""

from __future__ import annotations

import ast

from mitogen.minify.plan import plan
from mitogen.minify.private import POSITIONAL, shorten
from mitogen.minify.rename import rename
from mitogen.minify.writer import Writer


def minify(source: str, own: bool = False) -> str:
    """Return `source` without what is of no use at run time; line numbers stay as they are.

    The result compiles on Python 3.6 if the input keeps to 3.6 apart from annotations and blocks
    for type checkers.

    :param source: text of a whole module.
    :param own: a module of the library: rename local variables as well, see `mitogen.minify.rename`,
        and some attributes, see `mitogen.minify.private`; join what stands in brackets to one line;
        cut ``TYPE_CHECKING = False``.
    :raises SyntaxError: the text is no Python that this interpreter understands.
    """
    source = source.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    lines = source.split("\n")
    text = Writer(lines, plan(ast.parse(source), lines, own), own).write(source)
    return shorten(rename(text, POSITIONAL)) if own else text
