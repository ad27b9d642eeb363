"""Real OpenSSH servers on the loopback addresses, each with keys, port and configuration of its own.

A second factor comes from PAM, as for users. PAM knows a server by the name that it was started by: each
has a name of its own, and with it its own rules in /etc/pam.d; those of this machine are not touched.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import socket
import struct
from typing import TYPE_CHECKING

from tests.integration.targets import place

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"
HOST6 = "::1"

#: What a server with `banner=True` says before it asks for anything.
BANNER = "Welcome. Your password: will expire; Password for root: none.\n"

#: What a server with `noisy=True` writes to standard output before each command does.
NOISE = "Last login: never\nMITOGEN is not a word\n\nYou have no mail.\n"

#: The passphrase of the encrypted key.
PASSPHRASE = "passphrase of the key"

#: Shared with the one-time passwords' PAM module.
_SEED = b"twenty bytes of seed"

#: Seconds that a client tries; a test that expects it to fail sooner says so itself.
_OPTIONS = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=20", "-F", "/dev/null"]


class Server:
    """A running server and what clients need to know of it."""

    def __init__(self, path: str, port: int, name: str) -> None:
        self.path = path
        self.port = port
        self.name = name
        self.host_key = os.path.join(path, "host_key")
        #: Keys that every user may log in with; the second is encrypted.
        self.key = os.path.join(path, "key")
        self.encrypted_key = os.path.join(path, "encrypted_key")
        #: A key that nobody may log in with.
        self.unknown_key = os.path.join(path, "unknown_key")
        self._codes = 0

    def known_hosts(self, path: str, state: str = "known") -> str:
        """Write a file of host keys, where this server is "known", "changed" or "unknown"."""
        source = {"known": self.host_key, "changed": self.unknown_key}.get(state)
        with open(path, "w") as f:
            if source:
                with open(source + ".pub") as key:
                    kind, text = key.read().split()[:2]
                f.write("[{0}]:{2},[{1}]:{2} {3} {4}\n".format(HOST, HOST6, self.port, kind, text))
        return path

    def command(self, user: str, *words: str) -> list[str]:
        """Return the command line of a client that logs in with the key and asks nothing."""
        known = self.known_hosts(os.path.join(self.path, "known_hosts"))
        options = ["-p", str(self.port), "-i", self.key, "-o", "UserKnownHostsFile=" + known]
        return ["ssh", *_OPTIONS, *options, "%s@%s" % (user, HOST), *words]

    def next_code(self) -> str:
        """Return the one-time password that is the next factor of a server with `one_time`."""
        digest = hmac.digest(_SEED, struct.pack(">Q", self._codes), hashlib.sha1)
        self._codes += 1
        (number,) = struct.unpack_from(">I", digest, digest[-1] & 15)
        return "%06d" % ((number & 0x7FFFFFFF) % 1000000)


@contextlib.contextmanager
def serve(
    *lines: str, password: bool = True, banner: bool = False, noisy: bool = False, one_time: str = ""
) -> Iterator[Server]:
    """Run a server. `lines` are further ones of its configuration, which win over those here.

    It lets everybody in by key. With `password` also by that of an account, for the method "password" as
    for "keyboard-interactive"; with the name of a user in `one_time`, for the latter only, and with a
    one-time password as the further factor (`Server.next_code`).
    """
    program = place.need("sshd", "openssh-server")
    os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(place.folder("ssh"))
        port = stack.enter_context(_port())
        server = Server(path, port, place.TAG + os.path.basename(path).rpartition(".")[2].lower())
        _make_keys(server)
        stack.enter_context(_pam(server, one_time))
        config = [
            *lines,
            "Port %d" % port,
            "ListenAddress %s" % HOST,
            "ListenAddress %s" % HOST6,
            "HostKey %s" % server.host_key,
            "PidFile none",
            "AuthorizedKeysFile %s" % os.path.join(path, "authorized_keys"),
            "StrictModes no",  # The folder is below /tmp, where everybody may write.
            "PermitRootLogin yes",
            "UsePAM yes",
            "PrintMotd no",
            "SetEnv %s" % place.MARK,
            "PasswordAuthentication %s" % ("yes" if password and not one_time else "no"),
            "KbdInteractiveAuthentication %s" % ("yes" if password or one_time else "no"),
            "MaxStartups 500",
            "MaxAuthTries 6",
        ]
        if banner:
            config.append("Banner %s" % _write(path, "banner", BANNER))
        if noisy:
            script = _write(
                path, "noisy", "cat <<'.'\n%s.\nexec sh -c \"$SSH_ORIGINAL_COMMAND\"\n" % NOISE
            )
            config.append("ForceCommand sh %s" % script)
        _write(path, "config", "\n".join(config) + "\n")
        # PAM's name for it is that of the program as it was called.
        link = os.path.join(path, server.name)
        os.symlink(program, link)
        command = [link, "-D", "-e", "-f", os.path.join(path, "config")]
        stack.enter_context(place.daemon(command, os.path.join(path, "log"), lambda: _listens(port)))
        yield server


@contextlib.contextmanager
def black_hole() -> Iterator[tuple[str, int]]:
    """Yield an address that answers no attempt to connect: packets vanish, as behind a firewall."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((HOST, 0), backlog=0))
        address = listener.getsockname()
        # The kernel drops what comes when its queue is full.
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(address)
        yield address


@contextlib.contextmanager
def silent() -> Iterator[tuple[str, int]]:
    """Yield an address that takes connections and says nothing."""
    with socket.create_server((HOST, 0), backlog=100) as listener:
        yield listener.getsockname()


@contextlib.contextmanager
def refusing() -> Iterator[tuple[str, int]]:
    """Yield an address that refuses to be connected to, and that nobody else gets meanwhile."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        yield taken.getsockname()


@contextlib.contextmanager
def _port() -> Iterator[int]:
    # Nobody else gets the port meanwhile, but the server can listen: both sockets say that they share it.
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((HOST, 0))
        yield taken.getsockname()[1]


def _listens(port: int) -> bool:
    with open("/proc/net/tcp") as f:
        return any(
            line.split()[1].endswith(":%04X" % port) and line.split()[3] == "0A" for line in list(f)[1:]
        )


def _write(path: str, name: str, text: str) -> str:
    target = os.path.join(path, name)
    with open(target, "w") as f:
        f.write(text)
    return target


def _make_keys(server: Server) -> None:
    keygen = place.need("ssh-keygen", "openssh-client")
    for key in (server.host_key, server.key, server.encrypted_key, server.unknown_key):
        phrase = PASSPHRASE if key == server.encrypted_key else ""
        place.run(keygen, "-q", "-t", "ed25519", "-N", phrase, "-C", server.name, "-f", key)
    with open(os.path.join(server.path, "authorized_keys"), "w") as f:
        for key in (server.key, server.encrypted_key):
            with open(key + ".pub") as public:
                f.write(public.read())


@contextlib.contextmanager
def _pam(server: Server, one_time: str) -> Iterator[None]:
    rules = ["auth requisite pam_unix.so nodelay"]
    if one_time:
        users = _write(server.path, "codes", "HOTP %s - %s\n" % (one_time, _SEED.hex()))
        os.chmod(users, 0o600)
        rules.append("auth requisite pam_oath.so usersfile=%s window=50 digits=6" % users)
    rules += ["account required pam_unix.so", "session required pam_permit.so"]
    path = "/etc/pam.d/%s" % server.name
    with open(path, "w") as f:
        f.write("\n".join(rules) + "\n")
    try:
        yield
    finally:
        os.unlink(path)
