"""Contexts under another account of the same machine: the transport `doas`."""

from __future__ import annotations

from mitogen.parent.account import AccountConnection, AccountOptions
from mitogen.parent.transport import PasswordError as BasePasswordError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class PasswordError(BasePasswordError):
    """doas asked for a password that was not given, or was wrong; or there is no such account."""


class DoasOptions(AccountOptions):
    """See `mitogen.parent.signatures.Transports.doas`."""

    incorrect = ("doas: authentication failed", "doas: authorization failed", "doas: unknown user")

    def __init__(
        self,
        username: str | None = None,
        password: str | None = None,
        doas_path: str | None = None,
        **common: Any,
    ) -> None:
        AccountOptions.__init__(self, username, password, doas_path or "doas", **common)


class DoasConnection(AccountConnection):
    """Start a context with ``doas -u USER COMMAND``."""

    transport = "doas"
    options_class = DoasOptions
    error_types = (PasswordError,)
    password_error = PasswordError

    def wrap(self, argv: list[str]) -> list[str]:
        return [str(self.options.path), "-u", self.options.username, "--", *argv]
