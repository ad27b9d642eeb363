"""Rules of the real sudo, each for one user of the tests only: nothing that others may do changes."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from tests import leaks
from tests.integration.targets import place

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Settings that change how sudo asks, or what stands between it and the command, by their names in tests.
#: `{logs}` is a folder.
VARIANTS = {
    "plain": "!use_pty",
    "requiretty": "requiretty",
    "targetpw": "targetpw",
    "log_output": "log_output, iolog_dir={logs}",
    "use_pty": "use_pty",
    "pwfeedback": "pwfeedback",
    "passprompt": 'passprompt="Secret word, %p on %h? ", passprompt_override',
    "lecture": "lecture=always",
}


@contextlib.contextmanager
def rule(user: str, *settings: str, password: bool = True) -> Iterator[None]:
    """Let `user` run everything as everybody, after a password each time unless told otherwise.

    `settings` are of sudoers' `Defaults`, for this user: names in `VARIANTS`, or their own text.
    """
    place.need("sudo", "sudo")
    visudo = place.need("visudo", "sudo")
    with place.folder("sudo") as logs:
        lines = ["Defaults:%s timestamp_timeout=0, lecture=never, passwd_tries=3" % user]
        lines.append("Defaults:%s env_keep += %s" % (user, leaks.MARK))
        for setting in settings:
            text = VARIANTS.get(setting, setting)
            lines.append("Defaults:%s %s" % (user, text.replace("{logs}", logs)))
        lines.append("%s ALL=(ALL:ALL) %sALL" % (user, "" if password else "NOPASSWD: "))
        text = "\n".join(lines) + "\n"
        # An error in a rule of ours must not stop the sudo of others: it is checked before it counts.
        place.run(visudo, "--check", "--quiet", "--file", _write(os.path.join(logs, "rule"), text))
        with contextlib.ExitStack() as stack:
            # sudo ignores files with a dot in their names: there is never half a rule.
            path = os.path.join("/etc/sudoers.d", os.path.basename(logs).replace(".", "-"))
            stack.callback(_remove, path + ".new")
            stack.callback(_remove, path)
            os.rename(_write(path + ".new", text), path)
            yield


def _write(path: str, text: str) -> str:
    with open(path, "x") as f:
        os.fchmod(f.fileno(), 0o440)
        f.write(text)
    return path


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
