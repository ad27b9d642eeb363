"""A Sphinx extension: tables made from the code when the documentation is built, so that they are true.

``.. generated:: NAME`` stands for what the function NAME of `TABLES` returns, as reStructuredText.

It also leads references in signatures to the documented addresses of names. Annotations name a class as
the module does that they stand in (`Context`), which is one of several of that name, or by the module
that defines it (`mitogen.parent.context.Context`); users go by the package (`mitogen.parent.Context`).
"""

# Sphinx is not among what type checking has installed.
# mypy: disable-error-code="import-not-found,import-untyped", allow-subclassing-any

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx.addnodes import desc_signature, pending_xref

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))  # The size table is one of the tests.

from mitogen import bundle, select  # noqa: E402
from mitogen.core import errors, handles, names  # noqa: E402
from mitogen.parent import handshake  # noqa: E402
from tests import size_table  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sphinx.application import Sphinx

#: Modules whose names have a shorter, documented address.
PACKAGES = ("mitogen.core", "mitogen.parent", "mitogen.master")

#: Waits that decide how long endings take: where the number is, and what ends or is waited for.
TIMES = (
    ("mitogen.parent.options.CONNECT_TIMEOUT", "default for a target to start its core"),
    ("mitogen.core.broker.Broker.shutdown_timeout", "grace for links of a child's broker to close"),
    ("mitogen.master.broker.Broker.shutdown_timeout", "the same in a master"),
    ("mitogen.master.broker.FORGOTTEN_TIMEOUT", "the same where the program forgot to shut down"),
    ("mitogen.core.child.ExternalContext.interrupt_grace", "an interrupted call cleans up; then SIGTERM"),
    ("mitogen.core.child._TERM_GRACE", "after its SIGTERM to itself; then the child leaves at once"),
    ("mitogen.parent.connection._TERM_AFTER", "a process outlives its connection; then SIGTERM"),
    ("mitogen.parent.connection._KILL_AFTER", "after SIGTERM; then SIGKILL"),
    ("mitogen.unix.listener.HELLO_TIMEOUT", "a client of a UNIX socket says hello"),
    ("mitogen.core.detach._TIMEOUT", "a detaching context waits for its parent to let go"),
)

#: What most programs need, for the top of the reference.
GLANCE = (
    "mitogen.master.Router",
    "mitogen.master.Router.local",
    "mitogen.parent.Context",
    "mitogen.parent.CallChain",
    "mitogen.select.Select",
    "mitogen.unix.Listener",
    "mitogen.unix.connect",
    "mitogen.core.Receiver",
    "mitogen.core.Sender",
    "mitogen.core.Channel",
    "mitogen.core.Message",
    "mitogen.core.takes_router",
    "mitogen.core.takes_econtext",
    "mitogen.core.CallError",
    "mitogen.core.ChannelError",
    "mitogen.core.StreamError",
    "mitogen.core.TimeoutError",
    "mitogen.main",
    "mitogen.utils.log_to_file",
    "mitogen.utils.run_with_router",
    "mitogen.utils.cast",
)


def value_at(address: str) -> Any:
    """Return the value of a dotted name."""
    parts = address.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            value: Any = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for part in parts[end:]:
            value = getattr(value, part)
        return value
    raise ImportError(address)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Yield a list-table."""
    yield from (".. list-table::", "   :header-rows: 1", "")
    for row in (head, *rows):
        for i, cell in enumerate(row):
            yield "   %s %s" % ("  -" if i else "* -", cell)


def transitions() -> Iterator[str]:
    """Yield the state table of the handshake."""
    rows = [("`%s`" % s, "`%s`" % e, "`%s`" % n) for (s, e), n in handshake.TRANSITIONS.items()]
    rows.append(("any", "any other", "`%s`" % handshake.FAILED))
    yield from table(("state", "event", "next state"), rows)


def handshake_diagram() -> Iterator[str]:
    """Yield a drawing of the state table of the handshake."""
    yield from drawing(handshake.TRANSITIONS, handshake.FAILED)


#: Pixels: width and height of a box, and the width of the space between two.
BOX, HEIGHT, GAP = 130, 34, 100


def drawing(moves: dict[tuple[str, str], str], failed: str) -> Iterator[str]:
    """Yield a drawing of a machine whose states follow one another, as SVG.

    :param moves: the next state by state and event, in the order of the states.
    :param failed: where any other event leads.
    """
    states = list(
        dict.fromkeys(state for (first, _), second in moves.items() for state in (first, second))
    )
    left = {state: 10 + i * (BOX + GAP) for i, state in enumerate(states)}
    left[failed] = left[states[-1]]
    top = dict.fromkeys(states, 50) | {failed: 130}
    end = 'marker-end="url(#arrow)"'
    shapes = []
    for state in (*states, failed):
        x, y = left[state], top[state]
        shapes.append('<rect x="%d" y="%d" width="%d" height="%d" rx="6"/>' % (x, y, BOX, HEIGHT))
        shapes.append('<text x="%d" y="%d">%s</text>' % (x + BOX // 2, y + 21, state))
    for (state, event), following in moves.items():
        begin = left[state] + BOX
        if following == state:
            middle = begin - BOX // 2
            near, far = middle - 25, middle + 25
            shapes.append('<path d="M%d 50 C%d 15 %d 15 %d 46" %s/>' % (near, near, far, far, end))
            shapes.append('<text x="%d" y="16">%s</text>' % (middle, event))
        else:
            shapes.append('<path d="M%d 67 H%d" %s/>' % (begin, left[following] - 4, end))
            shapes.append('<text x="%d" y="60">%s</text>' % ((begin + left[following]) // 2, event))
    for state in dict.fromkeys(state for state, _ in moves):
        middle = left[state] + BOX // 2
        shapes.append(
            '<path stroke-dasharray="4" d="M%d 84 V147 H%d" %s/>' % (middle, left[failed] - 4, end)
        )
    shapes.append('<text x="%d" y="140">any other event</text>' % (left[failed] - GAP))
    width = left[failed] + BOX + 10
    yield from (".. raw:: html", "")
    yield '   <svg viewBox="0 0 %d 175" style="max-width:%dpx" role="img" fill="none"' % (width, width)
    yield '    stroke="currentColor"><title>The table below as a drawing</title>'
    yield "    <style>svg text{fill:currentColor;stroke:none;font-size:12px;text-anchor:middle}</style>"
    yield '    <marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8"'
    yield '     orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="currentColor"/></marker>'
    yield from ("    " + shape for shape in shapes)
    yield "   </svg>"


def at_a_glance() -> Iterator[str]:
    """Yield the public names that programs use most, with the first sentence of their docstrings."""
    rows = []
    for address in GLANCE:
        value = value_at(address)
        text = " ".join((inspect.getdoc(value) or "").partition("\n\n")[0].split())
        rows.append((":obj:`%s`" % address, re.split(r"(?<=\.) |:$", text)[0]))
    yield from table(("name", "what it is for"), rows)


def standard_handles() -> Iterator[str]:
    """Yield the reserved handles, with their comments as descriptions."""
    rows = []
    comment = ""
    for line in Path(handles.__file__).read_text("utf-8").splitlines():
        if line.startswith("#:"):
            comment = line[2:].strip()
        elif " = " in line and comment:
            name, _, number = line.partition(" = ")
            if name in names.HOMES["handles"].split():
                rows.append((number, "`%s`" % name, comment))
            comment = ""
    yield from table(("number", "name", "meaning"), rows)


def error_tree() -> Iterator[str]:
    """Yield the tree of exceptions."""

    def below(cls: type, level: int) -> Iterator[str]:
        yield "%s* :class:`%s`" % ("  " * level, documented(cls.__module__ + "." + cls.__qualname__))
        subclasses: list[type] = cls.__subclasses__()
        for sub in sorted(subclasses, key=lambda sub: sub.__qualname__):
            if sub.__module__ in (errors.__name__, select.__name__) and sub.__name__[0] != "_":
                yield ""
                yield from below(sub, level + 1)

    yield from below(errors.Error, 0)


def bundled() -> Iterator[str]:
    """Yield the modules that each child is sent."""
    yield ", ".join("`%s`" % name for name in bundle.names()) + "."


def on_demand() -> Iterator[str]:
    """Yield the modules of the core that are sent to children that need them."""
    found = sorted("mitogen.core." + name for name in bundle.ON_DEMAND)
    yield ", ".join("`%s`" % name for name in found if name != bundle.BOOT) + "."


def sizes() -> Iterator[str]:
    """Yield the size table: the rows that have a budget."""
    rows = [
        (row.what, format(row.size, ","), format(row.budget, ","))
        for row in size_table.measure()
        if row.budget is not None
    ]
    yield from table(("what", "bytes", "budget"), rows)


def times() -> Iterator[str]:
    """Yield the waits of endings."""
    yield from table(("seconds", "for"), [("%g" % value_at(name), text) for name, text in TIMES])


TABLES: dict[str, Callable[[], Iterable[str]]] = {
    function.__name__: function
    for function in (
        handshake_diagram,
        transitions,
        at_a_glance,
        standard_handles,
        error_tree,
        bundled,
        on_demand,
        sizes,
        times,
    )
}


class Generated(Directive):
    """The directive."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return what the named function says."""
        name = self.arguments[0]
        container = nodes.container()
        lines = StringList([*TABLES[name](), ""], source="docs/generated.py:%s" % name)
        self.state.nested_parse(lines, self.content_offset, container)
        return list(container.children)


def documented(target: str) -> str:
    """Return the documented address of a name, given the module of a package that defines it."""
    owner, _, name = target.rpartition(".")
    if owner.rpartition(".")[2][:1].isupper():
        return target  # A member of a class, whose name may also be that of a module.
    for package in PACKAGES:
        if target.startswith(package + ".") and hasattr(importlib.import_module(package), name):
            return "%s.%s" % (package, name)
    return target


@functools.lru_cache(maxsize=None)
def names_in(module: str) -> dict[str, str]:
    """Return what the names that a module imports or defines stand for, type checkers' included."""
    found = {}
    for node in ast.walk(ast.parse(inspect.getsource(importlib.import_module(module)))):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                found[alias.asname or alias.name] = "%s.%s" % (node.module, alias.name)
        elif isinstance(node, ast.ClassDef):
            found[node.name] = "%s.%s" % (module, node.name)
    return found


def homes(node: nodes.Element) -> list[str]:
    """Return the modules whose names a reference may use: those of the signature or class around it."""
    around: Any = node
    while around is not None and not isinstance(around, desc_signature):
        around = around.parent
    if around is not None:
        address = "%s.%s" % (around["module"], around["fullname"])
        try:
            value = value_at(address)
        except AttributeError:
            # An attribute that only instances have.
            value = value_at(address.rpartition(".")[0])
    elif node.get("py:class"):
        value = value_at("%s.%s" % (node["py:module"], node["py:class"]))
    else:
        return []
    if isinstance(value, type):
        return [cls.__module__ for cls in value.__mro__ if cls.__module__ != "builtins"]
    # A property, a class method, or a plain function.
    value = getattr(value, "fget", value)
    return [getattr(value, "__module__", "mitogen")]


def lead_references(app: Sphinx, doctree: nodes.document) -> None:
    """Replace the targets of references by documented addresses."""
    for node in doctree.findall(pending_xref):
        if node.get("refdomain") == "py":
            target = node["reftarget"]
            if "." not in target:
                for module in homes(node):
                    if target in names_in(module):
                        target = names_in(module)[target]
                        break
            node["reftarget"] = documented(target)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_directive("generated", Generated)
    app.connect("doctree-read", lead_references)
    return {"parallel_read_safe": True}
