"""Sphinx configuration. Builds from the sources; no distribution needs to be installed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(path) for path in sorted((ROOT / "packages").glob("*/src"))]
sys.path.append(str(ROOT / "docs"))

# All distributions have the core's version.
release = version = importlib.import_module("mitogen").__version__

project = "mitogen"
author = "The mitogen authors"
copyright = "2026, " + author
extensions = ["sphinx.ext.autodoc", "generated"]
exclude_patterns = ["_build", "examples"]
html_theme = "furo"
# Single backticks are code, as in the docstrings; what shall be a link says so (:class:`...`).
default_role = "code"

nitpicky = True
# The standard library has its own documentation, which is not linked: builds must work offline.
nitpick_ignore_regex = [
    (r"py:.*", r"(%s)(\..*)?" % "|".join(sorted(sys.stdlib_module_names))),
    # Type variables, which are private to their modules.
    (r"py:.*", r"(.*\.)?([A-Z]|P\.args|P\.kwargs)"),
    # Aliases of types, which have no page of their own, and parts of the library that nobody else uses.
    (
        r"py:class",
        r"mitogen\.core\.(forwarding\.Forwarding|routing\.Routing)Table|mitogen\.parent\.routes\.Grant",
    ),
    (r"py:class", r"Subject|mitogen\.parent\.subject\.Transport"),
    (r"py:class", r"mitogen\.unix\.wire\.(AnyPath|Answer)"),
    (r"py:class", r"Path|Progress|mitogen\.service\.invokers\.Call"),
    (r"py:class", r"typing_extensions\.Unpack|mitogen\.parent\.signatures\.(Common|Text)|OnPrompt"),
    (
        r"py:class",
        r"Answer|Args|Input|mitogen\.parent\.running\.Args|Source|Handler|Policy|Function|Modifier|mitogen\.master\.rules\.Rule|mitogen\.core\.boot\.Finder|mitogen\.parent\.bootstrap\.Hello",
    ),
]

autodoc_member_order = "bysource"
# Attributes documented with `#:` keep their value out of the page: most are internal numbers.
autodoc_default_options = {"no-value": True}
