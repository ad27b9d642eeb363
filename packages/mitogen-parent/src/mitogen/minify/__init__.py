"""Make source code small before it travels: `minify`.

Owns the removal of what a child never needs - docstrings, comments, annotations, typing imports (and the
assignment ``TYPE_CHECKING = False``, which spares the library's own modules the import of `typing`),
blocks for type checkers, overload stubs, wide indentation - and so also the promise that shipped
modules run on Python 3.6 although they are annotated in newer syntax. Pure: text in, text out; runs
in any thread of a master, never in a child.

The rule that shapes it: every node that remains stays on its line, so that a traceback from a child
points at the line that the author sees. Therefore nothing is regenerated from the syntax tree; it
only says which spans to cut, and one pass over the tokens writes the rest. Lines that held only cut
text stay, empty: a thousand of them compress to a few bytes.

Rejected: `ast.unparse` (loses line numbers); removing `assert` (changes behaviour). Local variables get
short names (`rename`) in the library's own modules only, where that is 4 % of what every child is sent.

What changes on purpose: `__doc__` and `__annotations__` are gone. Classes that are built from their
annotations (dataclasses, NamedTuple, TypedDict) keep their fields, with None as the annotation. A
name imported from `typing` that only other modules use is gone, unless ``__all__`` lists it.
"""

from __future__ import annotations

from mitogen.minify.text import minify

__all__ = ["minify"]
