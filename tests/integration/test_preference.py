"""`Router(import_preference=...)`: whose copy of a package contexts import."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

import mitogen.master
from tests.integration import remote_preference

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mitogen.parent import Context

#: What both have, in two versions; only the master's has the second module.
NAMES = ("skewed", "skewed.part", "skewed.new")


def write(folder: Path, whose: str) -> None:
    (folder / "skewed").mkdir(parents=True)
    (folder / "skewed/__init__.py").write_text("WHOSE = %r\n" % whose)
    (folder / "skewed/part.py").write_text("from skewed import WHOSE\n")
    if whose == "master":
        (folder / "skewed/new.py").write_text("from skewed.part import WHOSE\n")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The folder of the target's copy; the master's is on the path of this process."""
    write(tmp_path / "master", "master")
    write(tmp_path / "target", "target")
    monkeypatch.syspath_prepend(tmp_path / "master")
    yield str(tmp_path / "target")
    for name in NAMES:
        sys.modules.pop(name, None)


def all_of(context: Context, folder: str) -> list[object]:
    context.call(remote_preference.add_path, folder)
    return [context.call(remote_preference.whose, name) for name in NAMES]


def test_what_is_installed_is_preferred_and_never_mixed(
    router: mitogen.master.Router, installed: str, python: str
) -> None:
    assert all_of(router.local(python_path=python), installed) == ["target", "target", None]


def test_the_installed_one_is_preferred_even_to_one_that_was_sent(
    router: mitogen.master.Router, local: Context, installed: str
) -> None:
    router.responder.forward_modules(local, NAMES)
    assert all_of(local, installed) == ["target", "target", None]


def test_named_packages_are_the_masters(installed: str, python: str) -> None:
    with mitogen.master.Router(import_preference=["skewed"]) as router:
        assert all_of(router.local(python_path=python), installed) == ["master"] * 3


def test_so_they_are_in_grandchildren_and_forks(installed: str) -> None:
    with mitogen.master.Router(import_preference=iter(["skewed"])) as router:
        child = router.local()
        below = router.local(via=child)
        fork = router.fork(via=child)
        for context in (below, fork, child):
            assert all_of(context, installed) == ["master"] * 3


def test_the_broker_thread_does_not_wait_for_the_masters_copy(installed: str) -> None:
    with mitogen.master.Router(import_preference=["skewed"]) as router:
        context = router.local()
        # Waiting for itself, it would answer nothing any more.
        found = context.call_async(remote_preference.find_on_broker_thread, "skewed").get(20).unpickle()
        assert found is None


def test_what_the_master_does_not_have_is_taken_where_it_is(installed: str) -> None:
    with mitogen.master.Router(import_preference=["skewed"]) as router:
        sys.path.remove(sys.path[0])
        assert all_of(router.local(), installed) == ["target", "target", None]


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        ("skewed", TypeError, "collection of names, not the text 'skewed'"),
        ([1], TypeError, "names of packages, not 1"),
        (["skewed.part"], ValueError, "'skewed.part': it takes names of packages at the top level"),
        (["json"], ValueError, "'json'"),
        (["mitogen"], ValueError, "'mitogen'"),
    ],
)
def test_a_preference_that_makes_no_sense_is_refused(value: object, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        mitogen.master.Router(import_preference=value)  # type: ignore[arg-type]
