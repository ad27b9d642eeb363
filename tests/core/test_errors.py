"""`mitogen.core.errors`: what errors say, and that describing an error can't itself fail."""

from __future__ import annotations

import copy
import pickle

import pytest

from mitogen.core import errors
from mitogen.core.describe import describe, type_name
from mitogen.core.errors import CallError, Error, cut, text_of


class Lazy(str):
    """As texts are that are translated when they are shown."""


class Unfriendly(Exception):
    """Raises from every method that someone might call to look at it."""

    def __str__(self) -> str:
        raise ZeroDivisionError

    __repr__ = __str__

    def __bool__(self) -> bool:
        raise ZeroDivisionError


def caught(function: object) -> BaseException:
    """Return what calling `function` raises."""
    assert callable(function)
    try:
        function()
    except BaseException as e:
        return e
    raise AssertionError("nothing was raised")


def fail(error: BaseException, cause: BaseException | None = None) -> BaseException:
    def raises() -> None:
        raise error from cause

    return caught(raises)


# -- Error ------------------------------------------------------------------------------------------


def test_arguments_are_put_into_the_format() -> None:
    assert str(Error("%s has %d", "it", 3)) == "it has 3"


def test_a_text_without_arguments_is_not_a_format() -> None:
    assert str(Error("100 % of %s")) == "100 % of %s"


def test_an_error_may_have_no_text() -> None:
    assert str(Error()) == ""


@pytest.mark.parametrize(
    "cls",
    [
        errors.CallError,
        errors.ChannelError,
        errors.LatchError,
        errors.SerializationError,
        errors.StreamError,
        errors.TimeoutError,
    ],
)
def test_every_error_is_an_error(cls: type[Error]) -> None:
    assert issubclass(cls, Error)
    assert "text" in str(cls("text"))


def test_a_value_that_cannot_be_sent_is_a_type_error_too() -> None:
    assert issubclass(errors.SerializationError, TypeError)


# -- cut --------------------------------------------------------------------------------------------


def test_a_text_up_to_the_limit_is_kept() -> None:
    assert cut("x" * 10, 10) == "x" * 10


def test_a_longer_text_keeps_its_ends_and_says_how_much_is_missing() -> None:
    assert cut("abcdefghij", 4) == "ab\n[... 6 characters cut ...]\nij"


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_the_kept_and_the_cut_characters_make_up_the_text(limit: int) -> None:
    head, mark, tail = cut("abcdefghij", limit).split("\n")
    assert len(head) + len(tail) == limit
    assert mark == "[... %d characters cut ...]" % (10 - limit)
    assert "abcdefghij".startswith(head)
    assert "abcdefghij".endswith(tail)


# -- text_of and type_name --------------------------------------------------------------------------


def test_text_is_what_str_gives() -> None:
    assert text_of(ValueError("x")) == "x"


def test_text_may_be_what_another_function_gives() -> None:
    assert text_of("x", repr) == "'x'"


def test_text_is_never_of_a_subclass() -> None:
    assert type(text_of(Lazy("x"))) is str
    assert text_of(Lazy("x")) == "x"


def test_what_cannot_be_shown_is_named() -> None:
    assert text_of(Unfriendly()) == "<unprintable Unfriendly>"
    assert text_of(Unfriendly(), repr) == "<unprintable Unfriendly>"


def test_even_an_exit_does_not_escape_from_looking_at_an_object() -> None:
    class Exits:
        def __str__(self) -> str:
            raise SystemExit(3)

    assert "Exits" in text_of(Exits())


def test_builtin_types_go_by_their_bare_name_and_others_with_their_module() -> None:
    assert type_name(ValueError) == "ValueError"
    assert type_name(Unfriendly) == __name__ + ".Unfriendly"
    assert type_name(type(Unfriendly.__str__)) == "function"


# -- CallError --------------------------------------------------------------------------------------


def test_a_call_error_shows_type_text_and_traceback() -> None:
    assert str(CallError("a.B")) == "a.B"
    assert str(CallError("a.B", "text")) == "a.B: text"
    assert str(CallError("a.B", "text", "  File x\n")) == "a.B: text\n  File x\n"


def test_a_call_error_keeps_the_facts() -> None:
    cause = CallError("c.D")
    error = CallError("a.B", "text", "tb", cause)
    assert (error.type_name, error.text, error.traceback, error.cause) == ("a.B", "text", "tb", cause)


def test_percent_signs_of_the_remote_text_are_just_text() -> None:
    assert str(CallError("a.B", "100 %s")) == "a.B: 100 %s"


def test_whatever_a_call_error_is_made_of_ends_up_as_plain_text() -> None:
    error = CallError(Lazy("a.B"), 3, Unfriendly(), "cause")  # type: ignore[arg-type]
    assert type(error.type_name) is str
    assert error.text == "3"
    assert error.traceback.startswith("<unprintable")
    assert error.cause is None


def test_a_call_error_survives_copying_and_pickling() -> None:
    error = CallError("a.B", "text", "tb", CallError("c.D"))
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert str(twin) == str(error)
        assert isinstance(twin.cause, CallError)
        assert twin.cause.type_name == "c.D"


def test_an_exception_becomes_a_call_error_with_its_traceback() -> None:
    error = describe(fail(ValueError("x")))
    assert (error.type_name, error.text) == ("ValueError", "x")
    assert "raise error from cause" in error.traceback
    assert error.cause is None


def test_an_exception_that_was_never_raised_has_no_traceback() -> None:
    assert describe(ValueError("x")).traceback == ""


def test_a_call_error_is_described_by_itself() -> None:
    error = CallError("a.B")
    assert describe(error) is error


def test_a_subclass_of_call_error_is_an_exception_like_any_other() -> None:
    class Mine(CallError):
        pass

    error = describe(Mine("a.B", "text"))
    assert type(error) is CallError
    assert error.type_name.endswith("Mine")
    assert error.text == "a.B: text"


def test_the_cause_comes_along() -> None:
    error = describe(fail(ValueError("x"), KeyError("y")))
    assert error.cause is not None
    assert error.cause.type_name == "KeyError"


def test_the_context_comes_along_where_there_is_no_cause() -> None:
    def fails() -> None:
        try:
            raise KeyError("y")
        except KeyError:
            raise ValueError("x")  # noqa: B904  That is the case.

    error = describe(caught(fails))
    assert error.cause is not None
    assert error.cause.text == "'y'"


def test_a_suppressed_context_stays_behind() -> None:
    def fails() -> None:
        try:
            raise KeyError("y")
        except KeyError:
            raise ValueError("x") from None

    assert describe(caught(fails)).cause is None


def test_causes_are_followed_eight_deep_and_no_further() -> None:
    exc: BaseException = KeyError()
    for _ in range(20):
        exc = fail(ValueError("x"), exc)
    depth = 0
    error: CallError | None = describe(exc)
    while error is not None:
        depth, error = depth + 1, error.cause
    assert depth == 9


def test_causes_that_form_a_circle_have_an_end() -> None:
    a, b = ValueError("a"), ValueError("b")
    a.__cause__, b.__cause__ = b, a
    assert describe(a).text == "a"


def test_an_exception_that_does_not_let_itself_be_looked_at_is_described_all_the_same() -> None:
    error = describe(fail(ValueError("x"), fail(Unfriendly())))
    assert error.cause is not None
    assert error.cause.type_name == __name__ + ".Unfriendly"
    assert error.cause.text == "<unprintable Unfriendly>"


def test_a_traceback_that_cannot_be_formatted_costs_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    import traceback

    def fails(tb: object) -> list[str]:
        raise RecursionError

    monkeypatch.setattr(traceback, "format_tb", fails)
    assert describe(fail(ValueError("x"))).text == "x"


class OddCause(Exception):
    __cause__ = 5  # type: ignore[assignment]


class FailingCause(Exception):
    @property
    def __cause__(self) -> None:  # type: ignore[override]
        raise ZeroDivisionError


class FailingEverything(Exception):
    def __getattribute__(self, name: str) -> object:
        raise ZeroDivisionError


class OddMeta(type):
    @property
    def __module__(cls) -> str:  # type: ignore[override]
        raise ZeroDivisionError


class OddClass(Exception, metaclass=OddMeta):
    pass


@pytest.mark.parametrize("cls", [OddCause, FailingCause, FailingEverything, OddClass])
def test_whatever_an_exception_does_when_looked_at_there_is_an_error(cls: type[Exception]) -> None:
    error = describe(cls("x"))
    assert type(error) is CallError
    assert error.type_name


def test_a_huge_text_and_a_huge_traceback_are_cut_visibly() -> None:
    error = describe(fail(ValueError("x" * (errors.TEXT_LIMIT + 7))))
    assert "[... 7 characters cut ...]" in error.text
    assert len(error.text) < errors.TEXT_LIMIT + 100
