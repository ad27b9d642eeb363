"""`mitogen.master.data`: what a context may have of the files and distributions of the master."""

from __future__ import annotations

import errno
import importlib
import importlib.abc
import importlib.machinery
import io
import os
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import mitogen.core
import mitogen.master
from mitogen.core.datafile import CHUNK, GET_DATA
from mitogen.master import data, folders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mitogen.master import Router

    Ask = Callable[..., Any]

SECRET = b"a secret"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on `sys.path`, with a secret beside it and in it."""
    folder = tmp_path / "site"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(SECRET)
    (folder / "secret").write_bytes(SECRET)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(folders, "IDLE", 0.1)
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if name.startswith("sample"):
            del sys.modules[name]


def write(path: Path, content: str | bytes = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    importlib.invalidate_caches()
    return path


@pytest.fixture
def ask(router: Router) -> Ask:
    """Ask the master; return the answer without the None in front of it, or raise."""

    def ask(*request: object) -> Any:
        answer = raw(router, mitogen.core.Message.pickled(request).data)
        if answer[0] is not None:
            raise OSError(getattr(errno, answer[0]), answer[1])
        return answer[1] if len(answer) == 2 else answer[1:]

    return ask


def raw(router: Router, body: bytes) -> Any:
    msg = mitogen.core.Message(handle=GET_DATA, data=body)
    return router.make_context(0).send_await(msg, 20.0)


def read(ask: Ask, name: str, path: str) -> bytes:
    """Return a whole file of a package."""
    part: bytes
    content = b""
    while True:
        _, size, part = ask("read", "package", name, path, len(content), 1 << 16)
        content += part
        if len(content) >= size:
            return content


def refused(ask: Ask, *request: object) -> str:
    """Return the name of the error that a request for data gets."""
    with pytest.raises(OSError, match=".") as info:
        ask(*request)
    return errno.errorcode[info.value.errno or 0]


# -- What is served --------------------------------------------------------------------------------


def test_a_package_s_files_are_listed_and_read(ask: Ask, site: Path) -> None:
    write(site / "sample/__init__.py")
    write(site / "sample/a.txt", "text")
    write(site / "sample/folder/b.bin", b"\0\1")
    assert ask("list", "package", "sample", "") == [
        ("__init__.py", False),
        ("a.txt", False),
        ("folder", True),
    ]
    assert ask("list", "package", "sample", "folder") == [("b.bin", False)]
    assert ask("walk", "package", "sample", "") == ["__init__.py", "a.txt", "folder/b.bin"]
    assert ask("stat", "package", "sample", "folder") is True
    assert ask("stat", "package", "sample", "a.txt") is False
    assert read(ask, "sample", "folder/b.bin") == b"\0\1"
    assert "sample" not in sys.modules, "nothing is imported for anybody"


def test_a_file_comes_in_parts(ask: Ask, site: Path) -> None:
    write(site / "sample/__init__.py")
    write(site / "sample/a.txt", "0123456789")
    version, size, part = ask("read", "package", "sample", "a.txt", 3, 4)
    assert (size, part) == (10, b"3456")
    assert ask("read", "package", "sample", "a.txt", 8, 4) == (version, 10, b"89")
    assert ask("read", "package", "sample", "a.txt", 1 << 40, 4) == (version, 10, b"")
    write(site / "sample/a.txt", "0123456789 and more")
    assert ask("read", "package", "sample", "a.txt", 3, 4)[0] != version


def test_submodules_are_told_as_pkgutil_finds_them(ask: Ask, site: Path) -> None:
    write(site / "sample/__init__.py")
    write(site / "sample/module.py")
    write(site / "sample/sub/__init__.py")
    write(site / "sample/folder/x.txt")
    assert sorted(ask("modules", "package", "sample")) == [("module", False), ("sub", True)]


def test_portions_of_a_loaded_namespace_package_are_one(ask: Ask, site: Path, tmp_path: Path) -> None:
    write(site / "sample_ns/a.txt", "first")
    write(site / "sample_ns/folder/c.txt")
    write(tmp_path / "more/sample_ns/a.txt", "second")
    write(tmp_path / "more/sample_ns/b.txt", "other")
    write(tmp_path / "more/sample_ns/folder/d.txt")
    sys.path.append(str(tmp_path / "more"))
    importlib.import_module("sample_ns")
    assert ask("list", "package", "sample_ns", "") == [
        ("a.txt", False),
        ("b.txt", False),
        ("folder", True),
    ]
    assert ask("list", "package", "sample_ns", "folder") == [("c.txt", False), ("d.txt", False)]
    assert read(ask, "sample_ns", "a.txt") == b"first"
    assert read(ask, "sample_ns", "b.txt") == b"other"
    assert refused(ask, "list", "package", "sample_ns", "b.txt") == "ENOTDIR"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_zip_files_are_read_from_any_place(ask: Ask, site: Path, method: int) -> None:
    content = os.urandom(3 << 20)
    path = site / "sample.zip"
    with zipfile.ZipFile(path, "w", method) as f:
        # All that Python itself can read.
        f.writestr("above/sample_zip/__init__.py", "", zipfile.ZIP_DEFLATED)
        f.writestr("above/sample_zip/large.bin", content)
        f.writestr("above/sample_zip/folder/", "")
        f.writestr("above/sample_zip/implied/file.txt", "text")
    sys.path.insert(0, str(path / "above"))
    assert ask("list", "package", "sample_zip", "") == [
        ("__init__.py", False),
        ("folder", True),
        ("implied", True),
        ("large.bin", False),
    ]
    assert ask("list", "package", "sample_zip", "folder") == []
    for offset in (0, 100, 3 << 20, (3 << 20) - 5, 2_000_000, 1_000_000, 1_000_100):
        _, size, part = ask("read", "package", "sample_zip", "large.bin", offset, 100)
        assert (size, part) == (3 << 20, content[offset : offset + 100])
    assert read(ask, "sample_zip", "large.bin") == content
    assert refused(ask, "read", "package", "sample_zip", "folder", 0, 1) == "EISDIR"
    assert refused(ask, "list", "package", "sample_zip", "large.bin") == "ENOTDIR"
    assert refused(ask, "stat", "package", "sample_zip", "missing") == "ENOENT"
    version = ask("read", "package", "sample_zip", "implied/file.txt", 0, 9)[0]
    with zipfile.ZipFile(path, "w") as f:
        f.writestr("above/sample_zip/__init__.py", "")
        f.writestr("above/sample_zip/implied/file.txt", "other")
    importlib.invalidate_caches()
    assert ask("read", "package", "sample_zip", "implied/file.txt", 0, 9)[1:] == (5, b"other")
    assert ask("read", "package", "sample_zip", "implied/file.txt", 0, 9)[0] != version


def test_zip_files_are_not_kept_open(ask: Ask, site: Path, router: Router) -> None:
    """But for the last few, for a while."""
    for i in range(folders.MAX_OPEN + 3):
        path = site / ("sample%d.zip" % i)
        with zipfile.ZipFile(path, "w") as f:
            f.writestr("sample_zip%d/__init__.py" % i, "")
        sys.path.insert(0, str(path))
        assert ask("stat", "package", "sample_zip%d" % i, "") is True
        assert len(router._data_server._archives._open) <= folders.MAX_OPEN
    assert len(router._data_server._archives._open) == folders.MAX_OPEN


def test_a_zip_file_is_not_gone_on_with_in_any_number_of_places(
    ask: Ask, site: Path, router: Router
) -> None:
    path = site / "sample.zip"
    count = folders.MAX_READERS + 5
    with zipfile.ZipFile(path, "w") as f:
        f.writestr("sample_zip/__init__.py", "")
        for i in range(count):
            f.writestr("sample_zip/%d.txt" % i, "0123456789")
    sys.path.insert(0, str(path))
    for at in (0, 3, 6):
        for i in range(count):
            assert (
                ask("read", "package", "sample_zip", "%d.txt" % i, at, 3)[2] == b"0123456789"[at : at + 3]
            )
    [archive] = router._data_server._archives._open.values()
    assert len(archive.readers) == folders.MAX_READERS


def test_packages_that_were_asked_for_are_not_all_remembered(
    ask: Ask, site: Path, router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "MAX_SPECS", 5)
    for i in range(8):
        write(site / ("sample%d/__init__.py" % i))
        assert ask("stat", "package", "sample%d" % i, "") is True
    assert len(router._data_server._specs) <= 5


class DictLoader(importlib.abc.Loader):
    """Keeps packages and their files in memory."""

    files = {"__init__.py": b"", "a.txt": b"text", "folder/b.txt": b"below"}

    def get_source(self, fullname: str) -> str:
        return self.files["__init__.py"].decode()

    def exec_module(self, module: Any) -> None:
        """Do nothing."""


class DataLoader(DictLoader):
    def get_data(self, path: str) -> bytes:
        return self.files[path.partition("sample_dict/")[2]]


class OldReader:
    def open_resource(self, name: str) -> Any:
        return io.BytesIO(DictLoader.files[name])

    def is_resource(self, name: str) -> bool:
        return name in DictLoader.files

    def contents(self) -> Sequence[str]:
        return ["__init__.py", "a.txt", "folder"]


class OldReaderLoader(DictLoader):
    def get_resource_reader(self, fullname: str) -> Any:
        return OldReader()


class NewReader:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def files(self) -> Path:
        return self._folder


class NewReaderLoader(DictLoader):
    folder: Path

    def get_resource_reader(self, fullname: str) -> Any:
        return NewReader(self.folder)


@pytest.mark.parametrize("kind", [DataLoader, OldReaderLoader, NewReaderLoader])
def test_loaders_of_other_kinds_are_asked(
    ask: Ask, kind: type[DictLoader], site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path, content in DictLoader.files.items():
        write(tmp_path / "elsewhere" / path, content)
    loader = kind()
    loader.folder = tmp_path / "elsewhere"  # type: ignore[attr-defined]

    class Finder(importlib.abc.MetaPathFinder):
        def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
            if fullname != "sample_dict":
                return None
            spec = importlib.machinery.ModuleSpec(fullname, loader, is_package=True)
            spec.origin = "<dict>/sample_dict/__init__.py"
            spec.submodule_search_locations = ["<dict>/sample_dict"]
            return spec

    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    assert read(ask, "sample_dict", "a.txt") == b"text"
    assert ask("read", "package", "sample_dict", "a.txt", 1, 2)[1:] == (4, b"ex")
    assert ask("stat", "package", "sample_dict", "a.txt") is False
    assert ask("stat", "package", "sample_dict", "") is True
    assert refused(ask, "read", "package", "sample_dict", "missing", 0, 1) in ("ENOENT", "EIO")
    assert refused(ask, "read", "package", "sample_dict", "../secret", 0, 1) == "ENOENT"
    if kind is DataLoader:
        assert refused(ask, "list", "package", "sample_dict", "") in ("ENOTSUP", "EOPNOTSUPP")
    else:
        assert [n for n, _ in ask("list", "package", "sample_dict", "")] == [
            "__init__.py",
            "a.txt",
            "folder",
        ]
    if kind is not OldReaderLoader:
        assert read(ask, "sample_dict", "folder/b.txt") == b"below"


# -- What is not -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        *("../secret", "..", "folder/../../secret", "/etc/passwd", "//etc/passwd", "folder//x"),
        *("\0", "a.txt\0", "./a.txt", ".", "folder/.", "a.txt/", "x" * 5000, "a.txt/x", "\udc80"),
    ],
)
def test_what_is_outside_the_folder_is_refused(ask: Ask, site: Path, path: str) -> None:
    write(site / "sample/__init__.py")
    write(site / "sample/a.txt", "text")
    write(site / "sample/folder/b.txt", "text")
    for request in (("list", path), ("stat", path), ("read", path, 0, 10), ("walk", path)):
        assert refused(ask, request[0], "package", "sample", *request[1:]) in ("ENOENT", "ENOTDIR")


@pytest.mark.parametrize("name", ["", ".", "..", "/", "sample/..", "site", "sample\0", "sample.", "é è"])
def test_only_names_of_packages_are(ask: Ask, site: Path, name: str) -> None:
    write(site / "sample/__init__.py")
    assert refused(ask, "list", "package", name, "") == "ENOENT"
    assert refused(ask, "modules", "package", name) == "ENOENT"


def test_modules_in_no_package_and_the_program_have_no_data(ask: Ask, site: Path) -> None:
    write(site / "sample_module.py")
    importlib.import_module("sample_module")
    for name in ("sample_module", "__main__", "sys", "os"):
        assert refused(ask, "list", "package", name, "") == "ENOENT"
        assert refused(ask, "read", "package", name, "secret", 0, 10) == "ENOENT"


def test_folders_that_could_be_namespace_packages_are_none_unless_they_are_loaded(
    ask: Ask, site: Path
) -> None:
    """Any folder could, below the one of the program."""
    write(site / "keys/private.pem", SECRET)
    write(site / "keys/inner/private.pem", SECRET)
    for name in ("keys", "keys.inner"):
        for request in (
            ("list", ""),
            ("stat", "private.pem"),
            ("read", "private.pem", 0, 9),
            ("walk", ""),
        ):
            assert refused(ask, request[0], "package", name, *request[1:]) == "ENOENT"
        assert refused(ask, "modules", "package", name) == "ENOENT"


def test_symbolic_links_are_followed_within_the_package_alone(
    ask: Ask, site: Path, tmp_path: Path
) -> None:
    write(site / "sample/__init__.py")
    write(site / "sample/folder/a.txt", "text")
    (site / "sample/inside").symlink_to("folder")
    (site / "sample/secret").symlink_to(tmp_path / "secret")
    (site / "sample/outside").symlink_to(tmp_path)
    (site / "sample/gone").symlink_to("nowhere")
    (site / "sample_link").symlink_to("sample")
    for name in ("sample", "sample_link"):
        assert read(ask, name, "inside/a.txt") == b"text"
        assert refused(ask, "read", "package", name, "secret", 0, 10) == "EACCES"
        assert refused(ask, "read", "package", name, "outside/secret", 0, 10) == "EACCES"
        assert refused(ask, "list", "package", name, "outside") == "EACCES"
        names = dict(ask("list", "package", name, ""))
        assert names == {"__init__.py": False, "folder": True, "inside": True}


def test_packages_that_are_links_to_a_store_are_read_there(ask: Ask, site: Path, tmp_path: Path) -> None:
    for path in ("__init__.py", "a.txt", "folder/b.txt"):
        stored = write(tmp_path / "store" / path, "text" if path[-1] == "t" else "")
        (site / "sample" / path).parent.mkdir(parents=True, exist_ok=True)
        (site / "sample" / path).symlink_to(stored)
    (site / "sample/secret").symlink_to(tmp_path / "secret")
    assert read(ask, "sample", "a.txt") == b"text"
    assert read(ask, "sample", "folder/b.txt") == b"text"
    assert refused(ask, "read", "package", "sample", "secret", 0, 10) == "EACCES"


def test_a_pipe_or_a_file_that_may_not_be_read_is_an_error_at_once(ask: Ask, site: Path) -> None:
    write(site / "sample/__init__.py")
    os.mkfifo(site / "sample/pipe")
    (site / "sample/device").symlink_to("/dev/zero")
    assert refused(ask, "read", "package", "sample", "pipe", 0, 1) == "EACCES"
    assert refused(ask, "read", "package", "sample", "device", 0, 1) == "EACCES"
    assert ask("list", "package", "sample", "") == [("__init__.py", False)]


def test_byte_code_is_hidden(ask: Ask, site: Path) -> None:
    write(site / "sample/__init__.py")
    write(site / "sample/__pycache__/module.cpython-311.pyc", SECRET)
    write(site / "sample/old.pyc", SECRET)
    assert ask("walk", "package", "sample", "") == ["__init__.py"]
    for path in ("__pycache__", "__pycache__/module.cpython-311.pyc", "old.pyc"):
        assert refused(ask, "stat", "package", "sample", path) == "ENOENT"


def test_a_denied_name_looks_like_a_missing_one(ask: Ask, site: Path, router: Router) -> None:
    router.responder.deny("sample_denied", "sample.hidden", "sample.lonely")
    write(site / "sample_denied/__init__.py")
    write(site / "sample_denied/a.txt", SECRET)
    write(site / "sample/__init__.py")
    write(site / "sample/hidden/__init__.py")
    write(site / "sample/hidden/a.txt", SECRET)
    write(site / "sample/lonely.py", SECRET)
    write(site / "sample/lonely.txt", "is no module")
    for name in ("sample_denied", "sample.hidden", "sample_missing"):
        with pytest.raises(FileNotFoundError, match=os.strerror(errno.ENOENT)):
            ask("read", "package", name, "a.txt", 0, 10)
    for path in ("hidden", "hidden/a.txt", "lonely.py", "missing"):
        with pytest.raises(FileNotFoundError, match=os.strerror(errno.ENOENT)):
            ask("stat", "package", "sample", path)
    assert ask("walk", "package", "sample", "") == ["__init__.py", "lonely.txt"]
    assert ask("modules", "package", "sample") == []


def test_a_denied_name_fails_like_a_missing_one(ask: Ask, site: Path, router: Router) -> None:
    """Neither by what would be wrong with it, nor by what lies beside it."""
    router.responder.deny("sample.hidden")
    write(site / "sample/__init__.py")
    write(site / "sample/hidden/__init__.py")
    write(site / "sample/hidden.pyi")
    write(site / "sample/hidden.pyx")
    (site / "sample/hidden.py").symlink_to(site / "secret")
    for path in ("hidden/__init__.py/x", "hidden.py", "hidden.py/x", "hidden.pyi", "hidden.pyx"):
        for request in (("list", path), ("stat", path), ("read", path, 0, 10), ("walk", path)):
            with pytest.raises(FileNotFoundError, match=os.strerror(errno.ENOENT)):
                ask(request[0], "package", "sample", *request[1:])


def test_only_what_is_allowed_has_data_if_there_are_such_rules(
    ask: Ask, site: Path, router: Router
) -> None:
    """Also not the packages around it, whose modules are sent all the same."""
    router.responder.allow("sample.allowed")
    for path in ("__init__.py", "a.txt", "allowed/__init__.py", "allowed/a.txt", "other/__init__.py"):
        write(site / "sample" / path, SECRET if path[-1] == "t" else "")
    assert ask("walk", "package", "sample.allowed", "") == ["__init__.py", "a.txt"]
    for name in ("sample", "sample.other", "json"):
        assert refused(ask, "list", "package", name, "") == "ENOENT"
    assert ask("distributions", "distribution", "pytest") == []


def test_modules_are_read_as_modifiers_left_them(ask: Ask, site: Path, router: Router) -> None:
    """They may have been told to take something out."""
    write(site / "sample/__init__.py")
    write(site / "sample/module.py", "x = 'secret'")
    write(site / "sample/no-module.txt", "x = 'secret'")
    router.responder.finder.add_modifier(lambda name, source: source.replace("secret", "nothing"))
    assert read(ask, "sample", "module.py") == b"x = 'nothing'"
    assert read(ask, "sample", "no-module.txt") == b"x = 'secret'"


def test_what_a_modifier_failed_for_is_not_read(ask: Ask, site: Path, router: Router) -> None:
    """It might have been there to take something out."""
    write(site / "sample/__init__.py")
    write(site / "sample/module.py", "x = 'secret'")
    write(site / "sample/latin.py", b"x = 'secret \xe9'")

    def fail(name: str, source: str) -> str:
        raise ValueError(name)

    router.responder.finder.add_modifier(lambda n, s: fail(n, s) if n == "sample.module" else s)
    for path in ("module.py", "latin.py"):
        assert refused(ask, "read", "package", "sample", path, 0, 10) == "EACCES"


@pytest.mark.parametrize(
    "request_",
    [
        *((), ("list",), ("list", "package"), ("read", "package", "sample", "a", 0)),
        *(("list", "package", "sample"), ("list", "package", 1, ""), ("list", "package", "sample", None)),
        *(("read", "package", "sample", "a", -1, 1), ("read", "package", "sample", "a", 0, -1)),
        *(
            ("read", "package", "sample", "a", 0, CHUNK + 1),
            ("read", "package", "sample", "a", 1 << 63, 1),
        ),
        *(("read", "package", "sample", "a", True, 1), ("read", "package", "sample", "a", 0.0, 1)),
        *(("answer", "package", "sample"), ("__init__", "", "x"), (["list"], "package", "sample", "")),
        *(("list", "package", "n" * 1000, ""), 5, None, "list", {"list": 1}, [1, 2, 3]),
        ("list", "package", "sample", "x" * 20_000),
    ],
)
def test_what_is_no_request_is_an_error(router: Router, request_: object) -> None:
    answer = raw(router, mitogen.core.Message.pickled(request_).data)
    assert answer[0] == "EINVAL"


@pytest.mark.parametrize(
    "body", [b"", b"\0", b"garbage", b"\x80\x04.", b"\x80\x04cos\nsystem\n.", b"x" * 99999]
)
def test_garbage_is_an_error(router: Router, body: bytes) -> None:
    assert raw(router, body)[0] == "EINVAL"


def test_an_answer_is_no_larger_than_a_message(site: Path) -> None:
    write(site / "sample/__init__.py")
    write(site / "sample/a.bin", b"x" * 100_000)
    with mitogen.master.Router(max_message_size=20_000) as router:
        request = mitogen.core.Message.pickled(("read", "package", "sample", "a.bin", 0, 50_000)).data
        assert raw(router, request)[0] == "EMSGSIZE"


def test_too_many_names_are_not_listed(ask: Ask, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "MAX_NAMES", 3)
    write(site / "sample/__init__.py")
    for i in range(4):
        write(site / ("sample/folder/%d" % i))
    assert refused(ask, "list", "package", "sample", "folder") == "EFBIG"
    assert refused(ask, "walk", "package", "sample", "") == "EFBIG"


# -- Distributions -----------------------------------------------------------------------------------


def write_distribution(folder: Path, name: str, **files: str) -> None:
    for file, text in files.items():
        path = {"METADATA": "METADATA", "RECORD": "RECORD", "top": "top_level.txt"}.get(file, file)
        write(folder / ("%s-1.0.dist-info" % name) / path.replace("__", "/"), text)


def test_distributions_are_listed_and_their_files_read(ask: Ask, site: Path) -> None:
    write_distribution(
        site,
        "sample_dist",
        METADATA="Name: Sample.Dist\nVersion: 1.0\n\nName: no\n",
        licenses__LICENSE="free",
    )
    write(site / "sample_dist-1.0.dist-info/entry_points.txt", "[x]\ny = z\n")
    expected = ("Sample.Dist", "1.0", "[x]\ny = z\n")
    for name in ("sample-dist", "SAMPLE.dist", "Sample_Dist"):
        assert ask("distributions", "distribution", name) == [expected]
    everything = ask("distributions", "distribution", "")
    assert expected in everything
    assert len(everything) > 10
    assert ask("read", "distribution", "sample-dist", "licenses/LICENSE", 0, 99)[1:] == (4, b"free")
    assert ask("stat", "distribution", "sample-dist", "METADATA") is False
    assert ask("list", "distribution", "sample-dist", "licenses") == [("LICENSE", False)]
    assert ask("distributions", "distribution", "missing-dist") == []


def test_the_first_of_a_name_counts(ask: Ask, site: Path, tmp_path: Path) -> None:
    write_distribution(site, "sample_dist", METADATA="Name: sample-dist\nVersion: 1.0\n")
    write_distribution(tmp_path / "later", "Sample.Dist", METADATA="Name: Sample.Dist\nVersion: 2.0\n")
    sys.path.append(str(tmp_path / "later"))
    listed = [d for d in ask("distributions", "distribution", "") if d[0].lower().startswith("sample")]
    assert listed == [("sample-dist", "1.0", "")]


@pytest.mark.parametrize(
    "path", ["../secret", "/etc/passwd", "..", "licenses/../../secret", "link", "\0", "x" * 5000]
)
def test_what_is_outside_a_distribution_s_metadata_is_refused(ask: Ask, site: Path, path: str) -> None:
    write_distribution(site, "sample_dist", METADATA="Name: sample-dist\nVersion: 1.0\n")
    (site / "sample_dist-1.0.dist-info/link").symlink_to(site / "secret")
    assert refused(ask, "read", "distribution", "sample-dist", path, 0, 9) in ("ENOENT", "EACCES")
    assert refused(ask, "list", "distribution", "sample-dist", path) in ("ENOENT", "EACCES")


@pytest.mark.parametrize("name", ["", "/", "..", "sample_dist-1.0", "*", "sample-dist/../x", "\0"])
def test_only_names_of_distributions_are(ask: Ask, site: Path, name: str) -> None:
    write_distribution(site, "sample_dist", METADATA="Name: sample-dist\nVersion: 1.0\n")
    assert refused(ask, "read", "distribution", name, "METADATA", 0, 9) == "ENOENT"
    assert not name or ask("distributions", "distribution", name) == []


def test_an_old_distribution_of_one_file_has_no_other(ask: Ask, site: Path) -> None:
    write(site / "sample_old-1.0.egg-info", "Name: sample-old\nVersion: 1.0\n")
    assert ask("distributions", "distribution", "sample-old") == [("sample-old", "1.0", "")]
    assert ask("read", "distribution", "sample-old", "", 0, 5)[2] == b"Name:"
    assert refused(ask, "read", "distribution", "sample-old", "secret", 0, 9) == "ENOENT"


def test_a_distribution_of_denied_modules_alone_looks_like_a_missing_one(
    ask: Ask, site: Path, router: Router
) -> None:
    router.responder.deny("sample_denied", "sample.hidden", "sample_bare")
    meta = "Name: %s\nVersion: 1.0\n"
    write_distribution(
        site, "sample_denied", METADATA=meta % "sample-denied", RECORD="sample_denied/x.py,,\n"
    )
    write_distribution(site, "sample_top", METADATA=meta % "sample-top", top="sample_denied\n")
    write_distribution(site, "sample_bare", METADATA=meta % "sample-bare")
    record = (
        "sample/__init__.py,,\nsample/hidden/x.py,,\nsample/a.txt,,\nsample_part-1.0.dist-info/RECORD,,\n"
    )
    write_distribution(site, "sample_part", METADATA=meta % "sample-part", RECORD=record)
    for name in ("sample-denied", "sample-top", "sample-bare", "sample-missing"):
        assert ask("distributions", "distribution", name) == []
        assert refused(ask, "read", "distribution", name, "METADATA", 0, 9) == "ENOENT"
    told = [d[0] for d in ask("distributions", "distribution", "") if d[0].startswith("sample")]
    assert told == ["sample-part"]
    _, size, text = ask("read", "distribution", "sample-part", "RECORD", 0, 999)
    assert text == record.replace("sample/hidden/x.py,,\n", "").encode()
    assert size == len(text)
