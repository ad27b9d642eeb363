"""`mitogen.core.signals`: listeners are called in order, whatever one of them does."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from mitogen.core.signals import fire, listen, unlisten
from tests.core.tools import collect_logs


class Thing:
    """Anything with a `__dict__`."""


def test_listeners_are_called_in_order_with_the_arguments() -> None:
    thing, calls = Thing(), []
    listen(thing, "event", lambda *args: calls.append(("first", args)))
    listen(thing, "event", lambda *args: calls.append(("second", args)))
    fire(thing, "event", 1, "x")
    assert calls == [("first", (1, "x")), ("second", (1, "x"))]


def test_an_event_that_nobody_listens_for_is_no_error() -> None:
    fire(Thing(), "event")


def test_names_and_objects_are_told_apart() -> None:
    one, two, calls = Thing(), Thing(), []
    listen(one, "event", lambda: calls.append(1))
    fire(one, "other")
    fire(two, "event")
    assert calls == []


def test_a_listener_is_called_once_for_each_time_it_listens() -> None:
    thing, calls = Thing(), []
    listener = lambda: calls.append(1)  # noqa: E731  It is needed twice.
    listen(thing, "event", listener)
    listen(thing, "event", listener)
    fire(thing, "event")
    assert len(calls) == 2
    unlisten(thing, "event", listener)
    fire(thing, "event")
    assert len(calls) == 3
    unlisten(thing, "event", listener)
    fire(thing, "event")
    assert len(calls) == 3


def test_undoing_what_was_not_done_is_an_error() -> None:
    thing = Thing()
    with pytest.raises(ValueError):
        unlisten(thing, "event", print)
    listen(thing, "event", repr)
    with pytest.raises(ValueError):
        unlisten(thing, "event", print)


def test_a_listener_that_raises_is_logged_and_the_rest_run(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = collect_logs(monkeypatch)
    thing, calls = Thing(), []

    def fails() -> None:
        raise ValueError("the reason")

    listen(thing, "event", fails)
    listen(thing, "event", lambda: calls.append(1))
    fire(thing, "event")
    assert calls == [1]
    [(level, _, text)] = lines
    assert level == 40
    assert "'event'" in text
    assert "ValueError: the reason" in text


def test_a_listener_may_change_the_listeners_for_the_next_time() -> None:
    thing, calls = Thing(), []

    def once(*args: Any) -> None:
        calls.append("once")
        unlisten(thing, "event", once)
        listen(thing, "event", lambda: calls.append("added"))

    listen(thing, "event", once)
    listen(thing, "event", lambda: calls.append("other"))
    fire(thing, "event")
    assert calls == ["once", "other"]
    fire(thing, "event")
    assert calls == ["once", "other", "other", "added"]


def test_listeners_go_with_the_object() -> None:
    thing, listener = Thing(), Thing()
    listen(thing, "event", lambda kept=listener: None)
    gone = weakref.ref(listener)
    del thing, listener
    gc.collect()
    assert gone() is None
