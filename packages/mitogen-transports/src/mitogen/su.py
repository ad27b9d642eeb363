"""Contexts under another account of the same machine: the transport `su`.

su reads the password from its stdin, so that is its terminal, and the connection is passed on beside it.
"""

from __future__ import annotations

from mitogen.parent.account import AccountConnection, AccountOptions
from mitogen.parent.transport import PasswordError as BasePasswordError
from mitogen.parent.transport import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class PasswordError(BasePasswordError):
    """su asked for a password that was not given, or was wrong."""


class SuOptions(AccountOptions):
    """See `mitogen.parent.signatures.Transports.su`."""

    incorrect = ("su: sorry", "su: authentication failure", "su: permission denied")

    def __init__(
        self,
        username: str | None = None,
        password: str | None = None,
        su_path: str | None = None,
        **common: Any,
    ) -> None:
        AccountOptions.__init__(self, username, password, su_path or "su", **common)


class SuConnection(AccountConnection):
    """Start a context with ``su USER -c COMMAND``."""

    transport = "su"
    options_class = SuOptions
    error_types = (PasswordError,)
    password_error = PasswordError
    asks_on_stdin = True

    def wrap(self, argv: list[str]) -> list[str]:
        return [str(self.options.path), self.options.username, "-c", quoted(argv)]
