"""What children are told of the master's modules, when rules and source modifiers have a say in it."""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING

import pytest

import mitogen.master
from mitogen.core import CallError, handles, serialization
from mitogen.master.prompt import PREFIX
from tests.integration import remote_modules as remote

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mitogen.core import Message
    from mitogen.parent import Context


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package `served`, and a module `single`, on `sys.path`."""
    for name in "served/__init__", "served/public", "served/secret", "served/sub/__init__", "single":
        path = tmp_path / (name + ".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text("value = 'first'\n")
    (tmp_path / "served/sub/deep.py").write_text("value = 'deep'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] in ("served", "single")]:
        del sys.modules[name]


@pytest.fixture
def answers(router: mitogen.master.Router, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What children are sent about modules, as bytes, by name."""
    sent: dict[str, bytes] = {}
    route = router._async_route

    def record(msg: Message, *args: object) -> None:
        if msg.handle == handles.LOAD_MODULE:
            sent[serialization.loads(msg.data, router)[0]] = bytes(msg.data)
        route(msg, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(router, "_async_route", record)
    return sent


def error_of(context: Context, name: str) -> CallError:
    with pytest.raises(CallError) as info:
        context.call(remote.load, name)
    return info.value


# Rules.


def test_a_denied_module_is_missing_in_every_way(
    router: mitogen.master.Router, answers: dict[str, bytes]
) -> None:
    router.responder.deny("single")
    context = router.local()
    denied, missing = (error_of(context, name) for name in ("single", "absent"))
    assert denied.type_name == missing.type_name == "ModuleNotFoundError"
    assert denied.text == missing.text.replace("absent", "single")
    assert not context.call(remote.look_for, "single")
    assert answers["single"] == answers["absent"].replace(b"absent", b"single")


def test_a_denied_module_is_not_among_those_of_its_package(
    router: mitogen.master.Router, answers: dict[str, bytes]
) -> None:
    router.responder.deny("served.secret", lambda name: name == "served.sub")
    context = router.local()
    context.call(remote.load, "served.public")
    assert serialization.loads(answers["served"], router)[1] == ("public", "__init__")
    for name in "secret", "sub", "absent":
        text = error_of(context, "served." + name).text
        assert text == "No module named 'served.%s'" % name
    assert set(answers) >= {"served", "served.public"}
    assert "served.secret" not in answers, "the child knows without asking"


def test_a_compromised_child_that_asks_all_the_same_gets_the_answer_for_a_missing_module(
    router: mitogen.master.Router, local: Context, answers: dict[str, bytes]
) -> None:
    router.responder.deny("served.secret")
    for name in "served.secret", "served.absent", "served.secret.no":
        local.call(remote.ask_for, name)
    local.call(remote.load, "served")
    assert answers["served.secret"] == answers["served.absent"].replace(b"absent", b"secret")
    assert answers["served.secret.no"][-8:] == answers["served.absent"][-8:]


def test_with_allow_rules_nothing_else_is_served(router: mitogen.master.Router) -> None:
    router.responder.allow("tests", "served.sub.deep")
    context = router.local()
    # The packages around it come along.
    context.call(remote.load, "served.sub.deep")
    for name in "single", "served.public", "served.secret":
        assert "No module named" in error_of(context, name).text
    # What the library needs is not the user's business.
    assert context.call(remote.starts_child)


def test_rules_hold_for_answers_that_were_given_before(router: mitogen.master.Router) -> None:
    first = router.local()
    first.call(remote.load, "served.secret")
    router.responder.deny("served.secret")
    second = router.local()
    assert "No module named" in error_of(second, "served.secret").text
    first.call(remote.load, "served.secret")
    router.responder.allow("tests")
    assert "No module named" in error_of(router.local(), "single").text


def test_modules_that_are_denied_are_not_sent_ahead(
    router: mitogen.master.Router, local: Context, answers: dict[str, bytes]
) -> None:
    router.responder.deny("single")
    router.responder.forward_modules(local, ["single", "served"])
    local.call(remote.load, "served")
    assert "single" not in answers
    assert "served" in answers


def test_the_program_is_under_the_rules(
    router: mitogen.master.Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    responder = router.responder
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert "has no file" in str(responder.find("__main__")[2])
    monkeypatch.setattr(responder.prompt, "source_of", lambda name: b"x = 1")
    assert responder.find(PREFIX + "0")[3] is not None
    responder.deny("__main__")
    for name in "__main__", PREFIX + "0":
        assert responder.find(name) == (name, None, None, None, ())


def test_a_rule_that_is_broken_denies_and_is_logged_once(
    router: mitogen.master.Router, local: Context, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(name: str) -> bool:
        if name.startswith("tests"):
            return False
        raise RuntimeError("oops")

    router.responder.deny(broken)
    for name in "single", "served":
        assert "No module named" in error_of(local, name).text
    (text,) = [record.getMessage() for record in caplog.records if "rule" in record.getMessage()]
    assert "broken" in text
    assert "oops" in text


# Source modifiers.


def test_contexts_run_what_modifiers_made_of_the_source(
    router: mitogen.master.Router, local: Context
) -> None:
    assert local.call(remote.value_of, "single") == "first"
    router.responder.finder.add_modifier(lambda name, source: source.replace("first", name))
    context = router.local()
    assert context.call(remote.value_of, "single") == "single"
    assert context.call(remote.value_of, "served.public") == "served.public"
    assert local.call(remote.value_of, "single") == "first", "it keeps what it has"


def test_a_module_whose_modifier_fails_can_not_be_imported(
    router: mitogen.master.Router, local: Context, caplog: pytest.LogCaptureFixture
) -> None:
    def spoil(name: str, source: str) -> str:
        if name == "single":
            raise ValueError("spoilt")
        return source

    router.responder.finder.add_modifier(spoil)
    error = error_of(local, "single")
    assert "module single can't be sent to a context: the source modifier" in error.text
    assert "spoil failed for it (ValueError)" in error.text
    assert "spoilt" not in error.text, "details are the master's business"
    assert "ValueError: spoilt" in caplog.text
    assert local.call(remote.value_of, "served") == "first"
