"""The transports sudo, su and doas against the real programs; and that no secret is ever shown."""

from __future__ import annotations

import glob
import logging
import os
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

import pytest

import mitogen.doas
import mitogen.su
import mitogen.sudo
from mitogen.core import StreamError
from mitogen.sudo import PasswordError
from tests import interpreters
from tests.integration.targets import doas, place
from tests.integration.targets import sudo as sudoers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mitogen.master import Router
    from mitogen.parent import Context
    from tests.integration.targets.accounts import Account

#: Seconds for what must not take as long as the time-out of a connection.
AT_ONCE = 20.0


@pytest.fixture
def me(router: Router, user: Account) -> Context:
    """A context of the user, who has to give passwords; a program of root's need not."""
    return router.su(user.name)


def fails(error: type[StreamError], words: str, start: Any, *args: Any, **options: Any) -> str:
    """Expect a start to fail at once, with exactly this class, and these words in its text."""
    began = time.monotonic()
    with pytest.raises(StreamError) as caught:
        start(*args, connect_timeout=AT_ONCE, **options)
    assert time.monotonic() - began < AT_ONCE, "it came to the time-out"
    assert type(caught.value) is error
    assert words in str(caught.value)
    return str(caught.value)


def who_am_i() -> tuple[int, str]:
    """Return what the kernel and the environment say."""
    return os.getuid(), os.environ.get("LC_ALL", "")


def test_root_becomes_anybody_without_a_password(router: Router, other_user: Account) -> None:
    import pwd

    uid = pwd.getpwnam(other_user.name).pw_uid
    for start in (router.sudo, router.su):
        context = start(other_user.name)
        assert context.call(os.getuid) == uid
        assert context.name.endswith("." + other_user.name)
        assert start().call(os.getuid) == 0


def test_from_a_python_that_can_t_spawn_on_a_terminal(router: Router, user: Account) -> None:
    old = router.local(python_path=interpreters.find("3.6"))
    me = router.su(user.name, python_path="/usr/bin/python3", via=old)
    with sudoers.rule(user.name):
        assert router.sudo(password=user.password, via=me).call(os.getuid) == 0
    assert router.sudo(python_path="/usr/bin/python3", via=old).call(os.getuid) == 0


@pytest.mark.parametrize("variant", sudoers.VARIANTS)
def test_sudo(me: Context, router: Router, user: Account, other_user: Account, variant: str) -> None:
    password = other_user.password if variant == "targetpw" else user.password
    with sudoers.rule(user.name, variant):
        context = router.sudo(other_user.name, password=password, via=me)
        assert context.call(os.getenv, "USER") == other_user.name
        data = os.urandom(1 << 20)
        assert context.call(bytes, data) == data
        if variant == "plain":
            text = fails(PasswordError, "the password is wrong", router.sudo, password="wrong", via=me)
            assert "started via su." in text
            fails(PasswordError, "asks for a password, and none was given", router.sudo, via=me)
        context.shutdown(wait=True)


def test_sudo_without_a_password(me: Context, router: Router, user: Account) -> None:
    for variant in ("plain", "requiretty", "use_pty", "log_output"):
        with sudoers.rule(user.name, variant, password=False):
            context = router.sudo(via=me)
            assert context.call(os.getuid) == 0
            context.shutdown(wait=True)


@pytest.mark.parametrize("locale", ["de_DE.UTF-8", "fr_FR.UTF-8", "zh_CN.UTF-8"])
def test_other_languages(router: Router, user: Account, other_user: Account, locale: str) -> None:
    environment = ["env", "LC_ALL=" + locale, "LANGUAGE=", "/usr/bin/python3"]
    me = router.su(user.name, python_path=environment)
    with sudoers.rule(user.name), doas.rule(user.name):
        for start, password in (
            (router.sudo, user.password),
            (router.doas, user.password),
            (router.su, other_user.password),
        ):
            context = start(other_user.name, password=password, via=me)
            uid, language = context.call(who_am_i)
            assert uid > 0
            # They spoke English with us, but what they started is left as it was.
            assert language in (locale, "")


def test_sudo_is_told_the_rest(me: Context, router: Router, user: Account) -> None:
    with sudoers.rule(user.name, "!env_reset", "!always_set_home", password=False):
        assert router.sudo(set_home=True, via=me).call(os.getenv, "HOME") == "/root"
        arguments = ["-E", "-u", "root", "-Hn", "--group=%s" % user.name]
        context = router.sudo(sudo_args=arguments, via=me)
        assert context.call(os.getenv, "HOME") == "/root"
        assert context.call(os.getgid) == me.call(os.getgid)
        assert router.sudo(sudo_args=["-i"], via=me).call(os.getcwd) == "/root"
    fails(StreamError, "not recognized", router.sudo, sudo_args=["-x"])
    fails(StreamError, "ls is no option", router.sudo, sudo_args=["-H", "ls"])


def test_sudo_refuses_in_its_own_words(me: Context, router: Router, user: Account) -> None:
    fails(StreamError, "not in the sudoers file", router.sudo, password=user.password, via=me)
    fails(StreamError, "unknown user", router.sudo, "nobody-here")
    fails(StreamError, "can't start /none/sudo", router.sudo, sudo_path="/none/sudo")


def test_su(me: Context, router: Router, other_user: Account) -> None:
    error = mitogen.su.PasswordError
    context = router.su(other_user.name, password=other_user.password, via=me)
    assert context.call(os.getenv, "USER") == other_user.name
    data = os.urandom(1 << 20)
    assert context.call(bytes, data) == data
    fails(error, "Authentication failure", router.su, other_user.name, password="wrong", via=me)
    fails(error, "asks for a password, and none was given", router.su, other_user.name, via=me)
    fails(StreamError, "does not exist", router.su, place.TAG + "nobody", password="wrong", via=me)
    known: Any = {"password_prompt": b"Not this:", "via": me}
    fails(error, "'Password:'", router.su, other_user.name, password="x", **known)
    asked = router.su(other_user.name, **known, on_prompt=lambda question: other_user.password)
    assert asked.call(os.getenv, "USER") == other_user.name


def test_doas(me: Context, router: Router, user: Account, other_user: Account) -> None:
    error = mitogen.doas.PasswordError
    with doas.rule(other_user.name):
        fails(StreamError, "not permitted", router.doas, via=me, password=user.password)
    with doas.rule(user.name):
        context = router.doas(other_user.name, password=user.password, via=me)
        assert context.call(os.getuid) != me.call(os.getuid)
        fails(error, "Authentication failed", router.doas, password="wrong", via=me)
        fails(error, "asks for a password, and none was given", router.doas, via=me)
        fails(error, "unknown user", router.doas, place.TAG + "nobody", password=user.password, via=me)
    with doas.rule(user.name, "nopass"):
        assert router.doas(via=me).call(os.getuid) == 0


#: Found nowhere else, and short enough not to be cut.
SECRET = "correct horse battery"


@pytest.fixture
def shown() -> Iterator[list[str]]:
    """All that is shown meanwhile: log records, and every command line of the machine."""
    found: list[str] = []
    ended = threading.Event()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage() + repr(record.__dict__))

    def watch() -> None:
        while not ended.is_set():
            for path in glob.glob("/proc/[0-9]*/cmdline"):
                try:
                    with open(path, "rb") as f:
                        found.append(f.read().decode("utf-8", "replace"))
                except OSError:
                    pass  # It ended meanwhile.
            ended.wait(0.02)

    handler = Handler()
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    watcher = threading.Thread(target=watch)
    watcher.start()
    yield found
    ended.set()
    watcher.join()
    root.removeHandler(handler)
    root.setLevel(level)


def test_passwords_are_shown_nowhere(
    shown: list[str], router: Router, user: Account, other_user: Account
) -> None:
    me = router.su(user.name)
    starts: list[tuple[Any, dict[str, Any]]] = [
        (router.sudo, {"password": SECRET}),
        (router.doas, {"password": SECRET}),
        (router.su, {"username": other_user.name, "password": SECRET}),
        (router.su, {"username": other_user.name, "password_prompt": "-", "on_prompt": lambda q: SECRET}),
        (router.ssh, {"hostname": "127.0.0.1", "port": 1, "password": SECRET, "passphrase": SECRET}),
        (router.sudo, {"password": SECRET, "wrong": 1}),
    ]
    with sudoers.rule(user.name), doas.rule(user.name):
        for start, options in starts:
            for via in (me, None):
                try:
                    start(**options, via=via)
                except (StreamError, TypeError) as e:
                    shown += [str(e), repr(e), repr(e.__dict__), "".join(traceback.format_exception(e))]
        context = router.sudo(password=user.password, via=me)
        assert context.call(os.getuid) == 0
    text = "\n".join(shown)
    assert "is wrong" in text
    assert "mitogen:" in text
    for secret in (SECRET, user.password, other_user.password):
        assert secret not in text


def test_options_show_no_password() -> None:
    options = mitogen.sudo.SudoOptions(password=SECRET)
    assert options.password == SECRET
    assert SECRET not in repr(vars(options))
