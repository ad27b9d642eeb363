"""`mitogen.master.rules`: which names contexts may have."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from mitogen.master.rules import Rules

if TYPE_CHECKING:
    from typing import Any


def test_without_rules_everything_is_allowed() -> None:
    rules = Rules()
    assert all(map(rules.is_allowed, ["pkg", "pkg.mod", "__main__", "mitogen", ""]))


def test_a_name_stands_for_the_module_and_all_that_is_in_it() -> None:
    rules = Rules()
    rules.deny("pkg.secret")
    assert not rules.is_allowed("pkg.secret")
    assert not rules.is_allowed("pkg.secret.deep.er")
    assert rules.is_allowed("pkg")
    assert rules.is_allowed("pkg.secrets")
    assert rules.is_allowed("secret")


def test_with_allow_rules_one_of_them_must_match() -> None:
    rules = Rules()
    rules.allow("one", "two.sub")
    rules.allow("three")
    assert all(map(rules.is_allowed, ["one", "one.mod", "two.sub", "two.sub.mod", "three"]))
    assert not any(map(rules.is_allowed, ["two", "two.other", "four", "__main__"]))


def test_deny_rules_come_before_allow_rules_whichever_was_added_first() -> None:
    for first in "allow", "deny":
        rules = Rules()
        steps = [("deny", "pkg.secret"), ("allow", "pkg")]
        for what, name in sorted(steps, reverse=first == "deny"):
            getattr(rules, what)(name)
        assert rules.is_allowed("pkg.mod")
        assert not rules.is_allowed("pkg.secret")


def test_functions_are_asked_with_the_full_name() -> None:
    asked: list[str] = []

    def ends_in_test(name: str) -> bool:
        asked.append(name)
        return name.endswith("_test")

    rules = Rules()
    rules.deny(ends_in_test)
    assert rules.is_allowed("pkg.mod")
    assert not rules.is_allowed("pkg.mod_test")
    assert asked == ["pkg.mod", "pkg.mod_test"]
    rules.allow(lambda name: len(name) == 3)
    assert rules.is_allowed("pkg")
    assert not rules.is_allowed("pkg.mod")


def test_the_library_itself_is_always_allowed() -> None:
    rules = Rules()
    rules.deny("mitogen", lambda name: True)
    rules.allow("nothing")
    assert rules.is_allowed("mitogen")
    assert rules.is_allowed("mitogen.core.receiver")
    assert not rules.is_allowed("mitogenous")


def test_packages_around_an_allowed_module_can_be_imported_but_are_not_allowed() -> None:
    rules = Rules()
    rules.allow("pkg.sub.mod")
    for name in "pkg", "pkg.sub":
        assert rules.is_importable(name)
        assert not rules.is_allowed(name)
    assert not rules.is_importable("pkg.other")
    rules.deny("pkg")
    assert not rules.is_importable("pkg")
    assert not rules.is_importable("pkg.sub.mod")


def test_a_function_that_raises_is_logged_once_and_counts_as_a_no(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(name: str) -> bool:
        raise ValueError("rules are hard")

    rules = Rules()
    rules.deny(broken)
    assert not rules.is_allowed("one")
    assert not rules.is_allowed("two")
    assert rules.is_allowed("mitogen")
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "broken" in record.getMessage()
    assert "rules are hard" in record.getMessage()

    rules = Rules()
    rules.allow(broken, "one")
    assert rules.is_allowed("one")
    assert not rules.is_allowed("two")
    assert len(caplog.records) == 2


@pytest.mark.parametrize("rule", [3, None, b"pkg", ["pkg"]])
def test_what_is_no_rule_is_refused(rule: Any) -> None:
    rules = Rules()
    for add in rules.allow, rules.deny:
        with pytest.raises(TypeError, match=r"(allow|deny)\(\).*name of a module, or a function"):
            add("fine", rule)
    assert rules.is_allowed("pkg")
    assert rules.is_allowed("other")


@pytest.mark.parametrize("rule", ["", "pkg.", ".pkg", "pkg.*", "a b", "pkg/mod", "pkg..mod"])
def test_text_that_is_no_name_is_refused(rule: str) -> None:
    with pytest.raises(ValueError, match="is not the name of a module"):
        Rules().deny(rule)


def test_no_rules_at_all_are_a_mistake() -> None:
    for add in Rules().allow, Rules().deny:
        with pytest.raises(TypeError, match="at least one rule"):
            add()


def test_each_change_is_told_when_it_holds() -> None:
    told: list[bool] = []
    rules = Rules(lambda: told.append(rules.is_allowed("pkg")))
    rules.deny("pkg")
    rules.allow("other")
    assert told == [False, False]
    with pytest.raises(ValueError):
        rules.allow("")
    assert len(told) == 2
