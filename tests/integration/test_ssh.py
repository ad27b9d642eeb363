"""The transport ssh against real servers: keys, passwords, host keys, and everything that goes wrong."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import mitogen.master
from mitogen.core import StreamError
from mitogen.ssh import HostKeyError, PasswordError
from tests.integration.targets import accounts, place, sshd

if TYPE_CHECKING:
    from pathlib import Path

    from mitogen.master import Router
    from mitogen.parent import Context
    from tests.integration.targets.accounts import Account

#: Seconds for what must not take as long as the time-out of a connection.
AT_ONCE = 15.0


@pytest.fixture(params=["here", "via"])
def start(request: pytest.FixtureRequest, router: Router) -> Any:
    """`Router.ssh`, from this program, or from a context that it started."""
    via = router.local() if request.param == "via" else None
    return lambda *args, **options: router.ssh(*args, via=via, **options)


#: What is the same in a program and in a context that it started is tried in the program only.
only_here = pytest.mark.parametrize("start", ["here"], indirect=True)


def options(server: sshd.Server, **more: Any) -> dict[str, Any]:
    """Return what leads to a server without the configuration of the user who runs the tests."""
    known = server.known_hosts(os.path.join(server.path, "known"), more.pop("state", "known"))
    arguments = ["-F", "/dev/null", "-o", "UserKnownHostsFile=" + known, *more.pop("ssh_args", ())]
    return {"hostname": sshd.HOST, "port": server.port, "ssh_args": arguments, **more}


def fails(start: Any, error: type[StreamError], words: str, **options: Any) -> str:
    """Expect `start` to fail at once, with exactly this class, and these words in its text."""
    began = time.monotonic()
    with pytest.raises(StreamError) as caught:
        start(**{"connect_timeout": AT_ONCE, **options})
    assert time.monotonic() - began < AT_ONCE, "it came to the time-out"
    assert type(caught.value) is error
    assert words in str(caught.value)
    return str(caught.value)


def test_a_key(start: Any, ssh_server: sshd.Server, user: Account) -> None:
    context = start(**options(ssh_server, identity_file=ssh_server.key, username=user.name))
    assert context.call(os.getenv, "USER") == user.name
    assert context.name.endswith("ssh.127.0.0.1:%d" % ssh_server.port)
    assert context.python_version[0] == 3
    with pytest.raises(PasswordError, match="(?s)Permission denied.*publickey"):
        start(**options(ssh_server, identity_file=ssh_server.unknown_key, username=user.name))


@only_here
def test_an_encrypted_key(start: Any, ssh_server: sshd.Server) -> None:
    key = {"identity_file": ssh_server.encrypted_key, "username": "root"}
    for parameter in ("passphrase", "password"):
        known = {parameter: sshd.PASSPHRASE}
        assert start(**options(ssh_server, **key, **known)).call(os.getuid) == 0
    fails(start, PasswordError, "the passphrase is wrong", **options(ssh_server, **key, passphrase="no"))
    # Nobody is asked: the server then says what it would have taken.
    fails(start, PasswordError, "Permission denied", **options(ssh_server, **key))


@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
def test_a_password(start: Any, ssh_server: sshd.Server, user: Account, method: str) -> None:
    arguments = {"username": user.name, "ssh_args": ["-o", "PreferredAuthentications=" + method]}
    context = start(**options(ssh_server, password=user.password, **arguments))
    assert context.call(os.getenv, "USER") == user.name
    wrong = options(ssh_server, password=user.wrong_password, **arguments)
    text = fails(start, PasswordError, "the password is wrong", **wrong)
    assert user.wrong_password not in text
    fails(start, PasswordError, "Permission denied", **options(ssh_server, **arguments))


@pytest.mark.parametrize("where", ["here", "via"])
def test_further_factors_are_asked_of_the_caller(targets: None, user: Account, where: str) -> None:
    asked: list[str] = []

    def answer(question: str) -> str | None:
        asked.append(question)
        assert threading.current_thread() is not threading.main_thread()
        return server.next_code()

    with sshd.serve(one_time=user.name) as server, mitogen.master.Router() as router:
        known = options(server, username=user.name, password=user.password)
        known["via"] = router.local() if where == "via" else None
        context = router.ssh(**known, on_prompt=answer)
        assert context.call(os.getenv, "USER") == user.name
        assert len(asked) == 1
        assert "One-time password" in asked[0]
        assert "pass on_prompt" in fails(router.ssh, PasswordError, "One-time password", **known)
        fails(router.ssh, PasswordError, "One-time password", **known, on_prompt=lambda question: None)


@pytest.mark.parametrize("mode", ["enforce", "accept", "ignore"])
@pytest.mark.parametrize("state", ["known", "changed", "unknown"])
def test_host_keys(
    router: Router, ssh_server: sshd.Server, tmp_path: Path, mode: str, state: str
) -> None:
    known = ssh_server.known_hosts(str(tmp_path / "known"), state)
    arguments = {
        **options(ssh_server, identity_file=ssh_server.key, username="root", check_host_keys=mode),
        "ssh_args": ["-F", "/dev/null"]
        + (["-o", "UserKnownHostsFile=" + known] if mode != "ignore" else []),
    }
    if state == "known" or mode == "ignore" or (mode, state) == ("accept", "unknown"):
        assert router.ssh(**arguments).call(os.getuid) == 0
        if mode == "accept":
            # It is noted, and from now on checked.
            assert router.ssh(**{**arguments, "check_host_keys": "enforce"}).call(os.getuid) == 0
    else:
        words = "IDENTIFICATION HAS CHANGED" if state == "changed" else "Host key verification failed"
        fails(router.ssh, HostKeyError, words, **arguments)


def test_a_refused_host_key_has_its_type_via_another_context(start: Any, ssh_server: sshd.Server) -> None:
    fails(start, HostKeyError, "verification failed", **options(ssh_server, state="unknown"))


def test_a_banner_and_a_noisy_profile(targets: None, user: Account) -> None:
    with sshd.serve(banner=True, noisy=True) as server, mitogen.master.Router() as router:
        by_key = options(server, identity_file=server.key, username="root")
        assert router.ssh(**by_key).call(os.getuid) == 0
        by_password = options(server, username=user.name, password=user.password)
        assert router.ssh(**by_password).call(os.getenv, "USER") == user.name
        text = fails(router.ssh, StreamError, "python-none", **by_key, python_path="python-none")
        assert "exited with status 127" in text


@only_here
def test_addresses_that_do_not_answer(start: Any) -> None:
    with sshd.refusing() as address:
        fails(start, StreamError, "Connection refused", hostname=address[0], port=address[1])
    fails(start, StreamError, "not resolve hostname", hostname="no-such-host.invalid")
    for nobody in (sshd.black_hole, sshd.silent):
        with nobody() as address:
            began = time.monotonic()
            with pytest.raises(StreamError, match="(?i)timed out") as caught:
                start(hostname=address[0], port=address[1], connect_timeout=3)
            # In the client's words, before our own time-out.
            assert "exited with status 255" in str(caught.value)
            assert time.monotonic() - began < 10 * 3


def test_a_missing_client(start: Any) -> None:
    fails(start, StreamError, "can't start /none/ssh", hostname="localhost", ssh_path="/none/ssh")


@pytest.mark.parametrize("shell", ["dash", "csh", "fish"])
def test_login_shells(targets: None, ssh_server: sshd.Server, shell: str) -> None:
    path = place.need(shell, shell)
    with accounts.account(shell[0], path) as account, mitogen.master.Router() as router:
        known = options(ssh_server, username=account.name, identity_file=ssh_server.key)
        assert router.ssh(**known).call(os.getenv, "SHELL") == path
        context = router.ssh(**known, python_path=["env", "IT=is ~a `$test", "/usr/bin/python3"])
        assert context.call(os.getenv, "IT") == "is ~a `$test"


def test_settings_of_the_client_that_come_first_win(router: Router, ssh_server: sshd.Server) -> None:
    arguments = options(ssh_server, identity_file=ssh_server.key, username="root", ssh_debug_level=1)
    arguments["ssh_args"] += ["-o", "BindAddress=203.0.113.1"]
    text = fails(router.ssh, StreamError, "203.0.113.1", **arguments)
    assert "debug1" in text


def test_options_are_checked() -> None:
    from mitogen.ssh import SSHOptions

    with pytest.raises(StreamError, match="check_host_keys must be one of accept, enforce, ignore"):
        SSHOptions("host", check_host_keys="off")
    with pytest.raises(StreamError, match="dash"):
        SSHOptions("-oProxyCommand=reboot")


def test_a_way_through_another_host(router: Router, ssh_server: sshd.Server, tmp_path: Path) -> None:
    known = ssh_server.known_hosts(str(tmp_path / "known"))
    config = tmp_path / "config"
    config.write_text(
        "Host jump\n HostName %s\n Port %d\n User root\n IdentityFile %s\n"
        "Host *\n UserKnownHostsFile %s\n" % (sshd.HOST, ssh_server.port, ssh_server.key, known)
    )
    arguments = options(ssh_server, identity_file=ssh_server.key, username="root")
    arguments["ssh_args"] = ["-F", str(config), "-J", "jump"]
    assert router.ssh(**arguments).call(os.getuid) == 0


def test_an_address_of_ipv6(router: Router, ssh_server: sshd.Server) -> None:
    arguments = options(ssh_server, identity_file=ssh_server.key, username="root", state="unknown")
    arguments.update(hostname=sshd.HOST6, check_host_keys="ignore")
    arguments["ssh_args"] = ["-F", "/dev/null"]
    assert str(router.ssh(**arguments).call(os.getenv, "SSH_CLIENT")).startswith("::1 ")


def test_what_is_sent_back_and_forth_is_whole(router: Router, ssh_server: sshd.Server) -> None:
    context: Context = router.ssh(**options(ssh_server, identity_file=ssh_server.key, username="root"))
    data = os.urandom(1 << 24)
    assert context.call(bytes, data) == data
