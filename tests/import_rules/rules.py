"""The import rules of the workspace, as tables and one function from source text to violations.

It owns which module may import which. It reads source with :mod:`ast` and imports nothing that it
judges, so a module that does not even run is judged like any other.

Rejected: import-linter. It looks a package up with ``find_spec``, which sees only the first of the
source folders that share the name ``mitogen``; and it has no contract for "the standard library
only" or for an import hidden in a function.
"""

from __future__ import annotations

import ast
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: What each distribution's modules may import of the others, by distribution.
MAY_IMPORT = {
    "mitogen-core": {"mitogen-core"},
    "mitogen-parent": {"mitogen-core", "mitogen-parent"},
    "mitogen-transports": {"mitogen-core", "mitogen-parent", "mitogen-transports"},
    "mitogen-fakessh": {"mitogen-core", "mitogen-parent", "mitogen-fakessh"},
    "mitogen-utils": {"mitogen-core", "mitogen-parent", "mitogen-utils"},
    "mitogen": {
        "mitogen-core",
        "mitogen-parent",
        "mitogen-transports",
        "mitogen-fakessh",
        "mitogen-utils",
        "mitogen",
    },
}

#: Third-party packages by distribution. Everybody else has the standard library.
THIRD_PARTY = {"mitogen": {"click", "rich"}}

#: What type checkers bring along, for them to see.
FOR_TYPES = {"typing_extensions"}

#: The distribution of each module directly below ``mitogen``. Transports are what is left over, so
#: that adding one needs no change here.
OWNER = {
    "core": "mitogen-core",
    "parent": "mitogen-parent",
    "master": "mitogen-parent",
    "select": "mitogen-parent",
    "fork": "mitogen-parent",
    "service": "mitogen-parent",
    "unix": "mitogen-parent",
    "minify": "mitogen-parent",
    "bundle": "mitogen-parent",
    "fakessh": "mitogen-fakessh",
    "utils": "mitogen-utils",
    "debug": "mitogen-utils",
    "profiler": "mitogen-utils",
    "futures": "mitogen-utils",
    "aio": "mitogen-utils",
    "__main__": "mitogen",
    "cli": "mitogen",
}

#: Below the first, the second must not be imported although it is in the same distribution.
FORBIDDEN_WITHIN = [("mitogen.parent", "mitogen.master")]

#: The one place that composes the layers from below: ``mitogen.main`` gives a script its router,
#: and imports these when it is called, which is in a master only.
COMPOSITION = {
    ("mitogen", "mitogen.utils"),
    # A child becomes a parent.
    ("mitogen.core.upgrade", "mitogen.fork"),
    ("mitogen.core.upgrade", "mitogen.parent.context"),
    ("mitogen.core.upgrade", "mitogen.parent.starter"),
}

#: The imports of mitogen that may stand in a function, each with its reason. None of them is there
#: to dodge a circle; a test follows the imports of the second module to see that they never reach
#: the first.
LATE = {
    ("mitogen.core.boot", "mitogen.core.child"): "boot first installs the finder that has it",
    ("mitogen.core", "mitogen.core.names"): "outside the bundle: only user code goes by the names",
    ("mitogen.core.calls", "mitogen.core.describe"): "outside the bundle: few calls fail",
    ("mitogen.core.child", "mitogen.core.detach"): "outside the bundle: few children need it",
    ("mitogen.core.context", "mitogen.core.receiver"): "outside the bundle: few children need it",
    ("mitogen.core.broker", "mitogen.core.defer"): "outside the bundle: the core itself never waits",
    ("mitogen.core.upgrade", "mitogen.core.pressure"): "needed where a link is full",
    ("mitogen.core.importer", "mitogen.core.imports"): "comes with the first module of the program's",
    ("mitogen.core.preference", "mitogen.core.imports"): "comes with the first module of the program's",
    ("mitogen.core.router", "mitogen.core.upgrade"): "outside the bundle: few children have children",
    ("mitogen.core.upgrade", "mitogen.fork"): "comes over the wire, for those who fork",
    ("mitogen.core.upgrade", "mitogen.core.stats"): "needed by those only who ask for figures",
    ("mitogen.core.upgrade", "mitogen.parent.context"): "comes over the wire, for those who call others",
    ("mitogen.core.upgrade", "mitogen.core.serving"): "comes over the wire, for those with children",
    ("mitogen.core.upgrade", "mitogen.parent.starter"): "comes over the wire, for those with children",
    ("mitogen.core.logs", "mitogen.core.locallog"): "outside the bundle: for masters",
    ("mitogen.core.logs", "mitogen.core.loghandler"): "imports logging, which few children need",
    ("mitogen.core.loghandler", "mitogen.core.spawning"): "for those who import multiprocessing",
    ("mitogen.core.serialization", "mitogen.core.explain"): "outside the bundle: for errors only",
    ("mitogen.core.serialization", "mitogen.core.stdtypes"): "outside the bundle: few values need it",
    ("mitogen.parent.connection", "mitogen.core.keepalive"): "needed for links that are watched",
    ("mitogen.parent.router", "mitogen.core.debuglog"): "imports logging, which not all programs need",
    ("mitogen.parent.router", "mitogen.parent.connecting"): "imports concurrent.futures; few need it",
    ("mitogen.parent.router", "mitogen.parent.registry"): "few programs have other transports",
    ("mitogen.parent.starter", "mitogen.parent.registry"): "few programs have other transports",
    ("mitogen.master.broker", "mitogen.core.profiling"): "imports the standard profilers",
    ("mitogen.parent.router", "mitogen.fork"): "few programs fork",
    ("mitogen.fork", "mitogen.parent.callchain"): "with `via` only: who forks need not call others",
    ("mitogen.parent.context", "mitogen.service.calls"): "few programs use services",
    ("mitogen.parent.context", "mitogen.parent.copying.origin"): "few programs copy files",
    ("mitogen.core.imports", "mitogen.core.data"): "outside the bundle: few children read data",
    ("mitogen.core.imports", "mitogen.core.metadata"): "outside the bundle: few children ask for that",
    ("mitogen.bundle", "mitogen.minify"): "needed for children of another Python version only",
    ("mitogen.master.responder", "mitogen.master.scan"): "needed once a child asks for a module",
    ("mitogen.master.found", "mitogen.minify"): "needed once a child asks for one of our modules",
    ("mitogen.utils", "mitogen.master"): "utils are shipped to children, where master does not belong",
}

#: Modules of the core with no descriptor, thread or clock. They may import one another only, and
#: the package itself for the identity that it holds.
PURE = {
    "mitogen.core.describe",
    "mitogen.core.errors",
    "mitogen.core.explain",
    "mitogen.core.forwarding",
    "mitogen.core.handles",
    "mitogen.core.message",
    "mitogen.core.oldpython",
    "mitogen.core.serialization",
    "mitogen.core.stdtypes",
    "mitogen.core.framing",
    "mitogen.core.routing",
    "mitogen.core.timers",
}

#: What a pure module must not import of the standard library, not even in a function.
IMPURE_LIBRARY = {
    "_socket",
    "_thread",
    "asyncio",
    "fcntl",
    "logging",
    "multiprocessing",
    "os",
    "posix",
    "random",
    "select",
    "selectors",
    "signal",
    "socket",
    "subprocess",
    "threading",
    "time",
}


class Import(NamedTuple):
    """One imported name, and where it stands."""

    name: str
    line: int
    in_function: bool
    for_types: bool


class Violation(NamedTuple):
    """A rule that an import breaks."""

    module: str
    line: int
    text: str

    def __str__(self) -> str:
        return "%s:%d: %s" % (self.module, self.line, self.text)


def module_name(path: Path, source_root: Path) -> str:
    """Return the dotted name of the module at `path`, below one ``packages/*/src``."""
    parts = list(path.relative_to(source_root).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


def owner(module: str) -> str:
    """Return the distribution that owns `module`, or that would if it existed."""
    parts = module.split(".")
    if len(parts) == 1:
        return "mitogen-core"
    return OWNER.get(parts[1], "mitogen-transports")


def is_below(module: str, package: str) -> bool:
    """Return whether `module` is `package` or inside it."""
    return module == package or module.startswith(package + ".")


def find_imports(source: str, modules: frozenset[str]) -> Iterator[Import]:
    """Yield every import of `source`.

    ``from a import b`` is the module ``a.b`` if `modules` has it, else ``a``.
    """
    todo: list[tuple[ast.AST, bool, bool]] = [(ast.parse(source), False, False)]
    while todo:
        node, in_function, for_types = todo.pop()
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, in_function, for_types)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            for alias in node.names:
                full = base + "." + alias.name
                name = full if full in modules else base
                yield Import(name, node.lineno, in_function, for_types)
        elif isinstance(node, ast.If) and _is_type_checking(node.test):
            todo.extend((child, in_function, True) for child in node.body)
            todo.extend((child, in_function, for_types) for child in node.orelse)
        else:
            inside = in_function or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            todo.extend((child, inside, for_types) for child in ast.iter_child_nodes(node))


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"


def violations(
    distribution: str, module: str, source: str, modules: frozenset[str] = frozenset()
) -> list[Violation]:
    """Return what is wrong with the imports of `module`, a part of `distribution`.

    An import for the type checker alone is stripped before a module is shipped and says nothing
    about how it runs: it may name a module of the same distribution freely (so may pure modules),
    but not one of a distribution that need not be installed.

    :param source: The module's text.
    :param modules: The names of all modules, to tell ``from package import module`` from a name.
    """
    found = []
    if owner(module) != distribution:
        text = "belongs to %s, but lies in %s" % (owner(module), distribution)
        found.append(Violation(module, 1, text))
    for one in find_imports(source, modules):
        for text in _judge(distribution, module, one):
            found.append(Violation(module, one.line, text))
    return sorted(found)


def _judge(distribution: str, module: str, one: Import) -> Iterator[str]:
    """Yield what is wrong with one import."""
    if one.name.startswith("."):
        yield "relative import of %s: full names only" % one.name
        return
    top = one.name.split(".")[0]
    pure = module in PURE and not one.for_types
    if top != "mitogen":
        known = sys.stdlib_module_names | THIRD_PARTY.get(distribution, set())
        if top not in known and not (one.for_types and top in FOR_TYPES):
            yield "imports %s, which is not in the standard library" % one.name
        if pure and top in IMPURE_LIBRARY:
            yield "imports %s, but is a pure module" % one.name
        return
    if one.in_function and (module, one.name) in COMPOSITION:
        return
    if owner(one.name) not in MAY_IMPORT[distribution]:
        yield "imports %s of a layer that %s must not know" % (one.name, distribution)
    for importer, imported in FORBIDDEN_WITHIN:
        if is_below(module, importer) and is_below(one.name, imported):
            yield "imports %s, which %s must not know" % (one.name, importer)
    if pure and one.name not in PURE | {"mitogen"}:
        yield "imports %s, but pure modules import only one another" % one.name
    if one.in_function and not one.for_types and (module, one.name) not in LATE:
        yield "imports %s in a function: imports of mitogen stand at the top" % one.name


def reachable(module: str, imports: dict[str, set[str]]) -> set[str]:
    """Return what importing `module` imports in the end, by the table of direct imports."""
    found: set[str] = set()
    todo = [module]
    while todo:
        new = imports.get(todo.pop(), set()) - found
        found |= new
        todo.extend(new)
    return found
