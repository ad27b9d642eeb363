"""What the core names for itself: `PRIVATE`, attributes and constants that one module alone uses, and
`POSITIONAL`, functions; `shorten` gives the former short names.

The table is fixed, so that whatever part of the library is minified, and when, agrees on it. No two
attributes share a short name, since modules derive classes from those of others. Methods are left alone:
their names are in tracebacks. A test shows that each name is used in one module, and by no string.

Made for the bundle, whose size counts; a new attribute of the core may be added, but need not be.
"""

from __future__ import annotations

import ast
from string import ascii_lowercase, ascii_uppercase

from mitogen.minify.rename import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from mitogen.minify.rename import Change

_NAMES = (
    *("_sleepers", "_current", "_cancelled", "_waker", "_paying", "_heap", "_deferred", "_sleeping"),
    *("_ours", "_stopping", "_site", "_decoder", "_ending", "_header", "_length"),
    *("_next_handle", "_last_complaint", "_finishing", "_econtext", "_closed", "_contexts"),
)

_CONSTANTS = (
    *("_unpack_from", "_pack", "_MAX_BUFFERS", "_INTERRUPTED", "_CLOSED", "_MAX_IDLE", "_MAX_FD"),
    *("_TERM_GRACE", "_write", "_new", "_ATTR", "_WAKE"),
)

#: Functions and constructors of the core whose arguments nobody passes by name: they are called by the
#: library, or by Python, alone. The names of their parameters are nobody's business either. A test shows
#: that no call in the library uses them.
POSITIONAL = frozenset(
    [
        *("Dispatcher", "ExternalContext", "FrameDecoder", "Importer", "LineLogger", "RoutingTable"),
        *("StandardStreams", "Stream", "Timer", "add_link", "attempt", "call_later", "cut", "decide"),
        *("disconnect", "dumps", "encode_header", "explain", "find_class", "find_spec", "fire", "forget"),
        *("forward_to", "is_lost", "link_to", "loads", "log", "log_exception", "lose", "make"),
        *("reaches", "read", "receive_data", "reduce_value", "remove_link", "schedule", "take_due"),
        *("text_of", "write"),
    ]
)

#: From each name to its short one.
PRIVATE = {
    name: "_" + letter
    for names, letters in ((_NAMES, ascii_uppercase), (_CONSTANTS, ascii_lowercase))
    for name, letter in zip(names, letters)
}


def shorten(source: str) -> str:
    """Return `source` with the short names of the attributes in the table; all stays on its line.

    :param source: text of a whole module of the library.
    """
    lines = [line.encode("utf-8") for line in source.split("\n")]
    return replace(lines, _changes(ast.parse(source)))


def _changes(tree: ast.AST) -> Iterator[Change]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in PRIVATE and node.end_lineno:
            column = (node.end_col_offset or 0) - len(node.attr)
            yield node.end_lineno - 1, column, node.attr, PRIVATE[node.attr]
        elif isinstance(node, ast.Name) and node.id in PRIVATE:
            # The default that a class gives it, or a constant.
            yield node.lineno - 1, node.col_offset, node.id, PRIVATE[node.id]
