"""`mitogen.core.logs`: which lines are seen, where they go, and that nothing is imported for nothing."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from mitogen.core import handles, loghandler, logs
from tests.core.tools import Inbox, Node, ended

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str, str]]:
    lines: list[tuple[int, str, str]] = []
    monkeypatch.setattr(logs, "sink", lambda *line: lines.append(line))
    return lines


Lines = list[tuple[int, str, str]]


def run_program(code: str) -> str:
    """Run `code` in an interpreter of its own; return what it prints."""
    environ = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    run = subprocess.run(
        [sys.executable, "-c", code], env=environ, check=True, stdout=subprocess.PIPE, text=True
    )
    return run.stdout.strip()


# -- In a master ------------------------------------------------------------------------------------


def test_lines_of_a_master_go_to_logging(caplog: pytest.LogCaptureFixture) -> None:
    logs.log(logs.WARNING, "%d %% of %s", 100, "it")
    assert caplog.record_tuples == [("mitogen", logging.WARNING, "100 % of it")]


def test_below_a_warning_logging_decides_what_is_seen(sent: Lines) -> None:
    logger = logging.getLogger("mitogen")
    before = logger.level
    try:
        logger.setLevel(logging.DEBUG)
        assert logs.enabled(logs.DEBUG)
        logs.log(logs.DEBUG, "seen")
        logger.setLevel(logging.ERROR)
        assert not logs.enabled(logs.DEBUG)
        logs.log(logs.DEBUG, "not seen")
    finally:
        logger.setLevel(before)
    assert sent == [(logs.DEBUG, "mitogen", "seen")]


def test_a_text_with_percent_signs_is_not_formatted_twice(caplog: pytest.LogCaptureFixture) -> None:
    logs.log(logs.ERROR, "%s", "100 %s")
    assert caplog.messages == ["100 %s"]


def test_a_handler_of_the_program_that_raises_does_not_hurt() -> None:
    class Failing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ZeroDivisionError

    handler = Failing()
    logging.getLogger("mitogen").addHandler(handler)
    try:
        logs.log(logs.ERROR, "a line")
    finally:
        logging.getLogger("mitogen").removeHandler(handler)


def test_a_program_that_never_imported_logging_is_not_made_to_unless_there_is_a_warning() -> None:
    code = """if 1:
        import sys
        from mitogen.core import logs
        logs.log(logs.INFO, "nobody asked for this")
        before = "logging" in sys.modules
        logs.log(logs.WARNING, "but for this")
        print(before, "logging" in sys.modules)
    """
    assert run_program(code) == "False True"


# -- Lines ------------------------------------------------------------------------------------------


def test_long_lines_are_cut_visibly(sent: Lines) -> None:
    logs.log(logs.ERROR, "%s", "x" * 1_000_000)
    assert len(sent[0][2]) < logs.LINE_LIMIT + 100
    assert "characters cut" in sent[0][2]


def test_an_exception_is_logged_with_its_traceback(sent: Lines) -> None:
    try:
        raise ValueError("the reason")
    except ValueError:
        logs.log_exception("%s failed", "it")
    [(level, name, text)] = sent
    assert (level, name) == (logs.ERROR, "mitogen")
    assert text.startswith("it failed\nTraceback")
    assert "ValueError: the reason" in text


def test_nothing_is_composed_that_nobody_sees(monkeypatch: pytest.MonkeyPatch, sent: Lines) -> None:
    monkeypatch.setattr(logs, "child_level", logs.ERROR + 1)

    class Expensive:
        def __str__(self) -> str:
            raise AssertionError("composed")

    logs.log(logs.ERROR, "%s", Expensive())
    logs.log_exception("%s", Expensive())
    assert sent == []


# -- In a child -------------------------------------------------------------------------------------


@pytest.fixture
def node() -> Iterator[Node]:
    yield from ended(Node(0))


@pytest.fixture
def forwarding(node: Node, monkeypatch: pytest.MonkeyPatch) -> Iterator[Inbox]:
    """Forward lines of this process, from INFO up, to the context `node`; return what gets them."""
    monkeypatch.setattr(logs, "sink", logs.sink)
    monkeypatch.setattr(logs, "child_level", None)
    root = logging.getLogger()
    handlers_before, level = root.handlers[:], root.level
    inbox, _ = node.inbox(handles.FORWARD_LOG)
    logs.forward_to(node.router, 0, logs.INFO)
    yield inbox
    root.handlers[:] = handlers_before
    root.setLevel(level)


def test_lines_of_a_child_travel_as_name_level_and_text(forwarding: Inbox) -> None:
    logs.log(logs.INFO, "a line")
    msg = forwarding.get()
    assert msg.data == b"mitogen\x0020\x00a line"
    assert msg.reply_to == 0


def test_lines_below_the_level_stay_in_the_child(forwarding: Inbox) -> None:
    logs.log(logs.DEBUG, "not this")
    logs.log(logs.WARNING, "this")
    assert forwarding.get().data == b"mitogen\x0030\x00this"


def test_records_of_user_code_travel_under_their_own_names(forwarding: Inbox) -> None:
    logging.getLogger("user.module").warning("%d\0%s", 3, "\udc80\u00e9")
    assert forwarding.get().data == b"user.module\x0030\x003\x00?\xc3\xa9"


def test_a_record_that_cannot_be_formatted_hurts_nobody(
    forwarding: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = []
    handler = loghandler.make_handler(logging, logs.sink)
    monkeypatch.setattr(handler, "handleError", lambda record: errors.append(1))
    logger = logging.Logger("alone")
    logger.addHandler(handler)
    logger.error("%d", "not a number")
    logger.error("next")
    assert forwarding.get().data.endswith(b"next")
    assert errors == [1]


def test_huge_records_are_cut(forwarding: Inbox) -> None:
    logging.getLogger("user").error("x" * 1_000_000)
    assert len(forwarding.get().data) < logs.LINE_LIMIT + 100


def test_a_child_that_imports_logging_later_has_its_records_forwarded_from_then_on() -> None:
    code = """if 1:
        import sys
        from mitogen.core.broker import Broker
        from mitogen.core.latch import Latch
        from mitogen.core import logs
        from mitogen.core.router import Router
        broker = Broker()
        router = Router(broker)
        latch = Latch()
        router.add_handler(latch.put, 102)
        logs.forward_to(router, 0, logs.INFO)
        finders = len(sys.meta_path)
        assert "logging" not in sys.modules
        import json.tool as unrelated
        import logging
        assert len(sys.meta_path) == finders, "multiprocessing is waited for as well"
        assert len(logging.getLogger().handlers) == 1
        logging.getLogger("user").info("hello")
        print(latch.get(5).data)
        import multiprocessing
        assert len(sys.meta_path) == finders - 1
        assert len(logging.getLogger().handlers) == 1
        assert logging.__spec__.loader.exec_module.__func__.__qualname__.endswith("exec_module")
        broker.shutdown()
        broker.join()
    """
    assert run_program(code) == repr(b"user\x0020\x00hello")
