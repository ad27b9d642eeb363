"""What the transports to other accounts have in common, `su` and `doas`: `AccountOptions` and
`AccountConnection`.

They ask for one password, in words that the caller may know better than we do.
"""

from __future__ import annotations

import re

from mitogen.parent.transport import Connection, Options, Prompt, secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Union

    from mitogen.parent.transport import PasswordError

    Text = Union[str, bytes]


class AccountOptions(Options):
    """See `mitogen.parent.signatures.Transports.su`."""

    #: What the program says when the password is wrong.
    incorrect: tuple[str, ...] = ()

    def __init__(
        self,
        username: str | None = None,
        password: str | None = None,
        path: str | None = None,
        password_prompt: Text | None = None,
        incorrect_prompts: Sequence[Text] | None = None,
        on_prompt: Callable[[str], str | None] | None = None,
        **common: Any,
    ) -> None:
        Options.__init__(self, **common)
        self.username = username or "root"
        self.password = secret(password)
        self.path = path
        self.password_prompt = _as_bytes(password_prompt or b"Password:")
        self.incorrect_prompts = [
            _as_bytes(text).decode("utf-8", "replace") for text in incorrect_prompts or self.incorrect
        ]
        self.on_prompt = on_prompt


def _as_bytes(text: Text) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


class AccountConnection(Connection):
    """Start a context under another account."""

    options: AccountOptions
    environment = {"LC_ALL": "C"}
    needs_terminal = True
    #: Raised for passwords.
    password_error: type[PasswordError]

    @property
    def target(self) -> str:
        return self.options.username

    @property
    def complaints(self) -> Any:  # type: ignore[override]
        """What the caller says that the program says."""
        return [(re.escape(text), self.password_error) for text in self.options.incorrect_prompts]

    def prompts(self) -> list[Prompt]:
        prompt = re.escape(self.options.password_prompt)
        return [Prompt(prompt, self.options.password, error=self.password_error)]
