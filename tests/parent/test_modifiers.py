"""`ModuleFinder.add_modifier`: the source that contexts are to have."""

from __future__ import annotations

import ast
import sys
from typing import TYPE_CHECKING

import pytest

from mitogen.master.finder import ModuleFinder
from mitogen.master.found import NotServable

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on `sys.path`."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def finder() -> ModuleFinder:
    return ModuleFinder()


def source(finder: ModuleFinder, name: str) -> bytes:
    found = finder.find(name)
    assert found is not None
    return found.source


def reason(finder: ModuleFinder, name: str) -> str:
    with pytest.raises(NotServable) as info:
        finder.find(name)
    return info.value.reason


def test_modifiers_get_name_and_source_in_order(folder: Path, finder: ModuleFinder) -> None:
    (folder / "sample.py").write_text("x = 1\n")
    seen: list[tuple[str, str]] = []

    def first(fullname: str, source: str) -> str:
        seen.append((fullname, source))
        return source + "y = 2\n"

    finder.add_modifier(first)
    finder.add_modifier(lambda name, source: source.replace("2", "3"))
    assert source(finder, "sample") == b"x = 1\ny = 3\n"
    assert source(finder, "sample") == b"x = 1\ny = 3\n"
    assert seen == [("sample", "x = 1\n")], "its result is kept"


def test_all_else_about_the_module_stays(folder: Path, finder: ModuleFinder) -> None:
    (folder / "sample").mkdir()
    (folder / "sample/__init__.py").touch()
    (folder / "sample/mod.py").touch()
    before = finder.find("sample")
    finder.add_modifier(lambda name, source: "x = 1")
    found = finder.find("sample")
    assert before is not None
    assert found is not None
    assert before.source == b"", "found before there was a modifier"
    assert found.source == b"x = 1"
    for attribute in "fullname", "path", "is_package", "children", "package":
        assert getattr(found, attribute) == getattr(before, attribute)


CODINGS = [
    ("utf-8", "", b""),
    ("utf-8", "", b"\xef\xbb\xbf"),
    ("latin-1", "# -*- coding: latin-1 -*-\n", b""),
    ("cp1252", "#!/usr/bin/python\n# vim: set fileencoding=cp1252 :\n", b""),
]


@pytest.mark.parametrize(("coding", "head", "mark"), CODINGS)
def test_source_is_decoded_and_encoded_by_its_own_coding(
    folder: Path, finder: ModuleFinder, coding: str, head: str, mark: bytes
) -> None:
    (folder / "sample.py").write_bytes(mark + (head + "x = 'ä'\r\n").encode(coding))

    def modifier(fullname: str, source: str) -> str:
        assert source == head + "x = 'ä'\n"
        return source.replace("ä", "äö")

    finder.add_modifier(modifier)
    # A context compiles the bytes.
    assert ast.unparse(ast.parse(source(finder, "sample"))) == "x = 'äö'"


def test_the_coding_that_a_modifier_leaves_counts(folder: Path, finder: ModuleFinder) -> None:
    (folder / "sample.py").write_bytes("# coding: latin-1\nx = 'ä'\n".encode("latin-1"))
    finder.add_modifier(lambda name, source: source.partition("\n")[2].replace("ä", "→"))
    assert source(finder, "sample") == "x = '→'\n".encode()


def broken(fullname: str, source: str) -> str:
    raise KeyError("oops")


FAILURES = [
    (broken, "KeyError"),
    (lambda name, source: None, "AttributeError"),
    (lambda name, source: source.encode(), "AttributeError"),
    (lambda name, source: "# coding: latin-1\n→", "UnicodeEncodeError"),
    (lambda name, source: "# coding: no-such-thing\n", "SyntaxError"),
]


@pytest.mark.parametrize(("modifier", "error"), FAILURES, ids=[error for _, error in FAILURES])
def test_a_module_whose_modifier_fails_is_refused_and_says_which(
    folder: Path, finder: ModuleFinder, modifier: Any, error: str, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "sample.py").write_text("x = 1\n")
    (folder / "sample_other.py").write_text("y = 1\n")
    finder.add_modifier(lambda name, source: source)
    finder.add_modifier(lambda name, source: source if name == "sample_other" else modifier(name, source))
    finder.add_modifier(modifier)
    for _ in range(2):
        text = reason(finder, "sample")
        assert "the source modifier" in text
        assert "<lambda> failed for it" in text
        assert error in text
    (record,) = caplog.records
    assert "failed for module sample" in record.getMessage()


def test_a_modifier_is_named_by_its_function(
    folder: Path, finder: ModuleFinder, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "sample.py").write_text("x = 1\n")
    finder.add_modifier(broken)
    assert reason(finder, "sample") == "the source modifier broken failed for it (KeyError)"
    assert "'oops'" in caplog.text


def test_source_that_cannot_be_decoded_is_refused(folder: Path, finder: ModuleFinder) -> None:
    (folder / "sample.py").write_bytes(b"x = '\xff'\n")
    finder.add_modifier(lambda name, source: source)
    assert "can't be decoded" in reason(finder, "sample")


def test_modules_of_the_library_and_namespace_packages_are_left_alone(
    folder: Path, finder: ModuleFinder
) -> None:
    (folder / "sample_space").mkdir()
    (folder / "sample_space/mod.py").write_text("x = 1\n")
    seen: list[str] = []

    def modifier(fullname: str, source: str) -> str:
        seen.append(fullname)
        return source

    finder.add_modifier(modifier)
    assert source(finder, "sample_space") == b""
    source(finder, "mitogen.core.errors")
    source(finder, "mitogen")
    assert seen == []
    source(finder, "sample_space.mod")
    assert seen == ["sample_space.mod"]


def test_of_the_program_they_see_what_is_above_its_guard(
    folder: Path, finder: ModuleFinder, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "program.py"
    path.write_text("x = 1\nif __name__ == '__main__':\n    secret()\n")
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(path), raising=False)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.setattr(sys.modules["__main__"], "__loader__", None)
    finder.add_modifier(lambda name, source: "# %s\n%s" % (name, source))
    assert source(finder, "__main__") == b"# __main__\nx = 1\n"


def test_what_cannot_be_called_is_no_modifier(finder: ModuleFinder) -> None:
    with pytest.raises(TypeError, match="not 'text'"):
        finder.add_modifier("text")  # type: ignore[arg-type]
