"""`mitogen.master.questions`: each context has its turn, and nobody asks without end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mitogen.core.message import Message
from mitogen.master import questions
from mitogen.master.questions import ENOUGH, MAX_QUESTION, MAX_WAITING, Questions
from tests.parent.test_routes import LEFT, RIGHT, Middle

if TYPE_CHECKING:
    from collections.abc import Callable

HANDLE, REPLY = 900, 1002


class Asked:
    """A context that answers the questions of two children, each after a step once it may."""

    def __init__(self) -> None:
        self.middle = Middle()
        self.later: list[Callable[[], object]] = []
        broker: Any = self.middle.router.broker
        broker.call_later = lambda seconds, func: self.later.append(func)
        self.questions = Questions(self.middle.router, self._answer, HANDLE)
        self.may_go_on = True
        self.ended: list[int] = []

    def _answer(self, msg: Message) -> Any:
        try:
            yield
            while not self.may_go_on:
                yield
            return msg.data
        finally:
            self.ended.append(msg.src_id)

    def ask(self, child: int, data: bytes) -> None:
        self.middle.say(child, HANDLE, data, reply_to=REPLY)

    def answers(self) -> dict[int, list[Any]]:
        """Return what children were told since the last time, when timers have run."""
        for func in self.later[:]:
            self.later.remove(func)
            func()
        said = self.middle.said()
        return {child: [Message(data=data).unpickle() for _, data in said[child]] for child in said}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    # As much time as it takes: those of one link would wait for another turn.
    monkeypatch.setattr("mitogen.core.pressure.TURN", 1000.0)
    monkeypatch.setattr(questions, "TURN", 0.002)
    return Asked()


def test_a_context_that_asks_too_much_is_told_and_others_are_answered(asked: Asked) -> None:
    asked.may_go_on = False
    for i in range(MAX_WAITING + 3):
        asked.ask(LEFT, b"%d" % i)
    told = asked.answers()[LEFT]
    assert [error for error, _ in told] == ["EAGAIN"] * 3
    asked.ask(RIGHT, b"another")
    asked.may_go_on = True
    answers: dict[int, list[Any]] = {LEFT: [], RIGHT: []}
    while asked.later:
        for child, values in asked.answers().items():
            answers[child] += values
    assert answers == {LEFT: [b"%d" % i for i in range(MAX_WAITING)], RIGHT: [b"another"]}
    assert not asked.questions._behind


def test_nothing_is_answered_to_where_much_waits_already(asked: Asked) -> None:
    asked.middle.links[LEFT].queued = ENOUGH + 1
    for child in (LEFT, RIGHT):
        asked.ask(child, b"question")
    assert asked.answers() == {RIGHT: [b"question"]}
    assert asked.answers() == {}
    asked.middle.links[LEFT].queued = 0
    assert asked.answers() == {LEFT: [b"question"]}


def test_a_long_question_is_refused(asked: Asked) -> None:
    asked.ask(LEFT, b"x" * (MAX_QUESTION + 1))
    [[(error, _)]] = asked.answers().values()
    assert error == "EINVAL"


def test_questions_of_a_context_that_went_are_forgotten(asked: Asked) -> None:
    asked.may_go_on = False
    for i in range(3):
        asked.ask(LEFT, b"%d" % i)
    router = asked.middle.router
    router.lose(router.table.remove_link(asked.middle.links[LEFT]), "gone")
    # One was begun.
    assert asked.ended == [LEFT]
    assert not asked.questions._waiting
    assert not asked.questions._behind
