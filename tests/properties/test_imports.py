"""What a child imports from its master is what a program that has the files imports.

Random trees of packages are imported by a plain program, and by children on the same Python that have
none of the files: one that is sent code (if its Python is the master's), one that is sent source, and one
below a child that would take code. All must see the same modules, attributes and errors, to the word.

Processes last for all examples; each example has a package of a new name.
"""

from __future__ import annotations

import importlib
import itertools
import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import mitogen.master
from mitogen.parent import CallChain
from tests import interpreters
from tests.integration.remote_imports import take_source
from tests.properties import remote_observer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: What stands for the name of an example's top-level package.
ROOT = "ROOT"
NAMES = ["a", "b", "c", "d"]
VALUES = ["x", "y", "_z"]
#: Seconds that an example takes at most, where it takes some milliseconds.
LIMIT = 10.0
#: How children may get modules.
WAYS = ["code", "source", "below"]

#: Files by path below the folder (None for a mere folder), actions, imports of the master, ways.
Example = tuple[dict[str, Any], list[tuple[str, str, str]], list[str], list[str]]


# -- Package trees -----------------------------------------------------------------------------------


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """Return an example."""
    #: Kinds of modules by full name.
    kinds = {ROOT: draw(st.sampled_from(["package", "package", "namespace"]))}
    for _ in range(draw(st.integers(1, 9))):
        above = draw(st.sampled_from([name for name, kind in kinds.items() if kind != "module"]))
        name = "%s.%s" % (above, draw(st.sampled_from(NAMES)))
        kinds.setdefault(
            name, draw(st.sampled_from(["module", "module", "module", "package", "namespace"]))
        )
    modules = st.sampled_from(list(kinds))
    #: Of each kind of mistake there are some.
    wrong = st.sampled_from([ROOT + ".missing", ROOT + ".a.missing", "missing_at_all", ROOT + ".a.b.c"])
    targets = st.one_of(modules, modules, modules, modules, wrong)
    files: dict[str, str | None] = {}
    for name, kind in kinds.items():
        path = name.replace(".", "/")
        if kind == "namespace":
            files[path] = None
        else:
            path += "/__init__.py" if kind == "package" else ".py"
            if kind == "package":
                for value in draw(st.lists(st.sampled_from(VALUES), max_size=2)):
                    files["%s/%s.txt" % (name.replace(".", "/"), value)] = "text of %s" % name
            lines = draw(st.lists(statements(targets), max_size=4))
            files[path] = "".join(lines)
    other = st.sampled_from([*NAMES, *VALUES, "*", "lazy"])
    action = st.tuples(st.sampled_from(ACTIONS), targets, other)
    # Of namespace packages there is data only if the master has them.
    packages = [name for name, kind in kinds.items() if kind == "package"]
    if packages:
        names = st.sampled_from([*VALUES, *VALUES, "__init__", *NAMES])
        data = st.tuples(st.sampled_from(["data", "data", "walk"]), st.sampled_from(packages), names)
        action = st.one_of(action, action, data)
    actions = [("import", draw(modules), ""), *draw(st.lists(action, max_size=6))]
    loaded = draw(st.one_of(st.just([]), st.lists(modules, max_size=2)))
    ways = draw(st.lists(st.sampled_from(WAYS), min_size=1, max_size=3, unique=True))
    return files, actions, loaded, ways


ACTIONS = ["import", "import", "import", "from", "from", "find", "reload", "call", "source"]

ODD = [
    "raise ValueError('odd')\n",
    "raise ImportError('odd')\n",
    "x = [] if 'x' not in globals() else [x]\n",
    "import sys\nx = sorted(n for n in sys.modules if n.partition('.')[0] == 'ROOT')\n",
    "x = __name__, __package__, __spec__.name, __spec__.parent\n",
    "y = __file__\n",
    "__all__ = ['a', 'x']\n",
    "__all__ = ['b', 'missing']\n",
    "x = 'not ended\n",
    "def __getattr__(name):\n    if name != 'b':\n        raise AttributeError(name)\n    return 5\n",
    "import sys\nsys.modules['ROOT.d'] = None\n",
    "import importlib.util\n_z = importlib.util.find_spec('.a', __package__) is None\n",
    "from __future__ import annotations\ndef y(p: Nothing): pass\nx = y.__annotations__\n",
]


@st.composite
def statements(draw: st.DrawFn, targets: Any) -> str:
    """Return a line of a module, or some."""
    kind = draw(st.sampled_from(["value", "import", "import", "from", "from", "from", "odd"]))
    value = draw(st.sampled_from(VALUES))
    if kind == "value":
        return "%s = %d\n" % (value, draw(st.integers(0, 9)))
    if kind == "odd":
        return draw(st.sampled_from(ODD))
    target = draw(targets)
    name = draw(st.sampled_from([*NAMES, *VALUES, "*"]))
    if kind == "import":
        line = draw(st.sampled_from(["import %s" % target, "import %s as %s" % (target, value)]))
    else:
        relative = "." * draw(st.integers(1, 3)) + draw(st.sampled_from(["", "", *NAMES]))
        line = "from %s import %s" % (draw(st.sampled_from([target, relative, relative])), name)
    wrap = draw(st.sampled_from(["%s\n"] * 4 + [CAUGHT, LAZY.replace("*", "a")]))
    if "*" in line and wrap.startswith("def"):
        return line + "\n"
    return wrap % line


#: A `TYPE_CHECKING` that is true would be in nobody's interest; the master must not send what it guards.
CAUGHT = "try:\n    %s\nexcept ImportError as e:\n    _z = type(e).__name__, str(e), e.name\n"
LAZY = "def lazy():\n    %s\n    return sorted(locals())\n"


# -- Processes ---------------------------------------------------------------------------------------


class Processes:
    """The master, the children by way, and the plain program."""

    def __init__(self, router: mitogen.master.Router, folder: Path, python: str) -> None:
        self.router = router
        self.folder = folder
        self.numbers = itertools.count()
        argv = [python, "-I", "-W", "error"]
        self.children = {way: router.local(python_path=argv) for way in WAYS[:2]}
        take_source(self.children["source"].context_id, router)
        above = router.local(python_path=argv)
        self.children["below"] = router.local(via=above, python_path=argv)
        above.call(take_source, self.children["below"].context_id)
        self.children["above"] = above
        self.plain = subprocess.Popen(
            [*argv, "-B", "-S", remote_observer.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End the plain program; the router ends the rest."""
        self.plain.communicate()

    def ask_plain(self, *request: Any) -> Any:
        """Return what the plain program sees."""
        assert self.plain.stdin is not None
        assert self.plain.stdout is not None
        self.plain.stdin.write(json.dumps(request) + "\n")
        self.plain.stdin.flush()
        return json.loads(self.plain.stdout.readline())


@pytest.fixture(scope="module", params=["ours", "3.6", "pypy3"])
def processes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Processes]:
    python = sys.executable if request.param == "ours" else interpreters.find(request.param)
    with mitogen.master.Router() as router:
        processes = Processes(router, tmp_path_factory.mktemp("imports"), python)
        yield processes
        processes.close()


def check(processes: Processes, files: dict[str, Any], actions: Any, loaded: Any, ways: Any) -> None:
    """Have all see the same."""
    root = "root%d" % next(processes.numbers)
    folder = processes.folder / root
    for path, source in files.items():
        file = folder / path.replace(ROOT, root)
        if source is None:
            file.mkdir(parents=True, exist_ok=True)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(source.replace(ROOT, root))
    actions = [[part.replace(ROOT, root) for part in action] for action in actions]
    expected = processes.ask_plain(root, actions, str(folder))
    if "KeyError: '%s" % root in json.dumps(expected):
        # Python trips over namespace packages that outlive the package that they are in; children do not.
        shutil.rmtree(folder)
        return
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        for name in loaded:
            try:
                importlib.import_module(name.replace(ROOT, root))
            except Exception:
                pass  # The children will see it.
        for way in ways:
            # An import that waits for ever would be an error as well.
            chain = CallChain(processes.children[way], timeout=LIMIT)
            seen = chain.call(remote_observer.observe, root, actions, str(folder))
            assert json.loads(json.dumps(seen)) == expected, way
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.partition(".")[0] == root]:
            del sys.modules[name]
        for entry in [entry for entry in sys.path_importer_cache if entry.startswith(str(folder))]:
            del sys.path_importer_cache[entry]
        shutil.rmtree(folder)


@pytest.fixture(autouse=True, scope="module")
def no_byte_code() -> Iterator[None]:
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    yield
    sys.dont_write_bytecode = before


# Each example is many files and messages: a sixteenth as many as elsewhere, on each Python.
@settings(max_examples=max(settings().max_examples // 16, 1))
@given(examples())
# A namespace package, that came as code, not loaded in the master and loaded.
@example(({"ROOT": None, "ROOT/a.py": ""}, [("import", "ROOT", "")], [], ["code"]))
@example(({"ROOT": None, "ROOT/a.py": ""}, [("import", "ROOT.a", "")], ["ROOT.a"], ["code", "below"]))
# A package by its other name.
@example(
    (
        {"ROOT/__init__.py": "x = 1\n", "ROOT/a.py": "from .__init__ import x\n", "ROOT/b/c.py": ""},
        [("import", "ROOT.a", ""), ("import", "ROOT.b", ""), ("import", "ROOT.b.__init__", "")],
        [],
        ["code", "source", "below"],
    )
)
# Data that is there, is not, and is a module.
@example(
    (
        {"ROOT/__init__.py": "", "ROOT/x.txt": "text", "ROOT/a.py": "", "ROOT/b/__init__.py": ""},
        [
            *(("data", "ROOT", "x"), ("data", "ROOT", "y"), ("data", "ROOT", "a")),
            *(("data", "ROOT.b", "__init__"), ("walk", "ROOT", "")),
        ],
        [],
        ["code", "source", "below"],
    )
)
# The master has a namespace package, and no more what it was in.
@example(
    (
        {
            "ROOT/__init__.py": "import ROOT.c.a\nx = 1\n",
            "ROOT/c/__init__.py": "import ROOT.c.a.b\nraise ValueError('odd')\n",
            "ROOT/c/a/b.py": "",
        },
        [("import", "ROOT", ""), ("find", "ROOT.c", "")],
        ["ROOT"],
        ["code", "source", "below"],
    )
)
def test_a_child_sees_what_a_program_with_the_files_sees(processes: Processes, drawn: Example) -> None:
    check(processes, *drawn)
