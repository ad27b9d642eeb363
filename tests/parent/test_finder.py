"""`mitogen.master.finder`: what a context may have of the master's modules."""

from __future__ import annotations

import ast
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import py_compile
import subprocess
import sys
import textwrap
import types
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mitogen.master.finder import ModuleFinder
from mitogen.master.found import FoundModule, NotServable
from mitogen.master.program import absolute

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SOURCES = Path(__file__).parents[2] / "packages"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on `sys.path`; what is imported from it is forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("sample"):
            del sys.modules[name]


def write(path: Path, text: str | bytes = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
    importlib.invalidate_caches()
    return path


def find(name: str) -> FoundModule:
    found = ModuleFinder().find(name)
    assert found is not None
    return found


def refusal(name: str) -> str:
    with pytest.raises(NotServable) as info:
        ModuleFinder().find(name)
    assert info.value.fullname == name
    assert name in str(info.value)
    return info.value.reason


def load(name: str, loaded: bool) -> None:
    if loaded:
        importlib.import_module(name)


# Files.


@pytest.mark.parametrize("is_loaded", [True, False])
def test_module_in_a_file(folder: Path, is_loaded: bool) -> None:
    path = write(folder / "sample.py", "x = 1\n")
    load("sample", is_loaded)
    found = find("sample")
    assert (found.fullname, found.path, found.source) == ("sample", str(path), b"x = 1\n")
    assert (found.is_package, found.children, found.package) == (False, (), "")


@pytest.mark.parametrize("is_loaded", [True, False])
def test_package_and_its_submodules(folder: Path, is_loaded: bool) -> None:
    write(folder / "sample/__init__.py", "x = 1\n")
    write(folder / "sample/one.py", "y = 1\n")
    write(folder / "sample/two/__init__.py")
    write(folder / "sample/two/deep.py", "z = 1\n")
    write(folder / "sample/space/three.py")
    write(folder / "sample/__pycache__/junk.py")
    write(folder / "sample/not-a-name/junk.py")
    write(folder / "sample/data.txt")
    load("sample.two.deep", is_loaded)
    found = find("sample")
    assert found.is_package
    assert found.source == b"x = 1\n"
    assert found.children == ("one", "space", "two")
    assert found.package == "sample"
    assert find("sample.two.deep").source == b"z = 1\n"
    assert find("sample.two.deep").package == "sample.two"
    assert find("sample.two").source == b""
    finder = ModuleFinder()
    assert finder.children("sample") == ("one", "space", "two")
    assert finder.children("sample.two") == ("deep",)
    assert finder.children("sample.one") == ()
    assert finder.children("sample.missing") == ()


def test_looking_for_a_submodule_does_not_import_the_packages_above(folder: Path) -> None:
    write(folder / "sample/__init__.py", "raise SystemExit('imported')")
    write(folder / "sample/sub/__init__.py", "raise SystemExit('imported')")
    write(folder / "sample/sub/deep.py", "x = 1")
    assert find("sample.sub.deep").source == b"x = 1"
    assert not [name for name in sys.modules if name.startswith("sample")]


def test_path_of_a_loaded_package_counts_not_that_of_its_spec(folder: Path) -> None:
    write(folder / "sample/__init__.py", "__path__.append(__path__[0] + '/../elsewhere')")
    write(folder / "elsewhere/more.py", "x = 1")
    importlib.import_module("sample")
    assert "more" in find("sample").children
    assert find("sample.more").source == b"x = 1"


@pytest.mark.parametrize(
    "name", ["sample_missing", "sample_missing.sub", "sample.missing", "sample.missing.sub"]
)
def test_missing_module_is_none(folder: Path, name: str) -> None:
    write(folder / "sample.py")
    assert ModuleFinder().find(name) is None


@pytest.mark.parametrize("name", ["", ".", "sample.", "a/b", "..etc", "sample.../x", "a\0b", "a b"])
def test_name_that_is_none_finds_nothing(folder: Path, name: str) -> None:
    write(folder / "sample/__init__.py")
    assert ModuleFinder().find(name) is None


def test_encoding_of_the_file_is_kept(folder: Path) -> None:
    data = "# -*- coding: latin-1 -*-\nx = 'ä'\n".encode("latin-1")
    write(folder / "sample.py", data)
    assert find("sample").source == data


@pytest.mark.parametrize("is_loaded", [True, False])
def test_source_beside_byte_code(folder: Path, is_loaded: bool) -> None:
    source = write(folder / "sample_src.py", "x = 1")
    py_compile.compile(str(source), str(folder / "sample.pyc"))
    source.rename(folder / "sample.py")
    # As where only the byte code is on the path.
    loader = importlib.machinery.SourcelessFileLoader("sample", str(folder / "sample.pyc"))
    spec = importlib.util.spec_from_file_location("sample", folder / "sample.pyc", loader=loader)
    if is_loaded:
        assert spec
        sys.modules["sample"] = importlib.util.module_from_spec(spec)
    assert find("sample").source == b"x = 1"
    assert find("sample").path == str(folder / "sample.py")


def test_byte_code_alone_is_refused(folder: Path) -> None:
    source = write(folder / "sample_src.py", "x = 1")
    py_compile.compile(str(source), str(folder / "sample.pyc"))
    importlib.invalidate_caches()
    assert "byte code only" in refusal("sample")


def test_results_are_kept(folder: Path) -> None:
    path = write(folder / "sample.py", "x = 1")
    finder = ModuleFinder()
    first = finder.find("sample")
    path.unlink()
    assert finder.find("sample") is first
    assert finder.find("sample_missing") is None
    write(folder / "sample_missing.py")
    assert finder.find("sample_missing") is None
    for _ in range(2):
        with pytest.raises(NotServable, match="built-in"):
            finder.find("sys")


# Other places.


@pytest.fixture
def archive(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = folder / "sample.zip"
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("samplez/__init__.py", "x = 1\n")
        opened.writestr("samplez/mod.py", "# coding: latin-1\ny = 'ä'\n".encode("latin-1"))
        opened.writestr("samplez/sub/__init__.py", "")
        opened.writestr("samplez/space/deep.py", "z = 1\n")
        opened.writestr("samplez/space/data.txt", "")
        # Only with an entry of its own is a folder a namespace package.
        opened.writestr("samplens/", "")
        opened.writestr("samplens/mod.py", "a = 1\n")
        opened.writestr("samplez/binary.pyc", b"")
    monkeypatch.syspath_prepend(str(path))
    return path


@pytest.mark.parametrize("is_loaded", [True, False])
def test_zip_file(archive: Path, is_loaded: bool) -> None:
    load("samplez.mod", is_loaded)
    found = find("samplez")
    assert found.path == "%s/samplez/__init__.py" % archive
    assert found.source == b"x = 1\n"
    assert set(found.children) >= {"mod", "space", "sub"}
    found = find("samplez.mod")
    assert found.path == "%s/samplez/mod.py" % archive
    assert found.source == "# coding: latin-1\ny = 'ä'\n".encode("latin-1")
    assert find("samplez.sub").is_package


@pytest.mark.parametrize("is_loaded", [True, False])
def test_namespace_package_in_a_zip_file(archive: Path, is_loaded: bool) -> None:
    load("samplens.mod", is_loaded)
    assert find("samplens").is_package
    assert find("samplens").source == b""
    assert find("samplens").children == ("mod",)
    assert find("samplens.mod").source == b"a = 1\n"


@pytest.mark.parametrize("is_loaded", [True, False])
def test_namespace_package_over_several_folders(
    folder: Path, monkeypatch: pytest.MonkeyPatch, is_loaded: bool
) -> None:
    write(folder / "a/sample/one/x.py", "x = 1")
    write(folder / "b/sample/two/y.py", "y = 1")
    write(folder / "b/sample/one/z.py", "z = 1")
    monkeypatch.syspath_prepend(str(folder / "a"))
    monkeypatch.syspath_prepend(str(folder / "b"))
    load("sample.one.x", is_loaded)
    found = find("sample")
    assert (found.source, found.is_package, found.children) == (b"", True, ("one", "two"))
    assert found.path in (str(folder / "a/sample"), str(folder / "b/sample"))
    assert find("sample.one").children == ("x", "z")
    assert find("sample.one.x").source == b"x = 1"
    assert find("sample.one.z").source == b"z = 1"
    assert find("sample.two.y").source == b"y = 1"
    assert ModuleFinder().find("sample.one.missing") is None


@pytest.mark.parametrize("is_loaded", [True, False])
def test_namespace_package_has_no_code(folder: Path, is_loaded: bool) -> None:
    write(folder / "sample/one.py")
    load("sample", is_loaded)
    assert find("sample").code() is None
    assert find("sample.one").code() is not None


def test_namespace_package_that_outlived_the_one_it_is_in(folder: Path) -> None:
    write(folder / "sample/space/one.py")
    load("sample.space.one", True)
    del sys.modules["sample"]
    assert find("sample.space").children == ("one",)
    assert find("sample.space.one").source == b""
    assert ModuleFinder().find("sample.space.two") is None


class TextLoader(importlib.abc.InspectLoader, importlib.abc.MetaPathFinder):
    """An import hook that knows texts by name, and no files."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.texts = texts

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self.texts:
            return None
        return importlib.util.spec_from_loader(fullname, self, is_package=fullname == "sample")

    def get_source(self, fullname: str) -> str:
        return self.texts[fullname]

    def is_package(self, fullname: str) -> bool:
        return fullname == "sample"


@pytest.mark.parametrize("is_loaded", [True, False])
def test_any_loader_that_knows_its_source(
    folder: Path, monkeypatch: pytest.MonkeyPatch, is_loaded: bool
) -> None:
    hook = TextLoader({"sample": "x = 1\n", "sample.sub": "# coding: latin-1\nx = 'ä'\n"})
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, hook])
    load("sample.sub", is_loaded)
    assert find("sample").source == b"x = 1\n"
    assert find("sample").is_package
    # Nobody can list them, so that a context asks for each.
    assert find("sample").children == ()
    # A context decodes it as the text says.
    assert ast.unparse(ast.parse(find("sample.sub").source)) == "x = 'ä'"


@pytest.mark.parametrize("is_loaded", [True, False])
def test_loader_that_does_not_give_its_source_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, is_loaded: bool
) -> None:
    class Secretive(importlib.abc.Loader, importlib.abc.MetaPathFinder):
        def find_spec(
            self, fullname: str, path: Sequence[str] | None, target: Any = None
        ) -> importlib.machinery.ModuleSpec | None:
            is_known = fullname == "sample"
            return importlib.util.spec_from_loader(fullname, self) if is_known else None

        def exec_module(self, module: types.ModuleType) -> None:
            pass

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Secretive()])
    load("sample", is_loaded)
    assert "does not give its source" in refusal("sample")


def test_finder_that_raises_finds_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def find_spec(self, *args: object) -> None:
            raise RuntimeError

    write(folder / "sample.py", "x = 1")
    monkeypatch.setattr(sys, "meta_path", [Broken(), object(), *sys.meta_path])
    assert find("sample").source == b"x = 1"


def test_module_without_a_spec_is_read_from_its_file(folder: Path) -> None:
    module = types.ModuleType("sample")
    module.__file__ = str(write(folder / "elsewhere.py", "x = 1"))
    sys.modules["sample"] = module
    assert find("sample").source == b"x = 1"


def test_module_made_at_run_time_is_refused(folder: Path) -> None:
    sys.modules["sample"] = types.ModuleType("sample")
    assert "while the program ran" in refusal("sample")


def test_junk_among_loaded_modules_is_passed_over(folder: Path) -> None:
    class Junk:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

    write(folder / "sample.py", "x = 1")
    sys.modules["sample"] = Junk()  # type: ignore[assignment]
    assert find("sample").source == b"x = 1"
    sys.modules["sample"] = None  # type: ignore[assignment]
    assert find("sample").source == b"x = 1"


# What can't be sent.


def test_extension_module_is_refused_by_name() -> None:
    names = ["_ctypes", "_json", "_struct", "_decimal"]
    specs = [importlib.util.find_spec(name) for name in names]
    found = [s for s in specs if s and s.origin and s.origin.endswith(".so")]
    if not found:
        pytest.skip("this interpreter has its extension modules built in")
    assert "compiled for the master's platform" in refusal(found[0].name)


def test_extension_module_is_listed_among_the_children(folder: Path) -> None:
    write(folder / "sample/__init__.py")
    write(folder / ("sample/fast" + importlib.machinery.EXTENSION_SUFFIXES[0]), b"\x7fELF")
    assert find("sample").children == ("fast",)
    assert "compiled for the master's platform" in refusal("sample.fast")


def test_built_in_and_frozen_modules_are_refused() -> None:
    assert "built-in" in refusal("sys")
    assert "frozen" in refusal("_frozen_importlib")


# Our own.


def test_own_modules_are_minified() -> None:
    found = find("mitogen.core.errors")
    original = Path(found.path).read_bytes()
    assert len(found.source) < len(original) / 2
    assert found.source.count(b'"""') == 0
    line = next(i for i, text in enumerate(original.splitlines()) if b"class Error" in text)
    assert found.source.splitlines()[line].startswith(b"class Error")


def test_modules_of_all_distributions_are_children_of_the_package() -> None:
    found = find("mitogen")
    assert {"core", "master", "parent", "minify"} <= set(found.children)


def test_start_up_imports_nothing_heavy() -> None:
    code = (
        "import sys; before = set(sys.modules); import mitogen.master.finder\n"
        "print(sorted({'ast', 'pkgutil', 'zipimport', 'zipfile', 'importlib.util', 'inspect',"
        " 'tokenize', 'mitogen.minify', 'dataclasses'} & (set(sys.modules) - before)))"
    )
    # Through the files themselves, since mitogen.master imports what a router needs.
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, SOURCES.glob("*/src"))))
    code = (
        "import sys, types\n"
        "import mitogen.core.errors\n"
        "package = types.ModuleType('mitogen.master')\n"
        "import mitogen\n"
        "package.__path__ = [p + '/master' for p in mitogen.__path__]\n"
        "sys.modules['mitogen.master'] = package\n" + code
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], env=env, check=True, stdout=subprocess.PIPE)
    assert done.stdout == b"[]\n"


# The program itself.

REPORT = """
import os, sys
sys.path[:0] = os.environ["SAMPLE_PATH"].split(os.pathsep)
def report():
    from mitogen.master.finder import ModuleFinder, NotServable
    try:
        found = ModuleFinder().find("__main__")
        print(repr((found.source.decode(), found.path, found.package, found.is_package)))
    except NotServable as e:
        print(repr(str(e)))
report()
import atexit; atexit.register(report)
"""


def run_main(folder: Path, *argv: str, stdin: str = "", at_exit: bool = False) -> Any:
    """Run Python in `folder`; return what its finder says of `__main__`."""
    write(folder / "reporting.py", REPORT)
    env = dict(os.environ, SAMPLE_PATH=os.pathsep.join(map(str, SOURCES.glob("*/src"))))
    env.pop("PYTHONSTARTUP", None)
    done = subprocess.run(
        [sys.executable, *argv],
        cwd=str(folder),
        env=env,
        input=stdin.encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert done.stdout, done.stderr.decode()
    return ast.literal_eval(done.stdout.decode().splitlines()[-1 if at_exit else 0])


GUARDS = [
    "if __name__ == '__main__':",
    'if __name__=="__main__":',
    "if '__main__' == __name__:",
    "if (__name__ == (\n        '__main__')):",
    "if __name__ == '__main__' and not None:",
]


@pytest.mark.parametrize("guard", GUARDS)
def test_script_is_served_up_to_its_guard(tmp_path: Path, guard: str) -> None:
    head = "import reporting\n\ndef f():\n    return 1\n\n"
    path = write(tmp_path / "script.py", head + guard + "\n    import this_is_cut\nx = 1\n")
    source, found, package, is_package = run_main(tmp_path, "script.py")
    assert source == head
    assert Path(tmp_path, found) == path
    assert (package, is_package) == ("", False)


@pytest.mark.parametrize(
    "source",
    [
        "",
        "def f(): pass",
        "def f():\n    if __name__ == '__main__':\n        pass",
        "# if __name__ == '__main__':",
        "x = '''\nif __name__ == '__main__':\n'''",
        "if __name__ != '__main__': pass",
        "if __name__ == 'main': pass",
        "def main(): pass\n@main\ndef g(): pass",
    ],
)
def test_script_without_a_guard_is_refused(tmp_path: Path, source: str) -> None:
    write(tmp_path / "script.py", "import reporting\n" + source)
    text = run_main(tmp_path, "script.py")
    assert "module __main__ can't be sent" in text
    assert "script.py" in text
    assert "`if __name__ == '__main__':`" in text


@pytest.mark.parametrize(
    ("imported", "decorator"),
    [
        ("import mitogen", "@mitogen.main()"),
        ("import mitogen.utils", "@mitogen.main(log_level='DEBUG')"),
        ("import mitogen as m", "@m.main()"),
        ("from mitogen import main", "@main()"),
        ("from mitogen import main as start", "@start(profiling=True)"),
    ],
)
def test_main_decorator_is_a_guard(imported: str, decorator: str) -> None:
    from mitogen.master.program import importable

    source = ("%s\n%s\ndef run(router): pass\nx = 1\n" % (imported, decorator)).encode()
    assert importable(source) == source
    assert importable(source.replace(b"@", b"# ")) is None


def test_guard_after_the_decorator_still_cuts() -> None:
    from mitogen.master.program import importable

    head = b"import mitogen\n@mitogen.main()\ndef run(router): pass\n"
    assert importable(head + b"if __name__ == '__main__': pass\n") == head


def test_lines_are_counted_as_python_counts_them() -> None:
    from mitogen.master.program import importable

    head = b"# coding: latin-1\r\nx = '\xe4\x0c\x0b\x85'\ry = 1\n"
    assert importable(head + b"if __name__ == '__main__': pass") == head


def test_package_run_as_a_program(tmp_path: Path) -> None:
    write(tmp_path / "samplep/__init__.py")
    write(tmp_path / "samplep/other.py")
    head = "import reporting\nfrom . import other\n"
    write(tmp_path / "samplep/__main__.py", head + "if __name__ == '__main__':\n    pass\n")
    source, path, package, _ = run_main(tmp_path, "-m", "samplep")
    # In a child, the program is no part of the package.
    assert source == head.replace("from .", "from samplep")
    assert path.endswith("samplep/__main__.py")
    assert package == "samplep"


def test_module_run_as_a_program(tmp_path: Path) -> None:
    write(tmp_path / "samplep/__init__.py")
    write(tmp_path / "samplep/mod.py", "import reporting\nif __name__ == '__main__':\n    pass\n")
    source, path, package, _ = run_main(tmp_path, "-m", "samplep.mod")
    assert source == "import reporting\n"
    assert path.endswith("samplep/mod.py")
    assert package == "samplep"


def test_zip_file_run_as_a_program(tmp_path: Path) -> None:
    write(tmp_path / "reporting.py", REPORT)
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as opened:
        opened.writestr("__main__.py", "import reporting\nif __name__ == '__main__':\n    pass\n")
        opened.writestr("reporting.py", REPORT)
    source, path, _, _ = run_main(tmp_path, "app.zip")
    assert source == "import reporting\n"
    assert path.endswith("app.zip/__main__.py")


def test_script_without_an_extension(tmp_path: Path) -> None:
    write(tmp_path / "script", "import reporting\nif __name__ == '__main__':\n    pass\n")
    assert run_main(tmp_path, "script")[0] == "import reporting\n"


@pytest.mark.parametrize("argv", [["-c", "import reporting"], ["-"]])
def test_program_without_a_file_is_refused(tmp_path: Path, argv: list[str]) -> None:
    text = run_main(tmp_path, *argv, stdin="import reporting")
    assert "-c or on standard input" in text
    assert "save it as a script" in text


def test_interactive_prompt_is_refused(tmp_path: Path) -> None:
    text = run_main(tmp_path, "-i", stdin="import reporting\n")
    assert "interactive prompt" in text
    assert "a module or a script" in text


def test_changed_script_is_refused(tmp_path: Path) -> None:
    write(
        tmp_path / "script.py",
        "import reporting\nopen(__file__, 'w').write('def f(:')\nif __name__ == '__main__': pass\n",
    )
    assert "was changed" in run_main(tmp_path, "script.py", at_exit=True)


def test_script_that_has_ended_is_still_served(tmp_path: Path) -> None:
    write(tmp_path / "script.py", "import reporting\nif __name__ == '__main__':\n    pass\n")
    first = run_main(tmp_path, "script.py")
    last = run_main(tmp_path, "script.py", at_exit=True)
    assert first[0] == last[0] == "import reporting\n"
    assert Path(tmp_path, first[1]) == Path(tmp_path, last[1])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"from . import rel", b"from pkg.sub import rel"),
        (b"from .rel import (a,\n b)", b"from pkg.sub.rel import (a,\n b)"),
        (b"from .. import rel as r", b"from pkg import rel as r"),
        (b"from ..rel.deep import a", b"from pkg.rel.deep import a"),
        (b"x = '\xc3\xa9'; from .rel import a; from . import b",
         b"x = '\xc3\xa9'; from pkg.sub.rel import a; from pkg.sub import b"),
        (b"import rel", b"import rel"),
        (b"from rel import a", b"from rel import a"),
    ],
)  # fmt: skip
def test_relative_imports_of_a_program_become_absolute(line: bytes, expected: bytes) -> None:
    assert absolute(line, "pkg.sub") == expected


def test_functions_of_a_program_that_imports_relatively_can_be_called(tmp_path: Path) -> None:
    package = tmp_path / "relative_program"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "other.py").write_text("VALUE = 7\n")
    (package / "__main__.py").write_text(
        "from . import other\n"
        "from .other import VALUE\n"
        "def add():\n"
        "    return other.VALUE + VALUE\n"
        "if __name__ == '__main__':\n"
        "    import mitogen.master\n"
        "    with mitogen.master.Router() as router:\n"
        "        print(router.local().call(add))\n"
    )
    run = subprocess.run(
        [sys.executable, "-m", "relative_program"],
        cwd=tmp_path,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)),
        stdout=subprocess.PIPE,
        timeout=30,
    )
    assert run.stdout == b"14\n"
