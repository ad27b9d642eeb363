"""`mitogen.core.metadata`: distributions of the master, behind those that are installed here."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import types
from typing import TYPE_CHECKING, Any

import pytest

from mitogen.core import metadata
from tests.core.fake_master import Master

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

METADATA = b"Name: Far.Away\nVersion: 1.2\nSummary: of the master\nRequires-Dist: other\n\nText\n"
RECORD = b"".join(b"far_away/%d.py,,\n" % i for i in range(500)) + b"far_away-1.2.dist-info/METADATA,,\n"


@pytest.fixture
def master(monkeypatch: pytest.MonkeyPatch) -> Iterator[Master]:
    master = Master(monkeypatch)
    master.distributions = [
        ("Far-Away", "1.2", "[points]\nx = far_away:y\n"),
        ("bare", "2", ""),
        ("pytest", "0.1", "[points]\nold = pytest:old\n"),
    ]
    master.files = {
        ("Far-Away", "METADATA"): METADATA,
        ("Far-Away", "RECORD"): RECORD,
        ("far_away", "0.py"): b"content",
    }
    master.importer.find_distributions = master.loader.find_distributions
    yield master
    master.tree.end()


def test_a_distribution_of_the_master_is_found(master: Master) -> None:
    found = importlib.metadata.distribution("Far_Away")
    assert importlib.metadata.version("far.away") == "1.2"
    assert found.name == "Far-Away"
    assert found.metadata["Summary"] == "of the master"
    assert found.requires == ["other"]
    assert importlib.metadata.requires("far-away") == ["other"]
    assert [(e.group, e.name, e.value) for e in found.entry_points] == [("points", "x", "far_away:y")]
    assert "Far-Away" in repr(found)
    # One for the list, and one for METADATA.
    assert [question[0] for question in master.asked] == ["distributions", "read"]


def test_what_is_installed_here_goes_first(master: Master) -> None:
    assert importlib.metadata.version("pytest") != "0.1"
    assert master.asked == []
    names = [d.name.lower() for d in importlib.metadata.distributions()]
    assert names.count("pytest") == 1
    assert names[-2:] == ["far-away", "bare"]
    points = importlib.metadata.entry_points(group="points")
    assert {point.name for point in points} == {"x"}


def test_all_entry_points_cost_one_question_and_then_none(master: Master) -> None:
    for _ in range(3):
        assert importlib.metadata.entry_points(group="points")
    assert len(master.asked) == 1
    importlib.invalidate_caches()
    assert importlib.metadata.entry_points(group="points")
    assert len(master.asked) == 2


def test_the_files_of_a_distribution_cost_one_question_in_all(master: Master) -> None:
    files = importlib.metadata.files("far-away")
    assert files is not None
    assert len(files) == 501
    located: list[Any] = [file.locate() for file in files]
    assert all(path.exists() for path in located)
    assert [question[0] for question in master.asked] == ["distributions", "read"]
    assert files[0].read_text() == "content"
    assert files[0].read_binary() == b"content"
    assert files[-1].read_text() == METADATA.decode()
    found = importlib.metadata.distribution("far-away")
    missing: Any = found.locate_file("far_away/missing")
    assert not missing.exists()


def test_what_is_missing_is_missing(master: Master) -> None:
    for _ in range(2):
        with pytest.raises(importlib.metadata.PackageNotFoundError):
            importlib.metadata.version("no-such-thing")
    assert len(master.asked) == 1, "which is remembered"
    found = importlib.metadata.distribution("bare")
    assert found.read_text("missing.txt") is None
    assert found.files is None
    assert list(found.entry_points) == []


def test_whoever_names_a_folder_gets_nothing_from_elsewhere(master: Master, tmp_path: Path) -> None:
    assert list(importlib.metadata.distributions(path=[str(tmp_path)])) == []
    assert master.asked == []


def test_without_a_master_there_is_what_is_installed_here(master: Master) -> None:
    master.tree[0].end()
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("far-away")
    assert "pytest" in {d.name for d in importlib.metadata.distributions()}


def test_the_backport_gets_its_own_kind(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    backport: Any = types.ModuleType("importlib_metadata")

    class Distribution(importlib.metadata.Distribution):
        """Of the backport."""

    class Context:
        name = "far-away"
        path = sys.path

    Context.__module__ = "importlib_metadata"
    backport.Distribution = Distribution
    monkeypatch.setitem(sys.modules, "importlib_metadata", backport)
    [found] = metadata.find_distributions(master.loader, Context())
    assert isinstance(found, Distribution)
    assert found.version == "1.2"


def test_without_a_context_all_are_meant(master: Master) -> None:
    names = [found.name for found in metadata.find_distributions(master.loader, None)]
    assert names == ["Far-Away", "bare"]


def test_names_are_compared_as_installers_do() -> None:
    assert metadata.normalized("A.b__C-d") == "a-b-c-d"
