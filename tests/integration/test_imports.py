"""Imports that users never notice: small packages that only the master has, a case each.

They are on the master's `sys.path`, which has imported none of them unless a test says so. Children run
isolated (`-S -I`), with warnings as errors, in an empty folder, on every interpreter.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import logging
import os
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

import mitogen.master
from mitogen.core import CallError, TimeoutError
from mitogen.parent import CallChain
from tests import interpreters
from tests.integration import remote_imports as there
from tests.integration.programs import Program, wait_until
from tests.integration.test_interpreters import Messages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from mitogen.master import Router
    from mitogen.parent import Context

#: Source code by file name, in the folder that is on the master's `sys.path`.
FILES: dict[str, str | bytes] = {}


def files(folder: str, **sources: str) -> None:
    """Add the modules of a package: ``__`` in a name stands for a slash, and ``_init`` for `__init__`."""
    for name, source in sources.items():
        name = name.replace("__", "/").replace("_init", "__init__")
        FILES["%s/%s.py" % (folder, name)] = source


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the master has its packages, and nobody else."""
    folder = tmp_path_factory.mktemp("master")
    for name, source in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.encode() if isinstance(source, str) else source)
    (folder / "second").mkdir(exist_ok=True)
    make_archives(folder)
    paths = [str(folder), str(folder / "second"), str(folder / "pack.zip"), str(folder / WHEEL)]
    before = sys.path[:], sys.meta_path[:]
    sys.path[:0] = paths
    sys.meta_path.append(MemoryFinder())
    importlib.invalidate_caches()
    yield folder
    sys.path[:], sys.meta_path[:] = before
    for entry in paths:
        sys.path_importer_cache.pop(entry, None)
    for name in [name for name in sys.modules if name.startswith("case_")]:
        del sys.modules[name]


@pytest.fixture(scope="module", params=interpreters.SUPPORTED)
def python(request: pytest.FixtureRequest) -> str:
    """The path of each interpreter: all tests on one, then all on the next."""
    return interpreters.find(request.param)


@pytest.fixture(scope="module")
def router(folder: Path) -> Iterator[Router]:
    """The router of all tests of this file."""
    with mitogen.master.Router() as router:
        yield router


def start(router: Router, python: str, empty: Path, *options: str) -> Context:
    """Start a child in an empty folder."""
    before = os.getcwd()
    os.chdir(empty)
    try:
        return router.local(python_path=[python, "-I", "-W", "error", *options])
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def child(router: Router, python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    """A clean child for all tests on an interpreter, during which it must not warn or complain."""
    messages = Messages()
    root = logging.getLogger()
    level = root.level
    root.addHandler(messages)
    root.setLevel(logging.INFO)
    try:
        context = start(router, python, tmp_path_factory.mktemp("empty"))
        yield context
        context.shutdown(wait=True)
    finally:
        root.setLevel(level)
        root.removeHandler(messages)
    assert [text for text in messages.texts if "stderr" in text or "Warning" in text] == []


def test_the_child_is_clean(child: Context) -> None:
    assert child.call(there.where)[:3] == ([], 1, 1)
    assert "error" in child.call(there.where)[3]


# -- Regular packages --------------------------------------------------------------------------------

files(
    "case_regular",
    _init="from case_regular.one import ONE\nfrom .sub import TWO as two\n\nALL = ONE, two\n",
    one="ONE = 1\n",
    sub___init="from .two import TWO\n",
    sub__two="from .. import one\nfrom ..one import ONE\n\nTWO = ONE + one.ONE\n",
    sub__beyond="from ... import nothing\n",
    sub__absent="from . import absent_thing\n",
)
FILES["case_single.py"] = "VALUE = __name__, __package__\n"


def test_a_regular_package(child: Context, folder: Path) -> None:
    assert child.call(there.get, "case_regular", "ALL") == (1, 2)
    assert child.call(there.get, "case_single", "VALUE") == ("case_single", "")


@pytest.mark.parametrize("name", ["case_regular", "case_regular.sub", "case_regular.one", "case_single"])
def test_what_python_promises_of_every_module(child: Context, folder: Path, name: str) -> None:
    is_package = name in ("case_regular", "case_regular.sub")
    place = "master:%s/%s" % (folder, name.replace(".", "/"))
    file = place + ("/__init__.py" if is_package else ".py")
    assert child.call(there.facts, name) == {
        "name": name,
        "spec": name,
        "package": name if is_package else name.rpartition(".")[0],
        "parent": name if is_package else name.rpartition(".")[0],
        "path": [place] if is_package else None,
        "locations": [place] if is_package else None,
        "file": file,
        "origin": file,
        "has_location": True,
        "same loader": True,
        "loader knows it": [is_package, True],
        "is listed": True,
    }


def test_relative_imports_that_lead_nowhere(child: Context) -> None:
    error = child.call(there.attempt, "case_regular.sub.beyond")
    assert error is not None
    # The type and the words are Python's own, and differ between versions.
    assert error[0] in ("ImportError", "ValueError")
    assert "beyond top-level package" in error[1]
    error = child.call(there.attempt, "case_regular.sub.absent")
    assert error is not None
    assert error[0] == "ImportError"
    assert "cannot import name 'absent_thing'" in error[1]


# -- Namespace packages ------------------------------------------------------------------------------

files(
    "case_space", left="HERE = 'left'\n", inner__deep__leaf="from ... import left\n\nHERE = left.HERE\n"
)
files("second/case_space", right="from case_space import left\n\nHERE = left.HERE, __package__\n")
files("second/case_space", pack___init="from ..left import HERE\n", inner__other="HERE = 'other'\n")


def test_a_namespace_package_with_several_portions(child: Context, folder: Path) -> None:
    assert child.call(there.get, "case_space.right", "HERE") == ("left", "case_space")
    assert child.call(there.get, "case_space.pack", "HERE") == "left"
    assert child.call(there.get, "case_space.inner.deep.leaf", "HERE") == "left"
    assert child.call(there.get, "case_space.inner.other", "HERE") == "other"
    error = child.call(there.attempt, "case_space.nowhere")
    assert error == (
        "ModuleNotFoundError",
        "No module named 'case_space.nowhere'",
        "case_space.nowhere",
    )


@pytest.mark.parametrize("name", ["case_space", "case_space.inner"])
def test_a_namespace_package_is_in_no_file(child: Context, folder: Path, name: str) -> None:
    facts = child.call(there.facts, name)
    assert facts["path"] == ["master:%s/%s" % (folder, name.replace(".", "/"))]
    assert facts["file"] is facts["origin"] is None
    assert not facts["has_location"]
    assert facts["package"] == facts["parent"] == facts["name"] == name
    assert facts["same loader"]


@pytest.mark.parametrize("first", ["here", "away"])
def test_a_portion_of_a_namespace_package_that_is_installed_in_the_child(
    child: Context, folder: Path, tmp_path: Path, first: str
) -> None:
    name = "case_shared_" + first
    for place, module in (folder, "away"), (tmp_path, "here"):
        (place / name / "deep").mkdir(parents=True, exist_ok=True)
        (place / name / (module + ".py")).write_text("WHO = %r\n" % module)
        (place / name / "deep" / (module + ".py")).write_text("from .. import %s as it\n" % module)
    importlib.invalidate_caches()
    child.call(there.add_path, str(tmp_path))
    for module in (first, "here", "away"):
        assert child.call(there.get, "%s.%s" % (name, module), "WHO") == module
        assert child.call(there.attempt, "%s.deep.%s" % (name, module)) is None


# -- Archives and other loaders ----------------------------------------------------------------------

WHEEL = "case_wheel-1.0-py3-none-any.whl"
PACKED = {
    "__init__.py": "from .other import value\n",
    "other.py": (
        "def value():\n    return __name__, __file__\n\n\n"
        "def fail():\n    raise KeyError('packed')  # line 6\n"
    ),
    "space/leaf.py": "from ..other import value\n",
}


def make_archives(folder: Path) -> None:
    for archive, package in (("pack.zip", "case_zip"), (WHEEL, "case_wheel")):
        with zipfile.ZipFile(folder / archive, "w", zipfile.ZIP_DEFLATED) as file:
            # Python finds no folder without an entry of its own.
            file.writestr(package + "/space/", "")
            for name, source in PACKED.items():
                file.writestr("%s/%s" % (package, name), source)


@pytest.mark.parametrize(("archive", "package"), [("pack.zip", "case_zip"), (WHEEL, "case_wheel")])
def test_modules_in_archives(child: Context, folder: Path, archive: str, package: str) -> None:
    name, file = child.call(there.run, package, "value")
    assert name == package + ".other"
    assert file == "master:%s/%s/%s/other.py" % (folder, archive, package)
    assert child.call(there.run, package + ".space.leaf", "value") == (name, file)
    assert "# line 6" in child.call(there.traceback_of, package + ".other", "fail")
    source = child.call(there.sources, package + ".other", ["value"])
    assert source == {"": PACKED["other.py"], "value": "1: def value():\n"}


IN_MEMORY: dict[str, str | None] = {
    "case_memory": "from . import part\n\nVALUE = part.VALUE\n",
    "case_memory.part": (
        "# coding: utf-8\nVALUE = '\u20ac'\n\n\ndef fail():\n    raise KeyError  # \u20ac\n"
    ),
    "case_secretive": None,
}


class MemoryFinder(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Finds modules that are in no file, and loads them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in IN_MEMORY:
            return None
        return importlib.util.spec_from_loader(
            fullname, self, origin="<memory>", is_package=fullname == "case_memory"
        )

    def get_source(self, fullname: str) -> str | None:
        return IN_MEMORY[fullname]

    def is_package(self, fullname: str) -> bool:
        return fullname == "case_memory"


def test_modules_of_another_loader_that_has_their_source(child: Context) -> None:
    assert child.call(there.get, "case_memory", "VALUE") == "\u20ac"
    assert "raise KeyError  # \u20ac" in child.call(there.traceback_of, "case_memory.part", "fail")
    assert child.call(there.sources, "case_memory.part", [])[""] == IN_MEMORY["case_memory.part"]


# -- A package that is the program ---------------------------------------------------------------------

MAIN = """\
import sys
from . import part
from .part import VALUE

def work(x):
    from .late import LATE
    return x, VALUE, part.VALUE, LATE, __name__

def main():
    import mitogen.master
    with mitogen.master.Router() as router:
        for python in sys.argv[1:]:
            context = router.local(python_path=[python, "-I", "-W", "error"])
            print(*context.call(work, 1), context.call(part.work), flush=True)

if __name__ == "__main__":
    main()
"""


def test_a_package_that_is_run_as_the_program(tmp_path: Path) -> None:
    package = tmp_path / "case_program"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(MAIN)
    (package / "part.py").write_text(
        "VALUE = 5\n\ndef work():\n    from . import late\n    return late.LATE\n"
    )
    (package / "late.py").write_text("from .part import VALUE\nLATE = VALUE + 1\n")
    pythons = [interpreters.find(name) for name in interpreters.SUPPORTED]
    run = (
        "import runpy\nsys.path.insert(0, %r)\n"
        "runpy.run_module('case_program', run_name='__main__', alter_sys=True)\n"
    )
    with Program(tmp_path, run % str(tmp_path), *pythons) as program:
        for _ in pythons:
            assert program.line() == "1 5 5 6 __main__ 6"


# -- Circles, threads, reloading, laziness -------------------------------------------------------------

files(
    "case_circle",
    _init="from . import a\nfrom .b import to_a\n",
    a=(
        "import case_circle.b\nfrom case_circle import b\n\nNAME = 'a'\n\n\n"
        "def to_b():\n    return b.NAME\n"
    ),
    b="from . import a\n\nNAME = 'b'\n\n\ndef to_a():\n    return a.NAME + a.to_b()\n",
    bad="from .worse import THING\n\nTHING = 1\n",
    worse="from .bad import THING\n",
)


def test_circular_imports(child: Context) -> None:
    assert child.call(there.run, "case_circle", "to_a") == "ab"
    assert child.call(there.run, "case_circle.b", "to_a") == "ab"
    for _ in range(2):
        error = child.call(there.attempt, "case_circle.bad")
        assert error is not None
        assert error[0] == "ImportError"
        assert "cannot import name 'THING'" in error[1]
    assert not child.call(there.is_loaded, "case_circle.worse")


THREADS = 12
files(
    "case_threads",
    _init="import time\n",
    # No circle: across threads some Pythons raise _DeadlockError for these, wherever they come from.
    **{"m%d" % i: "from . import m%d\nfrom .shared import LIST\n" % (i + 1) for i in range(THREADS)},
    **{"m%d" % THREADS: "from .shared import LIST\n"},
    shared="from .count import LIST\n\nLIST.append(__name__)\n",
    count="LIST = []\n",
)


def test_many_threads_import_at_once(child: Context) -> None:
    names = ["case_threads.m%d" % i for i in range(THREADS)] + ["case_threads.shared"] * 4
    number, different, errors = child.call(there.in_threads, names)
    assert errors == []
    assert number == len(names)
    assert different == THREADS + 1
    assert child.call(there.get, "case_threads.count", "LIST") == ["case_threads.shared"]


files(
    "case_reload",
    _init="from . import part\n\nCOUNT = globals().get('COUNT', 0) + 1\n",
    part="COUNT = globals().get('COUNT', 0) + 1\n",
)


@pytest.mark.parametrize("name", ["case_reload", "case_reload.part"])
def test_reload(child: Context, name: str) -> None:
    assert child.call(there.get, name, "COUNT") == 1
    for i in range(2, 4):
        assert child.call(there.reload, name) == (True, name)
        assert child.call(there.get, name, "COUNT") == i


files(
    "case_lazy",
    _init="def now():\n    from . import late\n    import case_lazy.later as l\n    return late.V, l.V\n",
    late="V = 1\n",
    later="V = 2\n",
)


def test_imports_within_functions(child: Context) -> None:
    assert child.call(there.attempt, "case_lazy") is None
    assert not child.call(there.is_loaded, "case_lazy.late")
    assert child.call(there.run, "case_lazy", "now") == (1, 2)
    assert child.call(there.is_loaded, "case_lazy.late")


# -- find_spec -----------------------------------------------------------------------------------------

files("case_found", _init="raise RuntimeError('executed')\n", sub="")
files("case_finds", _init="", sub__leaf="", _sub="raise RuntimeError('executed')\n")


@pytest.mark.parametrize(
    "name",
    [
        "case_found",
        "case_finds",
        "case_finds.sub",
        "case_finds.sub.leaf",
        "case_finds._sub",
        "case_space.inner",
        "json.tool",
        "xml.etree",
    ],
)
def test_find_spec_finds_without_executing(child: Context, name: str) -> None:
    assert child.call(there.find, name) == name


@pytest.mark.parametrize(
    "name",
    [
        "case_nowhere",
        "case_finds.nowhere",
        "case_finds.sub.nowhere",
        "case_space.nowhere",
        "json.nowhere",
        "xml.etree.nowhere",
        "importlib.nowhere",
        "mitogen.nowhere",
        "mitogen.core.nowhere",
    ],
)
def test_find_spec_of_what_is_nowhere_is_none(child: Context, name: str) -> None:
    for _ in range(2):
        assert child.call(there.find, name) is None
        assert child.call(there.attempt, name) == (
            "ModuleNotFoundError",
            "No module named %r" % name,
            name,
        )


@pytest.mark.parametrize(
    "name", ["case_nowhere.sub", "case_single.sub", "case_nowhere.sub.leaf", "json.decoder.sub"]
)
def test_find_spec_below_what_is_no_package_raises_as_ever(child: Context, name: str) -> None:
    kind, text = child.call(there.find, name)
    # Python 3.6 lets an AttributeError through.
    assert kind in ("ModuleNotFoundError", "AttributeError")
    if kind == "ModuleNotFoundError" and "nowhere" not in name:
        assert text.startswith("__path__ attribute not found on ")


# -- Sources -------------------------------------------------------------------------------------------

SOURCED = '''\
"""A docstring."""
# A comment that compiling loses.

def function(x):
    return x


class Class:
    """One more."""

    def method(self):
        def inner():
            raise ValueError("in the middle")  # of the source

        return inner()
'''
FILES["case_sourced.py"] = SOURCED
FILES["case_raises.py"] = "import case_sourced\n\ncase_sourced.Class().method()  # the import\n"


def test_inspect_has_the_source(child: Context, router: Router, python: str) -> None:
    found = child.call(there.sources, "case_sourced", ["function", "Class", "Class.method"])
    assert found == {
        "": SOURCED,
        "function": "4: def function(x):\n",
        "Class": "8: class Class:\n",
        "Class.method": "11:     def method(self):\n",
    }


def test_tracebacks_have_source_lines(child: Context) -> None:
    text = child.call(there.traceback_of, "case_sourced", "Class")
    assert text is None
    for _ in range(2):
        text = child.call(there.traceback_of, "case_raises", "nothing")
        assert 'case_sourced.py", line 13, in inner' in text
        assert 'raise ValueError("in the middle")  # of the source' in text
        assert "case_sourced.Class().method()  # the import" in text
    with pytest.raises(CallError) as info:
        child.call(there.run, "case_raises", "nothing")
    assert "# of the source" in info.value.traceback
    assert "# the import" in info.value.traceback


FILES["case_as_code.py"] = "def fail():\n    raise ValueError  # that was sent as code\n"


def test_code_goes_to_children_of_the_same_python_and_their_tracebacks_have_source_all_the_same(
    router: Router, tmp_path: Path, folder: Path
) -> None:
    context = start(router, sys.executable, tmp_path)
    assert context.call(there.came_as_code, "case_as_code")
    assert "# that was sent as code" in context.call(there.traceback_of, "case_as_code", "fail")
    context.shutdown(wait=True)


FILES["case_asserts.py"] = "IS_DEBUG = __debug__\nassert not 'asserted'\n"


def test_a_child_that_optimizes_skips_asserts(router: Router, tmp_path: Path, folder: Path) -> None:
    context = start(router, sys.executable, tmp_path, "-O")
    assert context.call(there.get, "case_asserts", "IS_DEBUG") is False
    context.shutdown(wait=True)
    context = start(router, sys.executable, tmp_path)
    assert context.call(there.attempt, "case_asserts") == ("AssertionError", "", None)
    context.shutdown(wait=True)


# -- Odd files -----------------------------------------------------------------------------------------

FILES["case_latin.py"] = "# -*- coding: latin-1 -*-\nTEXT = '\xe4\xff'\n\ndef f():\n    '\xe9'\n".encode(
    "latin-1"
)
FILES["case_bom.py"] = b"\xef\xbb\xbf" + "TEXT = '\u20ac'\n\ndef f():\n    '\u20ac'\n".encode()
FILES["case_crlf.py"] = b"TEXT = '''a\r\nb'''\r\n\r\ndef f():\r\n    pass\r\n"
FILES["case_cr.py"] = b"TEXT = 1\r\rdef f():\r    pass\r"
FILES["case_empty.py"] = b""
FILES["case_no_end.py"] = b"TEXT = 1\ndef f(): pass"
FILES["case_future.py"] = b"def f(x: int):\n    pass\n\nANNOTATED = f.__annotations__['x'].__name__\n"
FILES["case_wrong.py"] = b"x = 1\ny = = 2  # wrong\n"
FILES["case_undecodable.py"] = b"x = '\xff'\n"
FILES["case_nul.py"] = b"\0x = 1\n"


def test_encodings_and_line_ends(child: Context) -> None:
    assert child.call(there.get, "case_latin", "TEXT") == "\xe4\xff"
    assert "'\xe9'" in child.call(there.sources, "case_latin", ["f"])[""]
    assert child.call(there.get, "case_bom", "TEXT") == "\u20ac"
    assert "'\u20ac'" in child.call(there.sources, "case_bom", ["f"])[""]
    assert child.call(there.get, "case_crlf", "TEXT") == "a\nb"
    assert child.call(there.sources, "case_crlf", ["f"])["f"] == "4: def f():\n"
    assert child.call(there.get, "case_cr", "TEXT") == 1
    assert child.call(there.get, "case_no_end", "TEXT") == 1
    assert child.call(there.attempt, "case_empty") is None
    # Nothing of what the code that compiles it has imported from `__future__` is passed on.
    assert child.call(there.get, "case_future", "ANNOTATED") == "int"


def test_syntax_errors_are_those_of_the_child(child: Context) -> None:
    for _ in range(2):
        kind, text, _ = child.call(there.attempt, "case_wrong")
        assert kind == "SyntaxError"
        assert "case_wrong.py, line 2)" in text
        text = child.call(there.traceback_of, "case_wrong", "f")
        assert "y = = 2  # wrong" in text
        assert 'case_wrong.py", line 2' in text
    kind, text, _ = child.call(there.attempt, "case_undecodable")
    assert kind == "SyntaxError"
    kind, text, _ = child.call(there.attempt, "case_nul")
    assert kind in ("ValueError", "SyntaxError")
    assert "null byte" in text


files(
    "case_retry",
    _init="",
    state="TRIES = []\n",
    flaky=(
        "from .state import TRIES\nfrom . import helper\n\nTRIES.append(1)\nif len(TRIES) < 3:\n"
        "    raise RuntimeError('not yet')\nDONE = len(TRIES)\n"
    ),
    helper="",
)


def test_a_module_that_raises_can_be_imported_again(child: Context) -> None:
    for _ in range(2):
        error = child.call(there.attempt, "case_retry.flaky")
        assert error == ("RuntimeError", "not yet", None)
        assert not child.call(there.is_loaded, "case_retry.flaky")
        assert child.call(there.is_loaded, "case_retry.helper")
    assert child.call(there.get, "case_retry.flaky", "DONE") == 3


FILES["case_replaced.py"] = (
    "import sys\n\n\nclass Other:\n    VALUE = 1\n\n    def work(self):\n        return self.VALUE\n\n\n"
    "sys.modules[__name__] = Other()\n"
)
FILES["case_getattr.py"] = (
    "def __getattr__(name):\n    if name[:2] == '__':\n        raise AttributeError(name)\n"
    "    return name * 2\n"
)


def test_a_module_that_replaces_itself(child: Context) -> None:
    assert child.call(there.run, "case_replaced", "work") == 1


def test_a_module_with_a_getattr(child: Context) -> None:
    if child.call(there.version)[0] >= (3, 7):
        assert child.call(there.get, "case_getattr", "ab") == "abab"
        assert child.call(there.attempt_from, "case_getattr", "ab") is None
    else:
        assert child.call(there.attempt, "case_getattr") is None


files(
    "case_star",
    _init="__all__ = ['one', 'two', 'sub', 'NAME']\nNAME = 'here'\n_HIDDEN = 1\n",
    one="V = 1\n",
    two="V = 2\n",
    sub___init="V = 3\n",
    missing___init="__all__ = ['absent']\n",
)
FILES["case_starred.py"] = (
    "from case_star import *\n\nSEEN = NAME, one.V, two.V, sub.V, '_HIDDEN' in globals()\n"
)
FILES["case_starred_wrong.py"] = "from case_star.missing import *\n"


def test_a_star_imports_the_submodules_that_all_names(child: Context) -> None:
    assert child.call(there.get, "case_starred", "SEEN") == ("here", 1, 2, 3, False)
    error = child.call(there.attempt, "case_starred_wrong")
    assert error is not None
    assert error[0] == "AttributeError"
    assert "has no attribute 'absent'" in error[1]


# -- What can't be sent --------------------------------------------------------------------------------

SUFFIX = importlib.machinery.EXTENSION_SUFFIXES[0]
files(
    "case_native",
    _init="try:\n    from ._speed import f\nexcept ImportError:\n    from .slow import f\n",
    slow="def f():\n    return 'slow'\n",
    needs="from . import _speed\n",
)
FILES["case_native/_speed" + SUFFIX] = b"not really"
FILES["case_compiled" + SUFFIX] = b"not really"


def test_an_extension_module_says_what_to_do(child: Context, folder: Path) -> None:
    for name in "case_native._speed", "case_compiled":
        for _ in range(2):
            # As on a machine where it is and does not load.
            assert child.call(there.find, name) == name
            kind, text, attribute = child.call(there.attempt, name)
            assert kind == "ImportError"
            assert attribute == name
            assert name in text
            assert "compiled for the master's platform" in text
            assert "install it" in text


def test_a_package_does_without_its_extension_module(child: Context) -> None:
    assert child.call(there.run, "case_native", "f") == "slow"
    error = child.call(there.attempt, "case_native.needs")
    assert error is not None
    assert error[0] == "ImportError"
    assert "case_native._speed" in error[1]


def test_a_loader_that_keeps_its_source_is_named(child: Context) -> None:
    kind, text, _ = child.call(there.attempt, "case_secretive")
    assert kind == "ImportError"
    assert "case_secretive" in text


#: Modules of the standard library, and the versions that have them.
LIBRARY = {
    "tomllib": ((3, 11), (9, 9)),
    "graphlib": ((3, 9), (9, 9)),
    "zoneinfo": ((3, 9), (9, 9)),
    "asyncio.taskgroups": ((3, 11), (9, 9)),
    "unittest.async_case": ((3, 8), (9, 9)),
    "asyncore": ((0, 0), (3, 11)),
    "imp": ((0, 0), (3, 11)),
}


def test_the_standard_library_is_the_child_s_own(child: Context, python: str) -> None:
    version, _ = child.call(there.version)
    for name, (first, last) in LIBRARY.items():
        if first <= version <= last:
            assert child.call(there.find, name) == name
        else:
            assert child.call(there.attempt, name) == (
                "ModuleNotFoundError",
                "No module named %r" % name,
                name,
            )


# -- The child's own -----------------------------------------------------------------------------------

files(
    "case_own",
    _init="WHO = 'master'\nfrom . import both\n",
    only="WHO = 'master'\n",
    both="WHO = 'master'\n",
)
FILES["case_own_single.py"] = "WHO = 'master'\n"
FILES["case_own_user.py"] = (
    "from case_own import WHO, both\nimport case_own_single as single\n\n"
    "ALL = WHO, both.WHO, single.WHO\n"
)


def test_its_own_copy_is_preferred_even_if_the_master_s_was_sent_ahead(
    child: Context, router: Router, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "case_own").mkdir()
    (tmp_path / "case_own" / "__init__.py").write_text("WHO = 'child'\n")
    (tmp_path / "case_own" / "both.py").write_text("WHO = 'child'\n")
    (tmp_path / "case_own_single.py").write_text("WHO = 'child'\n")
    child.call(there.add_path, str(tmp_path))
    router.responder.forward_modules(
        child, ["case_own", "case_own.only", "case_own.both", "case_own_single"]
    )
    assert child.call(there.get, "case_own_user", "ALL") == ("child", "child", "child")
    # Two versions of a package are never mixed.
    assert child.call(there.find, "case_own.only") is None
    error = child.call(there.attempt, "case_own.only")
    assert error == ("ModuleNotFoundError", "No module named 'case_own.only'", "case_own.only")
    assert "cannot import name 'only'" in child.call(there.attempt_from, "case_own", "only")


FILES["case_own_native/__init__.py"] = "WHO = 'master'\n"
FILES["case_own_native/_speed" + SUFFIX] = b"not really"


def test_what_its_own_copy_lacks_is_simply_not_there(
    child: Context, folder: Path, tmp_path: Path
) -> None:
    """Be it that the master has it, and could not send it."""
    (tmp_path / "case_own_native").mkdir()
    (tmp_path / "case_own_native" / "__init__.py").write_text("WHO = 'child'\n")
    child.call(there.add_path, str(tmp_path))
    assert child.call(there.get, "case_own_native", "WHO") == "child"
    assert child.call(there.find, "case_own_native._speed") is None
    error = child.call(there.attempt, "case_own_native._speed")
    assert error is not None
    assert error[0] == "ModuleNotFoundError"


files("mitogen_like", _init="from .part import WHO\n", part="WHO = 'master'\n")
FILES["mitogen_space/part.py"] = "WHO = 'master'\n"


def test_a_package_may_be_named_almost_like_the_library(
    child: Context, router: Router, folder: Path, tmp_path: Path
) -> None:
    for name in "mitogen_like", "mitogen_space":
        assert child.call(there.get, name + ".part", "WHO") == "master"
        assert child.call(there.facts, name)["path"] == ["master:%s/%s" % (folder, name)]
        assert child.call(there.find, name + ".nowhere") is None
    (tmp_path / "mitogen_own.py").write_text("WHO = 'child'\n")
    (folder / "mitogen_own.py").write_text("WHO = 'master'\n")
    importlib.invalidate_caches()
    child.call(there.add_path, str(tmp_path))
    router.responder.forward_modules(child, ["mitogen_own"])
    assert child.call(there.get, "mitogen_own", "WHO") == "child"


files("case_late_own", _init="from . import first\n", first="WHO = 'master'\n", second="WHO = 'master'\n")


def test_a_package_of_the_master_is_not_mixed_with_one_that_is_installed_later(
    child: Context, folder: Path, tmp_path: Path
) -> None:
    assert child.call(there.get, "case_late_own.first", "WHO") == "master"
    (tmp_path / "case_late_own").mkdir()
    for name in "__init__", "first", "second":
        (tmp_path / "case_late_own" / (name + ".py")).write_text("WHO = 'child'\n")
    child.call(there.add_path, str(tmp_path))
    assert child.call(there.get, "case_late_own.second", "WHO") == "master"


# -- Interrupted ---------------------------------------------------------------------------------------

files(
    "case_slow",
    _init="from . import before\nfrom .waits import DONE\nfrom . import after\n",
    before="",
    after="",
    state="GO_ON = False\n",
    waits=(
        "import time\nfrom . import state\n\nwhile not state.GO_ON:\n    time.sleep(0.01)\nDONE = True\n"
    ),
)
FILES["case_asked.py"] = "import case_asked_for\n\nVALUE = case_asked_for.VALUE\n"
FILES["case_asked_for.py"] = "VALUE = 1\n"


def test_an_import_that_a_time_out_interrupts_is_done_again(child: Context) -> None:
    # A call whose time was over before it began is made once more.
    while not child.call(there.is_loaded, "case_slow.state"):
        with pytest.raises(TimeoutError):
            CallChain(child, timeout=0.15).call(there.get, "case_slow", "DONE")
        wait_until(lambda: not child.call(there.is_loaded, "case_slow.waits"))
    assert not child.call(there.is_loaded, "case_slow")
    # What was imported within it stays, as ever.
    child.call(there.set_value, "case_slow.state", "GO_ON", True)
    assert child.call(there.get, "case_slow", "DONE") is True


def test_an_import_that_is_interrupted_while_it_waits_for_the_parent(
    child: Context, router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[Any] = []
    send = router.responder.send

    def hold(context_id: int, answer: Any) -> None:
        if answer[0].partition(":")[0] == "case_asked_for":
            held.append(lambda: send(context_id, answer))
        else:
            send(context_id, answer)

    monkeypatch.setattr(router.responder, "send", hold)
    while not held:
        with pytest.raises(TimeoutError):
            CallChain(child, timeout=0.15).call(there.get, "case_asked", "VALUE")
    assert not child.call(there.is_loaded, "case_asked")
    monkeypatch.undo()
    assert child.call(there.get, "case_asked", "VALUE") == 1
    for answer in held:
        router.broker.defer_sync(answer)
    assert child.call(there.reload, "case_asked_for") == (True, "case_asked_for")
