"""Text in, smaller text out: `minify`, which puts the parts together."""

from __future__ import annotations

import ast

from mitogen.minify.plan import plan
from mitogen.minify.writer import Writer


def minify(source: str) -> str:
    """Return `source` without what is of no use at run time; line numbers stay as they are.

    The result compiles on Python 3.6 if the input keeps to 3.6 apart from annotations and blocks
    for type checkers.

    :param source: text of a whole module.
    :raises SyntaxError: the text is no Python that this interpreter understands.
    """
    source = source.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    lines = source.split("\n")
    return Writer(lines, plan(ast.parse(source), lines)).write(source)
