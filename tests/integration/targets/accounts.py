"""Users of this machine with a password of their own, for as long as a test needs them."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING, NamedTuple

from tests.integration.targets import place

if TYPE_CHECKING:
    from collections.abc import Iterator


class Account(NamedTuple):
    """One user; no secret is in its repr, which assertions show."""

    name: str
    home: str

    @property
    def password(self) -> str:
        return "secret of %s" % self.name

    @property
    def wrong_password(self) -> str:
        return "not the " + self.password

    def command(self, *words: str) -> list[str]:
        """Return the command that runs another as this user, without any program under test."""
        return ["setpriv", "--reuid", self.name, "--regid", self.name, "--init-groups", "--", *words]


@contextlib.contextmanager
def account(suffix: str, shell: str = "/bin/bash") -> Iterator[Account]:
    """Make the user TAG + `suffix`, of a few letters, with an empty home folder."""
    path = place.need("useradd", "passwd")
    name = place.TAG + suffix
    with place.folder("home") as home:
        user = Account(name, os.path.join(home, name))
        with place.machine_lock():
            place.run(
                path, "--home-dir", user.home, "--no-create-home", "--user-group", "--shell", shell, name
            )
            place.run("chpasswd", stdin="%s:%s\n" % (name, user.password))
        try:
            os.mkdir(user.home, 0o700)
            shutil.chown(user.home, name, name)
            yield user
        finally:
            with place.machine_lock():
                # It refuses as long as a process of the user is about to end.
                place.wait_for(lambda: place.succeeds("userdel", name), "userdel %s" % name)
                # Where sudo remembers for each user what it said and when it asked.
                for left in ("/run/sudo/ts/%s" % name, "/var/lib/sudo/lectured/%s" % name):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(left)
