"""`mitogen.master.responder`: what children are told of a module, and what follows it."""

from __future__ import annotations

import importlib
import marshal
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from mitogen.master import finder as module_finder
from mitogen.master import responder as module

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mitogen.master import Router
    from mitogen.master.responder import Answer, ModuleResponder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a package `sample`, on `sys.path`; it is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "sample").mkdir()
    yield tmp_path / "sample"
    for name in [name for name in sys.modules if name.partition(".")[0] == "sample"]:
        del sys.modules[name]


@pytest.fixture
def responder(router: Router) -> ModuleResponder:
    return router.responder


def write(folder: Path, **sources: str) -> None:
    for name, source in sources.items():
        (folder / (name + ".py")).write_text(source)
    importlib.invalidate_caches()


def find(responder: ModuleResponder, name: str, as_source: bool = False) -> Answer:
    """Return an answer, made where answers are."""
    key = name + (":source" if as_source else "")
    answer: Answer = responder._router.broker.defer_sync(lambda: responder.find(key))
    assert answer[0] == name
    return answer


def content(answer: Answer) -> bytes:
    assert answer[3] is not None
    return answer[3]


def test_code_or_source(responder: ModuleResponder, folder: Path) -> None:
    write(folder, __init__="", part="VALUE = 1\n")
    code = find(responder, "sample.part")
    scope: dict[str, Any] = {}
    assert content(code)[:1] == b"\0"
    exec(marshal.loads(content(code)[1:]), scope)
    assert scope["VALUE"] == 1
    assert marshal.loads(content(code)[1:]).co_filename == code[2] == "master:%s/part.py" % folder
    source = find(responder, "sample.part", as_source=True)
    assert content(source) == b"VALUE = 1\n"
    assert source[:3] == code[:3]
    assert source[4] == code[4]


def test_children_of_a_package(responder: ModuleResponder, folder: Path) -> None:
    write(folder, __init__="", one="", two="")
    assert find(responder, "sample")[1] == ("one", "two", "__init__")
    assert find(responder, "sample.one")[1] is None


def test_related_are_modules_of_the_package_and_loaded_ones(
    responder: ModuleResponder, folder: Path, tmp_path: Path
) -> None:
    write(tmp_path, sample_loaded="", sample_other="")
    write(
        folder,
        __init__="",
        part="import sample_loaded, sample_other, json, os.path, sys\n"
        "import mitogen.core, mitogen.master\n"
        "from sample import one, nothing, part\nfrom .two import anything\n"
        "if TYPE_CHECKING:\n    from . import three\n"
        "def f():\n    from . import four\n",
        **dict.fromkeys(["one", "two", "three", "four"], ""),
    )
    importlib.import_module("sample_loaded")
    related = find(responder, "sample.part")[4]
    assert related[0] == "mitogen.core.imports"
    # The package itself was imported before.
    assert sorted(related[1:]) == ["mitogen.master", "sample.one", "sample.two", "sample_loaded"]
    assert find(responder, "sample.part", as_source=True)[4] == related
    del sys.modules["sample_loaded"]


def test_extension_modules_that_are_loaded_are_announced(
    responder: ModuleResponder, folder: Path
) -> None:
    write(folder, __init__="from . import native\n")
    (folder / "native.cpython-311-x86_64-linux-gnu.so").write_bytes(b"")
    (folder / "native.abi3.so").write_bytes(b"")
    assert "sample.native" in find(responder, "sample")[4]
    _, _, reason, nothing, _ = find(responder, "sample.native")
    assert nothing is None
    assert reason is not None
    assert "compiled for the master's platform" in reason


def test_source_that_is_not_valid_goes_as_it_is(responder: ModuleResponder, folder: Path) -> None:
    write(folder, __init__="", wrong="x = = 1\n", zeros="\0\0\0")
    assert content(find(responder, "sample.wrong")) == b"x = = 1\n"
    # Never taken for code.
    assert content(find(responder, "sample.zeros"))[:1] != b"\0"


def test_a_namespace_package_has_no_content(responder: ModuleResponder, folder: Path) -> None:
    write(folder, part="")
    for _ in range(2):
        answer = find(responder, "sample")
        assert answer[1:3] == (("part", "__init__"), "master:%s" % folder)
        assert content(answer) == b""
        responder._answers.clear()
        responder.finder._cache.clear()
        importlib.import_module("sample")


def test_the_standard_library_is_marked(responder: ModuleResponder) -> None:
    path = find(responder, "json.tool")[2]
    assert path is not None
    assert path.startswith("master-%d.%d:/" % sys.version_info[:2])
    assert find(responder, "json.tool")[4] == ("mitogen.core.imports",)


@pytest.mark.parametrize("name", ["sys", "zipimport", "_ctypes", "os.path.nowhere"])
def test_what_is_compiled_of_the_standard_library_is_nowhere(
    responder: ModuleResponder, name: str
) -> None:
    """A child whose Python does not have it should see just that."""
    assert find(responder, name)[1:] == (None, None, None, ())


@pytest.mark.parametrize("part", ["find", "children"])
def test_whatever_fails_there_is_an_answer(
    responder: ModuleResponder, folder: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    write(folder, __init__="from . import part\n", part="")

    def fail(name: str) -> None:
        raise KeyError("oddly")

    monkeypatch.setattr(responder.finder, part, fail)
    assert find(responder, "sample")[1:] == (
        None,
        "the master failed to look for module sample: 'oddly'",
        None,
        (),
    )


def test_no_other_name_gets_round_the_rules_and_modifiers(
    responder: ModuleResponder, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, __init__="", part="SECRET = 1\n")
    (folder / "sub").mkdir()
    write(folder / "sub", __init__="SECRET = 2\n")
    # A zip file's finder takes paths for names.
    with zipfile.ZipFile(tmp_path / "sample.zip", "w") as f:
        f.writestr("sample_zip/__init__.py", "")
        f.writestr("sample_zip/part.py", "SECRET = 3\n")
    monkeypatch.syspath_prepend(str(tmp_path / "sample.zip"))
    responder.deny(lambda name: name == "sample.sub", "sample.part", "sample_zip.part")
    for name in (
        "sample/part",
        "sample/sub",
        "sample.sub.__init__",
        "sample_zip/part",
        "sample_zip.part",
    ):
        assert find(responder, name)[1:] == (None, None, None, ())
    responder.finder.add_modifier(lambda name, source: "SEEN = %r" % name)
    assert content(find(responder, "sample.__init__", as_source=True)) == b"SEEN = 'sample'"


def test_answers_for_made_up_names_are_no_more_than_so_many(
    responder: ModuleResponder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ANSWERS", 10)
    monkeypatch.setattr(module_finder, "CACHE_LIMIT", 10)
    write(folder, __init__="", **{"part%d" % i: "" for i in range(30)})
    for i in range(30):
        assert find(responder, "sample.part%d" % i)[3] is not None
        assert find(responder, "sample.made_up%d" % i)[3] is None
    assert len(responder._answers) <= 10
    assert len(responder.finder._cache) <= 10


def test_what_was_not_there_is_found_once_the_program_has_imported_it(
    responder: ModuleResponder, folder: Path
) -> None:
    write(folder, __init__="")
    assert find(responder, "sample.later")[1:] == (None, None, None, ())
    write(folder, later="VALUE = 1\n")
    importlib.import_module("sample.later")
    assert content(find(responder, "sample.later", as_source=True)) == b"VALUE = 1\n"


def test_a_module_is_sent_as_the_program_has_it_since_it_imported_or_reloaded_it(
    responder: ModuleResponder, folder: Path
) -> None:
    write(folder, __init__="", part="VALUE = 'old'\n")
    part = importlib.import_module("sample.part")
    for as_source in (True, False):
        assert b"old" in content(find(responder, "sample.part", as_source))
    write(folder, part="VALUE = 'the new one'\n", later="")
    assert b"old" in content(find(responder, "sample.part")), "as what runs here"
    importlib.reload(part)
    importlib.reload(sys.modules["sample"])
    for as_source in (True, False):
        assert b"the new one" in content(find(responder, "sample.part", as_source))
    assert find(responder, "sample")[1] == ("later", "part", "__init__")


def test_names_that_are_no_names_are_nowhere(responder: ModuleResponder) -> None:
    for name in "", ".", "a..b", "../x", "x/y", "\0", "sample.", "\u20ac":
        assert find(responder, name)[1:] == (None, None, None, ())
    _, _, reason, _, _ = find(responder, "x" * (module.MAX_NAME + 1))
    assert reason == "module names of 1000 characters are not looked for"
