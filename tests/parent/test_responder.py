"""`mitogen.master.responder`: what children are told of a module, and what follows it."""

from __future__ import annotations

import importlib
import marshal
import sys
from typing import TYPE_CHECKING, Any

import pytest

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
    assert find(responder, "sample")[1] == ("one", "two")
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
        assert answer[1:3] == (("part",), "master:%s" % folder)
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


def test_names_that_are_no_names_are_nowhere(responder: ModuleResponder) -> None:
    for name in "", ".", "a..b", "../x", "x/y", "\0", "sample.", "\u20ac":
        assert find(responder, name)[1:] == (None, None, None, ())
    _, _, reason, _, _ = find(responder, "x" * (module.MAX_NAME + 1))
    assert reason == "module names of 1000 characters are not looked for"
