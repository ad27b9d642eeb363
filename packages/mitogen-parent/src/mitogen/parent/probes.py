"""What the conformance kit calls in the contexts of a transport: see `mitogen.parent.testing`.

A module of its own, so that nothing else of the kit has to travel there.
"""

from __future__ import annotations

import os
import subprocess
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def describe() -> dict[str, Any]:
    """Return the process, its interpreter and the version of that."""
    return {"pid": os.getpid(), "executable": sys.executable, "version": tuple(sys.version_info[:3])}


def echo(value: Any) -> Any:
    """Return `value`."""
    return value


def fail(text: str) -> None:
    """Raise an exception that says `text`."""
    raise ValueError(text)


def say(text: str) -> None:
    """Write `text` to both standard streams, and have a program write it as well."""
    print("out " + text)
    sys.stderr.write("err %s\n" % text)
    subprocess.check_call(["echo", "program " + text])


def standard_streams() -> tuple[list[bool], bytes]:
    """Return whether descriptors 0, 1 and 2 block, and what a program that reads stdin is given."""
    given = subprocess.check_output(["cat"])
    return [os.get_blocking(fd) for fd in range(3)], given


def end(signum: int) -> None:
    """Send a signal to this very process, and end it in any case."""
    os.kill(os.getpid(), signum)
    # The kernel spares the first process of a container.
    os._exit(1)
