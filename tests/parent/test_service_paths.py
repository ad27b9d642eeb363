"""Which files a `FileService` opens: those that lie where it was allowed to, and no others."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitogen.service.allowed import AllowedPaths, Refused

if TYPE_CHECKING:
    from pathlib import Path

NAMES = st.sampled_from(["a", "b", "c", "..", ".", "", "a\0", "up", "top", "deep", "out"])


def read(paths: AllowedPaths, path: str) -> bytes | None:
    """Return the content of a file, or None if it can't be had."""
    try:
        fd = paths.open(path)
    except (Refused, OSError):
        return None
    with open(fd, "rb") as f:
        return f.read()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder full of links, each file of which holds its own real path."""
    root = tmp_path_factory.mktemp("paths") / "top"
    (root / "a" / "b").mkdir(parents=True)
    for path in (root / "c", root / "a" / "c", root / "a" / "b" / "c", root.parent / "c"):
        path.write_text(str(path))
    (root / "a" / "up").symlink_to("..")
    (root / "a" / "b" / "top").symlink_to(root)
    (root / "deep").symlink_to("a/b/../b")
    (root / "out").symlink_to("../../%s/top/a" % root.parent.name)
    (root / "b").symlink_to("../c")
    return root


@given(names=st.lists(NAMES, max_size=6))
@settings(max_examples=300, deadline=None)
def test_what_is_opened_lies_where_it_is_allowed(root: Path, names: list[str]) -> None:
    paths = AllowedPaths()
    paths.add_folder(str(root))
    path = "/".join([str(root), *names])
    found = read(paths, path)
    if found is not None:
        assert found.decode() == os.path.realpath(path)
        assert found.decode().startswith(str(root) + "/")
    elif not {"..", ".", "", "a\0", "out"} & set(names) and os.path.isfile(path):
        # Nothing else is refused.
        assert not os.path.realpath(path).startswith(str(root) + "/")


def test_a_registered_file_may_be_a_link_but_not_become_another_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("public")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "link").symlink_to("file")
    paths = AllowedPaths()
    paths.add_file(str(tmp_path / "link"))
    assert read(paths, str(tmp_path / "link")) == b"public"
    assert read(paths, str(tmp_path / "file")) is None
    (tmp_path / "file").unlink()
    (tmp_path / "file").symlink_to("secret")
    assert read(paths, str(tmp_path / "link")) is None


def test_no_race_leads_out(tmp_path: Path) -> None:
    """A folder is swapped for a link to another one all the time."""
    for name in ("allowed/sub", "secret"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_text(name)
    (tmp_path / "allowed" / "link").symlink_to("../secret")
    paths = AllowedPaths()
    paths.add_folder(str(tmp_path / "allowed"))
    stop = threading.Event()

    def swap() -> None:
        allowed = tmp_path / "allowed"
        while not stop.is_set():
            os.rename(allowed / "sub", allowed / "aside")
            os.rename(allowed / "link", allowed / "sub")
            os.rename(allowed / "sub", allowed / "link")
            os.rename(allowed / "aside", allowed / "sub")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        found = {read(paths, str(tmp_path / "allowed" / "sub" / "file")) for _ in range(3000)}
    finally:
        stop.set()
        thread.join()
    assert found <= {b"allowed/sub", None}
    assert b"allowed/sub" in found
