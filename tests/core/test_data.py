"""`mitogen.core.data` and `datafile`: files of the master, asked for as they are needed."""

from __future__ import annotations

import errno
import importlib.resources
import io
import os
from typing import TYPE_CHECKING

import pytest

from mitogen.core import data, datafile
from mitogen.core.data import Reader, Resource
from mitogen.core.datafile import CHUNK, File
from tests.core.fake_master import Master

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGE = os.urandom(1 << 10) * (CHUNK // 1024 * 5 // 2)


@pytest.fixture
def master(monkeypatch: pytest.MonkeyPatch) -> Iterator[Master]:
    master = Master(monkeypatch)
    master.files = {
        ("package", "a.txt"): b"text \xe2\x82\xac\r\nline 2",
        ("package", "empty"): b"",
        ("package", "large.bin"): LARGE,
        ("package", "folder/b.txt"): b"below",
        ("package", "folder/deep/c.txt"): b"deep",
    }
    yield master
    master.tree.end()


@pytest.fixture
def root(master: Master) -> Resource:
    return Resource(master.loader, "package", "package", (), True)


# -- Files -------------------------------------------------------------------------------------------


def test_a_small_file_costs_one_question(master: Master, root: Resource) -> None:
    with (root / "a.txt").open("rb") as f:
        assert f.read() == master.files["package", "a.txt"]
        assert f.read() == b""
    assert master.offsets() == [0]
    assert (root / "empty").read_bytes() == b""
    assert master.offsets() == [0]


def test_a_large_file_comes_in_chunks(master: Master, root: Resource) -> None:
    assert (root / "large.bin").read_bytes() == LARGE
    assert master.offsets() == [0, CHUNK, 2 * CHUNK]


@pytest.mark.parametrize("size", [7, 1000, 1 << 16, CHUNK, CHUNK + 1])
def test_pieces_of_any_size_make_up_the_file(root: Resource, size: int) -> None:
    with (root / "large.bin").open("rb") as f:
        content = b"".join(iter(lambda: f.read(size), b""))
    assert content == LARGE


def test_the_chunk_after_the_next_is_asked_for_ahead_once_somebody_reads_on(
    master: Master, root: Resource
) -> None:
    with File(root / "large.bin") as f:
        handlers = set(master.tree[1].router._handlers)
        assert len(f.read(CHUNK)) == CHUNK
        assert master.offsets() == [0]
        assert f.read(1) == LARGE[CHUNK : CHUNK + 1]
        master.tree[0].settle()
        assert master.offsets() == [CHUNK, 2 * CHUNK]
    # Whether it has come by now or not.
    assert set(master.tree[1].router._handlers) == handlers, "its answer is not expected any more"


def test_seeking_costs_nothing_until_something_is_read(master: Master, root: Resource) -> None:
    with File(root / "large.bin") as f:
        assert f.seekable()
        assert f.readable()
        assert f.seek(-3, io.SEEK_END) == len(LARGE) - 3
        assert f.seek(1, io.SEEK_CUR) == f.tell() == len(LARGE) - 2
        assert master.offsets() == [0]
        assert f.read() == LARGE[-2:]
        assert master.offsets() == [len(LARGE) - 2]
        assert f.seek(len(LARGE) + 100) == len(LARGE) + 100
        assert f.read(1) == b""
        f.seek(2)
        assert f.read(3) == LARGE[2:5]
        f.seek(CHUNK + 3)
        assert f.read(3) == LARGE[CHUNK + 3 : CHUNK + 6]
        assert master.offsets() == [2, CHUNK + 3]
        with pytest.raises(OSError, match="negative"):
            f.seek(-1)


def test_jumping_about_forgets_what_was_asked_for_ahead(master: Master, root: Resource) -> None:
    with File(root / "large.bin") as f:
        f.read(CHUNK)
        f.read(1)
        f.seek(0)
        assert f.readall() == LARGE


def test_a_file_that_changes_is_an_error(master: Master, root: Resource) -> None:
    with File(root / "large.bin") as f:
        f.read(CHUNK)
        master.version += 1
        with pytest.raises(OSError, match="changed while it was read") as info:
            f.read(1)
    assert info.value.errno == errno.ESTALE
    assert info.value.filename == "master:/site/package/large.bin"


def test_a_closed_file_is_not_read(root: Resource) -> None:
    f = File(root / "large.bin")
    f.close()
    f.close()
    with pytest.raises(ValueError, match="closed"):
        f.read(1)


def test_chunks_are_no_larger_than_messages_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"max_message_size": 10_000}
    master = Master(monkeypatch, node0=options, node1=options)
    try:
        master.files["package", "large.bin"] = LARGE[:100_000]
        root = Resource(master.loader, "package", "package")
        assert (root / "large.bin").read_bytes() == LARGE[:100_000]
        assert {question[5] for question in master.asked} == {5000}
    finally:
        master.tree.end()


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        ("ENOENT", FileNotFoundError),
        ("EACCES", PermissionError),
        ("EISDIR", IsADirectoryError),
        ("ENOTDIR", NotADirectoryError),
        ("EUNHEARDOF", OSError),
    ],
)
def test_errors_are_what_the_master_says(
    master: Master, root: Resource, monkeypatch: pytest.MonkeyPatch, number: str, kind: type[OSError]
) -> None:
    monkeypatch.setattr(master, "answer", lambda *args: (number, "in its words"))
    with pytest.raises(OSError, match="in its words: 'master:/site/package/a.txt'") as info:
        (root / "a.txt").read_bytes()
    assert type(info.value) is kind


def test_a_master_that_is_gone_is_an_error_of_the_file_system(master: Master, root: Resource) -> None:
    f = File(root / "large.bin")
    f.read(CHUNK)
    master.tree[0].end()
    with pytest.raises(OSError, match="can't be asked"):
        f.read(1)
    with pytest.raises(OSError, match="can't be asked"):
        (root / "a.txt").read_bytes()
    master.tree[1].end()
    with pytest.raises(OSError, match="can't be asked"):
        (root / "a.txt").read_bytes()


def test_a_process_that_is_no_context_any_more_is_told_so(
    root: Resource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.meta_path", [])
    with pytest.raises(OSError, match="no context any more"):
        (root / "a.txt").read_bytes()


def test_the_broker_thread_does_not_wait(master: Master, root: Resource) -> None:
    with pytest.raises(OSError, match="its own thread"):
        master.tree[1].run(lambda: (root / "a.txt").read_bytes())


def test_a_resource_can_be_named_while_packages_are_imported(master: Master, root: Resource) -> None:
    folders = master.loader.folders

    class Importing(str):
        """The name of a package during whose comparison another thread has its turn."""

        def __eq__(self, other: object) -> bool:
            folders["master:/site/other%d" % len(folders)] = "other"
            return False

        __hash__ = str.__hash__

    folders["master:/site/importing"] = Importing()
    folders["master:/site/last"] = "last"
    assert str(root / "a.txt") == "master:/site/package/a.txt"


# -- Resources ---------------------------------------------------------------------------------------


def test_text_is_read_as_from_any_file(root: Resource) -> None:
    file = root / "a.txt"
    assert file.read_text("utf-8") == "text \u20ac\nline 2"
    assert file.read_text(encoding="ascii", errors="replace")[5] == "\ufffd"
    with file.open(encoding="utf-8", newline="") as f:
        assert f.read() == "text \u20ac\r\nline 2"
    for mode in ("w", "rb+", "a", "x", "U", ""):
        with pytest.raises(ValueError, match="read only"):
            file.open(mode)


def test_names_and_paths(root: Resource) -> None:
    file = root / "folder" / "deep" / "c.txt"
    for same in (
        root.joinpath("folder/deep/c.txt"),
        root.joinpath("folder", "deep", "c.txt"),
        root.joinpath("./folder//deep/", "./c.txt"),
    ):
        assert same == file
        assert hash(same) == hash(file)
        assert same.read_bytes() == b"deep"
    assert root.joinpath() is root
    assert (root.name, file.name) == ("package", "c.txt")
    assert str(file) == "master:/site/package/folder/deep/c.txt"
    assert repr(root) == "Resource('master:/site/package')"
    assert file != root
    assert file != "master:/site/package/folder/deep/c.txt"
    for name in "iterdir", "read_bytes", "read_text", "is_dir", "is_file", "joinpath", "open", "name":
        assert hasattr(root, name), "what a traversable must have"


def test_an_absolute_path_is_not_taken_for_one_in_the_package(master: Master, root: Resource) -> None:
    with pytest.raises(FileNotFoundError):
        root.joinpath("/a.txt").read_bytes()
    assert master.asked[0][3] == "/a.txt"
    assert not root.joinpath("/a.txt").exists()


def test_what_a_folder_told_is_not_asked_for_again(master: Master, root: Resource) -> None:
    children = list(root.iterdir())
    assert [child.name for child in children] == ["a.txt", "empty", "folder", "large.bin"]
    assert [child.is_dir() for child in children] == [False, False, True, False]
    assert [child.is_file() for child in children] == [True, True, False, True]
    assert len(master.asked) == 1
    assert (root / "folder").is_dir()
    assert not (root / "folder").is_file()
    assert (root / "folder").exists()
    assert not (root / "missing").exists()
    with pytest.raises(NotADirectoryError):
        (root / "a.txt").iterdir()


def test_a_reader_is_that_of_the_package(master: Master, root: Resource) -> None:
    for name in ("package", "package.module"):
        reader = data.get_resource_reader(master.loader, name)
        assert reader is not None
        assert reader.files() == root
    assert data.get_resource_reader(master.loader, "alone") is None


def test_a_reader_has_what_was_asked_of_them_before(root: Resource) -> None:
    reader = Reader(root)
    assert reader.open_resource("a.txt").read(4) == b"text"
    assert reader.is_resource("a.txt")
    assert not reader.is_resource("folder")
    assert not reader.is_resource("missing")
    assert list(reader.contents()) == ["a.txt", "empty", "folder", "large.bin"]
    with pytest.raises(FileNotFoundError):
        reader.resource_path("a.txt")


def test_copies_are_made_chunk_by_chunk_and_go_away(master: Master, root: Resource) -> None:
    data.get_resource_reader(master.loader, "package")
    with importlib.resources.as_file(root / "large.bin") as path:
        assert path.name == "large.bin"
        assert path.read_bytes() == LARGE
    assert not path.exists()
    with importlib.resources.as_file(root / "folder") as path:
        assert sorted(p.name for p in path.rglob("*")) == ["b.txt", "c.txt", "deep"]
        assert (path / "deep/c.txt").read_bytes() == b"deep"
    assert not path.parent.exists()
    copy = data.local_copy(root / "missing")
    with pytest.raises(FileNotFoundError):
        copy.__enter__()
    assert not os.path.exists(copy._folder.name)


# -- What pkgutil asks for ---------------------------------------------------------------------------


def test_data_is_found_by_paths_as_in_file(master: Master) -> None:
    def get(path: str) -> bytes:
        return data.get_data(master.loader, path)

    assert get("master:/site/package/a.txt") == b"text \xe2\x82\xac\r\nline 2"
    assert get("master:/site/package/../package/folder/../folder/b.txt") == b"below"
    assert get("master:/site/alone.py") == b"x = 2"
    for path in ("master:/site/as_code.py", "master:/site/x", "/etc/passwd", "", "x", "master:", "/"):
        master.importer._missing["as_code:source"] = None
        with pytest.raises(FileNotFoundError):
            get(path)
    with pytest.raises(FileNotFoundError):
        get("master:/site/package/../x")


def test_submodules_are_listed_and_of_a_lost_master_there_are_none(master: Master) -> None:
    assert list(data.iter_modules(master.loader, "package", "p.")) == [
        ("p.module", False),
        ("p.sub", True),
    ]
    master.tree[0].end()
    assert list(data.iter_modules(master.loader, "package", "p.")) == []


def test_two_files_that_are_read_in_turn_do_not_get_each_other_s_chunks(
    master: Master, root: Resource
) -> None:
    master.files["package", "other.bin"] = LARGE[::-1]
    files = [(root / name).open("rb") for name in ("large.bin", "other.bin")]
    contents = [b"", b""]
    while len(contents[0]) < len(LARGE):
        for i in range(2):
            contents[i] += files[i].read(300_000)
    assert contents == [LARGE, LARGE[::-1]]
    for f in files:
        f.close()


def test_the_number_is_a_standard_handle_that_no_other_has() -> None:
    from mitogen.core import handles

    assert datafile.GET_DATA < handles.IS_DEAD
    assert datafile.GET_DATA not in vars(handles).values()
