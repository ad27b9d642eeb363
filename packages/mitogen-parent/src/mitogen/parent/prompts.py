"""What a program asks on its terminal, and what it is told: `Prompt` and `Dialogue`.

Pure: the connection moves the bytes and keeps the time. A prompt is an unterminated line, so it can only
be told from the beginning of some other line by what it says, or by the silence that follows it:

=========  ============================  =========  ===========================================
state      event                         next       what is done
=========  ============================  =========  ===========================================
UNASKED    the prompt, with an answer    ANSWERED   the answer is sent, once
UNASKED    the prompt, without one       FAILED     the start fails: nobody gave what is asked
ANSWERED   the prompt                    FAILED     the start fails: the answer was wrong
=========  ============================  =========  ===========================================

Each prompt has a state of its own: ssh may ask for a passphrase and then for a password. A line that
matches none of them and is followed by silence is a question as well: `Dialogue.question` is its text.
"""

from __future__ import annotations

import re

from mitogen.core.errors import StreamError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Union

    #: What the connection is to do: send these bytes, or fail with such an error, for this reason.
    Step = Union[bytes, tuple[type[StreamError], str]]

UNASKED, ANSWERED, FAILED = "UNASKED", "ANSWERED", "FAILED"
WITH_ANSWER, WITHOUT = "WITH_ANSWER", "WITHOUT"

TRANSITIONS = {
    (UNASKED, WITH_ANSWER): ANSWERED,
    (UNASKED, WITHOUT): FAILED,
    (ANSWERED, WITH_ANSWER): FAILED,
}

#: Bytes of an unterminated line that are looked at.
_LINE_LIMIT = 4096
#: Characters of the shortest text that hides nothing else when it is hidden.
_SECRET_LENGTH = 4
#: What any question looks like. Without a letter it is the end of a prompt that came in two pieces.
_QUESTION = re.compile(rb"(?=.*?[\w\x80-\xff]).*[:?>)\]]\s*\Z")


class PasswordError(StreamError):
    """A password was asked for and not given, or was wrong."""


class Prompt:
    """A question that a program may ask.

    :param pattern: a regular expression for the end of the question; letters match in either case.
    :param answer: what to say; None if there is nothing to say.
    :param what: what it asks for, for errors: ``password``.
    :param parameter: what the caller would pass to answer it.
    :param error: raised if there is no answer, or if it was wrong.
    """

    def __init__(
        self,
        pattern: bytes,
        answer: str | None,
        what: str = "password",
        parameter: str = "password",
        error: type[StreamError] = PasswordError,
    ) -> None:
        self.regex = re.compile(rb"(?:%s)\s*\Z" % pattern, re.IGNORECASE | re.DOTALL)
        self.answer = answer
        self.what = what
        self.parameter = parameter
        self.error = error
        self.state = UNASKED


class Dialogue:
    """Take what a program writes on its terminal, in any split, and tell what to do.

    :param prompts: the questions that are expected.
    """

    def __init__(self, prompts: Iterable[Prompt]) -> None:
        self._prompts = list(prompts)
        self._secrets = [prompt.answer for prompt in self._prompts if prompt.answer]
        self._line = b""

    @property
    def question(self) -> str:
        """The unterminated line, if it may be a question that nobody expected; else an empty text."""
        text = self._line.decode("utf-8", "replace").strip()
        return text if _QUESTION.match(self._line) else ""

    def receive_data(self, data: bytes) -> list[Step]:
        """Take `data`, and return what follows from it."""
        steps: list[Step] = []
        self._line = re.split(rb"[\r\n]", self._line + data)[-1][-_LINE_LIMIT:]
        for prompt in self._prompts:
            if prompt.regex.search(self._line):
                steps.append(self._step(prompt))
                self._line = b""
                break
        return steps

    def take_answer(self, answer: str) -> bytes:
        """Return what to send for an `answer` that the caller found for `question`."""
        self._line = b""
        self._secrets.append(answer)
        return answer.encode() + b"\n"

    def scrub(self, data: bytes) -> bytes:
        """Return `data` without the secrets that were to be typed, should a program repeat them."""
        for text in self._secrets:
            if len(text) >= _SECRET_LENGTH:
                data = data.replace(text.encode(), b"********")
        return data

    def _step(self, prompt: Prompt) -> Step:
        event = WITHOUT if prompt.answer is None else WITH_ANSWER
        before = prompt.state
        prompt.state = TRANSITIONS.get((before, event), FAILED)
        if prompt.state == ANSWERED and prompt.answer is not None:
            return prompt.answer.encode() + b"\n"
        reason = "the %s is wrong" % prompt.what
        if before == UNASKED:
            reason = "it asks for a %s, and none was given: pass %s" % (prompt.what, prompt.parameter)
        return prompt.error, reason
