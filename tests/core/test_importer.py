"""`mitogen.core.importer`: asks the parent once, and every thread that waits for an answer gets one.

The parent is the test: it answers GET_MODULE as it likes.
"""

from __future__ import annotations

import importlib.util
import sys
import time
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from mitogen.core import handles
from mitogen.core.boot import Finder
from mitogen.core.errors import CallError
from mitogen.core.importer import Importer
from mitogen.core.message import Message
from tests.core.tools import PATIENCE, Inbox, Tree, asleep, collect_logs, in_thread

if TYPE_CHECKING:
    from collections.abc import Iterator


class Parent:
    """Context 0, and the importer of its child, context 1."""

    def __init__(self, tree: Tree, **options: Any) -> None:
        self.tree = tree
        self.finder = Finder({})
        self.requests = Inbox()
        tree[0].router.add_handler(self.requests, handles.GET_MODULE)
        self.importer = Importer(tree[1].router, tree[1].context(0), self.finder, **options)
        if options:
            # Where all finders are asked once more, it is among them.
            sys.meta_path.append(self.importer)

    def asked(self) -> str:
        """Return the next name that was asked for."""
        msg = self.requests.get()
        assert msg.reply_to == handles.LOAD_MODULE
        return msg.data.decode()

    def answer(self, name: str, source: str | None, children: Any = None, path: Any = None) -> None:
        data = None if source is None else zlib.compress(source.encode())
        body = Message.pickled((name, children, path, data, ()))
        self.tree[0].send(1, handles.LOAD_MODULE, body.data)

    def find(self, name: str) -> Any:
        """Start looking for a module in a thread; return what waits for the spec."""
        return in_thread(lambda: self.importer.find_spec(name))


@pytest.fixture
def tree() -> Iterator[Tree]:
    tree = Tree({0: None, 1: 0, 2: 0})
    yield tree
    tree.end()


@pytest.fixture
def parent(tree: Tree) -> Parent:
    return Parent(tree)


def test_a_module_is_asked_for_and_found(parent: Parent) -> None:
    result = parent.find("far_away")
    assert parent.asked() == "far_away"
    parent.answer("far_away", "x = 1", path="/there/far_away.py")
    spec = result()
    assert spec.origin == "/there/far_away.py"
    assert "x = 1" in spec.loader.get_source("far_away")


def test_a_module_that_is_nowhere_is_not_found_and_not_asked_for_again(parent: Parent) -> None:
    result = parent.find("nowhere")
    assert parent.asked() == "nowhere"
    parent.answer("nowhere", None)
    assert result() is None
    assert parent.importer.find_spec("nowhere") is None
    assert parent.requests.empty()


def test_a_module_that_the_parent_cannot_send_is_found_and_not_loaded(parent: Parent) -> None:
    """As one that is there and does not fit: who just looks does not fail, who imports learns why."""
    result = parent.find("refused")
    parent.asked()
    parent.answer("refused", None, path="it is a secret")
    for spec in (result(), parent.importer.find_spec("refused")):
        assert (spec.name, spec.origin, spec.submodule_search_locations) == ("refused", None, None)
        with pytest.raises(ImportError, match="it is a secret") as info:
            importlib.util.module_from_spec(spec)
        assert info.value.name == "refused"
    assert parent.requests.empty()
    # Nor is it there for a package that is installed here.
    parent.answer("pytest.refused", None, path="it is a secret")
    assert parent.importer.find_spec("pytest.refused") is None


def test_threads_that_want_the_same_module_ask_once_and_all_get_it(parent: Parent) -> None:
    results = [parent.find("wanted") for _ in range(5)]
    assert parent.asked() == "wanted"
    while len(parent.importer._waiting["wanted"]) < 5:
        pass
    for latch in parent.importer._waiting["wanted"]:
        asleep(latch)
    parent.answer("wanted", "")
    assert all(result().name == "wanted" for result in results)
    assert parent.requests.empty()


def test_who_waits_holds_no_lock_that_another_import_needs(parent: Parent) -> None:
    """The import system calls finders with its global lock held, on PyPy even more than once."""
    import _imp

    def find() -> Any:
        _imp.acquire_lock()
        _imp.acquire_lock()
        try:
            return parent.importer.find_spec("far_away")
        finally:
            _imp.release_lock()
            _imp.release_lock()

    result = in_thread(find)
    assert parent.asked() == "far_away"
    deadline = time.monotonic() + PATIENCE
    while _imp.lock_held():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    parent.answer("far_away", None)
    assert result() is None


def test_whoever_is_interrupted_at_any_moment_keeps_nobody_waiting(
    parent: Parent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call whose time is over is interrupted wherever it is, maybe before the question was sent."""

    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    for name in "release_lock", "make":
        with monkeypatch.context() as patch:
            patch.setattr("mitogen.core.importer." + name, interrupted)
            with pytest.raises(KeyboardInterrupt):
                in_thread(lambda: parent.importer.find_spec("far_away"))()
        assert parent.importer._waiting == {}
    result = parent.find("far_away")
    assert parent.asked() == "far_away"
    parent.answer("far_away", "")
    assert result().name == "far_away"


def test_a_name_that_can_not_be_sent_fails_each_time(parent: Parent) -> None:
    for _ in range(2):
        with pytest.raises(UnicodeEncodeError):
            in_thread(lambda: parent.importer.find_spec("\udc80x"))()


def test_what_was_sent_ahead_is_not_asked_for(parent: Parent, tree: Tree) -> None:
    parent.answer("ahead", "x = 1")
    result = parent.find("other")
    assert parent.asked() == "other"
    parent.answer("other", None)
    result()
    assert parent.importer.find_spec("ahead").name == "ahead"
    assert parent.requests.empty()


def test_a_submodule_that_its_package_does_not_have_is_not_asked_for(parent: Parent) -> None:
    parent.finder.modules["package"] = (("child",), "/package/__init__.py", b"")
    parent.finder.modules["module"] = (None, "/module.py", b"")
    assert parent.importer.find_spec("package.stranger") is None
    assert parent.importer.find_spec("module.child") is None
    assert parent.requests.empty()
    result = parent.find("package.child")
    assert parent.asked() == "package.child"
    parent.answer("package.child", "")
    assert result().name == "package.child"


def test_the_broker_thread_does_not_wait_for_itself(parent: Parent, tree: Tree) -> None:
    with pytest.raises(ImportError, match="broker thread can't wait for far_away"):
        tree[1].run(lambda: parent.importer.find_spec("far_away"))
    assert parent.requests.empty()


def test_only_those_with_the_authority_of_a_parent_send_modules(parent: Parent, tree: Tree) -> None:
    body = Message.pickled(("evil", None, None, zlib.compress(b""), ()))
    tree[2].send(1, handles.LOAD_MODULE, body.data)
    with pytest.raises(CallError, match="refused"):
        tree[2].ask(1, handles.LOAD_MODULE, body.data).unpickle()
    assert "evil" not in parent.finder.modules


def test_the_loss_of_the_parent_ends_every_wait(parent: Parent, tree: Tree) -> None:
    results = [parent.find(name) for name in ("one", "one", "two")]
    for _ in range(2):
        parent.asked()
    tree[0].end()
    for result in results:
        with pytest.raises(ImportError, match="can't be asked"):
            result()


def test_without_a_parent_nothing_is_found_and_nobody_waits(parent: Parent, tree: Tree) -> None:
    """As in a context that was detached, where an optional module is missing."""
    tree[0].end()
    tree[1].settle()
    while handles.LOAD_MODULE in tree[1].router._handlers:
        tree[1].settle()
    result = in_thread(lambda: parent.importer.find_spec("optional"))
    try:
        assert result() is None
    except ImportError:
        pass
    finally:
        parent.importer._wake("optional")


def test_a_broker_that_has_ended_is_an_error_each_time(parent: Parent, tree: Tree) -> None:
    tree[1].end()
    try:
        for _ in range(2):
            # The second would wait for the answer to what the first could not ask.
            with pytest.raises(Exception, match="shut down|can't be asked"):
                in_thread(lambda: parent.importer.find_spec("late"))()
    finally:
        parent.importer._wake("late")


# -- site-packages ----------------------------------------------------------------------------------


class SiteFinder:
    """What `site` would make findable."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        return "a spec" if fullname == "installed" else None


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    import site

    calls: list[str] = []
    monkeypatch.setattr(site, "main", lambda: calls.append(sys.executable))
    monkeypatch.setattr(sys, "meta_path", [SiteFinder()])
    monkeypatch.setattr(sys, "executable", sys.executable)
    return calls


def test_site_packages_are_set_up_when_something_is_missing_and_only_once(
    tree: Tree, site: list[str]
) -> None:
    parent = Parent(tree, site=True)
    # Submodules come from where their packages do.
    result = in_thread(lambda: parent.importer.find_spec("package.module", ["/package"]))
    assert parent.asked() == "package.module"
    parent.answer("package.module", None)
    assert result() is None
    assert site == []
    assert parent.importer.find_spec("installed") == "a spec"
    for name in ("far_away", "farther_away"):
        result = parent.find(name)
        assert parent.asked() == name
        parent.answer(name, None)
        assert result() is None
    assert site == [sys.executable]


def test_an_installed_module_is_preferred_to_the_parent_s(tree: Tree, site: list[str]) -> None:
    parent = Parent(tree, site=True)
    assert parent.importer.find_spec("installed") == "a spec"
    assert parent.requests.empty()


def test_the_main_module_is_the_parent_s(tree: Tree, site: list[str]) -> None:
    parent = Parent(tree, site=True)
    result = parent.find("__main__")
    assert parent.asked() == "__main__"
    parent.answer("__main__", "")
    assert result().name == "__main__"
    assert site == []


def test_a_site_that_fails_is_logged_and_the_parent_is_asked(
    tree: Tree, site: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import site as site_module

    lines = collect_logs(monkeypatch)
    monkeypatch.setattr(site_module, "main", lambda: 1 // 0)
    parent = Parent(tree, site=True)
    result = parent.find("far_away")
    assert parent.asked() == "far_away"
    parent.answer("far_away", None)
    assert result() is None
    assert any("site-packages" in text for _, _, text in lines)
