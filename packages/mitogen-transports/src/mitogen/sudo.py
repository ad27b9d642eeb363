"""Contexts under another account of the same machine: the transport `sudo`.

What sudo asks is told by a prompt that we choose, with a random part, so that neither its configuration
nor the language of the system matters; and text of anybody else's can't be taken for it.
"""

from __future__ import annotations

import os
from binascii import hexlify
from getopt import GetoptError, getopt

from mitogen.core.errors import StreamError
from mitogen.parent.transport import Connection, Options, Prompt, secret
from mitogen.parent.transport import PasswordError as BasePasswordError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

#: Options of sudo that may be given as `sudo_args`: short, long, and the attribute that they set. Those
#: with a colon have a value.
_ARGUMENTS = (
    ("u:", "user=", "username"),
    ("H", "set-home", "set_home"),
    ("E", "preserve-env", "preserve_env"),
    ("i", "login", "login"),
    ("g:", "group=", "group"),
    ("r:", "role=", "role"),
    ("t:", "type=", "type"),
    ("T:", "command-timeout=", "command_timeout"),
    ("k", "reset-timestamp", "reset_timestamp"),
    # How the password gets there is our business.
    ("n", "non-interactive", ""),
    ("S", "stdin", ""),
)


class PasswordError(BasePasswordError):
    """sudo asked for a password that was not given, or was wrong."""


def parse_sudo_args(sudo_args: Sequence[str]) -> dict[str, Any]:
    """Return the attributes that arguments of sudo's command line mean.

    :raises StreamError: one of them is unknown here, or it is no option.
    """
    short = "".join(one[0] for one in _ARGUMENTS)
    known = {}
    for letter, word, attribute in _ARGUMENTS:
        known["-" + letter[0]] = known["--" + word.rstrip("=")] = attribute, ":" in letter
    try:
        pairs, rest = getopt(list(sudo_args), short, [one[1] for one in _ARGUMENTS])
        if rest:
            raise GetoptError("%s is no option" % rest[0])
    except GetoptError as e:
        raise StreamError(
            "sudo_args %r: %s; supported are %s", list(sudo_args), e, " ".join(sorted(known))
        ) from None
    found = {}
    for option, value in pairs:
        attribute, has_value = known[option]
        if attribute:
            found[attribute] = value if has_value else True
    return found


class SudoOptions(Options):
    """See `mitogen.parent.signatures.Transports.sudo`."""

    group: str | None = None
    role: str | None = None
    type: str | None = None
    command_timeout: str | None = None
    login = False
    reset_timestamp = False

    def __init__(
        self,
        username: str | None = None,
        sudo_path: str | None = None,
        password: str | None = None,
        set_home: bool = False,
        preserve_env: bool = False,
        sudo_args: Sequence[str] | None = None,
        on_prompt: Callable[[str], str | None] | None = None,
        **common: Any,
    ) -> None:
        Options.__init__(self, **common)
        self.username = username
        self.sudo_path = sudo_path or "sudo"
        self.password = secret(password)
        self.set_home = set_home
        self.preserve_env = preserve_env
        self.on_prompt = on_prompt
        parsed = parse_sudo_args(sudo_args or ())
        # What is said by name is meant more than what came along in a list.
        if username is not None:
            parsed.pop("username", None)
        vars(self).update(parsed)
        self.username = self.username or "root"
        self.nonce = hexlify(os.urandom(8)).decode()


class SudoConnection(Connection):
    """Start a context with ``sudo -u USER COMMAND``."""

    transport = "sudo"
    options_class = SudoOptions
    options: SudoOptions
    error_types = (PasswordError,)
    complaints = (
        ("password is required|incorrect password|no password was|authentication fail", PasswordError),
    )
    environment = {"LC_ALL": "C"}
    needs_terminal = True

    @property
    def target(self) -> str:
        return self.options.username or "root"

    def prompts(self) -> list[Prompt]:
        # The second one is that of implementations which know of no other.
        return [
            Prompt(
                rb"%s\S*|\[sudo[^\]]*\] .*password.*:" % self.options.nonce.encode(),
                self.options.password,
                error=PasswordError,
            )
        ]

    def _arguments(self) -> Iterator[str]:
        options = self.options
        yield from ("-p", "[mitogen %s]" % options.nonce, "-u", self.target)
        for flag, wanted in (
            ("-H", options.set_home),
            ("-E", options.preserve_env),
            ("-i", options.login),
            ("-k", options.reset_timestamp),
        ):
            if wanted:
                yield flag
        for flag, value in (
            ("-g", options.group),
            ("-r", options.role),
            ("-t", options.type),
            ("-T", options.command_timeout),
        ):
            if value is not None:
                yield from (flag, value)

    def python_argv(self) -> list[str]:
        if self.options.login and self.options.python_path is None:
            # A login shell would see the command that looks for one, and replace what has a dollar.
            self.options.python_path = "python3"
        return Connection.python_argv(self)

    def wrap(self, argv: list[str]) -> list[str]:
        return [self.options.sudo_path, *self._arguments(), "--", *argv]
