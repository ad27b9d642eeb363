"""Rules of the real doas, which has one file for all: each is added to it and taken out again."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from tests import leaks
from tests.integration.targets import place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATH = "/etc/doas.conf"


@contextlib.contextmanager
def rule(user: str, options: str = "") -> Iterator[None]:
    """Let `user` run everything as everybody, with `options` such as "nopass" or "persist"."""
    place.need("doas", "opendoas")
    line = "permit %s setenv { %s } %s\n" % (options, leaks.MARK, user)
    _edit(lambda lines: lines + [line])
    try:
        yield
    finally:
        _edit(lambda lines: [each for each in lines if each != line])


def _edit(change: Callable[[list[str]], list[str]]) -> None:
    """Replace the file in one step; without any rule left there is none, as before."""
    with place.machine_lock():
        lines = []
        if os.path.exists(PATH):
            with open(PATH) as f:
                lines = list(f)
        lines = change(lines)
        if lines:
            with open(PATH + ".new", "w") as f:
                f.writelines(lines)
            os.chmod(PATH + ".new", 0o600)
            os.rename(PATH + ".new", PATH)
        else:
            os.unlink(PATH)
