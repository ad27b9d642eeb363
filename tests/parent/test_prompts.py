"""`mitogen.parent.prompts`: what a program asks on its terminal, and is told."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mitogen.core import StreamError
from mitogen.parent import prompts
from mitogen.parent.prompts import (
    ANSWERED,
    FAILED,
    TRANSITIONS,
    UNASKED,
    WITH_ANSWER,
    WITHOUT,
    Dialogue,
    PasswordError,
    Prompt,
)

if TYPE_CHECKING:
    from mitogen.parent.prompts import Step


class KeyTrouble(PasswordError):
    pass


def dialogue(passphrase: str | None = "open", password: str | None = "secret") -> Dialogue:
    """Return one like those of ssh and of sudo."""
    return Dialogue(
        [
            Prompt(rb"passphrase for key .*:", passphrase, "passphrase", "passphrase", KeyTrouble),
            Prompt(rb"0f1e\S*|password(?: for \S+)?:", password),
        ]
    )


# -- States ------------------------------------------------------------------------------------


def test_the_table_is_complete_for_what_can_come() -> None:
    """Nothing follows a failure: the start is over. An answer is there from the beginning, or never."""
    assert TRANSITIONS == {
        (UNASKED, WITH_ANSWER): ANSWERED,
        (UNASKED, WITHOUT): FAILED,
        (ANSWERED, WITH_ANSWER): FAILED,
    }
    described = [line.split()[0:4:3] for line in str(prompts.__doc__).splitlines() if "ED " in line]
    assert {line[0] for line in described} == {UNASKED, ANSWERED}


def test_a_prompt_is_answered_once() -> None:
    asked = dialogue()
    assert asked.receive_data(b"Password: ") == [b"secret\n"]
    assert asked.receive_data(b"\r\nSorry, try again.\r\n") == []
    assert asked.receive_data(b"Password: ") == [(PasswordError, "the password is wrong")]
    assert asked.receive_data(b"\r\nPassword: ") == [(PasswordError, "the password is wrong")]


def test_a_prompt_without_an_answer() -> None:
    asked = dialogue(password=None)
    assert asked.receive_data(b"Password:") == [
        (PasswordError, "it asks for a password, and none was given: pass password")
    ]


def test_each_prompt_has_a_state_and_an_error_of_its_own() -> None:
    asked = dialogue()
    question = b"Enter passphrase for key '/home/me/.ssh/id': "
    assert asked.receive_data(question) == [b"open\n"]
    assert asked.receive_data(b"\r\nroot@host's password: ") == [b"secret\n"]
    assert asked.receive_data(b"\r\n" + question) == [(KeyTrouble, "the passphrase is wrong")]


# -- Recognition -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [b"Password: ", b"PASSWORD:", b"password for root: ", b"x\r\nmore\r\n[mitogen 0f1e]", b"\rPassword:"],
)
def test_prompts(text: bytes) -> None:
    assert dialogue().receive_data(text) == [b"secret\n"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"Password:\r\n",
        b"Your password: will expire\r\n",
        b"password:x",
        b"Password",
        b"[mitogen 0f1f]",
    ],
)
def test_what_is_no_prompt(text: bytes) -> None:
    asked = dialogue()
    assert asked.receive_data(text) == []


@pytest.mark.parametrize(
    ("text", "question"),
    [
        (b"Verification code: ", "Verification code:"),
        (b"old\r\nAre you sure (yes/no)? ", "Are you sure (yes/no)?"),
        ("Clé [1-3] >".encode(), "Clé [1-3] >"),
        (b"Verification code:\r\n", ""),
        (b"Thank you.", ""),
        (b"", ""),
        # What is left of a prompt that came in two pieces.
        (b"]", ""),
        (b" : ", ""),
    ],
)
def test_other_questions(text: bytes, question: str) -> None:
    asked = dialogue()
    assert asked.receive_data(text) == []
    assert asked.question == question


def test_an_answer_that_somebody_else_gives() -> None:
    asked = dialogue()
    asked.receive_data(b"One-time code: ")
    assert asked.take_answer("123456") == b"123456\n"
    assert asked.question == ""
    assert asked.receive_data(b"\r\nPassword: ") == [b"secret\n"]


def test_what_was_typed_is_taken_out_of_what_is_shown() -> None:
    asked = dialogue()
    asked.take_answer("123456")
    shown = asked.scrub(b"open? secret! 123456. other")
    assert b"secret" not in shown
    assert b"123456" not in shown
    assert shown.endswith(b"other")


def test_a_line_without_an_end_takes_no_memory() -> None:
    asked = dialogue()
    for _ in range(100):
        asked.receive_data(b"x" * 10000)
    assert len(asked._line) <= 4096
    assert asked.receive_data(b" password: ") == [b"secret\n"]


# -- Chunks ------------------------------------------------------------------------------------

#: Lines that are no prompts, whatever part of them has arrived.
LINES = st.lists(
    st.sampled_from(
        [
            b"Last login: never",
            b"Your password will expire",
            b"[mitogen 0f1",
            b"",
            b"a:b",
            b"\xc3\xa9\xff",
            b"]",
        ]
    ),
    max_size=4,
)
#: What is asked for, and all that can be said to that.
ASKED = st.sampled_from(
    [
        (b"Password: ", b"secret\n"),
        (b"[mitogen 0f1e]", b"secret\n"),
        (b"password for root:", b"secret\n"),
        (b"Enter passphrase for key '/k': ", b"open\n"),
    ]
)


def in_chunks(asked: Dialogue, data: bytes, cuts: list[int]) -> list[Step]:
    steps: list[Step] = []
    ends = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    for start, end in itertools.pairwise(ends):
        steps += asked.receive_data(data[start:end])
    return steps


@given(LINES, ASKED, LINES, ASKED, st.lists(st.integers(0, 200)))
@example([], (b"[mitogen 0f1e]", b"secret\n"), [], (b"Password: ", b"secret\n"), [13, 14])
def test_any_chunking_gives_the_same_steps(
    before: list[bytes],
    first: tuple[bytes, bytes],
    between: list[bytes],
    second: tuple[bytes, bytes],
    cuts: list[int],
) -> None:
    """A program waits behind its prompt, so a chunk always ends there; anywhere else it may."""
    asked = dialogue()
    text = b"".join(line + b"\r\n" for line in before) + first[0]
    assert in_chunks(asked, text, cuts) == [first[1]]
    assert asked.question == ""
    text = b"\r\n" + b"".join(line + b"\r\n" for line in between) + second[0]
    steps = in_chunks(asked, text, cuts)
    if first[1] == second[1]:
        assert [issubclass(step[0], StreamError) for step in steps if isinstance(step, tuple)] == [True]
    else:
        assert steps == [second[1]]
    assert asked.question == ""


@given(st.lists(st.binary(max_size=300), max_size=10))
def test_any_bytes_give_answers_or_errors(chunks: list[bytes]) -> None:
    asked = dialogue()
    for chunk in chunks:
        for step in asked.receive_data(chunk):
            assert step in (b"open\n", b"secret\n") or issubclass(step[0], PasswordError)  # type: ignore[arg-type]
        assert isinstance(asked.question, str)
