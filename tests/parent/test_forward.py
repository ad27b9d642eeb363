"""`mitogen.parent.forward`: modules for those that are there, over a table with made-up links."""

from __future__ import annotations

from _thread import allocate_lock
from types import SimpleNamespace
from typing import Any

import pytest

from mitogen.core import handles
from mitogen.parent.forward import ModuleForwarder
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
    ModuleForwarder(middle.router, importer)
    return middle


def test_a_module_that_comes_when_who_asked_is_gone_goes_nowhere(middle: Middle, importer: Any) -> None:
    for child in (LEFT, RIGHT):
        middle.say(child, handles.GET_MODULE, b"module", reply_to=handles.LOAD_MODULE)
    assert middle.said() == {UP: [(handles.GET_MODULE, b"module")]}
    router = middle.router
    router.lose(router.table.remove_link(middle.links[LEFT]), "gone")
    middle.said()
    importer._finder.modules["module"] = None, "module.py", b"value = 1"
    for request in importer._waiting.pop("module"):
        request.put()
    said = middle.said()
    assert list(said) == [RIGHT]
    assert [handle for handle, _ in said[RIGHT]] == [handles.LOAD_MODULE]
    assert router.context_id == HERE
