"""The two ends of a copy, without contexts: what is read, what is written, and what is refused."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitogen.core.errors import Error
from mitogen.parent.copying.errors import BadStream
from mitogen.parent.copying.partial import SUFFIX, Partial, remove_stale, temporary_name
from mitogen.parent.copying.sink import DEPTH, Sink
from mitogen.parent.copying.source import Changed, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

META = (0o644, 10**18, 10**18, 4)
FILE = ("f", b"name", META, b"data", crc32(b"data"))
GO: Any = ("go", {})


def copy(source: Path, target: Path, chunk: int = 1000) -> int:
    """Copy without contexts in between; return how many bytes of content travelled."""
    reader, writer = Source(os.fsencode(source), chunk), Sink(os.fsencode(target))
    travelled = 0
    try:
        plan = reader.plan()
        writer.handle(reader.go([writer.candidates(plan[2])]))
        for item in reader.items():
            writer.handle(item)
            travelled += len(item) if isinstance(item, bytes) else 0
        writer.finish()
        assert reader.done == reader.total == writer.done
        return travelled
    finally:
        writer.close()


def write(target: Path, *items: Any) -> None:
    sink = Sink(os.fsencode(target))
    try:
        for item in (GO, *items):
            sink.handle(item)
        sink.finish()
    finally:
        sink.close()


def everything(folder: Path) -> dict[str, object]:
    """Return all there is in a folder: kind, mode, time and content, by path."""
    found: dict[str, object] = {}
    for root, _, _ in os.walk(folder):
        for entry in [*os.scandir(root)]:
            status = entry.stat(follow_symlinks=False)
            content: object = None
            if entry.is_symlink():
                content = os.readlink(entry.path)
            elif entry.is_file():
                with open(entry.path, "rb") as f:
                    content = f.read()
            name = os.path.relpath(entry.path, folder)
            found[name] = status.st_mode, status.st_mtime_ns, content
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "sub" / "empty").mkdir(parents=True)
    (tree / "small").write_bytes(b"small")
    (tree / "none").touch()
    (tree / "sub" / "large").write_bytes(os.urandom(2500))
    (tree / "sub" / os.fsdecode(b"\xff\xfe")).write_bytes(b"odd name")
    (tree / ("long" * 60)).write_bytes(b"long name")
    (tree / "link").symlink_to("sub")
    (tree / "small").chmod(0o751)
    (tree / "sub").chmod(0o1770)
    for number, path in enumerate([tree / "small", tree / "sub" / "large", tree / "sub"]):
        os.utime(path, ns=(10**18, 10**18 + number))
    return tree


def test_a_copy_is_what_was_copied(tree: Path, tmp_path: Path) -> None:
    copy(tree, tmp_path / "copy")
    assert everything(tmp_path / "copy") == everything(tree)
    # Again, over what is there: large files are only compared.
    assert copy(tree, tmp_path / "copy") == 0
    (tree / "small").write_bytes(b"other")
    (tree / "link").unlink()
    (tree / "link").symlink_to("elsewhere")
    copy(tree, tmp_path / "copy")
    assert everything(tmp_path / "copy") == everything(tree)


def test_set_user_id_is_not_kept_and_special_files_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "program").touch()
    (tree / "program").chmod(0o6755)
    os.mkfifo(tree / "fifo")
    copy(tree, tmp_path / "copy")
    assert [p.name for p in (tmp_path / "copy").iterdir()] == ["program"]
    assert stat.S_IMODE((tmp_path / "copy" / "program").stat().st_mode) == 0o755
    assert "not copied" in caplog.text
    assert caplog.text.count("fifo") == 1
    for path in (tree / "fifo", "/dev/null"):
        with pytest.raises(Error, match="neither a file nor a folder"):
            Source(os.fsencode(path))


@given(left=st.integers(0, 4000), is_same=st.booleans())
@settings(max_examples=25, deadline=None)
def test_a_copy_goes_on_with_what_is_left_of_the_same_file(
    tmp_path_factory: pytest.TempPathFactory, left: int, is_same: bool
) -> None:
    folder = tmp_path_factory.mktemp("go_on")
    content = os.urandom(3500)
    (folder / "file").write_bytes(content)
    partial = folder / os.fsdecode(temporary_name(b"copy"))
    partial.write_bytes((content + bytes(500))[:left] if is_same else os.urandom(left))
    travelled = copy(folder / "file", folder / "copy")
    assert (folder / "copy").read_bytes() == content
    assert travelled == 3500 - (min(left, 3500) if is_same else 0)
    assert not partial.exists()


def test_the_slowest_of_many_targets_says_where_a_copy_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(5000))
    content = (tmp_path / "file").read_bytes()
    reader = Source(os.fsencode(tmp_path / "file"), 1000)
    sinks = []
    for number, left in enumerate((3000, 4500, 2000)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / os.fsdecode(temporary_name(b"copy"))).write_bytes(content[:left])
        sinks.append(Sink(os.fsencode(folder / "copy")))
    plan = reader.plan()
    items = [reader.go([sink.candidates(plan[2]) for sink in sinks]), *reader.items()]
    assert sum(len(item) for item in items if isinstance(item, bytes)) == 3000
    for sink in sinks:
        for item in items:
            sink.handle(item)
        sink.finish()
        sink.close()
    assert all((tmp_path / str(n) / "copy").read_bytes() == content for n in range(3))


def test_a_file_that_changes_while_it_is_copied_is_an_error(tmp_path: Path) -> None:
    for change in ("grow", "shrink", "rewrite"):
        path = tmp_path / change
        path.write_bytes(bytes(5000))
        os.utime(path, (1, 1))
        reader = Source(os.fsencode(path), 1000)
        reader.plan()
        reader.go([])
        items: Iterator[Any] = reader.items()
        next(items), next(items)
        if change == "rewrite":
            path.write_bytes(b"x" * 5000)
        else:
            os.truncate(path, 6000 if change == "grow" else 500)
        with pytest.raises(Changed, match="changed while it was copied"):
            list(items)


ENTER = ("d", b"", 0o755)
LARGE = ("F", b"big", (0o644, 0, 0, 3), 0, 0)


@pytest.mark.parametrize(
    "items",
    [
        *(
            [[ENTER, ("f", name, *FILE[2:])]]
            for name in (b"..", b".", b"", b"a/b", b"/etc/x", b"a\0b", "a", 5)
        ),
        *([[ENTER, ("d", name, 0o755)]] for name in (b"..", b"", b"a/b")),
        *([[ENTER, ("l", name, b"x", META)]] for name in (b"..", b"", b"a/b")),
        [[("f", b"x", *FILE[2:])]],
        [[ENTER, ("l", b"out", b"/", META), ("d", b"out", 0o755), FILE]],
        [[ENTER, FILE, ("d", b"name", 0o755)]],
        [[ENTER, ("f", b"x", META, b"data", 0)]],
        [[ENTER, ("f", b"x", META, b"dat", crc32(b"dat"))]],
        [[ENTER, ("x", b"x")]],
        [[ENTER]],
        [[("u", META)]],
        [[ENTER] * (DEPTH + 2)],
        [[ENTER, *[("d", b"d", 0o755)] * (DEPTH + 2)]],
        [b"data"],
        [[ENTER], LARGE],
        [[ENTER], LARGE, b"123", ("e", 0)],
        [[ENTER], LARGE, b"12", ("e", crc32(b"12"))],
        [[ENTER], LARGE, b"1234"],
        [[ENTER], ("F", b"big", (0o644, 0, 0, 3), 0, 2)],
        [("e", 0)],
        [("what", 0)],
    ],
)
def test_a_hostile_stream_writes_nothing_elsewhere_and_leaves_nothing_incomplete(
    tmp_path: Path, items: list[Any]
) -> None:
    (tmp_path / "outside").touch()
    before = everything(tmp_path).keys()
    with pytest.raises(Error):
        write(tmp_path / "copy", *items)
    after = {name for name in everything(tmp_path) if not name.startswith("copy/")}
    assert after - {"copy"} == set(before)
    assert not [name for name in everything(tmp_path) if name.endswith(os.fsdecode(SUFFIX))]
    assert not os.path.exists("/name")


def test_links_that_are_there_lead_a_copy_nowhere(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "sub").symlink_to("../outside")
    with pytest.raises(Error, match="is there, and is no folder"):
        write(tmp_path / "copy", [ENTER, ("d", b"sub", 0o755), FILE])
    (tmp_path / "copy" / "name").symlink_to("../outside/file")
    (tmp_path / "copy" / os.fsdecode(temporary_name(b"name"))).symlink_to("../outside/file")
    write(tmp_path / "copy", [ENTER, FILE, ("u", META)])
    assert (tmp_path / "copy" / "name").read_bytes() == b"data"
    assert not (tmp_path / "copy" / "name").is_symlink()
    assert list((tmp_path / "outside").iterdir()) == []


def test_temporary_files_of_others_are_not_touched(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        first = Partial(folder, b"file")
        second = Partial(folder, b"file")
        assert first.temporary != second.temporary
        (tmp_path / "linked").touch()
        os.link(tmp_path / "linked", tmp_path / os.fsdecode(temporary_name(b"third")))
        third = Partial(folder, b"third")
        assert third.temporary == temporary_name(b"third", 1)
        stale = tmp_path / os.fsdecode(temporary_name(b"stale"))
        other = tmp_path / os.fsdecode(temporary_name(b"other"))
        link = tmp_path / os.fsdecode(temporary_name(b"symlink"))
        stale.touch()
        other.touch()
        link.symlink_to("x")
        remove_stale(folder, set(), b"stale")
        assert (stale.exists(), other.exists()) == (False, True)
        remove_stale(folder, set())
        assert (other.exists(), link.is_symlink()) == (False, False)
        for partial, content in ((first, b"1"), (second, b"2"), (third, b"3")):
            os.write(partial.fd, content)
            partial.commit()
        assert (tmp_path / "file").read_bytes() == b"2"
        with open(tmp_path / "file", "rb") as f:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (tmp_path / "folder").mkdir()
        with pytest.raises(IsADirectoryError):
            Partial(folder, b"folder").commit()
        assert sorted(p.name for p in tmp_path.iterdir() if p.name[0] == ".") == [
            os.fsdecode(temporary_name(b"third"))
        ]
    finally:
        os.close(folder)


def test_what_can_not_be_written_is_an_error_that_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(3000))
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        copy(tmp_path / "file", tmp_path / "folder")
    with pytest.raises(FileNotFoundError):
        copy(tmp_path / "file", tmp_path / "missing" / "file")
    with pytest.raises(BadStream):
        copy(tmp_path / "file", Path("/"))
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]
