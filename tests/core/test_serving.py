"""`mitogen.core.serving`: modules for those that are there, over a table with made-up links."""

from __future__ import annotations

from _thread import allocate_lock
from types import SimpleNamespace
from typing import Any

import pytest

from mitogen.core import handles, serving
from mitogen.core.message import Message
from mitogen.core.serving import ModuleForwarder
from tests.parent.test_routes import HERE, LEFT, RIGHT, UP, Middle


@pytest.fixture
def importer() -> Any:
    finder = SimpleNamespace(modules={})
    fields = {"_finder": finder, "_lock": allocate_lock(), "_missing": {}, "_gone": None, "_waiting": {}}
    return SimpleNamespace(_on_load_module=bool, **fields)


@pytest.fixture
def middle(importer: Any) -> Middle:
    middle = Middle()
    middle.router.add_handler(bool, handles.LOAD_MODULE)
    importer.forwarder = ModuleForwarder(middle.router, importer)
    return middle


def test_a_module_that_comes_when_who_asked_is_gone_goes_nowhere(middle: Middle, importer: Any) -> None:
    for child in (LEFT, RIGHT):
        middle.say(child, handles.GET_MODULE, b"module", reply_to=handles.LOAD_MODULE)
    assert middle.said() == {UP: [(handles.GET_MODULE, b"module:sources")]}
    router = middle.router
    router.lose(router.table.remove_link(middle.links[LEFT]), "gone")
    middle.said()
    importer._finder.modules["module"] = None, "module.py", b"value = 1"
    for request in importer._waiting.pop("module:sources"):
        request.put()
    said = middle.said()
    assert list(said) == [RIGHT]
    assert [handle for handle, _ in said[RIGHT]] == [handles.LOAD_MODULE]
    assert router.context_id == HERE


def test_nothing_is_remembered_of_a_child_that_went(middle: Middle, importer: Any) -> None:
    importer._finder.modules["module"] = None, "module.py", b"value = 1"
    for child in (LEFT, RIGHT):
        middle.say(child, handles.GET_MODULE, b"module", reply_to=handles.LOAD_MODULE)
    assert set(importer.forwarder._sent) == {LEFT, RIGHT}
    router = middle.router
    router.lose(router.table.remove_link(middle.links[LEFT]), "gone")
    assert set(importer.forwarder._sent) == {RIGHT}


def test_a_long_name_is_not_even_asked_for(middle: Middle, importer: Any) -> None:
    middle.say(LEFT, handles.GET_MODULE, b"x" * 1000, reply_to=handles.LOAD_MODULE)
    said = middle.said()
    assert list(said) == [LEFT]
    assert names_of(said[LEFT]) == [("x" * 1000, None)]
    assert importer._waiting == {}


def names_of(said: list[tuple[int, bytes]]) -> list[Any]:
    """Return name and reason of each answer."""
    bodies = [data for handle, data in said if handle == handles.LOAD_MODULE]
    return [Message(data=body).unpickle()[0:3:2] for body in bodies]


def test_a_child_that_makes_up_names_has_no_announced_ones_forgotten(
    middle: Middle, importer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes unasked comes once: who waited for it again would wait for ever."""
    monkeypatch.setattr(serving, "_MAX_MISSING", 10)
    related = Message.pickled(("package", (), "package.py", b"", ("package.native",)))
    middle.say(UP, handles.LOAD_MODULE, related.data)
    importer._missing["package.native"] = "it is compiled"
    for i in range(30):
        importer._missing["made_up_%d" % i] = None
        middle.say(LEFT, handles.GET_MODULE, b"made_up_%d" % i, reply_to=handles.LOAD_MODULE)
    assert len(importer._missing) < 15
    middle.said()
    middle.say(RIGHT, handles.GET_MODULE, b"package.native", reply_to=handles.LOAD_MODULE)
    assert names_of(middle.said()[RIGHT]) == [("package.native", "it is compiled")]


def test_a_child_that_makes_up_forms_of_a_name_gets_nothing_and_has_nothing_remembered(
    middle: Middle, importer: Any
) -> None:
    importer._finder.modules["module"] = None, "module.py", b"value = 1"
    for form in (b":", b":s", b":source:", b":sources:" + b"x" * 1000):
        middle.say(LEFT, handles.GET_MODULE, b"module" + form, reply_to=handles.LOAD_MODULE)
    said = middle.said()
    assert len(said.get(LEFT, ())) == 1, "an empty form is as good as none"
    for form in (b":source", b":sources"):
        middle.say(LEFT, handles.GET_MODULE, b"module" + form, reply_to=handles.LOAD_MODULE)
    assert len(middle.said()[LEFT]) == 2
    assert importer._waiting == {}
