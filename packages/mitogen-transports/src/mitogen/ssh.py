"""Contexts on other machines: the transport `ssh`, over OpenSSH's client.

A terminal is allocated only where the client may ask for something, since systems have few of them;
everywhere else it is told to ask nothing. What is wrong is told by the client's own words, which every
error has.

New host keys are accepted by ``StrictHostKeyChecking=accept-new``, which OpenSSH 7.6 (2017) and newer
know, and not by answering a question at a terminal.
"""

from __future__ import annotations

from mitogen.core.errors import StreamError
from mitogen.parent.transport import Connection, Options, Prompt, quoted, secret
from mitogen.parent.transport import PasswordError as BasePasswordError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

#: `check_host_keys`, and what the client is told.
_HOST_KEYS = {
    "enforce": ["StrictHostKeyChecking=yes"],
    "accept": ["StrictHostKeyChecking=accept-new"],
    "ignore": [
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "GlobalKnownHostsFile=/dev/null",
    ],
}
#: Share of the time to connect after which the client gives up, so as to say why in its own words.
_CLIENT_SHARE = 0.8


class PasswordError(BasePasswordError):
    """The server asked for a password, passphrase or other factor that was not given, or was wrong."""


class HostKeyError(StreamError):
    """The host's key is not the one that is known, or none is known."""


class SSHOptions(Options):
    """See `mitogen.parent.signatures.Transports.ssh`."""

    def __init__(
        self,
        hostname: str,
        username: str | None = None,
        ssh_path: str | None = None,
        ssh_args: Sequence[str] | None = None,
        port: int | None = None,
        check_host_keys: str = "enforce",
        password: str | None = None,
        identity_file: str | None = None,
        identities_only: bool = True,
        compression: bool = True,
        ssh_debug_level: int | None = None,
        passphrase: str | None = None,
        on_prompt: Callable[[str], str | None] | None = None,
        **common: Any,
    ) -> None:
        Options.__init__(self, **common)
        if check_host_keys not in _HOST_KEYS:
            raise StreamError(
                "check_host_keys must be one of %s, not %r",
                ", ".join(sorted(_HOST_KEYS)),
                check_host_keys,
            )
        if hostname.startswith("-") or (username or "").startswith("-"):
            raise StreamError("%r and %r: neither may begin with a dash", hostname, username)
        self.hostname = hostname
        self.username = username
        self.ssh_path = ssh_path or "ssh"
        self.ssh_args = list(ssh_args or ())
        self.port = port
        self.check_host_keys = check_host_keys
        self.password = secret(password)
        self.identity_file = identity_file
        self.identities_only = identities_only
        self.compression = compression
        self.ssh_debug_level = ssh_debug_level or 0
        self.passphrase = secret(passphrase)
        self.on_prompt = on_prompt


class SSHConnection(Connection):
    """Start a context with ``ssh HOST COMMAND``."""

    transport = "ssh"
    options_class = SSHOptions
    options: SSHOptions
    error_types = (PasswordError, HostKeyError)
    complaints = (
        ("host key verification failed|host identification has changed", HostKeyError),
        ("host key is known|differs from the key", HostKeyError),
        (r"permission denied \([^)]*(password|interactive)|too many authentication f", PasswordError),
    )
    compress = True

    @property
    def target(self) -> str:
        port = self.options.port
        return self.options.hostname + (":%d" % port if port else "")

    @property
    def needs_terminal(self) -> bool:  # type: ignore[override]
        """The client asks for something that we may know."""
        options = self.options
        known = (options.password, options.passphrase, options.on_prompt)
        return any(one is not None for one in known)

    def prompts(self) -> list[Prompt]:
        options = self.options
        passphrase = options.password if options.passphrase is None else options.passphrase
        found = [
            Prompt(rb"passphrase for key .*:", passphrase, "passphrase", "passphrase", PasswordError)
        ]
        if options.password is not None:
            found.append(Prompt(rb"password(?: for \S+)?:", options.password, error=PasswordError))
        return found

    def _authentication(self) -> list[str]:
        options = self.options
        found = []
        if options.identities_only and options.identity_file:
            found += ["IdentitiesOnly=yes", "IdentityAgent=none"]
        elif options.identities_only and options.password is not None:
            found.append("PubkeyAuthentication=no")
        if not self.needs_terminal:
            found.append("BatchMode=yes")
        return found

    def wrap(self, argv: list[str]) -> list[str]:
        options = self.options
        command = [options.ssh_path, "-T", *options.ssh_args]
        if options.ssh_debug_level:
            command.append("-" + "v" * min(3, int(options.ssh_debug_level)))
        if options.username:
            command += ["-l", options.username]
        if options.port is not None:
            command += ["-p", "%d" % options.port]
        if options.identity_file:
            command += ["-i", options.identity_file]
        settings = [
            "Compression=" + ("yes" if options.compression else "no"),
            "ServerAliveInterval=30",
            "ServerAliveCountMax=10",
            "ConnectTimeout=%d" % max(1, options.connect_timeout * _CLIENT_SHARE),
            *_HOST_KEYS[options.check_host_keys],
            *self._authentication(),
        ]
        for setting in settings:
            command += ["-o", setting]
        return [*command, options.hostname, quoted(argv)]
